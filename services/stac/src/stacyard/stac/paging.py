"""Page tokens: `next:` or `prev:`, and which item the page lies behind or before.

They have the form of pgSTAC's, the item's collection and id in hexadecimal, and behind these the item's values of what
is sorted by: with them a page is found though the item is gone. In the usual order that is its time in microseconds
since 1970, in any other one `s` and a list as base64 of JSON. A token without them, such as pgSTAC's own, stands for
where its item is now.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import orjson

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_order import Position

_TOKEN = re.compile(
    r"(?P<way>next|prev):(?P<collection>(?:[0-9a-f]{2})+):(?P<item>(?:[0-9a-f]{2})+)"
    r"(?::(?:(?P<time>-?\d{1,18})|s(?P<values>[A-Za-z0-9_-]+)))?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# a value that is longer is looked up again instead
_LONGEST = 1500


def token_of(position: Position) -> str:
    """What a token of this item holds behind its direction."""
    item = f"{position.collection.encode().hex()}:{position.item.encode().hex()}"
    values = [(value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value for value in position.values]
    if len(values) == 1 and isinstance(values[0], int):
        return f"{item}:{values[0]}"
    if not values:
        return item
    text = orjson.dumps(values)
    return item if len(text) > _LONGEST else f"{item}:s{urlsafe_b64encode(text).decode().rstrip('=')}"


def position_of(token: str) -> tuple[Position, bool]:
    """The item that a token names, and whether the page lies before it.

    Raises:
        InvalidRequest: no `next` or `prev` link of ours ever held it.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None:
        raise InvalidRequest(
            "this is no page token; follow the `next` and `prev` links of an answer instead of making one",
            parameter="token",
        )
    try:
        values: list[datetime | str | None] = []
        if parts["time"] is not None:
            values = [_time(int(parts["time"]))]
        elif parts["values"] is not None:
            values = [_value(each) for each in orjson.loads(urlsafe_b64decode(parts["values"] + "==="))]
        collection, item = (bytes.fromhex(parts[name]).decode() for name in ("collection", "item"))
        return Position(tuple(values), collection, item), parts["way"] == "prev"
    except (OverflowError, ValueError, TypeError) as error:
        raise InvalidRequest("this page token is damaged; begin the search anew", parameter="token") from error


def _value(held: object) -> datetime | str | None:
    if isinstance(held, int) and not isinstance(held, bool):
        return _time(held)
    if held is None or isinstance(held, str):
        return held
    raise ValueError("no link ever held this")


def _time(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND
