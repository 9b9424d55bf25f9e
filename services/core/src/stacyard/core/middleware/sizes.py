"""How large a request may be. RFC 9110, sections 15.5.9, 15.5.14 and 15.5.15."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.middleware.headers import header
from stacyard.core.middleware.problems import ProblemResponse


class Sizes:
    """Refuses a path and query that are too long with 414, a body that is too large with 413, one too slow with 408.

    A body is counted while it is read, so that one of unknown length is bounded too.
    """

    def __init__(self, app: ASGIApp, *, target_bytes: int, body_bytes: int, body_seconds: float) -> None:
        """Around an application.

        Args:
            app: the application.
            target_bytes: of path and query together.
            body_bytes: of a body.
            body_seconds: from the first time that the application asks for the body to its end.
        """
        self._app = app
        self._target_bytes = target_bytes
        self._body_bytes = body_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = len(scope["query_string"]) + len(scope.get("raw_path") or scope["path"])
        if length > self._target_bytes:
            detail = f"path and query have {length} bytes, at the most {self._target_bytes} are read"
            if scope["path"].endswith("/search"):
                detail += "; send the search as JSON by POST instead"
            await ProblemResponse(414, detail)(scope, receive, send)
            return
        declared = header(scope["headers"], b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > self._body_bytes:
            await ProblemResponse(413, self._too_large(), headers={"Connection": "close"})(scope, receive, send)
            return
        # without either header there is no body (RFC 9112, section 6.3); HTTP/2 needs neither
        bodiless = declared is None and header(scope["headers"], b"transfer-encoding") is None
        if declared == b"0" or (bodiless and scope.get("http_version", "1.1").startswith("1")):
            await self._app(scope, receive, send)
        else:
            await self._app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        read, ended = 0, False
        deadline: float | None = None

        async def receive_bounded() -> Message:
            nonlocal read, ended, deadline
            if ended:
                return await receive()
            now = asyncio.get_running_loop().time()
            deadline = deadline or now + self._body_seconds
            try:
                message = await asyncio.wait_for(receive(), deadline - now)
            except TimeoutError:
                ended = True
                detail = f"the body did not arrive within {self._body_seconds:g} seconds"
                raise HTTPException(408, detail, {"Connection": "close"}) from None
            read += len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if read > self._body_bytes:
                ended = True
                raise HTTPException(413, self._too_large(), {"Connection": "close"})
            return message

        return receive_bounded

    def _too_large(self) -> str:
        return f"a body has {self._body_bytes} bytes at the most; send less at once"
