"""Clients read an extent across the antimeridian as RFC 7946 writes it, and find the collection where it is."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import psycopg
import pystac_client
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from pystac_client.collection_search import collection_matches

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.ports import free_port
from stacyard.stac.app import create_app
from stacyard.stac.extent import publish_extent, withdraw_extent
from stacyard.stac.settings import StacSettings

WHOLE, EASTERN, WESTERN = [-179.5, -20.0, 180.0, -10.0], [177.0, -20.0, 180.0, -10.0], [-179.5, -20.0, -178.0, -10.0]
ACROSS = [177.0, -20.0, -178.0, -10.0]


def collection(*boxes: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "fiji",
        "description": "Both sides of the antimeridian.",
        "license": "other",
        "extent": {"spatial": {"bbox": copy.deepcopy(list(boxes))}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


numbers = st.integers(-180, 180)
boxes = st.lists(st.lists(numbers, min_size=4, max_size=4), max_size=4).map(
    # the first is what pgSTAC can search
    lambda drawn: [[min(box[0], box[2]), box[1], max(box[0], box[2]), box[3]] if n == 0 else box
                   for n, box in enumerate(drawn)]
)  # fmt: skip


@given(boxes | st.just([WHOLE, EASTERN, WESTERN]))
def test_what_is_published_and_comes_back_is_as_it_was(drawn: list[list[float]]) -> None:
    stored = collection(*drawn)
    published = publish_extent(copy.deepcopy(stored))
    assert withdraw_extent(copy.deepcopy(published)) == stored
    if published != stored:
        west, _, east, _ = published["extent"]["spatial"]["bbox"][0]
        assert 0 < east + 360 - west < drawn[0][2] - drawn[0][0]


@pytest.mark.parametrize(
    "document",
    [
        {"id": "excluded by fields"},
        {"extent": None},
        {"extent": {"spatial": {"bbox": None}}},
        {"extent": {"spatial": {"bbox": [[0, 0, 0, 1, 1, 1]] * 3}}},
        {"extent": {"spatial": {"bbox": [["w", "s", "e", "n"], EASTERN, WESTERN]}}},
        # Europe and America: across the antimeridian is the longer way
        collection([-125, 25, 40, 60], [-10, 35, 40, 60], [-125, 25, -66, 49]),
    ],
)
def test_any_other_extent_stays_as_it_is(document: dict[str, Any]) -> None:
    assert publish_extent(copy.deepcopy(document)) == withdraw_extent(copy.deepcopy(document)) == document


@pytest.fixture(scope="module")
def origin(database_settings: DatabaseSettings, storage_settings: StorageSettings) -> Iterator[str]:
    """The base URL of a catalog that may be written to."""
    settings = StacSettings(database=database_settings, storage=storage_settings, transactions=True)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_client_finds_a_collection_on_both_sides_and_may_write_back_what_it_read(
    origin: str, database_settings: DatabaseSettings
) -> None:
    def stored() -> Any:
        with psycopg.connect(database_settings.url("ingest")) as connection:
            row = connection.execute("SELECT content FROM pgstac.collections WHERE id = 'fiji'").fetchone()
        return row and row[0]["extent"]["spatial"]["bbox"]

    with psycopg.connect(database_settings.url("ingest")) as connection:
        text = orjson.dumps(collection(WHOLE, EASTERN, WESTERN)).decode()
        connection.execute("SELECT pgstac.upsert_collection(%s::jsonb)", [text])
    catalog = pystac_client.Client.open(origin)
    for box in ((178.0, -15.0, 179.0, -14.0), (-179.0, -15.0, -178.5, -14.0)):
        [found] = catalog.collection_search(bbox=box).collections()
        assert found.id == "fiji"
        assert found.extent.spatial.bboxes[0] == ACROSS
        one = catalog.get_collection("fiji")
        assert one is not None
        assert one.extent.spatial.bboxes[0] == ACROSS
        found.validate()
        # where a server does not search, the client does
        assert collection_matches(found.to_dict(), bbox=box)
    read = httpx.get(f"{origin}/collections/fiji").json()
    assert read["extent"]["spatial"]["bbox"] == [ACROSS, EASTERN, WESTERN]
    answer = httpx.put(f"{origin}/collections/fiji", json={**read, "description": "Written back."})
    assert answer.status_code == 200, answer.text
    assert stored() == [WHOLE, EASTERN, WESTERN]
    assert httpx.delete(f"{origin}/collections/fiji").status_code == 200
