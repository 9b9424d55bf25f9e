"""What must hold beside speed: many clients at the same time, a pooler in between, and memory that stays flat."""

from __future__ import annotations

import random
import resource
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.bulk import Place
from benchmarks.catalog import Say, Size, filled
from benchmarks.figures import machine
from benchmarks.load import Load, Request, run
from benchmarks.pooler import pooled
from benchmarks.queries import Known, Searches, known_items
from benchmarks.rounds import percentiles
from benchmarks.search import has_features, item_requests
from benchmarks.services import ours, started, stock

_CROWD = 64
_POOLER_SERVERS, _POOLER_CLIENTS = 4, 200
# as many as a pool may have: more than the pooler has for it
_POOL_SIZE = "100"
_BATCH = 1000


def run_crowd(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """64 clients that search at the same time, limit 10: the slowest beside the usual, and failures."""
    with (
        filled(place, size.items, say) as collections,
        started(ours("stac", place.database, place.storage)) as our_service,
        started(stock("stac", place.database)) as stock_service,
    ):
        searches = Searches(known_items(place.database, collections), collections, 4)
        say(f"{_CROWD} clients")
        loads: dict[str, list[Load]] = {"ours": [], "stock": []}
        for number in range(size.rounds + 1):
            requests = searches.mixed(size.crowd, 10)
            load = run(our_service.port, requests, has_features, connections=_CROWD)
            # a few suffice to tell how many it answers
            few = requests[: max(_CROWD, size.crowd // 8)]
            stock_load = run(stock_service.port, few, has_features, connections=_CROWD)
            if number:
                loads["ours"].append(load)
                loads["stock"].append(stock_load)
        return [_figure(f"search-{_CROWD}", loads, clients=_CROWD)]


def run_pooled(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """Mixed requests of 200 clients through PgBouncer in transaction mode with 4 server connections: failures."""
    with (
        filled(place, size.items, say) as collections,
        pooled(place.database, servers=_POOLER_SERVERS, clients=2 * _POOLER_CLIENTS) as through,
        started(ours("stac", through, place.storage, STACYARD_DATABASE_POOL_SIZE=_POOL_SIZE)) as service,
    ):
        requests = _Mixture(known_items(place.database, collections), collections)
        say(f"{_POOLER_CLIENTS} clients through a pooler with {_POOLER_SERVERS} server connections")
        rounds = [
            run(service.port, requests.take(size.crowd), _is_document, connections=_POOLER_CLIENTS)
            for _ in range(size.rounds + 1)
        ]
        # the first round counts too: a connection that cannot be opened fails there
        return [_figure("search-pooled", {"ours": rounds}, clients=_POOLER_CLIENTS, servers=_POOLER_SERVERS)]


def run_memory(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """100,000 mixed requests: resident memory of the service at the start, in the middle and at the end."""
    with (
        filled(place, size.items, say) as collections,
        started(ours("stac", place.database, place.storage)) as service,
    ):
        requests = _Mixture(known_items(place.database, collections), collections)
        batch = min(_BATCH, size.lasting // 10)
        say(f"{size.lasting:,} mixed requests")
        run(service.port, requests.take(2 * batch), _is_document).sound()
        memory = [_resident_mib(service.process)]
        loads = []
        for number in range(1, 1 + size.lasting // batch):
            loads.append(run(service.port, requests.take(batch), _is_document).sound())
            memory.append(_resident_mib(service.process))
            if number % 10 == 0:
                say(f"{number * batch:,} requests: {memory[-1]:.1f} MiB")
    return [_memory_figure(memory, batch, loads)]


class _Mixture:
    """Searches at limit 10 and 100, items by id and collections, in no order, no search twice."""

    def __init__(self, items: Sequence[Known], collections: Sequence[str]) -> None:
        self._items, self._collections = items, collections
        self._searches, self._chance = Searches(items, collections, 5), random.Random(6)

    def take(self, count: int) -> list[Request]:
        """So many requests: 70 % searches, one in ten of them long, 25 % items, 5 % collections."""
        long, single, described = count * 7 // 100, count // 4, count // 20
        others = [
            *self._searches.mixed(long, 100),
            *item_requests(self._items, self._chance, single),
            *(Request(f"/collections/{self._chance.choice(self._collections)}") for _ in range(described)),
        ]
        requests = others + self._searches.mixed(count - len(others), 10)
        self._chance.shuffle(requests)
        return requests


def _is_document(status: int, body: bytes) -> bool:
    return status == 200 and orjson.loads(body)["type"] in ("FeatureCollection", "Feature", "Collection")


def _resident_mib(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _figure(name: str, rounds: dict[str, list[Load]], **samples: Any) -> dict[str, Any]:
    """A figure of rounds in which a failure is a result and not the end."""
    rates = {side: [load.per_second for load in loads] for side, loads in rounds.items()}
    middle = {side: round(statistics.median(each), 1) for side, each in rates.items()}
    latencies = {side: percentiles(loads) for side, loads in rounds.items()}
    failures = {side: [line for load in loads for line in load.failures] for side, loads in rounds.items()}
    return {
        "name": name,
        "unit": "requests/s",
        "ours": middle["ours"],
        "stock": middle.get("stock"),
        "limit": None,
        "ratio": round(middle["ours"] / middle["stock"], 2) if "stock" in middle else None,
        "samples": {
            **samples,
            "requests": {side: sum(len(load.milliseconds) for load in loads) for side, loads in rounds.items()},
            "failed": {side: len(lines) for side, lines in failures.items()},
            "failures": failures["ours"][:3],
            "percentiles_ms": latencies,
            "p99_over_p50": {side: round(each["p99"] / each["p50"], 2) for side, each in latencies.items()},
            **{side: [round(rate, 1) for rate in each] for side, each in rates.items()},
            **{f"{side}_ms": [round(load.median, 2) for load in loads] for side, loads in rounds.items()},
        },
        "machine": machine(),
    }


def _memory_figure(memory: Sequence[float], batch: int, loads: Sequence[Load]) -> dict[str, Any]:
    """Resident memory in MiB; the slope is that of the line through all of it, and through its second half."""
    start, middle, end = memory[0], memory[len(memory) // 2], memory[-1]
    requests = [number * batch for number in range(len(memory))]
    half = len(memory) // 2
    slopes = [statistics.linear_regression(requests[since:], memory[since:]).slope * 100_000 for since in (0, half)]
    return {
        "name": "memory",
        "unit": "MiB",
        "ours": round(end, 1),
        "stock": None,
        "limit": None,
        "ratio": round(end / start, 3),
        "samples": {
            "ratio_is": "end over start",
            "start_mib": round(start, 1),
            "middle_mib": round(middle, 1),
            "end_mib": round(end, 1),
            "slope_mib_in_100000_requests": round(slopes[0], 2),
            "slope_of_second_half": round(slopes[1], 2),
            "requests": requests[-1],
            "requests_s": round(requests[-1] / sum(load.seconds for load in loads), 1),
            "mib": [round(each, 1) for each in memory],
        },
        "machine": machine(),
    }
