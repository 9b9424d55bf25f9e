"""A load steps back while somebody else wants the database, and goes on with all its processes after."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import psycopg
import pytest

from stacyard.core.revision import READ_REVISIONS
from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor import block_workers
from stacyard.ingestor.block_workers import BlockWorkers
from stacyard.ingestor.blocks import BlockDone, BlockShop
from stacyard.ingestor.courtesy import Courtesy
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.session import Session

RECIPE = parse_recipe("{collection: {id: c, title: t, description: d, license: other}, kind: items}", "r")

SEARCH = "SELECT pgstac.search('{}')"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def session(database_settings: DatabaseSettings) -> Iterator[Session]:
    with closing(Session(database_settings.url("ingest"), patience_seconds=1)) as session:
        yield session


def looks(courtesy: Courtesy, clock: Clock, before_each: Callable[[], object], number: int) -> list[bool]:
    answers = []
    for _ in range(number):
        before_each()
        clock.now += 0.3
        answers.append(courtesy.others_ask())
    return answers


@pytest.fixture
def reader(database_settings: DatabaseSettings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_settings.url("reader"), autocommit=True) as connection:
        yield connection


def test_who_asks_again_and_again_is_seen_and_forgotten_when_he_is_done(
    session: Session, reader: psycopg.Connection[Any]
) -> None:
    clock = Clock()
    courtesy = Courtesy(session, clock=clock)
    assert looks(courtesy, clock, lambda: reader.execute(SEARCH), 4) == [False, True, True, True]
    assert looks(courtesy, clock, lambda: time.sleep(0.35), 4) == [True, True, False, False]


def test_a_statement_that_takes_long_counts_as_long_as_it_runs(
    session: Session, database_settings: DatabaseSettings
) -> None:
    clock = Clock()
    courtesy = Courtesy(session, clock=clock)
    slow = threading.Thread(target=sleep_in, args=[database_settings, 1.5])
    slow.start()
    time.sleep(0.5)
    assert looks(courtesy, clock, lambda: time.sleep(0.3), 2) == [False, True]
    slow.join()


def sleep_in(database: DatabaseSettings, seconds: float) -> None:
    with psycopg.connect(database.url("reader"), autocommit=True) as connection:
        connection.execute("SELECT pg_sleep(%s)", [seconds])


def test_a_probe_now_and_then_other_loads_and_idle_sessions_do_not_count(
    session: Session, reader: psycopg.Connection[Any], database_settings: DatabaseSettings
) -> None:
    clock = Clock()
    courtesy = Courtesy(session, clock=clock)
    with psycopg.connect(database_settings.url("ingest"), autocommit=True) as loader:
        reader.execute(SEARCH)
        assert not any(looks(courtesy, clock, lambda: (loader.execute(SEARCH), time.sleep(0.35)), 6))


def test_services_that_only_ask_whether_all_is_well_are_nobody(
    session: Session, reader: psycopg.Connection[Any]
) -> None:
    clock = Clock()
    courtesy = Courtesy(session, clock=clock)
    for statement in ("SELECT 1", READ_REVISIONS):
        assert not any(looks(courtesy, clock, lambda: reader.execute(statement), 4))  # noqa: B023
    assert any(looks(courtesy, clock, lambda: reader.execute(SEARCH), 4))


def test_it_does_not_look_more_than_a_few_times_a_second(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    clock = Clock()
    monkeypatch.setattr(session, "run", lambda _: bool(seen.append(clock.now)))
    courtesy = Courtesy(session, clock=clock)
    for _ in range(100):
        courtesy.others_ask()
        clock.now += 0.01
    assert len(seen) == 4


class Pool:
    """Processes that never come to an end with what they are given."""

    def __init__(self, *_: object, **__: object) -> None:
        self.given: list[Task] = []

    def submit(self, _: object, task: Task, __: object) -> Future[BlockDone]:
        self.given.append(task)
        return Future()

    def close(self) -> None:
        pass


def handed_over(monkeypatch: pytest.MonkeyPatch, *, processes: int, others_ask: bool) -> tuple[int, Sequence[Any]]:
    pool = Pool()
    monkeypatch.setattr(block_workers, "WorkerPool", lambda *_, **__: pool)
    mine: list[Task] = []

    class Loader:
        def __init__(self, _: object) -> None:
            pass

        def load(self, task: Task, _: object) -> BlockDone:
            mine.append(task)
            return BlockDone(task=task)

        def close(self) -> None:
            pass

    monkeypatch.setattr(block_workers, "BlockLoader", Loader)
    shop = BlockShop(recipe=RECIPE, run=1, mode=Mode.UPSERT, database_url="", patience_seconds=1)
    with closing(BlockWorkers(shop, processes=processes, others_ask=lambda: others_ask)) as workers:
        for number in range(workers.room):
            workers.submit(Task(id=number, key="", item_id="", source={}, attempts=1))
        workers.collect(0.0)
        return len(pool.given), mine


@pytest.mark.parametrize(("processes", "at_peace", "stepping_back"), [(1, 0, 0), (2, 2, 0), (4, 6, 2), (8, 14, 6)])
def test_half_of_the_processes_get_no_more_blocks_while_others_ask(
    monkeypatch: pytest.MonkeyPatch, processes: int, at_peace: int, stepping_back: int
) -> None:
    given, mine = handed_over(monkeypatch, processes=processes, others_ask=False)
    assert (given, len(mine)) == (at_peace, 1)
    given, mine = handed_over(monkeypatch, processes=processes, others_ask=True)
    assert (given, len(mine)) == (stepping_back, 1), "this process goes on in any case"
