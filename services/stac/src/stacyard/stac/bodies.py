"""The JSON body of a request, within bounds: what cannot be stored or would cost too much is refused before it is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson
from fastapi import Request
from starlette.concurrency import run_in_threadpool

from stacyard.core.errors import InvalidRequest, TooLarge, UnsupportedMediaType

JSON = ("application/json", "application/geo+json")
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"

#: Levels of objects and arrays; neither STAC nor GeoJSON comes near it, and recursion beyond it is expensive.
MAX_DEPTH = 64


async def read_json(request: Request, *, max_bytes: int, types: Collection[str] = JSON) -> Any:
    """The body as a value.

    Args:
        request: whose body it is.
        max_bytes: how long it may be.
        types: media types that it may have.

    Raises:
        UnsupportedMediaType: it is of another type, or is encoded.
        TooLarge: it is longer.
        InvalidRequest: it is no JSON, is nested too deeply, or holds a NUL character, which PostgreSQL has none of.
    """
    kind = media_type(request)
    if kind not in types:
        said = repr(kind) if kind else "none"
        raise UnsupportedMediaType(f"the Content-Type is {said}: send JSON as {' or '.join(types)}")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMediaType("the body has a Content-Encoding: send it without one")
    return await run_in_threadpool(parse_json, await _read(request, max_bytes))


def media_type(request: Request) -> str:
    """The media type that the request says its body has, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _read(request: Request, max_bytes: int) -> bytes:
    refusal = TooLarge(f"the body is longer than {max_bytes} bytes: send fewer items at a time")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes:
        raise refusal
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise refusal
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """The value of JSON text.

    Raises:
        InvalidRequest: it is no JSON (which has no NaN and no Infinity), or has what `read_json` refuses.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", parameter="body") from error
    check_value(value)
    return value


def check_value(value: Any) -> None:
    """Let a JSON value pass.

    Raises:
        InvalidRequest: it is nested too deeply or holds a NUL character; the message names the place.
    """
    places: list[tuple[str, int, Any]] = [("", 0, value)]
    while places:
        place, depth, value = places.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise InvalidRequest(f"{place}: there is a NUL character: leave it out", parameter=place)
        elif isinstance(value, dict | list):
            if depth == MAX_DEPTH:
                raise InvalidRequest(f"{place}: nested deeper than {MAX_DEPTH} levels", parameter=place)
            members = value.items() if isinstance(value, dict) else enumerate(value)
            for name, member in members:
                if isinstance(name, str) and "\0" in name:
                    raise InvalidRequest(f"{place}: a name has a NUL character: leave it out", parameter=place)
                if isinstance(member, str | dict | list):
                    places.append((pointer(place, name), depth + 1, member))


def pointer(place: str, *names: str | int) -> str:
    """A JSON pointer (RFC 6901) further into a place."""
    return place + "".join(f"/{str(name).replace('~', '~0').replace('/', '~1')}" for name in names)
