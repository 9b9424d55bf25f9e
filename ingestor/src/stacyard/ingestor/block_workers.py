"""Who loads blocks: this process, and beside it processes that each have a session of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from stacyard.ingestor.blocks import BlockDone, BlockLoader, BlockShop
from stacyard.ingestor.process_pool import WorkerPool
from stacyard.ingestor.queue import Task
from stacyard.ingestor.sources.found import Line

# a process finds its next block waiting when it has ended one
_BLOCKS_A_PROCESS = 2

_here: BlockLoader | None = None


class BlockWorkers:
    """Loads blocks, a bounded number at a time, by half of the processes only while somebody else asks the database.

    This process is one of the loaders: a run of one block needs no other, and while others come up it is at work.
    """

    def __init__(self, shop: BlockShop, *, processes: int, others_ask: Callable[[], bool]) -> None:
        self._shop = shop
        self._others = processes - 1
        self._others_at_most = max(1, processes // 2) - 1
        self._others_ask = others_ask
        self._waiting: list[tuple[Task, Sequence[Line] | None]] = []
        self._futures: dict[Future[BlockDone], Task] = {}
        self._loader: BlockLoader | None = None
        self._pool: WorkerPool | None = None

    @property
    def room(self) -> int:
        """How many more blocks may be submitted now."""
        return 1 + _BLOCKS_A_PROCESS * self._others - len(self._futures) - len(self._waiting)

    @property
    def holding(self) -> list[int]:
        """Ids of submitted tasks that were not collected."""
        return [task.id for task in (*self._futures.values(), *(task for task, _ in self._waiting))]

    def submit(self, task: Task, lines: Sequence[Line] | None = None) -> None:
        """Load a block soon; `lines` are its items if they were read when it was found."""
        self._waiting.append((task, lines))

    def collect(self, seconds: float) -> list[BlockDone]:
        """What was loaded, by this process or by others; with nothing to do here it waits at most so long for them."""
        others = self._others_at_most if self._others and self._others_ask() else self._others
        while len(self._waiting) > 1 and len(self._futures) < _BLOCKS_A_PROCESS * others:
            self._hand_over(*self._waiting.pop())
        mine = []
        if self._waiting:
            self._loader = self._loader or BlockLoader(self._shop)
            mine = [self._loader.load(*self._waiting.pop(0))]
        ready, _ = wait(self._futures, timeout=0 if mine else seconds, return_when=FIRST_COMPLETED)
        return mine + self._finished(ready)

    def close(self) -> None:
        """End all processes at once, whatever they do; what they had begun to write is undone by the database."""
        if self._loader is not None:
            self._loader.close()
        if self._pool is not None:
            self._pool.close()
        self._loader, self._pool, self._futures, self._waiting = None, None, {}, []

    def _hand_over(self, task: Task, lines: Sequence[Line] | None) -> None:
        if self._pool is None:
            self._pool = WorkerPool(self._others, initialize=_prepare, argument=self._shop)
        self._futures[self._pool.submit(_load, task, lines)] = task

    def _finished(self, ready: Iterable[Future[BlockDone]]) -> list[BlockDone]:
        done: list[BlockDone] = []
        for future in ready:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                return done + self._broken()
            task = self._futures.pop(future)
            done.append(
                future.result() if error is None else BlockDone(task=task, failed=f"{type(error).__name__}: {error}")
            )
        return done

    def _broken(self) -> list[BlockDone]:
        tasks = list(self._futures.values())
        assert self._pool is not None  # noqa: S101 - it is what has broken
        self._pool.close()
        self._pool, self._futures = None, {}
        reason = "the process that loaded it ended abnormally: out of memory, perhaps"
        return [BlockDone(task=task, failed=reason, retry=True) for task in tasks]


def _prepare(shop: BlockShop) -> None:
    global _here  # noqa: PLW0603 - a process of the pool has no other place for what it keeps between blocks
    _here = BlockLoader(shop)


def _load(task: Task, lines: Sequence[Line] | None) -> BlockDone:
    assert _here is not None  # noqa: S101 - the pool's initializer made it
    return _here.load(task, lines)
