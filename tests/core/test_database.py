"""The pools: bounded waiting, nothing left on a connection, and no restart of ours after one of the database's."""

from __future__ import annotations

import asyncio
import time

import pytest
from pydantic import SecretStr

from stacyard.core.connection import connect, redacted
from stacyard.core.database import AsyncDatabase, SyncDatabase
from stacyard.core.errors import Overloaded, Unavailable
from stacyard.core.settings import DatabaseSettings

TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"


def small(settings: DatabaseSettings) -> DatabaseSettings:
    return settings.model_copy(update={"pool_size": 1, "pool_wait_seconds": 0.3})


def unreachable(settings: DatabaseSettings) -> DatabaseSettings:
    return settings.model_copy(update={"reader_url": SecretStr("postgresql://r:secret@127.0.0.1:9/x")})


async def test_whoever_waits_too_long_is_told_to_come_back(database_settings: DatabaseSettings) -> None:
    database = AsyncDatabase(small(database_settings), "reader", application_name="test")
    await database.open()
    async with database.connection():
        started = time.monotonic()
        with pytest.raises(Overloaded):
            async with database.connection():
                pass
        assert time.monotonic() - started < 2
    await database.ping()
    await database.close()


def test_whoever_waits_too_long_in_a_thread_is_told_to_come_back(database_settings: DatabaseSettings) -> None:
    database = SyncDatabase(small(database_settings), "reader", application_name="test")
    database.open()
    with database.connection():
        started = time.monotonic()
        with pytest.raises(Overloaded), database.connection():
            pass
        assert time.monotonic() - started < 2
    database.ping()
    database.close()


async def test_the_pools_outlive_their_connections(database_settings: DatabaseSettings) -> None:
    asynchronous = AsyncDatabase(database_settings, "reader", application_name="test-victim")
    threaded = SyncDatabase(database_settings, "reader", application_name="test-victim")
    await asynchronous.open()
    threaded.open()
    await asynchronous.ping()
    await asyncio.to_thread(threaded.ping)
    with connect(database_settings.url("owner"), application_name="test") as owner:
        row = owner.execute(TERMINATE, ["test-victim"]).fetchone()
    assert row is not None
    assert row[0] >= 2
    await asyncio.sleep(0.2)
    await asynchronous.ping()
    await asyncio.to_thread(threaded.ping)
    await asynchronous.close()
    threaded.close()


async def test_a_pool_opens_without_its_database_and_says_that_it_is_away(database_settings: DatabaseSettings) -> None:
    settings = unreachable(small(database_settings))
    asynchronous = AsyncDatabase(settings, "reader", application_name="test")
    await asynchronous.open()
    with pytest.raises(Unavailable):
        await asynchronous.ping()
    await asynchronous.close()
    threaded = SyncDatabase(settings, "reader", application_name="test")
    threaded.open()
    with pytest.raises((Overloaded, Unavailable)):
        await asyncio.to_thread(threaded.ping)
    threaded.close()


def test_no_password_is_shown_when_a_connection_fails() -> None:
    with pytest.raises(Unavailable) as caught:
        connect("postgresql://owner:secret@127.0.0.1:9/x", application_name="test")
    assert "secret" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)
    assert redacted("postgresql://u:p%40w@h:1/d?sslmode=require") == "postgresql://u:***@h:1/d?sslmode=require"


async def test_a_reader_cannot_write_even_where_it_has_the_right(database_settings: DatabaseSettings) -> None:
    database = AsyncDatabase(database_settings, "reader", application_name="test")
    await database.open()
    async with database.connection() as connection:
        assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
        assert await connection.fetchval("SELECT pgstac.readonly()") is True
        assert await connection.fetchval("SHOW statement_timeout") == "15s"
    await database.close()


def test_a_missing_url_names_the_variable_to_set() -> None:
    with pytest.raises(ValueError, match="STACYARD_DATABASE_READER_URL"):
        DatabaseSettings(reader_url=None).url("reader")
    with pytest.raises(ValueError, match="postgresql://"):
        DatabaseSettings(reader_url=SecretStr("mysql://x"))
