"""A run, from discovery to its end: finds work, hands it out, loads what is ready, and keeps the ledger true.

Whatever happens, a signal, a kill, a full disk, a lost database, the ledger says what is left, and the same command
goes on with it.
"""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.block_workers import BlockWorkers
from stacyard.ingestor.courtesy import Courtesy
from stacyard.ingestor.errors import DatabaseAway
from stacyard.ingestor.intake import Intake
from stacyard.ingestor.ledger import Counts, Ledger
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.queue import Queue
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import IngestorSettings
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.workplace import make_workers, work_directory

if TYPE_CHECKING:
    from stacyard.ingestor.workers import ProcessWorkers

_DISCOVERY_SECONDS = 0.5
_DISCOVERY_FILES = 500
# of some thousand items each; the sooner there are a few, the sooner all processes have work
_DISCOVERY_BLOCKS = 4
_WAIT_SECONDS = 0.2
_COUNT_SECONDS = 0.5
# blocks that were read when they were found and wait for a worker
_LINES_HELD = 8


@dataclass(frozen=True, kw_only=True)
class Platform:
    """Where a run works."""

    database: DatabaseSettings
    storage: StorageSettings
    settings: IngestorSettings


class Interruption:
    """Set by SIGINT or SIGTERM. A second signal of the kind does what it always does."""

    def __init__(self) -> None:
        self.wanted = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Listen for the signals, if this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.wanted = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class Runner:
    """Drives one run to its end, or to where it can go on later."""

    def __init__(
        self,
        run: int,
        recipe: Recipe,
        *,
        session: Session,
        queue: Queue,
        ledger: Ledger,
        platform: Platform,
        mode: Mode = Mode.UPSERT,
    ) -> None:
        self._run = run
        self._recipe = recipe
        self._mode = mode
        self._queue = queue
        self._ledger = ledger
        self._catalog = Catalog(session)
        self._courtesy = Courtesy(session)
        self._intake = Intake(
            run,
            recipe,
            session=session,
            ledger=ledger,
            mode=mode,
            chunk_items=platform.settings.chunk_items,
            flush_seconds=platform.settings.flush_seconds,
        )
        self._platform = platform
        self._settings = platform.settings
        self._lines: dict[str, Sequence[Line]] = {}
        self._renewed = time.monotonic()

    def drive(self, found: Iterator[Found] | None, *, report: Callable[[Counts], None]) -> bool:
        """Work until nothing waits; False if a signal ended it before.

        Args:
            found: what to do; None if the ledger has it all.
            report: called now and then with the counts.

        Raises:
            RunStopped: the database is away or a disk is full.
            SourceError: a source cannot be read.
        """
        interruption = Interruption()
        with interruption.watched(), work_directory(self._settings.work_directory) as directory:
            self._intake.begin()
            self._queue.release_stale(self._run, lease_seconds=self._settings.lease_seconds)
            try:
                # the workers have ended before their tasks are given back, so that nobody does the same beside them
                with closing(self._hire(directory)) as workers:
                    finished = self._loop(found, workers, interruption, report)
            except DatabaseAway:
                # what this process had is given back by the next run, which sees that it is gone
                raise
            except BaseException:
                self._queue.release(self._run)
                raise
            self._queue.release(self._run)
        self.close(finished=finished)
        report(self._ledger.counts(self._run))
        return finished

    def list_all(self, found: Iterator[Found], *, report: Callable[[Counts], None]) -> bool:
        """Write down all that is found, for others to work on; False if a signal ended it before."""
        interruption = Interruption()
        with interruption.watched():
            self._intake.begin()
            while self._discover(found):
                report(self._ledger.counts(self._run))
                if interruption.wanted:
                    return False
            self._lines.clear()
            self._ledger.discovery_finished(self._run)
        return True

    def close(self, *, finished: bool = True) -> None:
        """Say what the collection covers now; and if all was done, delete what a mirror must not have."""
        counts = self._ledger.counts(self._run)
        # what failed, or was not found yet, may be what would be deleted
        if finished and self._mode is Mode.MIRROR and counts.complete and not counts.failed and not counts.waiting:
            self._catalog.delete_unseen(self._recipe.collection.id, self._run)
        self._intake.settle()

    def _loop(
        self,
        found: Iterator[Found] | None,
        workers: BlockWorkers | ProcessWorkers,
        interruption: Interruption,
        report: Callable[[Counts], None],
    ) -> bool:
        count_at = 0.0
        while not interruption.wanted:
            if found is not None and len(self._lines) < _LINES_HELD and not self._discover(found):
                self._ledger.discovery_finished(self._run)
                found = None
            idle = self._hand_out(workers)
            for prepared in workers.collect(0.0 if found is not None else _WAIT_SECONDS):
                self._intake.take(prepared)
            self._intake.flush(force=idle and not workers.holding)
            self._keep_lease()
            if time.monotonic() >= count_at:
                started = time.monotonic()
                counts = self._ledger.counts(self._run)
                report(counts)
                # counting a long run takes longer; it must not become the work
                count_at = time.monotonic() + max(_COUNT_SECONDS, 20 * (time.monotonic() - started))
            if idle and found is None and not workers.holding and not self._intake.ready:
                if self._ledger.finish(self._run) or not self._ledger.counts(self._run).waiting:
                    return True
                # another command works on the rest of this run
                time.sleep(_WAIT_SECONDS)
        return False

    def _discover(self, found: Iterator[Found]) -> bool:
        """Write down a batch of what is found; False at the end."""
        deadline = time.monotonic() + _DISCOVERY_SECONDS
        limit = _DISCOVERY_BLOCKS if self._recipe.kind == "items" else _DISCOVERY_FILES
        batch: list[Found] = []
        for each in found:
            batch.append(each)
            if len(batch) >= limit or time.monotonic() > deadline:
                self._record(batch)
                return True
        self._record(batch)
        return False

    def _record(self, found: Sequence[Found]) -> None:
        self._intake.record(found)
        for each in found:
            if each.lines is not None:
                self._lines[self._intake.key(each)] = each.lines

    def _hand_out(self, workers: BlockWorkers | ProcessWorkers) -> bool:
        """Claim as much as there is room for; True if there was nothing to claim."""
        room = workers.room
        if not room:
            return False
        holding = [*workers.holding, *self._intake.ready]
        tasks = self._queue.claim(self._run, limit=room, holding=holding)
        for task in tasks:
            if isinstance(workers, BlockWorkers):
                workers.submit(task, self._lines.pop(task.key, None))
            else:
                workers.submit(task)
        if not tasks:
            # others have claimed them, and read them again
            self._lines.clear()
        return not tasks

    def _hire(self, directory: Path) -> BlockWorkers | ProcessWorkers:
        return make_workers(
            self._run,
            self._recipe,
            mode=self._mode,
            database=self._platform.database,
            storage=self._platform.storage,
            settings=self._settings,
            directory=directory,
            others_ask=self._courtesy.others_ask,
        )

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > self._settings.lease_seconds / 3:
            self._queue.renew(self._run)
            self._queue.release_stale(self._run, lease_seconds=self._settings.lease_seconds)
            self._renewed = time.monotonic()


def first(found: Iterator[Found]) -> Iterator[Found]:
    """The same stream with its first element already found, so that what is wrong with a source shows at once."""
    head = next(found, None)
    return iter(()) if head is None else itertools.chain([head], found)
