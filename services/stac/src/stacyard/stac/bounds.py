"""A search within its bounds, whichever route it came by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stacyard.core.bounds import check_count, check_filter, check_filter_text, check_geometry
from stacyard.stac.settings import SearchBounds


def check_bounds(search: Mapping[str, Any], bounds: SearchBounds) -> None:
    """Let the parameters of a search pass that ask for no more than they may.

    Args:
        search: parameters by the names that the STAC API gives them in a JSON body. `intersects`, `query` and a CQL2
            JSON `filter` are decoded, a CQL2 text is text; what is None or absent costs nothing.
        bounds: what they may ask for.

    Raises:
        InvalidRequest: one asks for more; the sentence says what to change.
    """
    check_count(search.get("ids"), most=bounds.ids, parameter="ids")
    check_count(search.get("collections"), most=bounds.collections, parameter="collections")
    check_count(search.get("sortby"), most=bounds.sortby, parameter="sortby")
    check_count(_names_of(search.get("fields")), most=bounds.fields, parameter="fields")
    check_geometry(search.get("intersects"), vertices=bounds.vertices)
    for name in ("filter", "query"):
        given = search.get(name)
        if isinstance(given, str):
            check_filter_text(given, parameter=name)
        else:
            check_filter(given, terms=bounds.filter_terms, vertices=bounds.vertices, parameter=name)


def _names_of(fields: object) -> list[object]:
    if isinstance(fields, Mapping):
        return [*(fields.get("include") or ()), *(fields.get("exclude") or ())]
    return list(fields) if isinstance(fields, list | tuple | set) else []
