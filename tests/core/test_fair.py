"""The fair queue: its bounds, its turns, and that no place is ever lost."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.access import Caller, client_key
from stacyard.core.errors import Overloaded, TooManyRequests
from stacyard.core.fair import FairQueue


def a_queue(**bounds: float) -> FairQueue:
    return FairQueue(**({"places": 3, "places_each": 2, "waiting": 50, "waiting_each": 20, "seconds": 5} | bounds))  # type: ignore[arg-type]


class Visitors:
    """Requests that work until they are told to end."""

    def __init__(self, queue: FairQueue) -> None:
        self.queue = queue
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: list[asyncio.Event] = []
        self.served: list[tuple[str, int]] = []
        self.at_work: Counter[str] = Counter()

    async def come(self, *clients: str) -> None:
        for client in clients:
            self.ends.append(asyncio.Event())
            self.tasks.append(asyncio.create_task(self._visit(client, len(self.tasks))))
            await asyncio.sleep(0)

    async def _visit(self, client: str, number: int) -> None:
        async with self.queue.place(client):
            self.served.append((client, number))
            self.at_work[client] += 1
            try:
                await self.ends[number].wait()
            finally:
                self.at_work[client] -= 1

    async def end(self, number: int) -> None:
        self.ends[number].set()
        await settled()

    async def all_end(self) -> list[BaseException | None]:
        for end in self.ends:
            end.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_client_leaves_places_for_others() -> None:
    visitors = Visitors(a_queue())
    await visitors.come("a", "a", "a", "a", "b")
    assert visitors.at_work == {"a": 2, "b": 1}
    await visitors.all_end()
    assert len(visitors.served) == 5


async def test_those_who_wait_are_served_in_turn_by_client() -> None:
    visitors = Visitors(a_queue(places=1, places_each=1))
    await visitors.come("a", "a", "a", "a", "b", "b", "c")
    await visitors.all_end()
    assert "".join(client for client, _ in visitors.served) == "aabcaba"


async def test_too_many_of_one_client_are_the_clients_and_too_many_of_all_are_ours() -> None:
    visitors = Visitors(a_queue(places=1, places_each=1, waiting=3, waiting_each=2))
    await visitors.come("a", "a", "a", "a", "b", "c")
    results = await visitors.all_end()
    assert [type(result) for result in results[3:]] == [TooManyRequests, type(None), Overloaded]
    assert "2 requests of this client" in str(results[3])


async def test_whoever_waits_too_long_is_told_whose_fault_it_is() -> None:
    visitors = Visitors(a_queue(places=1, places_each=1, seconds=0.05))
    await visitors.come("a", "a", "b")
    await asyncio.wait(visitors.tasks[1:], timeout=2)
    results = await visitors.all_end()
    assert [type(result) for result in results] == [type(None), TooManyRequests, Overloaded]
    assert "send fewer at once" in str(results[1])
    assert (visitors.queue.working, visitors.queue.waiting) == (0, 0)


async def test_a_place_that_comes_as_the_caller_goes_is_handed_on() -> None:
    visitors = Visitors(a_queue(places=1, places_each=1))
    await visitors.come("a", "b", "c")
    visitors.ends[0].set()
    await asyncio.sleep(0)
    # b has its place by now, and has not yet woken up to it
    visitors.tasks[1].cancel()
    await settled()
    assert visitors.at_work == {"a": 0, "c": 1}
    await visitors.all_end()
    assert (visitors.queue.working, visitors.queue.waiting) == (0, 0)


@given(st.data())
def test_whatever_happens_bounds_hold_no_place_idles_and_none_is_lost(data: st.DataObject) -> None:
    places, each = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))

    async def run() -> None:
        queue = a_queue(places=places, places_each=each, waiting=10, waiting_each=4)
        visitors = Visitors(queue)
        for _ in range(data.draw(st.integers(0, 40))):
            match data.draw(st.sampled_from(["come", "come", "end", "cancel", "fast"])):
                case "come":
                    await visitors.come(data.draw(st.sampled_from("abcd")))
                case "end" if visitors.tasks:
                    visitors.ends[data.draw(st.integers(0, len(visitors.tasks) - 1))].set()
                case "cancel" if visitors.tasks:
                    visitors.tasks[data.draw(st.integers(0, len(visitors.tasks) - 1))].cancel()
                case "fast":
                    continue
            if data.draw(st.booleans()):
                await settled()
                assert queue.working == visitors.at_work.total() <= places
                assert max(visitors.at_work.values(), default=0) <= each
                waiting = queue._queues
                assert queue.waiting == sum(map(len, waiting.values())) <= 10
                assert all(waiting.values())
                idle = queue.working < places
                assert not [client for client in waiting if idle and visitors.at_work[client] < each]
        await settled()
        await visitors.all_end()
        assert (queue.working, queue.waiting, queue._free, len(queue._queues)) == (0, 0, places, 0)
        assert not queue._working

    asyncio.run(run())


def test_clients_are_told_apart_by_who_they_are_or_where_they_come_from() -> None:
    def key(address: str | None, caller: object = None) -> str:
        return client_key({"client": (address, 1) if address else None, "state": {"caller": caller} if caller else {}})

    assert key("203.0.113.9") != key("203.0.113.10")
    assert key("203.0.113.9", Caller("ann")) == key("203.0.113.10", Caller("ann")) != key("203.0.113.9", Caller("bob"))
    assert key("203.0.113.9", Caller()) == key("203.0.113.9")
    assert key("2001:db8::1") == key("2001:db8::ffff") != key("2001:db8:0:1::1")
    assert key("fe80::1%eth0") == key("fe80::2")
    assert key(None) == key("")
    assert key("address x") != key("y", Caller("x"))
