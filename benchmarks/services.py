"""The two sides: our service and the unmodified upstream service as its documentation starts it, one process each."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

from stacyard.core.settings import DatabaseSettings, StorageSettings


@dataclass(frozen=True)
class Service:
    """How one service is started, and a path that answers once it is up."""

    application: str
    environment: Mapping[str, str]
    factory: bool
    alive: str


def ours(name: str, database: DatabaseSettings, storage: StorageSettings) -> Service:
    """Our service of this name, with the roles it has in production."""
    environment = {
        "STACYARD_DATABASE_READER_URL": database.url("reader"),
        "STACYARD_DATABASE_WRITER_URL": database.url("writer"),
        "STACYARD_STORAGE_ASSETS": storage.assets,
        "STACYARD_HTTP_ACCESS_LOG": "false",
    }
    return Service(f"stacyard.{name}.app:create_app", environment, factory=True, alive="/healthz")


def stock(name: str, database: DatabaseSettings) -> Service:
    """The upstream service. It writes on reads and makes functions on connections, so it gets the ingestor's role."""
    url = database.url("ingest")
    parts = urlsplit(url)
    postgres = {
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port),
        "PGDATABASE": parts.path.lstrip("/"),
    }
    return {
        "stac": Service("stac_fastapi.pgstac.app:create_app", postgres, factory=True, alive="/_mgmt/ping"),
        # caches off: every row compares work, not memory
        "raster": Service(
            "titiler.pgstac.main:app", postgres | {"TITILER_PGSTAC_CACHE_DISABLE": "TRUE"}, factory=False, alive="/"
        ),
        "vector": Service(
            "tipg.main:app",
            {"DATABASE_URL": url, "TIPG_DB_SCHEMAS": json.dumps(["features"])},
            factory=False,
            alive="/healthz",
        ),
    }[name]


@contextmanager
def started(service: Service) -> Iterator[int]:
    """The service in a process of its own, for as long as this lasts; gives its port on loopback.

    Raises:
        RuntimeError: it did not come up within 60 seconds.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", service.application, "--port", str(port), "--no-access-log"]
    command += ["--log-level", "error", *(["--factory"] if service.factory else [])]
    process = subprocess.Popen(command, env={**os.environ, **service.environment})
    try:
        _wait_until_it_answers(process, port, service)
        yield port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, service: Service) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        connection = HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", service.alive)
            if connection.getresponse().status == 200:
                return
        except (OSError, HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
    raise RuntimeError(f"{service.application} did not start")
