"""The seam of access: a policy that hides something hides it from every service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from stacyard.core.access import Caller, Resource
from stacyard.core.assembly import answer_with_problems
from stacyard.core.connection import connect
from stacyard.core.errors import NotFound
from stacyard.core.origin import OneOrigin
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.assets import PublishedAssets
from stacyard.raster import app as raster
from stacyard.raster.settings import RasterSettings
from stacyard.stac import app as stac
from stacyard.stac.settings import StacSettings
from stacyard.vector import app as vector
from stacyard.vector.settings import VectorSettings

COLLECTION = """{"type": "Collection", "stac_version": "1.1.0", "id": "%s", "description": "d", "license": "CC0-1.0",
    "links": [], "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[null, null]]}}}"""


class Hides:
    """Nobody may know of what is called hidden."""

    def check_read(self, caller: Caller, resource: Resource) -> None:
        if any("hidden" in str(name) for name in (resource.collection, resource.item, resource.layer)):
            raise NotFound("there is no such thing")


@pytest.fixture(scope="module")
def catalog(database_settings: DatabaseSettings) -> Iterator[DatabaseSettings]:
    with connect(database_settings.url("ingest"), application_name="test") as ingest:
        for name in ("test-open", "test-hidden"):
            ingest.execute("SELECT pgstac.create_collection(%s)", [COLLECTION % name])
        for name in ("test_open", "test_hidden"):
            ingest.execute(f"CREATE TABLE features.{name} (id int PRIMARY KEY, geom geometry(Point, 4326))".encode())
        yield database_settings
        for name in ("test-open", "test-hidden"):
            ingest.execute("SELECT pgstac.delete_collection(%s)", [name])
        for name in ("test_open", "test_hidden"):
            ingest.execute(f"DROP TABLE features.{name}".encode())


@pytest.fixture(params=["stac", "raster", "vector"])
async def service(
    request: pytest.FixtureRequest, catalog: DatabaseSettings, storage_settings: StorageSettings
) -> AsyncIterator[tuple[str, httpx.AsyncClient]]:
    app: FastAPI = {
        "stac": lambda: stac.create_app(StacSettings(database=catalog, storage=storage_settings), mounted=True),
        "raster": lambda: raster.create_app(RasterSettings(database=catalog, storage=storage_settings), mounted=True),
        "vector": lambda: vector.create_app(VectorSettings(database=catalog), mounted=True),
    }[request.param]()
    app.state.access = Hides()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://yard") as client,
    ):
        yield request.param, client


PATHS = {
    "stac": ["/collections/{}", "/collections/{}/items", "/search?collections={}", "/collections/{}/items/any"],
    "raster": ["/collections/{}/info", "/collections/{}/items/any/info?assets=a"],
    "vector": ["/collections/{}", "/collections/{}/items", "/collections/{}/tiles/WebMercatorQuad/0/0/0"],
}


async def test_what_the_policy_hides_no_service_shows(service: tuple[str, httpx.AsyncClient]) -> None:
    name, client = service
    hidden, shown = ("features.test_hidden", "features.test_open") if name == "vector" else ("test-hidden", "test-open")
    for path in PATHS[name]:
        answer = await client.get(path.format(hidden))
        assert answer.status_code == 404, path
        assert answer.json()["detail"] == "there is no such thing", path
    assert (await client.get(PATHS[name][0].format(shown))).status_code == 200
    if name != "raster":
        listed = {entry["id"] for entry in (await client.get("/collections")).json()["collections"]}
        assert shown in listed
        assert hidden not in listed


async def test_what_the_policy_hides_has_no_assets(tmp_path: Path) -> None:
    for name in ("open", "hidden"):
        (tmp_path / name / "item").mkdir(parents=True)
        (tmp_path / name / "item" / "a.txt").write_text("field")
    app = FastAPI()
    app.state.access = Hides()
    answer_with_problems(app, {})
    app.router.default = OneOrigin({"/assets": PublishedAssets(directory=tmp_path)}, fallback=app.router.default)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://yard") as client:
        assert (await client.get("/assets/open/item/a.txt")).text == "field"
        hidden = await client.get("/assets/hidden/item/a.txt")
        assert (hidden.status_code, hidden.json()["detail"]) == (404, "there is no such thing")
        for method, status in (("OPTIONS", 204), ("PUT", 405)):
            asked = await client.request(method, "/assets/open/item/a.txt")
            assert (asked.status_code, asked.headers["allow"]) == (status, "GET, HEAD, OPTIONS")
