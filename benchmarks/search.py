"""Searches and items by id over HTTP: ours beside stock, beside stock that hydrates itself, and beside the least.

Every request is another, and ours keeps no results, except where one search is asked again and again.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import orjson

from benchmarks.bulk import Place
from benchmarks.catalog import TWO_YEARS, Say, Size, filled
from benchmarks.load import Request, ask
from benchmarks.queries import Known, Searches, known_items
from benchmarks.rounds import Rounds, joined, result, take_turns
from benchmarks.services import RESULT_CACHE, Running, minimal, ours, started, stock

_COLLECTIONS = 12
_CACHE_MB = "64"


def run_search(place: Place, size: Size, say: Say, *, partition: str = "none") -> list[dict[str, Any]]:
    """Searches at limit 10 and 100, plain ones and all, and one search again and again."""
    suffix = "" if partition == "none" else f"-by-{partition}"
    with filled(place, size.items, say, partition=partition) as collections, _sides(place) as sides:
        items = known_items(place.database, collections)
        agreement = _agreement(sides, Searches(items, collections, 0).mixed(size.agreed, 10), say)
        figures = [
            result(f"{name}{suffix}", rounds)
            for name, rounds in _searched(sides, items, collections, size, say).items()
        ]
        for figure in figures:
            figure["samples"]["agreement"] = agreement
        say("one search again and again")
        with started(ours("stac", place.database, place.storage, **{RESULT_CACHE: _CACHE_MB})) as caching:
            [search] = Searches(items, collections, 1).plain(1, 10)
            again = [[search] * size.short] * (size.rounds + 1)
            cached = take_turns({"ours": caching, "stock": sides["stock"]}, again, has_features)
        return [*figures, result(f"search-10-cached{suffix}", cached)]


def run_items(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """Items by id."""
    with filled(place, size.items, say) as collections, _sides(place) as sides:
        items = known_items(place.database, collections)
        return [result("item", _read_by_id(sides, items, size, say))]


def run_million(place: Place, size: Size, say: Say) -> list[dict[str, Any]]:
    """The same at ten times the items, in 12 collections by month: each figure beside that of the smaller catalog."""
    few = ("ours", "limit")
    with filled(place, size.items, say) as collections, _sides(place, few) as sides:
        items = known_items(place.database, collections)
        smaller = _searched(sides, items, collections, size, say) | {"item": _read_by_id(sides, items, size, say)}
    with (
        filled(place, size.many, say, collections=_COLLECTIONS, partition="month", spread=TWO_YEARS) as collections,
        _sides(place, ("ours", "stock", "limit")) as sides,
    ):
        items = known_items(place.database, collections)
        agreement = _agreement(sides, Searches(items, collections, 0).mixed(size.agreed // 4, 10), say)
        larger = _searched(sides, items, collections, size, say) | {"item": _read_by_id(sides, items, size, say)}
    figures = []
    for name, rounds in larger.items():
        before, figure = result(name, smaller[name]), result(f"{name}-million", rounds)
        p50 = [each["samples"]["percentiles_ms"]["ours"]["p50"] for each in (figure, before)]
        figure["samples"] |= {
            "agreement": agreement,
            "smaller_catalog": {side: before[side] for side in few},
            "smaller_catalog_percentiles_ms": before["samples"]["percentiles_ms"],
            "times_slower": {side: round(before[side] / figure[side], 2) for side in few if figure[side]},
            "p50_times_longer": round(p50[0] / p50[1], 2),
        }
        figures.append(figure)
    return figures


def has_features(status: int, body: bytes) -> bool:
    """Whether an answer is a page with items."""
    return status == 200 and len(orjson.loads(body)["features"]) > 0


def is_item(status: int, body: bytes) -> bool:
    """Whether an answer is an item."""
    return status == 200 and "id" in orjson.loads(body)


def item_requests(items: Sequence[Known], chance: random.Random, count: int) -> list[Request]:
    """Items by their ids."""
    return [Request(f"/collections/{item.collection}/items/{item.id}") for item in chance.choices(items, k=count)]


@contextmanager
def _sides(
    place: Place, names: Iterable[str] = ("ours", "stock", "stock_hydrating", "limit")
) -> Iterator[dict[str, Running]]:
    services = {
        "ours": ours("stac", place.database, place.storage),
        "stock": stock("stac", place.database),
        "stock_hydrating": stock("stac", place.database, USE_API_HYDRATE="true"),
        "limit": minimal(place.database),
    }
    with ExitStack() as stack:
        yield {name: stack.enter_context(started(services[name])) for name in names}


def _searched(
    sides: Mapping[str, Running], items: Sequence[Known], collections: Sequence[str], size: Size, say: Say
) -> dict[str, Rounds]:
    """The rounds of each row. Half of the searches are plain; only those the minimal server understands."""
    rows = {}
    searches = Searches(items, collections, 2)
    but_limit = {name: side for name, side in sides.items() if name != "limit"}
    for limit, count in ((10, size.short), (100, size.long)):
        say(f"searching, limit {limit}")
        rounds = range(size.rounds + 1)
        plain = take_turns(sides, (searches.plain(count // 2, limit) for _ in rounds), has_features)
        rich = take_turns(but_limit, (searches.rich(count // 2, limit) for _ in rounds), has_features)
        rows[f"search-{limit}-plain"] = plain
        rows[f"search-{limit}"] = joined(plain, rich)
    return rows


def _read_by_id(sides: Mapping[str, Running], items: Sequence[Known], size: Size, say: Say) -> Rounds:
    say("items by id")
    chance = random.Random(3)
    return take_turns(sides, (item_requests(items, chance, size.single) for _ in range(size.rounds + 1)), is_item)


def _agreement(sides: Mapping[str, Running], requests: Sequence[Request], say: Say) -> dict[str, Any]:
    """How many searches the sides answer with other ids, or in another order, than ours does."""
    pages = {
        name: [_ids(answer.status, answer.body) for answer in ask(sides[name].port, requests)[1]]
        for name in ("ours", "stock")
    }
    different = [
        str(request)
        for request, mine, theirs in zip(requests, pages["ours"], pages["stock"], strict=True)
        if mine != theirs
    ]
    say(f"ours and stock give the same ids for {len(requests) - len(different)} of {len(requests)} searches")
    for each in different[:3]:
        say(f"not for {each}")
    return {"searches": len(requests), "different": len(different), "examples": different[:10]}


def _ids(status: int, body: bytes) -> list[str] | int:
    """The ids of a page in its order; the status if it is none."""
    return [feature["id"] for feature in orjson.loads(body)["features"]] if status == 200 else status
