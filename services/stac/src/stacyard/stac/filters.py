"""Filters as they are asked for, CQL2 as text or JSON or the query extension's, as the one form that searches know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from cql2 import Expr

from stacyard.core.bounds import check_filter_text
from stacyard.core.errors import InvalidRequest

Filter = Mapping[str, Any]

_CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
_TEXT, _JSON = "cql2-text", "cql2-json"

# https://github.com/stac-api-extensions/query
_COMPARISONS = {"eq": "=", "neq": "<>", "ne": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}


def filter_of(value: Any, language: str | None, crs: str | None) -> Filter:
    """The `filter` of a request.

    Args:
        value: the text of a GET, or what stands in a JSON body.
        language: `filter-lang`; None: text is text unless it begins with a brace.
        crs: `filter-crs`; None: longitude and latitude.

    Raises:
        InvalidRequest: it is none that can be read.
    """
    if crs is not None and crs != _CRS84:
        raise InvalidRequest(f"coordinates in a filter are longitude and latitude: {_CRS84}", parameter="filter-crs")
    if language not in (None, _TEXT, _JSON):
        raise InvalidRequest(f"a filter is {_TEXT} or {_JSON}, not {language!r}", parameter="filter-lang")
    if isinstance(value, str):
        if not is_json(value, language):
            return _from_text(value)
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"filter is not valid JSON: {error}", parameter="filter") from error
    if not isinstance(value, dict) or "op" not in value:
        raise InvalidRequest(f"a filter in {_JSON} is an object with op and args", parameter="filter")
    return value


def is_json(text: str, language: str | None) -> bool:
    """Whether a filter that is written as text is JSON; if nothing says so, it is if it begins with a brace."""
    return language == _JSON or (language is None and text.lstrip().startswith("{"))


def query_of(value: Any) -> Filter | None:
    """The `query` of a request; None if it asks for nothing.

    Raises:
        InvalidRequest: it is none, or has an operator that the extension does not know.
    """
    if not isinstance(value, dict):
        raise InvalidRequest("query is an object of properties, each with operators and values", parameter="query")
    conditions = [
        _condition(name, operator, wanted)
        for name, operators in value.items()
        for operator, wanted in (operators.items() if isinstance(operators, dict) else [("eq", operators)])
        # as pgSTAC has it: what is compared with nothing is not compared
        if wanted is not None
    ]
    return {"op": "and", "args": conditions} if conditions else None


def both(first: Filter | None, second: Filter | None) -> Filter | None:
    """What both are true of."""
    given = [each for each in (first, second) if each is not None]
    return {"op": "and", "args": given} if len(given) > 1 else given[0] if given else None


def _from_text(text: str) -> Filter:
    # the parser doubles its time with every bracket of a text that it does not understand, and dies of many
    check_filter_text(text)
    try:
        parsed = Expr(text).to_json()
    # cql2 raises Exception itself
    except Exception as error:
        raise InvalidRequest(f"filter is no CQL2 text: {_first_line(error)}", parameter="filter") from error
    if not isinstance(parsed, dict) or "op" not in parsed:
        raise InvalidRequest("a filter is a condition, such as gsd < 1", parameter="filter")
    return parsed


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip(" =")[:200] if lines else "it cannot be read"


def _condition(name: str, operator: str, wanted: Any) -> Filter:
    property_ = {"property": name}
    if operator in _COMPARISONS:
        return {"op": _COMPARISONS[operator], "args": [property_, wanted]}
    if operator == "in":
        return {"op": "in", "args": [property_, wanted]}
    if operator in _PATTERNS and isinstance(wanted, str):
        escaped = wanted.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        return {"op": "like", "args": [property_, _PATTERNS[operator].format(escaped)]}
    known = ", ".join([*_COMPARISONS, "in", *_PATTERNS])
    raise InvalidRequest(f"{operator!r} with {wanted!r} is no query; there are {known}", parameter="query")
