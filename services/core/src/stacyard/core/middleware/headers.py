"""Reading and changing ASGI header lists as they are: on a hot path Starlette's classes cost more than the work.

Names are lower case, as ASGI has them.
"""

from __future__ import annotations

from collections.abc import Iterable

RawHeaders = list[tuple[bytes, bytes]]


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of the first field of this name."""
    for key, value in headers:
        if key == name:
            return value
    return None


def combined(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The values of all fields of this name as one list. RFC 9110, section 5.3."""
    values = [value for key, value in headers if key == name]
    return b", ".join(values) if values else None


def without(headers: Iterable[tuple[bytes, bytes]], *names: bytes) -> RawHeaders:
    """All fields but those of these names."""
    return [field for field in headers if field[0] not in names]


def with_vary(headers: RawHeaders, name: bytes) -> RawHeaders:
    """The fields, among them a Vary that names a request header too."""
    vary = combined(headers, b"vary")
    if vary is None:
        return [*headers, (b"vary", name)]
    if vary.strip() == b"*" or name.lower() in (part.strip() for part in vary.lower().split(b",")):
        return headers
    return [*without(headers, b"vary"), (b"vary", vary + b", " + name)]
