"""Several services over the same requests, in rounds that take turns, and the figures of that."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.figures import machine
from benchmarks.load import CONNECTIONS, Accepts, Load, Request, run
from benchmarks.services import Running, ours, started, stock
from benchmarks.workloads import Workload
from stacyard.core.settings import DatabaseSettings, StorageSettings

ROUNDS = 5

#: The rounds of each side, by its name in the figures: `ours`, `stock`, `limit`, or another.
Rounds = dict[str, list[Load]]


def measure(workload: Workload, database: DatabaseSettings, storage: StorageSettings) -> Rounds:
    """Rounds of ours and of stock, in turn, so that the machine's moods fall on both; the first of each is warm-up."""
    with (
        started(ours(workload.service, database, storage)) as our_service,
        started(stock(workload.service, database)) as stock_service,
    ):
        requests = (workload.requests(database, random.Random(number)) for number in range(ROUNDS + 1))
        return take_turns({"ours": our_service, "stock": stock_service}, requests, workload.accepts)


def take_turns(
    sides: Mapping[str, Running],
    rounds: Iterable[Sequence[Request]],
    accepts: Accepts,
    *,
    connections: int = CONNECTIONS,
) -> Rounds:
    """Every side over the requests of every round, one after the other, each first in its turn; the first is warm-up.

    Raises:
        RuntimeError: an answer is not the work that was asked for.
    """
    loads: Rounds = {name: [] for name in sides}
    order = list(sides)
    for requests in rounds:
        for name in order:
            loads[name].append(run(sides[name].port, requests, accepts, connections=connections).sound())
        order.append(order.pop(0))
    return {name: each[1:] for name, each in loads.items()}


def joined(first: Rounds, second: Rounds) -> Rounds:
    """The rounds of the sides that are in both, with what each did in the one and in the other."""
    return {
        name: [one.then(other) for one, other in zip(first[name], second[name], strict=True)]
        for name in first
        if name in second
    }


def result(name: str, rounds: Rounds) -> dict[str, Any]:
    """The figures under the names of the contract; `limit` is None where the minimal server did not take part."""
    rates = {side: [load.per_second for load in loads] for side, loads in rounds.items()}
    middle = {side: statistics.median(each) for side, each in rates.items()}
    samples: dict[str, Any] = {
        "requests": len(rounds["ours"][0].milliseconds),
        **{side: [round(rate, 1) for rate in each] for side, each in rates.items()},
        **{f"{side}_ms": [round(load.median, 2) for load in loads] for side, loads in rounds.items()},
        "percentiles_ms": {side: percentiles(loads) for side, loads in rounds.items()},
        "generator_share_of_a_core": {
            side: round(sum(load.own_seconds for load in loads) / sum(load.seconds for load in loads), 2)
            for side, loads in rounds.items()
        },
    }
    for side in rounds.keys() - {"ours", "stock", "limit"}:
        samples[f"ratio_to_{side}"] = _ratio(rates["ours"], rates[side])
    if "limit" in rounds:
        medians = [samples["percentiles_ms"][side]["p50"] for side in ("ours", "limit")]
        samples["p50_over_limit"] = round(medians[0] / medians[1], 2)
    return {
        "name": name,
        "unit": "requests/s",
        "ours": round(middle["ours"], 1),
        "stock": round(middle["stock"], 1) if "stock" in middle else None,
        "limit": round(middle["limit"], 1) if "limit" in middle else None,
        "ratio": _ratio(rates["ours"], rates["stock"]) if "stock" in rates else None,
        "samples": samples,
        "machine": machine(),
    }


def percentiles(loads: Iterable[Load]) -> dict[str, float]:
    """Latencies in milliseconds that half, 95 and 99 of 100 requests did not exceed, over all of these rounds."""
    hundredths = statistics.quantiles([each for load in loads for each in load.milliseconds], n=100)
    return {f"p{share}": round(hundredths[share - 1], 2) for share in (50, 95, 99)}


def _ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' pairs."""
    return round(statistics.median(one / other for one, other in zip(mine, theirs, strict=True)), 2)
