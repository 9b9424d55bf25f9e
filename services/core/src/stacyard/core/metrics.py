"""Prometheus metrics of requests, the same names in every service, labelled by operation and never by id."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.origin import operation_of

# from a cached tile (1 ms) to the longest that a gateway waits (29 s)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

# a client may invent methods; labels must stay few
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(frozen=True)
class Metrics:
    """The instruments of one process. With PROMETHEUS_MULTIPROC_DIR set, a scrape sums those of all workers."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    in_flight: Gauge = field(init=False)
    cache_requests: Counter = field(init=False)
    cache_bytes: Gauge = field(init=False)

    def __post_init__(self) -> None:
        labels = ("service", "method", "operation")
        instruments = {
            "requests": Counter(
                "stacyard_http_requests_total", "Requests answered", (*labels, "status"), registry=self.registry
            ),
            "seconds": Histogram(
                "stacyard_http_request_duration_seconds",
                "Time to the end of the answer",
                labels,
                buckets=_BUCKETS,
                registry=self.registry,
            ),
            "in_flight": Gauge(
                "stacyard_http_requests_in_flight",
                "Requests being served",
                ("service",),
                multiprocess_mode="livesum",
                registry=self.registry,
            ),
            "cache_requests": Counter(
                "stacyard_cache_requests_total",
                "Answers asked of a cache: hit, miss, or shared with one being made",
                ("service", "cache", "result"),
                registry=self.registry,
            ),
            "cache_bytes": Gauge(
                "stacyard_cache_bytes",
                "Bytes that a cache holds",
                ("service", "cache"),
                multiprocess_mode="livesum",
                registry=self.registry,
            ),
        }
        for name, instrument in instruments.items():
            object.__setattr__(self, name, instrument)

    async def scrape(self, _: Request) -> Response:
        """The `/metrics` answer; like liveness, it waits for no thread."""
        registry = self.registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class MeasureCache:
    """Counts what one cache does."""

    def __init__(self, *, metrics: Metrics, service: str, cache: str) -> None:
        self._results = {
            result: metrics.cache_requests.labels(service, cache, result) for result in ("hit", "miss", "shared")
        }
        self._bytes = metrics.cache_bytes.labels(service, cache)

    def asked(self, result: str) -> None:
        """One more answer was asked for."""
        self._results[result].inc()

    def holds(self, size: int) -> None:
        """The cache holds so many bytes now."""
        self._bytes.set(size)


class MeasureRequests:
    """Counts, times and gauges every request. `operation` is the route that served it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, service: str) -> None:
        self._app = app
        self._metrics = metrics
        self._service = service
        self._in_flight = metrics.in_flight.labels(service)
        # to find an instrument by its labels costs more than to use it; there are as many as routes
        self._counter = cache(self._make_counter)
        self._timer = cache(self._make_timer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._in_flight.inc()
        try:
            await self._app(scope, receive, send_observed)
        finally:
            self._in_flight.dec()
            method = scope["method"] if scope["method"] in _METHODS else "other"
            operation = scope.get("operation") or operation_of(scope)
            self._counter(method, operation, status).inc()
            self._timer(method, operation).observe(time.perf_counter() - started)

    def _make_counter(self, method: str, operation: str, status: int) -> Counter:
        return self._metrics.requests.labels(self._service, method, operation, str(status))

    def _make_timer(self, method: str, operation: str) -> Histogram:
        return self._metrics.seconds.labels(self._service, method, operation)
