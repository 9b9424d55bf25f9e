"""The list of layers: new tables appear on every worker without a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from stacyard.core.connection import connect
from stacyard.core.revision import raise_revision
from stacyard.core.settings import DatabaseSettings
from stacyard.vector.app import create_app
from stacyard.vector.settings import VectorSettings


@pytest.fixture
async def workers(database_settings: DatabaseSettings) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two workers of the service, as two processes would be: nothing shared but the database."""
    settings = VectorSettings(database=database_settings, revision_seconds=0, layers_seconds=3600)
    apps = [create_app(settings, mounted=True) for _ in range(2)]
    clients = [client_of(app) for app in apps]
    for app in apps:
        context = app.router.lifespan_context(app)
        await context.__aenter__()
        app.state.end = context
    yield clients
    for client, app in zip(clients, apps, strict=True):
        await client.aclose()
        await app.state.end.__aexit__(None, None, None)


def client_of(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://vector")


async def layers(client: httpx.AsyncClient) -> set[str]:
    answer = await client.get("/collections")
    assert answer.status_code == 200, answer.text
    return {layer["id"] for layer in answer.json()["collections"]}


async def test_a_new_table_is_seen_by_every_worker_once_its_revision_is_raised(
    workers: list[httpx.AsyncClient], database_settings: DatabaseSettings
) -> None:
    name = "features.zones_of_a_test"
    for worker in workers:
        assert name not in await layers(worker)
        assert (await worker.get(f"/collections/{name}")).status_code == 404
    with connect(database_settings.url("ingest"), application_name="test") as ingest:
        try:
            with ingest.transaction():
                ingest.execute("CREATE TABLE features.zones_of_a_test (id int PRIMARY KEY, geom geometry(Point, 4326))")
                ingest.execute("INSERT INTO features.zones_of_a_test VALUES (1, ST_SetSRID(ST_MakePoint(1, 2), 4326))")
            for worker in workers:
                assert name not in await layers(worker), "the list is kept until somebody says that it changed"
            raise_revision(ingest, "test-layers")
            for worker in workers:
                assert name in await layers(worker)
                found = (await worker.get(f"/collections/{name}/items")).json()
                assert found["features"][0]["geometry"]["coordinates"] == [1, 2]
        finally:
            ingest.execute("DROP TABLE features.zones_of_a_test")
            raise_revision(ingest, "test-layers")
    for worker in workers:
        assert name not in await layers(worker)


async def test_a_function_is_a_layer_with_parameters(
    workers: list[httpx.AsyncClient], database_settings: DatabaseSettings
) -> None:
    with connect(database_settings.url("ingest"), application_name="test") as ingest:
        try:
            ingest.execute(
                "CREATE FUNCTION features.circle_of_a_test(radius float DEFAULT 1) "
                "RETURNS TABLE (id int, geom geometry) LANGUAGE sql STABLE AS "
                "$$ SELECT 1, ST_Buffer(ST_SetSRID(ST_MakePoint(0, 0), 4326), radius) $$"
            )
            raise_revision(ingest, "test-layers")
            path = "/collections/features.circle_of_a_test/items?radius=2"
            answer = await workers[0].get(path)
            assert answer.status_code == 200, answer.text
            ring = answer.json()["features"][0]["geometry"]["coordinates"][0]
            assert max(x for x, _ in ring) == pytest.approx(2)
        finally:
            ingest.execute("DROP FUNCTION features.circle_of_a_test")
            raise_revision(ingest, "test-layers")
