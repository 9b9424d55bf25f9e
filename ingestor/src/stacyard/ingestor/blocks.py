"""A block of ready-made items on its way from where it was found straight into the catalog, in one process.

Nothing is converted and nothing is written but the catalog, so that no item waits for another stage: a block is read,
made fit, turned into rows and copied. What a block holds is bounded, and so is what a worker needs.
"""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import RunStopped, SourceAway, SourceError
from stacyard.ingestor.load.bulk import Batch, Fate, Loader, Mode
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.sources.itemfiles import BlockReader
from stacyard.ingestor.sources.places import BlockReaders
from stacyard.ingestor.stages.items import Seen, adopt_all, content_digest, id_of
from stacyard.ingestor.verdicts import Rejection

#: Items that are parsed, checked and made into rows together fit into the processor's cache
AT_ONCE = 250
# another attempt may meet them no more
_PASSING = (OSError, SourceAway, StorageError)


@dataclass(frozen=True, kw_only=True)
class BlockShop:
    """What every block of a run shares."""

    recipe: Recipe
    run: int
    mode: Mode
    database_url: str
    patience_seconds: float


@dataclass(frozen=True, kw_only=True)
class BlockDone:
    """What became of a block: its items are in the catalog but for those rejected, or it failed as a whole.

    `unchanged` of `items` were in the catalog already. `stop` says why no other block would fare better.
    """

    task: Task
    items: int = 0
    unchanged: int = 0
    rejected: Sequence[Rejection] = ()
    failed: str | None = None
    retry: bool = False
    stop: str | None = None
    report: dict[str, Any] = field(default_factory=dict)


class BlockLoader:
    """Loads one block after the other."""

    def __init__(self, shop: BlockShop) -> None:
        self._recipe = shop.recipe
        self._recipe_hash = shop.recipe.hash
        self._session = Session(shop.database_url, patience_seconds=shop.patience_seconds)
        self._loader = Loader(self._session, shop.recipe.collection.id, run=shop.run, mode=shop.mode)
        self._reader = BlockReader()
        self._readers = BlockReaders()
        # what was imported stays, and need not be looked through after every block
        gc.freeze()
        # a look ahead that finds nothing is work for nothing, and one block is much like the next
        self._expects_unchanged = True

    def load(self, task: Task, lines: Sequence[Line] | None = None) -> BlockDone:
        """Load a block; `lines` are its items if they were read when it was found. No exception leaves."""
        # JSON makes no circles, and looking for them takes as long as parsing
        gc.disable()
        try:
            return self._load(task, lines)
        except RunStopped as error:
            return BlockDone(task=task, stop=str(error))
        except (OSError, ValueError, SourceError, StorageError) as error:
            self._reader.close()
            where = task.source.get("path", task.item_id)
            reason = f"{where} cannot be read, or has changed since it was listed ({error}); run again"
            return BlockDone(task=task, failed=reason, retry=isinstance(error, _PASSING))
        except Exception as error:  # a fault of ours must cost one block and not the run
            return BlockDone(task=task, failed=f"{type(error).__name__}: {error}")
        finally:
            gc.enable()

    def close(self) -> None:
        """Close the file and the session."""
        self._reader.close()
        self._readers.close()
        self._session.close()

    def _read(self, task: Task) -> Sequence[Line]:
        return (self._readers if self._readers.reads(task.source) else self._reader).read(task.source)

    def _changed(self, lines: Sequence[Line]) -> Sequence[Line]:
        """The lines that say something else than the catalog has; of the others nothing needs to be parsed."""
        ids = [id_of(line) for line in lines]
        often = Counter(ids)
        # of an id that comes twice, what the first line says of the second is not known yet
        digests = {
            item_id: content_digest(line, self._recipe_hash)
            for item_id, line in zip(ids, lines, strict=True)
            if item_id is not None and often[item_id] == 1
        }
        unchanged = self._loader.unchanged(digests)
        return [line for item_id, line in zip(ids, lines, strict=True) if item_id not in unchanged]

    def _load(self, task: Task, lines: Sequence[Line] | None) -> BlockDone:
        started = time.perf_counter()
        lines = self._read(task) if lines is None else lines
        read = time.perf_counter()
        adoption = _Adoption(self._recipe, self._recipe_hash, task)
        changed = self._changed(lines) if self._expects_unchanged else lines
        results = self._loader.load_batches(adoption.batches(changed))
        loaded = time.perf_counter() - read
        where = task.source.get("path", task.item_id)
        refused = [(item_id, result) for item_id, result in results.items() if result.fate is Fate.REFUSED]
        for _, result in refused:
            if result.retry:
                return BlockDone(task=task, failed=result.reason, retry=True)
        rejections = [
            *adoption.rejected,
            *(Rejection(place=adoption.places[name], item_id=name, reason=result.reason) for name, result in refused),
        ]
        unchanged = sum(result.fate is Fate.UNCHANGED for result in results.values()) + adoption.repeated
        unchanged += len(lines) - len(changed)
        self._expects_unchanged = unchanged > 0
        seconds = {"read": read - started, "check": adoption.seconds, "load": loaded - adoption.seconds}
        items = len(lines) - len(rejections)
        return BlockDone(
            task=task,
            items=items,
            # a line that says an item again may be rejected as well
            unchanged=min(unchanged, items),
            rejected=[replace(each, reason=f"{each.place} of {where}: {each.reason}") for each in rejections],
            report={
                "bytes_in": sum(len(line.data) for line in lines),
                "seconds": {stage: round(value, 4) for stage, value in seconds.items()},
            },
        )


class _Adoption:
    """The lines of a block on their way to the loader, some at a time, and what is remembered of them."""

    def __init__(self, recipe: Recipe, recipe_hash: str, task: Task) -> None:
        self._recipe = recipe
        self._recipe_hash = recipe_hash
        self._task = task
        self.rejected: list[Rejection] = []
        self.places: dict[str, str] = {}
        self.repeated = 0
        self.seconds = 0.0

    def batches(self, lines: Sequence[Line]) -> Iterator[Batch]:
        """Batches of the items that are fit."""
        seen: dict[str, Seen] = {}
        for start in range(0, len(lines), AT_ONCE):
            began = time.perf_counter()
            part = lines[start : start + AT_ONCE]
            adopted = adopt_all(part, self._recipe, recipe_hash=self._recipe_hash, seen=seen)
            self.rejected += adopted.rejected
            self.repeated += adopted.repeated
            self.places |= {item.item_id: place for item, place in zip(adopted.items, adopted.places, strict=True)}
            self.seconds += time.perf_counter() - began
            yield Batch(items=adopted.items, tasks=[self._task.id] * len(adopted.items), geometries=adopted.geometries)
