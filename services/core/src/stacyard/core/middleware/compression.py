"""Compression of answers that gain by it."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette_cramjam.middleware import CompressionMiddleware

# compressed already; a second pass costs time and gains nothing
_COMPRESSED = {"image/jpeg", "image/jpg", "image/png", "image/jp2", "image/webp", "image/tiff", "image/avif"}

# asset files are read by ranges, which count bytes of the file as it is
_FILES = {r"(.*/)?assets/.*"}


class Compression:
    """Compresses by what the client accepts, but never images, asset files, or parts of a file asked for by Range."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressing = CompressionMiddleware(
            app, compression_level=4, exclude_mediatype=_COMPRESSED, exclude_path=_FILES
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Compress the answer, or leave it as it is."""
        ranged = scope["type"] == "http" and "range" in Headers(scope=scope)
        await (self._plain if ranged else self._compressing)(scope, receive, send)
