"""Everything once more through PgBouncer in transaction mode with two server connections a role.

PgBouncer stands in for RDS Proxy, which cannot run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.postgres import EmbeddedCluster

#: What changes a session for whoever borrows the connection next, or keeps a proxy from lending it.
PINS = re.compile(
    r"^\s*(SET(?!\s+LOCAL)|RESET|LISTEN|UNLISTEN|NOTIFY|PREPARE|DEALLOCATE|DECLARE|CLOSE|DISCARD|LOCK|CREATE|DROP|ALTER)\b"
    r"|pg_advisory_(?!xact)(un)?lock|pg_try_advisory_lock|\bTEMP(ORARY)?\s+TABLE|pg_temp"
    r"|set_config\([^)]*,\s*false\s*\)|nextval\(|currval\(|lastval\(",
    re.IGNORECASE,
)
#: What PgBouncer itself says to a server connection when it lends it to another client.
POOLERS_OWN = re.compile(r"(SET (application_name|client_encoding)='[^;]*';)+")
WRITES = re.compile(r"^\s*(INSERT|UPDATE|DELETE|MERGE|TRUNCATE|COPY)\b", re.IGNORECASE)
STATEMENT = re.compile(r"(?:statement|execute [^:]*): (.*)", re.DOTALL)

ROWS_WRITTEN = (
    "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables "
    "WHERE schemaname IN ('pgstac', 'stacyard', 'features')"
)


OUR_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE usename IN ('stacyard_reader', 'stacyard_writer')"


@pytest.fixture(scope="module")
def direct_sessions(demo: None, database_settings: DatabaseSettings) -> set[int]:
    """Sessions of the services' roles that were there before the pooler had any."""
    with connect(database_settings.url("owner"), application_name="test") as owner:
        return {row[0] for row in owner.execute(OUR_SESSIONS).fetchall()}


@pytest.fixture(scope="module")
def pooled(
    demo: None,
    pgbouncer: DatabaseSettings,
    storage_settings: StorageSettings,
    public_directory: Path,
    database_settings: DatabaseSettings,
    direct_sessions: set[int],
    serving: Any,
) -> Iterator[Any]:
    """The platform behind the pooler, every statement of its roles in the server's log."""
    with connect(database_settings.url("owner"), application_name="test") as owner:
        for role in ("stacyard_reader", "stacyard_writer"):
            owner.execute(f"ALTER ROLE {role} SET log_statement TO 'all'".encode())
        with serving(pgbouncer, storage_settings, public_directory / "pooled.log") as served:
            yield served
        for role in ("stacyard_reader", "stacyard_writer"):
            owner.execute(f"ALTER ROLE {role} RESET log_statement".encode())


def routes(client: httpx.Client) -> list[str]:
    """The main routes of every service, tiles in the middle of what there is."""
    west, south, east, north = client.get("/stac/collections/landsat8-paraguay/items").json()["features"][0]["bbox"]
    area = f"{west + 0.1},{south + 0.1},{west + 0.2},{south + 0.2}"
    x, y = (west + east) / 2, (south + north) / 2
    scene = "/raster/collections/landsat8-paraguay"
    return [
        "/stac/",
        "/stac/collections",
        "/stac/collections?q=ndvi",
        "/stac/collections/naip",
        "/stac/collections/naip/items?limit=5",
        "/stac/collections/naip/queryables",
        "/stac/search?limit=5&collections=naip&sortby=-datetime",
        "/stac/search?filter=eo:cloud_cover%20%3C%2010&limit=5",
        "/stac/search?fields=id&bbox=-90,30,-80,40",
        f"{scene}/info",
        f"{scene}/WebMercatorQuad/tilejson.json?assets=red",
        f"{scene}/bbox/{area}.png?assets=red&rescale=5950,8950&width=64&height=64",
        f"{scene}/point/{x},{y}?assets=red",
        "/raster/searches/list",
        "/raster/collections/sentinel2-ndvi/info",
        "/vector/collections",
        "/vector/collections/features.parcels",
        "/vector/collections/features.parcels/items?limit=3",
        "/vector/collections/features.parcels/tiles/WebMercatorQuad/tilejson.json",
        "/vector/collections/features.parcels/tiles/WebMercatorQuad/0/0/0",
        "/vector/collections/features.parcels/items?f=geojson&bbox=10,40,20,50",
        "/readyz",
    ]


def statements(log: Path, start: int) -> list[str]:
    """The statements of the services' roles since an offset of the server's log."""
    text = log.read_bytes()[start:].decode()
    records = re.split(r"\n(?=\d{4}-\d\d-\d\d )", text)
    ours = [record for record in records if re.search(r"\] stacyard_(reader|writer)@", record.splitlines()[0])]
    said = [found.group(1).strip() for record in ours if (found := STATEMENT.search(record))]
    return [statement for statement in said if not POOLERS_OWN.fullmatch(statement)]


def test_fifty_clients_share_two_connections_and_nothing_is_left_on_them(
    pooled: Any, cluster: EmbeddedCluster, database_settings: DatabaseSettings, direct_sessions: set[int]
) -> None:
    log = cluster.log
    with pooled.client() as client:
        paths = routes(client)
        for path in paths:
            answer = client.get(path)
            assert answer.status_code == 200, (path, answer.text[:300])

    start = log.stat().st_size
    with connect(database_settings.url("owner"), application_name="test") as owner:
        written = owner.execute(ROWS_WRITTEN).fetchone()
        busiest = 0

        def ask(number: int) -> tuple[str, int]:
            with pooled.client() as client:
                path = paths[number % len(paths)]
                return path, client.get(path).status_code

        with ThreadPoolExecutor(50) as clients:
            work = [clients.submit(ask, number) for number in range(4 * len(paths))]
            while not all(done.done() for done in work):
                sessions = {row[0] for row in owner.execute(OUR_SESSIONS).fetchall()}
                busiest = max(busiest, len(sessions - direct_sessions))
        answers = [done.result() for done in work]
        assert {status for _, status in answers} == {200}, [answer for answer in answers if answer[1] != 200][:5]
        # two for the reader, two for the writer
        assert 1 <= busiest <= 4
        owner.execute("SELECT pg_stat_clear_snapshot()")
        assert owner.execute(ROWS_WRITTEN).fetchone() == written, "a read wrote to the database"

    said = statements(log, start)
    assert len(said) > 60, "the statement log must have been read"
    assert not [statement for statement in said if PINS.search(statement)]
    assert not [statement for statement in said if WRITES.search(statement)]


def test_a_search_is_registered_through_the_pooler_and_leaves_nothing(pooled: Any, cluster: EmbeddedCluster) -> None:
    log = cluster.log
    start = log.stat().st_size
    with pooled.client() as client:
        answer = client.post("/raster/searches/register", json={"collections": ["sentinel2-ndvi"]})
        assert answer.status_code == 200, answer.text
        assert client.get(f"/raster/searches/{answer.json()['id']}/info").status_code == 200
    said = statements(log, start)
    assert any("search_query" in statement for statement in said)
    assert not [statement for statement in said if PINS.search(statement)]


def test_an_item_is_written_and_removed_through_the_pooler_and_the_revision_says_so(
    pooled: Any, database_settings: DatabaseSettings
) -> None:
    """What a client reads it may send back: the hrefs it was given are stored as storage URIs again."""
    read = "SELECT revision FROM stacyard.catalog_revision WHERE collection = 'landsat8-paraguay'"
    stored = "SELECT content->'assets'->'red'->>'href' FROM pgstac.items WHERE id = 'copy'"
    with pooled.client() as client, connect(database_settings.url("reader"), application_name="test") as reader:
        before = reader.execute(read).fetchone()
        item: dict[str, Any] = client.get("/stac/collections/landsat8-paraguay/items").json()["features"][0]
        assert item["assets"]["red"]["href"].startswith("http")
        created = client.post("/stac/collections/landsat8-paraguay/items", json=item | {"id": "copy"})
        assert created.status_code == 201, created.text
        href = reader.execute(stored).fetchone()
        assert href is not None
        assert href[0].startswith("file:///")
        again = client.post("/stac/collections/landsat8-paraguay/items", json=item | {"id": "copy"})
        assert again.status_code == 409, again.text
        assert client.delete("/stac/collections/landsat8-paraguay/items/copy").status_code == 200
        assert client.get("/stac/collections/landsat8-paraguay/items/copy").status_code == 404
        after = reader.execute(read).fetchone()
    assert before is not None
    assert after == (before[0] + 2,)
