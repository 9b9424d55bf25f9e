"""Processes that work beside this one, and end with it however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_SPAWN = multiprocessing.get_context("spawn")
# whoever answers requests on this machine comes first
_NICENESS = 10


class WorkerPool:
    """A pool of processes. One that dies breaks it: then all that was submitted fails with BrokenProcessPool."""

    def __init__(
        self, processes: int, *, initialize: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        # the processes end when this end is closed, and so also when this process is killed
        self._reader, self._lifeline = _SPAWN.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            processes, mp_context=_SPAWN, initializer=_enter, initargs=(self._reader, initialize, argument)
        )

    def submit(
        self, work: Callable[Parameters, Result], *arguments: Parameters.args, **options: Parameters.kwargs
    ) -> Future[Result]:
        """Give work to a process; on a broken pool the future has failed already."""
        try:
            return self._pool.submit(work, *arguments, **options)
        except BrokenProcessPool as error:
            broken: Future[Result] = Future()
            broken.set_exception(error)
            return broken

    def close(self) -> None:
        """End all processes at once, whatever they do."""
        self._lifeline.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._reader.close()


def _enter(lifeline: Connection, initialize: Callable[[Any], None] | None, argument: Any) -> None:
    # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    if initialize is not None:
        initialize(argument)


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)
