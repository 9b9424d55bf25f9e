"""The catalog revision: raised in the writer's transaction, read at most every few seconds, kept over failures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from stacyard.core.connection import connect
from stacyard.core.revision import READ_REVISIONS, RevisionPoll, raise_revision
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
    answers = iter([{"landsat": 1}, ConnectionError("gone"), {"landsat": 2}])

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


def test_a_revision_that_is_rolled_back_was_never_raised(database_settings: DatabaseSettings) -> None:
    with connect(database_settings.url("ingest"), application_name="test") as writer:
        first = raise_revision(writer, "test-revision")
        with writer.transaction(force_rollback=True):
            assert raise_revision(writer, "test-revision") == first + 1
        assert raise_revision(writer, "test-revision") == first + 1
    with connect(database_settings.url("reader"), application_name="test") as reader:
        assert dict(reader.execute(READ_REVISIONS).fetchall())["test-revision"] == first + 1
