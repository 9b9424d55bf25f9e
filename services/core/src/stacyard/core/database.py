"""Connection pools that are safe behind a transaction-mode pooler, with a bounded wait.

What keeps them safe: no start-up options, no prepared statement that outlives a transaction, no reset query, nothing
set on a connection. Search path, time limits and read-only mode belong to the login roles, where migrations put them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from threading import BoundedSemaphore, Event, Lock
from typing import TypeAlias

import asyncpg
import orjson
import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout, TooManyRequests

from stacyard.core.errors import Overloaded, Unavailable
from stacyard.core.fair import fair_queue
from stacyard.core.settings import DatabaseSettings, FairSettings, Role

# asyncpg's classes are generic in its stubs only, so these stay text at runtime
AsyncPool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
AsyncConnection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
SyncPool: TypeAlias = ConnectionPool[psycopg.Connection[TupleRow]]

#: Database errors that a client may see as something else than a 500, by exception class.
DATABASE_STATUSES: Mapping[type[Exception], int] = {
    asyncpg.QueryCanceledError: 503,
    asyncpg.LockNotAvailableError: 503,
    asyncpg.PostgresConnectionError: 503,
    asyncpg.OperatorInterventionError: 503,
    asyncpg.InsufficientResourcesError: 503,
    asyncpg.InterfaceError: 503,
    psycopg.OperationalError: 503,
    psycopg.InterfaceError: 503,
}

_UNREACHABLE = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ProtocolViolationError,
)


_TOOK_TOO_LONG = "the database took too long for this request; ask for less, or try again shortly"
_LOCKED = "what this request needs is being changed; try again shortly"


async def _use_orjson(connection: AsyncConnection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(name, encoder=_dumps, decoder=orjson.loads, schema="pg_catalog")


def _dumps(value: object) -> str:
    return orjson.dumps(value).decode()


async def _keep_as_it_is(_: AsyncConnection) -> None:
    """Instead of asyncpg's reset query, which pins a proxied session and costs a round trip."""


class AsyncDatabase:
    """An asyncpg pool for one role. It opens without the database and outlives the database's restarts."""

    def __init__(
        self, settings: DatabaseSettings, role: Role, *, application_name: str, fair: FairSettings | None = None
    ) -> None:
        """A pool that is not open yet.

        Args:
            settings: where the database is, and how many connections the pool may open.
            role: whose URL it opens them with.
            application_name: what the database's own views show.
            fair: how clients share the connections; None: first come, first served.
        """
        self._settings = settings
        self._url = settings.url(role)
        self._application_name = application_name
        self._queue = fair_queue(fair, connections=settings.pool_size) if fair is not None else None
        self._pool: AsyncPool | None = None

    async def open(self) -> None:
        """Make the pool. No connection is opened yet."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._settings.pool_size,
            max_inactive_connection_lifetime=self._settings.idle_seconds,
            timeout=self._settings.connect_timeout_seconds,
            init=_use_orjson,
            reset=_keep_as_it_is,
            server_settings={"application_name": self._application_name},
            statement_cache_size=0 if self._settings.pooled else 100,
        )

    async def close(self) -> None:
        """Close the pool; connections still in use after five seconds are cut."""
        if self._pool is None:
            return
        try:
            await asyncio.wait_for(self._pool.close(), timeout=5)
        except TimeoutError:
            self._pool.terminate()

    @asynccontextmanager
    async def connection(self, *, client: str | None = None) -> AsyncIterator[AsyncConnection]:
        """A connection of the pool.

        It is what a request holds while it works, and not while it is sent or its answer is read. So this is where
        clients wait for each other; what is answered without the database waits for nobody.

        Args:
            client: for whom, see `access.client_key`; None for ourselves, who do not wait for our clients.

        Raises:
            TooManyRequests: the client has too many requests in hand.
            Overloaded: no connection became free within the bounded wait, or the statement took too long.
            Unavailable: the database cannot be reached.
        """
        async with self._turn(client), self._lent() as connection:
            yield connection

    def _turn(self, client: str | None) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._queue is None or client is None else self._queue.place(client)

    @asynccontextmanager
    async def _lent(self) -> AsyncIterator[AsyncConnection]:
        if self._pool is None:
            raise Unavailable("the database pool is not open")
        try:
            connection = await self._pool.acquire(timeout=self._settings.pool_wait_seconds)
        except TimeoutError as error:
            raise Overloaded("all database connections are busy; try again shortly") from error
        except _UNREACHABLE as error:
            raise Unavailable("the database does not answer; try again shortly") from error
        try:
            yield connection
        except asyncpg.QueryCanceledError as error:
            raise Overloaded(_TOOK_TOO_LONG) from error
        except asyncpg.LockNotAvailableError as error:
            raise Overloaded(_LOCKED) from error
        except (asyncpg.ConnectionDoesNotExistError, ConnectionError) as error:
            raise Unavailable("the database went away during the request; try again shortly") from error
        finally:
            await self._pool.release(connection, timeout=self._settings.connect_timeout_seconds)

    async def ping(self) -> None:
        """One round trip.

        Raises:
            Overloaded, Unavailable: as `connection`.
        """
        async with self.connection() as connection:
            await connection.fetchval("SELECT 1", timeout=self._settings.pool_wait_seconds)


class SyncDatabase:
    """A psycopg pool for one role, for code in threads. It opens without the database and outlives its restarts.

    psycopg's pool keeps whoever waited in vain in its queue until a connection comes, so that its own bound on waiters
    would close it for good after an outage. Waiters are therefore bounded here, and a pool that has given up reaching
    the database is replaced.
    """

    def __init__(self, settings: DatabaseSettings, role: Role, *, application_name: str) -> None:
        self._settings = settings
        self._url = settings.url(role)
        self._application_name = application_name
        # whoever would wait longer than a few full turns of the pool is better told to come back
        self._places = BoundedSemaphore(8 * settings.pool_size)
        self._lock = Lock()
        self._gave_up = Event()
        self._pool = self._make()

    def open(self) -> None:
        """Start the pool. No connection is waited for."""
        self._pool.open(wait=False)

    def close(self) -> None:
        """Close the pool and its connections."""
        self._pool.close(timeout=5)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[TupleRow]]:
        """A connection of the pool.

        Raises:
            Overloaded: none became free within the bounded wait; also when the database cannot be reached, since the
                pool keeps trying in the background.
        """
        if not self._places.acquire(blocking=False):
            raise Overloaded("too many requests wait for a database connection; try again shortly")
        try:
            with translate_pool_errors(), self._live_pool().connection() as connection:
                yield connection
        finally:
            self._places.release()

    def _live_pool(self) -> SyncPool:
        if self._gave_up.is_set():
            with self._lock:
                if self._gave_up.is_set():
                    given_up, self._pool = self._pool, self._make()
                    self._pool.open(wait=False)
                    self._gave_up.clear()
                    given_up.close(timeout=0)
        return self._pool

    def _make(self) -> SyncPool:
        return ConnectionPool(
            self._url,
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=self._settings.pool_wait_seconds,
            max_idle=self._settings.idle_seconds,
            reconnect_timeout=self._settings.connect_timeout_seconds,
            reconnect_failed=lambda _: self._gave_up.set(),
            num_workers=1,
            check=ConnectionPool.check_connection,
            open=False,
            kwargs={
                "prepare_threshold": None,
                "autocommit": True,
                "application_name": self._application_name,
                "connect_timeout": max(2, round(self._settings.connect_timeout_seconds)),
            },
        )

    def ping(self) -> None:
        """One round trip.

        Raises:
            Overloaded, Unavailable: as `connection`.
        """
        with self.connection() as connection:
            connection.execute("SELECT 1")


@contextmanager
def translate_pool_errors() -> Iterator[None]:
    """Turn what psycopg says of pool and connection into our errors."""
    try:
        yield
    except (PoolTimeout, TooManyRequests) as error:
        raise Overloaded("no database connection became free in time; try again shortly") from error
    except psycopg.errors.QueryCanceled as error:
        raise Overloaded(_TOOK_TOO_LONG) from error
    except psycopg.errors.LockNotAvailable as error:
        raise Overloaded(_LOCKED) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable("the database went away during the request; try again shortly") from error
