"""Whatever a queue does to its messages, the catalog ends at what the storage holds; nothing is lost or done twice."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import numpy as np
import orjson
import pytest
import rasterio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.core.storage import local_path
from stacyard.ingestor.commands import notify
from stacyard.ingestor.errors import Rejected, RunStopped
from stacyard.ingestor.pipeline import Prepared, Workshop, prepare
from stacyard.ingestor.queue import Task
from stacyard.ingestor.recipe import load_recipe
from stacyard.ingestor.session import Session
from stacyard.ingestor.settings import StreamSettings
from stacyard.ingestor.stream.arrivals import AllowList
from stacyard.ingestor.stream.messages import Messages, TableMessages
from stacyard.ingestor.stream.serve import serve_stream
from stacyard.ingestor.stream.sqs import SqsMessages
from stacyard.ingestor.stream.tally import Tally
from stacyard.ingestor.workplace import make_workers

from .conftest import DEMO, Yard, recipe_of
from .s3_server import Bucket, s3_bucket
from .test_interruptions import children, is_gone, wait_until, workers_of
from .test_items import ITEM

NDVI = DEMO / "sentinel2_ndvi"
DATES = ("20170725T100536", "20170730T100535")
NAMES = tuple(f"S2_{product}_{date}.tif" for date in DATES for product in ("NDVI", "CLM"))


class HereWorkers:
    """Prepares in this process, one task at a time; `seconds` makes it slow."""

    def __init__(self, workshop: Workshop, *, seconds: float = 0) -> None:
        self._workshop = workshop
        self._seconds = seconds
        self._tasks: list[Task] = []

    @property
    def room(self) -> int:
        return 1 - len(self._tasks)

    @property
    def holding(self) -> list[int]:
        return [task.id for task in self._tasks]

    def submit(self, task: Task) -> None:
        self._tasks.append(task)

    def collect(self, _: float) -> list[Prepared]:
        time.sleep(self._seconds)
        tasks, self._tasks = self._tasks, []
        return [prepare(task, self._workshop) for task in tasks]

    def close(self) -> None:
        self._tasks = []


def here(*, seconds: float = 0, kind: type[HereWorkers] = HereWorkers) -> Callable[..., HereWorkers]:
    def hire(_run: int, recipe: Any, **platform: Any) -> HereWorkers:
        workshop = Workshop(
            recipe=recipe,
            assets=platform["storage"].assets,
            directory=platform["directory"],
            database_url=platform["database"].url("ingest"),
            patience_seconds=1,
            threads=1,
        )
        return kind(workshop, seconds=seconds)

    return hire


@dataclass
class Stream:
    """A yard with a queue, and a directory from which objects may be read."""

    yard: Yard
    inbox: Path

    def __post_init__(self) -> None:
        self.inbox.mkdir()
        self.said: list[str] = []
        # of the database that all tests share
        self.yard.query("DELETE FROM stacyard.ingest_message RETURNING id")

    def settings(self, **changes: Any) -> StreamSettings:
        prefixes = [self.inbox.as_uri()]
        return StreamSettings.model_validate({"prefixes": prefixes, "wait_seconds": 0.2, "upkeep_seconds": 1} | changes)

    def notify(self, *paths: Path) -> None:
        assert notify([str(path) for path in paths], platform=self.yard.platform) == len(paths)

    @property
    def waiting(self) -> int:
        return int(str(self.yard.query("SELECT count(*) FROM stacyard.ingest_message")[0]["count"]))

    def drain(self, *recipes: Path, hire: Callable[..., Any] = make_workers, **changes: Any) -> Tally:
        """Serve until nothing is in the queue."""
        deadline = time.monotonic() + 100

        def stop() -> bool:
            assert time.monotonic() < deadline, f"the queue does not become empty: {self.said}"
            return self.waiting == 0

        return serve_stream(
            [(load_recipe(recipe), recipe.read_text()) for recipe in recipes],
            platform=self.yard.platform,
            settings=self.settings(**changes),
            stop=stop,
            say=self.said.append,
            hire=hire,
        )

    def tasks(self, collection: str) -> list[dict[str, Any]]:
        return self.yard.query(
            "SELECT item_id, state::text, attempts, reason FROM stacyard.ingest_task WHERE collection = %s", collection
        )

    def start(self, recipe: Path, **changes: str) -> subprocess.Popen[str]:
        """A worker as a process of its own."""
        environment = {
            **os.environ,
            **self.yard.environment(),
            "STACYARD_STREAM_PREFIXES": orjson.dumps([self.inbox.as_uri()]).decode(),
            **changes,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "stacyard.ingestor.cli", "worker", str(recipe)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def stream(yard: Yard, tmp_path: Path) -> Stream:
    return Stream(yard, tmp_path / "inbox")


def pixels(path: Path) -> Any:
    with rasterio.open(path) as file:
        return file.read()


def darkened(source: Path, target: Path, by: int) -> None:
    """The source with other pixels, in the target's place at once."""
    with rasterio.open(source) as file:
        data, profile = file.read(), file.profile
    beside = target.with_name("new")
    with rasterio.open(beside, "w", **profile) as file:
        file.write(np.where(data == profile["nodata"], data, data - by).astype(data.dtype))
    beside.replace(target)


# an example takes seconds: a smaller one that fails too would cost minutes
@settings(max_examples=8, phases=[Phase.reuse, Phase.generate])
@given(data=st.data())
def test_messages_that_come_one_to_three_times_in_any_order_end_at_what_the_storage_holds(
    data: st.DataObject, database_settings: DatabaseSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("stream")
    yard = Yard(database_settings, StorageSettings(assets=(directory / "assets").as_uri()), directory)
    stream = Stream(yard, directory / "inbox")
    collection = yard.collection_id("any-order")
    recipe = recipe_of("sentinel2_ndvi", collection, directory / "recipe.yaml")
    rewritten = stream.inbox / NAMES[0]
    # contents of one file, one after the other, with the first again
    contents = data.draw(st.lists(st.integers(0, 2), max_size=3), label="contents")
    paths = [stream.inbox / name for name in NAMES]
    late: list[Path] = []
    for number, content in enumerate([0, *contents]):
        if number == 0:
            for path in paths:
                shutil.copy(NDVI / path.name, path)
        else:
            darkened(NDVI / rewritten.name, rewritten, content)
        sent = [*late, *(paths if number == 0 else [rewritten])]
        times = [path for path in sent for _ in range(data.draw(st.integers(1, 3)))]
        order = data.draw(st.permutations(times))
        # some come only after the next content was written
        cut = data.draw(st.integers(0, len(order)))
        now, late = order[:cut], order[cut:]
        if now:
            stream.notify(*now)
            stream.drain(recipe, hire=here())
    if late:
        stream.notify(*late)
        stream.drain(recipe, hire=here())
    items = yard.items(collection)
    assert set(items) == {f"S2_{date}" for date in DATES}
    for item_id, item in items.items():
        for key, product in (("ndvi", "NDVI"), ("clouds", "CLM")):
            stored = local_path(item["assets"][key]["href"])
            np.testing.assert_array_equal(pixels(stored), pixels(stream.inbox / f"S2_{product}_{item_id[3:]}.tif"))
    assert {task["state"] for task in stream.tasks(collection)} == {"loaded"}


class ChangingWorkers(HereWorkers):
    """While they prepare a file for the first time, somebody writes another content over it."""

    change: Callable[[], None] | None = None

    def collect(self, seconds: float) -> list[Prepared]:
        done = super().collect(seconds)
        if done and ChangingWorkers.change is not None:
            change, ChangingWorkers.change = ChangingWorkers.change, None
            change()
        return done


def test_the_newest_content_stays_though_it_came_while_another_was_in_work_or_was_there_before(
    stream: Stream, tmp_path: Path
) -> None:
    collection = stream.yard.collection_id("newest")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    paths = [Path(shutil.copy(NDVI / name, stream.inbox)) for name in NAMES[:2]]

    def shown() -> Any:
        [item] = stream.yard.items(collection).values()
        return pixels(local_path(item["assets"]["ndvi"]["href"]))

    original = pixels(paths[0])
    ChangingWorkers.change = lambda: darkened(NDVI / NAMES[0], paths[0], 7)
    stream.notify(paths[0])
    assert stream.drain(recipe, hire=here(kind=ChangingWorkers)).loaded == 1
    assert ChangingWorkers.change is None
    np.testing.assert_array_equal(shown(), pixels(paths[0]))
    assert not np.array_equal(shown(), original)
    shutil.copy(NDVI / NAMES[0], paths[0])
    stream.notify(paths[0])
    stream.drain(recipe, hire=here())
    np.testing.assert_array_equal(shown(), original)


def test_an_item_waits_for_its_required_assets_and_takes_others_when_they_come(stream: Stream, tmp_path: Path) -> None:
    collection = stream.yard.collection_id("siblings")
    recipe = recipe_of(
        "sentinel2_ndvi", collection, tmp_path / "recipe.yaml", **{"    categorical: true": "    required: false"}
    )
    text = recipe.read_text()
    recipe.write_text(text[: text.index("quality:")] + text[text.index("renders:") :])
    ndvi, clouds = (stream.inbox / name for name in NAMES[:2])
    shutil.copy(NDVI / clouds.name, clouds)
    stream.notify(clouds)
    assert stream.drain(recipe, hire=here()).incomplete == 1
    assert stream.yard.items(collection) == {}
    clouds.rename(tmp_path / clouds.name)
    shutil.copy(NDVI / ndvi.name, ndvi)
    stream.notify(ndvi, clouds)
    tally = stream.drain(recipe, hire=here())
    assert (tally.loaded, tally.removed) == (1, 1)
    (tmp_path / clouds.name).rename(clouds)
    stream.notify(clouds, ndvi)
    stream.drain(recipe, hire=here())
    [item] = stream.yard.items(collection).values()
    assert item["assets"].keys() == {"ndvi", "clouds"}
    # the same again is known: nothing is done
    stream.notify(ndvi, clouds)
    stream.drain(recipe, hire=here())
    assert sorted((task["state"], task["attempts"]) for task in stream.tasks(collection)) == [("loaded", 1)] * 2


def test_of_1000_files_with_one_poison_999_are_loaded_and_one_is_reported(stream: Stream, tmp_path: Path) -> None:
    collection = stream.yard.collection_id("poison")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    paths = [stream.inbox / f"{number:03}.json" for number in range(1000)]
    for number, path in enumerate(paths):
        path.write_bytes(orjson.dumps({**ITEM, "id": f"i{number}"}))
    paths[500].write_bytes(b'{"type": "Feature", "id": ')
    stream.notify(*paths)
    tally = stream.drain(recipe)
    assert len(stream.yard.items(collection)) == 999
    assert (tally.received, tally.done, tally.loaded, tally.rejected, tally.failed) == (1000, 1000, 999, 1, 0)
    [task] = [task for task in stream.tasks(collection) if task["state"] != "loaded"]
    assert f"{paths[500]} is no JSON" in task["reason"]
    # mended, it comes in like any other
    paths[500].write_bytes(orjson.dumps({**ITEM, "id": "i500"}))
    stream.notify(paths[500])
    stream.drain(recipe)
    assert len(stream.yard.items(collection)) == 1000


def test_a_task_that_fails_each_time_ends_in_the_ledger_and_its_message_is_deleted(
    stream: Stream, tmp_path: Path
) -> None:
    stream.yard.settings = stream.yard.settings.model_copy(update={"attempts": 2})
    stream.yard.storage = StorageSettings(assets="s3://absent-bucket/assets")
    collection = stream.yard.collection_id("dead-letter")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    paths = [stream.inbox / name for name in NAMES[:2]]
    for path in paths:
        shutil.copy(NDVI / path.name, path)
    # nothing listens there
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        stream.notify(*paths)
        assert stream.drain(recipe, hire=here()).failed == 2
    [task] = stream.tasks(collection)
    assert (task["state"], task["attempts"]) == ("failed", 2)
    assert f"s3://absent-bucket/assets/{collection}" in task["reason"]


def test_what_is_worked_on_for_longer_than_the_visibility_is_shown_to_nobody_else(
    stream: Stream, tmp_path: Path
) -> None:
    collection = stream.yard.collection_id("slow")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    paths = [stream.inbox / name for name in NAMES[:2]]
    for path in paths:
        shutil.copy(NDVI / path.name, path)
    stream.notify(*paths)
    seen: set[int] = set()
    ended = threading.Event()

    def watch() -> None:
        with stream.yard.connect() as connection:
            while not ended.wait(0.1):
                statement = "SELECT received, visible_at <= now() AS visible FROM stacyard.ingest_message"
                for row in connection.execute(statement).fetchall():
                    if row["received"]:
                        seen.add(int(str(row["received"])) + 10 * bool(row["visible"]))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        stream.drain(recipe, hire=here(seconds=7), visibility_seconds=3)
    finally:
        ended.set()
        thread.join()
    assert seen == {1}, "received more often than once, or visible while in work"


def full(stream: Stream, name: str, tmp_path: Path) -> tuple[str, Path, int]:
    """Rasters of two years in the inbox, and an event of each; collection, recipe, and how many items they are."""
    collection = stream.yard.collection_id(name)
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    paths = [Path(shutil.copy(path, stream.inbox)) for path in sorted(NDVI.glob("*_201[56]*.tif"))]
    stream.notify(*paths)
    return collection, recipe, len(paths) // 2


def loaded(stream: Stream, collection: str) -> int:
    return sum(task["state"] == "loaded" for task in stream.tasks(collection))


@pytest.mark.parametrize("seconds", [0, 25], ids=["no time to drain", "time to drain"])
def test_sigterm_ends_what_is_in_work_and_gives_the_rest_back(stream: Stream, tmp_path: Path, seconds: int) -> None:
    collection, recipe, items = full(stream, "sigterm", tmp_path)
    process = stream.start(recipe, STACYARD_STREAM_DRAIN_SECONDS=str(seconds))
    try:
        wait_until(lambda: loaded(stream, collection) >= 3)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert 3 <= loaded(stream, collection) < items, "the signal came too late to show anything"
    assert {task["state"] for task in stream.tasks(collection)} == {"loaded", "discovered"}
    [row] = stream.yard.query("SELECT bool_and(visible_at <= now()) AS visible FROM stacyard.ingest_message")
    assert row["visible"] is True, "a message is kept from others"
    assert stream.yard.left_in_work() == []
    stream.drain(recipe)
    assert len(stream.yard.items(collection)) == items
    assert [(task["state"], task["attempts"]) for task in stream.tasks(collection)] == [("loaded", 1)] * items


def test_after_kill_9_another_worker_loads_everything_exactly_once(stream: Stream, tmp_path: Path) -> None:
    collection, recipe, items = full(stream, "killed", tmp_path)
    options = {"STACYARD_STREAM_VISIBILITY_SECONDS": "3", "STACYARD_STREAM_BATCH_ITEMS": "20"}
    processes = [stream.start(recipe, **options) for _ in range(2)]
    try:
        wait_until(lambda: loaded(stream, collection) >= 6)
        workers = [*children(processes[0].pid), *workers_of(processes[0].pid)]
        assert workers_of(processes[0].pid)
        processes[0].kill()
        processes[0].communicate()
        wait_until(lambda: all(is_gone(pid) for pid in workers), 10)
        assert loaded(stream, collection) < items, "the kill came too late to show anything"
        wait_until(lambda: stream.waiting == 0, 60)
        processes[1].send_signal(signal.SIGTERM)
        output, _ = processes[1].communicate(timeout=30)
        assert processes[1].returncode == 0, output
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert len(stream.yard.items(collection)) == items
    tasks = stream.tasks(collection)
    assert [task["state"] for task in tasks] == ["loaded"] * items
    assert len({task["item_id"] for task in tasks}) == items
    [row] = stream.yard.query("SELECT content FROM pgstac.collections WHERE id = %s", collection)
    assert row["content"]["extent"]["temporal"]["interval"][0][0].startswith("2015-07")


def test_nothing_is_read_that_no_prefix_allows(stream: Stream, tmp_path: Path) -> None:
    collection = stream.yard.collection_id("refused")
    recipe = recipe_of("naip", collection, tmp_path / "recipe.yaml")
    outside = tmp_path / "outside.json"
    outside.write_bytes(orjson.dumps(ITEM))
    link = stream.inbox / "link.json"
    link.symlink_to(outside)
    (stream.inbox / "catalog.json").write_text('{"links": [{"rel": "item", "href": "../outside.json"}]}')
    session = Session(stream.yard.database.url("ingest"), patience_seconds=1)
    TableMessages(session).send([{"uri": f"{stream.inbox.as_uri()}/../outside.json"}, {"something": "else"}])
    session.close()
    stream.notify(outside, link, stream.inbox / "catalog.json", stream.inbox / "gone.json")
    (stream.inbox / "folder.json").mkdir()
    stream.notify(stream.inbox / "folder.json")
    tally = stream.drain(recipe)
    assert (tally.refused, tally.unmatched, tally.removed, tally.rejected, tally.done) == (4, 1, 1, 1, 7)
    assert stream.yard.items(collection) == {}
    [task] = stream.tasks(collection)
    assert task["reason"].endswith("folder.json is no file")
    allowed = AllowList(["s3://inbox/a/"])
    assert allowed.source("s3://inbox/a/b c.tif") == "s3://inbox/a/b c.tif"
    for uri in ("s3://inbox/ab.tif", "s3://inbox/a/../b.tif", "s3://other/a/b.tif", "http://inbox/a/b.tif", "a.tif"):
        with pytest.raises(Rejected, match="below none of the prefixes"):
            allowed.source(uri)


ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with s3_bucket(monkeypatch) as bucket:
        yield bucket


@contextmanager
def sqs_queue() -> Iterator[tuple[str, Any]]:
    client = boto3.client("sqs")
    url = client.create_queue(QueueName=f"events-{uuid4().hex}")["QueueUrl"]
    yield url, client


def notification(bucket: str, key: str, name: str = "ObjectCreated:Put") -> dict[str, Any]:
    return {"Records": [{"eventName": name, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


def bodies(bucket: str) -> Sequence[dict[str, Any]]:
    """What AWS sends, in all its shapes, and what should not be in such a queue."""
    ndvi, clouds = (f"in box/{name}" for name in NAMES[:2])
    bridge = {"source": "aws.s3", "detail-type": "Object Created"}
    return [
        notification(bucket, ndvi.replace(" ", "+")),
        {**bridge, "detail": {"bucket": {"name": bucket}, "object": {"key": clouds}}},
        {"Type": "Notification", "Message": orjson.dumps(notification(bucket, ndvi.replace(" ", "+"))).decode()},
        notification(bucket, "in+box/broken.json"),
        notification(bucket, "in+box/S2_NDVI_20170725T100536.tif", "ObjectRemoved:Delete"),
        notification(bucket, "in+box/S2_NDVI_20200101T000000.tif"),
        notification(bucket, "elsewhere/S2_NDVI_20170725T100536.tif"),
        {"Event": "s3:TestEvent"},
        {"hello": "world"},
    ]


def test_events_of_s3_in_sqs_become_items_with_motos_server_in_the_place_of_aws(
    bucket: Bucket, database_settings: DatabaseSettings, tmp_path: Path
) -> None:
    yard = Yard(database_settings, StorageSettings(assets=f"s3://{bucket.name}/assets"), tmp_path)
    stream = Stream(yard, tmp_path / "inbox")
    collection = yard.collection_id("sqs")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    for name in NAMES[:2]:
        bucket.put(f"in box/{name}", (NDVI / name).read_bytes())
    with sqs_queue() as (url, client):
        for body in bodies(bucket.name):
            client.send_message(QueueUrl=url, MessageBody=orjson.dumps(body).decode())
        deadline = time.monotonic() + 60
        refusals = iter([(403, "AccessDenied")] * 2)
        bucket.fault = lambda method, path, _: next(refusals, None) if method == "HEAD" and "box" in path else None

        def stop() -> bool:
            names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
            counts = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            assert time.monotonic() < deadline, stream.said
            return {counts[name] for name in names} == {"0"}

        tally = serve_stream(
            [(load_recipe(recipe), recipe.read_text())],
            platform=yard.platform,
            settings=stream.settings(queue=url, prefixes=[f"s3://{bucket.name}/in box/"]),
            stop=stop,
            say=stream.said.append,
            hire=here(),
        )
    [item] = yard.items(collection).values()
    assert item["assets"]["ndvi"]["href"] == f"s3://{bucket.name}/assets/{collection}/S2_20170725T100536/ndvi.tif"
    # the storage refused two objects, whose three messages came back
    assert (tally.received, tally.returned, tally.done) == (12, 3, 9)
    # another prefix, and no event; broken.json; a removal, and what is gone already
    assert (tally.refused, tally.unmatched, tally.removed) == (2, 1, 2)
    assert [(task["state"], task["attempts"]) for task in stream.tasks(collection)] == [("loaded", 1)]


@pytest.fixture(params=["table", "sqs of moto"])
def queue(
    request: pytest.FixtureRequest, stream: Stream, bucket: Bucket
) -> Iterator[tuple[Messages, Callable[[int], None]]]:
    """A queue, and what puts so many messages there."""
    if request.param == "table":
        session = Session(stream.yard.database.url("ingest"), patience_seconds=1)
        table = TableMessages(session)
        yield table, lambda count: table.send([{"number": number} for number in range(count)])
        session.close()
        return
    with sqs_queue() as (url, client):

        def send(count: int) -> None:
            for number in range(count):
                client.send_message(QueueUrl=url, MessageBody=orjson.dumps({"number": number}).decode())

        yield SqsMessages(url), send


def test_both_queues_show_a_message_to_one_at_a_time_until_it_is_deleted(
    queue: tuple[Messages, Callable[[int], None]],
) -> None:
    messages, send = queue
    send(25)
    held = messages.receive(24, wait_seconds=0, visibility_seconds=60)
    assert messages.count() == 25
    assert len({message.id for message in held}) == 24
    [last] = messages.receive(100, wait_seconds=0, visibility_seconds=1)
    assert {orjson.loads(message.body)["number"] for message in [*held, last]} == set(range(25))
    messages.extend([last], seconds=60)
    time.sleep(1.2)
    assert messages.receive(100, wait_seconds=0, visibility_seconds=60) == []
    # what is deleted or given back already hinders no other of its batch
    messages.delete(held[:12])
    messages.delete(held[:23])
    messages.give_back([*held[:12], held[23]])
    [again] = messages.receive(100, wait_seconds=1, visibility_seconds=60)
    assert (again.id, again.received) == (held[23].id, 2)
    assert 1.2 < time.monotonic() - again.sent < 10
    if isinstance(messages, TableMessages):
        # of SQS only AWS itself could tell what an old receipt still does
        messages.give_back([held[23]])
        assert messages.receive(100, wait_seconds=0, visibility_seconds=60) == []
    messages.delete([again, last])
    started = time.monotonic()
    assert messages.receive(100, wait_seconds=1, visibility_seconds=60) == []
    assert 0.9 < time.monotonic() - started < 3


def test_a_queue_that_is_not_there_stops_the_worker_with_a_sentence(bucket: Bucket) -> None:
    url = f"{os.environ['AWS_ENDPOINT_URL']}/123456789012/absent"
    with pytest.raises(RunStopped, match=r"the queue .*/absent cannot be used \(.*NonExistent"):
        SqsMessages(url).receive(1, wait_seconds=0, visibility_seconds=30)
    assert SqsMessages(url).count() is None, "a figure is nothing to stop for"
