"""Nothing is lost: a command killed anywhere, by anything, ends as one that nobody disturbed once it is run again.

Each trial draws from its seed what is killed and when: the command, a process that works for it, a server process of
PostgreSQL or all of PostgreSQL, once or twice. Then the same command is run until it has an end, and catalog, storage
and ledger are held against those of the undisturbed run.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psycopg
import pytest
import rasterio
from affine import Affine
from rich.console import Console

from stacyard.core.settings import StorageSettings
from stacyard.core.storage import local_path
from stacyard.ingestor import commands
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.ledger import Counts
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.report import RunSummary
from stacyard.ingestor.sources import itemfiles
from stacyard.local.postgres import EmbeddedCluster, running

from .conftest import Yard
from .test_interruptions import children, is_gone, wait_until, workers_of
from .test_items import ITEM

# so small that there is time to strike
BLOCK_ITEMS = 20
TRIALS = 51
MOMENT_SECONDS = 0.05
# killed, or without a database for too long
CUT_SHORT = (-signal.SIGKILL, 3)

IMAGERY = """
collection: {id: COLLECTION, title: t, description: d, license: other}
kind: imagery
files: {pattern: '(?P<name>.+)_(?P<band>red|nir)\\.tif', item: '{name}'}
time: {datetime: 2020-01-01}
assets:
  red: {match: {band: red}, nodata: 0}
  nir: {match: {band: nir}, nodata: 0}
"""
ITEMS = """
collection: {id: COLLECTION, title: t, description: d, license: other, partition: year}
kind: items
"""
RUN = f"""
import sys
from pathlib import Path
from rich.console import Console
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor import commands
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.load.bulk import Mode
from stacyard.ingestor.run import Platform
from stacyard.ingestor.settings import IngestorSettings
from stacyard.ingestor.sources import itemfiles
itemfiles._BLOCK_ITEMS = {BLOCK_ITEMS}
source, recipe, mode = sys.argv[1:]
try:
    summary = commands.ingest(
        [source], Path(recipe), console=Console(width=300), mode=Mode(mode),
        platform=Platform(database=DatabaseSettings(), storage=StorageSettings(), settings=IngestorSettings()),
    )
except RunStopped as error:
    print(error)
    sys.exit(error.exit_code)
sys.exit(summary.exit_code)
"""


@dataclass(frozen=True)
class Work:
    """What a command is told to do."""

    name: str
    recipe: str
    source: Path
    processes: int
    mode: Mode = Mode.UPSERT
    #: loaded before, and partly gone since
    before: Path | None = None


@dataclass(frozen=True)
class End:
    """What there is when a command has come to its end. The collection's own id is written COLLECTION."""

    exit_code: int
    counts: Counts
    collection: dict[str, Any]
    items: dict[str, dict[str, Any]]
    files: dict[str, str]


@dataclass
class Ground:
    """A cluster that may be killed, and what the undisturbed runs have come to."""

    cluster: EmbeddedCluster
    yard: Yard
    works: dict[str, Work]
    ends: dict[str, End] = field(default_factory=dict)
    tasks: dict[str, int] = field(default_factory=dict)
    struck: list[bool] = field(default_factory=list)

    def recipe(self, work: Work, collection: str) -> Path:
        path = self.yard.directory / f"{collection}.yaml"
        path.write_text(work.recipe.replace("COLLECTION", collection))
        return path

    def prepare(self, work: Work, collection: str) -> None:
        if work.before is not None:
            assert self.ingest(work, collection, work.before, Mode.UPSERT).exit_code == 0

    def start(self, work: Work, collection: str, *, prelude: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", prelude + RUN, work.source, self.recipe(work, collection), work.mode],
            env={**os.environ, **self.yard.environment(), "STACYARD_INGEST_PROCESSES": str(work.processes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ingest(self, work: Work, collection: str, source: Path, mode: Mode) -> RunSummary:
        """The same command in this process, again until it has an end."""
        recipe, console = self.recipe(work, collection), Console(file=self.yard.output, width=300)
        attempts = 0
        while True:
            attempts += 1
            try:
                return commands.ingest([str(source)], recipe, platform=self.yard.platform, console=console, mode=mode)
            except RunStopped:
                if attempts == 5:
                    raise

    def last_run(self, collection: str) -> RunSummary:
        [run] = self.yard.query("SELECT max(id) AS id FROM stacyard.ingest_run WHERE collection = %s", collection)
        return commands.show_run(int(str(run["id"])), platform=self.yard.platform)

    def ended_tasks(self, collection: str) -> int:
        """How many tasks of the run that is not finished have ended; -1 if there is no such run, or no answer."""
        statement = (
            "SELECT count(task.id) FILTER (WHERE state NOT IN ('discovered', 'running')) AS ended"
            " FROM stacyard.ingest_run AS run LEFT JOIN stacyard.ingest_task AS task ON task.run_id = run.id"
            " WHERE run.collection = %s AND run.finished_at IS NULL GROUP BY run.id"
        )
        try:
            return max((int(str(row["ended"])) for row in self.yard.query(statement, collection)), default=-1)
        except psycopg.OperationalError:
            return -1

    def end(self, work: Work, collection: str, summary: RunSummary) -> End:
        rows = self.yard.query(
            "SELECT to_jsonb(item) - 'private' AS item FROM pgstac.items AS item WHERE collection = %s", collection
        )
        items = [json.loads(json.dumps(row["item"]).replace(collection, "COLLECTION")) for row in rows]
        assert len({item["id"] for item in items}) == len(items), "an item is in the catalog twice"
        for href in _hrefs(self.yard, collection) if work.recipe == IMAGERY else ():
            path = local_path(href)
            assert path is not None
            assert path.is_file(), f"an item names {href}, which is not there"
        [row] = self.yard.query("SELECT content FROM pgstac.collections WHERE id = %s", collection)
        root = self.yard.directory / "assets" / collection
        return End(
            exit_code=summary.exit_code,
            counts=replace(summary.counts, unchanged=0),
            collection=json.loads(json.dumps(row["content"]).replace(collection, "COLLECTION")),
            items={item["id"]: item for item in items},
            files={
                str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(root.rglob("*"))
                if path.is_file()
            },
        )


def _hrefs(yard: Yard, collection: str) -> set[str]:
    return {asset["href"] for item in yard.items(collection).values() for asset in item["assets"].values()}  # type: ignore[attr-defined]


def make_works(directory: Path) -> Iterator[Work]:
    images = directory / "images"
    images.mkdir()
    pixels = np.random.default_rng(7).integers(1, 9000, (2, 12, 96, 96), dtype="uint16")
    for number, scene in itertools.product(range(12), (0, 1)):
        path = images / f"s{number:02}_{('red', 'nir')[scene]}.tif"
        profile = {"driver": "GTiff", "width": 96, "height": 96, "count": 1, "dtype": "uint16", "crs": "EPSG:32633"}
        with rasterio.open(path, "w", **profile, transform=Affine(10, 0, 5e5 + 960 * number, 0, -10, 5e6)) as dataset:
            dataset.write(pixels[scene, number], 1)
    # one is beyond help, and must stay so
    (images / "s05_nir.tif").write_bytes(b"no raster")
    yield Work("imagery", IMAGERY, images, 1)

    def item(number: int, **properties: Any) -> bytes:
        point = [number % 360 - 180 + 0.5, number % 170 - 85 + 0.5]
        time = f"{2015 + number % 4}-0{1 + number % 9}-01T00:00:00Z"
        return orjson.dumps(
            {
                **ITEM,
                "id": f"i{number:04}",
                "geometry": {"type": "Point", "coordinates": point},
                "bbox": [*point, *point],
                "properties": {"datetime": time, "number": number, **properties},
            }
        )

    lines = [item(number, updated="2020-01-01T00:00:00Z") for number in range(3000)]
    old = directory / "old.ndjson"
    old.write_bytes(b"\n".join([*lines[500:1500], *(item(number) for number in range(3000, 3200))]))
    # some are no items, some come twice in distant blocks: as they were, newer, and other without a word why
    lines[700] = b"{"
    lines[1900] = orjson.dumps({**ITEM, "id": "nowhere", "geometry": None})
    lines[100], lines[2500] = item(2900), item(100, updated="2021-01-01T00:00:00Z")
    lines[1234] = item(1233, updated="2020-01-01T00:00:00Z", cloudy=True)
    new = directory / "new.ndjson"
    new.write_bytes(b"\n".join(lines))
    yield Work("items", ITEMS, new, 2)
    yield Work("mirror", ITEMS, new, 2, mode=Mode.MIRROR, before=old)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    cluster = EmbeddedCluster(directory / "data")
    (directory / "assets").mkdir()
    with pytest.MonkeyPatch.context() as patch, running(cluster) as database:
        patch.setattr(itemfiles, "_BLOCK_ITEMS", BLOCK_ITEMS)
        yard = Yard(database, StorageSettings(assets=(directory / "assets").as_uri()), directory)
        yard.settings = yard.settings.model_copy(update={"processes": 1, "flush_seconds": 0.05})
        ground = Ground(cluster, yard, {work.name: work for work in make_works(directory)})
        for work in ground.works.values():
            collection = f"calm-{work.name}"
            ground.prepare(work, collection)
            with ground.start(work, collection) as process:
                output, _ = process.communicate(timeout=120)
            summary = ground.last_run(collection)
            [tasks] = yard.query("SELECT count(*) FROM stacyard.ingest_task WHERE run_id = %s", summary.run.id)
            ground.tasks[work.name] = int(str(tasks["count"]))
            assert process.returncode == summary.exit_code == 1, output
            ground.ends[work.name] = ground.end(work, collection, summary)
        yield ground
    shutil.rmtree(directory)
    # a blow that falls after the end shows nothing
    assert 2 * sum(ground.struck) >= len(ground.struck)


TAKES_NOTHING_DOWN = """
import os
from stacyard.ingestor.intake import Intake
Intake.take = lambda self, done: os.kill(os.getpid(), 9)
"""


def test_what_was_loaded_just_before_a_kill_is_announced_by_the_run_that_goes_on(ground: Ground) -> None:
    def revision() -> object:
        statement = "SELECT revision FROM stacyard.catalog_revision WHERE collection = 'silent'"
        return ground.yard.query(statement)[0]["revision"]

    source = ground.yard.directory / "silent.ndjson"
    work = Work("silent", ITEMS, source, 1)
    source.write_bytes(orjson.dumps({**ITEM, "text": "old"}))
    assert ground.ingest(work, "silent", source, Mode.UPSERT).exit_code == 0
    source.write_bytes(orjson.dumps({**ITEM, "text": "new"}))
    before = revision()
    with ground.start(work, "silent", prelude=TAKES_NOTHING_DOWN) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert ground.yard.items("silent")["a"]["text"] == "new"
    assert revision() == before
    assert ground.ingest(work, "silent", source, Mode.UPSERT).counts.unchanged == 1
    assert revision() != before


def strike(what: str, process: subprocess.Popen[str], ground: Ground) -> None:
    """Kill it as the kernel kills what needs too much memory."""
    if what == "command":
        process.kill()
        process.wait()
        return
    if what == "worker":
        wait_until(lambda: bool(_workers(process)) or process.poll() is not None)
        victims = _workers(process)[:1]
    else:
        [server] = (ground.cluster.directory / "postmaster.pid").read_text().splitlines()[:1]
        # the children are the sessions, and the writers of PostgreSQL itself
        victims = [int(server)] if what == "postgresql" else [children(int(server))[-1]]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    if what == "postgresql":
        wait_until(lambda: is_gone(victims[0]))
        ground.yard.database = ground.cluster.start()


def _workers(process: subprocess.Popen[str]) -> list[int]:
    try:
        return workers_of(process.pid)
    except FileNotFoundError:
        return []


@pytest.mark.parametrize("seed", range(TRIALS))
def test_a_killed_run_ends_as_an_undisturbed_one(seed: int, ground: Ground) -> None:
    chance = random.Random(seed)
    work = ground.works[("imagery", "items", "mirror")[seed % 3]]
    collection = f"trial-{seed}"
    # each when so many of a thousand tasks have ended, and a moment later
    blows = sorted(
        (chance.randrange(1000), chance.choice(["command", "command", "worker", "session", "postgresql"]))
        for _ in range(chance.choice([1, 1, 2]))
    )
    told = f"seed {seed}: {work.name}, {blows}"
    ground.prepare(work, collection)
    process = ground.start(work, collection)
    try:
        for share, what in blows:
            ended = ground.tasks[work.name] * share // 1000
            wait_until(lambda: ground.ended_tasks(collection) >= ended or process.poll() is not None)  # noqa: B023
            time.sleep(chance.random() * MOMENT_SECONDS)
            ground.struck.append(process.poll() is None)
            if process.poll() is None:
                strike(what, process, ground)
            if process.poll() in CUT_SHORT and (share, what) != blows[-1]:
                process.communicate()
                process = ground.start(work, collection)
        output, _ = process.communicate(timeout=60)
        assert process.returncode in (1, *CUT_SHORT), f"{told}\n{output}"
        # Python gives the same code to a fault of ours
        assert "Traceback" not in output, f"{told}\n{output}"
    finally:
        process.kill()
        process.communicate()
    # a run that has ended must have lost nothing; another would mend it, and nobody would see
    summary = (
        ground.ingest(work, collection, work.source, work.mode)
        if process.returncode in CUT_SHORT
        else ground.last_run(collection)
    )
    assert ground.yard.left_in_work() == [], told
    end, wanted = ground.end(work, collection, summary), ground.ends[work.name]
    assert end.counts == wanted.counts, told
    assert end.items == wanted.items, told
    assert end.collection == wanted.collection, told
    commands.sweep(
        collection, platform=ground.yard.platform, console=Console(file=ground.yard.output), grace=timedelta(0)
    )
    assert ground.end(work, collection, summary) == wanted, told
