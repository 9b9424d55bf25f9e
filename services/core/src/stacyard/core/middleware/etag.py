"""Entity tags, so that a client that has the answer already is told so in a few bytes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.entity_tag import is_known, tag_of
from stacyard.core.middleware.headers import combined, header, without


@dataclass(frozen=True)
class ETag:
    """Tags whole answers to GET and HEAD with a weak hash of their bytes, and answers 304 to a matching If-None-Match.

    Streamed answers, and those that bring a tag of their own, pass as they are.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tag the answer of a GET or HEAD."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and header(message["headers"], b"etag") is None:
                    start = message
                    return
            elif start is not None:
                held, start = start, None
                body = message.get("body", b"")
                if body and not message.get("more_body", False):
                    tag = tag_of(body)
                    known = combined(scope["headers"], b"if-none-match")
                    if known is not None and is_known(known.decode("latin-1"), tag):
                        await send_not_modified(held, tag)
                        return
                    held = {**held, "headers": [*held["headers"], (b"etag", tag.encode())]}
                await send(held)
            await send(message)

        async def send_not_modified(held: Message, tag: str) -> None:
            headers = [*without(held["headers"], b"content-length"), (b"etag", tag.encode())]
            await send({**held, "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

        await self.app(scope, receive, send_tagged)
