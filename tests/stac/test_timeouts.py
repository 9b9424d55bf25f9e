"""What takes the database too long becomes a 503 that says so, directly and through a transaction-mode pooler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from stacyard.core.connection import connect
from stacyard.core.settings import DatabaseSettings
from stacyard.stac.settings import StacSettings

from .serving import catalog, served

# a pooler's connections to the server keep the settings that they began with
RECONNECT = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'stacyard_reader'"


@contextmanager
def role_setting(database: DatabaseSettings, name: str, value: str) -> Iterator[None]:
    """A setting of the reader's login role, for all its new sessions."""
    with connect(database.url("reader"), application_name="test") as reader:
        before = reader.execute(f"SHOW {name}".encode()).fetchone()
    assert before is not None
    with connect(database.url("owner"), application_name="test") as owner:

        def put(wanted: str) -> None:
            role = f"ALTER ROLE stacyard_reader IN DATABASE {owner.info.dbname}"
            owner.execute(f"{role} SET {name} TO '{wanted}'".encode())
            owner.execute(RECONNECT)

        put(value)
        try:
            yield
        finally:
            put(before[0])


@pytest.fixture(params=["direct", "pooled"])
def database(request: pytest.FixtureRequest, database_settings: DatabaseSettings) -> DatabaseSettings:
    settings: DatabaseSettings = (
        request.getfixturevalue("pgbouncer") if request.param == "pooled" else database_settings
    )
    return settings


def check_says_so(answer: httpx.Response, sentence: str) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert int(answer.headers["retry-after"]) > 0
    assert sentence in answer.json()["detail"]
    assert "statement" not in answer.text


def test_a_statement_that_takes_too_long_is_a_503_with_a_sentence(database: DatabaseSettings) -> None:
    with role_setting(database, "statement_timeout", "300ms"), served(catalog(StacSettings(database=database))) as url:
        check_says_so(httpx.get(f"{url}/slow?seconds=5", timeout=10), "took too long for this request; ask for less")
        # the connection is none the worse for it
        assert httpx.get(f"{url}/slow?seconds=0.01").status_code == 200
        assert httpx.get(f"{url}/search").status_code == 200


@pytest.mark.parametrize(
    ("limit", "sentence"), [("statement_timeout", "took too long"), ("lock_timeout", "is being changed")]
)
@pytest.mark.parametrize("path", ["/search", "/search?filter=eo:cloud_cover<10", "/collections/none/items/none"])
def test_so_is_a_real_search_that_cannot_go_on(
    database_settings: DatabaseSettings, limit: str, sentence: str, path: str
) -> None:
    """Somebody changes the table of items, as a migration would."""
    with (
        role_setting(database_settings, limit, "300ms"),
        served(catalog(StacSettings(database=database_settings))) as url,
        connect(database_settings.url("owner"), application_name="test") as owner,
    ):
        with owner.transaction():
            owner.execute("LOCK TABLE pgstac.items IN ACCESS EXCLUSIVE MODE")
            check_says_so(httpx.get(url + path, timeout=10), sentence)
        assert httpx.get(url + path, timeout=10).status_code in (200, 404)
