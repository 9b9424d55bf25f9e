"""The bulk loader beside `pypgstac load`: whole commands, into empty collections of one database, in turn.

Both are started as an operator starts them, and their time is the command's, from its start to its end. The database
keeps fsync and logged tables for both; what is loaded is the same, down to the bytes of the stored content.
"""

from __future__ import annotations

import gc
import itertools
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from benchmarks.figures import machine
from benchmarks.items import recipe, write_items
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.blocks import AT_ONCE
from stacyard.ingestor.collection import describe_collection
from stacyard.ingestor.load.properties import Properties
from stacyard.ingestor.load.rows import COLUMNS, CollectionShape, Row, copy_data, rows_of
from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.sources.itemfiles import BlockReader, find_file
from stacyard.ingestor.sources.local import SourceFile
from stacyard.ingestor.stages.items import adopt_all

ITEMS = 50_000
MANY = 1_000_000
ROUNDS = 3
_ANALYSIS_ITEMS = 20_000


@dataclass(frozen=True)
class Place:
    """Where a benchmark loads into."""

    database: DatabaseSettings
    storage: StorageSettings
    directory: Path

    def execute(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement as the ingestor; its rows, if it has any."""
        with connect(self.database.url("ingest"), application_name="stacyard-bench") as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []


def run_load(database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """50,000 items into an empty collection, of one partition and by month, and again with one in ten changed."""
    with working_place(database, storage) as place:
        say(f"making {ITEMS:,} items")
        fresh, changed = place.directory / "items.ndjson", place.directory / "changed.ndjson"
        write_items(fresh, ITEMS)
        write_items(changed, ITEMS, changed=0.1)
        figures: list[dict[str, Any]] = []
        for partition in ("none", "month"):
            rates: dict[str, list[float]] = {name: [] for name in ("ours", "stock", "ours again", "stock again")}
            for number in range(ROUNDS):
                for side, load in (("stock", _stock), ("ours", _ours)):
                    say(f"partition {partition}, round {number + 1} of {ROUNDS}: {side}")
                    with empty_collection(place, partition) as collection:
                        rates[side].append(load(place, collection, partition, fresh))
                        rates[f"{side} again"].append(load(place, collection, partition, changed))
            suffix = "" if partition == "none" else f"-by-{partition}"
            figures.append(_figure(f"load{suffix}", rates["ours"], rates["stock"]))
            figures.append(_figure(f"load{suffix}-changed", rates["ours again"], rates["stock again"]))
        say("where the time goes")
        shares = _shares(place, fresh)
        figures[0]["limit"] = shares.pop("copy_alone_items_s")
        figures[0]["samples"]["shares"] = shares
        figures[0]["samples"]["by_writers"] = {}
        for writers in (1, 2, 4):
            say(f"writers: {writers}")
            with empty_collection(place, "none") as collection:
                rate = _ours(place, collection, "none", fresh, writers=writers)
            figures[0]["samples"]["by_writers"][str(writers)] = round(rate)
        return figures


def run_million(
    database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """1,000,000 items: is the last tenth as fast as the first, and does memory stay flat?"""
    with working_place(database, storage) as place, empty_collection(place, "none") as collection:
        say(f"making {MANY:,} items")
        path = place.directory / "many.ndjson"
        write_items(path, MANY)
        memory: list[int] = []
        say("loading")
        started = time.perf_counter()
        process = start_ours(place, collection, path)
        while process.poll() is None:
            memory.append(_memory_mb(process.pid))
            time.sleep(0.25)
        seconds = time.perf_counter() - started
        check(process.returncode, "stacyard-ingest")
        progress = _progress(place, collection)
        first, last = _rate_between(progress, 0, MANY // 10), _rate_between(progress, MANY - MANY // 10, MANY)
        figure = _figure("load-million", [MANY / seconds], None)
        figure["samples"] |= {
            "first_tenth_items_s": round(first),
            "last_tenth_items_s": round(last),
            "last_over_first": round(last / first, 2),
            "memory_mb": {"quarter": memory[len(memory) // 4], "end": memory[-2], "peak": max(memory)},
        }
        return [figure]


def run_beside(
    database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Searches while nothing is loaded, and beside each loader at full speed: do they fail, are they slower?"""
    with working_place(database, storage) as place, empty_collection(place, "none", name="still") as still:
        path = place.directory / "items.ndjson"
        write_items(path, 4 * ITEMS)
        base = place.directory / "base.ndjson"
        write_items(base, ITEMS)
        say("filling the collection that is searched")
        _ours(place, still, "none", base)
        idle = _searches(place, still, seconds=10.0)
        figures = []
        for side, start in (("ours", start_ours), ("stock", _start_stock)):
            say(f"searching beside {side}")
            with empty_collection(place, "none") as collection:
                deadlocks = _deadlocks(place)
                process = start(place, collection, path)
                busy = _searches(place, still, seconds=60.0, beside=process)
                check(process.wait(), side)
                figures.append((busy, _deadlocks(place) - deadlocks))
        (ours, our_deadlocks), (stock, stock_deadlocks) = figures
        p95 = [_p95(times) for times in (ours.milliseconds, stock.milliseconds, idle.milliseconds)]
        return [
            {
                "name": "search-while-loading",
                "unit": "ms, 95th percentile",
                "ours": round(p95[0], 2),
                "stock": round(p95[1], 2),
                "limit": round(p95[2], 2),
                "ratio": round(p95[0] / p95[2], 2),
                "samples": {
                    "ratio_is": "ours over idle; limit is idle",
                    "searches": [len(ours.milliseconds), len(stock.milliseconds), len(idle.milliseconds)],
                    "failed": [ours.failed, stock.failed, idle.failed],
                    "deadlocks": [our_deadlocks, stock_deadlocks],
                },
                "machine": machine(),
            }
        ]


@dataclass(frozen=True)
class _Searches:
    milliseconds: list[float]
    failed: int


def _searches(
    place: Place, collection: str, *, seconds: float, beside: subprocess.Popen[bytes] | None = None
) -> _Searches:
    """Searches of pgSTAC by box, 20 a second, each another, for so long, or as long as that process runs."""
    chance, times, failed = random.Random(1), [], 0
    with psycopg.connect(place.database.url("reader"), autocommit=True) as connection:
        deadline = time.perf_counter() + seconds
        while time.perf_counter() < deadline and (beside is None or beside.poll() is None):
            x, y = chance.uniform(-115, -57), chance.uniform(30.5, 34.5)
            query = {"collections": [collection], "limit": 10, "bbox": [x, y, x + 1, y + 1]}
            started = time.perf_counter()
            try:
                connection.execute("SELECT pgstac.search(%s)", [Jsonb(query)]).fetchone()
            except psycopg.Error:
                failed += 1
            took = time.perf_counter() - started
            times.append(took * 1000)
            time.sleep(max(0.0, 0.05 - took))
    return _Searches(times, failed)


def _shares(place: Place, path: Path) -> dict[str, Any]:
    """What each step costs by itself, one after the other in this process, in microseconds an item."""
    known = parse_recipe(recipe("shares", "none"), "benchmark")
    shape = CollectionShape(
        collection="shares", key=0, partition_trunc=None, base_item={"type": "Feature"}, base_item_id=None
    )
    reader, properties = BlockReader(), Properties({})
    spent = dict.fromkeys(("find", "read", "parse_and_check", "properties", "format"), 0.0)
    batches, count = [], 0
    # as the loader does
    gc.disable()
    found = iter(find_file(SourceFile(uri=str(path))) or ())
    while count < _ANALYSIS_ITEMS:
        with _added(spent, "find"):
            block = next(found)
        with _added(spent, "read"):
            lines = reader.read(block.source)
        rows: list[Row] = []
        for start in range(0, len(lines), AT_ONCE):
            with _added(spent, "parse_and_check"):
                batch = adopt_all(lines[start : start + AT_ONCE], known, recipe_hash="")
            with _added(spent, "properties"):
                properties.learn(item.members["properties"] for item in batch.items)
            with _added(spent, "format"):
                tasks = [0] * len(batch.items)
                rows += rows_of(batch.items, shape, tasks=tasks, geometries=batch.geometries)
        with _added(spent, "format"):
            batches.append(copy_data(rows, 0))
        count += len(lines)
    reader.close()
    gc.enable()
    with connect(place.database.url("ingest"), application_name="stacyard-bench") as connection:
        copying = {}
        for name, like in (
            ("without_indexes", "LIKE pgstac.items"),
            ("with_indexes", "LIKE pgstac.items INCLUDING ALL"),
        ):
            table = sql.Identifier("features", f"bench_{name}")
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
            connection.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(like)))
            if name == "with_indexes":
                connection.execute(sql.SQL("CREATE UNIQUE INDEX ON {} (id)").format(table))
            statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table, sql.SQL(COLUMNS))
            connection.execute("SET default_toast_compression = 'lz4'")
            started = time.perf_counter()
            for data in batches:
                with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(data)
            copying[name] = time.perf_counter() - started
            connection.execute(sql.SQL("DROP TABLE {}").format(table))
    figures: dict[str, Any] = {f"{step}_us": round(1e6 * seconds / count, 1) for step, seconds in spent.items()}
    figures["copy_us"] = round(1e6 * copying["without_indexes"] / count, 1)
    figures["indexes_us"] = round(1e6 * (copying["with_indexes"] - copying["without_indexes"]) / count, 1)
    figures["copy_alone_items_s"] = round(count / copying["with_indexes"])
    return figures


@contextmanager
def _added(spent: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    spent[step] += time.perf_counter() - started


@contextmanager
def working_place(database: DatabaseSettings, storage: StorageSettings) -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="stacyard-bench-") as directory:
        yield Place(database, storage, Path(directory))


@contextmanager
def empty_collection(place: Place, partition: str, *, name: str = "load") -> Iterator[str]:
    """An empty collection, which is deleted afterwards with all in it."""
    collection = f"bench-{name}-{os.getpid()}"
    document = describe_collection(parse_recipe(recipe(collection, partition), "benchmark"), None)
    _delete(place, collection)
    place.execute("SELECT pgstac.upsert_collection(%s)", Jsonb(document))
    if partition != "none":
        place.execute("UPDATE pgstac.collections SET partition_trunc = %s WHERE id = %s", partition, collection)
    try:
        yield collection
    finally:
        _delete(place, collection)


def _delete(place: Place, collection: str) -> None:
    place.execute("DELETE FROM pgstac.collections WHERE id = %s", collection)
    place.execute("DELETE FROM stacyard.ingest_run WHERE collection = %s", collection)


def _ours(place: Place, collection: str, partition: str, path: Path, *, writers: int | None = None) -> float:
    """Items a second of our command."""
    started = time.perf_counter()
    process = start_ours(place, collection, path, partition=partition, writers=writers)
    check(process.wait(), "stacyard-ingest")
    return _rate(place, collection, time.perf_counter() - started)


def _stock(place: Place, collection: str, _partition: str, path: Path) -> float:
    """Items a second of the stock command."""
    own = _renamed(path, collection)
    started = time.perf_counter()
    check(_start_stock(place, collection, own).wait(), "pypgstac")
    return _rate(place, collection, time.perf_counter() - started)


def start_ours(
    place: Place, collection: str, path: Path, *, partition: str = "none", writers: int | None = None
) -> subprocess.Popen[bytes]:
    written = place.directory / f"{collection}.yaml"
    written.write_text(recipe(collection, partition))
    environment = {
        **os.environ,
        "STACYARD_DATABASE_INGEST_URL": place.database.url("ingest"),
        "STACYARD_STORAGE_ASSETS": place.storage.assets,
        "STACYARD_INGEST_PROCESSES": str(writers or os.cpu_count() or 1),
        "STACYARD_INGEST_WORK_DIRECTORY": str(place.directory / "work"),
    }
    command = [sys.executable, "-m", "stacyard.ingestor.cli", "ingest", str(path), "--recipe", str(written)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _start_stock(place: Place, collection: str, path: Path) -> subprocess.Popen[bytes]:
    own = path if path.name.startswith(collection) else _renamed(path, collection)
    command = [sys.executable, "-m", "pypgstac.pypgstac", "load", "items", str(own), "--method", "upsert"]
    return subprocess.Popen([*command, "--dsn", place.database.url("ingest")], stdout=subprocess.DEVNULL)


def _renamed(path: Path, collection: str) -> Path:
    """The same items in a file that names their collection, which the stock loader takes from there."""
    target = path.with_name(f"{collection}-{path.name}")
    with path.open("rb") as source, target.open("wb") as file:
        for line in source:
            file.write(line.replace(b'"collection":"naip"', b'"collection":"%s"' % collection.encode()))
    return target


def _rate(place: Place, collection: str, seconds: float) -> float:
    [(count,)] = place.execute("SELECT count(*) FROM pgstac.items WHERE collection = %s", collection)
    if count != ITEMS:
        raise RuntimeError(f"{count} items are in {collection}, not {ITEMS}")
    return float(ITEMS / seconds)


def _progress(place: Place, collection: str) -> list[tuple[float, int]]:
    """When each block was loaded, in seconds, and how many items were in the catalog then."""
    ended = place.execute(
        "SELECT extract(epoch FROM changed_at), items FROM stacyard.ingest_task"
        " WHERE collection = %s AND state = 'loaded' ORDER BY changed_at",
        collection,
    )
    counts = itertools.accumulate(items for _, items in ended)
    return [(float(at), count) for (at, _), count in zip(ended, counts, strict=True)]


def _rate_between(progress: Sequence[tuple[float, int]], low: int, high: int) -> float:
    """Items a second between the moments at which so many were loaded."""
    inside = [(at, count) for at, count in progress if low <= count <= high]
    (start, first), (end, last) = inside[0], inside[-1]
    return (last - first) / (end - start)


def _memory_mb(pid: int) -> int:
    """Resident memory of a process and all that descend from it."""
    total = 0
    for process in _descent(pid):
        try:
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (OSError, IndexError):
            continue
        total += pages * resource.getpagesize()
    return total // 2**20


def _descent(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _descent(int(child)))]


def _deadlocks(place: Place) -> int:
    [(count,)] = place.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


def check(code: int, name: str) -> None:
    if code:
        raise RuntimeError(f"{name} ended with exit code {code}; a figure over failed work would say nothing")


def _p95(times: Sequence[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


def _figure(name: str, ours: list[float], stock: list[float] | None) -> dict[str, Any]:
    samples: dict[str, Any] = {"ours": [round(rate) for rate in ours]}
    if stock is not None:
        samples["stock"] = [round(rate) for rate in stock]
    return {
        "name": name,
        "unit": "items/s",
        "ours": round(statistics.median(ours)),
        "stock": round(statistics.median(stock)) if stock is not None else None,
        "limit": None,
        "ratio": round(statistics.median(mine / theirs for mine, theirs in zip(ours, stock, strict=True)), 2)
        if stock is not None
        else None,
        "samples": samples,
        "machine": machine(),
    }
