"""Takes from the ledger what a stream loaded long ago, as far as nothing that may still come depends on it.

What a late or repeated event leads to is decided by the tasks of its item: a content that was loaded before another is
brought in again, the one that was loaded last is known, and an id that comes from another place is refused. For that
the last loaded task of an item tells all that those before it told. So of each item that the catalog has the last
stays, however old, and of each file of ready-made items, whose repetition would put its items back to what they were.
A stream's tasks are then no more than items, files, what was not loaded, and what came within the time that is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import LiteralString

from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.session import Session

#: Tasks that are looked at together, whatever becomes of them.
BATCH = 1000

_SECONDS_WHILE_IDLE = 1.0
_SECONDS_WHILE_BUSY = 120.0
_SECONDS_BETWEEN_ROUNDS = 6 * 3600.0

# `later` began when the task had ended, and so wins wherever the task would have
_LOOK: LiteralString = """
WITH looked AS MATERIALIZED (
    SELECT id, key, run_id, item_id, state, changed_at, source ? 'reader' AS is_block
    FROM stacyard.ingest_task WHERE run_id = %(run)s AND key > %(after)s ORDER BY key LIMIT %(limit)s
)
SELECT task.key, task.id, task.item_id,
    old.is_loaded AND EXISTS (
        SELECT FROM stacyard.ingest_task AS later
        WHERE later.run_id = task.run_id AND later.item_id = task.item_id AND later.state = 'loaded'
            AND later.claimed_at > task.changed_at
    ),
    old.is_loaded AND NOT task.is_block AND NOT EXISTS (
        SELECT FROM stacyard.ingest_task AS other
        WHERE other.run_id = task.run_id AND other.item_id = task.item_id AND other.id <> task.id
    )
FROM looked AS task, LATERAL (
    SELECT task.state = 'loaded' AND task.changed_at < now() - %(keep)s::interval AS is_loaded
) AS old
"""

# what has been put back to work since stays; and who waits for nobody cannot be waited for in a circle
_DELETE: LiteralString = """
WITH held AS MATERIALIZED (
    SELECT id FROM stacyard.ingest_task
    WHERE id = ANY (%(ids)s::bigint[]) AND state = 'loaded' AND changed_at < now() - %(keep)s::interval
    FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM stacyard.ingest_task WHERE id = ANY (ARRAY(SELECT id FROM held)) RETURNING items, unchanged
), counted AS (
    UPDATE stacyard.ingest_run
    SET pruned_items = pruned_items + (SELECT sum(items) FROM gone),
        pruned_unchanged = pruned_unchanged + (SELECT sum(unchanged) FROM gone)
    WHERE id = %(run)s AND EXISTS (SELECT FROM gone)
)
SELECT count(*) FROM gone
"""


class Retention:
    """Looks through the tasks of streaming runs, round after round, a batch at a time. Several may do so at once."""

    def __init__(
        self,
        session: Session,
        runs: Mapping[int, str],
        *,
        keep: timedelta,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; the first batch is looked at when the worker is idle, or has been busy for some minutes.

        Args:
            session: of the ingestor's role.
            runs: whose tasks are looked at, each with its collection.
            keep: for how long every loaded task stays.
            clock: in seconds.
        """
        self._session = session
        self._catalog = Catalog(session)
        self._runs = runs
        self._keep = keep
        self._clock = clock
        self._round = self._batches()
        self._next_while_idle, self._next_while_busy = clock(), clock() + _SECONDS_WHILE_BUSY

    def work(self, *, idle: bool) -> int:
        """Look at a batch, if it is time for one; returns how many tasks were deleted.

        Raises:
            DatabaseAway: the database is away.
        """
        now = self._clock()
        if now < (self._next_while_idle if idle else self._next_while_busy):
            return 0
        deleted = next(self._round, None)
        if deleted is None:
            self._round = self._batches()
            now += _SECONDS_BETWEEN_ROUNDS
        self._next_while_idle, self._next_while_busy = now + _SECONDS_WHILE_IDLE, now + _SECONDS_WHILE_BUSY
        return deleted or 0

    def _batches(self) -> Iterator[int]:
        """How many tasks were deleted of each batch of one round."""
        for run, collection in self._runs.items():
            after = ""
            while tasks := self._look(run, after):
                superseded = [id for _, id, _, is_superseded, _ in tasks if is_superseded]
                only = {item: id for _, id, item, _, is_only in tasks if is_only}
                # of an item that is gone from the catalog its only task tells nothing
                gone = only.keys() - self._catalog.present(collection, only) if only else set()
                yield self._delete(run, [*superseded, *(only[item] for item in gone)])
                after = tasks[-1][0]

    def _look(self, run: int, after: str) -> list[tuple[str, int, str, bool, bool]]:
        """Key, id and item of the next tasks; whether each is old and was superseded, or is old and its item's only."""
        parameters = {"run": run, "after": after, "limit": BATCH, "keep": self._keep}
        return self._session.run(lambda connection: connection.execute(_LOOK, parameters).fetchall())

    def _delete(self, run: int, ids: Sequence[int]) -> int:
        if not ids:
            return 0
        parameters = {"run": run, "ids": ids, "keep": self._keep}
        row = self._session.run(lambda connection: connection.execute(_DELETE, parameters).fetchone())
        return int(row[0]) if row else 0
