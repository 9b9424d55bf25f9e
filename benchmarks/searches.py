"""Searches of 100,000 items by space and time over HTTP, no two the same: in one partition, and in one a month."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from benchmarks.bulk import check, empty_collection, start_ours, working_place
from benchmarks.items import write_items
from benchmarks.rounds import measure, result
from benchmarks.workloads import Paths, Workload, has_features
from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings, StorageSettings

ITEMS = 100_000
SEARCHES = 60
_SOME = """
SELECT ST_X(centre), ST_Y(centre), datetime
FROM (
    SELECT ST_Centroid(geometry) AS centre, datetime FROM pgstac.items WHERE collection = %s ORDER BY id LIMIT 5000
) AS items
"""


def run_searches(
    database: DatabaseSettings, storage: StorageSettings, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Pages of 10 and of 100, ours beside stock."""
    figures = []
    with working_place(database, storage) as place:
        say(f"making {ITEMS:,} items")
        path = place.directory / "items.ndjson"
        write_items(path, ITEMS)
        for partition in ("none", "month"):
            with empty_collection(place, partition, name="searched") as collection:
                say(f"partition {partition}: loading")
                check(start_ours(place, collection, path, partition=partition).wait(), "stacyard-ingest")
                for limit in (10, 100):
                    say(f"partition {partition}: searching, limit {limit}")
                    name = f"search-many{'-by-month' if partition == 'month' else ''}-{limit}"
                    workload = Workload("stac", _searches(collection, limit), has_features, name)
                    figures.append(result(name, *measure(workload, database, storage)))
    return figures


def _searches(collection: str, limit: int) -> Callable[[DatabaseSettings, random.Random], Paths]:
    def paths(database: DatabaseSettings, chance: random.Random) -> Paths:
        with connect(database.url("reader"), application_name="stacyard-bench") as connection:
            items = connection.execute(_SOME, [collection]).fetchall()
        about = {"collections": collection, "limit": limit}
        chosen = chance.choices(items, k=SEARCHES)
        return [f"/search?{urlencode(about | _finding(x, y, time, chance))}" for x, y, time in chosen]

    return paths


def _finding(x: float, y: float, time: datetime, chance: random.Random) -> dict[str, str]:
    """Parameters that find this item: by its place, its time, or both; a quarter of them with the oldest first."""
    half, days = chance.uniform(0.05, 1.5), timedelta(days=chance.uniform(1, 60))
    parameters = {}
    by = chance.choice(["place", "place", "time", "both"])
    if by != "time":
        parameters["bbox"] = f"{x - half:.6f},{y - half:.6f},{x + half:.6f},{y + half:.6f}"
    if by != "place":
        parameters["datetime"] = "/".join(f"{end:%Y-%m-%dT%H:%M:%SZ}" for end in (time - days, time + days))
    if chance.random() < 0.25:
        parameters["sortby"] = "+datetime"
    return parameters
