"""Items to load and to search: 1,000 real ones, at other places and dates under other ids, as many as are wanted.

The shape is real, the position synthetic, and so are cloud cover and time of day of those that are searched. Links
that only the catalog they come from can answer are left out beforehand, so that both loaders store the same content.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.stages.items import adopt_all

SOURCE = Path(__file__).parent.parent / "demo" / "naip" / "naip_1000.ndjson.gz"


@dataclass(frozen=True)
class Spread:
    """How far the items lie apart.

    Attributes:
        north: degrees that an item may be moved north; east and west it is up to 30.
        days: that an item may be moved back in time.
        until: the end of that time, for all of them; None: what each original says.
        satellite: whether they have a time of day and a cloud cover in whole percent, as a satellite's have.
    """

    north: float = 0.0
    days: int = 1500
    until: datetime | None = None
    satellite: bool = False


LOADED = Spread()
SEARCHED = Spread(north=20.0, satellite=True)


def recipe(collection: str, partition: str) -> str:
    """The text of a recipe that loads the items as they are."""
    about = f"id: {collection}, title: Benchmark, description: Items of a benchmark., license: other"
    return f"{{collection: {{{about}, partition: {partition}}}, kind: items}}\n"


def write_items(path: Path, count: int, *, changed: float = 0.0, spread: Spread = LOADED, first: int = 0) -> None:
    """Write items as newline-delimited JSON.

    Args:
        path: of the file.
        count: how many.
        changed: the share of them that has a property more.
        spread: how far they lie apart.
        first: the number of the first; equal numbers are equal items.
    """
    with path.open("wb") as file:
        for number, item in enumerate(_items(range(first, first + count), spread), first):
            if changed and random.Random(-number).random() < changed:
                item["properties"]["changed"] = number
            file.write(orjson.dumps(item) + b"\n")


def _items(numbers: range, spread: Spread) -> Iterator[dict[str, Any]]:
    # both loaders put the items into collections of their own; the one in the file is replaced as they are written
    known = parse_recipe(recipe("naip", "none"), "benchmark")
    with gzip.open(SOURCE) as file:
        adopted = adopt_all([Line("", line) for line in file], known, recipe_hash="")
    originals = [
        {name: orjson.loads(bytes(json)) for name, json in item.members.items()} | {"collection": "naip"}
        for item in adopted.items
    ]
    for number in numbers:
        original, chance = originals[number % len(originals)], random.Random(number)
        east, days = chance.uniform(-30, 30), chance.randrange(spread.days)
        north = chance.uniform(0, spread.north)
        time = (spread.until or datetime.fromisoformat(original["properties"]["datetime"])) - timedelta(days=days)
        clouds = {}
        if spread.satellite:
            time -= timedelta(seconds=chance.randrange(86400))
            clouds = {"eo:cloud_cover": chance.randrange(101)}
        west, south, right, upper = original["bbox"]
        rings = [[[x + east, y + north] for x, y in ring] for ring in original["geometry"]["coordinates"]]
        yield {
            **original,
            "id": f"{original['id']}_{number // len(originals)}",
            "geometry": {"type": "Polygon", "coordinates": rings},
            "bbox": [west + east, south + north, right + east, upper + north],
            "properties": {**original["properties"], **clouds, "datetime": f"{time:%Y-%m-%dT%H:%M:%SZ}"},
        }
