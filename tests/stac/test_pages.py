"""Page tokens, and which searches are a statement of our own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stac_fastapi.api.models import create_post_request_model
from stac_fastapi.pgstac.types.search import PgstacSearch

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_pages import PageQuery, Position
from stacyard.stac.paging import check_token, for_pgstac, goes_back, position_of, token_of
from stacyard.stac.search import page_query
from stacyard.stac.settings import StacSettings
from stacyard.stac.transactions import CatalogExtensions

# the model that our service makes its requests of
Search = create_post_request_model(
    CatalogExtensions(settings=StacSettings().upstream()).search,
    base_model=PgstacSearch,
)
NOON = datetime(2020, 5, 18, 12, tzinfo=UTC)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)


@given(
    time=st.datetimes(timezones=st.timezones()).filter(lambda time: 2 < time.year < 9998),
    collection=names,
    item=names,
    way=st.sampled_from(["next", "prev"]),
)
def test_a_token_names_its_item_and_time_and_is_pgstacs_own_without_the_time(
    time: datetime, collection: str, item: str, way: str
) -> None:
    position = Position(time.astimezone(UTC), collection, item)
    token = f"{way}:{token_of(position)}"
    check_token(token)
    assert position_of(token) == position
    assert goes_back(token) == (way == "prev")
    assert for_pgstac(token) == f"{way}:{collection.encode().hex()}:{item.encode().hex()}"
    assert position_of(for_pgstac(token)) is None


@pytest.mark.parametrize("token", ["next:zz:61:5", "next:61:ff:5", "prev:61:61:" + 18 * "9"])
def test_a_token_that_says_what_no_link_said_is_refused(token: str) -> None:
    check_token(token)
    with pytest.raises(InvalidRequest, match="damaged"):
        position_of(token)


def query_of(**parameters: Any) -> PageQuery | None:
    return page_query(Search(**{"limit": 10, **parameters}))


@pytest.mark.parametrize(
    ("parameters", "asked"),
    [
        ({}, {}),
        ({"collections": ["a", "b"], "ids": ["x"]}, {"collections": ["a", "b"], "ids": ["x"]}),
        ({"bbox": [1, 2, 3, 4]}, {"boxes": [(1, 2, 3, 4)]}),
        ({"bbox": [170, -5, -170, 5]}, {"boxes": [(170, -5, 180.0, 5), (-180.0, -5, -170, 5)]}),
        ({"datetime": "2020-05-18T12:00:00Z"}, {"first": NOON, "last": NOON}),
        ({"datetime": "../2020-05-18T13:00:00+01:00"}, {"last": NOON}),
        ({"datetime": "2020-05-18T12:00:00Z/.."}, {"first": NOON}),
        ({"sortby": [{"field": "datetime", "direction": "asc"}]}, {"ascending": True}),
        ({"sortby": [{"field": "properties.datetime", "direction": "desc"}]}, {"ascending": False}),
        (
            {"token": "prev:61:62:0"},
            {"start": Position(datetime(1970, 1, 1, tzinfo=UTC), "a", "b"), "backwards": True},
        ),
    ],
)
def test_a_search_by_place_time_and_id_is_ours(parameters: dict[str, Any], asked: dict[str, Any]) -> None:
    assert query_of(**parameters) == PageQuery(limit=10, **asked)


@pytest.mark.parametrize(
    "parameters",
    [
        {"query": {"eo:cloud_cover": {"lt": 5}}},
        {"filter": {"op": "=", "args": [{"property": "id"}, "x"]}},
        {"fields": {"include": ["id"]}},
        {"fields": {"exclude": ["links"]}},
        {"sortby": [{"field": "eo:cloud_cover", "direction": "asc"}]},
        {"sortby": [{"field": "datetime", "direction": "asc"}, {"field": "id", "direction": "desc"}]},
        {"bbox": [1, 2, 0, 3, 4, 10]},
        {"collections": []},
        {"token": "next:61:62"},
    ],
)
def test_what_only_pgstac_can_do_is_left_to_it(parameters: dict[str, Any]) -> None:
    assert query_of(**parameters) is None


def test_times_of_another_zone_are_the_same_instant() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=-3))).isoformat()
    assert query_of(datetime=elsewhere) == query_of(datetime="2020-05-18T12:00:00Z")
