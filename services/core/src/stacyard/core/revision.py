"""The catalog revision: one number a collection, raised by whoever writes, polled by whoever caches.

A poll instead of LISTEN, because a proxied connection cannot carry notifications.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import psycopg
from psycopg.rows import TupleRow

from stacyard.core.database import AsyncConnection

READ_REVISIONS = "SELECT collection, revision FROM stacyard.catalog_revision"
_READ_STATES = """SELECT collection, revision, (extract(epoch FROM changed_at) * 1000000)::bigint AS microseconds
FROM stacyard.catalog_revision"""
RAISE_REVISION = "SELECT stacyard.raise_catalog_revision({placeholder})"


def raise_revision(connection: psycopg.Connection[TupleRow], collection: str) -> int:
    """Say that a collection has changed, within the caller's transaction; returns the new revision."""
    row = connection.execute(RAISE_REVISION.format(placeholder="%s"), [collection]).fetchone()
    assert row is not None  # noqa: S101 - the function always returns one row
    return int(row[0])


async def read_states(connection: AsyncConnection) -> dict[str, int]:
    """A number for each collection that rises with its revision, and that no restored backup repeats.

    Revisions alone would: after a restore they go on from a lower one, and reach the higher once more with other
    content. The time of the change tells them apart.
    """
    rows = await connection.fetch(_READ_STATES)
    return {row["collection"]: row["revision"] << 64 | row["microseconds"] for row in rows}


class RevisionPoll:
    """The revisions as they were at most `seconds` ago. Readers at the same time share one query.

    If the read fails the last good state stays for another `seconds`, because serving slightly old answers is better
    than none; if it takes longer than `patience`, readers have the last good state meanwhile. The first read has no
    such state: it is waited for, and raises.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, int]]],
        *,
        seconds: float = 2.0,
        patience: float = 0.25,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._patience = patience
        self._clock = clock
        self._reading: asyncio.Task[None] | None = None
        self._revisions: Mapping[str, int] | None = None
        self._read_at = float("-inf")

    async def all(self) -> Mapping[str, int]:
        """Every collection's revision, by collection id."""
        if self._revisions is not None and self._clock() - self._read_at < self._seconds:
            return self._revisions
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
            self._reading.add_done_callback(_look_at_error)
        reading = self._reading
        known = self._revisions is not None
        # neither is the query cancelled with one of its readers
        await asyncio.wait((reading,), timeout=self._patience if known else None)
        if self._revisions is None:
            reading.result()
        return self._revisions or {}

    async def of(self, collection: str) -> int:
        """One collection's revision; 0 if nothing was ever written to it."""
        return (await self.all()).get(collection, 0)

    def expire(self) -> None:
        """Have the next reader ask anew, for what this process has just written; a query under way does not count."""
        self._read_at = float("-inf")
        self._reading = None

    async def _read(self) -> None:
        this = asyncio.current_task()
        try:
            revisions = MappingProxyType(dict(await self._fetch()))
            if self._reading is this or self._revisions is None:
                self._revisions = revisions
        except Exception:
            if self._revisions is None:
                raise
        finally:
            if self._reading is this:
                self._reading = None
                self._read_at = self._clock()


def _look_at_error(reading: asyncio.Task[None]) -> None:
    """So that an error of which every reader has gone is no error of the event loop."""
    if not reading.cancelled():
        reading.exception()
