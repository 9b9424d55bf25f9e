"""What is taken from a stream's ledger is missed by nobody: no event, however late, and no count."""

from __future__ import annotations

import io
import shutil
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from stacyard.ingestor.commands import show_run
from stacyard.ingestor.ledger import Counts, Ledger, State
from stacyard.ingestor.load.catalog import Catalog
from stacyard.ingestor.queue import TableQueue, Task
from stacyard.ingestor.report import print_summary
from stacyard.ingestor.session import Session
from stacyard.ingestor.sources.found import Found
from stacyard.ingestor.stream import retention
from stacyard.ingestor.stream.ledger import StreamLedger
from stacyard.ingestor.stream.retention import Retention
from stacyard.ingestor.stream.tally import Tally

from .conftest import Yard, recipe_of
from .test_items import ITEM
from .test_load import item, load, new_collection, session  # noqa: F401
from .test_streaming import NAMES, NDVI, Stream, darkened, here, stream  # noqa: F401

LONG_AGO = timedelta(0)


def prune(world: World, *, keep: timedelta = LONG_AGO) -> int:
    """One whole round; returns how many tasks were deleted."""
    now = [0.0]
    pruning = Retention(world.session, {world.run: world.collection}, keep=keep, clock=lambda: now[0])
    deleted = 0
    # the round is over when the next batch is hours away
    while pruning._next_while_idle < 3600:
        now[0] = pruning._next_while_idle
        deleted += pruning.work(idle=True)
        assert now[0] < 1000, "a round does not end"
    return deleted


@dataclass
class World:
    """A catalog with its ledger, served by a stream, and by a command now and then."""

    yard: Yard
    session: Session
    name: str
    collection: str = field(init=False)
    run: int = field(init=False)

    def __post_init__(self) -> None:
        self.collection = new_collection(self.yard, self.session, self.name)
        self.stream = StreamLedger(self.session, worker=self.name)
        self.ledger = Ledger(self.session, worker=self.name, attempts=1)
        self.run = self.stream.open_run(collection=self.collection, recipe="", recipe_hash="h")

    def present(self, found: Found) -> set[str]:
        return Catalog(self.session).present(self.collection, [found.item_id])

    def event(self, found: Found, end: State) -> bool:
        """What a worker does with one event, to the end; True if the content was brought in, or tried to be."""
        keyed = {found.key(self.collection, "h"): found}
        self.stream.supersede(self.run, keyed)
        self.ledger.record(
            self.run, collection=self.collection, recipe_hash="h", found=[found], present=self.present(found)
        )
        self.stream.reopen(self.run, keyed, present=self.present(found))
        tasks = self.stream.claim(self.run, keyed, limit=1, holding=[])
        self.work(tasks, found, end)
        return bool(tasks)

    def command(self, found: Found, end: State) -> bool:
        """What `ingest` does with the same file."""
        run = self.ledger.open_run(collection=self.collection, recipe="", recipe_hash="h", sources=["inbox"])
        self.ledger.record(run, collection=self.collection, recipe_hash="h", found=[found], present=self.present(found))
        self.ledger.discovery_finished(run)
        tasks = TableQueue(self.session, worker=self.name).claim(run, limit=1)
        self.work(tasks, found, end)
        assert self.ledger.finish(run)
        return bool(tasks)

    def work(self, tasks: list[Task], found: Found, end: State) -> None:
        for task in tasks:
            match end:
                case State.LOADED:
                    document = item(self.collection, found.item_id, found=found.content["data"])
                    load(self.session, self.collection, document, run=self.run, task=task.id)
                    self.ledger.loaded([task.id])
                case State.REJECTED:
                    self.ledger.rejected(task.id, "not good enough")
                case _:
                    self.ledger.failed(task.id, "an error", retry=False)

    def delete(self, item_id: str) -> None:
        self.yard.query(
            "DELETE FROM pgstac.items WHERE collection = %s AND id = %s RETURNING id", self.collection, item_id
        )

    @property
    def catalog(self) -> dict[str, object]:
        rows = self.yard.query(
            "SELECT id, content -> 'properties' -> 'found' AS found FROM pgstac.items WHERE collection = %s",
            self.collection,
        )
        return {str(row["id"]): row["found"] for row in rows}

    @property
    def counts(self) -> Counts:
        return self.ledger.counts(self.run)


# of "shared" two files have the same id, in different directories; "gone" may go from the catalog, and its second asset
# need not be there
FILES = ["plain/a", "gone/a", "gone/a+gone/b", "shared/a", "shared/b"]
GOOD, BAD, ERROR = State.LOADED, State.REJECTED, State.FAILED
Step = tuple[str, str, int | None, State]
# with another content than before, or the same
steps = st.one_of(
    st.tuples(
        st.sampled_from(["event", "event", "event", "command"]),
        st.sampled_from([*FILES, "plain/a", "gone/a"]),
        st.none() | st.integers(0, 2),
        st.sampled_from([GOOD, GOOD, GOOD, GOOD, BAD, ERROR]),
    ),
    st.just(("delete", "", None, GOOD)),
    st.just(("prune", "", None, GOOD)),
)
PRUNE, DELETE = ("prune", "", None, GOOD), ("delete", "", None, GOOD)


def event(file: str, content: int | None = None, end: State = GOOD) -> Step:
    return "event", file, content, end


@settings(
    max_examples=20,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(steps, min_size=6, max_size=30))
# the same again, and what was there before
@example([event("plain/a", 0), event("plain/a", 1), PRUNE, event("plain/a"), PRUNE, event("plain/a", 0)])
# what failed is tried again once another content was loaded after it, also if the item is gone since
@example([event("gone/a", 0, ERROR), *(event("gone/a+gone/b", n) for n in (1, 2)), PRUNE, event("gone/a", 0)])
@example([event("gone/a", 0, ERROR), event("gone/a+gone/b", 1), DELETE, PRUNE, event("gone/a", 0)])
# a command loaded it before the stream did, and would take it for unchanged
@example([("command", "plain/a", 0, GOOD), event("plain/a", 1), PRUNE, ("command", "plain/a", 0, GOOD)])
# an id from another place
@example([event("shared/a", 0), event("shared/a", 1), PRUNE, event("shared/b", 2), PRUNE, event("shared/a")])
def test_a_pruned_ledger_decides_as_a_whole_one(
    yard: Yard,
    session: Session,  # noqa: F811
    drawn: list[Step],
) -> None:
    whole, pruned = (World(yard, session, name) for name in ("whole", "pruned"))
    contents = dict.fromkeys(FILES, 0)
    for step, file, content, end in drawn:
        if step == "delete":
            whole.delete("gone")
            pruned.delete("gone")
        elif step == "prune":
            before = pruned.counts
            deleted = prune(pruned)
            assert pruned.counts == replace(before, pruned=before.pruned + deleted)
        else:
            contents[file] = contents[file] if content is None else content
            source = {"files": {f"asset {number}": path for number, path in enumerate(file.split("+"))}}
            found = Found(item_id=file.split("/")[0], source=source, content={"data": str(contents[file])})
            act = World.event if step == "event" else World.command
            worked = {world.name: act(world, found, end) for world in (whole, pruned)}
            # one may do in vain what the other knows
            for world in (whole, pruned):
                if not worked[world.name] and any(worked.values()):
                    assert world.catalog[found.item_id] == found.content["data"], (step, file)
        assert pruned.catalog == whole.catalog
        assert pruned.counts.add_up


def test_a_batch_is_small_and_comes_when_the_worker_is_idle_or_has_been_busy_for_minutes(
    yard: Yard,
    session: Session,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention, "BATCH", 4)
    world = World(yard, session, "bounded")
    for content in range(3):
        for name in ("a", "b", "c", "d", "e"):
            found = Found(item_id=name, source={"files": {"data": name}}, content={"data": str(content)})
            assert world.event(found, GOOD)
    assert prune(world, keep=timedelta(days=1)) == 0, "they are of today"
    now = [0.0]
    pruning = Retention(session, {world.run: world.collection}, keep=LONG_AGO, clock=lambda: now[0])
    deleted = []
    for idle, at in [(False, 0), (True, 1), (True, 1.5), (False, 120), (False, 121), (True, 122), (True, 123)]:
        now[0] = at
        deleted.append(pruning.work(idle=idle))
    # at 1, 121, 122 and 123 s; which four of the fifteen come first, the hashes say
    assert [deleted[number] for number in (0, 2, 3)] == [0, 0, 0]
    assert all(number <= 4 for number in deleted)
    assert (sum(deleted), world.counts.loaded, world.counts.pruned) == (10, 15, 10)
    for at in (124, 125):
        now[0] = at
        assert pruning.work(idle=True) == 0, "that was all"
    assert world.event(Found(item_id="a", source={"files": {"data": "a"}}, content={"data": "9"}), GOOD)
    deleted = []
    for at in (400, 21000, *range(22000, 22010)):
        now[0] = at
        deleted.append(pruning.work(idle=True))
    assert (deleted[:2], sum(deleted)) == ([0, 0], 1), "a round begins some hours after the last"


def test_a_stream_keeps_the_last_task_of_each_item_and_what_it_needs_no_more_is_a_number_of_its_run(
    stream: Stream,  # noqa: F811
    tmp_path: Path,
) -> None:
    collection = stream.yard.collection_id("retention")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    ndvi, _ = (Path(shutil.copy(NDVI / name, stream.inbox)) for name in NAMES[:2])
    tallies: list[Tally] = []
    # the last of these is known
    for darker in (0, 1, 2, 2):
        if darker == len(tallies):
            darkened(NDVI / ndvi.name, ndvi, darker)
        stream.notify(ndvi)
        tallies.append(stream.drain(recipe, hire=here(), retention_days=1e-9))
    assert [tally.loaded for tally in tallies] == [1, 1, 1, 1]
    assert sum(tally.pruned for tally in tallies) == 2
    assert [(task["state"], task["attempts"]) for task in stream.tasks(collection)] == [("loaded", 1)]
    [row] = stream.yard.query("SELECT DISTINCT run_id FROM stacyard.ingest_task WHERE collection = %s", collection)
    summary = show_run(int(str(row["run_id"])), platform=stream.yard.platform)
    assert summary.counts.add_up
    assert (summary.counts.discovered, summary.counts.loaded, summary.counts.pruned) == (3, 3, 2)
    assert summary.to_json()["counts"]["pruned"] == 2
    output = io.StringIO()
    print_summary(summary, Console(file=output, width=80))
    assert "of which pruned" in output.getvalue()


def test_an_old_file_of_items_that_is_announced_again_does_not_put_its_items_back(
    stream: Stream,  # noqa: F811
    tmp_path: Path,
) -> None:
    collection = stream.yard.collection_id("files")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    older, newer = stream.inbox / "monday.json", stream.inbox / "tuesday.json"
    for path in (older, newer, older):
        path.write_bytes(orjson.dumps({**ITEM, "id": "i", "properties": {**ITEM["properties"], "day": path.stem}}))
        stream.notify(path)
        stream.drain(recipe, retention_days=1e-9)
    [item] = stream.yard.items(collection).values()
    assert item["properties"]["day"] == "tuesday"
