"""The ledger: what a run found, what became of it, and why.

Only here does a task end. Each end is one conditional write that holds for the worker that has the task, so that of two
who did the same work one counts; each may be repeated after a lost connection without harm. Who gets a task is the
business of `queue`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from stacyard.ingestor import ledger_sql as sql
from stacyard.ingestor.errors import NothingToRetry, RunNotFound, RunStopped
from stacyard.ingestor.measures import storable
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.verdicts import Rejection


class State(StrEnum):
    """Where a task stands. `discovered` and `running` wait; the others are final."""

    DISCOVERED = "discovered"
    RUNNING = "running"
    LOADED = "loaded"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Tasks of a run by state. `unchanged` are among the loaded; so are `pruned`, whose tasks the ledger has no more.

    `complete` says that the search for data has ended, so that `discovered` is all there is.
    """

    discovered: int = 0
    loaded: int = 0
    unchanged: int = 0
    rejected: int = 0
    failed: int = 0
    waiting: int = 0
    running: int = 0
    pruned: int = 0
    complete: bool = False

    @property
    def done(self) -> int:
        """How many have come to an end, whatever it was."""
        return self.loaded + self.rejected + self.failed

    @property
    def add_up(self) -> bool:
        """Whether every task that was found is in exactly one state."""
        return self.discovered == self.done + self.waiting


@dataclass(frozen=True, kw_only=True)
class Run:
    """One call of the ingestor."""

    id: int
    collection: str
    recipe: str
    recipe_hash: str
    sources: list[str]
    mode: str
    cursor: dict[str, Any] | None
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


#: What the work on a task cost and found: bytes, seconds by stage, verdicts.
Report: TypeAlias = Mapping[str, Any]


def count(connection: Connection, run: int) -> Counts:
    """Tasks of a run by state, as this connection sees them."""
    names = ("discovered", "loaded", "unchanged", "rejected", "failed", "waiting", "running", "pruned", "complete")
    row = connection.execute(sql.COUNTS, {"run": run}).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always returns a row
    return Counts(**dict(zip(names, row, strict=True)))


class Ledger:
    """The ledger, as one worker sees it; `attempts` is how often a task is tried before it has failed."""

    def __init__(self, session: Session, *, worker: str, attempts: int = 3) -> None:
        self._session = session
        self._worker = worker
        self._attempts = attempts

    def open_run(
        self, *, collection: str, recipe: str, recipe_hash: str, sources: Sequence[str], mode: str = "upsert"
    ) -> int:
        """The id of the unfinished run of the same work, or of a new one. `recipe` is its text."""
        parameters = {
            "collection": collection,
            "recipe": recipe,
            "hash": recipe_hash,
            "sources": Jsonb(list(sources)),
            "mode": mode,
        }
        return int(self._one(sql.OPEN_RUN, parameters)[0])

    def cursor(self, *, collection: str, recipe_hash: str, sources: Sequence[str]) -> dict[str, Any] | None:
        """Where the search for data of an unfinished run of this work goes on; None: from the start."""
        parameters = {"collection": collection, "hash": recipe_hash, "sources": Jsonb(list(sources))}
        row = self._session.run(lambda connection: connection.execute(sql.CURSOR, parameters).fetchone())
        return row[0] if row else None

    def record(
        self, run: int, *, collection: str, recipe_hash: str, found: Sequence[Found], present: Iterable[str] = ()
    ) -> int:
        """Write down what was found; returns how many were rejected at once.

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
            "counts": [each.items for each in found],
            "problems": [each.problem for each in found],
            "present": list(present),
        }

        cursors = [each.cursor for each in found if each.cursor is not None]

        def write(connection: Connection) -> int:
            with connection.transaction():
                connection.execute(sql.REPLACE, parameters)
                rejected: int = sum(row[0] for row in connection.execute(sql.RECORD, parameters))
                if cursors:
                    connection.execute(sql.GO_ON, {"run": run, "cursor": Jsonb(dict(cursors[-1]))})
            return rejected

        return self._session.run(write)

    def discovery_finished(self, run: int) -> None:
        """All there is was found."""
        self._write(sql.DISCOVERY_FINISHED, {"run": run})

    def loaded(self, ids: Sequence[int], *, reports: Sequence[Report] = ()) -> int:
        """Tasks whose items are in the catalog; returns how many were still this worker's.

        `reports` are in the order of `ids`; none is kept of a task that has none.
        """
        documents = [Jsonb(storable(report)) for report in reports]
        return self._write(sql.LOADED, {"ids": list(ids), "reports": documents, "worker": self._worker})

    def block_loaded(
        self, task: int, *, items: int, unchanged: int, rejected: Sequence[Rejection], report: Any
    ) -> bool:
        """A block whose items are in the catalog, but for those rejected, which become tasks of their own.

        `items` are the loaded ones, of which `unchanged` were there before; False if it was no longer this worker's.
        """
        parameters = {"id": task, "items": items, "unchanged": unchanged, "report": Jsonb(report)}
        refused = {
            "id": task,
            "places": [each.place for each in rejected],
            "items": [each.item_id.replace("\0", "") for each in rejected],
            "reasons": [each.reason.replace("\0", "") for each in rejected],
        }

        def write(connection: Connection) -> bool:
            with connection.transaction():
                held = connection.execute(sql.BLOCK_LOADED, {**parameters, "worker": self._worker}).rowcount == 1
                if held and rejected:
                    connection.execute(sql.BLOCK_REJECTED, refused)
            return held

        return self._session.run(write)

    def rejected(self, task: int, reason: str, *, report: Report | None = None) -> bool:
        """A task whose data is not good enough; False if it was no longer this worker's."""
        parameters = {"id": task, "reason": reason, "report": _document(report), "worker": self._worker}
        return self._write(sql.REJECTED, parameters) == 1

    def failed(self, task: int, reason: str, *, retry: bool, report: Report | None = None) -> State | None:
        """A task that met an error: back to work if a retry can mend it and attempts are left, else failed.

        Returns where the task now stands; None if it was no longer this worker's.
        """
        parameters = {
            "id": task,
            "reason": reason,
            "report": _document(report),
            "retry": retry,
            "limit": self._attempts,
            "worker": self._worker,
        }
        row = self._session.run(lambda connection: connection.execute(sql.FAILED, parameters).fetchone())
        return State(row[0]) if row else None

    def finish(self, run: int) -> bool:
        """Close a run in which nothing waits; False if something does."""
        return self._write(sql.FINISH, {"run": run}) == 1

    def counts(self, run: int) -> Counts:
        """Tasks of a run by state, from one snapshot."""
        return self._session.run(lambda connection: count(connection, run))

    def waiting_tasks(self, run: int) -> int:
        """How many tasks of a run wait or are in work, whatever number of items they stand for."""
        return int(self._one(sql.WAITING, {"run": run})[0])

    def run(self, run: int) -> Run:
        """One run.

        Raises:
            RunNotFound: there is none of this number.
        """
        found = self._runs(sql.RUN_BY_ID, {"run": run})
        if not found:
            raise RunNotFound(f"the ledger has no run {run}; `stacyard runs list` shows those it has")
        return found[0]

    def runs(
        self,
        *,
        collection: str | None = None,
        finished: bool | None = None,
        since: datetime | None = None,
        limit: int = 50,
    ) -> list[Run]:
        """The latest runs, newest first: of a collection, of those that have ended or not, of those begun since."""
        return self._runs(sql.RUNS, {"collection": collection, "finished": finished, "since": since, "limit": limit})

    def outcomes(
        self,
        run: int | None = None,
        *,
        states: Sequence[State] = (State.REJECTED, State.FAILED),
        reason: str | None = None,
        item: str | None = None,
        limit: int = 1000,
    ) -> list[Outcome]:
        """Tasks in the given states, of one run or of all; `reason` and `item` as `_pattern` reads them."""
        parameters = {
            "run": run,
            "states": [str(state) for state in states],
            "reason": _pattern(reason),
            "item": _pattern(item),
            "limit": limit,
        }
        rows = self._session.run(lambda connection: connection.execute(sql.OUTCOMES, parameters).fetchall())
        return [
            Outcome(run_id=row[0], item_id=row[1], state=State(row[2]), reason=row[3], attempts=row[4], source=row[5])
            for row in rows
        ]

    def retry(self, run: int, *, reason: str | None = None) -> int:
        """Put the failed tasks of a run back to work with fresh attempts; returns how many.

        With a `reason` only those whose own has this text in it, as `_pattern` reads it.

        Raises:
            RunNotFound: there is none of this number.
            NothingToRetry: a reason was given that no failed task of the run has.
            RunStopped: another run of the same work is not finished.
        """
        self.run(run)
        if reason is not None and not self.outcomes(run, states=[State.FAILED], reason=reason, limit=1):
            raise NothingToRetry(
                f"nothing failed in run {run} for a reason with {reason!r} in it; "
                f"`stacyard runs failed {run} --state failed` shows the reasons"
            )
        try:
            return int(self._one(sql.RETRY, {"run": run, "reason": _pattern(reason)})[0])
        except psycopg.errors.UniqueViolation as error:
            other = self._one(sql.SAME_WORK, {"run": run})[0]
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


def _document(report: Report | None) -> Jsonb | None:
    return None if report is None else Jsonb(storable(report))


def _pattern(text: str | None) -> str | None:
    """A pattern of LIKE for what has a text in it; in the text … stands for anything, as in the reasons of a report."""
    if text is None:
        return None
    escaped = text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped.replace('…', '%')}%"
