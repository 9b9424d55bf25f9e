"""The bulk loader against pgSTAC's own, beside others, and what it knows of pgSTAC's schema."""

from __future__ import annotations

import copy
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.rows import tuple_row
from psycopg_pool import ConnectionPool
from pypgstac.db import PgstacDB
from pypgstac.load import Loader as StockLoader
from pypgstac.load import Methods

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.load.bulk import Fate, Loader, Mode, Result
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.load.partitions import constrain
from stacyard.ingestor.load.rows import item_of
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.session import Session

from .conftest import DEMO, Yard
from .test_items import ITEM

Item = dict[str, Any]
Load = Callable[..., list[Result]]


@pytest.fixture
def session(yard: Yard) -> Iterator[Session]:
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    yield session
    session.close()


def new_collection(yard: Yard, session: Session, name: str, partition: str = "none", **more: Any) -> str:
    collection = yard.collection_id(name)
    recipe = parse_recipe(
        f"{{collection: {{id: {collection}, title: t, description: d, license: other}}, kind: items}}", "r"
    )
    document = {**describe_collection(recipe, None), **more}
    assert Catalog(session).save_collection(document, partition=partition)
    assert not Catalog(session).save_collection(document), "written though nothing changed"
    return collection


def item(collection: str, name: str, *, day: str = "2020-01-01", **properties: Any) -> Item:
    times = {"datetime": f"{day}T00:00:00Z", **properties}
    return {**copy.deepcopy(ITEM), "id": name, "collection": collection, "properties": times}


def load(
    session: Session, collection: str, *items: Item, mode: Mode = Mode.UPSERT, run: int = 0, task: int = 1
) -> list[str]:
    results = Loader(session, collection, run=run, mode=mode).load(
        [copy.deepcopy(each) for each in items], tasks=[task] * len(items)
    )
    return [str(result.fate) for result in results]


def rows(yard: Yard, collection: str) -> list[dict[str, Any]]:
    """Everything that pgSTAC keeps of the items but the mark."""
    found = yard.query(
        "SELECT id, geometry::text, datetime, end_datetime, content, tableoid::regclass::text AS partition, private"
        " FROM pgstac.items WHERE collection = %s ORDER BY id",
        collection,
    )
    for row in found:
        private = row.pop("private")
        assert isinstance(private, dict)
        rest = {key: value for key, value in private.items() if key != "stacyard"}
        row["private"] = rest or None
    return found


def test_what_it_loads_lies_in_the_table_as_pgstacs_own_loader_would_have_put_it(yard: Yard, session: Session) -> None:
    parts = {"item_assets": {"image": {"type": "image/tiff; application=geotiff", "roles": ["data"]}}}
    ours = new_collection(yard, session, "differential", "month", **parts)
    # an edit makes a second base item, whose number the items then carry
    edited = {**(Catalog(session).collection(ours) or {}), "item_assets": {"image": {"roles": ["data"]}, "x": {}}}
    Catalog(session).save_collection(edited)
    source = subprocess.run(["zcat", DEMO / "naip" / "naip_1000.ndjson.gz"], capture_output=True, check=True).stdout
    items = [{**orjson.loads(line), "collection": ours} for line in source.splitlines()[:300]]
    span = {"datetime": None, "start_datetime": "2020-01-31T00:00:00Z", "end_datetime": "2020-03-01T00:00:00.250000Z"}
    items[0]["properties"].update(span)
    items[1]["geometry"]["coordinates"][0] = [[*xy, 12.5] for xy in items[1]["geometry"]["coordinates"][0]]
    items[2]["private"] = {"owner": "us"}
    items[3]["properties"]["text"] = 'tab\t, line\n, back\\slash, "quote", ü, \U0001f33e'
    with yard.connect() as connection, ConnectionPool("", min_size=0, max_size=1, open=False) as pool:
        connection.row_factory = tuple_row  # type: ignore[assignment]
        stock = StockLoader(PgstacDB(pool=pool, connection=connection))
        stock.load_items(iter(copy.deepcopy(items)), insert_mode=Methods.insert)
    theirs = yard.query(
        "SELECT id, geometry::text, datetime, end_datetime, content, tableoid::regclass::text AS partition, private"
        " FROM pgstac.items WHERE collection = %s ORDER BY id",
        ours,
    )
    searched = "SELECT pgstac.search(jsonb_build_object('collections', jsonb_build_array(%s::text), 'limit', 400))"
    [found] = yard.query(searched, ours)
    with yard.connect() as connection:
        connection.execute("DELETE FROM pgstac.items WHERE collection = %s", [ours])
    assert set(load(session, ours, *items)) == {"written"}
    assert constrain(session, ours) == []
    assert rows(yard, ours) == theirs
    assert [found] == yard.query(searched, ours)


@pytest.mark.parametrize("partition", ["none", "month"])
def test_each_mode_does_what_its_name_says(yard: Yard, session: Session, partition: str) -> None:
    c = new_collection(yard, session, "modes", partition)
    first = [item(c, "a"), item(c, "b")]
    assert load(session, c, *first, mode=Mode.INSERT) == ["written", "written"]
    assert load(session, c, *first) == ["unchanged", "unchanged"]
    assert load(session, c, *first, mode=Mode.INSERT) == ["unchanged", "unchanged"], "an insert that is repeated"
    moved = item(c, "a", day="2021-05-05")
    assert load(session, c, moved, item(c, "c"), mode=Mode.INSERT) == ["refused", "written"]
    assert load(session, c, moved, mode=Mode.IGNORE) == ["unchanged"]
    assert load(session, c, moved) == ["written"]
    assert [(row["id"], row["datetime"].year) for row in rows(yard, c)] == [("a", 2021), ("b", 2020), ("c", 2020)]
    [before] = yard.query("SELECT xmin::text FROM pgstac.items WHERE collection = %s AND id = 'a'", c)
    assert load(session, c, moved, mode=Mode.REPLACE) == ["written"]
    assert [before] != yard.query("SELECT xmin::text FROM pgstac.items WHERE collection = %s AND id = 'a'", c)
    run = open_run(yard, session, c)
    assert load(session, c, item(c, "b"), item(c, "d"), mode=Mode.MIRROR, run=run) == ["unchanged", "written"]
    assert Catalog(session).delete_unseen(c, run) == 2
    assert [row["id"] for row in rows(yard, c)] == ["b", "d"]


def open_run(yard: Yard, session: Session, collection: str) -> int:
    from stacyard.ingestor.ledger import Ledger

    return Ledger(session, worker="w").open_run(collection=collection, recipe="", recipe_hash="h", sources=[])


def test_the_newest_version_stays_whatever_comes_first(yard: Yard, session: Session) -> None:
    c = new_collection(yard, session, "newest", "month")
    versions = [item(c, "a", day=f"2020-0{n}-01", updated=f"2024-01-0{n}T00:00:00Z") for n in (1, 2, 3)]
    for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0)):
        with yard.connect() as connection:
            connection.execute("DELETE FROM pgstac.items WHERE collection = %s", [c])
        for n in order:
            load(session, c, versions[n])
        assert [row["content"]["properties"]["updated"] for row in rows(yard, c)] == ["2024-01-03T00:00:00Z"]
    assert load(session, c, versions[0], mode=Mode.REPLACE) == ["written"], "replace asks nobody"


def test_a_mark_is_void_once_another_has_written_the_row(yard: Yard, session: Session) -> None:
    c = new_collection(yard, session, "foreign")
    original = item(c, "a", note="ours")
    load(session, c, original)
    with yard.connect() as connection, ConnectionPool("", min_size=0, max_size=1, open=False) as pool:
        connection.row_factory = tuple_row  # type: ignore[assignment]
        stock = StockLoader(PgstacDB(pool=pool, connection=connection))
        # it changes the content and leaves the column where the mark is
        stock.load_items(iter([item(c, "a", note="theirs")]), insert_mode=Methods.upsert)
    assert rows(yard, c)[0]["content"]["properties"]["note"] == "theirs"
    assert load(session, c, original) == ["written"]
    assert rows(yard, c)[0]["content"]["properties"]["note"] == "ours"


@pytest.mark.parametrize("partition", ["none", "month"])
def test_what_is_unchanged_is_known_before_anything_is_loaded(yard: Yard, session: Session, partition: str) -> None:
    c = new_collection(yard, session, "ahead", partition)
    kept = {name: item(c, name) for name in ("same", "other", "touched", "doubled")}
    assert set(load(session, c, *kept.values())) == {"written"}
    with yard.connect() as connection:
        connection.execute("UPDATE pgstac.items SET id = id WHERE collection = %s AND id = 'touched'", [c])
        if partition == "month":
            # the stock loader does this to an item whose date moves
            load(session, c, item(c, "elsewhere", day="2020-03-01"))
            connection.execute(
                "INSERT INTO pgstac.items SELECT 'doubled', geometry, collection, datetime, end_datetime, content,"
                " private FROM pgstac.items WHERE collection = %s AND id = 'elsewhere'",
                [c],
            )
    kept["other"]["properties"]["cloudy"] = True
    digests = {name: item_of(document).digest for name, document in kept.items()} | {"new": "0" * 32}
    known = {"same"} if partition == "month" else {"same", "doubled"}
    for mode in Mode:
        run = open_run(yard, session, c)
        found = Loader(session, c, run=run, mode=mode).unchanged(digests)
        assert found == (set() if mode is Mode.REPLACE else known)
        seen = {row["item_id"] for row in yard.query("SELECT item_id FROM stacyard.ingest_seen WHERE run_id = %s", run)}
        assert seen == (known if mode is Mode.MIRROR else set())
        yard.query("UPDATE stacyard.ingest_run SET finished_at = now() WHERE id = %s RETURNING id", run)


def test_one_item_the_database_refuses_does_not_take_the_others_with_it(yard: Yard, session: Session) -> None:
    c = new_collection(yard, session, "refused")
    items = [item(c, str(number)) for number in range(60)]
    items[31]["properties"]["text"] = "a\0b"
    results = Loader(session, c, run=0).load(items, tasks=[1] * 60)
    refused = [(number, result) for number, result in enumerate(results) if result.fate is Fate.REFUSED]
    [(number, result)] = refused
    assert number == 31
    assert "unsupported Unicode escape sequence" in result.reason
    assert not result.retry
    assert len(rows(yard, c)) == 59


def test_what_a_busy_database_turns_away_may_be_tried_again(yard: Yard) -> None:
    impatient = f"{yard.database.url('ingest')}?options=-c%20lock_timeout%3D100ms"
    session = Session(impatient, patience_seconds=1)
    try:
        c = new_collection(yard, session, "busy")
        load(session, c, item(c, "first"))
        with yard.connect() as other, other.transaction():
            other.execute("LOCK TABLE pgstac.items IN SHARE MODE")
            [result] = Loader(session, c, run=0).load([item(c, "a")], tasks=[1])
        assert result.fate is Fate.REFUSED
        assert result.retry
        assert load(session, c, item(c, "a")) == ["written"]
    finally:
        session.close()


def test_a_partition_is_constrained_to_its_data_after_a_load_and_opened_by_the_next(
    yard: Yard, session: Session
) -> None:
    c = new_collection(yard, session, "constrained")
    load(session, c, item(c, "a", day="2020-01-05"), item(c, "b", day="2020-02-05"))
    assert constrain(session, c) == []
    known = (
        "SELECT lower(m.constraint_dtrange)::date::text AS first, upper(m.constraint_edtrange)::date::text AS last,"
        " lower(p.dtrange)::date::text AS observed FROM pgstac.partition_stats AS p,"
        " pgstac.partition_catalog_meta(p.partition) AS m WHERE p.collection = %s"
    )
    assert yard.query(known, c) == [{"first": "2020-01-05", "last": "2020-02-05", "observed": "2020-01-05"}]
    loader = Loader(session, c, run=0)
    load(session, c, item(c, "c", day="2010-03-03"))
    assert constrain(session, c) == []
    # this one believes what it knew before the constraint was drawn anew
    for day in ("2030-01-01", "2009-01-01"):
        [result] = loader.load([item(c, day, day=day)], tasks=[1])
        assert result.fate is Fate.WRITTEN
        assert constrain(session, c) == []
    assert yard.query(known, c) == [{"first": "2009-01-01", "last": "2030-01-01", "observed": "2009-01-01"}]
    assert len(rows(yard, c)) == 5


def test_four_runs_beside_each_other_and_searches_end_with_the_newest_version_of_each_item(
    yard: Yard, database_settings: DatabaseSettings
) -> None:
    setup = Session(yard.database.url("ingest"), patience_seconds=1)
    c = new_collection(yard, setup, "beside", "month")
    chance = random.Random(7)
    stop = threading.Event()
    failures: list[str] = []

    def version(number: int, of: int) -> Item:
        day = f"20{chance.randrange(18, 22)}-{chance.randrange(1, 13):02d}-{chance.randrange(1, 29):02d}"
        return item(c, f"i{number}", day=day, updated=f"2024-01-{of:02d}T00:00:00Z", of=of)

    # each item in a random selection of the four runs, at another date in each
    runs: list[list[Item]] = [[] for _ in range(4)]
    newest: dict[str, int] = {}
    for number in range(1200):
        for of in chance.sample(range(4), chance.randrange(1, 5)):
            runs[of].append(version(number, of + 1))
            newest[f"i{number}"] = max(newest.get(f"i{number}", 0), of + 1)

    def write(items: list[Item]) -> None:
        session = Session(yard.database.url("ingest"), patience_seconds=1)
        loader = Loader(session, c, run=0)
        random.Random(len(items)).shuffle(items)
        for start in range(0, len(items), 100):
            results = loader.load(items[start : start + 100], tasks=[1] * len(items[start : start + 100]))
            failures.extend(result.reason for result in results if result.fate is Fate.REFUSED)
        constrain(session, c)
        session.close()

    def search() -> int:
        count = 0
        with psycopg.connect(database_settings.url("reader"), autocommit=True) as connection:
            query = orjson.dumps({"collections": [c], "datetime": "2019-01-01T00:00:00Z/2020-06-01T00:00:00Z"}).decode()
            while not stop.is_set():
                try:
                    connection.execute("SELECT pgstac.search(%s)", [query])
                    count += 1
                except psycopg.Error as error:
                    failures.append(f"search: {error}")
        return count

    log = yard.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    with ThreadPoolExecutor(6) as pool:
        searches = [pool.submit(search) for _ in range(2)]
        for writing in [pool.submit(write, items) for items in runs]:
            writing.result()
        stop.set()
        assert all(search.result() > 5 for search in searches)
    assert failures == []
    found = rows(yard, c)
    assert len(found) == len(newest), "an item is doubled or lost"
    assert {row["id"]: row["content"]["properties"]["of"] for row in found} == newest
    time.sleep(0.5)
    assert yard.query("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == log
    assert constrain(setup, c) == []
    setup.close()


operations = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(1, 4), st.sampled_from([1, 2, 3]), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=operations)
def test_any_sequence_of_batches_leaves_one_row_an_item_and_it_is_the_newest(
    yard: Yard, session: Session, operations: list[tuple[str, int, int, bool]]
) -> None:
    c = new_collection(yard, session, "sequence", "month")
    newest: dict[str, int] = {}
    batch: dict[str, Item] = {}
    for name, month, of, flush in operations:
        if name in batch or flush:
            load(session, c, *batch.values())
            batch = {}
        batch[name] = item(c, name, day=f"2020-0{month}-01", updated=f"2024-01-0{of}T00:00:00Z", of=of)
        newest[name] = max(newest.get(name, 0), of)
    load(session, c, *batch.values())
    assert {row["id"]: row["content"]["properties"]["of"] for row in rows(yard, c)} == newest
    assert len(rows(yard, c)) == len(newest)


def test_the_items_table_has_the_columns_and_the_functions_we_use(yard: Yard) -> None:
    columns = yard.query(
        "SELECT attname, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = 'pgstac.items'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    )
    assert {row["attname"]: row["type"] for row in columns} == {
        "id": "text",
        "geometry": "geometry",
        "collection": "text",
        "datetime": "timestamp with time zone",
        "end_datetime": "timestamp with time zone",
        "content": "jsonb",
        "private": "jsonb",
    }
    functions = [
        "upsert_collection(jsonb)",
        "current_base_item(text)",
        "partition_name(text,timestamptz)",
        "partition_catalog_meta(text)",
        "check_partition(text,tstzrange,tstzrange)",
        "drop_table_constraints(text)",
    ]
    for function in functions:
        [row] = yard.query("SELECT to_regprocedure(%s) IS NOT NULL AS there", f"pgstac.{function}")
        assert row["there"], function


def test_a_child_of_the_loader_does_not_import_what_it_does_not_need() -> None:
    needless = ("rasterio", "pystac", "boto3", "pyogrio", "pyarrow", "kubernetes")
    code = f"import sys, stacyard.ingestor.block_workers; print([name for name in {needless} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/"))
    assert done.stdout.strip() == "[]"
