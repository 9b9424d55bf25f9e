"""A migration brings any database to this version, once, whoever else tries at the same time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from stacyard.core import migrate as module
from stacyard.core.migrate import MigrationError, Script, migrate, numbered_scripts
from stacyard.core.settings import DatabaseSettings, Role


def url_of(settings: DatabaseSettings, role: Role, database: str) -> str:
    return urlsplit(settings.url(role))._replace(path=f"/{database}").geturl()


@pytest.fixture
def empty_database(database_settings: DatabaseSettings) -> Iterator[str]:
    name = "migrate_test"
    with psycopg.connect(database_settings.url("owner"), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def migrated_url(database_settings: DatabaseSettings, empty_database: str) -> str:
    url = url_of(database_settings, "owner", empty_database)
    migrate(url)
    return url


def test_second_run_changes_nothing(migrated_url: str) -> None:
    assert migrate(migrated_url) == []


def test_two_runs_at_once_both_succeed_and_share_the_work(
    database_settings: DatabaseSettings, empty_database: str
) -> None:
    url = url_of(database_settings, "owner", empty_database)
    program = "import sys; from stacyard.core.migrate import migrate; print(len(migrate(sys.argv[1])))"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [run.communicate(timeout=120) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    steps = sorted(int(output) for output, _ in answers)
    assert steps[0] == 0
    assert steps[1] > 1


def test_repeatable_script_runs_again_only_when_its_text_changed(migrated_url: str) -> None:
    def answer(number: int) -> Script:
        return Script("test/answer.sql", f"CREATE OR REPLACE FUNCTION answer() RETURNS int RETURN {number};")

    assert migrate(migrated_url, repeatable=[answer(1)]) == ["test/answer.sql"]
    assert migrate(migrated_url, repeatable=[answer(1)]) == []
    assert migrate(migrated_url, repeatable=[answer(2)]) == ["test/answer.sql"]
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT answer()").fetchone() == (2,)


def test_failed_script_leaves_nothing_and_is_tried_again(migrated_url: str) -> None:
    broken = Script("test/half.sql", "CREATE TABLE half (); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"test/half\.sql"):
        migrate(migrated_url, repeatable=[broken])
    assert migrate(migrated_url, repeatable=[Script("test/half.sql", "CREATE TABLE half ()")]) == ["test/half.sql"]


def test_database_of_a_newer_version_is_refused(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("INSERT INTO stacyard.migration (name, checksum) VALUES ('999_future.sql', 'x')")
    with pytest.raises(MigrationError, match=r"999_future\.sql.*newer stacyard"):
        migrate(migrated_url)


def test_what_an_older_database_holds_is_found_after_the_migration(
    database_settings: DatabaseSettings, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(database_settings, "owner", empty_database)
    older = [script for script in numbered_scripts() if script.name < "013"]
    with monkeypatch.context() as before:
        before.setattr(module, "numbered_scripts", lambda: older)
        migrate(url)
    document = {"type": "Collection", "id": "old", "title": "Oats", "description": "Of old."}
    item = {
        "type": "Feature",
        "id": "item",
        "collection": "old",
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "properties": {"datetime": "2020-01-01T00:00:00Z", "title": "Oats"},
    }
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path TO pgstac, public")
        connection.execute("SELECT create_collection(%s)", [json.dumps(document)])
        connection.execute("SELECT create_collection(%s)", [json.dumps({**document, "type": "Catalog", "id": "none"})])
        connection.execute("SELECT create_item(%s)", [json.dumps(item)])
    migrate(url)
    with psycopg.connect(url) as connection:
        asked = "SELECT id FROM {} WHERE {} @@ 'oat'"
        for table, words in (("stacyard.collection_search", "words"), ("pgstac.items", "stacyard.item_words(content)")):
            [found] = connection.execute(asked.format(table, words).encode()).fetchall()
            assert found[0] in ("old", "item")


def test_newer_pgstac_is_refused(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("INSERT INTO pgstac.migrations (version) VALUES ('0.11.0')")
    with pytest.raises(MigrationError, match=r"pgSTAC 0\.11\.0"):
        migrate(migrated_url)


def test_migration_that_was_changed_afterwards_is_refused(migrated_url: str) -> None:
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE stacyard.migration SET checksum = 'other' WHERE name = '001_roles.sql'")
    with pytest.raises(MigrationError, match=r"001_roles\.sql was changed"):
        migrate(migrated_url)


@pytest.mark.parametrize(
    ("role", "read_only", "statement_timeout", "pgstac_read_only"),
    [("reader", "on", "15s", "true"), ("writer", "off", "25s", None), ("ingest", "off", "10min", None)],
)
def test_sessions_of_a_role_carry_its_settings(
    database_settings: DatabaseSettings,
    role: Role,
    read_only: str,
    statement_timeout: str,
    pgstac_read_only: str | None,
) -> None:
    with psycopg.connect(database_settings.url(role)) as connection:
        seen = connection.execute(
            "SELECT current_setting('search_path'), current_setting('default_transaction_read_only'), "
            "current_setting('statement_timeout'), current_setting('jit'), current_setting('pgstac.readonly', true)"
        ).fetchone()
    assert seen == ("pgstac, public", read_only, statement_timeout, "off", pgstac_read_only)


def test_reader_cannot_write_even_in_a_transaction_that_could(database_settings: DatabaseSettings) -> None:
    with psycopg.connect(database_settings.url("reader"), autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only TO off")
        for table in ("pgstac.items", "pgstac.collections", "stacyard.catalog_revision", "stacyard.ingest_run"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.SQL(table)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE public.of_my_own ()")


def test_ingest_role_makes_layers_that_the_reader_sees(database_settings: DatabaseSettings) -> None:
    with psycopg.connect(database_settings.url("ingest"), autocommit=True) as writer:
        writer.execute("CREATE TABLE features.migrate_test AS SELECT 1 AS id")
        try:
            with psycopg.connect(database_settings.url("reader")) as reader:
                assert reader.execute("SELECT id FROM features.migrate_test").fetchone() == (1,)
        finally:
            writer.execute("DROP TABLE features.migrate_test")


def test_clients_reach_the_database_through_the_pooler(pgbouncer: DatabaseSettings) -> None:
    with psycopg.connect(pgbouncer.url("reader"), prepare_threshold=None) as connection:
        assert connection.execute("SHOW default_transaction_read_only").fetchone() == ("on",)
