"""Our service and the stock one over the same requests, in rounds that take turns, and the figures of that."""

from __future__ import annotations

import random
import statistics
from typing import Any

from benchmarks.figures import machine
from benchmarks.load import Load, run
from benchmarks.services import ours, started, stock
from benchmarks.workloads import Workload
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
        "machine": machine(),
    }
