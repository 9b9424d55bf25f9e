"""Free text finds items by an index that every partition has and pgSTAC's maintenance leaves alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.pgstac_text import ITEM_HAS_WORDS, text_query
from stacyard.core.settings import DatabaseSettings

Connection = psycopg.Connection[TupleRow]
SELECT = f"SELECT id FROM pgstac.items WHERE collection = 'worded' AND {ITEM_HAS_WORDS.format(placeholder='%s')}"
TEXTS: dict[str, dict[str, Any]] = {
    "all": {"title": "Snow on barley", "description": "Fields in winter.", "keywords": ["frost", "two words"]},
    "described": {"description": "Snowed in."},
    "described-none": {"description": "Nothing of that.", "title": None},
    # pgSTAC does not find these: an item without a description has no words to it
    "titled": {"title": "Snow on wheat"},
    "keyed": {"keywords": ["snow"]},
    "without": {},
    "long": {"description": "barley " + " ".join(f"word{number:x}" for number in range(150_000))},
}


@pytest.fixture(scope="module")
def writer(database_settings: DatabaseSettings) -> Iterator[Connection]:
    """A session that may write, beside a collection by month with an item of every kind in a month of its own."""
    document = {
        "type": "Collection",
        "id": "worded",
        "description": "",
        "extent": {"temporal": {"interval": [[None, None]]}},
    }
    items = [
        {
            "type": "Feature",
            "id": name,
            "collection": "worded",
            "geometry": {"type": "Point", "coordinates": [0, 0]},
            "properties": {"datetime": f"2020-{month:02}-01T00:00:00Z", **text},
        }
        for month, (name, text) in enumerate(TEXTS.items(), start=1)
    ]
    with connect(database_settings.url("ingest"), application_name="test") as session:
        session.execute(
            "INSERT INTO pgstac.collections (content, partition_trunc) VALUES (%s, 'month')", [json.dumps(document)]
        )
        for item in items:
            session.execute("SELECT pgstac.create_item(%s)", [json.dumps(item)])
        yield session
        session.execute("DELETE FROM pgstac.collections WHERE id = 'worded'")


@pytest.mark.parametrize(
    ("text", "found", "missed"),
    [
        ("snow", {"all", "described", "titled", "keyed"}, {"titled", "keyed"}),
        ("snow wheat", set(), set()),
        ('"two words", wheat', {"all", "titled"}, {"titled"}),
        ("winter AND barley -wheat", {"all"}, set()),
        ("barley", {"all", "long"}, set()),
        # of what has text
        ("-snow", {"described-none", "long"}, set()),
        ("the", set(), set()),
    ],
)
def test_items_are_found_by_their_words_and_by_those_that_pgstac_misses(
    writer: Connection, text: str, found: set[str], missed: set[str]
) -> None:
    assert {row[0] for row in writer.execute(SELECT.encode(), [text_query([text])])} == found
    # so long a text makes pgSTAC's search fail
    search = {"collections": ["worded"], "q": [text], "datetime": "../2020-06-30T00:00:00Z", "conf": {"readonly": True}}
    row = writer.execute("SELECT pgstac.search(%s)", [json.dumps(search)]).fetchone()
    assert row is not None
    assert found - {"long"} - {each["id"] for each in row[0]["features"]} == missed


def test_every_partition_is_searched_by_its_index(writer: Connection) -> None:
    with writer.transaction():
        # of a handful of rows it would be the dearer way
        writer.execute("SET LOCAL enable_seqscan TO off")
        plan = writer.execute(f"EXPLAIN {SELECT}".encode(), [text_query(["snow"])]).fetchall()
    scans = [row[0] for row in plan if "Scan on _items" in row[0] or "item_words_idx" in row[0]]
    assert sum("Bitmap Index Scan on _items" in scan for scan in scans) == len(TEXTS)
    assert not any("Seq Scan" in scan or "datetime" in scan for scan in scans)


def test_the_maintenance_of_pgstac_knows_the_index(writer: Connection, database_settings: DatabaseSettings) -> None:
    def indexes(session: Connection) -> int:
        row = session.execute(
            "SELECT count(*) FROM pg_indexes WHERE schemaname = 'pgstac' AND indexdef LIKE '%%item_words%%'"
        ).fetchone()
        assert row is not None
        return int(row[0])

    with connect(database_settings.url("owner"), application_name="test") as owner:
        owner.execute("SET search_path TO pgstac, public")
        before = indexes(owner)
        assert owner.execute("SELECT * FROM pgstac.queryable_indexes('items', true)").fetchall() == []
        # not both at once: pgSTAC asks for indexes that are no leftovers to be dropped, and refuses itself
        for drop, rebuild in ((True, False), (False, True)):
            owner.execute("SELECT pgstac.maintain_partitions('items', %s, %s)", [drop, rebuild])
            assert indexes(owner) == before
