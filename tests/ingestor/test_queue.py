"""Each task is one worker's at a time, comes back when that worker is gone, and only that worker can end it."""

from __future__ import annotations

from stacyard.ingestor.identity import worker_name
from stacyard.ingestor.ledger import State

from .conftest import Hire, Yard, found


def test_of_two_claimers_one_loses(hire: Hire, yard: Yard) -> None:
    one, two = hire("one"), hire("two")
    run = one.open_run(yard.collection_id("claim"), *found("a", "b", "c"))
    assert [task.item_id for task in one.queue.claim(run, limit=2)] == ["a", "b"]
    [third] = two.queue.claim(run, limit=5)
    assert third.item_id == "c"
    assert two.queue.claim(run, limit=5, holding=[third.id]) == []
    assert one.ledger.counts(run).add_up


def test_a_claim_whose_answer_was_lost_is_made_again(hire: Hire, yard: Yard) -> None:
    worker = hire("one")
    run = worker.open_run(yard.collection_id("lost"), *found("a", "b"))
    [first] = worker.queue.claim(run, limit=1)
    assert [task.item_id for task in worker.queue.claim(run, limit=5, holding=[first.id])] == ["b"]
    assert [task.item_id for task in worker.queue.claim(run, limit=5)] == ["a", "b"]


def test_only_the_worker_that_has_a_task_can_end_it_and_only_once(hire: Hire, yard: Yard) -> None:
    one, two = hire("one"), hire("two")
    run = one.open_run(yard.collection_id("end"), *found("a", "b", "c"))
    first, second, third = one.queue.claim(run, limit=3)
    assert two.ledger.loaded([first.id]) == 0
    assert not two.ledger.rejected(second.id, "no")
    assert two.ledger.failed(third.id, "no", retry=False) is None
    assert (one.ledger.loaded([first.id]), one.ledger.loaded([first.id])) == (1, 0)
    assert (one.ledger.rejected(second.id, "bad"), one.ledger.rejected(second.id, "bad")) == (True, False)
    assert one.ledger.failed(third.id, "broken", retry=False) == State.FAILED
    counts = one.ledger.counts(run)
    assert (counts.loaded, counts.rejected, counts.failed, counts.waiting) == (1, 1, 1, 0)


def test_a_passing_error_is_tried_three_times_and_then_has_failed(hire: Hire, yard: Yard) -> None:
    worker = hire("one")
    run = worker.open_run(yard.collection_id("passing"), *found("a"))
    states = []
    while tasks := worker.queue.claim(run, limit=1):
        states.append(worker.ledger.failed(tasks[0].id, "storage is away", retry=True))
    assert states == [State.DISCOVERED, State.DISCOVERED, State.FAILED]
    [outcome] = worker.ledger.outcomes(run)
    assert (outcome.reason, outcome.attempts) == ("storage is away", 3)
    assert worker.ledger.retry(run) == 1
    assert worker.ledger.counts(run).waiting == 1


def test_what_a_dead_or_silent_worker_had_goes_back_and_a_living_one_keeps_its_own(hire: Hire, yard: Yard) -> None:
    here = worker_name()
    dead = here.rpartition(":")[0] + ":1"
    living, gone, other = hire(here), hire(dead), hire("elsewhere:1:1")
    run = living.open_run(yard.collection_id("stale"), *found("a", "b", "c"))
    for worker in (living, gone, other):
        assert len(worker.queue.claim(run, limit=1)) == 1
    assert living.queue.release_stale(run, lease_seconds=600) == 1
    assert living.ledger.counts(run).running == 2
    assert living.queue.release_stale(run, lease_seconds=0) == 2
    assert living.ledger.counts(run).waiting == 3


def test_a_renewed_lease_is_not_stale(hire: Hire, yard: Yard) -> None:
    diligent, silent = hire("elsewhere:1:1"), hire("elsewhere:2:1")
    run = diligent.open_run(yard.collection_id("lease"), *found("a", "b"))
    for worker in (diligent, silent):
        worker.queue.claim(run, limit=1)
    yard.query(
        "UPDATE stacyard.ingest_task SET claimed_at = now() - interval '1 h' WHERE run_id = %s RETURNING id", run
    )
    diligent.queue.renew(run)
    assert hire("elsewhere:3:1").queue.release_stale(run, lease_seconds=600) == 1
    assert [task.item_id for task in silent.queue.claim(run, limit=5)] == ["b"]


def test_a_worker_that_dies_each_time_ends_in_failure_and_not_in_a_circle(hire: Hire, yard: Yard) -> None:
    worker = hire("elsewhere:1:1")
    run = worker.open_run(yard.collection_id("crash"), *found("a"))
    for _ in range(3):
        assert len(worker.queue.claim(run, limit=1)) == 1
        assert worker.queue.release_stale(run, lease_seconds=0) == 1
    [outcome] = worker.ledger.outcomes(run)
    assert (outcome.state, outcome.attempts) == (State.FAILED, 3)
    assert outcome.reason == "its worker elsewhere:1:1 ended while working on it"


def test_released_work_does_not_count_as_an_attempt(hire: Hire, yard: Yard) -> None:
    worker = hire("one")
    run = worker.open_run(yard.collection_id("release"), *found("a"))
    worker.queue.claim(run, limit=1)
    assert worker.queue.release(run) == 1
    assert [task.attempts for task in worker.queue.claim(run, limit=1)] == [1]
