"""Write down the properties of items that others have loaded: every item of a collection is looked at.

Partition by partition, each in a transaction that only reads; what it shows is written down at its end, so that an
interruption loses one partition's work. Whatever is done twice comes to the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import LiteralString

from psycopg import sql

from stacyard.core.kinds import Kind
from stacyard.core.revision import raise_revision
from stacyard.ingestor.load.properties import Properties, read_known, write_kinds
from stacyard.ingestor.session import Connection, Session

_AT_ONCE = 2000

_COLLECTIONS: LiteralString = "SELECT id FROM pgstac.collections ORDER BY id"
_KEY: LiteralString = "SELECT key FROM pgstac.collections WHERE id = %s"
_PARTITIONS: LiteralString = """
SELECT class.relname FROM pg_partition_tree(to_regclass(format('pgstac._items_%%s', %s::bigint))) AS tree
JOIN pg_class AS class ON class.oid = tree.relid
WHERE tree.isleaf ORDER BY class.relname
"""
_PROPERTIES = "SELECT (content->'properties')::text FROM pgstac.{} WHERE jsonb_typeof(content->'properties') = 'object'"
_READ_ONLY: LiteralString = "SET TRANSACTION READ ONLY"


@dataclass(frozen=True, kw_only=True)
class Surveyed:
    """What a look at a collection's items came to: the kinds that are new or wider, and what was known before."""

    collection: str
    items: int
    before: dict[str, Kind]
    news: dict[str, Kind]


def collections_of(session: Session) -> list[str]:
    """The ids of all collections."""
    return session.run(lambda connection: [str(row[0]) for row in connection.execute(_COLLECTIONS)])


def survey(session: Session, collection: str, *, write: bool, report: Callable[[int], None]) -> Surveyed:
    """Look at all items of a collection.

    Args:
        session: of the ingestor.
        collection: its id.
        write: write down what is found; else only say it.
        report: called now and then with how many items were looked at.

    Raises:
        LookupError: there is no such collection.
        RunStopped: the database is away.
    """
    key = session.run(partial(_key_of, collection=collection))
    before = session.run(partial(read_known, key=key))
    properties, news, items = Properties(before), dict[str, Kind](), 0
    for partition in session.run(lambda connection: [row[0] for row in connection.execute(_PARTITIONS, [key])]):
        items += session.run(partial(_look, partition=partition, properties=properties, report=report, items=items))
        found = dict(properties.news)
        if write and found:
            properties.written(session.run(partial(_write, collection=collection, key=key, found=found)))
        news |= found
    return Surveyed(collection=collection, items=items, before=before, news=news)


def _key_of(connection: Connection, *, collection: str) -> int:
    row = connection.execute(_KEY, [collection]).fetchone()
    if row is None:
        raise LookupError(f"the catalog has no collection {collection!r}")
    return int(row[0])


def _look(
    connection: Connection, *, partition: str, properties: Properties, report: Callable[[int], None], items: int
) -> int:
    """Look at the items of a partition, after so many others; returns how many they are."""
    count = 0
    with connection.transaction():
        connection.execute(_READ_ONLY)
        with connection.cursor(name="stacyard_survey") as cursor:
            cursor.execute(sql.SQL(_PROPERTIES).format(sql.Identifier(partition)))
            while some := cursor.fetchmany(_AT_ONCE):
                properties.learn(text.encode() for (text,) in some)
                count += len(some)
                report(items + count)
    return count


def _write(connection: Connection, *, collection: str, key: int, found: dict[str, Kind]) -> dict[str, Kind]:
    with connection.transaction():
        kinds = write_kinds(connection, key, found)
        # what was answered about what can be searched by is no longer so
        raise_revision(connection, collection)
    return kinds
