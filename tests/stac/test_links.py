"""Links of items and collections, made of a collection's document, and documents on their way out and back."""

from __future__ import annotations

import copy
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.stac.assets import ALTERNATE_ASSETS, AssetPublisher
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.links import (
    WEB_MAP_LINKS,
    Service,
    collection_links,
    encoded,
    item_links,
    thumbnail,
)
from stacyard.stac.settings import StacSettings

Document = dict[str, Any]

ORIGIN = "https://yard.example/fields"
API = f"{ORIGIN}/stac/"
RENDERS = {
    "true color": {"title": "True colour", "assets": ["red", "green", "blue"], "rescale": [[0, 1], [0.5, 2], [0, 3]]},
    "ndvi": {"assets": ["multi"], "expression": "(b2-b1)/(b2+b1)", "bidx": [1, 4], "colormap": {"0": "#fff"}},
    "named": {"assets": ["one", "multi"], "bands": [[], ["red", "nir"]], "unscale": True, "nodata": -1},
    # none of these is for the raster service
    "features": {"assets": ["data"], "expression": ["interpolate", ["linear"]]},
    "nothing": {"assets": []},
    "wrong": {"assets": ["red"], "rescale": [0, 255]},
}
IMAGES = {"id": "images", "renders": RENDERS, "extent": {"spatial": {"bbox": [[14.5, 45.8, 14.6, 45.9]]}}}
TABLES = {
    "id": "fields",
    "table:tables": [{"name": "features.fields", "description": "Fields"}, {"name": "no layer"}, {}],
}


def by_relation(links: list[Document], relation: str) -> list[Document]:
    return [link for link in links if link["rel"] == relation]


def test_tiles_are_linked_by_the_renders_that_rasters_are_drawn_by() -> None:
    links = collection_links(IMAGES, origin=ORIGIN)
    tiles = by_relation(links, "xyz")
    assert [link["title"] for link in tiles] == ["True colour", "ndvi", "named"]
    assert [link["title"] for link in by_relation(links, "tilejson")] == ["True colour", "ndvi", "named"]
    base = f"{ORIGIN}/raster/collections/images/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}.png"
    assert {link["href"].partition("?")[0] for link in tiles} == {base}
    assert [parse_qsl(urlsplit(link["href"]).query) for link in tiles] == [
        [("assets", a) for a in ("red", "green", "blue")] + [("rescale", r) for r in ("0,1", "0.5,2", "0,3")],
        [("assets", "multi|bidx=1,4"), ("expression", "(b2-b1)/(b2+b1)"), ("colormap", '{"0":"#fff"}')],
        [("assets", "one"), ("assets", "multi|bands=red,nir"), ("nodata", "-1"), ("unscale", "true")],
    ]
    assert [link["wmts:layer"] for link in by_relation(links, "wmts")] == [
        f"TiTiler Mosaic_WebMercatorQuad_{name}" for name in ("true color", "ndvi", "named")
    ]
    (preview,) = by_relation(links, "preview")
    assert "/bbox/14.5,45.8,14.6,45.9.png?" in preview["href"]


@pytest.mark.parametrize(
    "box", [[-180, -90, 180, 90], [170, 0, -170, 1], [0, 0, 0, 0], [-180, -90, 0, 180, 90, 9]], ids=str
)
def test_a_collection_whose_extent_is_no_box_of_a_map_has_no_preview(box: list[float]) -> None:
    collection = IMAGES | {"extent": {"spatial": {"bbox": [box]}}}
    assert by_relation(collection_links(collection, origin=ORIGIN), "preview") == []


def test_layers_are_linked_by_the_tables_that_are_some() -> None:
    links = collection_links(TABLES, origin=ORIGIN)
    layer = f"{ORIGIN}/vector/collections/features.fields"
    assert [(link["rel"], link["href"]) for link in links] == [
        ("tilejson", f"{layer}/tiles/WebMercatorQuad/tilejson.json"),
        ("xyz", f"{layer}/tiles/WebMercatorQuad/{{z}}/{{x}}/{{y}}"),
        ("related", layer),
        ("alternate", f"{ORIGIN}/#collection=fields"),
    ]
    # a table holds one layer, perhaps of another item
    relations = [link["rel"] for link in item_links(TABLES, origin=ORIGIN, api=API, item_id="a")]
    assert relations == ["collection", "parent", "root", "self", "related", "alternate"]


@pytest.mark.parametrize(
    ("services", "relations"),
    [
        ([], set()),
        (["raster"], {"tilejson", "xyz", "wmts", "preview"}),
        (["vector"], {"related"}),
        (["explorer"], {"alternate"}),
    ],
)
def test_what_is_not_there_is_not_linked(services: list[Service], relations: set[str]) -> None:
    links = item_links(IMAGES | TABLES, origin=ORIGIN, api=API, item_id="a", services=services)
    assert {link["rel"] for link in links[4:]} == relations
    drawn = thumbnail(IMAGES, origin=ORIGIN, item_id="a", services=services)
    assert (drawn is not None) == ("raster" in services)


def test_services_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    assert StacSettings().linked_services == ["raster", "vector", "explorer"]
    monkeypatch.setenv("STACYARD_STAC_LINKED_SERVICES", "vector, explorer")
    assert StacSettings().linked_services == ["vector", "explorer"]
    monkeypatch.setenv("STACYARD_STAC_LINKED_SERVICES", "")
    assert StacSettings().linked_services == []
    monkeypatch.setenv("STACYARD_STAC_LINKED_SERVICES", "pastry")
    with pytest.raises(ValueError, match="'raster', 'vector' or 'explorer'"):
        StacSettings()


@given(st.text(min_size=1), st.text(min_size=1))
def test_an_id_stands_in_links_only_encoded(collection: str, item: str) -> None:
    document = IMAGES | TABLES | {"id": collection}
    template = item_links(document, origin=ORIGIN, api=API, item_id="0sentinel0")
    made = item_links(document, origin=ORIGIN, api=API, item_id=item)
    filled = [{k: v.replace("0sentinel0", encoded(item)) if k == "href" else v for k, v in x.items()} for x in template]
    assert made == filled
    for link in made:
        parts = urlsplit(link["href"])
        if "/items/" in parts.path:
            _, _, collection_and_item = parts.path.partition("/collections/")
            first, _, second, *_ = collection_and_item.split("/")
            assert (unquote(first), unquote(second)) == (collection, item)


words = st.text("abc/ %é", min_size=1)
hrefs = st.sampled_from(["s3://yard/a.tif", "s3://yard/b c.tif", "https://example.org/a.tif", "s3://other/a.tif"])
assets = st.dictionaries(
    st.sampled_from(["red", "thumbnail", "overview"]),
    st.fixed_dictionaries({"href": hrefs}, optional={"roles": st.just(["thumbnail"]), "title": words}),
)
links = st.lists(
    st.fixed_dictionaries(
        {
            "rel": st.sampled_from(["license", "xyz", "via", "alternate", "related", "preview", "derived_from"]),
            "href": st.sampled_from(["https://example.org/raster/collections/a", "../a", f"{API}collections/a"]),
        }
    ),
    max_size=3,
)


@st.composite
def stored_documents(draw: st.DrawFn) -> Document:
    """Items that declare the extensions they use, and one that is none of ours."""
    document = {"id": draw(words), "links": draw(links), "assets": draw(assets)}
    uses_maps = any(link["rel"] == "xyz" for link in document["links"])
    return document | {"stac_extensions": ["https://other.example"] + [WEB_MAP_LINKS] * uses_maps}


@given(stored_documents(), st.sampled_from([IMAGES, TABLES, {"id": "plain"}]), st.sampled_from([None, "/assets"]))
def test_a_document_that_is_published_and_comes_back_is_as_it_was(
    item: Document, collection: Document, public_path: str | None
) -> None:
    assets = AssetPublisher(prefix="s3://yard", public_path=public_path)
    publisher = DocumentPublisher(origin=ORIGIN, api=API, assets=assets)
    published = publisher.item(copy.deepcopy(item), collection)
    assert len({link["href"] for link in by_relation(published["links"], "self")}) == 1
    drawn = collection is IMAGES and not any(
        key == "thumbnail" or "roles" in asset for key, asset in item["assets"].items()
    )
    assert (published["assets"].keys() - item["assets"].keys() == {"thumbnail"}) == drawn
    web_maps = collection is IMAGES or any(link["rel"] == "xyz" for link in item["links"])
    assert (WEB_MAP_LINKS in published["stac_extensions"]) == web_maps
    assert (ALTERNATE_ASSETS in published["stac_extensions"]) == any("alternate" in a for a in assets_of(published))
    # twice, as a harvest of what was published before would be
    assert publisher.withdraw(copy.deepcopy(published)) == item
    again = publisher.item(publisher.withdraw(copy.deepcopy(published)), collection)
    assert again == published

    document = collection | item | {"id": collection["id"]}
    assert publisher.withdraw(publisher.collection(copy.deepcopy(document))) == document


def assets_of(document: Document) -> list[Document]:
    return list(document["assets"].values())


def test_a_document_without_what_fields_left_out_is_published_without_it() -> None:
    publisher = DocumentPublisher(origin=ORIGIN, api=API, assets=AssetPublisher(prefix="s3://yard"))
    assert publisher.collection({"title": "no id"}) == {"title": "no id"}
    assert publisher.item({"id": "a"}, IMAGES).keys() == {"id", "links"}
