"""The exceptions that stacyard raises itself, and the one shape in which clients see any error: RFC 9457 problems."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response


class StacyardError(Exception):
    """Base of all our errors. The message is written for whoever must mend it and holds no secret."""

    #: what a service answers
    status = 500
    #: what a command ends with
    exit_code = 1


class InvalidRequest(StacyardError):
    """The client sent something that cannot be served; the message says what to change."""

    status = 400

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class NotFound(StacyardError):
    """What was asked for is not there, or the caller may not know that it is."""

    status = 404


class Forbidden(StacyardError):
    """The caller may not do this."""

    status = 403


class Overloaded(StacyardError):
    """No capacity within the bounded wait; asking again later can succeed."""

    status = 503


class Unavailable(StacyardError):
    """Something that we need, a database or a bucket, does not answer."""

    status = 503


class StorageError(StacyardError):
    """An object could not be read or written."""


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
