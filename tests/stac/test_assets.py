"""Hrefs: published for clients, kept as storage URIs inside, and the way back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.settings import StorageSettings
from stacyard.core.storage import join
from stacyard.stac.assets import ALTERNATE_ASSETS, AssetPublisher
from stacyard.stac.signing import Credentials, Place, S3Signer

PREFIX = "s3://yard/assets"
ORIGIN = "https://yard.example/fields"
LOCAL = AssetPublisher(prefix=PREFIX, public_path="/assets")
CDN = AssetPublisher(prefix=PREFIX, public_path="/assets", public_url="https://cdn.example/a")
SIGNED = AssetPublisher(
    prefix=PREFIX,
    signed=(PREFIX, "s3://archive"),
    signer=S3Signer(
        Place(region="eu-central-1"), lambda: Credentials(access_key_id="a", secret_access_key="b"), seconds=60
    ),
)
names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc",), exclude_characters="/"), min_size=1).filter(
    lambda name: name not in (".", "..")
)
inside = st.lists(names, min_size=1, max_size=3).map(lambda segments: join(PREFIX, *segments))
hrefs = inside | st.sampled_from(
    ["https://example.org/a.tif", "s3://yard/assets-other/a.tif", "s3://archive/a b.tif", "s3://archive"]
)
alternates = st.dictionaries(
    st.sampled_from(["storage", "glacier"]), st.fixed_dictionaries({"href": hrefs}), min_size=1
)
assets = st.dictionaries(
    names, st.fixed_dictionaries({"href": hrefs}, optional={"title": names, "alternate": alternates}), max_size=3
)


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """Items that declare the extension where they use it."""
    drawn = draw(assets)
    uses = any("alternate" in asset for asset in drawn.values())
    return {"stac_extensions": [ALTERNATE_ASSETS] if uses else [], "assets": drawn}


@given(items(), st.sampled_from([LOCAL, CDN, SIGNED]), st.sampled_from([LOCAL, CDN, SIGNED]))
def test_what_is_published_and_comes_back_is_as_it_was(
    item: dict[str, Any], publisher: AssetPublisher, later: AssetPublisher
) -> None:
    published = publisher.publish(copy.deepcopy(item), origin=ORIGIN)
    for key, asset in published["assets"].items():
        stored = item["assets"][key]
        if asset["href"] != stored["href"]:
            assert asset["href"].startswith("https://")
            assert asset["alternate"]["storage"]["href"] == stored["href"]
            assert ALTERNATE_ASSETS in published["stac_extensions"]
        else:
            assert asset == stored
    changed = {key for key, asset in published["assets"].items() if asset["href"].startswith("s3://archive")}
    # settings that no longer name the archive do not know what was published of it
    if not changed and not any("archive" in str(asset) for asset in item["assets"].values()):
        assert later.withdraw(copy.deepcopy(published)) == item
    assert publisher.withdraw(published) == item


@pytest.mark.parametrize(
    ("publisher", "base"), [(LOCAL, f"{ORIGIN}/assets"), (CDN, "https://cdn.example/a")], ids=["local", "cdn"]
)
def test_what_is_served_in_public_is_published_there(publisher: AssetPublisher, base: str) -> None:
    assert publisher.published_href(f"{PREFIX}/a b/c.tif", origin=ORIGIN) == f"{base}/a%20b/c.tif"
    assert publisher.published_href("s3://archive/a.tif", origin=ORIGIN) is None
    assert publisher.edition == ""


def test_what_is_not_served_in_public_is_signed() -> None:
    both = AssetPublisher(prefix=PREFIX, public_path="/assets", signed=SIGNED.signed, signer=SIGNED.signer)
    assert both.published_href(f"{PREFIX}/a.tif", origin=ORIGIN) == f"{ORIGIN}/assets/a.tif"
    assert "X-Amz-Signature=" in str(both.published_href("s3://archive/a.tif", origin=ORIGIN))
    assert both.edition


def test_only_prefixes_in_s3_are_signed_and_none_if_the_settings_say_so() -> None:
    settings = StorageSettings(assets="file:///yard", readable=["s3://archive"])
    assert AssetPublisher.of(settings).signed == ("s3://archive",)
    assert AssetPublisher.of(settings.model_copy(update={"presign_seconds": 0})).signer is None
    assert AssetPublisher.of(StorageSettings(assets="file:///yard")).signer is None


def test_without_a_public_place_and_without_assets_nothing_changes() -> None:
    item = {"assets": {"a": {"href": f"{PREFIX}/a.tif"}}, "stac_extensions": []}
    unpublished = AssetPublisher(prefix=PREFIX)
    assert unpublished.publish(copy.deepcopy(item), origin=ORIGIN) == item
    assert LOCAL.publish({"id": "excluded by fields"}, origin=ORIGIN) == {"id": "excluded by fields"}


def test_an_alternate_of_somebody_else_stays() -> None:
    asset = {"href": f"{PREFIX}/a.tif", "alternate": {"glacier": {"href": "s3://cold/a.tif"}}}
    item = {"assets": {"a": asset}, "stac_extensions": [ALTERNATE_ASSETS]}
    published = LOCAL.publish(copy.deepcopy(item), origin=ORIGIN)
    assert set(published["assets"]["a"]["alternate"]) == {"glacier", "storage"}
    assert LOCAL.withdraw(published) == item


def test_an_href_that_a_client_has_changed_is_stored_as_the_client_wants_it() -> None:
    published = LOCAL.publish({"assets": {"a": {"href": f"{PREFIX}/a.tif"}}}, origin=ORIGIN)
    published["assets"]["a"]["href"] = "https://example.org/new.tif"
    assert LOCAL.withdraw(published)["assets"]["a"]["href"] == "https://example.org/new.tif"


@pytest.mark.parametrize("value", ["ftp://cdn.example", "cdn.example", "https://cdn.example/?a=b"])
def test_a_public_url_is_a_base_url(value: str) -> None:
    with pytest.raises(ValueError, match="is no base URL"):
        StorageSettings(assets="s3://yard", public_url=value)


def test_an_empty_public_path_is_none() -> None:
    assert StorageSettings(assets="s3://yard", public_path="", public_url="").public_path is None
