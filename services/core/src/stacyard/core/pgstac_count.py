"""How many items a search matches: counted up to a bound, and beyond it what the planner expects."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import orjson

from stacyard.core.database import AsyncConnection
from stacyard.core.pgstac_queryables import Queryable
from stacyard.core.pgstac_where import ItemQuery, where_of
from stacyard.core.statement import Values

MOST_COUNTED = 100_000
_CONTEXT = "SELECT pgstac.context()"


@dataclass(frozen=True, kw_only=True)
class Count:
    """How many, and whether exactly so."""

    items: int
    exact: bool


class Counting:
    """Whether pgSTAC was told, by its setting `context`, to count what every search matches; asked once a minute."""

    def __init__(self, *, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._on = False
        self._asked = -math.inf

    async def is_on(self, connection: AsyncConnection) -> bool:
        """Whether answers are to say it though nobody asks."""
        now = self._clock()
        if now - self._asked >= self._seconds:
            self._on, self._asked = await connection.fetchval(_CONTEXT) != "off", now
        return self._on


async def count_items(
    connection: AsyncConnection, query: ItemQuery, queryables: Mapping[str, Queryable], *, most: int = MOST_COUNTED
) -> Count:
    """How many items the query means.

    Raises:
        InvalidRequest: the query cannot be made.
    """
    values = Values()
    matching = f"SELECT FROM pgstac.items WHERE {where_of(query, queryables, values)}"
    limit = f"{matching} LIMIT {values.add(most + 1, 'bigint')}"
    counted = await connection.fetchval(f"SELECT count(*) FROM ({limit}) AS items", *values.all)  # noqa: S608 - as above
    if counted <= most:
        return Count(items=counted, exact=True)
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {matching}", *values.all[:-1])
    expected = orjson.loads(plan) if isinstance(plan, str) else plan
    return Count(items=max(int(expected[0]["Plan"]["Plan Rows"]), most + 1), exact=False)
