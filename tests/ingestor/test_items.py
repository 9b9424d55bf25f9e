"""Ready-made items: a thousand in seconds, each as this catalog keeps it, the bad ones named."""

from __future__ import annotations

import gzip
import time
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.sources.grouping import safe_id
from stacyard.ingestor.stages.items import adopt_all

from .conftest import DEMO, Yard, recipe_of

RECIPE = parse_recipe(
    "{collection: {id: c, title: t, description: d, license: other}, kind: items, items: {drop_assets: [tile]}}", "r"
)
ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.0.0",
    "id": "a",
    "geometry": {"type": "Point", "coordinates": [1, 2]},
    "bbox": [1, 2, 1, 2],
    "properties": {"datetime": "2020-01-01T00:00:00Z"},
    "links": [],
    "assets": {},
}


def adopt(item: dict[str, Any]) -> dict[str, Any]:
    """The item as the catalog keeps it, or a Rejected that says why it does not."""
    adopted = adopt_all([Line("line 1", orjson.dumps(item))], RECIPE, recipe_hash="")
    for rejection in adopted.rejected:
        raise Rejected(rejection.reason)
    return {name: orjson.loads(bytes(json)) for name, json in adopted.items[0].members.items()}


def test_a_thousand_items_in_seconds_and_nothing_the_second_time(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("naip")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    started = time.monotonic()
    summary = yard.ingest(recipe, DEMO / "naip")
    assert time.monotonic() - started < 10
    assert (summary.counts.loaded, summary.exit_code) == (1000, 0)
    items = yard.items(collection)
    with gzip.open(DEMO / "naip" / "naip_1000.ndjson.gz") as file:
        originals = {item["id"]: item for item in map(orjson.loads, file)}
    assert items.keys() == originals.keys()
    for item_id, item in items.items():
        assert [link["rel"] for link in item["links"]] == ["via"]
        assert item["geometry"] == originals[item_id]["geometry"]
        assert set(item["assets"]) == set(originals[item_id]["assets"]) - {"rendered_preview", "tilejson"}
    assert yard.ingest(recipe, DEMO / "naip").counts.unchanged == 1000


def test_bad_lines_are_rejected_by_line_and_an_item_that_moved_in_time_is_not_doubled(
    yard: Yard, tmp_path: Path
) -> None:
    collection = yard.collection_id("lines")
    recipe = recipe_of(
        "naip", collection, tmp_path / "recipe.yaml", **{"license: other": "license: other\n  partition: month"}
    )
    source = tmp_path / "items.ndjson"
    nowhere = {**ITEM, "id": "nowhere", "geometry": None}
    twin = {**ITEM, "properties": {"datetime": "2020-01-02T00:00:00Z"}}
    lines = [orjson.dumps(ITEM), b"{broken", orjson.dumps(nowhere), b'{"type": "Feature"}', b"", orjson.dumps(twin)]
    source.write_bytes(b"\n".join(lines))
    summary = yard.ingest(recipe, source)
    assert (summary.counts.loaded, summary.counts.rejected, summary.counts.failed) == (1, 4, 0)
    reasons = sorted(outcome.reason for outcome in summary.outcomes)
    assert reasons[0].startswith(f"line 2 of {source}: it is no JSON")
    assert reasons[1].startswith(f"line 3 of {source}: its geometry is null")
    assert reasons[2].startswith(f"line 4 of {source}: it has no id")
    assert reasons[3].startswith(f"line 6 of {source}: item id a came twice")
    moved = {**ITEM, "properties": {"datetime": "2020-03-31T23:30:00-03:00"}}
    source.write_bytes(orjson.dumps(moved))
    assert yard.ingest(recipe, source).exit_code == 0
    assert yard.items(collection)["a"]["properties"]["datetime"] == "2020-04-01T02:30:00Z"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"geometry": {"type": "Point", "coordinates": [500000, 5000000]}}, "not in degrees"),
        ({"geometry": {"type": "Polygon", "coordinates": []}}, "geometry"),
        ({"geometry": {"type": "Circle"}}, "is no GeoJSON"),
        ({"properties": {}}, "it has no time"),
        ({"properties": {"datetime": "yesterday"}}, "no RFC 3339 time"),
        ({"properties": {"start_datetime": "2020-01-02T00:00:00.5Z", "end_datetime": "2020-01-02T00:00:00Z"}}, "ends"),
        ({"properties": None}, "it has no properties"),
        ({"bbox": "1,2,3,4"}, "its bbox is"),
        ({"links": [7]}, "a link needs rel and href"),
        ({"id": 7}, "it has no id"),
        ({"type": "Collection"}, "it is no STAC item"),
    ],
)
def test_an_item_that_cannot_be_searched_is_rejected(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        adopt({**ITEM, **change})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'"\xff"', "it is no JSON"),
        (b'"\\ud800"', "it is no JSON"),
        (b"1e999", "it is no JSON"),
        (b"-1E+0400", "it is no JSON"),
        (b"9" * 400, "it is no JSON"),
        (b"NaN", "it is no JSON"),
        (b"[1,]", "it is no JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "it is no JSON"),
        (b'"\\u00e9"', None),
        ('"é"'.encode(), None),
        (b"1e300", None),
        (b'"e999"', None),
        (b'"1e999"', None),
        (b'"' + b"9" * 400 + b'"', None),
    ],
)
def test_what_no_client_could_read_is_rejected_wherever_it_stands_in_an_item(text: bytes, reason: str | None) -> None:
    for place in (b'"x": %b, "assets": {', b'"assets": {"a": %b'):
        data = orjson.dumps(ITEM).replace(b'"assets":{', place.replace(b"%b", text))
        adopted = adopt_all([Line("line 1", data)], RECIPE, recipe_hash="")
        if reason is None:
            assert len(adopted.items) == 1, adopted.rejected
        else:
            assert [rejection.reason[: len(reason)] for rejection in adopted.rejected] == [reason]
            assert adopted.rejected[0].item_id in ("line 1", "a")


@pytest.mark.parametrize("links", [{"rel": "via"}, 7, "https://example.org"])
def test_links_that_are_no_list_are_rejected(links: object) -> None:
    with pytest.raises(Rejected, match="they must be a list"):
        adopt({**ITEM, "links": links})


def test_what_need_not_be_changed_goes_through_to_the_letter() -> None:
    data = orjson.dumps(ITEM).replace(b'"assets":{}', b'"assets": {}, "long": 0.1000000000000000055511151231257827')
    [item] = adopt_all([Line("line 1", data)], RECIPE, recipe_hash="").items
    assert bytes(item.members["long"]) == b"0.1000000000000000055511151231257827"


TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")
moments = st.datetimes(datetime(1000, 1, 2), datetime(9998, 12, 30)).flatmap(
    lambda moment: st.integers(-14 * 60, 14 * 60).map(
        lambda minutes: moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    )
)
rels = st.sampled_from(
    ["self", "root", "parent", "collection", "preview", "license", "via", "derived_from", "tilejson"]
)


@given(
    moment=moments,
    links=st.lists(st.builds(lambda rel: {"rel": rel, "href": "https://example.org/x"}, rels)),
    # a property that is a time by its name has rules of its own
    extra=st.dictionaries(st.text(min_size=1).filter(lambda name: name not in TIMES), st.integers(-(2**63), 2**63 - 1)),
)
def test_adopting_keeps_the_instant_and_is_the_same_when_done_twice(
    moment: datetime, links: list[dict[str, str]], extra: dict[str, int]
) -> None:
    item = {**ITEM, "properties": {**extra, "datetime": moment.isoformat()}, "links": links}
    before = orjson.dumps(item)
    once = adopt(item)
    assert orjson.dumps(item) == before, "the argument was changed"
    assert adopt(once) == once
    assert once["properties"]["datetime"].endswith("Z")
    assert datetime.fromisoformat(once["properties"]["datetime"]) == moment.astimezone(UTC)
    assert {link["rel"] for link in once["links"]} <= {"via", "license", "derived_from"}
    assert extra.items() - {("datetime", extra.get("datetime"))} <= once["properties"].items()


@given(st.text())
def test_an_id_made_of_any_name_is_safe_in_urls_and_object_names(name: str) -> None:
    made = safe_id(name)
    assert made
    assert made not in (".", "..")
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in made)
    assert safe_id(made) == made
