"""What was found goes into the ledger, and what was made of it into the catalog: for one run of one recipe."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stacyard.ingestor.blocks import BlockDone
from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.ledger import Ledger, Report, State
from stacyard.ingestor.load.bulk import Fate, Loader, Mode
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.load.partitions import constrain
from stacyard.ingestor.measures import with_seconds
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.found import Found

if TYPE_CHECKING:
    from stacyard.ingestor.pipeline import Prepared


class Intake:
    """Keeps ledger and catalog in step. Finished items wait for company, so that many are loaded in one statement."""

    def __init__(
        self,
        run: int,
        recipe: Recipe,
        *,
        session: Session,
        ledger: Ledger,
        mode: Mode,
        chunk_items: int,
        flush_seconds: float,
    ) -> None:
        self._run = run
        self._recipe = recipe
        self._recipe_hash = recipe.hash
        self._collection = recipe.collection.id
        self._session = session
        self._ledger = ledger
        self._catalog = Catalog(session)
        self._loader = Loader(session, self._collection, run=run, mode=mode)
        self._chunk_items = chunk_items
        self._flush_seconds = flush_seconds
        #: How many items came to which end here. A block that failed is one, since nobody knows how many it has.
        self.ended: Counter[State] = Counter(dict.fromkeys(State, 0))
        self._ready: list[Prepared] = []
        self._oldest_ready = 0.0

    @property
    def ready(self) -> list[int]:
        """Ids of the tasks whose items wait for company."""
        return [prepared.task.id for prepared in self._ready]

    def key(self, found: Found) -> str:
        """Under which the ledger knows it."""
        return found.key(self._collection, self._recipe_hash)

    def record(self, found: Sequence[Found]) -> None:
        """Write down what was found; what comes twice, too."""
        # one statement cannot see its own rows: what comes twice in a batch is recorded after the batch
        first = {each.item_id: each for each in reversed(found)}
        once = [each for each in found if first[each.item_id] is each]
        again = [each for each in found if first[each.item_id] is not each]
        for part in (once, *([each] for each in again)):
            if not part:
                continue
            self.ended[State.REJECTED] += self._ledger.record(
                self._run,
                collection=self._collection,
                recipe_hash=self._recipe_hash,
                found=part,
                present=self.present(part),
            )

    def present(self, found: Sequence[Found]) -> set[str]:
        """Items of what was found that the catalog holds, and for which all tables of the recipe are there."""
        tables = [layer.table for layer in self._recipe.layers if layer.table]
        if tables:
            from stacyard.ingestor.load_features import table_exists

            if not all(table_exists(self._session, table) for table in tables):
                return set()
        return self._catalog.present(self._collection, [each.item_id for each in found])

    def take(self, done: Prepared | BlockDone) -> None:
        """Write down what became of a task, or keep its item until it is loaded.

        Raises:
            RunStopped: no other task would fare better.
        """
        if done.stop is not None:
            raise RunStopped(done.stop)
        if done.failed is not None:
            self._failed(done.task.id, done.failed, retry=done.retry, report=done.report)
        elif isinstance(done, BlockDone):
            # an attempt that was cut short may have loaded what this one finds unchanged
            if done.items > done.unchanged or done.task.attempts > 1:
                self._catalog.raise_revision(self._collection)
            if self._ledger.block_loaded(
                done.task.id, items=done.items, unchanged=done.unchanged, rejected=done.rejected, report=done.report
            ):
                self.ended.update({State.LOADED: done.items, State.REJECTED: len(done.rejected)})
        elif done.rejected is not None:
            self.ended[State.REJECTED] += self._ledger.rejected(done.task.id, done.rejected, report=done.report)
        else:
            self._oldest_ready = self._oldest_ready if self._ready else time.monotonic()
            self._ready.append(done)

    def flush(self, *, force: bool) -> bool:
        """Load what waits, if it is enough, has waited long enough, or must be; True if anything was loaded.

        Raises:
            RunStopped: the database is away or its disk is full.
        """
        waited = time.monotonic() - self._oldest_ready
        if not self._ready or not (force or len(self._ready) >= self._chunk_items or waited >= self._flush_seconds):
            return False
        ready = {prepared.task.item_id: prepared for prepared in self._ready}
        tasks = [prepared.task.id for prepared in ready.values()]
        started = time.perf_counter()
        results = self._loader.load([prepared.item or {} for prepared in ready.values()], tasks=tasks)
        # what is loaded together took each its share
        share = (time.perf_counter() - started) / len(tasks)
        reports = [with_seconds(prepared.report, "load", share) for prepared in ready.values()]
        loaded: dict[int, Report] = {}
        for task, result, cost in zip(tasks, results, reports, strict=True):
            if result.fate is Fate.REFUSED:
                self._failed(task, result.reason, retry=result.retry, report=cost)
            else:
                loaded[task] = cost
        self._catalog.raise_revision(self._collection)
        self.ended[State.LOADED] += self._ledger.loaded(list(loaded), reports=list(loaded.values()))
        self._ready = []
        return True

    def begin(self) -> None:
        """Write the collection if there is none."""
        if self._catalog.collection(self._collection) is None:
            self._save_collection()
        elif self._ledger.counts(self._run).discovered:
            # who worked on this run before may have ended between loading and saying so
            self._catalog.raise_revision(self._collection)

    def settle(self) -> None:
        """Constrain the partitions to what they hold, and say what the collection covers now."""
        constrain(self._session, self._collection)
        self._save_collection()

    def _failed(self, task: int, reason: str, *, retry: bool, report: Report) -> None:
        state = self._ledger.failed(task, reason, retry=retry, report=report)
        self.ended[State.FAILED] += state is State.FAILED

    def _save_collection(self) -> None:
        document = describe_collection(self._recipe, self._catalog.extent(self._collection))
        self._catalog.save_collection(document, partition=self._recipe.collection.partition)
