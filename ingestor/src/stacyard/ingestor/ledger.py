"""The ledger: what a run found, what became of it, and why.

Only here does a task end. Each end is one conditional write that holds for the worker that has the task, so that of two
who did the same work one counts; each may be repeated after a lost connection without harm. Who gets a task is the
business of `queue`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from stacyard.ingestor.errors import RunNotFound, RunStopped
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.sources.found import Found


class State(StrEnum):
    """Where a task stands. `discovered` and `running` wait; the others are final."""

    DISCOVERED = "discovered"
    RUNNING = "running"
    LOADED = "loaded"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tasks of a run by state. `unchanged` are among the loaded."""

    discovered: int = 0
    loaded: int = 0
    unchanged: int = 0
    rejected: int = 0
    failed: int = 0
    waiting: int = 0
    running: int = 0

    @property
    def add_up(self) -> bool:
        """Whether every task that was found is in exactly one state."""
        return self.discovered == self.loaded + self.rejected + self.failed + self.waiting


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of the ingestor."""

    id: int
    collection: str
    recipe: str
    recipe_hash: str
    sources: list[str]
    started_at: datetime
    discovery_finished_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A task that was not loaded, and why."""

    run_id: int
    item_id: str
    state: State
    reason: str
    attempts: int
    source: dict[str, Any]


_RUN = "SELECT id, collection, recipe, recipe_hash, sources, started_at, discovery_finished_at, finished_at "
_RUN_BY_ID: LiteralString = _RUN + "FROM stacyard.ingest_run WHERE id = %(run)s"
_RUNS: LiteralString = _RUN + "FROM stacyard.ingest_run ORDER BY id DESC LIMIT %(limit)s"

_OPEN_RUN: LiteralString = """
INSERT INTO stacyard.ingest_run (collection, recipe, recipe_hash, sources)
VALUES (%(collection)s, %(recipe)s, %(hash)s, %(sources)s)
ON CONFLICT (collection, recipe_hash, sources) WHERE finished_at IS NULL
    DO UPDATE SET recipe = excluded.recipe, discovery_finished_at = NULL
RETURNING id
"""

_REPLACE: LiteralString = """
DELETE FROM stacyard.ingest_task AS task
USING unnest(%(keys)s::text[], %(items)s::text[], %(sources)s::jsonb[]) AS new (key, item_id, source)
WHERE task.run_id = %(run)s AND task.item_id = new.item_id AND task.key <> new.key AND task.source = new.source
    AND task.state IN ('discovered', 'rejected', 'failed')
"""

_RECORD: LiteralString = """
INSERT INTO stacyard.ingest_task (run_id, key, collection, item_id, source, state, unchanged, reason)
SELECT %(run)s, new.key, %(collection)s, new.item_id, new.source,
    (CASE WHEN problem.text IS NOT NULL THEN 'rejected' WHEN known.unchanged THEN 'loaded' ELSE 'discovered' END)
        ::stacyard.ingest_state,
    problem.text IS NULL AND known.unchanged,
    problem.text
FROM unnest(%(keys)s::text[], %(items)s::text[], %(sources)s::jsonb[], %(problems)s::text[])
    WITH ORDINALITY AS new (key, item_id, source, problem, place)
CROSS JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM stacyard.ingest_task AS other
        WHERE other.run_id = %(run)s AND other.item_id = new.item_id AND other.key <> new.key
            AND other.source <> new.source AND NOT (other.state = 'rejected' AND other.claimed_at IS NULL)
    ) AS found
) AS twin
CROSS JOIN LATERAL (
    SELECT coalesce(
        new.problem,
        CASE WHEN twin.found THEN
            'item id ' || new.item_id || ' came twice in this run with different content: make the ids differ'
        END
    ) AS text
) AS problem
LEFT JOIN LATERAL (
    SELECT last.key, coalesce(last.claimed_at, last.changed_at) AS since FROM stacyard.ingest_task AS last
    WHERE last.collection = %(collection)s AND last.item_id = new.item_id AND last.state = 'loaded'
    ORDER BY last.changed_at DESC, last.id DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT coalesce(new.item_id = ANY (%(present)s::text[]) AND new.key = last.key AND NOT EXISTS (
        SELECT FROM stacyard.ingest_run AS run
        JOIN stacyard.ingest_task AS other ON other.run_id = run.id AND other.item_id = new.item_id
        WHERE run.collection = %(collection)s AND (run.finished_at IS NULL OR run.finished_at > last.since)
            AND other.key <> new.key AND other.claimed_at IS NOT NULL
            AND greatest(other.claimed_at, other.changed_at) > last.since
    ), false) AS unchanged
) AS known
ORDER BY new.place
ON CONFLICT (run_id, key) DO NOTHING
"""

_DISCOVERY_FINISHED: LiteralString = """
UPDATE stacyard.ingest_run SET discovery_finished_at = now() WHERE id = %(run)s
"""

_LOADED: LiteralString = """
UPDATE stacyard.ingest_task SET state = 'loaded', reason = NULL, changed_at = clock_timestamp()
WHERE id = ANY (%(ids)s::bigint[]) AND state = 'running' AND worker = %(worker)s
"""

_REJECTED: LiteralString = """
UPDATE stacyard.ingest_task SET state = 'rejected', reason = %(reason)s, changed_at = now()
WHERE id = %(id)s AND state = 'running' AND worker = %(worker)s
"""

_FAILED: LiteralString = """
UPDATE stacyard.ingest_task
SET state = (CASE WHEN %(retry)s AND attempts < %(limit)s THEN 'discovered' ELSE 'failed' END)::stacyard.ingest_state,
    reason = %(reason)s, changed_at = now()
WHERE id = %(id)s AND state = 'running' AND worker = %(worker)s
RETURNING state::text
"""

_FINISH: LiteralString = """
UPDATE stacyard.ingest_run SET finished_at = now()
WHERE id = %(run)s AND finished_at IS NULL AND discovery_finished_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM stacyard.ingest_task WHERE run_id = %(run)s AND state IN ('discovered', 'running')
)
"""

_COUNTS: LiteralString = """
SELECT count(*), count(*) FILTER (WHERE state = 'loaded'), count(*) FILTER (WHERE unchanged),
    count(*) FILTER (WHERE state = 'rejected'), count(*) FILTER (WHERE state = 'failed'),
    count(*) FILTER (WHERE state IN ('discovered', 'running')), count(*) FILTER (WHERE state = 'running')
FROM stacyard.ingest_task WHERE run_id = %(run)s
"""

_OUTCOMES: LiteralString = """
SELECT run_id, item_id, state::text, reason, attempts, source FROM stacyard.ingest_task
WHERE (%(run)s::bigint IS NULL OR run_id = %(run)s) AND state::text = ANY (%(states)s::text[])
ORDER BY run_id DESC, id LIMIT %(limit)s
"""

_RETRY: LiteralString = """
WITH again AS (
    UPDATE stacyard.ingest_task SET state = 'discovered', attempts = 0, worker = NULL, changed_at = now()
    WHERE run_id = %(run)s AND state = 'failed'
    RETURNING id
), opened AS (
    UPDATE stacyard.ingest_run SET finished_at = NULL WHERE id = %(run)s AND EXISTS (SELECT FROM again)
)
SELECT count(*) FROM again
"""

_SAME_WORK: LiteralString = """
SELECT other.id FROM stacyard.ingest_run AS this JOIN stacyard.ingest_run AS other
    USING (collection, recipe_hash, sources)
WHERE this.id = %(run)s AND other.id <> this.id ORDER BY other.finished_at DESC NULLS FIRST LIMIT 1
"""


class Ledger:
    """The ledger, as one worker sees it; `attempts` is how often a task is tried before it has failed."""

    def __init__(self, session: Session, *, worker: str, attempts: int = 3) -> None:
        self._session = session
        self._worker = worker
        self._attempts = attempts

    def open_run(self, *, collection: str, recipe: str, recipe_hash: str, sources: Sequence[str]) -> int:
        """The id of the unfinished run of the same work, or of a new one. `recipe` is its text."""
        parameters = {
            "collection": collection,
            "recipe": recipe,
            "hash": recipe_hash,
            "sources": Jsonb(list(sources)),
        }
        return int(self._one(_OPEN_RUN, parameters)[0])

    def record(
        self, run: int, *, collection: str, recipe_hash: str, found: Sequence[Found], present: Iterable[str] = ()
    ) -> None:
        """Write down what was found.

        What the catalog holds (`present`, item ids) and was last loaded from the same content counts as loaded and
        unchanged, unless work on another content of it has begun since: a worker that was killed may have left that
        in the catalog or the storage. What has a problem is rejected with it. What is already in the run stays as it
        is; a file that has changed since it was found replaces what was waiting.
        """
        parameters = {
            "run": run,
            "collection": collection,
            "keys": [each.key(collection, recipe_hash) for each in found],
            "items": [each.item_id for each in found],
            "sources": [Jsonb(dict(each.source)) for each in found],
            "problems": [each.problem for each in found],
            "present": list(present),
        }

        def write(connection: Connection) -> None:
            with connection.transaction():
                connection.execute(_REPLACE, parameters)
                connection.execute(_RECORD, parameters)

        self._session.run(write)

    def discovery_finished(self, run: int) -> None:
        """All there is was found."""
        self._write(_DISCOVERY_FINISHED, {"run": run})

    def loaded(self, ids: Sequence[int]) -> int:
        """Tasks whose items are in the catalog; returns how many were still this worker's."""
        return self._write(_LOADED, {"ids": list(ids), "worker": self._worker})

    def rejected(self, task: int, reason: str) -> bool:
        """A task whose data is not good enough; False if it was no longer this worker's."""
        return self._write(_REJECTED, {"id": task, "reason": reason, "worker": self._worker}) == 1

    def failed(self, task: int, reason: str, *, retry: bool) -> State | None:
        """A task that met an error: back to work if a retry can mend it and attempts are left, else failed.

        Returns where the task now stands; None if it was no longer this worker's.
        """
        parameters = {"id": task, "reason": reason, "retry": retry, "limit": self._attempts, "worker": self._worker}
        row = self._session.run(lambda connection: connection.execute(_FAILED, parameters).fetchone())
        return State(row[0]) if row else None

    def finish(self, run: int) -> bool:
        """Close a run in which nothing waits; False if something does."""
        return self._write(_FINISH, {"run": run}) == 1

    def counts(self, run: int) -> Counts:
        """Tasks of a run by state, from one snapshot."""
        names = ("discovered", "loaded", "unchanged", "rejected", "failed", "waiting", "running")
        return Counts(**dict(zip(names, self._one(_COUNTS, {"run": run}), strict=True)))

    def run(self, run: int) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none of this number.
        """
        found = self._runs(_RUN_BY_ID, {"run": run})
        if not found:
            raise RunNotFound(f"the ledger has no run {run}; `stacyard runs list` shows those it has")
        return found[0]

    def runs(self, *, limit: int = 50) -> list[Run]:
        """The latest runs, newest first."""
        return self._runs(_RUNS, {"limit": limit})

    def outcomes(
        self, run: int | None = None, *, states: Sequence[State] = (State.REJECTED, State.FAILED), limit: int = 1000
    ) -> list[Outcome]:
        """Tasks in the given states, of one run or of all."""
        parameters = {"run": run, "states": [str(state) for state in states], "limit": limit}
        rows = self._session.run(lambda connection: connection.execute(_OUTCOMES, parameters).fetchall())
        return [
            Outcome(run_id=row[0], item_id=row[1], state=State(row[2]), reason=row[3], attempts=row[4], source=row[5])
            for row in rows
        ]

    def retry(self, run: int) -> int:
        """Put the failed tasks of a run back to work with fresh attempts; returns how many.

        Raises:
            RunNotFound: there is none of this number.
            RunStopped: another run of the same work is not finished.
        """
        self.run(run)
        try:
            return int(self._one(_RETRY, {"run": run})[0])
        except psycopg.errors.UniqueViolation as error:
            other = self._one(_SAME_WORK, {"run": run})[0]
            raise RunStopped(
                f"run {other} does the same work and is not finished: finish it with `stacyard runs retry {other}`, "
                f"then retry run {run} if it is still needed"
            ) from error

    def _runs(self, statement: LiteralString, parameters: dict[str, Any]) -> list[Run]:
        def read(connection: Connection) -> list[Run]:
            with connection.cursor(row_factory=class_row(Run)) as cursor:
                return cursor.execute(statement, parameters).fetchall()

        return self._session.run(read)

    def _one(self, statement: LiteralString, parameters: dict[str, Any]) -> tuple[Any, ...]:
        row = self._session.run(lambda connection: connection.execute(statement, parameters).fetchone())
        assert row is not None  # noqa: S101 - these statements always return a row
        return row

    def _write(self, statement: LiteralString, parameters: dict[str, Any]) -> int:
        return self._session.run(lambda connection: connection.execute(statement, parameters).rowcount)
