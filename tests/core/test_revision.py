"""The catalog revision: raised in the writer's transaction, read at most every few seconds, kept over failures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping

import pytest

from stacyard.core.connection import connect
from stacyard.core.database import AsyncDatabase
from stacyard.core.revision import READ_REVISIONS, RevisionPoll, raise_revision, read_states
from stacyard.core.settings import DatabaseSettings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_many_readers_at_once_ask_the_database_once() -> None:
    asked = 0

    async def fetch() -> Mapping[str, int]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return {"landsat": asked}

    clock = Clock()
    poll = RevisionPoll(fetch, seconds=2, clock=clock)
    assert await asyncio.gather(*(poll.of("landsat") for _ in range(20))) == [1] * 20
    clock.now = 1.9
    assert await poll.of("landsat") == 1
    clock.now = 2.1
    assert await poll.of("landsat") == 2
    assert await poll.of("unknown") == 0


async def test_the_last_good_revisions_outlive_a_failing_database() -> None:
    answers: Iterator[dict[str, int] | Exception] = iter([{"landsat": 1}, ConnectionError("gone"), {"landsat": 2}])

    async def fetch() -> Mapping[str, int]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    clock = Clock()
    poll = RevisionPoll(fetch, seconds=2, clock=clock)
    assert await poll.of("landsat") == 1
    clock.now = 3
    assert await poll.of("landsat") == 1
    clock.now = 6
    assert await poll.of("landsat") == 2


async def test_the_first_read_has_nothing_to_fall_back_on() -> None:
    async def fetch() -> Mapping[str, int]:
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError):
        await RevisionPoll(fetch).all()


async def test_readers_do_not_wait_long_for_a_slow_database_and_not_for_each_other() -> None:
    clock, slow = Clock(), asyncio.Event()
    states = iter([{"landsat": 1}, {"landsat": 2}])

    async def fetch() -> Mapping[str, int]:
        if clock.now:
            await slow.wait()
        return next(states)

    poll = RevisionPoll(fetch, seconds=2, patience=0.05, clock=clock)
    assert await poll.of("landsat") == 1
    clock.now = 3
    started = time.monotonic()
    assert await asyncio.gather(*(poll.of("landsat") for _ in range(50))) == [1] * 50
    assert time.monotonic() - started < 0.5
    slow.set()
    await asyncio.sleep(0)
    assert await poll.of("landsat") == 2


async def test_a_reader_who_goes_away_takes_nothing_from_the_others() -> None:
    asked, ready = 0, asyncio.Event()

    async def fetch() -> Mapping[str, int]:
        nonlocal asked
        asked += 1
        await ready.wait()
        return {"landsat": 1}

    poll = RevisionPoll(fetch)
    readers = [asyncio.create_task(poll.of("landsat")) for _ in range(3)]
    await asyncio.sleep(0)
    readers[0].cancel()
    await asyncio.sleep(0)
    ready.set()
    assert await asyncio.gather(*readers[1:]) == [1, 1]
    assert asked == 1


async def test_what_this_process_wrote_it_reads_though_a_query_was_under_way() -> None:
    written, answers = 1, [asyncio.Event(), asyncio.Event()]
    asked = 0

    async def fetch() -> Mapping[str, int]:
        nonlocal asked
        asked, state, answer = asked + 1, {"landsat": written}, answers[asked]
        await answer.wait()
        return state

    poll = RevisionPoll(fetch, seconds=100)
    early = asyncio.create_task(poll.of("landsat"))
    await asyncio.sleep(0)
    written = 2
    poll.expire()
    late = asyncio.create_task(poll.of("landsat"))
    await asyncio.sleep(0)
    answers[1].set()
    assert await late == 2
    answers[0].set()
    assert await early in (1, 2)
    assert await poll.of("landsat") == 2
    assert asked == 2


async def test_a_restored_backup_repeats_revisions_and_no_state(database_settings: DatabaseSettings) -> None:
    """Written once more, a collection has the revision of before with other content."""
    database = AsyncDatabase(database_settings, "reader", application_name="test")
    await database.open()

    async def state() -> int:
        async with database.connection() as connection:
            states: dict[str, int] = await read_states(connection)
            return states["test-restore"]

    with connect(database_settings.url("owner"), application_name="test") as owner:
        states: list[int] = []
        for _ in range(3):
            assert raise_revision(owner, "test-restore") == 1
            states.append(await state())
            assert raise_revision(owner, "test-restore") == 2
            assert await state() > states[-1]
            owner.execute("DELETE FROM stacyard.catalog_revision WHERE collection = 'test-restore'")
    await database.close()
    assert len(set(states)) == 3


def test_a_revision_that_is_rolled_back_was_never_raised(database_settings: DatabaseSettings) -> None:
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        first = raise_revision(writer, "test-revision")
        with writer.transaction(force_rollback=True):
            assert raise_revision(writer, "test-revision") == first + 1
        assert raise_revision(writer, "test-revision") == first + 1
    with connect(database_settings.url("reader"), application_name="test") as reader:
        assert dict(reader.execute(READ_REVISIONS).fetchall())["test-revision"] == first + 1
