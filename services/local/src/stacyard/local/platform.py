"""The platform's life on this machine: up, down, status.

`platform.lock` in the data directory is held by whoever keeps the platform up, for as long as it is; `platform.json`
says where it is. A killed platform loses its lock, so that what its file says is never believed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn
from urllib.error import HTTPError
from urllib.request import urlopen

from stacyard.core.errors import StacyardError
from stacyard.core.migrate import migrate
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.locks import open_lock, try_exclusively
from stacyard.local.ports import listen
from stacyard.local.postgres import EmbeddedCluster, migrate_cluster, running
from stacyard.local.processes import end
from stacyard.local.settings import LocalSettings
from stacyard.vector.functions import catalog_functions

Report = Callable[[str], None]

_READY_SECONDS = 60
_DOWN_SECONDS = 100
#: a little more than the server's own grace
_END_SECONDS = 15


class PlatformError(StacyardError):
    """The platform does not come up or go down; the message says why."""


@dataclass(frozen=True)
class Running:
    """A platform that is up: the process that keeps it, and where it answers."""

    pid: int
    url: str


@dataclass(frozen=True)
class Platform:
    """What `up` gives: where it answers, its database, and the process that serves."""

    here: Running
    connections: DatabaseSettings
    server: subprocess.Popen[bytes]


@contextmanager
def database(settings: LocalSettings, report: Report = lambda _: None) -> Iterator[DatabaseSettings]:
    """The database of the environment's STACYARD_DATABASE_* variables, or the embedded one if they name none.

    The embedded one runs and is migrated; another is its operator's concern, see `stacyard migrate`.
    """
    external = _external()
    if external is not None:
        yield external
        return
    with running(EmbeddedCluster(settings.data_dir), report) as embedded:
        yield embedded


def migrate_database(settings: LocalSettings, report: Report) -> list[str]:
    """Create or upgrade the database that `database` gives; returns the steps that changed something.

    Raises:
        PlatformError: the environment names a database but not its owner's URL.
        DatabaseUnusable, MigrationError: as they say.
    """
    external = _external()
    if external is None:
        cluster = EmbeddedCluster(settings.data_dir)
        with cluster.used() as connections:
            return migrate_cluster(cluster, connections, report)
    if external.owner_url is None:
        raise PlatformError("set STACYARD_DATABASE_OWNER_URL: migrations are run by the owner of the database")
    return migrate(external.url("owner"), repeatable=[catalog_functions()], report=report)


def storage(settings: LocalSettings) -> StorageSettings:
    """Where assets are: as the environment says, else in the data directory and published at /assets."""
    if "STACYARD_STORAGE_ASSETS" in os.environ:
        return StorageSettings.model_validate({})
    assets = settings.data_dir / "assets"
    assets.mkdir(parents=True, exist_ok=True)
    return StorageSettings.model_validate({"assets": assets.as_uri(), "public_path": "/assets"})


@contextmanager
def up(settings: LocalSettings, report: Report = lambda _: None) -> Iterator[Platform]:
    """The whole platform, answering, for as long as this lasts; nothing of it is left afterwards.

    Raises:
        PlatformError: it is up already, or the server does not start.
        PortUnavailable: somebody else has the port.
        DatabaseUnusable, MigrationError: as the embedded cluster says.
    """
    with _held(settings), listen(settings.host, settings.port) as listener:
        port = listener.getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        with database(settings, report) as connections:
            server = subprocess.Popen(  # noqa: S603 - the arguments are ours
                [
                    *(sys.executable, "-m", "stacyard.local.server"),
                    *(str(listener.fileno()), str(settings.workers), str(os.getpid())),
                ],
                env=_server_environment(settings, connections),
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                # a terminal's Ctrl-C is for us; we end the server in our own order
                start_new_session=True,
            )
            try:
                here = Running(os.getpid(), f"http://{host}:{port}")
                _wait_until_ready(here, server)
                _state_file(settings).write_text(json.dumps(asdict(here)))
                yield Platform(here, connections, server)
            finally:
                _state_file(settings).unlink(missing_ok=True)
                end(server, seconds=_END_SECONDS)


def keep_up(platform: Platform) -> NoReturn:
    """Wait for a signal to raise KeyboardInterrupt; never returns.

    Raises:
        PlatformError: the server ended by itself.
    """
    raise PlatformError(f"the server ended with exit code {platform.server.wait()}; what it printed says why")


def detach(settings: LocalSettings) -> Running:
    """Bring the platform up in the background; returns when it answers.

    Raises:
        PlatformError: it did not come up; the message ends with what it said.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    log = settings.data_dir / "platform.log"
    options = {"data_dir": str(settings.data_dir), "host": settings.host, "port": str(settings.port)}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "stacyard.local.cli", "up"],
            env=os.environ
            | {f"STACYARD_{name.upper()}": value for name, value in options.items()}
            | {"STACYARD_WORKERS": str(settings.workers)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    while process.poll() is None:
        found = status(settings)
        if found is not None and found.pid == process.pid:
            # it lives on without us
            process.returncode = 0
            return found
        time.sleep(0.1)
    said = " / ".join(log.read_text(errors="replace").strip().splitlines()[-5:])
    raise PlatformError(f"the platform did not come up; {log} ends with: {said}")


def down(settings: LocalSettings) -> Running | None:
    """Stop the platform and wait until nothing of it is left; returns what was running, None if nothing was.

    Raises:
        PlatformError: it does not stop.
    """
    found = status(settings)
    if found is None:
        return None
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + _DOWN_SECONDS
    while _is_held(settings):
        if time.monotonic() > deadline:
            raise PlatformError(f"process {found.pid} does not stop; see {settings.data_dir / 'platform.log'}")
        time.sleep(0.1)
    return found


def status(settings: LocalSettings) -> Running | None:
    """The platform of this data directory, None if it is not up (or not yet)."""
    if not _is_held(settings):
        return None
    try:
        return Running(**json.loads(_state_file(settings).read_text()))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def is_ready(url: str) -> bool:
    """Whether the platform's database and storage answer."""
    try:
        with urlopen(f"{url}/readyz", timeout=5) as answer:  # noqa: S310 - an address of ours
            return bool(answer.status == 200)
    except OSError:
        return False


def _external() -> DatabaseSettings | None:
    found = DatabaseSettings()
    named = any((found.reader_url, found.writer_url, found.ingest_url, found.owner_url))
    return found if named else None


def _wait_until_ready(here: Running, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise PlatformError(f"the server ended with exit code {server.returncode}; what it printed says why")
        if is_ready(here.url):
            return
        time.sleep(0.05)
    raise PlatformError(f"{here.url}/readyz did not answer 200 within {_READY_SECONDS} s{_unready(here.url)}")


def _unready(url: str) -> str:
    try:
        urlopen(f"{url}/readyz", timeout=5).close()  # noqa: S310 - an address of ours
    except HTTPError as error:
        with error:
            return f": {error.read().decode(errors='replace')}"
    except OSError:
        pass
    return ""


def _server_environment(settings: LocalSettings, connections: DatabaseSettings) -> dict[str, str]:
    metrics = settings.data_dir / "metrics"
    # samples of workers that are gone would be added to those of the new ones
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir()
    places = storage(settings)
    return {
        **os.environ,
        "STACYARD_STORAGE_ASSETS": places.assets,
        "STACYARD_STORAGE_READABLE": ",".join(places.readable),
        "STACYARD_STORAGE_PUBLIC_PATH": places.public_path or "",
        "STACYARD_DATABASE_READER_URL": connections.url("reader"),
        "STACYARD_DATABASE_WRITER_URL": connections.url("writer"),
        "STACYARD_DATABASE_POOLED": str(connections.pooled),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }


def _state_file(settings: LocalSettings) -> Path:
    return settings.data_dir / "platform.json"


@contextmanager
def _held(settings: LocalSettings) -> Iterator[None]:
    with open_lock(settings.data_dir, "platform.lock") as lock:
        if not try_exclusively(lock):
            found = status(settings)
            where = f"at {found.url} (process {found.pid})" if found else "or on its way up"
            raise PlatformError(
                f"the platform of {settings.data_dir} is up already, {where}: stop it with `stacyard down`, or set "
                "STACYARD_DATA_DIR to another directory"
            )
        yield


def _is_held(settings: LocalSettings) -> bool:
    try:
        lock = (settings.data_dir / "platform.lock").open()
    except FileNotFoundError:
        return False
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
