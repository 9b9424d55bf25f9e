"""What the catalog has of items that are about to be loaded: of which content, and since when.

pgSTAC has no index over all partitions of a collection, so an id is looked for in every partition: by a look into each
index, or, while a collection is small, by one reading of it. Ids come as a relation to join, because an array is
planned anew for each partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from psycopg import sql

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
SELECT item.id, item.private->>%(mark)s, item.xmin::text, CASE
    WHEN item.private->>%(mark)s LIKE wanted.digest || ':' || item.xmin::text || ':%%' THEN NULL
    ELSE item.content->'properties'->>'updated'
END
FROM pgstac.{} AS item, unnest(%(ids)s::text[], %(digests)s::text[]) AS wanted (id, digest) WHERE item.id = wanted.id
"""
_DELETE = "DELETE FROM pgstac.{} AS item USING unnest(%(ids)s::text[]) AS wanted WHERE item.id = wanted"
_FORGET = "DELETE FROM pgstac.format_item_cache WHERE collection = %s AND id = ANY (%s)"


@dataclass(frozen=True, slots=True)
class Version:
    """A row that the catalog has; without a mark of ours that holds nothing is known of its content.

    `updated` is None too if the content is what is about to be loaded.
    """

    digest: str | None = None
    task: int | None = None
    updated: datetime | None = None


def find_versions(connection: Connection, shape: CollectionShape, rows: Sequence[Row]) -> dict[str, list[Version]]:
    """All versions of the items of these rows; of an item that others have doubled there is more than one.

    To be called in the transaction that changes them, whose planner it advises.
    """
    ids, digests = [row.item_id for row in rows], [row.digest for row in rows]
    if shape.partition_trunc is not None:
        table = f"pgstac.{shape.table}"
        connection.execute(_CHOOSE, {"table": table, "ids": len(ids), "bytes": _BYTES_A_LOOK})
    there: dict[str, list[Version]] = {}
    parameters = {"mark": MARK, "ids": ids, "digests": digests}
    for item_id, mark, transaction, updated in connection.execute(_about(_VERSIONS, shape), parameters):
        digest, _, rest = (mark or "").partition(":")
        written, _, task = rest.partition(":")
        known = Version(digest, int(task)) if written == transaction else Version()
        there.setdefault(item_id, []).append(replace(known, updated=_instant(updated)))
    return there


def delete_items(connection: Connection, shape: CollectionShape, ids: Sequence[str]) -> int:
    """Delete all versions of these items; returns how many the database says it has deleted."""
    deleted = connection.execute(_about(_DELETE, shape), {"ids": list(ids)}).rowcount
    connection.execute(_FORGET, [shape.collection, list(ids)])
    return deleted


def _about(statement: Any, shape: CollectionShape) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(shape.table))


def _instant(value: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    return instant.replace(tzinfo=UTC) if instant is not None and instant.tzinfo is None else instant
