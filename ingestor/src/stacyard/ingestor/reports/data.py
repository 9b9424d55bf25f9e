"""What a run did, in figures: how fast, how much, where the time went, what quality rules found, what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from stacyard.ingestor.ledger import Counts, Run, State
from stacyard.ingestor.times import instant

#: How many points the course of a run has at most, but for one that the end may add.
MOST_POINTS = 60

_WIDTHS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_USER_OF_URL = re.compile(r"(\w+://)[^/\s@]*@")
_QUERY_OF_URL = re.compile(r"(\w+://[^\s?'\"]+)\?[^\s'\"]+")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage took over all tasks that went through it, in seconds; `p95` is the 95th percentile of a task."""

    name: str
    tasks: int
    seconds: float
    p95: float
    longest: float


@dataclass(frozen=True, kw_only=True)
class RuleCount:
    """How often a quality rule was held against an item or an asset, and with what result."""

    rule: str
    passed: int
    warned: int
    rejected: int


@dataclass(frozen=True, kw_only=True)
class ReasonGroup:
    """Reasons that differ only in numbers, paths and item ids, which are … in the `pattern`; and the first of them."""

    pattern: str
    state: State
    items: int
    example_item: str
    example: str


@dataclass(frozen=True, kw_only=True)
class SlowTask:
    """A task that took long: an item, or a block of `items`. `stages` in seconds."""

    item: str
    state: State
    items: int
    seconds: float
    stages: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """How many items came to an end in one stretch of time, which begins at `at`. `unchanged` are among the loaded."""

    at: datetime
    loaded: int = 0
    unchanged: int = 0
    rejected: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        """All that came to an end."""
        return self.loaded + self.rejected + self.failed


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """A run in figures, all from one snapshot of the ledger.

    `measured` of `tasks` have figures of bytes and seconds; what was unchanged when it was found has none. Of a task
    that was tried more than once they are those of its last attempt. `features` says what became of the features of
    vector layers. Each stretch of `points` is `point_seconds` long. `reason_groups` are all there are, `reasons` the
    most frequent of them.
    """

    run: Run
    counts: Counts
    read_at: datetime
    last_change: datetime | None = None
    tasks: int = 0
    measured: int = 0
    retried: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    stages: Sequence[Stage] = field(default_factory=tuple)
    rules: Sequence[RuleCount] = field(default_factory=tuple)
    features: Mapping[str, int] = field(default_factory=dict)
    reason_groups: int = 0
    reasons: Sequence[ReasonGroup] = field(default_factory=tuple)
    slowest: Sequence[SlowTask] = field(default_factory=tuple)
    point_seconds: int = 1
    points: Sequence[Point] = field(default_factory=tuple)

    @property
    def seconds(self) -> float:
        """From the run's beginning to its end, or to its latest change if it has not ended; pauses are within."""
        end = self.run.finished_at or self.last_change or self.run.started_at
        return max(0.0, (end - self.run.started_at).total_seconds())

    @property
    def items_per_second(self) -> float | None:
        """Items that came to an end, of whatever kind; None of a run that took no time."""
        return self.counts.done / self.seconds if self.seconds else None

    @property
    def bytes_in_per_second(self) -> float | None:
        """Bytes read from the sources; None of a run that took no time."""
        return self.bytes_in / self.seconds if self.seconds else None

    @property
    def sources(self) -> list[str]:
        """The run's sources as they may be shown."""
        return [without_secrets(source) for source in self.run.sources]

    def to_json(self) -> dict[str, Any]:
        """The report as a JSON object; fields may be added to it, but none goes or changes its meaning."""
        return {
            **run_document(self.run, self.counts),
            "read_at": instant(self.read_at),
            "seconds": round(self.seconds, 3),
            "items_per_second": _rounded(self.items_per_second),
            "tasks": {"all": self.tasks, "measured": self.measured, "retried": self.retried},
            "bytes": {
                "in": self.bytes_in,
                "out": self.bytes_out,
                "in_per_second": _rounded(self.bytes_in_per_second),
            },
            "stages": [asdict(stage) for stage in self.stages],
            "rules": [asdict(rule) for rule in self.rules],
            "features": dict(self.features),
            "reason_groups": self.reason_groups,
            "reasons": [{**asdict(reason), "state": str(reason.state)} for reason in self.reasons],
            "slowest": [{**asdict(task), "state": str(task.state)} for task in self.slowest],
            "throughput": {
                "seconds": self.point_seconds,
                "points": [{**asdict(point), "at": instant(point.at)} for point in self.points],
            },
        }


def run_document(run: Run, counts: Counts) -> dict[str, Any]:
    """A run as a JSON object."""
    numbers = asdict(counts)
    numbers.pop("complete")
    return {
        "run": run.id,
        "collection": run.collection,
        "sources": [without_secrets(source) for source in run.sources],
        "mode": run.mode,
        "started_at": instant(run.started_at),
        "discovery_finished_at": instant(run.discovery_finished_at) if run.discovery_finished_at else None,
        "finished_at": instant(run.finished_at) if run.finished_at else None,
        "counts": numbers,
    }


def point_width(seconds: float) -> int:
    """Of round widths in seconds the least that cuts a time into `MOST_POINTS` at most."""
    for width in _WIDTHS:
        if seconds <= MOST_POINTS * width:
            return width
    days = -(-seconds // (MOST_POINTS * _WIDTHS[-1]))
    return int(days) * _WIDTHS[-1]


def course(started_at: datetime, width: int, found: Mapping[int, Mapping[str, int]]) -> list[Point]:
    """One point after the other from the beginning to the last stretch that has any; those between are empty."""
    return [
        Point(at=started_at + timedelta(seconds=place * width), **found.get(place, {}))
        for place in range(max(found, default=-1) + 1)
    ]


def without_secrets(text: str) -> str:
    """A text without what may be a password or a signature in its URLs."""
    return _QUERY_OF_URL.sub(r"\1?…", _USER_OF_URL.sub(r"\1…@", text))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
