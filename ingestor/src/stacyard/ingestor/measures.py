"""What the work on one task cost: seconds by stage, and bytes read and stored."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Measures:
    """The cost of one task so far. Stages do not overlap; one that is entered again adds up.

    `bytes_in` were read from the sources, `bytes_out` were stored as assets.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}
        self.bytes_in = 0
        self.bytes_out = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time within for a stage, also when it ends in an error."""
        started = self._clock()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - started

    def document(self) -> dict[str, Any]:
        """As the ledger keeps it: `bytes_in`, `bytes_out`, and `seconds` by stage."""
        return {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "seconds": {stage: round(seconds, 4) for stage, seconds in self._seconds.items()},
        }


def with_seconds(report: Mapping[str, Any], stage: str, seconds: float) -> dict[str, Any]:
    """The report of a task with the time of one more stage."""
    return {**report, "seconds": {**report.get("seconds", {}), stage: round(seconds, 4)}}


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a directory; 0 of what is gone, which the stages will say."""
    try:
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if not file.is_dir())
    except OSError:
        return 0


def storable(value: Any) -> Any:
    """A JSON value as PostgreSQL takes it: it knows no NaN and no infinity, which become null, and no NUL in a text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable(each) for each in value]
    return value
