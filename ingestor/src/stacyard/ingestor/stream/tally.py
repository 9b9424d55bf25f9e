"""What a streaming worker has done since it began."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, fields
from itertools import accumulate

#: Upper ends of what waits are counted by, in seconds: from one that an idle worker ends at once to a day.
WAIT_BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)


@dataclass
class Tally:
    """What became of messages, and of the work that objects waited for.

    Of messages: `received`, `done` (deleted), `returned`, and `refused` because nothing may or can be read. Of objects:
    `unmatched` by any recipe, `removed` before they could be read, and `incomplete` because a file of the item is
    missing. The others are how the work ended; two objects that wait for one task count as two. Of tasks: `pruned`,
    which the ledger needed no more.
    """

    received: int = 0
    done: int = 0
    returned: int = 0
    refused: int = 0
    unmatched: int = 0
    removed: int = 0
    incomplete: int = 0
    loaded: int = 0
    rejected: int = 0
    failed: int = 0
    pruned: int = 0

    def __str__(self) -> str:
        return ", ".join(f"{each.name} {getattr(self, each.name)}" for each in fields(self))


@dataclass
class Waits:
    """How long it took from the sending of events to the commit of what they announced, in seconds.

    `counts` are of what ended below each of `WAIT_BUCKETS`, and of what took longer.
    """

    counts: list[int] = field(default_factory=lambda: [0] * (len(WAIT_BUCKETS) + 1))
    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(WAIT_BUCKETS, seconds)] += 1
        self.seconds += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """How many took no longer than each end of a bucket, as Prometheus counts them."""
        return list(zip([*map(str, WAIT_BUCKETS), "+Inf"], accumulate(self.counts), strict=True))
