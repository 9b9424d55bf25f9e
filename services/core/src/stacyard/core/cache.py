"""A cache of answers that is bounded in bytes, and in which the same work asked for at the same time is done once.

What makes an answer out of date belongs in its key, above all the revision of what it shows: then nothing has to be
told to go, and what nobody asks for any more makes room by itself.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from stacyard.core.errors import Unavailable

Answer = TypeVar("Answer")
Key = str | bytes

#: What an entry takes besides its key and its answer: its place in the table, and the object around the answer.
OVERHEAD_BYTES = 256


class CacheMeter(Protocol):
    """Who counts what a cache does."""

    def asked(self, result: str) -> None:
        """An answer was asked for, and was a `hit`, a `miss`, or `shared` with somebody who asked just before."""

    def holds(self, size: int) -> None:
        """The cache holds so many bytes now."""


@dataclass
class _Work:
    task: asyncio.Task[object]
    waiting: int = 0


class AnswerCache(Generic[Answer]):
    """Answers by key, those asked for longest ago going first. For one event loop.

    Work that fails is not kept: whoever waits for it is told why, whoever comes later begins anew. A caller who goes
    away does not stop work that others wait for; work that nobody waits for any more is cancelled.
    """

    def __init__(
        self,
        *,
        most_bytes: int,
        size: Callable[[Answer], int],
        most_bytes_of_one: int | None = None,
    ) -> None:
        """An empty cache.

        Args:
            most_bytes: what keys, answers and `OVERHEAD_BYTES` for each may take together; with 0 nothing is kept, and
                work is still shared.
            size: bytes that an answer takes.
            most_bytes_of_one: a larger answer is not kept, so that one does not drive out all others; by default an
                eighth of `most_bytes`.
        """
        self._most_bytes = most_bytes
        self._most_bytes_of_one = most_bytes // 8 if most_bytes_of_one is None else most_bytes_of_one
        self._size = size
        self._kept: OrderedDict[Key, tuple[Answer, int]] = OrderedDict()
        self._in_work: dict[Key, _Work] = {}
        self._bytes = 0
        self._meter: CacheMeter | None = None

    @property
    def bytes(self) -> int:
        """What is kept now."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    def measure_with(self, meter: CacheMeter) -> None:
        """Let somebody count from now on."""
        self._meter = meter

    def peek(self, key: Key) -> Answer | None:
        """The answer if it is kept, without a sign that it was asked for."""
        kept = self._kept.get(key)
        return kept[0] if kept else None

    def clear(self) -> None:
        """Keep nothing of what was kept; work goes on."""
        self._kept.clear()
        self._bytes = 0

    async def get(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer that is kept, that is being made, or that `make` makes now.

        Raises:
            Unavailable: the work was cancelled by somebody else than its callers.
            Exception: whatever `make` raises.
        """
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            self._count("hit")
            return kept[0]
        work = self._in_work.get(key)
        self._count("miss" if work is None else "shared")
        if work is None:
            work = self._begin(key, make)
        return await self._wait_for(key, work)

    def _begin(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> _Work:
        work = _Work(asyncio.ensure_future(self._make(key, make)))
        self._in_work[key] = work

        def end(task: asyncio.Task[object]) -> None:
            self._forget(key, work)
            if not task.cancelled():
                task.exception()  # if all who waited are gone, nobody else looks at it

        work.task.add_done_callback(end)
        return work

    async def _make(self, key: Key, make: Callable[[], Awaitable[Answer]]) -> object:
        answer = await make()
        self._keep(key, answer)
        return answer

    async def _wait_for(self, key: Key, work: _Work) -> Answer:
        work.waiting += 1
        try:
            # unlike `await`, this neither hands our cancellation to the work nor that of the work to us
            await asyncio.wait((work.task,))
        finally:
            work.waiting -= 1
            if not work.waiting and not work.task.done():
                self._forget(key, work)
                work.task.cancel()
        if work.task.cancelled():
            raise Unavailable("the work for this answer was stopped; try again shortly")
        return work.task.result()  # type: ignore[return-value]

    def _forget(self, key: Key, work: _Work) -> None:
        if self._in_work.get(key) is work:
            del self._in_work[key]

    def _keep(self, key: Key, answer: Answer) -> None:
        size = self._size(answer) + sys.getsizeof(key) + OVERHEAD_BYTES
        if size > min(self._most_bytes_of_one, self._most_bytes):
            return
        if key in self._kept:
            self._bytes -= self._kept.pop(key)[1]
        self._kept[key] = answer, size
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1][1]
        if self._meter is not None:
            self._meter.holds(self._bytes)

    def _count(self, result: str) -> None:
        if self._meter is not None:
            self._meter.asked(result)
