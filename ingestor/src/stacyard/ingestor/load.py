"""The only room that writes pgSTAC, and so knows its write side: `upsert_collection`, the loader, the items table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool
from pypgstac.db import PgstacDB
from pypgstac.load import Loader, Methods

from stacyard.core.revision import raise_revision
from stacyard.ingestor.collection import Extent
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.session import Connection, Session

_COLLECTION: LiteralString = "SELECT content, partition_trunc FROM pgstac.collections WHERE id = %s"
_UPSERT_COLLECTION: LiteralString = "SELECT pgstac.upsert_collection(%s)"
_SET_PARTITION: LiteralString = "UPDATE pgstac.collections SET partition_trunc = %s WHERE id = %s"
_PRESENT: LiteralString = "SELECT id FROM pgstac.items WHERE collection = %s AND id = ANY (%s)"
_EXTENT: LiteralString = """
SELECT ST_XMin(box), ST_YMin(box), ST_XMax(box), ST_YMax(box), first, last
FROM (
    SELECT ST_Extent(geometry) AS box, min(datetime) AS first, max(end_datetime) AS last
    FROM pgstac.items WHERE collection = %s
) AS items WHERE box IS NOT NULL
"""

# the database was busy; another attempt may find it idle. While others have pgSTAC's items locked, the loader ends
# with a partition that is not there
_PASSING = (
    psycopg.errors.QueryCanceled,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UndefinedTable,
)


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
        row = self._session.run(lambda connection: connection.execute(_EXTENT, [collection]).fetchone())
        if row is None:
            return None
        west, south, east, north = (round(float(value), 7) for value in row[:4])
        return Extent(bbox=(west, south, east, north), start=row[4], end=row[5])

    def present(self, collection: str, ids: Iterable[str]) -> set[str]:
        """Which of these item ids the catalog has."""
        wanted = list(ids)
        rows = self._session.run(lambda connection: connection.execute(_PRESENT, [collection, wanted]).fetchall())
        return {row[0] for row in rows}

    def load(
        self, collection: str, items: Sequence[dict[str, Any]], refused: Callable[[dict[str, Any], str, bool], object]
    ) -> list[dict[str, Any]]:
        """Load items, replacing those of the same id, and raise the collection's revision.

        Args:
            collection: the id of an existing collection, which all items carry.
            items: hydrated STAC items with distinct ids and times in UTC.
            refused: called with each item that the database refuses, its reason, and whether a retry may mend it.

        Returns:
            The items that are in the catalog now; this was looked up, not assumed.

        Raises:
            RunStopped: the database is away, or its disk is full.
        """
        if not items:
            return []
        try:
            self._session.run(lambda connection: _load(connection, collection, items))
        except RunStopped:
            raise
        except psycopg.errors.DiskFull as error:
            raise RunStopped(
                f"the database's disk is full ({_first_line(error)}): free some of it, then run the same command again "
                "to go on"
            ) from error
        except Exception as error:  # the loader raises bare Exception for items it cannot format
            if len(items) == 1:
                refused(items[0], f"the catalog refused it: {_first_line(error)}", isinstance(error, _PASSING))
                return []
            middle = len(items) // 2
            return [
                *self.load(collection, items[:middle], refused),
                *self.load(collection, items[middle:], refused),
            ]
        there = self.present(collection, [item["id"] for item in items])
        for item in items:
            if item["id"] not in there:
                reason = "it is not in the catalog after loading: see whether something else deletes items there"
                refused(item, reason, True)
        return [item for item in items if item["id"] in there]


def _load(connection: Connection, collection: str, items: Sequence[dict[str, Any]]) -> None:
    # never opened: the loader is given its connection, and must not make another behind our back
    pool = ConnectionPool("", min_size=0, max_size=1, open=False)
    # a loader for each chunk, because it keeps what it read of the collection for as long as it lives
    loader = Loader(PgstacDB(pool=pool, connection=connection))
    loader.load_items(iter(items), insert_mode=Methods.delsert, chunksize=len(items))
    raise_revision(connection, collection)


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
