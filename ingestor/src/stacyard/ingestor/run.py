"""A run, from discovery to its end: finds work, hands it out, loads what is ready, and keeps the ledger true.

Whatever happens, a signal, a kill, a full disk, a lost database, the ledger says what is left, and the same command
goes on with it.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.errors import DatabaseAway, RunStopped
from stacyard.ingestor.identity import is_known_dead, worker_name
from stacyard.ingestor.ledger import Counts, Ledger
from stacyard.ingestor.load import Catalog
from stacyard.ingestor.load_features import table_exists
from stacyard.ingestor.pipeline import Prepared, Workshop
from stacyard.ingestor.queue import Queue
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import IngestorSettings
from stacyard.ingestor.sources.files import walk
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.sources.grouping import group_images, list_layers
from stacyard.ingestor.sources.itemfiles import find_items
from stacyard.ingestor.workers import ItemWorkers, ProcessWorkers, Workers

_DISCOVERY_SECONDS = 0.5
_DISCOVERY_BATCH = 500
_WAIT_SECONDS = 0.2
_COUNT_SECONDS = 0.5


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


def discover(recipe: Recipe, sources: Sequence[str]) -> Iterator[Found]:
    """Everything the recipe makes of the sources, as a stream.

    Raises:
        SourceError: a source cannot be read, or has nothing for this recipe.
    """
    paths = walk(sources)
    match recipe.kind:
        case "imagery":
            return group_images(paths, recipe)
        case "vector":
            return list_layers(paths, recipe)
        case _:
            return find_items(paths)


class Runner:
    """Drives one run to its end, or to where it can go on later."""

    def __init__(
        self, run: int, recipe: Recipe, *, session: Session, queue: Queue, ledger: Ledger, platform: Platform
    ) -> None:
        self._run = run
        self._recipe = recipe
        self._session = session
        self._queue = queue
        self._ledger = ledger
        self._catalog = Catalog(session)
        self._platform = platform
        self._settings = platform.settings
        self._ready: list[Prepared] = []
        self._oldest_ready = 0.0
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
        with interruption.watched(), self._directory() as directory:
            if self._catalog.collection(self._recipe.collection.id) is None:
                self._save_collection()
            self._queue.release_stale(self._run, lease_seconds=self._settings.lease_seconds)
            try:
                # the workers have ended before their tasks are given back, so that nobody does the same beside them
                with closing(self._workers(directory)) as workers:
                    finished = self._loop(found, workers, interruption, report)
            except DatabaseAway:
                # what this process had is given back by the next run, which sees that it is gone
                raise
            except BaseException:
                self._queue.release(self._run)
                raise
            self._queue.release(self._run)
        self._save_collection()
        report(self._ledger.counts(self._run))
        return finished

    def _loop(
        self,
        found: Iterator[Found] | None,
        workers: Workers,
        interruption: Interruption,
        report: Callable[[Counts], None],
    ) -> bool:
        count_at = 0.0
        while not interruption.wanted:
            if found is not None and not self._discover(found):
                self._ledger.discovery_finished(self._run)
                found = None
            idle = self._hand_out(workers)
            for prepared in workers.collect(0.0 if found is not None else _WAIT_SECONDS):
                self._take(prepared)
            self._flush(force=idle and not workers.holding)
            self._keep_lease()
            if time.monotonic() >= count_at:
                started = time.monotonic()
                counts = self._ledger.counts(self._run)
                report(counts)
                # counting a long run takes longer; it must not become the work
                count_at = time.monotonic() + max(_COUNT_SECONDS, 20 * (time.monotonic() - started))
            if idle and found is None and not workers.holding and not self._ready:
                if self._ledger.finish(self._run) or not self._ledger.counts(self._run).waiting:
                    return True
                # another command works on the rest of this run
                time.sleep(_WAIT_SECONDS)
        return False

    def _discover(self, found: Iterator[Found]) -> bool:
        """Write down a batch of what is found; False at the end."""
        deadline = time.monotonic() + _DISCOVERY_SECONDS
        batch: list[Found] = []
        for each in found:
            batch.append(each)
            if len(batch) >= _DISCOVERY_BATCH or time.monotonic() > deadline:
                self._record(batch)
                return True
        self._record(batch)
        return False

    def _record(self, found: Sequence[Found]) -> None:
        # one statement cannot see its own rows: what comes twice in a batch is recorded after the batch
        first = {each.item_id: each for each in reversed(found)}
        once = [each for each in found if first[each.item_id] is each]
        again = [each for each in found if first[each.item_id] is not each]
        for part in (once, *([each] for each in again)):
            if not part:
                continue
            self._ledger.record(
                self._run,
                collection=self._recipe.collection.id,
                recipe_hash=self._recipe.hash,
                found=part,
                present=self._present(part),
            )

    def _present(self, found: Sequence[Found]) -> set[str]:
        tables = [layer.table for layer in self._recipe.layers if layer.table]
        if not all(table_exists(self._session, table) for table in tables):
            return set()
        return self._catalog.present(self._recipe.collection.id, [each.item_id for each in found])

    def _hand_out(self, workers: Workers) -> bool:
        """Claim as much as there is room for; True if there was nothing to claim."""
        room = workers.room
        if not room:
            return False
        holding = [*workers.holding, *(prepared.task.id for prepared in self._ready)]
        tasks = self._queue.claim(self._run, limit=room, holding=holding)
        for task in tasks:
            workers.submit(task)
        return not tasks

    def _take(self, prepared: Prepared) -> None:
        if prepared.stop is not None:
            raise RunStopped(prepared.stop)
        if prepared.item is not None:
            self._oldest_ready = self._oldest_ready if self._ready else time.monotonic()
            self._ready.append(prepared)
        elif prepared.rejected is not None:
            self._ledger.rejected(prepared.task.id, prepared.rejected)
        else:
            self._ledger.failed(prepared.task.id, prepared.failed or "no reason is known", retry=prepared.retry)

    def _flush(self, *, force: bool) -> None:
        waited = time.monotonic() - self._oldest_ready
        if not self._ready or not (
            force or len(self._ready) >= self._settings.chunk_items or waited >= self._settings.flush_seconds
        ):
            return
        tasks = {prepared.task.item_id: prepared.task.id for prepared in self._ready}
        items = {prepared.task.item_id: prepared.item for prepared in self._ready if prepared.item is not None}
        loaded = self._catalog.load(
            self._recipe.collection.id,
            list(items.values()),
            lambda item, reason, retry: self._ledger.failed(tasks[item["id"]], reason, retry=retry),
        )
        self._ledger.loaded([tasks[item["id"]] for item in loaded])
        self._ready = []

    def _keep_lease(self) -> None:
        if time.monotonic() - self._renewed > self._settings.lease_seconds / 3:
            self._queue.renew(self._run)
            self._queue.release_stale(self._run, lease_seconds=self._settings.lease_seconds)
            self._renewed = time.monotonic()

    def _save_collection(self) -> None:
        about = self._recipe.collection
        document = describe_collection(self._recipe, self._catalog.extent(about.id))
        self._catalog.save_collection(document, partition=about.partition)

    def _workers(self, directory: Path) -> Workers:
        if self._recipe.kind == "items":
            return ItemWorkers(self._recipe, at_once=self._settings.chunk_items)
        processes = self._settings.processes
        workshop = Workshop(
            recipe=self._recipe,
            assets=self._platform.storage.assets,
            directory=directory,
            database_url=self._platform.database.url("ingest"),
            patience_seconds=self._settings.database_patience_seconds,
            threads=max(1, (os.cpu_count() or 1) // processes),
        )
        return ProcessWorkers(workshop, processes=processes)

    @contextmanager
    def _directory(self) -> Iterator[Path]:
        """A directory of this process, which is removed; those of processes that were killed are removed too."""
        root = self._settings.work_directory
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():
            if left.is_dir() and is_known_dead(left.name.replace("+", ":")):
                shutil.rmtree(left, ignore_errors=True)
        directory = root / worker_name().replace(":", "+")
        directory.mkdir(exist_ok=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def first(found: Iterator[Found]) -> Iterator[Found]:
    """The same stream with its first element already found, so that what is wrong with a source shows at once."""
    head = next(found, None)
    return iter(()) if head is None else itertools.chain([head], found)
