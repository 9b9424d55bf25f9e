"""What the catalog has of items that are about to be loaded: of which content, and since when.

pgSTAC has no index over all partitions of a collection, so an id is looked for in every partition: by a look into each
index, or, while a collection is small, by one reading of it. Ids come as a relation to join, because an array is
planned anew for each partition.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from stacyard.ingestor.load.rows import MARK, CollectionShape, Row
from stacyard.ingestor.session import Connection

# bytes that are read in the time of one look into an index, both from memory
_BYTES_A_LOOK = 2500

# the planner cannot choose: partitions that were never analyzed look ten times their size to it
_CHOOSE = """
SELECT set_config('enable_mergejoin', 'off', true), set_config('enable_nestloop', CASE
    WHEN sum(pg_relation_size(inhrelid)) < count(*) * %(ids)s::bigint * %(bytes)s THEN 'off' ELSE 'on'
END, true)
FROM pg_inherits WHERE inhparent = %(table)s::regclass
"""
# the content is unpacked only where it is another
_VERSIONS = """
SELECT item.id, item.datetime, item.private->>%(mark)s, item.xmin::text, CASE
    WHEN item.private->>%(mark)s LIKE wanted.digest || ':' || item.xmin::text || ':%%' THEN NULL
    ELSE item.content->'properties'->>'updated'
END
FROM pgstac.{} AS item, unnest(%(ids)s::text[], %(digests)s::text[]) AS wanted (id, digest) WHERE item.id = wanted.id
"""
_UNCHANGED = """
SELECT item.id FROM pgstac.{} AS item, unnest(%(ids)s::text[], %(digests)s::text[]) AS wanted (id, digest)
WHERE item.id = wanted.id
GROUP BY item.id
HAVING count(*) = 1 AND bool_and(
    coalesce(item.private->>%(mark)s LIKE wanted.digest || ':' || item.xmin::text || ':%%', false)
)
"""
# by its time a version is looked for in its own partition alone, in the one kind of join that can pass over the others
_DELETE = """
DELETE FROM pgstac.{} AS item USING unnest(%(ids)s::text[], %(times)s::timestamptz[]) AS wanted (id, datetime)
WHERE item.id = wanted.id AND item.datetime = wanted.datetime
"""
_ONE_BY_ONE = """
SELECT set_config('enable_mergejoin', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_nestloop', 'on', true)
"""
_FORGET = "DELETE FROM pgstac.format_item_cache WHERE collection = %s AND id = ANY (%s)"


@dataclass(frozen=True, slots=True)
class Version:
    """A row that the catalog has, with its time; without a mark of ours that holds nothing is known of its content.

    `updated` is None too if the content is what is about to be loaded.
    """

    datetime: dt.datetime
    digest: str | None = None
    task: int | None = None
    updated: dt.datetime | None = None


def find_versions(connection: Connection, shape: CollectionShape, rows: Sequence[Row]) -> dict[str, list[Version]]:
    """All versions of the items of these rows; of an item that others have doubled there is more than one.

    To be called in the transaction that changes them, whose planner it advises.
    """
    there: dict[str, list[Version]] = {}
    for item_id, time, mark, transaction, updated in _look(
        connection, _VERSIONS, shape, {row.item_id: row.digest for row in rows}
    ):
        digest, _, rest = (mark or "").partition(":")
        written, _, task = rest.partition(":")
        known = Version(time, digest, int(task)) if written == transaction else Version(time)
        there.setdefault(item_id, []).append(replace(known, updated=_instant(updated)))
    return there


def find_unchanged(connection: Connection, shape: CollectionShape, digests: Mapping[str, str]) -> set[str]:
    """Those items, by id, of which the catalog has one version, made from content with this digest.

    To be called in a transaction, whose planner it advises.
    """
    return {item_id for (item_id,) in _look(connection, _UNCHANGED, shape, digests)}


def delete_items(connection: Connection, shape: CollectionShape, versions: Mapping[str, Sequence[Version]]) -> int:
    """Delete these versions of items, by id; returns how many the database says it has deleted.

    To be called in a transaction, whose planner it advises.
    """
    ids, times = zip(*((item_id, each.datetime) for item_id, some in versions.items() for each in some), strict=True)
    connection.execute(_ONE_BY_ONE)
    deleted = connection.execute(_about(_DELETE, shape), {"ids": list(ids), "times": list(times)}).rowcount
    connection.execute(_FORGET, [shape.collection, list(versions)])
    return deleted


def _look(
    connection: Connection, statement: str, shape: CollectionShape, digests: Mapping[str, str]
) -> psycopg.Cursor[TupleRow]:
    if shape.partition_trunc is not None:
        table = f"pgstac.{shape.table}"
        connection.execute(_CHOOSE, {"table": table, "ids": len(digests), "bytes": _BYTES_A_LOOK})
    parameters = {"mark": MARK, "ids": list(digests), "digests": list(digests.values())}
    return connection.execute(_about(statement, shape), parameters)


def _about(statement: Any, shape: CollectionShape) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(shape.table))


def _instant(value: Any) -> dt.datetime | None:
    try:
        instant = dt.datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant is not None and instant.tzinfo is None else instant
