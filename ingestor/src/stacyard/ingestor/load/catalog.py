"""The collection of a run: its document, its extent, and which items it has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from stacyard.core.revision import raise_revision
from stacyard.ingestor.collection import Extent
from stacyard.ingestor.load.longitudes import find_across
from stacyard.ingestor.session import Connection, Session

_DECIMALS = 7

_COLLECTION: LiteralString = "SELECT content, partition_trunc FROM pgstac.collections WHERE id = %s"
_UPSERT_COLLECTION: LiteralString = "SELECT pgstac.upsert_collection(%s)"
_SET_PARTITION: LiteralString = "UPDATE pgstac.collections SET partition_trunc = %s WHERE id = %s"
_PRESENT: LiteralString = "SELECT id FROM pgstac.items WHERE collection = %s AND id = ANY (%s)"
_DELETE_UNSEEN: LiteralString = """
DELETE FROM pgstac.items AS item WHERE item.collection = %(collection)s AND NOT EXISTS (
    SELECT FROM stacyard.ingest_seen AS seen WHERE seen.run_id = %(run)s AND seen.item_id = item.id
) AND NOT EXISTS (
    SELECT FROM stacyard.ingest_task AS task WHERE task.run_id = %(run)s AND task.item_id = item.id
)
"""
_FORGET_SEEN: LiteralString = """
DELETE FROM stacyard.ingest_seen WHERE run_id IN (
    SELECT id FROM stacyard.ingest_run
    WHERE collection = %(collection)s AND id < %(run)s AND finished_at IS NOT NULL
)
"""
# all statements of an extent see one moment
_SNAPSHOT: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_EXTENT: LiteralString = """
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box), first, last
FROM (
    SELECT ST_Extent(geometry) AS box, min(datetime) AS first, max(end_datetime) AS last
    FROM pgstac.items WHERE collection = %s
) AS items WHERE box IS NOT NULL
"""


class Catalog:
    """The catalog, to write to. Everything may be repeated after a lost connection."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def save_collection(self, collection: dict[str, Any], *, partition: str = "none") -> bool:
        """Write a collection if it differs from what is there, and raise its revision; True if it did.

        `partition` (none, month, year) holds from the collection's first writing on.
        """

        def write(connection: Connection) -> bool:
            row = connection.execute(_COLLECTION, [collection["id"]]).fetchone()
            if row is not None and row[0] == collection:
                return False
            with connection.transaction():
                connection.execute(_UPSERT_COLLECTION, [Jsonb(collection)])
                if row is None and partition != "none":
                    connection.execute(_SET_PARTITION, [partition, collection["id"]])
                raise_revision(connection, collection["id"])
            return True

        return self._session.run(write)

    def collection(self, collection: str) -> dict[str, Any] | None:
        """A collection as it is stored; None if there is none."""
        row = self._session.run(lambda connection: connection.execute(_COLLECTION, [collection]).fetchone())
        return row[0] if row else None

    def extent(self, collection: str) -> Extent | None:
        """What all items of a collection cover; None if it has none."""

        def read(connection: Connection) -> Extent | None:
            with connection.transaction():
                connection.execute(_SNAPSHOT)
                row = connection.execute(_EXTENT, [collection]).fetchone()
                if row is None:
                    return None
                west, south, east, north = (round(float(value), _DECIMALS) for value in row[:4])
                # what is narrower has no smaller interval across the antimeridian
                across = find_across(connection, collection, (row[0], row[2])) if east - west > 180 else None
            return Extent(
                bbox=(west, south, east, north),
                across=(round(across[0], _DECIMALS), round(across[1], _DECIMALS)) if across else None,
                start=row[4],
                end=row[5],
            )

        return self._session.run(read)

    def present(self, collection: str, ids: Iterable[str]) -> set[str]:
        """Which of these item ids the catalog has."""
        wanted = list(ids)
        rows = self._session.run(lambda connection: connection.execute(_PRESENT, [collection, wanted]).fetchall())
        return {row[0] for row in rows}

    def raise_revision(self, collection: str) -> None:
        """Say that the collection has changed, so that nobody answers from what was there before."""
        self._session.run(lambda connection: raise_revision(connection, collection))

    def delete_unseen(self, collection: str, run: int) -> int:
        """Delete the items of a collection that a mirroring run has not seen in its sources; returns how many.

        May be repeated, also by others who worked on the run: what it has seen is kept until a later run ends.
        """

        def write(connection: Connection) -> int:
            with connection.transaction():
                deleted = connection.execute(_DELETE_UNSEEN, {"collection": collection, "run": run}).rowcount
                connection.execute(_FORGET_SEEN, {"collection": collection, "run": run})
                if deleted:
                    raise_revision(connection, collection)
            return deleted

        return self._session.run(write)
