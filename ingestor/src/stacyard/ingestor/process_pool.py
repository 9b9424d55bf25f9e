"""Processes that work beside this one, and end with it however it ends.

They are forked off one process that has imported what all of them need and does nothing else, so that each is there at
once, without what this process holds: sessions, locks, threads. That process is spoken to through a socket; where its
path would be too long, each imports for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any, ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# of 108 bytes that a socket's path may have, the names below the temporary directory take some forty
_LONGEST_TEMPORARY_DIRECTORY = 64
# what every kind of work needs; what only images need takes longer than most runs
_IMPORTED = ("typer", "stacyard.ingestor.commands", "stacyard.ingestor.blocks")
# whoever answers requests on this machine comes first
_NICENESS = 10


def get_ready() -> None:
    """Begin to bring up the process that others are forked off, while this one goes on with something else."""
    if _can_fork():
        forkserver.set_forkserver_preload(list(_IMPORTED))
        forkserver.ensure_running()


class WorkerPool:
    """A pool of processes. One that dies breaks it: then all that was submitted fails with BrokenProcessPool."""

    def __init__(
        self, processes: int, *, initialize: Callable[[Any], None] | None = None, argument: Any = None
    ) -> None:
        get_ready()
        # the processes end when this end is closed, and so also when this process is killed
        context = multiprocessing.get_context("forkserver" if _can_fork() else "spawn")
        self._reader, self._lifeline = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            processes,
            mp_context=context,
            initializer=_enter,
            initargs=(self._reader, dict(os.environ), initialize, argument),
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


def _can_fork() -> bool:
    return len(os.fsencode(tempfile.gettempdir())) <= _LONGEST_TEMPORARY_DIRECTORY


def _enter(
    lifeline: Connection, environment: Mapping[str, str], initialize: Callable[[Any], None] | None, argument: Any
) -> None:
    # where it was forked off the variables are as they were when that came up
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    # Ctrl-C reaches the whole group; the parent decides what it means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICENESS)
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    if initialize is not None:
        initialize(argument)


def _end_with(lifeline: Connection) -> None:
    lifeline.poll(None)
    os._exit(1)
