"""Items put together from fragments of JSON are those that whole documents are published as."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.pgstac_hydration import BaseItem, StoredItem
from stacyard.core.pgstac_pages import Row
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.items import ItemPublisher, Looks
from stacyard.stac.links import SERVICES, Service
from stacyard.stac.search import Fields

Document = dict[str, Any]

ORIGIN = "https://yard.example/fields"
API = f"{ORIGIN}/stac/"
PLAIN: Document = {"id": "plain"}
DRAWN: Document = {"id": "drä wn", "renders": {"true colour": {"assets": ["red"], "rescale": [[0, 255]]}}}
LAYERED: Document = {"id": "layered", "table:tables": [{"name": "features.fields"}]}

ids = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)
hrefs = st.sampled_from(
    [
        "file:///yard/a b.tif",
        "file:///yard/x/../y.tif",
        "file:///elsewhere/a.tif",
        "https://example.org/a.tif",
        "./a.tif",
    ]
)
assets = st.dictionaries(
    st.sampled_from(["red", "thumbnail", "metadata"]),
    st.fixed_dictionaries(
        {"href": hrefs},
        optional={
            "roles": st.lists(st.sampled_from(["data", "thumbnail"]), max_size=2),
            "alternate": st.sampled_from([{"s3": {"href": "s3://a/b"}}, {"storage": {"href": "file:///yard/q.tif"}}]),
        },
    ),
    max_size=3,
)
links = st.lists(
    st.sampled_from(
        [
            {"rel": "license", "href": "https://example.org/licence"},
            {"rel": "self", "href": "https://elsewhere.example/self"},
            {"rel": "derived_from", "href": "https://example.org/source"},
            {"rel": "xyz", "href": f"{ORIGIN}/raster/collections/plain/tiles/1"},
            {"rel": "xyz", "href": "https://elsewhere.example/{z}/{x}/{y}"},
        ]
    ),
    max_size=3,
)
documents = st.fixed_dictionaries(
    {"assets": assets, "links": links, "properties": st.just({"gsd": 1.5})},
    optional={
        "stac_extensions": st.lists(st.sampled_from(["https://a.example/v1", "https://b.example/v1"]), unique=True)
    },
)


def row_of(document: Document, item: str, collection: str) -> Row:
    stored = StoredItem(orjson.dumps(document).decode())
    geometry = '{"type":"Point","coordinates":[1,2]}'
    return Row(item=item, collection=collection, stored=stored, geometry=geometry, base=BaseItem({"type": "Feature"}))


def publisher_of(collection: Document, services: frozenset[Service], fields: Fields | None = None) -> ItemPublisher:
    return ItemPublisher(
        api=API,
        origin=ORIGIN,
        assets=AssetPublisher(prefix="file:///yard", public_path="/assets"),
        looks=Looks(services),
        fields=fields,
    )


def published(publisher: ItemPublisher, row: Row, collection: Document) -> Document:
    return dict(orjson.loads(msgspec.json.encode(publisher.publish(row, collection))))


@given(
    document=documents,
    item=ids,
    collection=st.sampled_from([PLAIN, DRAWN, LAYERED]),
    services=st.frozensets(st.sampled_from(sorted(SERVICES))),
)
def test_an_item_is_published_as_a_whole_document_is(
    document: Document, item: str, collection: Document, services: frozenset[Service]
) -> None:
    whole = {
        "type": "Feature",
        "id": item,
        "collection": collection["id"],
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        **copy.deepcopy(document),
    }
    reference = DocumentPublisher(
        origin=ORIGIN, api=API, assets=AssetPublisher(prefix="file:///yard", public_path="/assets"), services=services
    )
    wanted = reference.item(whole, collection)
    found = published(publisher_of(collection, services), row_of(document, item, collection["id"]), collection)
    assert sorted(found.pop("stac_extensions", [])) == sorted(wanted.pop("stac_extensions", []))
    assert found == wanted


@pytest.mark.parametrize(
    ("include", "exclude", "members"),
    [
        (["properties.gsd"], [], {"id", "collection", "properties", "links"}),
        (["id"], ["links"], {"id", "collection"}),
        (["links"], ["links"], {"id", "collection", "links"}),
        ([], ["assets", "geometry", "properties.gsd"], {"id", "collection", "type", "links"}),
        (["nothing"], [], {"id", "collection", "links"}),
    ],
)
def test_fields_are_chosen(include: list[str], exclude: list[str], members: set[str]) -> None:
    fields = Fields(include=frozenset(include), exclude=frozenset(exclude))
    row = row_of({"assets": {}, "links": [], "properties": {"gsd": 1}}, "a", "plain")
    assert set(published(publisher_of(PLAIN, frozenset(), fields), row, PLAIN)) == members


def test_the_document_of_a_collection_that_has_changed_is_looked_at_again() -> None:
    publisher = publisher_of(PLAIN, SERVICES)
    row = row_of({"assets": {}, "links": []}, "a", "plain")
    before = published(publisher, row, PLAIN)
    changed = {"id": "plain", "renders": DRAWN["renders"]}
    assert not any(link["rel"] == "xyz" for link in before["links"])
    assert any(link["rel"] == "xyz" for link in published(publisher, row, changed)["links"])
