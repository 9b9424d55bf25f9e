"""How search parameters become a search: what is checked before the database sees it.

Today the search itself is pgSTAC's `search` function; the statement that replaces it belongs here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from stacyard.core.errors import InvalidRequest

# RFC 3339, section 5.6, as the STAC API asks for it
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE)


def check_bbox(bbox: Sequence[float] | None) -> None:
    """Let a bounding box in degrees pass: west, south, east, north, or with heights in third and sixth place.

    West may be greater than east: the box then crosses the antimeridian.

    Raises:
        InvalidRequest: it is no such box.
    """
    if bbox is None:
        return
    if len(bbox) not in (4, 6):
        raise InvalidRequest(f"a bbox has 4 or 6 numbers, this one has {len(bbox)}", parameter="bbox")
    west, south, east, north = bbox[0], bbox[1], bbox[len(bbox) // 2], bbox[len(bbox) // 2 + 1]
    if not (-180 <= west <= 180 and -180 <= east <= 180):
        raise InvalidRequest(f"longitudes are from -180 to 180, these are {west} and {east}", parameter="bbox")
    if not (-90 <= south <= north <= 90):
        raise InvalidRequest(
            f"latitudes are from -90 to 90, south first; these are {south} and {north}", parameter="bbox"
        )


def check_datetime(value: str | None) -> None:
    """Let an RFC 3339 instant or an interval `start/end` pass; `..` or nothing leaves one end open.

    Raises:
        InvalidRequest: it is neither, or an interval whose end lies before its start.
    """
    if value is None:
        return
    parts = value.split("/")
    ends = [None if part in ("", "..") else _instant(part) for part in parts]
    if len(parts) > 2 or all(end is None for end in ends):
        raise InvalidRequest(
            f"{value!r} is no datetime; write 2020-05-18T00:00:00Z, or an interval such as 2020-05-01T00:00:00Z/..",
            parameter="datetime",
        )
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None and ends[1] < ends[0]:
        raise InvalidRequest(f"the interval {value!r} ends before it starts", parameter="datetime")


def _instant(text: str) -> datetime:
    if not _INSTANT.fullmatch(text):
        raise InvalidRequest(
            f"{text!r} is no RFC 3339 date-time; write for example 2020-05-18T13:00:00Z", parameter="datetime"
        )
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidRequest(f"there is no such time as {text!r}: {error}", parameter="datetime") from error


def check_limit(limit: int | None) -> None:
    """Let a page size pass; one above what a page may hold is cut, not refused.

    Raises:
        InvalidRequest: it is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit is at least 1, not {limit}", parameter="limit")
