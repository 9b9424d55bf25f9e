"""The last catch: whatever an application raises becomes a problem that tells the client nothing it must not know."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.errors import InvalidRequest, StacyardError

logger = logging.getLogger("stacyard.errors")

_PLAIN = {
    500: "an unexpected error; the operator finds it in the log under the request id",
    503: "the service is busy or its database does not answer; try again shortly",
    424: "something that this request depends on is missing in the catalog",
}


class ProblemResponse(Response):
    """An RFC 9457 problem. `code` and `description` repeat it under the names that the STAC and OGC APIs fix."""

    media_type = "application/problem+json"

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        parameter: str | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        title = HTTPStatus(status).phrase
        body: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if parameter is not None:
            body["parameter"] = parameter
        body |= members
        body |= {"code": title.replace(" ", ""), "description": detail}
        # 503 and 429 without a time to come back would make clients hammer a service that is already in need
        extra = {"Retry-After": "2"} if status in (429, 503) else {}
        super().__init__(orjson.dumps(body), status, headers={"Cache-Control": "no-store"} | extra | (headers or {}))


def problem_of(error: BaseException, statuses: Mapping[type[Exception], int]) -> Response:
    """The answer for an exception: ours in its own words, known foreign ones by status, others as a plain 500.

    The text of a foreign exception reaches the client only below 424: beyond, it may hold SQL, paths or addresses.
    """
    if isinstance(error, StacyardError):
        parameter = error.parameter if isinstance(error, InvalidRequest) else None
        detail = str(error) if error.status != 500 else _PLAIN[500]
        return ProblemResponse(error.status, detail, parameter=parameter)
    status = next((statuses[kind] for kind in type(error).__mro__ if kind in statuses), 500)
    if status == 204:
        return Response(status_code=204)
    detail = str(error) if status < 424 else _PLAIN.get(status, _PLAIN[500])
    return ProblemResponse(status, detail or "the request cannot be served as it is")


@dataclass(frozen=True)
class Problems:
    """Answers exceptions with problems and logs those that are our fault, with their traceback and the request id."""

    app: ASGIApp
    statuses: Mapping[type[Exception], int]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or the problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except Exception as error:
            if started:
                raise
            response = problem_of(error, self.statuses)
            if response.status_code >= 500:
                request_id = scope.get("state", {}).get("request_id")
                logger.exception("request %s %s failed (%s)", scope["method"], scope["path"], request_id)
            await response(scope, receive, send)
