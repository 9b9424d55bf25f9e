"""A bounded number of places that clients share fairly, so that one with many or slow requests cannot take them all."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stacyard.core.errors import Overloaded, TooManyRequests
from stacyard.core.settings import FairSettings


class FairQueue:
    """Places to work in, at the most so many for one client; whoever finds none waits behind its own others.

    A place that becomes free goes to the clients who wait in turn, one each, however many requests each has waiting.
    Both the number of those who wait and the time are bounded. For one event loop.
    """

    def __init__(self, *, places: int, places_each: int, waiting: int, waiting_each: int, seconds: float) -> None:
        """An empty queue.

        Args:
            places: requests at work at once.
            places_each: those of one client.
            waiting: requests that may wait.
            waiting_each: those of one client.
            seconds: how long one may wait.
        """
        self._free = places
        self._places_each = places_each
        self._most_waiting = waiting
        self._most_waiting_each = waiting_each
        self._seconds = seconds
        self._working: Counter[str] = Counter()
        self._waiting = 0
        # by client, the one whose turn is next first; a client without anybody who waits is not in it
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def working(self) -> int:
        """Requests that have a place."""
        return self._working.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return self._waiting

    @asynccontextmanager
    async def place(self, client: str) -> AsyncIterator[None]:
        """A place for as long as the context lasts.

        Raises:
            TooManyRequests: the client has too many requests in hand already.
            Overloaded: too many wait, or no place became free in time because of others.
        """
        if self._may_work(client):
            self._begin(client)
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._end(client)

    def _may_work(self, client: str) -> bool:
        return self._free > 0 and self._working[client] < self._places_each

    def _begin(self, client: str) -> None:
        self._free -= 1
        self._working[client] += 1

    def _end(self, client: str) -> None:
        self._free += 1
        self._working[client] -= 1
        if not self._working[client]:
            del self._working[client]
        self._hand_out()

    def _hand_out(self) -> None:
        while (client := self._next()) is not None:
            turn = self._queues[client].popleft()
            self._waiting -= 1
            self._queues.move_to_end(client)
            self._forget_if_empty(client)
            if not turn.cancelled():
                self._begin(client)
                turn.set_result(None)

    def _next(self) -> str | None:
        # those who may not work have all their places, so that there are few of them
        return next((client for client in self._queues if self._may_work(client)), None)

    async def _wait(self, client: str) -> None:
        if len(self._queues.get(client, ())) >= self._most_waiting_each:
            raise TooManyRequests(
                f"{self._most_waiting_each} requests of this client wait already; send the next when one is answered"
            )
        if self._waiting >= self._most_waiting:
            raise Overloaded("too many requests are waiting; try again shortly")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queues.setdefault(client, deque()).append(turn)
        self._waiting += 1
        timer = loop.call_later(self._seconds, self._give_up, client, turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(client, turn)
            else:
                # the place came in the moment in which the caller went away
                self._end(client)
            raise
        finally:
            timer.cancel()

    def _give_up(self, client: str, turn: asyncio.Future[None]) -> None:
        if not turn.done():
            self._leave(client, turn)
            turn.set_exception(self._too_late(client))

    def _too_late(self, client: str) -> Exception:
        if self._working[client] >= self._places_each:
            return TooManyRequests(
                f"none of this client's {self._places_each} requests at work ended within {self._seconds:g} seconds; "
                "send fewer at once, or ask for less"
            )
        return Overloaded(f"no place became free within {self._seconds:g} seconds; try again shortly")

    def _leave(self, client: str, turn: asyncio.Future[None]) -> None:
        # one that is cancelled may have been passed over before it has woken up to it
        if turn in self._queues.get(client, ()):
            self._queues[client].remove(turn)
            self._waiting -= 1
            self._forget_if_empty(client)

    def _forget_if_empty(self, client: str) -> None:
        if not self._queues[client]:
            del self._queues[client]


def fair_queue(settings: FairSettings, *, connections: int) -> FairQueue | None:
    """The queue for a pool of so many connections; None if settings say that there is none."""
    if not settings.enabled:
        return None
    return FairQueue(
        places=connections,
        places_each=min(settings.connections_each or max(1, connections - 1), connections),
        waiting=settings.waiting,
        waiting_each=settings.waiting_each,
        seconds=settings.wait_seconds,
    )
