"""What tests share: a real database, reached directly and through a transaction-mode pooler, and a place for assets."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest
from pydantic import SecretStr

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.installation import server_account
from stacyard.local.ports import free_port
from stacyard.local.postgres import EmbeddedCluster, running

# a noisy machine makes any example slow; what must be fast has its own assertion
hypothesis.settings.register_profile("stacyard", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("stacyard")

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


@pytest.fixture(scope="session")
def public_directory() -> Iterator[Path]:
    """A temporary directory that the database server's user may enter, which pytest's own is closed to."""
    directory = Path(tempfile.mkdtemp(prefix="stacyard-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def cluster(public_directory: Path) -> Iterator[EmbeddedCluster]:
    """A fresh cluster of the session's own, running."""
    cluster = EmbeddedCluster(public_directory / "data")
    with cluster.used():
        yield cluster


@pytest.fixture(scope="session")
def database_settings(cluster: EmbeddedCluster) -> Iterator[DatabaseSettings]:
    """Direct connections for all four roles to a migrated database."""
    with running(cluster) as settings:
        yield settings


@pytest.fixture(scope="session")
def storage_settings(public_directory: Path) -> StorageSettings:
    """An empty local directory for assets, served at /assets."""
    assets = public_directory / "assets"
    assets.mkdir()
    return StorageSettings(assets=assets.as_uri(), public_path="/assets")


@pytest.fixture(scope="session")
def pgbouncer(database_settings: DatabaseSettings, public_directory: Path) -> Iterator[DatabaseSettings]:
    """Reader and writer through PgBouncer in transaction mode, two server connections a role, nothing prepared."""
    account = server_account()
    directory = public_directory / "pgbouncer"
    directory.mkdir()
    account.give(directory, 0o700)
    server = urlsplit(database_settings.url("reader"))
    port = free_port()
    logins = [urlsplit(database_settings.url(role)) for role in ("reader", "writer")]
    users = directory / "users.txt"
    users.write_text("".join(f'"{login.username}" "{login.password}"\n' for login in logins))
    account.give(users, 0o600)
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        "[databases]\n"
        f"{server.path.lstrip('/')} = host=127.0.0.1 port={server.port}\n"
        "[pgbouncer]\n"
        "listen_addr = 127.0.0.1\n"
        f"listen_port = {port}\n"
        "unix_socket_dir =\n"
        "auth_type = scram-sha-256\n"
        f"auth_file = {users}\n"
        "pool_mode = transaction\n"
        "default_pool_size = 2\n"
        "max_client_conn = 200\n"
    )
    account.give(configuration, 0o600)
    with (public_directory / "pgbouncer.log").open("w") as log:
        process = subprocess.Popen(
            [PGBOUNCER, configuration],
            user=account.uid,
            group=account.gid,
            extra_groups=None if account.uid is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait_for_port(port, process, Path(log.name))
        reader, writer = (
            SecretStr(login._replace(netloc=f"{login.username}:{login.password}@127.0.0.1:{port}").geturl())
            for login in logins
        )
        yield database_settings.model_copy(update={"reader_url": reader, "writer_url": writer, "pooled": True})
    finally:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(10)


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail(f"PgBouncer did not start:\n{log.read_text()}")
