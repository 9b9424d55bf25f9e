"""The cache of answers: its bound, its order, and work that is shared without one caller harming another."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.cache import OVERHEAD_BYTES, AnswerCache
from stacyard.core.errors import Overloaded, Unavailable


def a_cache(most_bytes: int = 100_000) -> AnswerCache[bytes]:
    return AnswerCache(most_bytes=most_bytes, size=len)


def making(answer: bytes, made: list[bytes] | None = None) -> Callable[[], Awaitable[bytes]]:
    async def make() -> bytes:
        if made is not None:
            made.append(answer)
        return answer

    return make


class Gate:
    """Work that ends when it is let."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = 0
        self.cancelled = 0

    async def make(self) -> bytes:
        self.begun += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"answer %d" % self.begun


async def test_what_is_kept_is_not_made_again() -> None:
    cache, made = a_cache(), list[bytes]()
    for _ in range(3):
        assert await cache.get("key", making(b"answer", made)) == b"answer"
    assert len(made) == 1


async def test_the_same_at_the_same_time_is_made_once() -> None:
    cache, gate = a_cache(), Gate()
    callers = [asyncio.create_task(cache.get("key", gate.make)) for _ in range(20)]
    other = asyncio.create_task(cache.get("other", making(b"other")))
    assert await other == b"other"
    gate.open.set()
    assert set(await asyncio.gather(*callers)) == {b"answer 1"}
    assert gate.begun == 1


async def test_a_failure_is_told_to_all_who_wait_and_not_kept() -> None:
    cache, failures = a_cache(), 0

    async def fail() -> bytes:
        nonlocal failures
        failures += 1
        await asyncio.sleep(0.01)
        raise Overloaded("busy")

    told = await asyncio.gather(*(cache.get("key", fail) for _ in range(5)), return_exceptions=True)
    assert [type(error) for error in told] == [Overloaded] * 5
    assert failures == 1
    assert await cache.get("key", making(b"answer")) == b"answer"


@pytest.mark.parametrize("leaver", [0, 1, 2])
async def test_a_caller_who_goes_away_takes_nothing_from_the_others(leaver: int) -> None:
    cache, gate = a_cache(), Gate()
    callers = [asyncio.create_task(cache.get("key", gate.make)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[leaver].cancel()
    await asyncio.sleep(0)
    gate.open.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert isinstance(results.pop(leaver), asyncio.CancelledError)
    assert results == [b"answer 1"] * 2
    assert (gate.begun, gate.cancelled) == (1, 0)


async def test_work_that_nobody_waits_for_is_cancelled_and_begun_anew_for_the_next() -> None:
    cache, gate = a_cache(), Gate()
    callers = [asyncio.create_task(cache.get("key", gate.make)) for _ in range(3)]
    await asyncio.sleep(0)
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(0)
    # before the cancelled work has ended
    late = asyncio.create_task(cache.get("key", gate.make))
    await asyncio.gather(*callers, return_exceptions=True)
    gate.open.set()
    assert await late == b"answer 2"
    assert gate.cancelled == 1


async def test_work_that_fails_after_all_have_gone_is_no_error_of_anybody() -> None:
    cache, unseen = a_cache(), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: unseen.append(context))

    async def fail_when_cancelled() -> bytes:
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError("while it was cleared away")

    caller = asyncio.create_task(cache.get("key", fail_when_cancelled))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.sleep(0.01)
    del caller
    gc.collect()
    loop.set_exception_handler(None)
    assert unseen == []


async def test_callers_are_not_cancelled_with_the_work() -> None:
    async def cancelled_within() -> bytes:
        raise asyncio.CancelledError

    with pytest.raises(Unavailable, match="try again"):
        await a_cache().get("key", cancelled_within)


async def test_an_answer_that_would_drive_out_the_others_is_not_kept() -> None:
    cache, made = a_cache(80_000), list[bytes]()
    await cache.get("small", making(b"s", made))
    for _ in range(2):
        await cache.get("large", making(b"l" * 10_000, made))
    assert await cache.get("small", making(b"s", made)) == b"s"
    assert len(made) == 3


async def test_the_meter_hears_of_hits_misses_and_shared_work() -> None:
    class Meter:
        def __init__(self) -> None:
            self.results: list[str] = []
            self.size = 0

        def asked(self, result: str) -> None:
            self.results.append(result)

        def holds(self, size: int) -> None:
            self.size = size

    cache, meter, gate = a_cache(), Meter(), Gate()
    cache.measure_with(meter)
    gate.open.set()
    await asyncio.gather(cache.get("key", gate.make), cache.get("key", gate.make))
    await cache.get("key", gate.make)
    assert meter.results == ["miss", "shared", "hit"]
    assert meter.size == cache.bytes > len(b"answer 1")


@given(
    most=st.integers(0, 4000),
    asked=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 800)), max_size=60),
)
def test_it_is_a_least_recently_used_cache_within_its_bound(most: int, asked: list[tuple[str, int]]) -> None:
    """Held against the plainest model: a list in the order of use, cut from the front."""
    sizes = dict(reversed(asked))

    async def run() -> None:
        cache = AnswerCache[bytes](most_bytes=most, size=len, most_bytes_of_one=most)
        model: OrderedDict[str, int] = OrderedDict()
        for key, _ in asked:
            answer = await cache.get(key, making(bytes(sizes[key])))
            assert answer == bytes(sizes[key])
            size = sizes[key] + sys.getsizeof(key) + OVERHEAD_BYTES
            if key in model:
                model.move_to_end(key)
            elif size <= most:
                model[key] = size
                while sum(model.values()) > most:
                    model.popitem(last=False)
            assert cache.bytes == sum(model.values()) <= most
            assert {name for name in sizes if cache.peek(name) is not None} == set(model)

    asyncio.run(run())
