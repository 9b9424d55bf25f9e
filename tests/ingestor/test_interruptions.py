"""Whatever ends an ingest, the ledger adds up and the same command finishes the job."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.postgres import EmbeddedCluster, running

from .conftest import DEMO, Yard, recipe_of

COMMAND = """
import sys
from pathlib import Path
from rich.console import Console
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.commands import ingest
from stacyard.ingestor.errors import RunStopped
from stacyard.ingestor.run import Platform
from stacyard.ingestor.settings import IngestorSettings
try:
    summary = ingest(
        [sys.argv[1]], Path(sys.argv[2]), console=Console(width=300),
        platform=Platform(database=DatabaseSettings(), storage=StorageSettings(), settings=IngestorSettings()),
    )
except RunStopped as error:
    print(error)
    sys.exit(error.exit_code)
sys.exit(summary.exit_code)
"""


def start(yard: Yard, source: Path, recipe: Path, **options: object) -> subprocess.Popen[str]:
    environment = {**os.environ, **yard.environment()}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, source, recipe],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def loaded(yard: Yard, collection: str) -> int:
    statement = "SELECT count(*) FROM stacyard.ingest_task WHERE collection = %s AND state = 'loaded'"
    return int(str(yard.query(statement, collection)[0]["count"]))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def workers_of(pid: int) -> list[int]:
    """The processes that work for a command: forked off a child of it."""
    forking = [child for child in children(pid) if b"multiprocessing.forkserver" in command_line(child)]
    return [worker for child in forking for worker in children(child)]


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def run_states(yard: Yard, collection: str) -> list[dict[str, object]]:
    return yard.query(
        "SELECT run_id, count(*) AS tasks, count(DISTINCT item_id) AS items, array_agg(DISTINCT state::text) AS states"
        " FROM stacyard.ingest_task WHERE collection = %s GROUP BY run_id",
        collection,
    )


def test_after_kill_9_the_same_command_loads_everything_exactly_once(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("killed")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    process = start(yard, DEMO / "sentinel2_ndvi", recipe)
    try:
        wait_until(lambda: loaded(yard, collection) >= 3)
        workers = [*children(process.pid), *workers_of(process.pid)]
        assert workers_of(process.pid)
    finally:
        process.kill()
        process.communicate()
    wait_until(lambda: all(is_gone(pid) for pid in workers), 10)
    assert loaded(yard, collection) < 68, "the kill came too late to show anything"
    summary = yard.ingest(recipe, DEMO / "sentinel2_ndvi")
    assert (summary.exit_code, summary.counts.loaded, summary.counts.unchanged) == (0, 68, 0)
    assert [(row["tasks"], row["items"], row["states"]) for row in run_states(yard, collection)] == [
        (68, 68, ["loaded"])
    ]
    assert len(yard.items(collection)) == 68


def test_a_signal_gives_the_work_back_and_leaves_nothing_behind(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("stopped")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    process = start(yard, DEMO / "sentinel2_ndvi", recipe)
    wait_until(lambda: loaded(yard, collection) >= 3)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 130, output
    assert "run the same command again to go on" in output
    assert yard.left_in_work() == []
    waiting = yard.query(
        "SELECT state::text, attempts, worker FROM stacyard.ingest_task WHERE collection = %s AND state <> 'loaded'",
        collection,
    )
    assert waiting
    assert all(row == {"state": "discovered", "attempts": 0, "worker": None} for row in waiting)
    assert yard.ingest(recipe, DEMO / "sentinel2_ndvi").counts.loaded == 68


def test_a_worker_process_that_dies_costs_an_attempt_and_not_the_run(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("crashed")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    process = start(yard, DEMO / "sentinel2_ndvi", recipe)
    wait_until(lambda: loaded(yard, collection) >= 3)
    [worker] = workers_of(process.pid)
    os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    attempts = yard.query("SELECT max(attempts) FROM stacyard.ingest_task WHERE collection = %s", collection)
    assert attempts == [{"max": 2}]
    assert len(yard.items(collection)) == 68


def test_two_commands_at_the_same_time_share_one_run_and_nothing_is_done_twice(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("shared")
    recipe = recipe_of("sentinel2_ndvi", collection, tmp_path / "recipe.yaml")
    processes = [start(yard, DEMO / "sentinel2_ndvi", recipe) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    tasks = yard.query(
        "SELECT count(DISTINCT run_id) AS runs, count(*) AS tasks, count(DISTINCT item_id) AS items,"
        " count(DISTINCT worker) AS workers, max(attempts) AS attempts, sum(unchanged) AS unchanged,"
        " array_agg(DISTINCT state::text) AS states FROM stacyard.ingest_task WHERE collection = %s",
        collection,
    )
    assert tasks == [
        {"runs": 1, "tasks": 68, "items": 68, "workers": 2, "attempts": 1, "unchanged": 0, "states": ["loaded"]}
    ]
    assert len(yard.items(collection)) == 68
    [run] = yard.query(
        "SELECT finished_at IS NOT NULL AS finished FROM stacyard.ingest_run WHERE collection = %s", collection
    )
    assert run["finished"]


@pytest.fixture
def own_cluster() -> Iterator[tuple[EmbeddedCluster, DatabaseSettings]]:
    """A cluster that a test may stop."""
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    cluster = EmbeddedCluster(directory / "data")
    try:
        with running(cluster) as settings:
            yield cluster, settings
    finally:
        shutil.rmtree(directory)


def test_a_database_that_comes_back_is_waited_for_and_one_that_does_not_stops_the_run(
    own_cluster: tuple[EmbeddedCluster, DatabaseSettings], tmp_path: Path
) -> None:
    cluster, database = own_cluster
    yard = Yard(database, StorageSettings(assets=(tmp_path / "assets").as_uri()), tmp_path)
    recipe = recipe_of("sentinel2_ndvi", "restarted", tmp_path / "recipe.yaml")
    impatient = {"STACYARD_INGEST_DATABASE_PATIENCE_SECONDS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in impatient.items():
            patch.setenv(name, value)
        process = start(yard, DEMO / "sentinel2_ndvi", recipe)
    wait_until(lambda: loaded(yard, "restarted") >= 3)
    cluster.stop()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 3, output
    assert "the database went away" in output
    assert "run the same command again to go on" in output
    cluster.start()
    again = threading.Timer(1.0, lambda: (cluster.stop(), time.sleep(1), cluster.start()))
    again.start()
    yard.settings = yard.settings.model_copy(update={"processes": 1})
    summary = yard.ingest(recipe, DEMO / "sentinel2_ndvi")
    again.join()
    assert (summary.exit_code, summary.counts.loaded, summary.counts.unchanged) == (0, 68, 0)
    assert len(yard.items("restarted")) == 68


def test_a_full_disk_stops_the_run_with_the_remedy_and_leaves_nothing(yard: Yard, tmp_path: Path) -> None:
    collection = yard.collection_id("full")
    recipe = recipe_of("landsat8", collection, tmp_path / "recipe.yaml")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    # no file may grow beyond this; GDAL meets it as it meets a full disk
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))

    process = start(yard, DEMO / "landsat8", recipe, preexec_fn=limit)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 3, output
    assert f"no space left in {yard.settings.work_directory}" in output
    assert "STACYARD_INGEST_WORK_DIRECTORY" in output
    assert yard.left_in_work() == []
    assert not list((tmp_path / "assets").rglob("*.tif"))
    assert yard.items(collection) == {}
    assert yard.ingest(recipe, DEMO / "landsat8").counts.loaded == 2
