"""`python -m benchmarks NAME`: what `stacyard bench` runs."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.load import Load, run
from benchmarks.services import ours, started, stock
from benchmarks.workloads import WORKLOADS, Workload
from stacyard.core.settings import DatabaseSettings, StorageSettings

ROUNDS = 5


def measure(workload: Workload, database: DatabaseSettings, storage: StorageSettings) -> tuple[list[Load], list[Load]]:
    """Rounds of ours and of stock, in turn, so that the machine's moods fall on both; the first of each is warm-up."""
    with (
        started(ours(workload.service, database, storage)) as our_port,
        started(stock(workload.service, database)) as stock_port,
    ):
        our_rounds, stock_rounds = [], []
        for number in range(ROUNDS + 1):
            paths = workload.paths(database, random.Random(number))
            our_rounds.append(run(our_port, paths, workload.accepts))
            stock_rounds.append(run(stock_port, paths, workload.accepts))
    return our_rounds[1:], stock_rounds[1:]


def result(name: str, our_rounds: list[Load], stock_rounds: list[Load]) -> dict[str, Any]:
    """The figures under the names of the contract; `limit` is not measured yet."""
    rates = [[load.per_second for load in rounds] for rounds in (our_rounds, stock_rounds)]
    ratios = [mine / theirs for mine, theirs in zip(*rates, strict=True)]
    return {
        "name": name,
        "unit": "requests/s",
        "ours": round(statistics.median(rates[0]), 1),
        "stock": round(statistics.median(rates[1]), 1),
        "limit": None,
        "ratio": round(statistics.median(ratios), 2),
        "samples": {
            "ours": [round(rate, 1) for rate in rates[0]],
            "stock": [round(rate, 1) for rate in rates[1]],
            "ours_ms": [round(load.median, 2) for load in our_rounds],
            "stock_ms": [round(load.median, 2) for load in stock_rounds],
        },
        "machine": {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()},
    }


def show(results: list[dict[str, Any]], console: Console) -> None:
    """A table of the figures."""
    table = Table(title=f"requests a second, median of {ROUNDS} rounds, one process a side")
    for column in ("workload", "ours", "stock", "ratio", "ours ms", "stock ms"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for row in results:
        samples = row["samples"]
        table.add_row(
            row["name"],
            f"{row['ours']:.1f}",
            f"{row['stock']:.1f}",
            f"{row['ratio']:.2f}",
            f"{statistics.median(samples['ours_ms']):.1f}",
            f"{statistics.median(samples['stock_ms']):.1f}",
        )
    console.print(table)


def main() -> int:
    """Run one workload or all, show the figures, and write them as JSON if asked."""
    parser = argparse.ArgumentParser(prog="stacyard bench", description=__doc__)
    names = ", ".join(f"{name} ({workload.about})" for name, workload in WORKLOADS.items())
    parser.add_argument("name", choices=[*WORKLOADS, "all"], help=names)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    chosen = list(WORKLOADS) if arguments.name == "all" else [arguments.name]
    results = []
    for name in chosen:
        with console.status(f"{name}: {WORKLOADS[name].about}"):
            results.append(result(name, *measure(WORKLOADS[name], DatabaseSettings(), StorageSettings())))
    show(results, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results if arguments.name == "all" else results[0], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
