"""Pages of other origins may read answers."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.middleware.headers import header, with_vary

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_EXPOSED = (
    *("ETag", "X-Request-ID", "Content-Range", "Accept-Ranges", "Retry-After"),
    *("Link", "OGC-NumberReturned", "Next-Token"),
)


class Cors(CORSMiddleware):
    """Starlette's, which answers preflights and checks origins, but a cache may keep answers that it lets pass.

    Where everybody may read, every answer says so, also one to a request that no page of another origin made: a cache
    would hand it to the next that one makes. Where some may, answers vary by the origin for the same reason.
    """

    def __init__(self, app: ASGIApp, *, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_EXPOSED,
            max_age=600,
        )
        self._everybody = "*" in origins
        self._fields = [
            (b"access-control-allow-origin", b"*"),
            (b"access-control-expose-headers", ", ".join(_EXPOSED).encode()),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request pass, and say on the answer who may read it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        foreign = header(headers, b"origin") is not None
        asks_first = scope["method"] == "OPTIONS" and header(headers, b"access-control-request-method") is not None
        if foreign and (asks_first or not self._everybody):
            await super().__call__(scope, receive, send)
            return

        async def send_readable(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = message["headers"]
                fields = [*fields, *self._fields] if self._everybody else with_vary(fields, b"Origin")
                message = {**message, "headers": fields}
            await send(message)

        await self.app(scope, receive, send_readable)
