"""Writes over HTTP against pgSTAC, through a transaction-mode pooler."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.types.json import Jsonb

from stacyard.core.connection import connect
from stacyard.core.pgstac_writes import SHARDS
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.load import bulk
from stacyard.stac.settings import StacSettings

from .conftest import serve_catalog

JSON = {"Content-Type": "application/json"}
MERGE = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}


def collection_document(collection: str, **members: Any) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection,
        "description": "For tests.",
        "license": "CC-BY-4.0",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]},
        },
        "links": [],
        **members,
    }


def item_document(item: str = "one", **members: Any) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item,
        "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]]},
        "bbox": [0, 0, 1, 1],
        "properties": {"datetime": "2020-05-18T12:00:00Z", "eo:cloud_cover": 5},
        "links": [{"rel": "license", "href": "https://example.org/license"}],
        "assets": {"red": {"href": "https://example.org/red.tif", "type": "image/tiff", "roles": ["data"]}},
        **members,
    }


def within(document: Any, path: str, value: Any = ...) -> Any:
    """A copy with the value at a JSON pointer set, or taken away."""
    copy = deepcopy(document)
    *parents, last = path.removeprefix("/").split("/")
    place = copy
    for name in parents:
        place = place[int(name) if isinstance(place, list) else name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return copy


@pytest.fixture
def owner(database_settings: DatabaseSettings) -> Iterator[psycopg.Connection[Any]]:
    with connect(database_settings.url("owner"), application_name="test") as connection:
        yield connection


@pytest.fixture
def collection(catalog: httpx.Client, owner: psycopg.Connection[Any]) -> Iterator[str]:
    """A collection partitioned by month, empty."""
    name = f"c-{uuid.uuid4().hex[:8]}"
    answer = catalog.post("/collections", json=collection_document(name))
    assert answer.status_code == 201, answer.text
    owner.execute("UPDATE pgstac.collections SET partition_trunc = 'month' WHERE id = %s", [name])
    yield name
    assert catalog.delete(f"/collections/{name}").status_code in (200, 404)


@pytest.fixture
def items(collection: str) -> str:
    return f"/collections/{collection}/items"


@pytest.fixture
def revision(owner: psycopg.Connection[Any], collection: str) -> Callable[[], int]:
    def read() -> int:
        row = owner.execute(
            "SELECT revision FROM stacyard.catalog_revision WHERE collection = %s", [collection]
        ).fetchone()
        return int(row[0]) if row else 0

    return read


@pytest.fixture
def rows(owner: psycopg.Connection[Any], collection: str) -> Callable[[], list[str]]:
    """The ids in the collection, once for each row."""

    def read() -> list[str]:
        found = owner.execute("SELECT id FROM pgstac.items WHERE collection = %s ORDER BY id", [collection])
        return [row[0] for row in found.fetchall()]

    return read


def test_an_item_is_created_read_replaced_patched_and_deleted(
    catalog: httpx.Client, collection: str, items: str, revision: Callable[[], int]
) -> None:
    before = revision()
    created = catalog.post(items, json=item_document())
    assert created.status_code == 201, created.text
    assert created.headers["location"] == str(catalog.base_url.join(f"{items}/one"))
    read = catalog.get(f"{items}/one")
    assert read.content == created.content
    assert read.headers["etag"] == created.headers["etag"]
    assert read.json()["collection"] == collection
    replaced = catalog.put(f"{items}/one", json=within(item_document(), "/properties/eo:cloud_cover", 7))
    assert replaced.status_code == 200, replaced.text
    assert replaced.json()["properties"]["eo:cloud_cover"] == 7
    assert replaced.headers["etag"] == catalog.get(f"{items}/one").headers["etag"] != created.headers["etag"]
    patched = catalog.patch(f"{items}/one", json={"properties": {"eo:cloud_cover": None, "gsd": 10}}, headers=MERGE)
    assert patched.status_code == 200, patched.text
    assert patched.json() == catalog.get(f"{items}/one").json()
    assert patched.json()["properties"] == {"datetime": "2020-05-18T12:00:00Z", "gsd": 10}
    operations = [
        {"op": "test", "path": "/properties/gsd", "value": 10},
        {"op": "move", "from": "/assets/red", "path": "/assets/b04"},
        {"op": "add", "path": "/properties/platform", "value": "sentinel-2a"},
    ]
    patched = catalog.patch(f"{items}/one", json=operations, headers=JSON_PATCH)
    assert patched.status_code == 200, patched.text
    assert list(patched.json()["assets"]) == ["b04"]
    assert revision() == before + 4
    assert catalog.delete(f"{items}/one").status_code == 200
    assert catalog.get(f"{items}/one").status_code == 404
    assert revision() == before + 5
    for method in ("put", "delete", "patch"):
        body = {} if method == "delete" else {"json": item_document()}
        answer = getattr(catalog, method)(f"{items}/one", **body)
        assert (answer.status_code, "one" in answer.json()["detail"]) == (404, True)
    assert revision() == before + 5


def test_a_collection_is_created_read_replaced_patched_and_deleted(
    catalog: httpx.Client, owner: psycopg.Connection[Any]
) -> None:
    name = f"c-{uuid.uuid4().hex[:8]}"
    created = catalog.post("/collections", json=collection_document(name))
    assert created.status_code == 201, created.text
    assert created.headers["location"] == str(catalog.base_url.join(f"/collections/{name}"))
    read = catalog.get(f"/collections/{name}")
    assert (read.content, read.headers["etag"]) == (created.content, created.headers["etag"])
    assert catalog.post("/collections", json=collection_document(name)).status_code == 409
    replaced = catalog.put(
        f"/collections/{name}", json=collection_document(name, title="New"), headers={"If-Match": read.headers["etag"]}
    )
    assert (replaced.status_code, replaced.json()["title"]) == (200, "New"), replaced.text
    patched = catalog.patch(f"/collections/{name}", json={"title": None, "keywords": ["a"]}, headers=MERGE)
    assert patched.status_code == 200, patched.text
    assert patched.content == catalog.get(f"/collections/{name}").content
    assert "title" not in patched.json()
    operations = [{"op": "add", "path": "/keywords/-", "value": "b"}]
    assert catalog.patch(f"/collections/{name}", json=operations).json()["keywords"] == ["a", "b"]
    stale = {"If-Match": read.headers["etag"]}
    assert catalog.put(f"/collections/{name}", json=collection_document(name), headers=stale).status_code == 412
    assert catalog.patch(f"/collections/{name}", json={"title": "x"}, headers=stale).status_code == 412
    assert catalog.delete(f"/collections/{name}", headers=stale).status_code == 412
    assert catalog.post(f"/collections/{name}/items", json=item_document()).status_code == 201
    assert catalog.delete(f"/collections/{name}").status_code == 200
    assert catalog.get(f"/collections/{name}").status_code == 404
    found = owner.execute("SELECT revision FROM stacyard.catalog_revision WHERE collection = %s", [name]).fetchone()
    assert found == (6,)
    for method in ("put", "delete", "patch"):
        body = {} if method == "delete" else {"json": collection_document(name)}
        assert getattr(catalog, method)(f"/collections/{name}", **body).status_code == 404


@pytest.mark.parametrize("version", ["1.0.0", "1.0.1", "1.1.0"])
def test_items_of_every_version_of_stac_1_are_taken_and_come_back_as_they_were(
    catalog: httpx.Client, items: str, version: str
) -> None:
    sent = item_document(stac_version=version, stac_extensions=["https://example.org/x/v1.0.0/schema.json"])
    sent["properties"] |= {
        "created": "2020-05-18T12:00:00.123456Z",
        "nothing": None,
        "x:deep": {"a": [1, None]},
    }
    assert catalog.post(items, json=sent).status_code == 201
    found = catalog.get(f"{items}/one").json()
    ours = {"root", "self", "parent", "collection", "alternate"}
    found["links"] = [link for link in found["links"] if link["rel"] not in ours]
    assert {name: value for name, value in found.items() if name != "collection"} == sent
    # what was read may be sent back
    again = catalog.get(f"{items}/one")
    assert catalog.put(f"{items}/one", json=again.json()).content == again.content


def test_a_published_href_is_stored_as_it_was(
    catalog: httpx.Client, items: str, storage_settings: StorageSettings, owner: psycopg.Connection[Any]
) -> None:
    href = f"{storage_settings.assets}/red.tif"
    created = catalog.post(items, json=within(item_document(), "/assets/red/href", href))
    published = created.json()
    assert published["assets"]["red"]["href"].startswith("http")
    stored = "SELECT content->'assets'->'red', content->'stac_extensions' FROM pgstac.items WHERE id = 'one'"
    before = owner.execute(stored).fetchone()
    assert catalog.put(f"{items}/one", json=published).status_code == 200
    assert catalog.patch(f"{items}/one", json=published).status_code == 200
    assert owner.execute(stored).fetchone() == before
    assert before is not None
    assert before[0]["href"] == href
    broken = within(published, "/assets/red/alternate/storage/href", 5)
    answer = catalog.put(f"{items}/one", json=broken)
    assert (answer.status_code, answer.json()["parameter"]) == (400, "/assets/red/alternate/storage/href")


def test_an_update_is_not_lost_when_two_clients_read_the_same_state(
    catalog: httpx.Client, catalog_url: str, items: str, rows: Callable[[], list[str]]
) -> None:
    """Each adds one to a number until it has done so ten times, reading again whenever it is told to."""
    tag = catalog.post(items, json=within(item_document(), "/properties/x:count", 0)).headers["etag"]
    assert catalog.put(f"{items}/one", json=item_document(), headers={"If-Match": '"other"'}).status_code == 412
    assert catalog.delete(f"{items}/one", headers={"If-Match": 'W/"other", "another"'}).status_code == 412
    assert catalog.patch(f"{items}/one", json={}, headers={"If-Match": f'"other", {tag}'}).status_code == 200
    assert catalog.patch(f"{items}/one", json={}, headers={"If-Match": "*"}).status_code == 200

    def count() -> int:
        refused = 0
        with httpx.Client(base_url=catalog_url, timeout=30) as client:
            for _ in range(10):
                while True:
                    read = client.get(f"{items}/one")
                    item = read.json()
                    item["properties"]["x:count"] += 1
                    answer = client.put(f"{items}/one", json=item, headers={"If-Match": read.headers["etag"]})
                    if answer.status_code == 200:
                        break
                    assert answer.status_code == 412, answer.text
                    refused += 1
        return refused

    with ThreadPoolExecutor(2) as clients:
        refused = [client.result() for client in [clients.submit(count) for _ in range(2)]]
    assert catalog.get(f"{items}/one").json()["properties"]["x:count"] == 20
    assert sum(refused) > 0, "the two must have met"
    assert rows() == ["one"]


def test_an_item_that_moves_to_another_month_is_there_once(
    catalog: httpx.Client, items: str, collection: str, rows: Callable[[], list[str]]
) -> None:
    assert catalog.post(items, json=item_document()).status_code == 201
    for month in ("07", "08", "09"):
        time = f"2020-{month}-01T00:00:00Z"
        moved = within(item_document(), "/properties/datetime", time)
        assert catalog.post(items, json=moved).status_code == 409
        refused = catalog.post(f"/collections/{collection}/bulk_items", json={"items": {"one": moved}}).json()
        assert (refused["success"], len(refused["errors"])) == (0, 1)
        match month:
            case "07":
                assert catalog.put(f"{items}/one", json=moved).status_code == 200
            case "08":
                patch = {"properties": {"datetime": time}}
                assert catalog.patch(f"{items}/one", json=patch).status_code == 200
            case _:
                body = {"items": {"one": moved}, "method": "upsert"}
                assert catalog.post(f"/collections/{collection}/bulk_items", json=body).json()["success"] == 1
        assert rows() == ["one"]
        assert catalog.get(f"{items}/one").json()["properties"]["datetime"] == time


def test_two_who_create_the_same_item_in_different_months_leave_one(
    catalog_url: str, items: str, rows: Callable[[], list[str]]
) -> None:
    def create(number: int) -> int:
        with httpx.Client(base_url=catalog_url, timeout=30) as client:
            item = within(
                item_document(f"i{number // 4}"), "/properties/datetime", f"2021-0{number % 4 + 1}-01T00:00:00Z"
            )
            return client.post(items, json=item).status_code

    with ThreadPoolExecutor(8) as clients:
        statuses = list(clients.map(create, range(24)))
    assert rows() == [f"i{number}" for number in range(6)]
    assert sorted(statuses) == [201] * 6 + [409] * 18


def test_an_item_collection_is_written_whole(
    catalog: httpx.Client, items: str, rows: Callable[[], list[str]], revision: Callable[[], int]
) -> None:
    before = revision()
    features = [
        within(item_document(f"i{number}"), "/properties/datetime", f"2020-{number % 12 + 1:02}-01T00:00:00Z")
        for number in range(30)
    ]
    answer = catalog.post(items, json={"type": "FeatureCollection", "features": features})
    assert (answer.status_code, answer.content) == (201, b""), answer.text
    assert rows() == sorted(feature["id"] for feature in features)
    assert revision() == before + 1


@pytest.mark.parametrize(
    ("fault", "status", "says"),
    [
        (lambda item: within(item, "/properties/datetime"), 400, "/features/5/properties"),
        (lambda item: within(item, "/collection", "other"), 400, "/features/5/collection"),
        (lambda item: within(item, "/id", "i4"), 400, "/features/5/id"),
        (lambda item: within(item, "/id", "there"), 409, "there already: there"),
        (lambda item: 5, 400, "/features/5"),
    ],
)
def test_a_fault_in_the_middle_of_an_item_collection_leaves_nothing(
    catalog: httpx.Client,
    items: str,
    rows: Callable[[], list[str]],
    revision: Callable[[], int],
    fault: Callable[[Any], Any],
    status: int,
    says: str,
) -> None:
    assert catalog.post(items, json=item_document("there")).status_code == 201
    before = revision()
    features: list[Any] = [item_document(f"i{number}", collection=items.split("/")[2]) for number in range(10)]
    features[5] = fault(features[5])
    answer = catalog.post(items, json={"type": "FeatureCollection", "features": features})
    assert answer.status_code == status, answer.text
    assert says in answer.json()["detail"]
    assert rows() == ["there"]
    assert revision() == before


def test_what_the_database_refuses_leaves_nothing(
    catalog: httpx.Client,
    items: str,
    collection: str,
    owner: psycopg.Connection[Any],
    rows: Callable[[], list[str]],
    revision: Callable[[], int],
) -> None:
    """The fault is met in the last of the months, after partitions were made for all of them."""
    before = revision()
    features = [within(item_document(f"i{n}"), "/properties/datetime", f"2020-0{n}-01T00:00:00Z") for n in range(1, 9)]
    rule = f"id <> 'i8' OR collection <> '{collection}'"
    owner.execute(f"ALTER TABLE pgstac.items ADD CONSTRAINT test_refuses CHECK ({rule}) NOT VALID".encode())
    try:
        body = {"items": {feature["id"]: feature for feature in features}}
        many = catalog.post(items, json={"type": "FeatureCollection", "features": features})
        bulk = catalog.post(f"/collections/{collection}/bulk_items", json=body)
    finally:
        owner.execute("ALTER TABLE pgstac.items DROP CONSTRAINT test_refuses")
    assert (many.status_code, bulk.status_code) == (503, 503), (many.text, bulk.text)
    assert rows() == []
    assert revision() == before
    assert catalog.post(f"/collections/{collection}/bulk_items", json=body).json()["success"] == 8


def test_the_counts_of_a_bulk_write_are_what_was_written(
    catalog: httpx.Client, items: str, collection: str, rows: Callable[[], list[str]], revision: Callable[[], int]
) -> None:
    path = f"/collections/{collection}/bulk_items"
    assert catalog.post(items, json=item_document("there")).status_code == 201
    before = revision()
    sent = {name: item_document(name) for name in ("a", "b", "there")}
    sent |= {
        "bad": within(item_document("bad"), "/bbox", [1]),
        "name": item_document("other"),
        "x/y": item_document("x/y"),
    }
    answer = catalog.post(path, json={"items": sent})
    assert answer.status_code == 200, answer.text
    counts = answer.json()
    assert {name: counts[name] for name in ("received", "success", "skipped")} == {
        "received": 6,
        "success": 2,
        "skipped": 0,
    }
    assert {error["id"] for error in counts["errors"]} == {"there", "bad", "name", "x/y"}
    assert next(error["msg"] for error in counts["errors"] if error["id"] == "bad").startswith("/bbox: ")
    assert rows() == ["a", "b", "there"]
    assert revision() == before + 1
    changed = {"a": item_document("a"), "b": within(item_document("b"), "/properties/gsd", 5), "c": item_document("c")}
    # written before collections had ids in their items, or with a null that says nothing
    changed["b"]["properties"] |= {"datetime": None, "start_datetime": "2019-01-01T00:00:00Z"}
    changed["b"]["properties"]["end_datetime"] = "2019-02-01T00:00:00Z"
    counts = catalog.post(path, json={"items": changed, "method": "upsert"}).json()
    assert counts == {"received": 3, "success": 2, "skipped": 1, "errors": []}
    assert revision() == before + 2
    counts = catalog.post(path, json={"items": changed, "method": "upsert"}).json()
    assert counts == {"received": 3, "success": 0, "skipped": 3, "errors": []}
    assert revision() == before + 2, "nothing was written"
    assert rows() == ["a", "b", "c", "there"]
    assert catalog.get(f"{items}/b").json()["properties"]["datetime"] is None


def test_items_share_what_their_collection_says_of_assets_and_keep_it_when_that_changes(
    catalog: httpx.Client, collection: str, items: str, owner: psycopg.Connection[Any]
) -> None:
    shared = {"type": "image/tiff", "roles": ["data"], "title": "Red"}
    document = collection_document(collection, item_assets={"red": shared, "blue": shared})
    assert catalog.put(f"/collections/{collection}", json=document).status_code == 200
    assert catalog.post(items, json=item_document("one")).status_code == 201
    document["item_assets"]["red"] = shared | {"title": "Rot"}
    assert catalog.put(f"/collections/{collection}", json=document).status_code == 200
    assert catalog.post(items, json=item_document("two")).status_code == 201
    for name in ("one", "two"):
        found = catalog.get(f"{items}/{name}").json()
        assert found["assets"] == item_document()["assets"]
        stored = owner.execute("SELECT pgstac.get_item(%s, %s)", [name, collection]).fetchone()
        assert stored is not None
        assert stored[0]["assets"] == item_document()["assets"]
        patched = catalog.patch(f"{items}/{name}", json={"assets": {"red": {"title": "R"}}}).json()
        assert patched["assets"] == {"red": item_document()["assets"]["red"] | {"title": "R"}}


def test_a_write_waits_for_the_bulk_loader_and_gives_up_in_time(
    catalog: httpx.Client, items: str, collection: str, owner: psycopg.Connection[Any], rows: Callable[[], list[str]]
) -> None:
    """The loader's own lock on one shard, with the loader's own statement, for every shard that there is."""
    assert SHARDS == bulk.SHARDS
    with ThreadPoolExecutor(1) as clients:
        with owner.transaction():
            owner.execute(bulk._LOCK, {"collection": collection, "shard": SHARDS - 1})
            waiting = clients.submit(catalog.post, items, json=item_document())
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result(timeout=10).status_code == 201
        with owner.transaction():
            owner.execute(bulk._LOCK, {"collection": collection, "shard": 0})
            refused = clients.submit(catalog.delete, f"{items}/one").result(timeout=20)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2"), refused.text
    assert rows() == ["one"]


NO_TEMPORARY_TABLES = """
CREATE FUNCTION public.refuse_temporary_tables() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE schema_name = 'pg_temp') THEN
        RAISE EXCEPTION 'a temporary table';
    END IF;
END $$;
CREATE EVENT TRIGGER refuse_temporary_tables ON ddl_command_end EXECUTE FUNCTION public.refuse_temporary_tables();
"""


def test_no_write_makes_a_temporary_table(
    catalog: httpx.Client, items: str, collection: str, owner: psycopg.Connection[Any]
) -> None:
    """Which would keep a proxy from lending the connection to anybody else."""
    owner.execute(NO_TEMPORARY_TABLES.encode())
    try:
        with pytest.raises(psycopg.errors.RaiseException, match="temporary"):
            owner.execute("SELECT pgstac.create_item(%s)", [Jsonb(item_document("x", collection=collection))])
        assert catalog.post(items, json=item_document()).status_code == 201
        assert catalog.put(f"{items}/one", json=item_document()).status_code == 200
        features = [within(item_document("two"), "/properties/datetime", "2020-07-01T00:00:00Z")]
        assert catalog.post(items, json={"type": "FeatureCollection", "features": features}).status_code == 201
        body = {"items": {"two": item_document("two")}, "method": "upsert"}
        assert catalog.post(f"/collections/{collection}/bulk_items", json=body).json()["success"] == 1
        assert catalog.delete(f"{items}/one").status_code == 200
        assert catalog.patch(f"/collections/{collection}", json={"title": "x"}).status_code == 200
        assert catalog.delete(f"/collections/{collection}").status_code == 200
    finally:
        owner.execute("DROP EVENT TRIGGER refuse_temporary_tables")
        owner.execute("DROP FUNCTION public.refuse_temporary_tables()")


def test_a_catalog_without_transactions_has_no_writes(
    database_settings: DatabaseSettings, storage_settings: StorageSettings
) -> None:
    settings = StacSettings(database=database_settings, storage=storage_settings)
    with serve_catalog(settings) as url, httpx.Client(base_url=url) as client:
        assert client.post("/collections", json=collection_document("never")).status_code == 405
        assert client.put("/collections/never/items/one", json=item_document()).status_code == 405
        assert not [name for name in client.get("/conformance").json()["conformsTo"] if "transaction" in name]


def test_the_definition_names_every_write_and_its_body(catalog: httpx.Client) -> None:
    definition = catalog.get("/api").json()
    bodies = {
        (method, path): set(operation.get("requestBody", {}).get("content", {}))
        for path, operations in definition["paths"].items()
        for method, operation in operations.items()
        if method != "get" and not path.endswith(("/search", "/aggregate", "/aggregations"))
    }
    plain = {"application/json", "application/geo+json"}
    patches = plain | {"application/merge-patch+json", "application/json-patch+json"}
    collection, item = "/collections/{collection_id}", "/collections/{collection_id}/items/{item_id}"
    assert bodies == {
        ("post", "/collections"): plain,
        ("put", collection): plain,
        ("patch", collection): patches,
        ("delete", collection): set(),
        ("post", f"{collection}/items"): plain,
        ("put", item): plain,
        ("patch", item): patches,
        ("delete", item): set(),
        ("post", f"{collection}/bulk_items"): plain,
    }
    assert len([name for name in catalog.get("/conformance").json()["conformsTo"] if "transaction" in name]) == 2
