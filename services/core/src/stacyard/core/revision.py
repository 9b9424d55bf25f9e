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

READ_REVISIONS = "SELECT collection, revision FROM stacyard.catalog_revision"
RAISE_REVISION = "SELECT stacyard.raise_catalog_revision({placeholder})"


def raise_revision(connection: psycopg.Connection[TupleRow], collection: str) -> int:
    """Say that a collection has changed, within the caller's transaction; returns the new revision."""
    row = connection.execute(RAISE_REVISION.format(placeholder="%s"), [collection]).fetchone()
    assert row is not None  # noqa: S101 - the function always returns one row
    return int(row[0])


class RevisionPoll:
    """The revisions as they were at most `seconds` ago. Readers at the same time share one query.

    If the read fails the last good state stays for another `seconds`, because serving slightly old answers is better
    than none; the first read has no such state and raises.
    """

    def __init__(
        self,
        fetch: Callable[[], Awaitable[Mapping[str, int]]],
        *,
        seconds: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._seconds = seconds
        self._clock = clock
        self._lock = asyncio.Lock()
        self._revisions: Mapping[str, int] | None = None
        self._read_at = float("-inf")

    async def all(self) -> Mapping[str, int]:
        """Every collection's revision, by collection id."""
        if self._revisions is not None and self._clock() - self._read_at < self._seconds:
            return self._revisions
        async with self._lock:
            if self._revisions is None or self._clock() - self._read_at >= self._seconds:
                try:
                    self._revisions = MappingProxyType(dict(await self._fetch()))
                except Exception:
                    if self._revisions is None:
                        raise
                self._read_at = self._clock()
        return self._revisions

    async def of(self, collection: str) -> int:
        """One collection's revision; 0 if nothing was ever written to it."""
        return (await self.all()).get(collection, 0)
