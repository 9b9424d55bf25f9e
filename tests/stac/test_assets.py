"""Hrefs: published for clients, kept as storage URIs inside, and the way back."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.storage import join
from stacyard.stac.assets import AssetPublisher, withdraw

PREFIX = "s3://yard/assets"
PUBLISHER = AssetPublisher(prefix=PREFIX, public_path="/assets")
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
inside = st.lists(names, min_size=1, max_size=3).map(lambda segments: join(PREFIX, *segments))
hrefs = inside | st.just("https://example.org/a.tif") | st.just("s3://yard/assets-other/a.tif")
items = st.fixed_dictionaries(
    {
        "stac_extensions": st.just([]),
        "assets": st.dictionaries(names, st.fixed_dictionaries({"href": hrefs}, optional={"title": names})),
    }
)


@given(items)
def test_what_is_published_and_comes_back_is_as_it_was(item: dict[str, Any]) -> None:
    published = PUBLISHER.publish(copy.deepcopy(item), origin="https://yard.example/fields")
    for key, asset in published["assets"].items():
        stored = item["assets"][key]["href"]
        if stored.startswith(PREFIX + "/"):
            assert asset["href"] == f"https://yard.example/fields/assets{stored[len(PREFIX) :]}"
            assert asset["alternate"]["storage"]["href"] == stored
        else:
            assert asset == item["assets"][key]
    assert withdraw(published) == item


def test_without_a_public_path_and_without_assets_nothing_changes() -> None:
    item = {"assets": {"a": {"href": f"{PREFIX}/a.tif"}}, "stac_extensions": []}
    unpublished = AssetPublisher(prefix=PREFIX, public_path=None)
    assert unpublished.publish(copy.deepcopy(item), origin="https://yard.example") == item
    assert PUBLISHER.publish({"id": "excluded by fields"}, origin="https://yard.example") == {
        "id": "excluded by fields"
    }


def test_an_alternate_of_somebody_else_stays() -> None:
    asset = {"href": f"{PREFIX}/a.tif", "alternate": {"glacier": {"href": "s3://cold/a.tif"}}}
    item = {"assets": {"a": asset}, "stac_extensions": []}
    published = PUBLISHER.publish(copy.deepcopy(item), origin="https://yard.example")
    assert set(published["assets"]["a"]["alternate"]) == {"glacier", "storage"}
    assert withdraw(published) == item
