"""The name of a worker process, and whether the process behind a name still runs."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def worker_name() -> str:
    """`host:pid:start`, where `start` tells this process from a later one with the same number."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def is_known_dead(name: str) -> bool:
    """Whether the named process was of this host and has ended. Of other hosts nothing is known."""
    host, pid, started = _parts(name)
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return _started(int(pid)) != started


def _parts(name: str) -> tuple[str, str, str]:
    host, _, rest = name.partition(":")
    pid, _, started = rest.partition(":")
    return host, pid, started


def _started(pid: int) -> str:
    """Clock ticks from boot to the start of a process; 0 where there is no /proc (then only the number counts)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "0"
    # the second field is the program's name in brackets and may hold blanks; `start` is field 22
    return stat.rpartition(")")[2].split()[19]
