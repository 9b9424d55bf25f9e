"""The bounds of a search: exact where they lie, and reached without recursion by whatever a client sends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from cql2 import Expr
from hypothesis import given
from hypothesis import strategies as st
from shapely import LineString, MultiPolygon, Polygon, get_num_coordinates
from shapely.geometry import mapping

from stacyard.core.bounds import (
    FILTER_CHARACTERS,
    FILTER_DEPTH,
    GEOMETRY_DEPTH,
    TEXT_DEPTH,
    check_count,
    check_filter,
    check_filter_text,
    check_geometry,
)
from stacyard.core.errors import InvalidRequest
from stacyard.stac.bounds import check_bounds
from stacyard.stac.settings import SearchBounds

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["op", "args", "type", "coordinates", "geometries", "property"]), inner)
    ),
    max_leaves=20,
)

SHAPES = [
    LineString([(n, n) for n in range(7)]),
    Polygon([(0, 0), (9, 0), (9, 9), (0, 9)], [[(1, 1), (2, 1), (2, 2)]]),
    MultiPolygon([Polygon([(n, 0), (n + 0.5, 0), (n, 1)]) for n in range(5)]),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: str(shape.geom_type))
def test_vertices_are_counted_as_shapely_counts_them(shape: Any) -> None:
    count = int(get_num_coordinates(shape))
    for geometry in (mapping(shape), json.loads(json.dumps(mapping(shape)))):
        for wrapped in (geometry, {"type": "GeometryCollection", "geometries": [geometry]}):
            check_geometry(wrapped, vertices=count + (wrapped is not geometry))
            with pytest.raises(InvalidRequest, match=f"more than {count - 1} vertices; simplify it"):
                check_geometry(wrapped, vertices=count - 1)


def nested_collections(depth: int) -> dict[str, Any]:
    geometry: dict[str, Any] = {"type": "Point", "coordinates": [0, 0]}
    for _ in range(depth):
        geometry = {"type": "GeometryCollection", "geometries": [geometry]}
    return geometry


def nested_filter(depth: int) -> dict[str, Any]:
    filter_: dict[str, Any] = {"op": "=", "args": [{"property": "a"}, 1]}
    for _ in range(depth):
        filter_ = {"op": "not", "args": [filter_]}
    return filter_


def test_what_is_nested_too_deep_is_refused_however_deep_it_is() -> None:
    check_geometry(nested_collections(GEOMETRY_DEPTH), vertices=100)
    check_filter(nested_filter(FILTER_DEPTH - 2), terms=1000, vertices=10)
    check_filter_text("(" * TEXT_DEPTH + "a=1" + ")" * TEXT_DEPTH)
    coordinates: Any = 1
    for _ in range(100_000):
        coordinates = [coordinates]
    refusals: list[Callable[[], None]] = [
        lambda: check_geometry(nested_collections(GEOMETRY_DEPTH + 1), vertices=100),
        lambda: check_geometry(nested_collections(50_000), vertices=100),
        lambda: check_geometry({"type": "Point", "coordinates": coordinates}, vertices=10**9),
        lambda: check_filter(nested_filter(FILTER_DEPTH + 1), terms=10**9, vertices=10),
        lambda: check_filter(nested_filter(50_000), terms=10**9, vertices=10),
        lambda: check_filter_text("(" * (TEXT_DEPTH + 1) + "a=1" + ")" * (TEXT_DEPTH + 1)),
    ]
    for refused in refusals:
        with pytest.raises(InvalidRequest, match="deep"):
            refused()


def test_a_filter_is_bounded_in_terms_and_in_the_vertices_of_all_its_geometries() -> None:
    ids = {"op": "in", "args": [{"property": "id"}, [str(n) for n in range(100)]]}
    check_filter(ids, terms=107, vertices=0)
    with pytest.raises(InvalidRequest, match="more than 100 operators"):
        check_filter(ids, terms=100, vertices=0)
    fields = [{"op": "s_intersects", "args": [{"property": "geometry"}, mapping(shape)]} for shape in SHAPES]
    count = sum(int(get_num_coordinates(shape)) for shape in SHAPES)
    check_filter({"op": "or", "args": fields}, terms=30, vertices=count)
    with pytest.raises(InvalidRequest, match="vertices"):
        check_filter({"op": "or", "args": fields}, terms=30, vertices=count - 1)


def test_what_stands_in_quotes_is_no_parenthesis() -> None:
    check_filter_text("title = '" + "(" * 100 + "'' ((' AND \"((" + "(" * 50 + '" = 1')
    with pytest.raises(InvalidRequest, match="POST"):
        check_filter_text("a" * (FILTER_CHARACTERS + 1))


@given(
    st.lists(st.sampled_from(["(", ")", "[", "'", '"', "NOT ", "-", "a", "=1", ",", " AND ", "f(", "IN ("])).map(
        "".join
    )
)
def test_no_text_within_the_bounds_kills_the_parser(text: str) -> None:
    """One of 4,000 bytes beyond them does: it ends the process by a fault that no Python code can catch."""
    try:
        check_filter_text(text)
    except InvalidRequest:
        return
    with suppress(Exception):  # that it is no CQL2, which is said by a bare exception
        expression: Any = Expr(text)
        expression.to_json()


@pytest.mark.parametrize(
    ("opening", "closing"),
    [
        ("a=1 AND ", ""),
        ("NOT a=1 OR ", ""),
        ("((((((((((a=1)))))))))) OR ", ""),
        ("(" * TEXT_DEPTH, ")" * TEXT_DEPTH),
        ("NOT NOT NOT NOT (" * TEXT_DEPTH, ")" * TEXT_DEPTH),
        ("a=" + "----(" * TEXT_DEPTH + "1" + ")" * TEXT_DEPTH + " OR ", ""),
        ("a=" + "f(" * TEXT_DEPTH + "1" + ")" * TEXT_DEPTH + " OR ", ""),
        ("a=" + "2^" * 1500 + "2 AND ", ""),
    ],
)
def test_the_worst_within_the_bounds_is_parsed(opening: str, closing: str) -> None:
    repeat = max(1, (FILTER_CHARACTERS - 3) // len(opening)) if not closing else 1
    text = opening * repeat + "a=1" + closing
    check_filter_text(text)
    expression: Any = Expr(text)
    assert expression.to_json()


@pytest.mark.parametrize("wrong", ["(" * TEXT_DEPTH, "(" * TEXT_DEPTH + "a=" + ")" * TEXT_DEPTH, "a" + "=a" * 1999])
def test_what_cannot_be_parsed_within_the_bounds_is_refused_soon(wrong: str) -> None:
    check_filter_text(wrong)
    began = time.process_time()
    with suppress(Exception):  # as above
        Expr(wrong)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("piece", ["NOT ", "not\n", "-", "- ", "+-", "NOT -"])
def test_operators_in_a_row_nest_too(piece: str) -> None:
    with pytest.raises(InvalidRequest, match="in a row"):
        check_filter_text(piece * 50 + "a=1")


@given(json_values, st.integers(0, 5))
def test_nothing_that_is_json_breaks_a_check(value: Any, most: int) -> None:
    checks: list[Callable[[], None]] = [
        lambda: check_geometry(value, vertices=most),
        lambda: check_filter(value, terms=most, vertices=most),
        lambda: check_bounds({"intersects": value, "filter": value, "query": value, "fields": value}, SearchBounds()),
    ]
    for check in checks:
        with suppress(InvalidRequest):
            check()


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("ids", ["a"] * 3),
        ("collections", ["a"] * 3),
        ("sortby", [{"field": "a"}] * 3),
        ("fields", {"include": ["a", "b"], "exclude": {"c"}}),
        ("intersects", mapping(SHAPES[0])),
        ("filter", nested_filter(1)),
        ("query", {"a": {"eq": 1}, "b": {"eq": 2}}),
    ],
)
def test_each_parameter_has_its_bound_and_a_search_within_it_passes(parameter: str, value: Any) -> None:
    tight = SearchBounds.model_construct(ids=2, collections=2, vertices=5, filter_terms=4, fields=2, sortby=2)
    with pytest.raises(InvalidRequest) as refusal:
        check_bounds({parameter: value}, tight)
    assert refusal.value.parameter == parameter
    check_bounds({parameter: value}, SearchBounds())
    check_bounds(dict.fromkeys(("ids", "collections", "sortby", "fields", "intersects", "filter", "query")), tight)
    check_count(None, most=0, parameter="ids")
