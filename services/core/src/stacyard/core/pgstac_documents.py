"""Documents of collections as they are stored, at hand for whatever is answered with their items."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from stacyard.core.database import AsyncConnection

Document = Mapping[str, Any]

_DOCUMENTS = "SELECT id, content FROM pgstac.collections WHERE id = ANY ($1::text[])"


class CollectionDocuments:
    """Documents by id, read again after a few seconds; a bounded number of them is kept."""

    def __init__(self, *, seconds: float = 5.0, limit: int = 2000, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._limit = limit
        self._clock = clock
        self._known: dict[str, tuple[float, Document]] = {}

    def clear(self) -> None:
        """Read anew whatever comes next."""
        self._known.clear()

    async def of(self, connection: AsyncConnection, ids: Collection[str]) -> dict[str, Document]:
        """The documents of these collections; one that is not there says its id and no more."""
        now = self._clock()
        documents = {name: kept[1] for name in ids if (kept := self._known.get(name)) and now - kept[0] < self._seconds}
        missing = [name for name in ids if name not in documents]
        if missing:
            rows = await self._read(connection, missing)
            if len(self._known) + len(missing) > self._limit:
                self._known.clear()
            for name in missing:
                documents[name] = {"id": name, **rows.get(name, {})}
                self._known[name] = (now, documents[name])
        return documents

    async def _read(self, connection: AsyncConnection, ids: list[str]) -> dict[str, Document]:
        return {row[0]: row[1] for row in await connection.fetch(_DOCUMENTS, ids)}
