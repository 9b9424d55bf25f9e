"""Items made whole of fragments of JSON are what the Rust hydration makes of parsed ones."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from hydraters import dehydrate, hydrate
from hypothesis import given, settings
from hypothesis import strategies as st

from stacyard.core.pgstac_hydration import BaseItem, StoredItem, hydrated

scalars = st.booleans() | st.integers(-5, 5) | st.sampled_from(["a", "ä", '"', ""])


def documents(*more: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Items, or what they share; `more` are values that may stand anywhere."""
    values = st.recursive(
        scalars | st.sampled_from([True, *more]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        max_leaves=4,
    )
    asset = st.dictionaries(st.sampled_from(["href", "title", "roles", "raster:bands"]), values, max_size=4)
    assets = st.dictionaries(st.sampled_from(["red", "green", "blue"]), asset | st.just("odd"), max_size=3)
    plain = {"type": st.just("Feature"), "stac_version": st.just("1.1.0"), "properties": values, "bbox": values}
    return st.fixed_dictionaries({}, optional={"assets": assets, **plain})


def whole(content: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    members, assets = StoredItem(orjson.dumps(content).decode()).whole(BaseItem(base))
    return dict(orjson.loads(msgspec.json.encode({**members, "assets": assets})))


@settings(max_examples=1000)
@given(content=documents(), base=documents())
def test_fragments_come_together_as_parsed_items_do(content: dict[str, Any], base: dict[str, Any]) -> None:
    found = whole(content, base)
    try:
        wanted = hydrate(orjson.loads(orjson.dumps(base)), orjson.loads(orjson.dumps(content)))
    except ValueError:
        # an object here and something else there, which pgSTAC knows to merge and hydraters does not
        wanted = hydrated(content, BaseItem(base))
    assert found == {**wanted, "assets": wanted.get("assets") or {}}


@given(item=documents(None), base=documents())
def test_what_was_taken_off_comes_back(item: dict[str, Any], base: dict[str, Any]) -> None:
    original = orjson.dumps(item)
    try:
        stored = dehydrate(orjson.loads(orjson.dumps(base)), orjson.loads(original))
    except ValueError:
        return  # refused before it is stored
    found = whole(stored, base)
    assert found["assets"] == item.get("assets", {})
    assert {**found, "assets": {}} == {**orjson.loads(original), "assets": {}}


def test_the_tag_of_the_base_item_is_read_and_not_shown() -> None:
    stored = StoredItem('{"pgstac:base_item": 12, "bbox": [1]}')
    assert stored.tag == 12
    assert set(stored.whole(BaseItem({}))[0]) == {"bbox"}
    assert StoredItem("{}").tag is None
