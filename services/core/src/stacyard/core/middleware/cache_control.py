"""How long an answer may be kept, by what it is."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_TILE_TYPES = ("image/", "application/vnd.mapbox-vector-tile", "application/x-protobuf")


@dataclass(frozen=True)
class CacheControl:
    """Sets Cache-Control where the application did not: tiles and images for a time, other answers to be revalidated.

    Only answers below 300 to GET and HEAD may be kept; an error must not outlive its cause.
    """

    app: ASGIApp
    tiles: str
    others: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Set the header on the answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if "cache-control" not in headers:
                    if scope["method"] not in ("GET", "HEAD") or message["status"] >= 300:
                        headers["Cache-Control"] = "no-store"
                    elif headers.get("content-type", "").startswith(_TILE_TYPES):
                        headers["Cache-Control"] = self.tiles
                    else:
                        headers["Cache-Control"] = self.others
            await send(message)

        await self.app(scope, receive, send_with_header)
