"""Connections for the catalog: the reader's for reads; for writes one transaction that raises the revision."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Literal, Protocol

import asyncpg
from fastapi import Request
from stac_fastapi.pgstac.db import translate_pgstac_errors

from stacyard.core.access import client_key
from stacyard.core.database import AsyncConnection, AsyncDatabase
from stacyard.core.errors import Conflict, Forbidden, InvalidRequest, Overloaded
from stacyard.core.pgstac_writes import CatalogWriter
from stacyard.core.revision import RevisionPoll


class GetConnection(Protocol):
    """What stac-fastapi-pgstac calls for a connection."""

    def __call__(
        self, request: Request, readwrite: Literal["r", "w"] = "r"
    ) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection to read, or to write."""


def connection_getter(reader: AsyncDatabase) -> GetConnection:
    """The getter over the reader's pool. Within a write, what is read is read in its transaction."""

    @asynccontextmanager
    async def get_connection(request: Request, readwrite: Literal["r", "w"] = "r") -> AsyncIterator[AsyncConnection]:
        if readwrite == "w":
            raise Forbidden("this catalog is written through its transaction extension only")
        writing: AsyncConnection | None = getattr(request.state, "writing", None)
        with translate_pgstac_errors():
            if writing is not None:
                yield writing
                return
            async with reader.connection(client=client_key(request.scope)) as connection:
                yield connection

    return get_connection


class Writing:
    """Transactions over the writer's pool, of which this process knows as soon as they are done."""

    def __init__(self, writer: AsyncDatabase, revisions: RevisionPoll) -> None:
        self._writer = writer
        self._revisions = revisions

    @asynccontextmanager
    async def __call__(self, request: Request, collection: str) -> AsyncIterator[CatalogWriter]:
        """One transaction about one collection; if it has changed anything, it raises the collection's revision too.

        Raises:
            InvalidRequest: the database cannot make sense of a document.
            Conflict: something of this id is there already.
            Overloaded: others have the collection in hand, or the database has too much to do.
        """
        with _understandable():
            async with (
                self._writer.connection(client=client_key(request.scope)) as connection,
                connection.transaction(),
            ):
                request.state.writing = connection
                try:
                    catalog = CatalogWriter(connection, collection)
                    yield catalog
                    await catalog.raise_revision()
                finally:
                    request.state.writing = None
            self._revisions.expire()


# what a client can send that the checks before do not see, for one a geometry that PostGIS cannot read
_NOT_UNDERSTOOD = (
    asyncpg.DataError,
    asyncpg.RaiseError,
    asyncpg.InternalServerError,
    asyncpg.ProgramLimitExceededError,
    asyncpg.NotNullViolationError,
)
# another writer, or a search, was in the way
_IN_THE_WAY = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.CheckViolationError,
    asyncpg.UndefinedTableError,
)


@contextmanager
def _understandable() -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise Conflict("there is one of this id already: change it with PUT or PATCH") from error
    except _IN_THE_WAY as error:
        raise Overloaded("others have this collection in hand; try again shortly") from error
    except asyncpg.QueryCanceledError as error:
        raise Overloaded("this write took too long; send less at a time, or try again shortly") from error
    except _NOT_UNDERSTOOD as error:
        raise InvalidRequest(f"the database cannot store this: {error.args[0]}") from error
