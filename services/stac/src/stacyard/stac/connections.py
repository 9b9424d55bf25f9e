"""Connections for stac-fastapi-pgstac: the reader's for reads; for writes a transaction that raises the revision."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, Protocol

from fastapi import Request
from stac_fastapi.pgstac.db import translate_pgstac_errors

from stacyard.core.database import AsyncConnection, AsyncDatabase
from stacyard.core.errors import Forbidden
from stacyard.core.revision import RAISE_REVISION
from stacyard.stac.transactions import collection_written


class GetConnection(Protocol):
    """What stac-fastapi-pgstac calls for a connection."""

    def __call__(
        self, request: Request, readwrite: Literal["r", "w"] = "r"
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection to read, or to write."""


def connection_getter(reader: AsyncDatabase, writer: AsyncDatabase | None) -> GetConnection:
    """The getter over two pools; without a writer, writes are refused."""

    @asynccontextmanager
    async def get_connection(request: Request, readwrite: Literal["r", "w"] = "r") -> AsyncIterator[AsyncConnection]:
        if readwrite == "r":
            with translate_pgstac_errors():
                async with reader.connection() as connection:
                    yield connection
            return
        if writer is None:
            raise Forbidden("this catalog is read-only; transactions are off")
        with translate_pgstac_errors():
            async with writer.connection() as connection, connection.transaction():
                yield connection
                collection = await collection_written(request)
                if collection is not None:
                    await connection.fetchval(RAISE_REVISION.format(placeholder="$1"), collection)

    return get_connection
