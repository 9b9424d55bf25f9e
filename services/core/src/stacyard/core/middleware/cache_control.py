"""How long an answer may be kept, by what it is."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.middleware.headers import header

_TILE_TYPES = (b"image/", b"application/vnd.mapbox-vector-tile", b"application/x-protobuf")


class CacheControl:
    """Sets Cache-Control where the application did not: tiles and images for a time, other answers to be revalidated.

    Only answers below 300 to GET and HEAD may be kept, and 304, which says that they still may: an error must not
    outlive its cause.
    """

    def __init__(self, app: ASGIApp, *, tiles: str, others: str) -> None:
        self._app = app
        self._tiles = (b"cache-control", tiles.encode("latin-1"))
        self._others = (b"cache-control", others.encode("latin-1"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the header on the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start" and header(message["headers"], b"cache-control") is None:
                value = self._value(scope["method"], message)
                message = {**message, "headers": [*message["headers"], value]}
            await send(message)

        await self._app(scope, receive, send_with_header)

    def _value(self, method: str, start: Message) -> tuple[bytes, bytes]:
        status = start["status"]
        if method not in ("GET", "HEAD") or (status >= 300 and status != 304):
            return b"cache-control", b"no-store"
        kind = header(start["headers"], b"content-type") or b""
        return self._tiles if kind.startswith(_TILE_TYPES) else self._others
