"""`/metrics` of a streaming worker. What it has done is kept by the worker, and read when Prometheus asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from stacyard.core.errors import StacyardError
from stacyard.ingestor.ledger import State
from stacyard.ingestor.stream.tally import Tally, Waits

_COUNTERS = {
    "received": ("messages", "Messages received, each time that they were"),
    "done": ("messages", "Messages deleted, because all that they announced has come to an end"),
    "returned": ("messages", "Messages given back to the queue"),
    "refused": ("messages", "Messages that are no event, or of what may not be read"),
    "unmatched": ("objects", "Objects that no recipe takes"),
    "removed": ("objects", "Objects that were gone when they were looked at"),
    "incomplete": ("objects", "Objects whose item waits for another file"),
    "pruned": ("tasks", "Loaded tasks that the ledger needed no more"),
}


class Watched(Protocol):
    """A worker, as far as it is measured."""

    tally: Tally
    waits: Waits
    queued: int | None

    @property
    def items(self) -> Mapping[str, Mapping[State, int]]:
        """How many items came to which end here, by collection."""


class WorkerCollector(Collector):
    """The figures of one worker."""

    def __init__(self, worker: Watched) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """As they are now."""
        for name, (unit, about) in _COUNTERS.items():
            value = getattr(self._worker.tally, name)
            yield CounterMetricFamily(f"stacyard_stream_{unit}_{name}", about, value=value)
        items = CounterMetricFamily(
            "stacyard_stream_items", "Items that came to an end by this worker", labels=("collection", "state")
        )
        for collection, ends in self._worker.items.items():
            for state in (State.LOADED, State.REJECTED, State.FAILED):
                items.add_metric((collection, str(state)), ends.get(state, 0))
        yield items
        waits = self._worker.waits
        yield HistogramMetricFamily(
            "stacyard_stream_event_to_commit_seconds",
            "From the sending of an event until what it announced was in the catalog",
            buckets=waits.buckets(),
            sum_value=waits.seconds,
        )
        if self._worker.queued is not None:
            yield GaugeMetricFamily(
                "stacyard_stream_queue_messages", "Messages in the queue, those in hand too", value=self._worker.queued
            )


@contextmanager
def serving_metrics(worker: Watched, *, host: str, port: int) -> Iterator[None]:
    """Answer Prometheus in a thread of its own.

    Raises:
        StacyardError: the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(WorkerCollector(worker))
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        raise StacyardError(
            f"metrics cannot be served at {host}:{port} ({error.strerror}): choose another "
            "STACYARD_STREAM_METRICS_PORT or STACYARD_STREAM_METRICS_HOST"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
