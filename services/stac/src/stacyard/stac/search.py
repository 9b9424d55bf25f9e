"""How the parameters of a search become a search: what is checked, and what is asked of the database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_order import SortKey
from stacyard.core.pgstac_pages import PageQuery
from stacyard.core.pgstac_text import text_query
from stacyard.core.pgstac_where import ItemQuery
from stacyard.core.places import boxes_of, positions_of
from stacyard.stac.filters import both, filter_of, is_json, query_of
from stacyard.stac.paging import position_of

# https://github.com/radiantearth/stac-api-spec/tree/v1.0.0/item-search
DEFAULT_LIMIT = 10
# RFC 3339, section 5.6, as the STAC API asks for it
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.IGNORECASE)
_LISTS = ("collections", "ids", "bbox", "sortby", "fields", "q", "aggregations")
_DIRECTIONS = {"asc": True, "desc": False}


@dataclass(frozen=True, kw_only=True)
class Fields:
    """Which members of items are asked for: dotted paths."""

    include: frozenset[str]
    exclude: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class ItemSearch:
    """A search as it is asked for. `count`: the answer is to say how many items match."""

    page: PageQuery
    fields: Fields | None = None
    count: bool = False


def parameters_of(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """The parameters of a query string, lists taken apart, in the form of a JSON body.

    Raises:
        InvalidRequest: a number is none.
    """
    parameters: dict[str, Any] = {}
    for name, text in pairs:
        if name in _LISTS:
            parameters[name] = parameters.get(name, []) + [part.strip() for part in text.split(",") if part.strip()]
        elif text or name == "datetime":
            parameters[name] = text
    if "bbox" in parameters:
        parameters["bbox"] = _numbers(parameters["bbox"], "bbox")
    if "limit" in parameters:
        parameters["limit"] = _whole_number(parameters["limit"], "limit")
    if "intersects" in parameters:
        parameters["intersects"] = _json(parameters["intersects"], "intersects")
    if "query" in parameters:
        parameters["query"] = _json(parameters["query"], "query")
    if "filter" in parameters and is_json(parameters["filter"], parameters.get("filter-lang")):
        parameters["filter"] = _json(parameters["filter"], "filter")
    if "sortby" in parameters:
        parameters["sortby"] = [_sort_of(text) for text in parameters["sortby"]]
    if "fields" in parameters:
        names = parameters["fields"]
        parameters["fields"] = {
            "include": [name.removeprefix("+") for name in names if not name.startswith("-")],
            "exclude": [name[1:] for name in names if name.startswith("-")],
        }
    if "count" in parameters:
        parameters["count"] = parameters["count"].lower() in ("true", "1")
    return parameters


def search_of(parameters: Mapping[str, Any], *, page_limit: int, collection: str | None = None) -> ItemSearch:
    """What a request asks for.

    Args:
        parameters: a JSON body, or what `parameters_of` makes of a query string.
        page_limit: items a page may hold at the most; who asks for more gets as many.
        collection: the only one that is searched, if the path names it.

    Raises:
        InvalidRequest: a parameter is wrong; the message says what to change.
    """
    token = _text(parameters, "token")
    start, backwards = position_of(token) if token else (None, False)
    limit = parameters.get("limit")
    check_limit(limit)
    return ItemSearch(
        page=PageQuery(
            items=items_of(parameters, collection=collection),
            # OGC API Features 1.0, requirement 22: a limit above the maximum is no error
            limit=min(limit or DEFAULT_LIMIT, page_limit),
            sort=_sort(parameters.get("sortby")),
            start=start,
            backwards=backwards,
        ),
        fields=_fields(parameters.get("fields")),
        count=parameters.get("count") is True,
    )


def items_of(parameters: Mapping[str, Any], *, collection: str | None = None) -> ItemQuery:
    """Which items a request asks for, whatever it wants to know of them. Parameters and errors as `search_of`."""
    bbox, intersects = parameters.get("bbox"), parameters.get("intersects")
    if bbox and intersects:
        raise InvalidRequest("a search is by bbox or by intersects, not by both", parameter="intersects")
    if bbox is not None and not isinstance(bbox, list):
        raise InvalidRequest("a bbox is a list of 4 or 6 numbers", parameter="bbox")
    if intersects is not None:
        if not isinstance(intersects, dict):
            raise InvalidRequest("intersects is a GeoJSON geometry", parameter="intersects")
        positions_of(intersects)
    first, last = interval_of(_text(parameters, "datetime"))
    query, wanted = parameters.get("query"), parameters.get("filter")
    language, crs = _text(parameters, "filter-lang"), _text(parameters, "filter-crs")
    return ItemQuery(
        collections=[collection] if collection is not None else _names(parameters, "collections") or (),
        # an empty list asks for nothing in particular
        ids=_names(parameters, "ids") or None,
        boxes=boxes_of(bbox) if bbox else (),
        geometry=intersects,
        first=first,
        last=last,
        filter=both(
            query_of(query) if query is not None else None,
            filter_of(wanted, language, crs) if wanted is not None else None,
        ),
        text=text_query(words) if (words := _words(parameters.get("q"))) else None,
    )


def interval_of(value: str | None) -> tuple[datetime | None, datetime | None]:
    """From when until when a `datetime` is: an RFC 3339 instant or an interval `start/end`, `..` or nothing: open.

    Raises:
        InvalidRequest: it is neither, or an interval whose end lies before its start.
    """
    if value is None:
        return None, None
    parts = value.split("/")
    ends = [None if part in ("", "..") else _instant(part) for part in parts]
    if len(parts) > 2 or all(end is None for end in ends):
        raise InvalidRequest(
            f"{value!r} is no datetime; write 2020-05-18T00:00:00Z, or an interval such as 2020-05-01T00:00:00Z/..",
            parameter="datetime",
        )
    first, last = ends[0], ends[-1]
    if first is not None and last is not None and last < first:
        raise InvalidRequest(f"the interval {value!r} ends before it starts", parameter="datetime")
    return first, last


def check_limit(limit: Any) -> None:
    """Let a page size pass; one above what a page may hold is cut, not refused.

    Raises:
        InvalidRequest: it is no whole number from 1 on.
    """
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise InvalidRequest(f"limit is a whole number from 1 on, not {limit}", parameter="limit")


def _instant(text: str) -> datetime:
    if not _INSTANT.fullmatch(text):
        raise InvalidRequest(
            f"{text!r} is no RFC 3339 date-time; write for example 2020-05-18T13:00:00Z", parameter="datetime"
        )
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"there is no such time as {text!r}: {error}", parameter="datetime") from error


def _sort(sortby: Any) -> Sequence[SortKey]:
    if sortby is None:
        return ()
    if not isinstance(sortby, list):
        raise InvalidRequest('sortby is a list such as [{"field": "datetime", "direction": "asc"}]', parameter="sortby")
    return [_sort_key(each) for each in sortby]


def _sort_key(each: Any) -> SortKey:
    if not isinstance(each, dict) or not isinstance(each.get("field"), str) or not each["field"].strip():
        raise InvalidRequest("each entry of sortby names a field", parameter="sortby")
    direction = each.get("direction", "asc")
    if direction not in _DIRECTIONS:
        raise InvalidRequest(f"the direction of sortby is asc or desc, not {direction!r}", parameter="sortby")
    return SortKey(each["field"], _DIRECTIONS[direction])


def _sort_of(text: str) -> dict[str, str]:
    return {"field": text.lstrip("+-").strip(), "direction": "desc" if text.startswith("-") else "asc"}


def _fields(fields: Any) -> Fields | None:
    if fields is None:
        return None
    if not isinstance(fields, dict):
        raise InvalidRequest("fields is an object with include and exclude", parameter="fields")
    include, exclude = (frozenset(_names(fields, name) or ()) for name in ("include", "exclude"))
    return Fields(include=include, exclude=exclude) if include or exclude else None


def _names(parameters: Mapping[str, Any], name: str) -> list[str] | None:
    names = parameters.get(name)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(each, str) for each in names):
        raise InvalidRequest(f"{name} is a list of texts", parameter=name)
    return names


def _words(q: Any) -> list[str]:
    if q is None or isinstance(q, str):
        return [q] if q else []
    if not isinstance(q, list) or not all(isinstance(each, str) for each in q):
        raise InvalidRequest("q is a text or a list of texts", parameter="q")
    return q


def _text(parameters: Mapping[str, Any], name: str) -> str | None:
    text = parameters.get(name)
    if text is not None and not isinstance(text, str):
        raise InvalidRequest(f"{name} is a text", parameter=name)
    return text


def _json(text: str, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"{name} is not valid JSON: {error}", parameter=name) from error


def _numbers(texts: Sequence[str], name: str) -> list[float]:
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise InvalidRequest(f"{name} is a list of numbers, not {','.join(texts)}", parameter=name) from error


def _whole_number(text: str, name: str) -> int:
    if not re.fullmatch(r"[+-]?\d{1,18}", text):
        raise InvalidRequest(f"{name} is a whole number, not {text!r}", parameter=name)
    return int(text)
