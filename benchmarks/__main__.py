"""`python -m benchmarks NAME`: what `stacyard bench` runs."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import bulk
from benchmarks.collections import run_collections
from benchmarks.rounds import measure, result
from benchmarks.searches import run_searches
from benchmarks.streaming import run_streaming
from benchmarks.workloads import WORKLOADS
from stacyard.core.settings import DatabaseSettings, StorageSettings

_LATENCIES = ("ours_ms", "stock_ms")


def show(results: list[dict[str, Any]], console: Console) -> None:
    """A table of the figures; latencies where requests were measured."""
    table = Table(title="medians of rounds that take turns; a ratio above 1 is ours being ahead, where it is of rates")
    for column in ("workload", "unit", "ours", "stock", "limit", "ratio", "ours ms", "stock ms"):
        table.add_column(column, justify="left" if column in ("workload", "unit") else "right")
    for row in results:
        samples = row["samples"]
        numbers = [_number(row[name]) for name in ("ours", "stock", "limit", "ratio")]
        latencies = [_number(statistics.median(samples[name])) if name in samples else "" for name in _LATENCIES]
        table.add_row(row["name"], row["unit"], *numbers, *latencies)
    console.print(table)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:,.2f}"


def jobs(console: Console) -> dict[str, tuple[str, Callable[[], list[dict[str, Any]]]]]:
    """Workloads that are commands and not requests: what each is about, and how it is run."""
    database, storage = DatabaseSettings(), StorageSettings()

    def say(text: str) -> None:
        console.print(text, style="dim", highlight=False)

    def cog() -> list[dict[str, Any]]:
        from benchmarks.cog import run_cog

        return run_cog()

    return {
        "search-many": ("searches of 100,000 items by space and time", lambda: run_searches(database, storage, say)),
        "collections": ("searches of 10,000 collections", lambda: run_collections(database, storage, say)),
        "load": ("50,000 items beside pypgstac load", lambda: bulk.run_load(database, storage, say)),
        "load-million": ("1,000,000 items: speed and memory", lambda: bulk.run_million(database, storage, say)),
        "load-beside": ("searches while items are loaded", lambda: bulk.run_beside(database, storage, say)),
        "cog": ("GeoTIFF to COG beside rio-cogeo", cog),
        "streaming": ("from the event of a file to its item", lambda: run_streaming(database, storage, say)),
    }


def main() -> int:
    """Run one workload or all, show the figures, and write them as JSON if asked."""
    console = Console(stderr=True)
    others = jobs(console)
    parser = argparse.ArgumentParser(prog="stacyard bench", description=__doc__)
    about = {name: workload.about for name, workload in WORKLOADS.items()} | {
        name: job[0] for name, job in others.items()
    }
    names = ", ".join(f"{name} ({text})" for name, text in about.items())
    parser.add_argument("name", choices=[*about, "all"], help=f"{names}; all: the requests")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if arguments.name in others:
        results = others[arguments.name][1]()
    else:
        results = []
        for name in list(WORKLOADS) if arguments.name == "all" else [arguments.name]:
            with console.status(f"{name}: {WORKLOADS[name].about}"):
                results.append(result(name, *measure(WORKLOADS[name], DatabaseSettings(), StorageSettings())))
    show(results, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results if len(results) > 1 else results[0], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
