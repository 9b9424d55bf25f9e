"""Room for items: partitions made ahead, opened for what comes, and constrained again when all is in.

A search may pass over a partition whose CHECK constraint excludes what it asks for. pgSTAC keeps that constraint at the
range of the data and rebuilds it whenever an item falls outside, shutting searches out meanwhile. A load instead opens
a partition once, and constrains it at its end.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from stacyard.ingestor.load.rows import CollectionShape, Row
from stacyard.ingestor.session import Connection, Session

# an exclusive lock that is waited for keeps all who come after it waiting too, so it is not waited for long
_LOCK_MILLISECONDS = 250
_PATIENCE_SECONDS = 60.0

_SHAPE: LiteralString = """
SELECT c.key, c.partition_trunc, b.base_item, b.base_item_id
FROM pgstac.collections AS c, pgstac.current_base_item(c.id) AS b WHERE c.id = %s
"""

# what PostgreSQL calls infinity is beyond Python's calendar
_KNOWN: LiteralString = """
SELECT nullif(lower(p.partition_dtrange), '-infinity'), nullif(upper(p.partition_dtrange), 'infinity'),
    nullif(lower(m.constraint_dtrange), '-infinity'), nullif(upper(m.constraint_dtrange), 'infinity'),
    nullif(lower(m.constraint_edtrange), '-infinity'), nullif(upper(m.constraint_edtrange), 'infinity')
FROM pgstac.partition_stats AS p, pgstac.partition_catalog_meta(p.partition) AS m
WHERE p.collection = %s
"""

_OPEN: LiteralString = "SELECT stacyard.open_partition(%s, %s)"
_UNCONSTRAINED: LiteralString = """
SELECT p.partition FROM pgstac.partition_stats AS p
WHERE p.collection = %s AND to_regclass(format('pgstac.%%I', p.partition)) IS NOT NULL AND NOT EXISTS (
    SELECT FROM pg_constraint
    WHERE conrelid = to_regclass(format('pgstac.%%I', p.partition)) AND contype = 'c' AND convalidated
)
ORDER BY p.partition
"""
_RANGES = "SELECT min(datetime), max(datetime), min(end_datetime), max(end_datetime) FROM pgstac.{}"
_OBSERVED: LiteralString = """
UPDATE pgstac.partition_stats
SET dtrange = tstzrange(%(first)s, %(last)s, '[]'), edtrange = tstzrange(%(end)s, %(final)s, '[]'), last_updated = now()
WHERE partition = %(partition)s
"""
_CONSTRAIN: LiteralString = """
SELECT stacyard.constrain_partition(
    %(partition)s, tstzrange(%(first)s, %(last)s, '[]'), tstzrange(%(end)s, %(final)s, '[]')
)
"""
_VALIDATE: LiteralString = "SELECT stacyard.validate_partition(%s)"


@dataclass(frozen=True)
class _Partition:
    """What it owns, from `lower` to before `upper`, and what it takes now; None is without limit.

    Items that it takes start between `first` and `last`, and end between `end` and `final`.
    """

    lower: datetime | None
    upper: datetime | None
    first: datetime | None
    last: datetime | None
    end: datetime | None
    final: datetime | None

    def owns(self, instant: datetime) -> bool:
        return (self.lower is None or self.lower <= instant) and (self.upper is None or instant < self.upper)

    def takes(self, start: datetime, end: datetime) -> bool:
        return (
            (self.first is None or self.first <= start)
            and (self.last is None or start <= self.last)
            and (self.end is None or self.end <= end)
            and (self.final is None or end <= self.final)
        )


class Partitions:
    """The partitions of one collection, as one loader knows them."""

    def __init__(self, shape: CollectionShape) -> None:
        self._shape = shape
        self._known: list[_Partition] | None = None

    def make_room(self, connection: Connection, rows: Iterable[Row]) -> None:
        """See that every row has a partition that takes it.

        Raises:
            psycopg.errors.LockNotAvailable: others kept the partitions locked for a minute.
        """
        if self._known is None:
            self._known = _read(connection, self._shape.collection)
        stretches = self._stretches(rows)
        # one call opens a stretch, but where a catalog was partitioned by other than UTC, and two partitions share it
        for _ in range(2):
            missing = [
                next(start for start, end in corners if not self._takes(start, end))
                for corners in stretches
                if not all(self._takes(start, end) for start, end in corners)
            ]
            # another writer may be at it; one that begins elsewhere finds half of it done
            random.shuffle(missing)
            for start in missing:
                _patiently(connection, _OPEN, [self._shape.collection, start])
            if not missing:
                return
            self._known = _read(connection, self._shape.collection)

    def forget(self) -> None:
        """Look anew the next time: another loader has changed the partitions."""
        self._known = None

    def _takes(self, start: datetime, end: datetime) -> bool:
        return any(partition.owns(start) and partition.takes(start, end) for partition in self._known or ())

    def _stretches(self, rows: Iterable[Row]) -> list[tuple[tuple[datetime, datetime], tuple[datetime, datetime]]]:
        """For each stretch of time that is one partition, the first and the last (start, end) of its rows."""
        stretches: dict[tuple[int, int], list[Row]] = {}
        for row in rows:
            year = row.first.year if self._shape.partition_trunc in ("year", "month") else 0
            month = row.first.month if self._shape.partition_trunc == "month" else 0
            stretches.setdefault((year, month), []).append(row)
        corners = []
        for _, members in sorted(stretches.items()):
            starts, ends = [row.first for row in members], [row.last for row in members]
            corners.append(((min(starts), min(ends)), (max(starts), max(ends))))
        return corners


def read_shape(connection: Connection, collection: str) -> CollectionShape:
    """How the collection's items lie in the database now.

    Raises:
        LookupError: there is no such collection.
    """
    row = connection.execute(_SHAPE, [collection]).fetchone()
    if row is None:
        raise LookupError(f"the catalog has no collection {collection!r}")
    return CollectionShape(
        collection=collection, key=row[0], partition_trunc=row[1], base_item=row[2], base_item_id=row[3]
    )


def constrain(session: Session, collection: str) -> list[str]:
    """Constrain every partition of a collection that a load has opened, and refresh its statistics.

    Searches are shut out for an instant at the most, and never while a partition is read. What cannot be done now,
    because others hold the partition, stays open, which costs searches some speed and nothing else; the next load does
    it.

    Returns:
        The partitions that stay open.
    """
    opened = session.run(lambda connection: [str(row[0]) for row in connection.execute(_UNCONSTRAINED, [collection])])
    return [partition for partition in opened if not session.run(partial(_constrain, partition=partition))]


def _constrain(connection: Connection, *, partition: str) -> bool:
    ranges = sql.SQL(_RANGES).format(sql.Identifier(partition))
    row = connection.execute(ranges).fetchone()
    if row is None or row[0] is None:
        return True
    observed = dict(zip(("first", "last", "end", "final"), row, strict=True)) | {"partition": partition}
    try:
        connection.execute(_OBSERVED, observed)
        _patiently(connection, _CONSTRAIN, observed)
        validated = connection.execute(_VALIDATE, [partition]).fetchone()
    except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
        return False
    return validated is not None and bool(validated[0])


def _read(connection: Connection, collection: str) -> list[_Partition]:
    return [_Partition(*row) for row in connection.execute(_KNOWN, [collection]).fetchall()]


def _patiently(connection: Connection, statement: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> None:
    """Run a statement that needs an exclusive lock in a transaction of its own, again and again with a short wait."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with connection.transaction():
                connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{_LOCK_MILLISECONDS}ms"])
                connection.execute(statement, parameters)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
            # the searches that queued behind the wait get their turn first
            time.sleep(random.uniform(0.05, 0.3))  # noqa: S311 - no secret
        else:
            return
