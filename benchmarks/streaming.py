"""How long it takes from the event of a file to the item that searches find: idle, and with many events at once.

A worker runs as an operator starts it, on the queue that is a table. The rasters are real, 100 x 100 pixels, each under
a name of its own. The time begins when the event is sent, and ends when the item is in the catalog.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.figures import machine
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.commands import notify
from stacyard.ingestor.run import Platform
from stacyard.ingestor.settings import IngestorSettings

RASTERS = 300
ALONE = 20
_RASTER = Path(__file__).parent.parent / "demo" / "sentinel2_ndvi" / "S2_NDVI_20170725T100536.tif"
_RECIPE = """
collection: {{id: {collection}, title: Benchmark, description: Rasters of a benchmark., license: other}}
kind: imagery
files: {{pattern: 'B_(?P<time>\\d{{8}}T\\d{{6}})\\.tif', item: 'B_{{time}}'}}
time: {{group: time, format: '%Y%m%dT%H%M%S'}}
assets: {{ndvi: {{nodata: -32768}}}}
"""
_ARRIVED = "SELECT id FROM pgstac.items WHERE collection = %s"
_LONGEST_SECONDS = 300


def run_streaming(
    database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Latencies of single events to an idle worker, and of 300 at once.

    Raises:
        RuntimeError: an item did not arrive, or the worker ended.
    """
    platform = Platform(database=database, storage=storage, settings=IngestorSettings())
    with tempfile.TemporaryDirectory(prefix="stacyard-streaming-") as name:
        directory = Path(name)
        collection = f"benchmark-{uuid4().hex[:8]}"
        recipe = directory / "recipe.yaml"
        recipe.write_text(_RECIPE.format(collection=collection))
        with _worker(recipe, directory, database, storage) as process:
            say("a first event, while the worker comes up")
            _latencies(_rasters(directory, 0, 1), platform, collection, process)
            say(f"{ALONE} events, one after the other")
            alone = [
                latency
                for number in range(1, 1 + ALONE)
                for latency in _latencies(_rasters(directory, number, 1), platform, collection, process)
            ]
            say(f"{RASTERS} events at once")
            together = _latencies(_rasters(directory, 1 + ALONE, RASTERS), platform, collection, process)
        with connect(database.url("ingest"), application_name="stacyard-bench") as connection:
            connection.execute("SELECT pgstac.delete_collection(%s)", [collection])
    return [_figure("streaming-idle", alone), _figure(f"streaming-{RASTERS}", together)]


@contextmanager
def _worker(
    recipe: Path, directory: Path, database: DatabaseSettings, storage: StorageSettings
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "STACYARD_DATABASE_INGEST_URL": database.url("ingest"),
        "STACYARD_STORAGE_ASSETS": storage.assets,
        "STACYARD_INGEST_WORK_DIRECTORY": str(directory / "work"),
        "STACYARD_STREAM_PREFIXES": f'["{directory.as_uri()}/"]',
    }
    command = [sys.executable, "-m", "stacyard.ingestor.cli", "worker", str(recipe)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _rasters(directory: Path, first: int, count: int) -> list[Path]:
    moments = (datetime(2020, 1, 1) + timedelta(hours=first + number) for number in range(count))
    return [Path(shutil.copy(_RASTER, directory / f"B_{moment:%Y%m%dT%H%M%S}.tif")) for moment in moments]


def _latencies(
    paths: Sequence[Path], platform: Platform, collection: str, process: subprocess.Popen[bytes]
) -> list[float]:
    """Seconds from the events to each of their items, in the order in which they arrive."""
    waiting = {path.stem for path in paths}
    latencies: list[float] = []
    started = time.perf_counter()
    notify([str(path) for path in paths], platform=platform)
    with connect(platform.database.url("ingest"), application_name="stacyard-bench") as connection:
        while waiting:
            arrived = {row[0] for row in connection.execute(_ARRIVED, [collection]).fetchall()} & waiting
            now = time.perf_counter() - started
            latencies += [now] * len(arrived)
            waiting -= arrived
            if now > _LONGEST_SECONDS or process.poll() is not None:
                raise RuntimeError(f"{len(waiting)} items did not arrive; the worker's exit code is {process.poll()}")
            time.sleep(0.01)
    return latencies


def _figure(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    twentieths = statistics.quantiles(seconds, n=20)
    return {
        "name": f"{name}-p95",
        "unit": "s",
        "ours": round(twentieths[-1], 2),
        "stock": None,
        "limit": None,
        "ratio": None,
        "samples": {"p50_s": round(statistics.median(seconds), 2), "seconds": [round(each, 2) for each in seconds]},
        "machine": machine(),
    }


if __name__ == "__main__":
    for figure in run_streaming(DatabaseSettings(), StorageSettings(), lambda text: print(text, file=sys.stderr)):
        print(f"{figure['name']}: {figure['ours']} s; p50: {figure['samples']['p50_s']} s")
