"""A name for each request, which joins the answer, the log line and the error report."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.middleware.headers import header

_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._-]{8,64}")


@dataclass(frozen=True)
class RequestId:
    """Keeps the caller's `X-Request-ID` if it is a plain word, else makes one; it is in `request.state.request_id`."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Name the request and its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = header(scope["headers"], b"x-request-id") or b""
        name = given if _ACCEPTABLE.fullmatch(given) else secrets.token_hex(8).encode()
        scope.setdefault("state", {})["request_id"] = name.decode()

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], (b"x-request-id", name)]}
            await send(message)

        await self.app(scope, receive, send_named)
