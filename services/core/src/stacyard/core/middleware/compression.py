"""Compression of answers that gain by it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.codings import Coder, Coding, choose_coding, gains
from stacyard.core.middleware.headers import RawHeaders, combined, header, with_vary, without

# a smaller answer fits into one packet as it is
_SMALLEST = 500

# above it, coding takes longer than others should wait for the event loop
_LARGE = 1_000_000

# parts of a file, nothing, and nothing new
_AS_THEY_ARE = (204, 205, 206, 304)


@dataclass(frozen=True)
class Compression:
    """Codes answers by what the client accepts, and says of all that it might have coded that they vary.

    As they are stay pictures and archives, asset files and whatever else is asked for by Range, since ranges count
    bytes of the file itself, and what the application coded. A coded answer is another representation: its tag becomes
    a weak one, and it offers no ranges.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Code the answer, or leave it as it is."""
        if scope["type"] != "http" or _is_asset(scope):
            await self.app(scope, receive, send)
            return
        headers = scope["headers"]
        ranged = header(headers, b"range") is not None
        coding = None if ranged else choose_coding(combined(headers, b"accept-encoding"))
        await self.app(scope, receive, _Answer(scope["method"] == "HEAD", coding, send).send)


class _Answer:
    """One answer on its way out."""

    def __init__(self, bodiless: bool, coding: Coding | None, send: Send) -> None:
        self._bodiless = bodiless
        self._coding = coding
        self._send = send
        self._start: Message | None = None
        self._coder: Coder | None = None

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            await self._begin(message)
        elif kind == "http.response.body" and self._coder is not None:
            await self._send(_piece(self._coder, message))
        elif kind == "http.response.body" and self._start is not None and self._coding is not None:
            start, self._start = self._start, None
            await self._first(start, message, self._coding)
        else:
            if self._start is not None:
                start, self._start = self._start, None
                await self._send(start)
            await self._send(message)

    async def _begin(self, message: Message) -> None:
        headers: RawHeaders = message["headers"]
        content_type = header(headers, b"content-type")
        status = message["status"]
        if status == 304 or (content_type is not None and gains(content_type)):
            message = {**message, "headers": with_vary(headers, b"Accept-Encoding")}
            if self._coding is not None and status not in _AS_THEY_ARE and not _is_final(headers):
                # only its body says whether it is worth it
                self._start = message
                return
        await self._send(message)

    async def _first(self, start: Message, message: Message, coding: Coding) -> None:
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            self._coder = coding.stream()
            await self._send(_coded(start, coding, length=None))
            await self._send(_piece(self._coder, message))
        elif len(body) >= _SMALLEST:
            body = await asyncio.to_thread(coding.whole, body) if len(body) > _LARGE else coding.whole(body)
            await self._send(_coded(start, coding, length=len(body)))
            await self._send({**message, "body": body})
        elif self._bodiless and not body and int(header(start["headers"], b"content-length") or 0) >= _SMALLEST:
            # of a file nobody has read; to GET it would be coded
            await self._send(_coded(start, coding, length=None))
            await self._send(message)
        else:
            await self._send(start)
            await self._send(message)


def _piece(coder: Coder, message: Message) -> Message:
    body = message.get("body", b"")
    coded = coder.code(body) if body else b""
    return {**message, "body": coded if message.get("more_body", False) else coded + coder.end()}


def _coded(start: Message, coding: Coding, *, length: int | None) -> Message:
    headers = [
        (name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value)
        for name, value in without(start["headers"], b"content-length", b"accept-ranges")
    ]
    headers.append((b"content-encoding", coding.name.encode()))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {**start, "headers": headers}


def _is_final(headers: RawHeaders) -> bool:
    return (
        header(headers, b"content-encoding") is not None
        or header(headers, b"content-range") is not None
        or b"no-transform" in (header(headers, b"cache-control") or b"")
    )


def _is_asset(scope: Scope) -> bool:
    path: str = scope["path"]
    return path.startswith("/assets/", len(scope.get("root_path", "")))
