"""What the loading room knows of pgSTAC: these fail when its schema changes under us."""

from __future__ import annotations

import inspect

import pytest
from pypgstac.load import Loader, Methods

from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.load import Catalog
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.session import Session

from .conftest import Yard
from .test_items import ITEM


def test_pgstac_has_what_we_write() -> None:
    assert Methods.delsert
    assert {"file", "insert_mode", "chunksize"} <= inspect.signature(Loader.load_items).parameters.keys()


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
    [row] = yard.query("SELECT to_regprocedure('pgstac.upsert_collection(jsonb)') IS NOT NULL AS there")
    assert row["there"]


def test_one_item_the_database_refuses_does_not_take_its_chunk_with_it(yard: Yard) -> None:
    collection = yard.collection_id("chunk")
    recipe = parse_recipe(
        f"{{collection: {{id: {collection}, title: t, description: d, license: other}}, kind: items}}", "r"
    )
    session = Session(yard.database.url("ingest"), patience_seconds=1)
    try:
        catalog = Catalog(session)
        assert catalog.save_collection(describe_collection(recipe, None))
        assert not catalog.save_collection(describe_collection(recipe, None)), "written though nothing changed"
        items = [{**ITEM, "id": str(number), "collection": collection} for number in range(9)]
        items[5] = {**items[5], "properties": {"datetime": "no time"}}
        refused: list[str] = []
        loaded = catalog.load(
            collection, items, lambda item, reason, retry: refused.append(f"{item['id']} {retry} {reason}")
        )
        assert len(loaded) == 8
        assert len(refused) == 1
        assert refused[0].startswith("5 False the catalog refused it")
        assert catalog.present(collection, ["4", "5", "none"]) == {"4"}
        extent = catalog.extent(collection)
        assert extent is not None
        assert extent.bbox == (1, 2, 1, 2)
    finally:
        session.close()


def test_what_a_busy_database_turns_away_may_be_tried_again(yard: Yard) -> None:
    collection = yard.collection_id("busy")
    recipe = parse_recipe(
        f"{{collection: {{id: {collection}, title: t, description: d, license: other}}, kind: items}}", "r"
    )
    impatient = f"{yard.database.url('ingest')}?options=-c%20lock_timeout%3D100ms"
    session = Session(impatient, patience_seconds=1)
    try:
        catalog = Catalog(session)
        catalog.save_collection(describe_collection(recipe, None))
        items = [{**ITEM, "collection": collection}]
        refused: list[tuple[str, bool]] = []
        with yard.connect() as other, other.transaction():
            other.execute("LOCK TABLE pgstac.items IN SHARE MODE")
            assert catalog.load(collection, items, lambda _, reason, retry: refused.append((reason, retry))) == []
        [(reason, retry)] = refused
        assert reason.startswith("the catalog refused it")
        assert retry
        assert catalog.load(collection, items, lambda *refusal: pytest.fail(str(refusal))) == items
    finally:
        session.close()
