"""Each change of state is made once, by one worker, and the counts add up after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor.errors import RunNotFound
from stacyard.ingestor.identity import worker_name
from stacyard.ingestor.ledger import Ledger, State
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.found import Found

from .conftest import Yard

Make = Callable[[str], Ledger]


@pytest.fixture
def make(database_settings: DatabaseSettings) -> Iterator[Make]:
    sessions: list[Session] = []

    def make(worker: str) -> Ledger:
        sessions.append(Session(database_settings.url("ingest"), patience_seconds=1))
        return Ledger(sessions[-1], worker=worker, attempts=3)

    yield make
    for session in sessions:
        session.close()


def found(*names: str, content: str = "1") -> list[Found]:
    return [Found(item_id=name, source={"path": name}, content={"data": content}) for name in names]


def open_run(ledger: Ledger, collection: str, *names: str) -> int:
    run = ledger.open_run(collection=collection, recipe="", recipe_hash="h", sources=[collection])
    ledger.record(run, collection=collection, recipe_hash="h", found=found(*names))
    ledger.discovery_finished(run)
    return run


def test_of_two_claimers_one_loses(make: Make, yard: Yard) -> None:
    one, two = make("one"), make("two")
    run = open_run(one, yard.collection_id("claim"), "a", "b", "c")
    assert [task.item_id for task in one.claim(run, limit=2)] == ["a", "b"]
    [third] = two.claim(run, limit=5)
    assert third.item_id == "c"
    assert two.claim(run, limit=5, holding=[third.id]) == []
    assert one.counts(run).add_up


def test_a_claim_whose_answer_was_lost_is_made_again(make: Make, yard: Yard) -> None:
    ledger = make("one")
    run = open_run(ledger, yard.collection_id("lost"), "a", "b")
    [first] = ledger.claim(run, limit=1)
    assert [task.item_id for task in ledger.claim(run, limit=5, holding=[first.id])] == ["b"]
    assert [task.item_id for task in ledger.claim(run, limit=5)] == ["a", "b"]


def test_only_the_worker_that_has_a_task_can_end_it_and_only_once(make: Make, yard: Yard) -> None:
    one, two = make("one"), make("two")
    run = open_run(one, yard.collection_id("end"), "a", "b", "c")
    first, second, third = one.claim(run, limit=3)
    assert two.loaded([first.id]) == 0
    assert not two.rejected(second.id, "no")
    assert two.failed(third.id, "no", retry=False) is None
    assert (one.loaded([first.id]), one.loaded([first.id])) == (1, 0)
    assert (one.rejected(second.id, "bad"), one.rejected(second.id, "bad")) == (True, False)
    assert one.failed(third.id, "broken", retry=False) == State.FAILED
    counts = one.counts(run)
    assert (counts.loaded, counts.rejected, counts.failed, counts.waiting) == (1, 1, 1, 0)


def test_a_passing_error_is_tried_three_times_and_then_has_failed(make: Make, yard: Yard) -> None:
    ledger = make("one")
    run = open_run(ledger, yard.collection_id("passing"), "a")
    states = []
    while tasks := ledger.claim(run, limit=1):
        states.append(ledger.failed(tasks[0].id, "storage is away", retry=True))
    assert states == [State.DISCOVERED, State.DISCOVERED, State.FAILED]
    [outcome] = ledger.outcomes(run)
    assert (outcome.reason, outcome.attempts) == ("storage is away", 3)
    assert ledger.retry(run) == 1
    assert ledger.counts(run).waiting == 1


def test_what_a_dead_or_silent_worker_had_goes_back_and_a_living_one_keeps_its_own(make: Make, yard: Yard) -> None:
    here = worker_name()
    dead = here.rpartition(":")[0] + ":1"
    living, gone, other = make(here), make(dead), make("elsewhere:1:1")
    run = open_run(living, yard.collection_id("stale"), "a", "b", "c")
    for ledger in (living, gone, other):
        assert len(ledger.claim(run, limit=1)) == 1
    assert living.release_stale(run, lease_seconds=600) == 1
    assert living.counts(run).running == 2
    assert living.release_stale(run, lease_seconds=0) == 2
    assert living.counts(run).waiting == 3


def test_released_work_does_not_count_as_an_attempt(make: Make, yard: Yard) -> None:
    ledger = make("one")
    run = open_run(ledger, yard.collection_id("release"), "a")
    ledger.claim(run, limit=1)
    assert ledger.release(run) == 1
    assert [task.attempts for task in ledger.claim(run, limit=1)] == [1]


def test_an_unfinished_run_of_the_same_work_is_continued_and_a_finished_one_is_not(make: Make, yard: Yard) -> None:
    ledger, collection = make("one"), yard.collection_id("resume")
    run = open_run(ledger, collection, "a")
    assert not ledger.finish(run), "something waits"
    assert open_run(ledger, collection, "a") == run
    assert ledger.counts(run).discovered == 1
    ledger.loaded([ledger.claim(run, limit=1)[0].id])
    assert ledger.finish(run)
    later = open_run(ledger, collection, "a")
    assert later != run


def test_one_id_with_two_contents_in_one_run_is_rejected(make: Make, yard: Yard) -> None:
    ledger, collection = make("one"), yard.collection_id("twice")
    run = open_run(ledger, collection, "a")
    ledger.record(run, collection=collection, recipe_hash="h", found=[Found(item_id="a", source={"path": "other"})])
    [outcome] = ledger.outcomes(run)
    assert "came twice in this run" in outcome.reason
    assert ledger.counts(run).waiting == 1


def test_a_file_that_changed_while_it_waited_replaces_what_was_found(make: Make, yard: Yard) -> None:
    ledger, collection = make("one"), yard.collection_id("changed")
    run = open_run(ledger, collection, "a")
    ledger.record(run, collection=collection, recipe_hash="h", found=found("a", content="2"))
    counts = ledger.counts(run)
    assert (counts.discovered, counts.waiting) == (1, 1)


def test_a_run_that_is_not_there_is_said_so(make: Make) -> None:
    with pytest.raises(RunNotFound, match="the ledger has no run 999999999"):
        make("one").run(999999999)
