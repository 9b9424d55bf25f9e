"""Who prepares tasks: processes of our own for images and layers, the calling process for ready-made items."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Protocol

from stacyard.ingestor.pipeline import Prepared, Workshop, prepare, prepare_item
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.itemfiles import ItemReader

_SPAWN = multiprocessing.get_context("spawn")


class Workers(Protocol):
    """Prepares tasks, a bounded number at a time."""

    @property
    def room(self) -> int:
        """How many more tasks may be submitted now."""

    def submit(self, task: Task) -> None:
        """Start on a task."""

    def collect(self, seconds: float) -> list[Prepared]:
        """What has become ready; waits at most so long for the first."""

    @property
    def holding(self) -> list[int]:
        """Ids of submitted tasks that were not collected."""

    def close(self) -> None:
        """Stop at once; what was submitted is given up."""


class ItemWorkers:
    """Ready-made items need no process of their own: a thousand take less time than a process to start."""

    def __init__(self, recipe: Recipe, *, at_once: int) -> None:
        self._recipe = recipe
        self._at_once = at_once
        self._tasks: list[Task] = []
        self._reader = ItemReader()

    @property
    def room(self) -> int:
        """How many more tasks may be submitted now."""
        return self._at_once - len(self._tasks)

    @property
    def holding(self) -> list[int]:
        """Ids of submitted tasks that were not collected."""
        return [task.id for task in self._tasks]

    def submit(self, task: Task) -> None:
        """Keep a task for the next `collect`."""
        self._tasks.append(task)

    def collect(self, seconds: float) -> list[Prepared]:  # noqa: ARG002 - nothing is waited for
        """All that was submitted."""
        tasks, self._tasks = self._tasks, []
        return [prepare_item(task, self._recipe, self._reader) for task in tasks]

    def close(self) -> None:
        """Close the file that is open."""
        self._reader.close()


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
        self._start()

    @property
    def room(self) -> int:
        """How many more tasks may be submitted now; one waits ready for the first process that becomes free."""
        limit = 1 if self._suspects else self._processes + 1
        return max(0, limit - len(self._futures))

    @property
    def holding(self) -> list[int]:
        """Ids of submitted tasks that were not collected."""
        return [task.id for task in self._futures.values()]

    def submit(self, task: Task) -> None:
        """Give a task to a process."""
        try:
            self._futures[self._pool.submit(prepare, task, self._workshop)] = task
        except BrokenProcessPool as error:
            broken: Future[Prepared] = Future()
            broken.set_exception(error)
            self._futures[broken] = task

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
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._futures = {}

    def _start(self) -> None:
        # the processes end when this end is closed, and so also when this process is killed
        reader, self._lifeline = _SPAWN.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            self._processes, mp_context=_SPAWN, initializer=_enter_process, initargs=(reader,)
        )
        self._reader = reader

    def _broken(self) -> list[Prepared]:
        tasks = list(self._futures.values())
        self.close()
        self._reader.close()
        self._start()
        self._suspects = len(tasks)
        reason = "the process that worked on it ended abnormally: out of memory, or a crash in a codec"
        return [_failed(task, reason, retry=True) for task in tasks]


def _failed(task: Task, reason: str, *, retry: bool = False) -> Prepared:
    return Prepared(task=task, failed=reason, retry=retry)


def _enter_process(lifeline: Connection) -> None:
    # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)
