"""A walk through a collection by its `next` links: is the last page as fast as the first?"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from benchmarks.bulk import Place
from benchmarks.catalog import Say, Size, filled
from benchmarks.figures import machine
from benchmarks.load import Request, ask
from benchmarks.services import Running, ours, started, stock

_WARMING_PAGES = 5


@dataclass(frozen=True)
class Walk:
    """What a walk found: the latency of each page in milliseconds, and the items in their order."""

    milliseconds: tuple[float, ...]
    ids: tuple[str, ...]


def run_pages(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """All items by pages of 100 and of 1,000; the stock service for a few thousand.

    Raises:
        RuntimeError: an item is missed or comes twice.
    """
    figures = []
    with (
        filled(place, size.items, say) as [collection],
        started(ours("stac", place.database, place.storage)) as our_service,
        started(stock("stac", place.database)) as stock_service,
    ):
        for limit in (100, 1000):
            say(f"walking by pages of {limit}")
            for service in (our_service, stock_service):
                walk(service, collection, limit, most_items=_WARMING_PAGES * limit)
            whole = walk(our_service, collection, limit)
            if len(whole.ids) != size.items or len(set(whole.ids)) != size.items:
                raise RuntimeError(f"{len(whole.ids)} items came, {len(set(whole.ids))} of them different")
            part = walk(stock_service, collection, limit, most_items=size.walked)
            figures.append(_figure(f"page-{limit}", whole, part))
    return figures


def walk(service: Running, collection: str, limit: int, *, most_items: int | None = None) -> Walk:
    """Follow the links to the end, or to the page with that item.

    Raises:
        RuntimeError: a page is not answered.
    """
    request: Request | None = Request(f"/search?collections={collection}&limit={limit}")
    times: list[float] = []
    ids: list[str] = []
    while request is not None and (most_items is None or len(ids) < most_items):
        load, [answer] = ask(service.port, [request], connections=1)
        if answer.status != 200:
            raise RuntimeError(f"{request} was answered {answer.status}: {answer.body[:300]!r}")
        page = orjson.loads(answer.body)
        times += load.milliseconds
        ids += [feature["id"] for feature in page["features"]]
        request = _next(page["links"])
    return Walk(tuple(times), tuple(ids))


def _next(links: Sequence[dict[str, Any]]) -> Request | None:
    for link in links:
        if link["rel"] == "next":
            parts = urlsplit(link["href"])
            return Request(f"{parts.path}?{parts.query}")
    return None


def deciles(times: Sequence[float]) -> list[float]:
    """The median of each tenth, from the first to the last; fewer where there are fewer than ten."""
    tenths = min(10, len(times))
    edges = [round(number * len(times) / tenths) for number in range(tenths + 1)]
    return [statistics.median(times[start:end]) for start, end in itertools.pairwise(edges)]


def _figure(name: str, whole: Walk, part: Walk) -> dict[str, Any]:
    by_decile = deciles(whole.milliseconds)
    ours_ms, stock_ms = statistics.median(whole.milliseconds), statistics.median(part.milliseconds)
    same = whole.ids[: len(part.ids)] == part.ids
    return {
        "name": name,
        "unit": "pages/s",
        "ours": round(1000 / ours_ms, 1),
        "stock": round(1000 / stock_ms, 1),
        "limit": None,
        "ratio": round(stock_ms / ours_ms, 2),
        "samples": {
            "ours_ms": [round(each, 2) for each in by_decile],
            "stock_ms": [round(each, 2) for each in deciles(part.milliseconds)],
            "flatness": round(by_decile[-1] / by_decile[0], 2),
            "items": [len(whole.ids), len(part.ids)],
            "same_items_in_the_same_order": same,
        },
        "machine": machine(),
    }
