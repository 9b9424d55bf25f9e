"""How search parameters become a search: what is checked before the database sees it, and what is asked of it.

Searches by place, time, collection and id in the usual order are one statement of our own; those with `query`,
`filter`, free text, fields or another order are still pgSTAC's `search` function.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_pydantic.api.extensions.sort import SortDirections

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_pages import Box, PageQuery
from stacyard.stac.paging import goes_back, position_of

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
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"there is no such time as {text!r}: {error}", parameter="datetime") from error


def check_limit(limit: int | None) -> None:
    """Let a page size pass; one above what a page may hold is cut, not refused.

    Raises:
        InvalidRequest: it is below 1.
    """
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit is at least 1, not {limit}", parameter="limit")


def page_query(search: PgstacSearch) -> PageQuery | None:
    """What a checked search asks for; None if only pgSTAC can do it.

    Raises:
        InvalidRequest: its token is damaged.
    """
    fields = getattr(search, "fields", None)
    if any(getattr(search, name, None) for name in ("query", "filter_expr", "q")) or (
        fields and (fields.include or fields.exclude)
    ):
        return None
    ascending = _ascends(getattr(search, "sortby", None))
    interval = _interval(search.datetime)
    token = getattr(search, "token", None)
    start = position_of(token) if token else None
    if ascending is None or interval is None or (search.bbox and len(search.bbox) != 4) or (token and start is None):
        return None
    if search.collections is not None and not search.collections:
        return None
    return PageQuery(
        limit=search.limit,
        collections=search.collections or (),
        ids=search.ids,
        boxes=_boxes(search.bbox) if search.bbox else (),
        geometry=search.intersects.model_dump_json(exclude_none=True) if search.intersects else None,
        first=interval[0],
        last=interval[1],
        ascending=ascending,
        start=start,
        backwards=goes_back(token) if token else False,
    )


def _ascends(sortby: Sequence[object] | None) -> bool | None:
    """Whether the oldest comes first; None for an order by something else."""
    if not sortby:
        return False
    [first, *others] = sortby
    if others or getattr(first, "field", None) not in ("datetime", "properties.datetime"):
        return None
    return SortDirections(getattr(first, "direction", "asc")) is SortDirections.asc


def _interval(value: str | None) -> tuple[datetime | None, datetime | None] | None:
    """From when until when, None where it is open; None for both in a form that only pgSTAC reads."""
    if value is None:
        return None, None
    parts = value.split("/")
    if len(parts) > 2 or not all(part in ("", "..") or _INSTANT.fullmatch(part) for part in parts):
        return None
    ends = [None if part in ("", "..") else _instant(part) for part in parts]
    return ends[0], ends[-1]


def _boxes(bbox: Sequence[float]) -> list[Box]:
    """The box, or the two that it is made of where it crosses the antimeridian."""
    west, south, east, north = bbox
    if west > east:
        return [(west, south, 180.0, north), (-180.0, south, east, north)]
    return [(west, south, east, north)]
