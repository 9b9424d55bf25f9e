"""Page tokens: `next:` or `prev:`, and which item the page lies behind or before.

They have the form of pgSTAC's, the item's collection and id in hexadecimal, and the item's time behind these: with it a
page is found though the item is gone, and without it pgSTAC finds the page for a search that only it can do.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_pages import Position

_TOKEN = re.compile(r"(?P<plain>(?:next|prev):[^:\s]+(?::(?P<item>[^:\s]+))?)(?(item)(?::(?P<time>-?\d{1,18}))?)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def check_token(token: str | None) -> None:
    """Let a page token pass.

    Raises:
        InvalidRequest: it is none that a `next` or `prev` link of ours ever held.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise InvalidRequest(
            "this is no page token; follow the `next` and `prev` links of an answer instead of making one",
            parameter="token",
        )


def token_of(position: Position) -> str:
    """What a token of this item holds behind its direction."""
    microseconds = (position.time - _EPOCH) // _MICROSECOND
    return f"{position.collection.encode().hex()}:{position.item.encode().hex()}:{microseconds}"


def position_of(token: str) -> Position | None:
    """The item of a token that `check_token` let pass; None if the token does not say its time.

    Raises:
        InvalidRequest: it says what no link ever said.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None or parts["time"] is None:
        return None
    _, collection, item = parts["plain"].split(":")
    try:
        time = _EPOCH + int(parts["time"]) * _MICROSECOND
        return Position(time, bytes.fromhex(collection).decode(), bytes.fromhex(item).decode())
    except (OverflowError, ValueError) as error:
        raise InvalidRequest("this page token is damaged; begin the search anew", parameter="token") from error


def goes_back(token: str) -> bool:
    """Whether the page lies before the token's item."""
    return token.startswith("prev:")


def for_pgstac(token: str) -> str:
    """The token as pgSTAC knows it."""
    parts = _TOKEN.fullmatch(token)
    return parts["plain"] if parts else token
