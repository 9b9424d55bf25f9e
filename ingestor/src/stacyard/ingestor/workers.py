"""Who prepares images and layers: processes of our own, each one task at a time."""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool

from stacyard.ingestor.pipeline import Prepared, Workshop, prepare
from stacyard.ingestor.process_pool import WorkerPool
from stacyard.ingestor.queue import Task


class ProcessWorkers:
    """Processes that convert, each one task at a time.

    One that dies (killed for its memory, crashed in a codec) breaks the pool, and nobody can say which task did it: all
    that were in work get another attempt, one at a time, until the guilty one is alone.
    """

    def __init__(self, workshop: Workshop, *, processes: int) -> None:
        self._workshop = workshop
        self._processes = processes
        self._suspects = 0
        self._futures: dict[Future[Prepared], Task] = {}
        self._pool = WorkerPool(processes)

    @property
    def room(self) -> int:
        """How many more tasks may be submitted now; one waits ready for the first process that becomes free."""
        limit = 1 if self._suspects else self._processes + 1
        return max(0, limit - len(self._futures))

    @property
    def holding(self) -> list[int]:
        """Ids of submitted tasks that were not collected."""
        return [task.id for task in self._futures.values()]

    def start(self) -> None:
        """Let all processes come up now, which takes seconds, so that the first task need not wait for that."""
        for _ in range(self._processes):
            self._pool.submit(_come_up)

    def submit(self, task: Task) -> None:
        """Give a task to a process."""
        self._futures[self._pool.submit(prepare, task, self._workshop)] = task

    def collect(self, seconds: float) -> list[Prepared]:
        """What has become ready; waits at most so long for the first."""
        ready, _ = wait(self._futures, timeout=seconds, return_when=FIRST_COMPLETED)
        results: list[Prepared] = []
        for future in ready:
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                return results + self._broken()
            task = self._futures.pop(future)
            self._suspects = max(0, self._suspects - 1)
            results.append(future.result() if error is None else _failed(task, f"{type(error).__name__}: {error}"))
        return results

    def close(self) -> None:
        """End all processes at once, whatever they do."""
        self._pool.close()
        self._futures = {}

    def _broken(self) -> list[Prepared]:
        tasks = list(self._futures.values())
        self.close()
        self._pool = WorkerPool(self._processes)
        self._suspects = len(tasks)
        reason = "the process that worked on it ended abnormally: out of memory, or a crash in a codec"
        return [_failed(task, reason, retry=True) for task in tasks]


def _come_up() -> None:
    """Nothing: what takes time is to import this module."""


def _failed(task: Task, reason: str, *, retry: bool = False) -> Prepared:
    return Prepared(task=task, failed=reason, retry=retry)
