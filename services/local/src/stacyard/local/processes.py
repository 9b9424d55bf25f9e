"""Processes that leave nothing behind: children die with their parent, signals end a program by its clean-up."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: prctl(2): the signal that a process gets when its parent dies
_PR_SET_PDEATHSIG = 1

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def die_with_parent(parent: int, *, by: signal.Signals) -> None:
    """Have the kernel send us a signal when our parent dies, and leave at once if it is dead already. Linux only."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(by), 0, 0, 0)
    # it may have died before the call
    if os.getppid() != parent:
        os.kill(os.getpid(), by)


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within, the first SIGINT, SIGTERM or SIGHUP raises KeyboardInterrupt; later ones do not disturb the clean-up."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        for name in _SIGNALS:
            signal.signal(name, signal.SIG_IGN)
        raise KeyboardInterrupt

    previous = {name: signal.signal(name, stop) for name in _SIGNALS}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(name, handler)


def end(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Ask a child to end, and make it after a time. Its own children are its concern."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
