"""Page tokens, and how parameters become a search."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_order import Position, SortKey
from stacyard.core.pgstac_pages import PageQuery
from stacyard.core.pgstac_where import ItemQuery
from stacyard.stac.paging import position_of, token_of
from stacyard.stac.search import Fields, parameters_of, search_of

NOON = datetime(2020, 5, 18, 12, tzinfo=UTC)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)


values = st.lists(
    st.none() | st.text(st.characters(exclude_categories=("Cs",)), max_size=50) | st.datetimes(timezones=st.just(UTC)),
    max_size=3,
)


@given(values=values, collection=names, item=names, way=st.sampled_from(["next", "prev"]))
def test_a_token_says_where_its_item_is(values: list[Any], collection: str, item: str, way: str) -> None:
    position = Position(tuple(values), collection, item)
    assert position_of(f"{way}:{token_of(position)}") == (position, way == "prev")


def test_a_value_too_long_for_a_link_is_left_to_be_looked_up() -> None:
    position = Position(("x" * 2000,), "a", "b")
    assert position_of(f"next:{token_of(position)}") == (Position((), "a", "b"), False)


@pytest.mark.parametrize("token", ["next:61:ff:5", "prev:61:61:" + 18 * "9", "next:61:61:sxx", "next:61:61:sW3RydWVd"])
def test_a_token_that_says_what_no_link_said_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="damaged"):
        position_of(token)


CONDITION = {"op": "<", "args": [{"property": "eo:cloud_cover"}, 5]}
AS_GET: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("collections=a,b&ids=x", {"collections": ["a", "b"], "ids": ["x"]}),
    ("bbox=1,2,3,4.5", {"bbox": [1, 2, 3, 4.5]}),
    ('intersects={"type":"Point","coordinates":[1,2]}', {"intersects": {"type": "Point", "coordinates": [1, 2]}}),
    ("datetime=2020-05-18T12:00:00Z/..", {"datetime": "2020-05-18T12:00:00Z/.."}),
    ("sortby=%2Bdatetime,-gsd,id", {"sortby": [
        {"field": "datetime", "direction": "asc"}, {"field": "gsd", "direction": "desc"}, {"field": "id"}]}),
    ("sortby=+datetime", {"sortby": [{"field": "datetime", "direction": "asc"}]}),
    ("fields=id,%2Bbbox,-links", {"fields": {"include": ["bbox", "id"], "exclude": ["links"]}}),
    ("limit=3", {"limit": 3}),
    ("filter=eo:cloud_cover < 5", {"filter": CONDITION}),
    ("filter=eo:cloud_cover < 5&filter-lang=cql2-text", {"filter": CONDITION, "filter-lang": "cql2-json"}),
    ('filter={"op":"<","args":[{"property":"eo:cloud_cover"},5]}&filter-lang=cql2-json', {"filter": CONDITION}),
    ('query={"eo:cloud_cover":{"lt":5}}', {"query": {"eo:cloud_cover": {"lt": 5}}}),
    ("token=prev:61:62:0", {"token": "prev:61:62:0"}),
    ("count=true", {"count": True}),
]  # fmt: skip


@pytest.mark.parametrize(("query", "body"), AS_GET)
def test_get_and_post_ask_for_the_same(query: str, body: dict[str, Any]) -> None:
    pairs = parse_qsl(query, keep_blank_values=True)
    assert search_of(parameters_of(pairs), page_limit=100) == search_of(body, page_limit=100)


def test_a_search_is_what_its_parameters_say() -> None:
    body = {
        "collections": ["a"], "ids": ["x"], "bbox": [170, -5, -170, 5], "datetime": "../2020-05-18T14:00:00+02:00",
        "sortby": [{"field": "gsd", "direction": "desc"}], "limit": 5000, "token": "prev:61:62:0",
        "fields": {"include": ["id"]}, "query": {"gsd": {"gt": 1}}, "filter": CONDITION,
    }  # fmt: skip
    search = search_of(body, page_limit=100)
    assert search.page == PageQuery(
        items=ItemQuery(
            collections=["a"],
            ids=["x"],
            boxes=[(170.0, -5.0, 180.0, 5.0), (-180.0, -5.0, -170.0, 5.0)],
            last=NOON,
            filter={
                "op": "and",
                "args": [{"op": "and", "args": [{"op": ">", "args": [{"property": "gsd"}, 1]}]}, CONDITION],
            },
        ),
        limit=100,
        sort=[SortKey("gsd", ascending=False)],
        start=Position((datetime(1970, 1, 1, tzinfo=UTC),), "a", "b"),
        backwards=True,
    )
    assert search.fields == Fields(include=frozenset({"id"}), exclude=frozenset())


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"limit": 0}, "limit"),
    ({"limit": "5"}, "limit"),
    ({"limit": True}, "limit"),
    ({"limit": 1.5}, "limit"),
    ({"collections": "a"}, "collections"),
    ({"ids": [1]}, "ids"),
    ({"bbox": "1,2,3,4"}, "bbox"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox"),
    ({"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}}, "intersects"),
    ({"intersects": [1]}, "intersects"),
    ({"datetime": 2020}, "datetime"),
    ({"sortby": "datetime"}, "sortby"),
    ({"sortby": [{"direction": "asc"}]}, "sortby"),
    ({"sortby": [{"field": "id", "direction": "up"}]}, "sortby"),
    ({"fields": ["id"]}, "fields"),
    ({"query": ["a"]}, "query"),
    ({"query": {"a": {"near": 1}}}, "query"),
    ({"filter": ["a"]}, "filter"),
    ({"filter": "a <"}, "filter"),
    ({"filter": CONDITION, "filter-lang": "cql"}, "filter-lang"),
    ({"filter": CONDITION, "filter-crs": "EPSG:3857"}, "filter-crs"),
]


@pytest.mark.parametrize(("body", "parameter"), WRONG)
def test_what_is_wrong_is_named(body: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        search_of(body, page_limit=100)
    assert refused.value.parameter == parameter


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ({"a": {"startsWith": "5%_"}}, {"op": "like", "args": [{"property": "a"}, "5\\%\\_%"]}),
        ({"a": {"endsWith": "x"}}, {"op": "like", "args": [{"property": "a"}, "%x"]}),
        ({"a": {"contains": "x"}}, {"op": "like", "args": [{"property": "a"}, "%x%"]}),
        ({"a": {"in": [1, 2]}}, {"op": "in", "args": [{"property": "a"}, [1, 2]]}),
        ({"a": 3}, {"op": "=", "args": [{"property": "a"}, 3]}),
    ],
)
def test_a_query_is_a_filter(query: dict[str, Any], condition: dict[str, Any]) -> None:
    assert search_of({"query": query}, page_limit=10).page.items.filter == {"op": "and", "args": [condition]}


def test_times_of_another_zone_are_the_same_instant() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-3))).isoformat()
    assert search_of({"datetime": elsewhere}, page_limit=9) == search_of(
        {"datetime": "2020-05-18T12:00:00Z"}, page_limit=9
    )
