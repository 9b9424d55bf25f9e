"""Bring items into pgSTAC in bulk: many at once, several writers beside each other, searches undisturbed.

An item's id is unique in its collection, but pgSTAC's unique index is only on each partition. So the ids of a
collection are dealt to a few shards by their hash, and a transaction writes items of one shard alone, under a lock on
it that is the first thing it takes. Two writers never have the same item in hand, whichever partitions its versions lie
in, so that none is doubled or lost, and none waits for the other while it holds what the other waits for: there is no
deadlock to retry.

Within a transaction: see what is there, take away what changes, `COPY` what comes, and hold the database's own counts
against what was meant before anything is committed. Each commit waits for the disk: the ledger's, which comes after,
may be made over a new session with a database that has lost what did not wait.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, LiteralString

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from stacyard.core.errors import StacyardError
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.load.existing import Version, delete_items, find_unchanged, find_versions
from stacyard.ingestor.load.partitions import Partitions, read_shape
from stacyard.ingestor.load.properties import Properties, read_known, write_down
from stacyard.ingestor.load.rows import COLUMNS, CollectionShape, Item, Row, copy_data, item_of, rows_of
from stacyard.ingestor.session import Connection, Session

#: How many writers may write one collection at the same time.
SHARDS = 4

_ATTEMPTS = 10

# pgSTAC leaves the compression to the server; lz4 takes a quarter off the time of a COPY and is faster to read
_LOCK: LiteralString = """
SELECT pg_advisory_xact_lock(hashtextextended('stacyard.load/' || %(collection)s || '/' || %(shard)s::text, 0)),
    pg_current_xact_id()::text::numeric::bigint %% 4294967296,
    (SELECT set_config(name, 'lz4', true) FROM pg_settings
    WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))
"""
_COPY = "COPY pgstac.{} ({}) FROM STDIN (FORMAT binary)"
# in a run without end the same item comes again and again, and the last one holds
# a task of an earlier run counts if this run has the same: then what it loaded is among what this run loads
_OF_RUN: LiteralString = """
SELECT task.id FROM stacyard.ingest_task AS task
WHERE task.id = ANY (%(tasks)s) AND NOT (SELECT streaming FROM stacyard.ingest_run WHERE id = %(run)s) AND (
    task.run_id = %(run)s OR EXISTS (
        SELECT FROM stacyard.ingest_task AS same WHERE same.run_id = %(run)s AND same.key = task.key
    )
)
"""
_SEEN: LiteralString = "COPY stacyard.ingest_seen (run_id, item_id) FROM STDIN"


class _CountsDiffer(StacyardError):
    """The database says that it wrote or deleted another number of rows than was meant."""


# another writer, ours or not, came between; everything is looked at anew
_AGAIN = (
    _CountsDiffer,
    psycopg.errors.CheckViolation,
    psycopg.errors.UniqueViolation,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.UndefinedTable,
)
# the database was busy; another attempt may find it idle
_BUSY = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable)


class Mode(StrEnum):
    """What is done with an item whose id the catalog has."""

    INSERT = "insert"
    UPSERT = "upsert"
    IGNORE = "ignore"
    REPLACE = "replace"
    MIRROR = "mirror"


class Fate(StrEnum):
    """What became of an item. `UNCHANGED` is in the catalog and was not written."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item; of a refused one why, and whether another attempt may mend it."""

    fate: Fate
    reason: str = ""
    retry: bool = False


WRITTEN = Result(Fate.WRITTEN)
UNCHANGED = Result(Fate.UNCHANGED)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Items to load: of which tasks of the ledger, and their geometries if they were parsed, in EPSG:4326."""

    items: Sequence[Item]
    tasks: Sequence[int]
    geometries: NDArray[np.object_] | None = None


class Loader:
    """Loads items into one collection, for one run."""

    def __init__(self, session: Session, collection: str, *, run: int, mode: Mode = Mode.UPSERT) -> None:
        self._session = session
        self._collection = collection
        self._run = run
        self._mode = mode
        self._partitions: Partitions | None = None
        self._properties: Properties | None = None
        self._key: int | None = None

    def load(self, documents: Sequence[Mapping[str, Any]], *, tasks: Sequence[int]) -> list[Result]:
        """Load items; what becomes of each, in their order, is true once this returns.

        Args:
            documents: valid items of the collection with distinct ids and times in UTC.
            tasks: of the ledger, the one each item is of.

        Raises:
            RunStopped: the database is away, or its disk is full.
        """
        results = self.load_batches([Batch(items=[item_of(document) for document in documents], tasks=tasks)])
        return [results[document["id"]] for document in documents]

    def unchanged(self, digests: Mapping[str, str]) -> set[str]:
        """Which items, by id, the catalog has with this content, so that loading them would change nothing.

        Loading them finds out too; whoever knows before need not make them fit to be loaded. So if the database is too
        busy to say, it is none.

        Raises:
            RunStopped: the database is away.
        """
        if self._mode is Mode.REPLACE:
            return set()

        def look(connection: Connection) -> set[str]:
            shape = read_shape(connection, self._collection)
            with connection.transaction():
                found = find_unchanged(connection, shape, digests)
                self._note_seen(connection, found)
            return found

        try:
            return self._session.run(look)
        except psycopg.Error:
            return set()

    def load_batches(self, batches: Iterable[Batch]) -> dict[str, Result]:
        """Load the items of several batches together; what becomes of each, by id, is true once this returns.

        Of an item that is in several batches the last is loaded. Of each batch only the rows are kept, which is why
        many small ones cost less than a large one: items that were just made are still in the processor's cache.

        Raises:
            RunStopped: the database is away, or its disk is full.
        """
        shape = self._session.run(lambda connection: read_shape(connection, self._collection))
        if self._partitions is None or self._properties is None or self._key != shape.key:
            self._partitions, self._key = Partitions(shape), shape.key
            self._properties = Properties(self._session.run(lambda connection: read_known(connection, shape.key)))
        rows: dict[str, Row] = {}
        for batch in batches:
            self._properties.learn(item.members["properties"] for item in batch.items)
            for row in rows_of(batch.items, shape, tasks=batch.tasks, geometries=batch.geometries):
                rows[row.item_id] = row
        # before anything is in the catalog: what can be found can be searched by, also after a kill
        write_down(self._session, shape.key, self._properties)
        shards: dict[int, list[Row]] = {}
        for row in rows.values():
            shards.setdefault(zlib.crc32(row.item_id.encode()) % SHARDS, []).append(row)
        results: dict[str, Result] = {}
        # writers that begin at different shards do not queue up behind each other
        first = next((row.task for row in rows.values()), 0)
        for shard in sorted(shards, key=lambda shard: (shard - first) % SHARDS):
            results |= self._load(shape, self._partitions, shard, shards[shard])
        return results

    def _load(
        self, shape: CollectionShape, partitions: Partitions, shard: int, rows: Sequence[Row]
    ) -> dict[str, Result]:
        for attempt in range(_ATTEMPTS):
            try:
                return self._session.run(lambda connection: self._write(connection, shape, partitions, shard, rows))
            except psycopg.errors.DiskFull as error:
                raise RunStopped(
                    f"the database's disk is full ({_first_line(error)}): free some of it, then run the same command "
                    "again to go on"
                ) from error
            except _AGAIN as error:
                partitions.forget()
                refusal = Result(Fate.REFUSED, f"the catalog refused it: {_first_line(error)}", retry=True)
                time.sleep(random.uniform(0, 0.02 * 2**attempt))  # noqa: S311 - no secret
            except psycopg.Error as error:
                refusal = Result(
                    Fate.REFUSED, f"the catalog refused it: {_first_line(error)}", retry=isinstance(error, _BUSY)
                )
                if len(rows) == 1 or refusal.retry:
                    break
                # one of them is at fault; the others need not share its fate
                middle = len(rows) // 2
                return self._load(shape, partitions, shard, rows[:middle]) | self._load(
                    shape, partitions, shard, rows[middle:]
                )
        return dict.fromkeys((row.item_id for row in rows), refusal)

    def _write(
        self, connection: Connection, shape: CollectionShape, partitions: Partitions, shard: int, rows: Sequence[Row]
    ) -> dict[str, Result]:
        partitions.make_room(connection, rows)
        with connection.transaction():
            locked = connection.execute(_LOCK, {"collection": self._collection, "shard": shard}).fetchone()
            there = find_versions(connection, shape, rows)
            results = self._decide(connection, rows, there)
            # what lies together in time is copied together, so that each partition is written in one go
            writing = sorted((row for row in rows if results[row.item_id] is WRITTEN), key=lambda row: row.first)
            leaving = {row.item_id: there[row.item_id] for row in writing if row.item_id in there}
            if leaving:
                _agree(delete_items(connection, shape, leaving), sum(map(len, leaving.values())))
            if writing:
                statement = sql.SQL(_COPY).format(sql.Identifier(shape.table), sql.SQL(COLUMNS))
                with connection.cursor() as cursor:
                    with cursor.copy(statement) as copy:
                        copy.write(copy_data(writing, locked[1] if locked else 0))
                    _agree(cursor.rowcount, len(writing))
            self._note_seen(connection, results)
        return results

    def _note_seen(self, connection: Connection, ids: Iterable[str]) -> None:
        """What a mirror has seen in its sources stays when it ends."""
        if self._mode is Mode.MIRROR:
            with connection.cursor() as cursor, cursor.copy(_SEEN) as copy:
                for item_id in ids:
                    copy.write_row((self._run, item_id))

    def _decide(
        self, connection: Connection, rows: Sequence[Row], there: Mapping[str, Sequence[Version]]
    ) -> dict[str, Result]:
        results = {
            row.item_id: self._fate(row, there[row.item_id]) if row.item_id in there else WRITTEN for row in rows
        }
        if self._mode not in (Mode.UPSERT, Mode.MIRROR):
            return results
        changing = [row for row in rows if row.item_id in there and results[row.item_id] is WRITTEN]
        if changing:
            others = {version.task for row in changing for version in there[row.item_id]} - {None}
            of_run = {found[0] for found in connection.execute(_OF_RUN, {"run": self._run, "tasks": list(others)})}
            for row in changing:
                twin = any(version.task in of_run and version.task != row.task for version in there[row.item_id])
                results[row.item_id] = _newer(row, there[row.item_id], twin=twin)
        return results

    def _fate(self, row: Row, versions: Sequence[Version]) -> Result:
        same = len(versions) == 1 and versions[0].digest == row.digest
        if self._mode is Mode.REPLACE:
            return WRITTEN
        if same or self._mode is Mode.IGNORE:
            return UNCHANGED
        if self._mode is Mode.INSERT:
            return Result(
                Fate.REFUSED, "the catalog has it already, with other content: use --mode upsert to replace it"
            )
        return WRITTEN


def _newer(row: Row, versions: Sequence[Version], *, twin: bool) -> Result:
    """Whether a row replaces versions with other content, one of which is of the same run if `twin`.

    `updated` decides where both have it, so that the newest version stays whatever comes first.
    """
    updated = max((version.updated for version in versions if version.updated is not None), default=None)
    if row.updated is not None and updated is not None and row.updated != updated:
        return WRITTEN if row.updated > updated else UNCHANGED
    if twin:
        return Result(
            Fate.REFUSED,
            f"item id {row.item_id} came twice in this run with different content: make the ids differ, or give the "
            "newer one a later `updated`",
        )
    return WRITTEN


def _agree(counted: int, meant: int) -> None:
    if counted != meant:
        raise _CountsDiffer(f"the database counted {counted} rows where {meant} were meant")


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
