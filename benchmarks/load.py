"""Requests over a few kept connections, every one different, and what came of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPConnection

CONNECTIONS = 4


@dataclass(frozen=True)
class Load:
    """A round of requests: how many a second, and the latencies in milliseconds."""

    per_second: float
    milliseconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median latency in milliseconds."""
        return statistics.median(self.milliseconds)


def run(port: int, paths: Sequence[str], accepts: Callable[[int, bytes], bool]) -> Load:
    """Ask for every path once, over several connections at the same time.

    Args:
        port: of the service, on loopback.
        paths: what to ask for.
        accepts: whether status and body are the work that was asked for.

    Raises:
        RuntimeError: an answer is not; a figure over failed requests would say nothing.
    """

    def ask(share: Sequence[str]) -> list[float]:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        times = []
        for path in share:
            started = time.perf_counter()
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            times.append((time.perf_counter() - started) * 1000)
            if not accepts(response.status, body):
                raise RuntimeError(f"{path} was answered {response.status}: {body[:300]!r}")
        connection.close()
        return times

    started = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        times = [time for share in pool.map(ask, [paths[i::CONNECTIONS] for i in range(CONNECTIONS)]) for time in share]
    return Load(len(paths) / (time.perf_counter() - started), tuple(times))
