"""Entity tags, so that a client that has the answer already is told so in a few bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class ETag:
    """Tags whole GET answers with a weak hash of their bytes and answers 304 to a matching `If-None-Match`.

    Streamed answers, and those that bring a tag of their own, pass as they are. RFC 9110, sections 8.8.3 and 13.1.2.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Tag the answer of a GET or HEAD."""
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self.app(scope, receive, send)
            return
        if_none_match = Headers(scope=scope).get("if-none-match")
        start: Message | None = None

        async def send_tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and "etag" not in Headers(raw=message["headers"]):
                    start = message
                    return
            elif message["type"] == "http.response.body" and start is not None:
                held, start = start, None
                body = message.get("body", b"")
                if not message.get("more_body", False) and body:
                    tag = entity_tag(body)
                    headers = MutableHeaders(scope=held)
                    headers["ETag"] = tag
                    if if_none_match is not None and matches(if_none_match, tag):
                        del headers["Content-Length"]
                        await send({**held, "status": 304, "headers": headers.raw})
                        await send({"type": "http.response.body", "body": b""})
                        return
                await send(held)
            await send(message)

        await self.app(scope, receive, send_tagged)


def entity_tag(body: bytes) -> str:
    """The tag of an answer with this body; weak, because compression comes after it."""
    return f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(header: str, tag: str) -> bool:
    """Whether `If-None-Match` or `If-Match` names a tag, or any by `*`. Weak tags match, since we give no others."""
    wanted = [part.strip().removeprefix("W/") for part in header.split(",")]
    return "*" in wanted or tag.removeprefix("W/") in wanted
