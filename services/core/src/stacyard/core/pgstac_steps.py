"""Windows of time that a search in the order of time goes through one after the other.

A page is full long before most partitions were looked at, but the planner looks at every one of them first: at 190
partitions of a month that is three quarters of the time. So the newest (or oldest) few are asked first, and more only
if the page is not full. The first window is open to one side and the last to the other, so that together they are all
of time, whatever came since the partitions were looked up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
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


class Window(NamedTuple):
    """Items from this time on and before that one; None: open."""

    first: datetime | None
    end: datetime | None


#: All of time.
ALWAYS = Window(None, None)


class Steps:
    """Where partitions begin and about how many items they hold, looked up again after a while."""

    def __init__(self, *, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._asked = -math.inf
        self._begins: dict[str, list[tuple[datetime, float]]] = {}

    async def windows(
        self,
        connection: AsyncConnection,
        collections: Sequence[str],
        limit: int,
        *,
        ascending: bool,
        bound: datetime | None = None,
    ) -> Iterator[Window]:
        """Windows to look for so many items in, the first one first.

        Args:
            connection: of a role that may read.
            collections: those asked for; none: all.
            limit: how many items are looked for.
            ascending: the oldest come first; else the newest.
            bound: none that is asked for comes before this in that order.
        """
        now = self._clock()
        if now - self._asked >= self._seconds:
            begins: dict[str, list[tuple[datetime, float]]] = {}
            for collection, begin, items in await connection.fetch(_PARTITIONS):
                begins.setdefault(collection, []).append((begin, items))
            self._begins, self._asked = begins, now
        asked = collections or self._begins
        partitions = [
            partition
            for name in asked
            for partition in self._begins.get(name, ())
            if bound is None or (partition[0] > bound if ascending else partition[0] <= bound)
        ]
        if len(partitions) <= FEW_PARTITIONS:
            return iter((ALWAYS,))
        return windows_of(partitions, limit * _SPARE, ascending=ascending)


def windows_of(partitions: Sequence[tuple[datetime, float]], items: float, *, ascending: bool) -> Iterator[Window]:
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
