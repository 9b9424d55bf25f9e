"""Items for the loaders: 1,000 real ones, at other places and dates under other ids, as many as are wanted.

The shape is real, the position synthetic. Links that only the catalog they come from can answer are left out
beforehand, so that both loaders store the same content.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from stacyard.ingestor.recipe import parse_recipe
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.stages.items import adopt_all

SOURCE = Path(__file__).parent.parent / "demo" / "naip" / "naip_1000.ndjson.gz"


def recipe(collection: str, partition: str) -> str:
    """The text of a recipe that loads the items as they are."""
    about = f"id: {collection}, title: Benchmark, description: Items of a benchmark., license: other"
    return f"{{collection: {{{about}, partition: {partition}}}, kind: items}}\n"


def write_items(path: Path, count: int, *, changed: float = 0.0) -> None:
    """Write so many items as newline-delimited JSON; the share `changed` of them has a property more."""
    with path.open("wb") as file:
        for number, item in enumerate(_items(count)):
            if random.Random(-number).random() < changed:
                item["properties"]["changed"] = number
            file.write(orjson.dumps(item) + b"\n")


def _items(count: int) -> Iterator[dict[str, Any]]:
    # both loaders put the items into collections of their own; the one in the file is replaced as they are written
    known = parse_recipe(recipe("naip", "none"), "benchmark")
    with gzip.open(SOURCE) as file:
        adopted = adopt_all([Line("", line) for line in file], known, recipe_hash="")
    originals = [
        {name: orjson.loads(bytes(json)) for name, json in item.members.items()} | {"collection": "naip"}
        for item in adopted.items
    ]
    for number in range(count):
        original, chance = originals[number % len(originals)], random.Random(number)
        east, days = chance.uniform(-30, 30), chance.randrange(1500)
        time = datetime.fromisoformat(original["properties"]["datetime"]) - timedelta(days=days)
        west, south, right, north = original["bbox"]
        rings = original["geometry"]["coordinates"]
        yield {
            **original,
            "id": f"{original['id']}_{number // len(originals)}",
            "geometry": {"type": "Polygon", "coordinates": [[[x + east, y] for x, y in ring] for ring in rings]},
            "bbox": [west + east, south, right + east, north],
            "properties": {**original["properties"], "datetime": f"{time:%Y-%m-%dT%H:%M:%SZ}"},
        }
