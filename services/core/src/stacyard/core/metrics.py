"""Prometheus metrics of requests, the same names in every service, labelled by operation and never by id."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stacyard.core.origin import operation_of

# from a cached tile (1 ms) to the longest that a gateway waits (29 s)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


@dataclass(frozen=True)
class Metrics:
    """The instruments of one process. With PROMETHEUS_MULTIPROC_DIR set, a scrape sums those of all workers."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    requests: Counter = field(init=False)
    seconds: Histogram = field(init=False)
    in_flight: Gauge = field(init=False)

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


@dataclass(frozen=True)
class MeasureRequests:
    """Counts, times and gauges every request. `operation` is the route that served it."""

    app: ASGIApp
    metrics: Metrics
    service: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Measure one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.in_flight.labels(self.service).inc()
        try:
            await self.app(scope, receive, send_observed)
        finally:
            self.metrics.in_flight.labels(self.service).dec()
            labels = (self.service, scope["method"], scope.get("operation") or operation_of(scope))
            self.metrics.requests.labels(*labels, str(status)).inc()
            self.metrics.seconds.labels(*labels).observe(time.perf_counter() - started)
