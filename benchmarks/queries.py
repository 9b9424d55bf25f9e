"""Searches over space, time and properties, no two the same, each around an item, so that each finds something.

A search is plain if it asks for place, time and collections only, which is what the minimal server understands. No box
and no geometry crosses the antimeridian, where the stock service finds the wrong items.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks.load import Request
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings

_SOME = """
SELECT id, collection, ST_X(ST_Centroid(geometry)), ST_Y(ST_Centroid(geometry)), datetime, content->'properties'
FROM (
    SELECT collection, id FROM pgstac.items WHERE collection = ANY(%s) ORDER BY md5(id), collection LIMIT 5000
) AS chosen
JOIN pgstac.items USING (collection, id)
ORDER BY md5(id), collection
"""

Parameters = dict[str, Any]
Make = Callable[["Known", random.Random], Parameters]
#: A condition in both of CQL2's languages.
Condition = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Known:
    """An item that a search is made around: its centre in degrees, its time, its properties."""

    id: str
    collection: str
    x: float
    y: float
    time: datetime
    properties: dict[str, Any]


def known_items(database: DatabaseSettings, collections: Sequence[str]) -> list[Known]:
    """5,000 items of these collections, always the same, in no order that means anything."""
    with connect(database.url("reader"), application_name="stacyard-bench") as connection:
        return [Known(*row) for row in connection.execute(_SOME, [list(collections)]).fetchall()]


class Searches:
    """Makes searches of these collections; the same seed makes the same ones."""

    def __init__(self, items: Sequence[Known], collections: Sequence[str], seed: int) -> None:
        self._items, self._collections = items, collections
        self._chance = random.Random(seed)
        self._made: set[str] = set()

    def plain(self, count: int, limit: int) -> list[Request]:
        """Searches by place, time and collections, a quarter of them with the oldest first."""
        return [self._new(_plain, limit) for _ in range(count)]

    def rich(self, count: int, limit: int) -> list[Request]:
        """Searches by geometries, ids, `query`, CQL2 text and JSON, and sorts by a property."""
        return [self._new(_rich, limit) for _ in range(count)]

    def mixed(self, count: int, limit: int) -> list[Request]:
        """Both, as many of the one as of the other, in no order."""
        searches = self.plain(count // 2, limit) + self.rich(count - count // 2, limit)
        self._chance.shuffle(searches)
        return searches

    def _new(self, make: Make, limit: int) -> Request:
        while True:
            item = self._chance.choice(self._items)
            parameters = {"limit": limit} | self._of_collections(item) | make(item, self._chance)
            request = _request(parameters, self._chance)
            if str(request) not in self._made:
                self._made.add(str(request))
                return request

    def _of_collections(self, item: Known) -> Parameters:
        """Mostly the item's collection, sometimes a few of them, sometimes whichever there are."""
        kind = self._chance.random()
        if kind < 0.25:
            return {}
        others = self._chance.sample(self._collections, min(2, len(self._collections))) if kind < 0.5 else []
        return {"collections": list(dict.fromkeys([item.collection, *others]))}


def _plain(item: Known, chance: random.Random) -> Parameters:
    by: Make = chance.choice([_place, _place, _time, _place_and_time])
    return by(item, chance) | ({"sortby": [_order("datetime", chance)]} if chance.random() < 0.5 else {})


def _rich(item: Known, chance: random.Random) -> Parameters:
    by: Make = chance.choice(
        [_intersects, _intersects, _ids, _query, _query, _filter, _filter, _filter, _filter, _sorted]
    )
    return by(item, chance)


def _place(item: Known, chance: random.Random) -> Parameters:
    return {"bbox": _box(item, _half(chance), chance)}


def _time(item: Known, chance: random.Random) -> Parameters:
    before, after = (timedelta(days=math.exp(chance.uniform(-3, 6))) for _ in range(2))
    start, end, at = (f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in (item.time - before, item.time + after, item.time))
    intervals = [f"{start}/{end}", f"{start}/{end}", f"{start}/{end}", f"{start}/..", f"../{end}", at]
    return {"datetime": chance.choice(intervals)}


def _place_and_time(item: Known, chance: random.Random) -> Parameters:
    return _place(item, chance) | _time(item, chance)


def _intersects(item: Known, chance: random.Random) -> Parameters:
    kind = chance.random()
    if kind < 0.15:
        geometry: dict[str, Any] = {"type": "Point", "coordinates": [round(item.x, 6), round(item.y, 6)]}
    else:
        polygon = [_ring(item, chance)]
        several = kind < 0.3
        geometry = {"type": "MultiPolygon" if several else "Polygon", "coordinates": [polygon] if several else polygon}
    return {"intersects": geometry} | (_time(item, chance) if chance.random() < 0.3 else {})


def _ids(item: Known, chance: random.Random) -> Parameters:
    # the others are there too: items are numbered from 0 by their originals
    original = item.id.rpartition("_")[0]
    return {"ids": [item.id, *(f"{original}_{chance.randrange(100)}" for _ in range(chance.randrange(1, 10)))]}


def _query(item: Known, chance: random.Random) -> Parameters:
    properties = item.properties
    conditions: list[tuple[str, dict[str, Any]]] = [
        ("eo:cloud_cover", {"lte": min(100, properties["eo:cloud_cover"] + chance.randrange(20))}),
        ("eo:cloud_cover", {"gte": properties["eo:cloud_cover"] - 5, "lt": properties["eo:cloud_cover"] + 10}),
        ("gsd", {"lte": properties["gsd"]}),
        ("gsd", {"eq": properties["gsd"]}),
        ("naip:year", {"eq": properties["naip:year"]}),
        ("naip:year", {"neq": str(int(properties["naip:year"]) + 1)}),
        ("proj:epsg", {"eq": properties["proj:epsg"]}),
    ]
    return {"query": dict(chance.sample(conditions, chance.randrange(1, 4)))} | _around(item, chance)


def _filter(item: Known, chance: random.Random) -> Parameters:
    text, json = _condition(item, chance)
    for _ in range(chance.randrange(3)):
        more_text, more_json = _condition(item, chance)
        text, json = f"{text} AND {more_text}", {"op": "and", "args": [json, more_json]}
    language: Parameters = chance.choice(
        [{"filter": text, "filter-lang": "cql2-text"}, {"filter": json, "filter-lang": "cql2-json"}]
    )
    return language | _around(item, chance)


def _sorted(item: Known, chance: random.Random) -> Parameters:
    box = {"bbox": _box(item, chance.uniform(0.2, 3), chance)}
    return box | _time(item, chance) | {"sortby": [_order(chance.choice(["eo:cloud_cover", "gsd"]), chance)]}


def _around(item: Known, chance: random.Random) -> Parameters:
    by: Make | None = chance.choice([None, _place, _time, _place_and_time])
    return by(item, chance) if by else {}


def _condition(item: Known, chance: random.Random) -> Condition:
    """A condition that the item meets."""
    properties = item.properties
    clouds, gsd, year = properties["eo:cloud_cover"], properties["gsd"], properties["naip:year"]
    low, high = clouds - chance.randrange(1, 10), clouds + chance.randrange(1, 10)
    ring = _ring(item, chance)
    corners = ", ".join(f"{x} {y}" for x, y in ring)
    conditions: list[Condition] = [
        (f"eo:cloud_cover <= {high}", _compare("<=", "eo:cloud_cover", high)),
        (f"eo:cloud_cover > {low}", _compare(">", "eo:cloud_cover", low)),
        (
            f"eo:cloud_cover BETWEEN {low} AND {high}",
            {"op": "between", "args": [{"property": "eo:cloud_cover"}, low, high]},
        ),
        (f"gsd = {gsd}", _compare("=", "gsd", gsd)),
        (f"naip:year = '{year}'", _compare("=", "naip:year", year)),
        (f"naip:year IN ('{year}', '2010')", {"op": "in", "args": [{"property": "naip:year"}, [year, "2010"]]}),
        (f"proj:epsg = {properties['proj:epsg']}", _compare("=", "proj:epsg", properties["proj:epsg"])),
        (
            f"NOT (naip:year = '{int(year) + 1}')",
            {"op": "not", "args": [_compare("=", "naip:year", str(int(year) + 1))]},
        ),
        (
            f"(gsd > 5 OR eo:cloud_cover < {high})",
            {"op": "or", "args": [_compare(">", "gsd", 5), _compare("<", "eo:cloud_cover", high)]},
        ),
        (
            f"S_INTERSECTS(geometry, POLYGON(({corners})))",
            {"op": "s_intersects", "args": [{"property": "geometry"}, {"type": "Polygon", "coordinates": [ring]}]},
        ),
    ]
    return chance.choice(conditions)


def _compare(operator: str, name: str, value: object) -> dict[str, Any]:
    return {"op": operator, "args": [{"property": name}, value]}


def _half(chance: random.Random) -> float:
    """Half the side of an area in degrees, from a few fields to a few states, small ones as frequent as large ones."""
    return math.exp(chance.uniform(math.log(0.02), math.log(5)))


def _box(item: Known, half: float, chance: random.Random) -> list[float]:
    tall = half * chance.uniform(0.5, 1.5)
    return [round(each, 6) for each in (item.x - half, item.y - tall, item.x + half, item.y + tall)]


def _ring(item: Known, chance: random.Random) -> list[list[float]]:
    """A closed ring of 3 to 12 corners around the item's centre."""
    corners, half = chance.randrange(3, 13), _half(chance)
    turns = [2 * math.pi * (number + chance.uniform(0, 0.4)) / corners for number in range(corners)]
    ring = [[round(item.x + half * math.cos(turn), 6), round(item.y + half * math.sin(turn), 6)] for turn in turns]
    return [*ring, ring[0]]


def _order(name: str, chance: random.Random) -> dict[str, str]:
    field = "datetime" if name == "datetime" else f"properties.{name}"
    return {"field": field, "direction": chance.choice(["asc", "desc"])}


def _request(parameters: Parameters, chance: random.Random) -> Request:
    """A GET or a POST, as often the one as the other; CQL2 text is for GET only."""
    if parameters.get("filter-lang") != "cql2-text" and chance.random() < 0.5:
        return Request("/search", parameters)
    return Request(f"/search?{urlencode({name: _text(name, value) for name, value in parameters.items()})}")


def _text(name: str, value: Any) -> str:
    match name, value:
        case "sortby", list():
            return ",".join(f"{'-' if each['direction'] == 'desc' else '+'}{each['field']}" for each in value)
        case _, list():
            return ",".join(str(each) for each in value)
        case _, dict():
            return orjson.dumps(value).decode()
    return str(value)
