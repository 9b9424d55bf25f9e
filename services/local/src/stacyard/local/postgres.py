"""A PostgreSQL cluster of our own: made on first use, started by whoever needs it, stopped by the last who leaves.

Three files beside the cluster keep order among processes: `database.json` its port and passwords, `database.lock` held
while it is being started or stopped, `database.users` share-locked by everyone who uses it. The kernel lets go of a
killed process's locks, so nothing has to be cleaned up after one.
"""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, get_args

import psycopg
from psycopg import sql

from stacyard.core.connection import connect
from stacyard.core.migrate import migrate
from stacyard.core.settings import DatabaseSettings, Role
from stacyard.local.installation import DatabaseUnusable, Installation, choose_installation, server_account
from stacyard.local.locks import open_lock, try_exclusively
from stacyard.local.ports import free_port, is_free
from stacyard.local.tuning import memory_mb, server_configuration
from stacyard.vector.functions import catalog_functions

OWNER = "stacyard_owner"
DATABASE = "stacyard"

_START_SECONDS = 120
_STOP_SECONDS = 60
#: `cannot_connect_now`: the server is recovering or shutting down
_BUSY = "57P03"
#: what a start says while a killed server, or its last children, have not quite gone
_STILL_DYING = ('lock file "postmaster.pid" already exists', "pre-existing shared memory block")
#: the longest path of a unix socket, less the name that PostgreSQL gives it
_SOCKET_DIRECTORY_LIMIT = 107 - len("/.s.PGSQL.65535.lock")


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """What must stay the same from one start to the next."""

    port: int
    passwords: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """What is there. `version` is the cluster's major version, None before it is made; `port` is None when stopped."""

    version: int | None
    port: int | None


class EmbeddedCluster:
    """The PostgreSQL cluster in `postgres/` below a data directory. Making the object touches nothing."""

    def __init__(self, data_directory: Path) -> None:
        self.data_directory = data_directory.absolute()
        self.directory = self.data_directory / "postgres"
        self.log = self.directory / "server.log"

    def start(self) -> DatabaseSettings:
        """Make the cluster if there is none, start its server if it is not running, and say how to connect.

        Raises:
            DatabaseUnusable: it cannot be made or started; the message says why and what to do.
        """
        with self._locked():
            return self._start()

    def stop(self) -> None:
        """Stop the server, whoever uses it; no error if it is not running.

        Raises:
            DatabaseUnusable: it does not stop.
        """
        with self._locked():
            self._stop()

    def status(self) -> ClusterStatus:
        """Whether the cluster is there and its server answers."""
        kept = self._read_kept()
        answers = kept is not None and self._answers(kept)
        return ClusterStatus(version=self._version(), port=kept.port if answers and kept else None)

    @contextmanager
    def used(self) -> Iterator[DatabaseSettings]:
        """Keep the server running for as long as this lasts; the last user to leave stops it."""
        with self._locked():
            users = (self.data_directory / "database.users").open("a")
            fcntl.flock(users, fcntl.LOCK_SH)
            try:
                settings = self._start()
            except BaseException:
                self._leave(users)
                raise
        try:
            yield settings
        finally:
            with self._locked():
                self._leave(users)

    def _leave(self, users: IO[str]) -> None:
        with users:
            if try_exclusively(users):
                self._stop()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open_lock(self.data_directory, "database.lock") as lock:
            _lock_within(lock, _START_SECONDS + _STOP_SECONDS)
            yield

    def _start(self) -> DatabaseSettings:
        kept = self._read_kept()
        if kept is None or not self._answers(kept):
            installation = choose_installation(self._version())
            server_account().refuse_closed_parents(self.directory)
            kept = self._keep(kept)
            if self._version() is None:
                self._make(installation, kept)
            self._configure(kept)
            self._launch(installation)
        settings = self._settings(kept)
        self._ensure_database(kept)
        return settings

    def _make(self, installation: Installation, kept: _Kept) -> None:
        """Run initdb beside the final place and rename, so that an interrupted one leaves nothing half-made."""
        account = server_account()
        unfinished = self.directory.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        account.give(unfinished, 0o700)
        password_file = self.data_directory / "database.initial"
        password_file.touch(0o600)
        account.give(password_file, 0o600)
        password_file.write_text(kept.passwords[OWNER])
        # a locale that needs no locale packages and sorts the same on every machine
        locale = (
            ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            if installation.major >= 17
            else ["--locale=C.UTF-8"]
        )
        try:
            made = account.run(
                installation.program("initdb"),
                f"--pgdata={unfinished}",
                f"--username={OWNER}",
                f"--pwfile={password_file}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                *locale,
                "--data-checksums",
                "--no-instructions",
            )
        finally:
            password_file.unlink()
        if made.returncode != 0:
            raise DatabaseUnusable(f"initdb failed in {self.data_directory}: {made.stderr.strip() or made.stdout}")
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude 'stacyard.conf'\n")
        unfinished.rename(self.directory)

    def _configure(self, kept: _Kept) -> None:
        configuration = self.directory / "stacyard.conf"
        sockets = str(self.directory) if len(str(self.directory)) <= _SOCKET_DIRECTORY_LIMIT else ""
        configuration.write_text(server_configuration(kept.port, sockets, memory_mb()))
        server_account().give(configuration, 0o600)

    def _launch(self, installation: Installation) -> None:
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.previous"))
        deadline = time.monotonic() + 20
        while True:
            started = server_account().run(
                installation.program("pg_ctl"),
                "start",
                "--wait",
                f"--timeout={_START_SECONDS}",
                f"--pgdata={self.directory}",
                f"--log={self.log}",
                timeout_seconds=_START_SECONDS + 10,
            )
            if started.returncode == 0:
                return
            said = self.log.read_text(errors="replace") if self.log.exists() else started.stderr
            if not any(sign in said for sign in _STILL_DYING) or time.monotonic() > deadline:
                last = " / ".join(said.strip().splitlines()[-4:])
                raise DatabaseUnusable(f"PostgreSQL did not start; {self.log} ends with: {last}")
            time.sleep(0.5)

    def _stop(self) -> None:
        version = self._version()
        if version is None or not (self.directory / "postmaster.pid").exists():
            return
        stopped = server_account().run(
            choose_installation(version).program("pg_ctl"),
            "stop",
            "--mode=fast",
            "--wait",
            f"--timeout={_STOP_SECONDS}",
            f"--pgdata={self.directory}",
            timeout_seconds=_STOP_SECONDS + 10,
        )
        # pg_ctl fails too when the server is gone and only its file is left, which the next start clears up
        if stopped.returncode != 0 and self.status().port is not None:
            raise DatabaseUnusable(f"PostgreSQL did not stop within {_STOP_SECONDS} s; see {self.log}")

    def _answers(self, kept: _Kept) -> bool:
        """Whether the server of this very cluster answers; waits while it recovers or shuts down."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                with psycopg.connect(_url(kept, OWNER, "postgres"), connect_timeout=5) as connection:
                    row = connection.execute("SHOW data_directory").fetchone()
                    return row is not None and Path(row[0]) == self.directory
            except psycopg.OperationalError as error:
                if not (error.sqlstate == _BUSY or "the database system is" in str(error)):
                    return False
                time.sleep(0.1)
        return False

    def _ensure_database(self, kept: _Kept) -> None:
        with connect(_url(kept, OWNER, "postgres"), application_name="stacyard-local") as connection:
            found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _version(self) -> int | None:
        try:
            return int((self.directory / "PG_VERSION").read_text())
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise DatabaseUnusable(
                f"{self.directory} belongs to another user: run stacyard as that user, or set STACYARD_DATA_DIR to a "
                "directory of your own"
            ) from error

    def _read_kept(self) -> _Kept | None:
        try:
            return _Kept(**json.loads((self.data_directory / "database.json").read_text()))
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise DatabaseUnusable(
                f"{self.data_directory} belongs to another user: run stacyard as that user, or set STACYARD_DATA_DIR "
                "to a directory of your own"
            ) from error

    def _keep(self, kept: _Kept | None) -> _Kept:
        """Keep passwords and port; the port is picked anew if somebody else has it now."""
        if kept is None and self._version() is not None:
            raise DatabaseUnusable(
                f"{self.data_directory / 'database.json'}, which holds the passwords of the database in "
                f"{self.directory}, is gone: restore it, or set STACYARD_DATA_DIR to another directory"
            )
        if kept is not None and is_free(kept.port):
            return kept
        passwords = (
            kept.passwords if kept else {f"stacyard_{role}": secrets.token_urlsafe(24) for role in get_args(Role)}
        )
        kept = _Kept(port=free_port(), passwords=passwords)
        written = self.data_directory / "database.json.new"
        written.unlink(missing_ok=True)
        written.touch(0o600)
        written.write_text(json.dumps(asdict(kept)))
        written.replace(self.data_directory / "database.json")
        return kept

    def passwords(self) -> dict[str, str]:
        """The password of each login role, once the cluster was started."""
        kept = self._read_kept()
        return {login: password for login, password in kept.passwords.items() if login != OWNER} if kept else {}

    def _settings(self, kept: _Kept) -> DatabaseSettings:
        urls = {f"{role}_url": _url(kept, f"stacyard_{role}", DATABASE) for role in get_args(Role)}
        return DatabaseSettings.model_validate({"pooled": False, **urls})


@contextmanager
def running(cluster: EmbeddedCluster, report: Callable[[str], None] = lambda _: None) -> Iterator[DatabaseSettings]:
    """The cluster with its server running and its database migrated, for as long as this lasts.

    Raises:
        DatabaseUnusable: the cluster cannot be made or started.
        MigrationError: its database cannot be brought to this version.
    """
    with cluster.used() as settings:
        migrate_cluster(cluster, settings, report)
        yield settings


def migrate_cluster(cluster: EmbeddedCluster, settings: DatabaseSettings, report: Callable[[str], None]) -> list[str]:
    """Bring a running cluster's database to this version; returns the steps that changed something.

    Raises:
        MigrationError: it cannot be brought there.
    """
    return migrate(
        settings.url("owner"), repeatable=[catalog_functions()], passwords=cluster.passwords(), report=report
    )


def _url(kept: _Kept, role: str, database: str) -> str:
    return f"postgresql://{role}:{kept.passwords[role]}@127.0.0.1:{kept.port}/{database}"


def _lock_within(file: IO[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not try_exclusively(file):
        if time.monotonic() > deadline:
            raise DatabaseUnusable(
                f"another process has been starting or stopping the database for {seconds:.0f} s; see {file.name}"
            )
        time.sleep(0.05)
