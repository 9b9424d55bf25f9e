"""Bring a database to what this version needs: pgSTAC first, then our numbered SQL files, then repeatable scripts.

Each step is a transaction that records itself, so an interrupted run is continued by the next; an advisory lock lets
two runs at once become one after the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.errors import StacyardError

PGSTAC_VERSION = "0.10.0"

# any number that no other program on the database uses; "stacyard" in ASCII, cut to 63 bits
_LOCK = 0x7374616379617264 & 0x7FFFFFFFFFFFFFFF

_BOOKKEEPING = """
CREATE SCHEMA IF NOT EXISTS stacyard;
CREATE TABLE IF NOT EXISTS stacyard.migration (
    name text PRIMARY KEY,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE stacyard.migration IS 'What of stacyard''s SQL this database has, by file name and SHA-256.';
"""


class MigrationError(StacyardError):
    """The database cannot be brought to this version; the message says what to do."""


@dataclass(frozen=True)
class Script:
    """SQL under a name. A numbered script runs once and never changes; a repeatable one whenever its text changed."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def numbered_scripts() -> list[Script]:
    """Our own migrations in the order of their numbers."""
    folder = files(__package__).joinpath("sql")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Script(name, folder.joinpath(name).read_text(encoding="utf-8")) for name in names]


def migrate(
    owner_url: str,
    *,
    repeatable: Sequence[Script] = (),
    passwords: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Migrate the database behind `owner_url`; returns the names of the steps that changed something.

    Args:
        owner_url: a direct connection, not through a pooler, with the right to create roles, schemas and extensions.
        repeatable: scripts of other packages, such as the SQL functions of the vector service.
        passwords: password by login role, set after the roles exist; sent as SCRAM verifiers, never as text.
        report: called with each step as it starts.

    Raises:
        Unavailable: the database cannot be reached.
        MigrationError: it is newer than this program, a migration that it has was changed since, or one failed.
    """
    with connect(owner_url, application_name="stacyard-migrate") as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        done: list[str] = []
        connection.execute(_BOOKKEEPING)
        applied = _applied(connection)
        scripts = numbered_scripts()
        _refuse_what_does_not_fit(applied, scripts)
        present = _pgstac_version(connection)
        if present != PGSTAC_VERSION:
            report(f"pgSTAC {PGSTAC_VERSION}")
            _migrate_pgstac(owner_url, present)
            done.append(f"pgSTAC {PGSTAC_VERSION}")
        pending = [script for script in scripts if script.name not in applied]
        pending += [script for script in repeatable if applied.get(script.name) != script.checksum]
        for script in pending:
            report(script.name)
            _apply(connection, script)
            done.append(script.name)
        for role, password in (passwords or {}).items():
            _set_password(connection, role, password)
        return done


def _applied(connection: psycopg.Connection[TupleRow]) -> dict[str, str]:
    return dict(connection.execute("SELECT name, checksum FROM stacyard.migration").fetchall())


def _refuse_what_does_not_fit(applied: Mapping[str, str], scripts: Sequence[Script]) -> None:
    known = {script.name: script for script in scripts}
    newer = sorted(name for name in applied if name[:1].isdigit() and name not in known)
    if newer:
        raise MigrationError(
            f"the database has migrations that this version does not know ({', '.join(newer)}): it was migrated by a "
            "newer stacyard; use that version, or restore a backup"
        )
    changed = [name for name, script in known.items() if applied.get(name, script.checksum) != script.checksum]
    if changed:
        raise MigrationError(
            f"{', '.join(changed)} was changed after this database had it; restore the file and write a new migration"
        )


def _pgstac_version(connection: psycopg.Connection[TupleRow]) -> str | None:
    exists = connection.execute("SELECT to_regclass('pgstac.migrations') IS NOT NULL").fetchone()
    if not exists or not exists[0]:
        return None
    row = connection.execute(
        "SELECT version FROM pgstac.migrations ORDER BY datetime DESC, version DESC LIMIT 1"
    ).fetchone()
    return str(row[0]) if row else None


def _migrate_pgstac(owner_url: str, present: str | None) -> None:
    # half a second of imports that a database which has its pgSTAC need not pay
    from pypgstac.db import PgstacDB
    from pypgstac.migrate import Migrate

    try:
        # a function of pgSTAC reads row types of tables made moments ago; its own runner needs a session to itself
        with PgstacDB(dsn=owner_url) as database:
            Migrate(database).run_migration(PGSTAC_VERSION)
    # pypgstac raises a bare Exception when it knows no way from one version to the other
    except Exception as error:
        raise MigrationError(
            f"the database has pgSTAC {present or 'not yet'} and could not be brought to {PGSTAC_VERSION}: {error}"
        ) from error


def _apply(connection: psycopg.Connection[TupleRow], script: Script) -> None:
    try:
        with connection.transaction():
            # a lock that others hold must stop the migration, not the others
            connection.execute("SET LOCAL lock_timeout = '10s'")
            connection.execute(script.text.encode())
            connection.execute(
                "INSERT INTO stacyard.migration (name, checksum) VALUES (%s, %s) "
                "ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = now()",
                [script.name, script.checksum],
            )
    except psycopg.Error as error:
        raise MigrationError(f"{script.name} failed and was undone: {error}") from error


def _set_password(connection: psycopg.Connection[TupleRow], role: str, password: str) -> None:
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("ALTER ROLE {role} PASSWORD {verifier}").format(
            role=sql.Identifier(role), verifier=sql.Literal(verifier)
        )
    )
