"""Windows of time that a search in the order of time goes through one after the other.

A page is full long before most partitions were looked at, but the planner looks at every one of them first: at 190
partitions of a month that is three quarters of the time. So the newest (or oldest) few are asked first, and more only
if the page is not full. The first window is open to one side and the last to the other, so that together they are all
of time, whatever came since the partitions were looked up.

Within a large partition it goes the same way for searches by properties, of which the planner knows nothing: it
expects next to no item that fits, and reads and sorts all there are, where the page is full after a few. What the
statistics say of the times in a partition cuts it into stretches of about as many items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from stacyard.core.database import AsyncConnection

# from here on planning costs more than a second statement
FEW_PARTITIONS = 12
# a window holds so many times the page, for a search that takes few of the items it passes
_SPARE = 20
_GROWTH = 4

_PARTITIONS = """
SELECT stats.collection, lower(stats.partition_dtrange), greatest(relation.reltuples, 1)
FROM pgstac.partition_stats AS stats
JOIN pg_class AS relation ON relation.oid = to_regclass(format('pgstac.%I', stats.partition))
WHERE isfinite(lower(stats.partition_dtrange))
"""
# a stretch of a larger partition holds about so many items, and no partition is cut into more
_STRETCH, _MOST_STRETCHES = 500, 2000
_TIMES = """
SELECT stats.collection, relation.reltuples, known.histogram_bounds::text::timestamptz[]
FROM pgstac.partition_stats AS stats
JOIN pg_class AS relation ON relation.oid = to_regclass(format('pgstac.%I', stats.partition))
JOIN pg_stats AS known ON known.schemaname = 'pgstac' AND known.tablename = stats.partition
WHERE known.attname = 'datetime' AND known.histogram_bounds IS NOT NULL AND relation.reltuples > 2 * $1::float8
"""

#: When a part of a collection begins, and about how many items it holds.
Part = tuple[datetime, float]


class Window(NamedTuple):
    """Items from this time on and before that one; None: open."""

    first: datetime | None
    end: datetime | None


#: All of time.
ALWAYS = Window(None, None)


class Steps:
    """Where partitions begin and about how many items they hold, looked up again after a while."""

    def __init__(
        self, *, seconds: float = 60.0, stretch: float = _STRETCH, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._stretch = stretch
        self._clock = clock
        self._asked = -math.inf
        self._partitions: dict[str, list[Part]] = {}
        self._stretches: dict[str, list[Part]] = {}

    async def windows(
        self,
        connection: AsyncConnection,
        collections: Sequence[str],
        limit: int,
        *,
        ascending: bool,
        bound: datetime | None = None,
        until: datetime | None = None,
        fine: bool = False,
    ) -> Iterator[Window]:
        """Windows to look for so many items in, the first one first.

        Args:
            connection: of a role that may read.
            collections: those asked for; none: all.
            limit: how many items are looked for.
            ascending: the oldest come first; else the newest.
            bound: none that is asked for comes before this in that order.
            until: few that are asked for come behind this, so that all behind it is one window.
            fine: within partitions, too.
        """
        now = self._clock()
        if now - self._asked >= self._seconds:
            await self._look(connection)
            self._asked = now
        asked = collections or (self._partitions | self._stretches)
        partitions = [part for name in asked for part in self._partitions.get(name, ())]
        parts = (
            [*partitions, *(part for name in asked for part in self._stretches.get(name, ()))] if fine else partitions
        )
        ahead = [
            part
            for part in parts
            if (bound is None or (part[0] > bound if ascending else part[0] <= bound))
            and (until is None or (part[0] <= until if ascending else part[0] >= until))
        ]
        if not ahead or (len(partitions) <= FEW_PARTITIONS and not fine):
            return iter((ALWAYS,))
        return windows_of(ahead, limit * _SPARE, ascending=ascending)

    async def _look(self, connection: AsyncConnection) -> None:
        partitions: dict[str, list[Part]] = {}
        for collection, begin, items in await connection.fetch(_PARTITIONS):
            partitions.setdefault(collection, []).append((begin, items))
        stretches: dict[str, list[Part]] = {}
        for collection, items, times in await connection.fetch(_TIMES, self._stretch):
            stretches.setdefault(collection, []).extend(stretches_of(times, items, self._stretch))
        self._partitions, self._stretches = partitions, stretches


def stretches_of(times: Sequence[datetime], items: float, stretch: float) -> Iterator[Part]:
    """Parts of about so many items each.

    Args:
        times: between two of which there are about as many items as between any other two.
        items: of the whole.
        stretch: items of a part.
    """
    between = items / max(1, len(times) - 1)
    cuts = max(1, min(round(between / stretch), _MOST_STRETCHES // len(times)))
    # where a time lies between two is guessed: they are evenly far from each other
    for first, last in pairwise(times):
        for cut in range(cuts):
            yield first + (last - first) * (cut / cuts), between / cuts


def windows_of(partitions: Sequence[Part], items: float, *, ascending: bool) -> Iterator[Window]:
    """Windows that are all of time together, the first of about so many items, each further one of four times as many.

    Args:
        partitions: when each begins, and how many items it holds.
        items: of the first window.
        ascending: the oldest window first; else the newest.
    """
    held: dict[datetime, tuple[int, float]] = {}
    for begin, inside in partitions:
        count, before = held.get(begin, (0, 0.0))
        held[begin] = (count + 1, before + inside)
    begins = sorted(held, reverse=not ascending)
    edge: datetime | None = None
    count, inside, most = 0, 0.0, FEW_PARTITIONS
    for place, begin in enumerate(begins):
        partitions_here, items_here = held[begin]
        count, inside = count + partitions_here, inside + items_here
        # a window ends where a partition begins: the next one's when rising, this one's when falling
        cut = begin if not ascending else begins[place + 1] if place + 1 < len(begins) else None
        if cut is not None and place + 1 < len(begins) and (inside >= items or count >= most):
            yield Window(edge, cut) if ascending else Window(cut, edge)
            edge, count, inside = cut, 0, 0.0
            items, most = items * _GROWTH, most * _GROWTH
    yield Window(edge, None) if ascending else Window(None, edge)
