"""The ledger knows what was found and what became of it; the counts add up, and what is unchanged is truly so."""

from __future__ import annotations

import pytest

from stacyard.ingestor.errors import RunNotFound
from stacyard.ingestor.sources.found import Found

from .conftest import Hire, Yard, found


def test_an_unfinished_run_of_the_same_work_is_continued_and_a_finished_one_is_not(hire: Hire, yard: Yard) -> None:
    worker, collection = hire("one"), yard.collection_id("resume")
    run = worker.open_run(collection, *found("a"))
    assert not worker.ledger.finish(run), "something waits"
    assert worker.open_run(collection, *found("a")) == run
    assert worker.ledger.counts(run).discovered == 1
    worker.ledger.loaded([worker.queue.claim(run, limit=1)[0].id])
    assert worker.ledger.finish(run)
    later = worker.open_run(collection, *found("a"))
    assert later != run


def test_one_id_with_two_contents_in_one_run_is_rejected(hire: Hire, yard: Yard) -> None:
    worker, collection = hire("one"), yard.collection_id("twice")
    run = worker.open_run(collection, *found("a"))
    worker.record(run, collection, [Found(item_id="a", source={"path": "other"})])
    [outcome] = worker.ledger.outcomes(run)
    assert "came twice in this run" in outcome.reason
    assert worker.ledger.counts(run).waiting == 1


def test_an_item_that_was_incomplete_when_first_found_is_done_when_it_is_complete(hire: Hire, yard: Yard) -> None:
    worker, collection = hire("one"), yard.collection_id("late")
    run = worker.open_run(collection, Found(item_id="a", source={"path": "half"}, problem="asset 'b' is missing"))
    worker.record(run, collection, [Found(item_id="a", source={"path": "whole"})])
    assert [task.source for task in worker.queue.claim(run, limit=5)] == [{"path": "whole"}]


def test_what_was_loaded_is_not_unchanged_once_another_content_was_worked_on(hire: Hire, yard: Yard) -> None:
    worker, collection = hire("elsewhere:1:1"), yard.collection_id("interrupted")

    def ingest(content: str, *, end: bool) -> bool:
        """One run, which may be killed after its work and before the ledger knows; True if it was spared the work."""
        run = worker.ledger.open_run(collection=collection, recipe="", recipe_hash="h", sources=[content])
        worker.record(run, collection, found("a", content=content), present=["a"])
        worker.ledger.discovery_finished(run)
        unchanged = worker.ledger.counts(run).unchanged == 1
        for task in worker.queue.claim(run, limit=1):
            if end:
                worker.ledger.loaded([task.id])
        worker.ledger.finish(run)
        return unchanged

    assert not ingest("old", end=True)
    assert ingest("old", end=True)
    assert not ingest("new", end=False)
    assert not ingest("old", end=True), "the catalog may hold the new content"
    assert ingest("old", end=True), "once was enough"
    assert not ingest("new", end=True)
    assert not ingest("old", end=True)


def test_a_file_that_changed_while_it_waited_replaces_what_was_found(hire: Hire, yard: Yard) -> None:
    worker, collection = hire("one"), yard.collection_id("changed")
    run = worker.open_run(collection, *found("a"))
    worker.record(run, collection, found("a", content="2"))
    counts = worker.ledger.counts(run)
    assert (counts.discovered, counts.waiting) == (1, 1)


def test_a_run_that_is_not_there_is_said_so(hire: Hire) -> None:
    with pytest.raises(RunNotFound, match="the ledger has no run 999999999"):
        hire("one").ledger.run(999999999)
