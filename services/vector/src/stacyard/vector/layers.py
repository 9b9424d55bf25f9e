"""Which layers there are, kept fresh on every worker without a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated

from fastapi import Depends, FastAPI, Path, Request
from tipg.collections import Collection, CollectionList, register_collection_catalog
from tipg.dependencies import CollectionsParams

from stacyard.core.access import check_read, may_read
from stacyard.core.database import AsyncConnection, AsyncDatabase
from stacyard.core.errors import NotFound
from stacyard.core.revision import READ_REVISIONS, RevisionPoll
from stacyard.vector.settings import VectorSettings


class Pool:
    """What tipg takes for its pool: `acquire`, with our bounded wait."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database

    def acquire(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection of the reader."""
        return self._database.connection()


class Layers:
    """Keeps tipg's catalog in `app.state`; it is read anew when the ingestor raised a revision, and at intervals."""

    def __init__(self, database: AsyncDatabase, settings: VectorSettings) -> None:
        self._database = database
        self._settings = settings
        self._revisions = RevisionPoll(self._read_revisions, seconds=settings.revision_seconds)
        self._lock = asyncio.Lock()
        self._known: Mapping[str, int] | None = None
        self._read_at = float("-inf")

    async def refresh(self, app: FastAPI) -> None:
        """Read the list of layers if it may have changed. One caller reads, the others wait for it.

        Raises:
            stacyard.core.errors.Overloaded, stacyard.core.errors.Unavailable: there is no list yet and no database.
        """
        revisions = await self._revisions.all()
        if self._is_fresh(revisions):
            return
        async with self._lock:
            if not self._is_fresh(revisions):
                await register_collection_catalog(app, db_settings=self._settings.upstream())
                self._known, self._read_at = revisions, time.monotonic()

    def _is_fresh(self, revisions: Mapping[str, int]) -> bool:
        return self._known == revisions and time.monotonic() - self._read_at < self._settings.layers_seconds

    async def _read_revisions(self) -> Mapping[str, int]:
        async with self._database.connection() as connection:
            return {row["collection"]: row["revision"] for row in await connection.fetch(READ_REVISIONS)}


async def fresh_layers(request: Request) -> None:
    """Dependency of every route: the list of layers is as new as the settings ask."""
    layers: Layers = request.app.state.layers
    await layers.refresh(request.app)


async def readable_layer(
    request: Request,
    collectionId: Annotated[str, Path(description="Layer, as schema.table")],  # noqa: N803
) -> Collection:
    """Dependency of the routes of one layer.

    Raises:
        NotFound: there is no such layer.
    """
    check_read(request, layer=collectionId)
    if collectionId not in request.app.state.collection_catalog["collections"]:
        raise NotFound(f"there is no layer {collectionId!r}; /collections lists those that there are")
    return request.app.state.collection_catalog["collections"][collectionId]


async def readable_layers(
    request: Request, layers: Annotated[CollectionList, Depends(CollectionsParams)]
) -> CollectionList:
    """Dependency of the list of layers: those that the caller may know of."""
    readable = [layer for layer in layers["collections"] if may_read(request, layer=layer.id)]
    return CollectionList({**layers, "collections": readable})
