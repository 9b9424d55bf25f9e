"""`python -m benchmarks NAME`: what `stacyard bench` runs."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import bulk, endurance, pages, search
from benchmarks.bulk import Place, working_place
from benchmarks.catalog import SMALL, Say, Size
from benchmarks.collections import run_collections
from benchmarks.rounds import measure, result
from benchmarks.streaming import run_streaming
from benchmarks.workloads import WORKLOADS
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.processes import stopped_by_signals

_LATENCIES = ("ours_ms", "stock_ms")
_ALL = ("search", "item", "page", *WORKLOADS)

#: What each benchmark of the catalog is about, and how it is run.
CATALOG: dict[str, tuple[str, Callable[[Place, Size, Say], list[dict[str, Any]]]]] = {
    "search": ("searches of 100,000 items by space, time and properties", search.run_search),
    "search-by-month": (
        "the same items in 190 partitions",
        lambda place, size, say: search.run_search(place, size, say, partition="month"),
    ),
    "search-million": ("1,000,000 items in 12 collections by month", search.run_million),
    "search-64": ("64 clients at the same time", endurance.run_crowd),
    "search-pooled": ("200 clients through PgBouncer with 4 server connections", endurance.run_pooled),
    "item": ("items by id", search.run_items),
    "page": ("a walk through 100,000 items", pages.run_pages),
    "memory": ("memory over 100,000 requests", endurance.run_memory),
}


def show(results: Sequence[dict[str, Any]], console: Console) -> None:
    """A table of the figures; latencies where requests were measured."""
    table = Table(title="medians of rounds that take turns; a ratio above 1 is ours being ahead, where it is of rates")
    for column in ("workload", "unit", "ours", "stock", "limit", "ratio", "ours ms", "stock ms"):
        table.add_column(column, justify="left" if column in ("workload", "unit") else "right", no_wrap=True)
    for row in results:
        samples = row["samples"]
        numbers = [_number(row[name]) for name in ("ours", "stock", "limit", "ratio")]
        latencies = [_number(statistics.median(samples[name])) if name in samples else "" for name in _LATENCIES]
        table.add_row(row["name"], row["unit"], *numbers, *latencies)
    console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def jobs(say: Say, size: Size) -> dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """Every benchmark: what it is about, and how it is run."""
    database, storage = DatabaseSettings(), StorageSettings()

    def of_catalog(name: str) -> Callable[[], list[dict[str, Any]]]:
        def run() -> list[dict[str, Any]]:
            with working_place(database, storage) as place:
                return CATALOG[name][1](place, size, say)

        return run

    def of_tiles(name: str) -> Callable[[], list[dict[str, Any]]]:
        return lambda: [result(name, measure(WORKLOADS[name], database, storage))]

    def cog() -> list[dict[str, Any]]:
        from benchmarks.cog import run_cog

        return run_cog()

    return {
        **{name: (about, of_catalog(name)) for name, (about, _) in CATALOG.items()},
        **{name: (workload.about, of_tiles(name)) for name, workload in WORKLOADS.items()},
        "collections": ("searches of 10,000 collections", lambda: run_collections(database, storage, say)),
        "load": ("50,000 items beside pypgstac load", lambda: bulk.run_load(database, storage, say)),
        "load-million": ("1,000,000 items: speed and memory", lambda: bulk.run_million(database, storage, say)),
        "load-beside": ("searches while items are loaded", lambda: bulk.run_beside(database, storage, say)),
        "cog": ("GeoTIFF to COG beside rio-cogeo", cog),
        "streaming": ("from the event of a file to its item", lambda: run_streaming(database, storage, say)),
    }


def main() -> int:
    """Run one benchmark or all of the requests, show the figures, and write them as JSON if asked."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console.width = 120

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False, markup=False)

    parser = argparse.ArgumentParser(prog="stacyard bench", description=__doc__)
    names = ", ".join(f"{name} ({about})" for name, (about, _) in jobs(say, Size()).items())
    parser.add_argument("name", choices=[*jobs(say, Size()), "all"], help=f"{names}; all: {', '.join(_ALL)}")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--small", action="store_true", help="catalog: few items and requests, to see that it works")
    arguments = parser.parse_args()
    known = jobs(say, SMALL if arguments.small else Size())
    results = []
    with stopped_by_signals():
        try:
            for name in _ALL if arguments.name == "all" else [arguments.name]:
                say(f"{name}: {known[name][0]}")
                results += known[name][1]()
        except KeyboardInterrupt:
            say("interrupted; what was made is removed")
            return 130
    show(results, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results if len(results) > 1 else results[0], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
