"""A search read from its first item to its last, page after page.

Every page is a statement of its own on a connection that goes back to the pool before the page goes anywhere: a slow
client holds no connection, and a transaction-mode pooler may stand between. Where the walk goes on is found by what it
sorts by, so that whatever is written meanwhile, an item that was there throughout comes exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TypeAlias

import asyncpg

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import Overloaded, Unavailable
from stacyard.core.pgstac_pages import Catalog, Page, PageQuery, read_page

#: Lends a connection.
Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]

# what is held in memory of an export, and what its encoding takes at a time
PAGE_ITEMS = 500
# a database that restarts or is busy for a moment must not cost an export of minutes
_PAUSES = (0.5, 1.0, 2.0)
_PASSING = (
    Overloaded,
    Unavailable,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)


async def walk(connect: Connect, catalog: Catalog, query: PageQuery) -> AsyncGenerator[Page, None]:
    """Pages until so many items as the query's limit says are read, or there are no more.

    Raises:
        InvalidRequest, asyncpg.PostgresError: as `read_page`.
        Overloaded, Unavailable: the database did not answer for some seconds.
    """
    left = query.limit
    while True:
        page = await _read(connect, catalog, replace(query, limit=min(left, PAGE_ITEMS)))
        yield page
        left -= len(page.rows)
        if page.behind is None or left == 0:
            return
        query = replace(query, start=page.behind)


async def _read(connect: Connect, catalog: Catalog, query: PageQuery) -> Page:
    for pause in _PAUSES:
        try:
            async with connect() as connection:
                return await read_page(connection, catalog, query)
        except _PASSING:
            await asyncio.sleep(pause)
    async with connect() as connection:
        return await read_page(connection, catalog, query)
