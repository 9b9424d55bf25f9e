"""A database that goes away and comes back: 503 quickly while it is away, no restart of ours when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from stacyard.core.connection import connect
from stacyard.core.settings import StorageSettings
from stacyard.local.postgres import EmbeddedCluster, running

ROUTES = ("/stac/collections", "/raster/searches/list", "/vector/collections/features.fields/items")


@pytest.fixture
def own(public_directory: Path, serving: Any) -> Iterator[tuple[EmbeddedCluster, httpx.Client]]:
    """A platform on a cluster of its own, which may be stopped without harm to other tests."""
    cluster = EmbeddedCluster(public_directory / "recovery")
    assets = public_directory / "recovery-assets"
    assets.mkdir()
    storage = StorageSettings(assets=assets.as_uri())
    log = public_directory / "recovery.log"
    with running(cluster) as database:
        with connect(database.url("ingest"), application_name="test") as ingest:
            ingest.execute("CREATE TABLE features.fields (id int PRIMARY KEY, geom geometry(Point, 4326))")
        with serving(database, storage, log) as served, served.client() as client:
            yield cluster, client
        cluster.start()


def test_the_platform_says_that_its_database_is_away_and_goes_on_when_it_is_back(
    own: tuple[EmbeddedCluster, httpx.Client],
) -> None:
    cluster, client = own
    assert client.get("/readyz").status_code == 200
    for route in ROUTES:
        assert client.get(route).status_code == 200, route

    cluster.stop()
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["stac.database"] == "failed"
    for route in ROUTES:
        started = time.monotonic()
        answer = client.get(route)
        assert answer.status_code == 503, (route, answer.text)
        assert answer.headers["retry-after"], route
        assert time.monotonic() - started < 6, route
        assert "127.0.0.1" not in answer.text
    # what is known of the layers is shown all the same
    assert client.get("/vector/collections").json()["numberMatched"] == 1

    # more requests than there are threads: liveness must not wait for any of them
    with ThreadPoolExecutor(60) as clients:
        stuck = [clients.submit(client.get, "/raster/searches/list") for _ in range(60)]
        time.sleep(0.2)
        started = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - started < 1.5
        assert {answer.result().status_code for answer in stuck} == {503}

    cluster.start()
    deadline = time.monotonic() + 20
    while client.get("/readyz").status_code != 200:
        assert time.monotonic() < deadline, client.get("/readyz").text
        time.sleep(0.2)
    for route in ROUTES:
        assert client.get(route).status_code == 200, route
