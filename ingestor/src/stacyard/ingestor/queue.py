"""Handing tasks to workers: each is handed out at least once, under a lease, until the ledger has its end.

A task is one worker's at a time. It comes back when that worker gives it back, has died, or has been silent for longer
than the lease; so the same work can be done twice, and doing it twice must come to the same. Only the worker that has
a task may end it, which is written in the `ledger`: what a worker says of a task that it has lost is not taken down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

from psycopg.rows import class_row

from stacyard.ingestor.identity import is_known_dead
from stacyard.ingestor.session import Connection, Session


@dataclass(frozen=True, kw_only=True)
class Task:
    """A claimed task. `attempts` counts this one."""

    id: int
    key: str
    item_id: str
    source: dict[str, Any]
    attempts: int


class Queue(Protocol):
    """The tasks of all runs, as one worker sees them."""

    def claim(self, run: int, *, limit: int, holding: Sequence[int] = ()) -> list[Task]:
        """Take up to `limit` tasks, which no other worker gets while the lease lasts.

        `holding` are the tasks this worker knows it has; others in its name are of a claim whose answer was lost.
        """

    def renew(self, run: int) -> None:
        """Begin the lease anew for all that this worker has."""

    def release(self, run: int) -> int:
        """Give back all that this worker has, as if it had not been claimed; returns how many."""

    def release_stale(self, run: int, *, lease_seconds: float) -> int:
        """Give back what dead or silent workers had; returns how many. Those out of attempts have failed."""


_CLAIM: LiteralString = """
UPDATE stacyard.ingest_task
SET state = 'running', worker = %(worker)s, claimed_at = now(), changed_at = now(), attempts = attempts + 1
WHERE id IN (
    SELECT id FROM stacyard.ingest_task
    WHERE run_id = %(run)s
        AND (state = 'discovered' OR (state = 'running' AND worker = %(worker)s AND id <> ALL (%(holding)s::bigint[])))
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING id, key, item_id, source, attempts
"""

_RENEW: LiteralString = """
UPDATE stacyard.ingest_task SET claimed_at = now() WHERE run_id = %(run)s AND state = 'running' AND worker = %(worker)s
"""

_RELEASE: LiteralString = """
UPDATE stacyard.ingest_task
SET state = 'discovered', worker = NULL, attempts = attempts - 1, changed_at = now()
WHERE run_id = %(run)s AND state = 'running' AND worker = %(worker)s
"""

_WORKERS: LiteralString = """
SELECT DISTINCT worker FROM stacyard.ingest_task WHERE run_id = %(run)s AND state = 'running' AND worker IS NOT NULL
"""

_RELEASE_STALE: LiteralString = """
UPDATE stacyard.ingest_task
SET state = (CASE WHEN attempts >= %(limit)s THEN 'failed' ELSE 'discovered' END)::stacyard.ingest_state,
    reason = 'its worker ' || worker || ' ended while working on it',
    worker = NULL, changed_at = now()
WHERE run_id = %(run)s AND state = 'running'
    AND (worker = ANY (%(dead)s::text[]) OR claimed_at < now() - make_interval(secs => %(lease)s))
"""


class TableQueue:
    """The queue that is the ledger's own table; tasks come in the order they were found.

    Every method may be repeated after a lost connection without harm.
    """

    def __init__(self, session: Session, *, worker: str, attempts: int = 3) -> None:
        self._session = session
        self._worker = worker
        self._attempts = attempts

    def claim(self, run: int, *, limit: int, holding: Sequence[int] = ()) -> list[Task]:
        """Take up to `limit` tasks, in one statement that passes over what others are about to take."""
        parameters = {"run": run, "worker": self._worker, "limit": limit, "holding": list(holding)}

        def read(connection: Connection) -> list[Task]:
            with connection.cursor(row_factory=class_row(Task)) as cursor:
                return sorted(cursor.execute(_CLAIM, parameters).fetchall(), key=lambda task: task.id)

        return self._session.run(read)

    def renew(self, run: int) -> None:
        """Begin the lease anew for all that this worker has."""
        self._write(_RENEW, {"run": run, "worker": self._worker})

    def release(self, run: int) -> int:
        """Give back all that this worker has, with the attempt; returns how many."""
        return self._write(_RELEASE, {"run": run, "worker": self._worker})

    def release_stale(self, run: int, *, lease_seconds: float) -> int:
        """Give back what dead processes of this host and silent workers had; returns how many."""

        def write(connection: Connection) -> int:
            workers = [row[0] for row in connection.execute(_WORKERS, {"run": run})]
            dead = [name for name in workers if is_known_dead(name)]
            parameters = {"run": run, "dead": dead, "lease": lease_seconds, "limit": self._attempts}
            return connection.execute(_RELEASE_STALE, parameters).rowcount

        return self._session.run(write)

    def _write(self, statement: LiteralString, parameters: dict[str, Any]) -> int:
        return self._session.run(lambda connection: connection.execute(statement, parameters).rowcount)
