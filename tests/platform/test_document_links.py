"""What items and collections link to is there: tiles by their renders, previews, layers, the map."""

from __future__ import annotations

import copy
from typing import Any

import httpx
import psycopg
import pytest

from stacyard.core.pgstac import BaseItems, read_collection, read_item
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.documents import DocumentPublisher

Document = dict[str, Any]

TILES = {"tilejson", "wmts", "xyz", "preview"}
LAYERS = {"tilejson", "xyz", "related"}
#: By collection: what it links to beside the API and the map, what its items do, and whether they get a thumbnail.
COLLECTIONS = {
    "landsat8-paraguay": (TILES, TILES, True),
    "sentinel2-ndvi": (TILES, TILES, True),
    "parcels": (LAYERS, {"related"}, False),
    "nitrogen-prescription": (LAYERS, {"related"}, False),
    # its images are elsewhere, and it has no renders
    "naip": (set(), set(), False),
}


@pytest.fixture
def publisher(origin: str, storage_settings: StorageSettings) -> DocumentPublisher:
    """Publishes for the platform."""
    return DocumentPublisher(origin=origin, api=f"{origin}/stac/", assets=AssetPublisher.of(storage_settings))


def read(http: httpx.Client, path: str, publisher: DocumentPublisher) -> Document:
    """A document as the catalog stores it."""
    return publisher.withdraw(http.get(path).json())


def follow(http: httpx.Client, link: Document) -> None:
    """See that a link leads to what it says; a template is filled with the tile of the whole world."""
    href = link["href"].replace("{z}/{x}/{y}", "0/0/0")
    media_type = "application/xml" if link.get("rel") == "wmts" else link["type"]
    answer = http.get(href, headers={"Accept": media_type})
    assert answer.status_code == 200, (href, answer.text[:300])
    assert answer.headers["content-type"].startswith(media_type), href
    if link.get("rel") == "wmts":
        assert f"<ows:Identifier>{link['wmts:layer']}</ows:Identifier>" in answer.text, href


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_link_of_a_collection_and_its_items_leads_where_it_says(
    http: httpx.Client, origin: str, publisher: DocumentPublisher, name: str
) -> None:
    stored = read(http, f"/stac/collections/{name}", publisher)
    found = http.get(f"/stac/collections/{name}/items?limit=1").json()["features"][0]
    item = publisher.item(publisher.withdraw(found), stored)
    collection = publisher.collection(stored)
    of_collection, of_items, drawn = COLLECTIONS[name]
    for document, expected in ((collection, of_collection | {"aggregate", "aggregations"}), (item, of_items)):
        links = [link for link in document["links"] if link["href"].startswith(origin)]
        assert {link["rel"] for link in links} - {"self", "root", "parent", "collection"} == expected | {"alternate"}
        for link in links:
            follow(http, link)
    thumbnail = item["assets"].get("thumbnail", {})
    assert (thumbnail.get("href", "").startswith(f"{origin}/raster/")) == drawn
    if drawn:
        follow(http, thumbnail)


def test_tiles_are_drawn_as_the_render_says(http: httpx.Client, origin: str, publisher: DocumentPublisher) -> None:
    stored = read(http, "/stac/collections/sentinel2-ndvi", publisher)
    (xyz,) = (link for link in publisher.collection(stored)["links"] if link["rel"] == "xyz")
    # somewhere in the square kilometre
    west, south, east, north = stored["extent"]["spatial"]["bbox"][0]
    column, row = tile_of((west + east) / 2, (south + north) / 2, zoom=14)
    answer = http.get(xyz["href"].replace("{z}/{x}/{y}", f"14/{column}/{row}"))
    grey = http.get(xyz["href"].partition("?")[0].replace("{z}/{x}/{y}", f"14/{column}/{row}") + "?assets=ndvi")
    assert answer.status_code == grey.status_code == 200
    assert answer.content[:4] == b"\x89PNG"
    assert answer.content != grey.content


def tile_of(longitude: float, latitude: float, *, zoom: int) -> tuple[int, int]:
    """Column and row of the tile of a place."""
    import morecantile

    tile = morecantile.tms.get("WebMercatorQuad").tile(longitude, latitude, zoom)
    return tile.x, tile.y


@pytest.mark.parametrize("name", ["landsat8-paraguay", "sentinel2-ndvi", "nitrogen-prescription"])
def test_what_was_read_and_is_put_again_is_stored_as_it_was(
    http: httpx.Client, publisher: DocumentPublisher, database_settings: DatabaseSettings, name: str
) -> None:
    path = f"/stac/collections/{name}"
    found = http.get(f"{path}/items?limit=1").json()["features"][0]
    item, collection = stored(database_settings, name, found["id"])
    published = publisher.item(copy.deepcopy(item), collection)
    assert len(published["links"]) > len(item["links"])
    assert "alternate" in next(iter(published["assets"].values()))
    answer = http.put(f"{path}/items/{found['id']}", json=published)
    assert answer.status_code == 200, answer.text
    answer = http.put(path, json=publisher.collection(http.get(path).json()))
    assert answer.status_code == 200, answer.text
    assert stored(database_settings, name, found["id"]) == (item, collection)


def stored(database: DatabaseSettings, collection: str, item: str) -> tuple[Document, Document]:
    """An item and its collection as the database has them."""
    with psycopg.connect(database.url("reader")) as connection:
        return read_item(connection, BaseItems(), collection, item), read_collection(connection, collection)
