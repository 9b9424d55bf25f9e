"""PgBouncer in transaction mode in front of a database, as the stand-in of RDS Proxy, which cannot run here."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from stacyard.core.settings import DatabaseSettings
from stacyard.local.installation import server_account
from stacyard.local.ports import free_port

PGBOUNCER = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"


@contextmanager
def pooled(database: DatabaseSettings, *, servers: int, clients: int) -> Iterator[DatabaseSettings]:
    """Reader and writer through a pooler of our own, for as long as this lasts; nothing is prepared there.

    Args:
        database: direct connections for both roles.
        servers: connections to the database for each role.
        clients: connections to the pooler.

    Raises:
        RuntimeError: it did not start; the message holds its log.
    """
    account = server_account()
    server = urlsplit(database.url("reader"))
    logins = [urlsplit(database.url(role)) for role in ("reader", "writer")]
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="stacyard-pooler-") as name:
        directory = Path(name)
        users, configuration = directory / "users.txt", directory / "pgbouncer.ini"
        users.write_text("".join(f'"{login.username}" "{login.password}"\n' for login in logins))
        configuration.write_text(
            "[databases]\n"
            f"{server.path.lstrip('/')} = host={server.hostname} port={server.port}\n"
            "[pgbouncer]\n"
            "listen_addr = 127.0.0.1\n"
            f"listen_port = {port}\n"
            "unix_socket_dir =\n"
            "auth_type = scram-sha-256\n"
            f"auth_file = {users}\n"
            "pool_mode = transaction\n"
            f"default_pool_size = {servers}\n"
            f"max_client_conn = {clients}\n"
        )
        for path in (users, configuration):
            account.give(path, 0o600)
        account.give(directory, 0o700)
        log = directory / "pgbouncer.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [PGBOUNCER, configuration],
                user=account.uid,
                group=account.gid,
                extra_groups=None if account.uid is None else [],
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            _wait_for_port(port, process, log)
            reader, writer = (
                SecretStr(login._replace(netloc=f"{login.username}:{login.password}@127.0.0.1:{port}").geturl())
                for login in logins
            )
            yield database.model_copy(update={"reader_url": reader, "writer_url": writer, "pooled": True})
        finally:
            process.terminate()
            process.wait(10)


def _wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}")
