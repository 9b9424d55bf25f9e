"""One JSON line a request."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("stacyard.access")

# paths that are asked every few seconds by machines say nothing in a log
_UNLOGGED = ("/healthz", "/readyz", "/metrics")


@dataclass(frozen=True)
class AccessLog:
    """Logs method, path, status, bytes and milliseconds. The query string stays out: it may carry keys."""

    app: ASGIApp
    service: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Log the request when its answer is complete, or broken off."""
        if scope["type"] != "http" or scope["path"].endswith(_UNLOGGED) or not logger.isEnabledFor(logging.INFO):
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status, size = 0, 0

        async def send_counted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, send_counted)
        finally:
            client = scope.get("client")
            line = {
                "service": self.service,
                "method": scope["method"],
                "path": scope["path"],
                "status": status,
                "bytes": size,
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "client": client[0] if client else None,
                "request_id": scope.get("state", {}).get("request_id"),
            }
            logger.info(orjson.dumps(line).decode())
