"""The sides: our service, the unmodified upstream service as its documentation starts it, and the minimal server.

One process each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

from benchmarks.minimal import DATABASE_URL
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.ports import free_port

#: How much our catalog keeps of its results; every row but that of the cached search sets it to 0.
RESULT_CACHE = "STACYARD_STAC_RESULT_CACHE_MB"


@dataclass(frozen=True)
class Service:
    """How one service is started, and a path that answers once it is up."""

    application: str
    environment: Mapping[str, str]
    factory: bool
    alive: str


@dataclass(frozen=True)
class Running:
    """A service that answers on a port of loopback."""

    port: int
    process: int


def ours(name: str, database: DatabaseSettings, storage: StorageSettings, **environment: str) -> Service:
    """Our service of this name, with the roles it has in production; caches off unless the environment says else."""
    settings = {
        "STACYARD_DATABASE_READER_URL": database.url("reader"),
        "STACYARD_DATABASE_WRITER_URL": database.url("writer"),
        "STACYARD_STORAGE_ASSETS": storage.assets,
        "STACYARD_HTTP_ACCESS_LOG": "false",
        RESULT_CACHE: "0",
    }
    return Service(f"stacyard.{name}.app:create_app", settings | environment, factory=True, alive="/healthz")


def minimal(database: DatabaseSettings) -> Service:
    """The least that answers, as a reader."""
    return Service("benchmarks.minimal:create_app", {DATABASE_URL: database.url("reader")}, factory=True, alive="/")


def stock(name: str, database: DatabaseSettings, **environment: str) -> Service:
    """The upstream service. It writes on reads and makes functions on connections, so it gets the ingestor's role."""
    url = database.url("ingest")
    parts = urlsplit(url)
    postgres = {
        "PGUSER": unquote(parts.username or ""),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port),
        "PGDATABASE": parts.path.lstrip("/"),
        **environment,
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
def started(service: Service) -> Iterator[Running]:
    """The service in a process of its own, for as long as this lasts.

    Raises:
        RuntimeError: it did not come up within 60 seconds.
    """
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", service.application, "--port", str(port), "--no-access-log"]
    command += ["--log-level", "error", *(["--factory"] if service.factory else [])]
    process = subprocess.Popen(command, env={**os.environ, **service.environment})
    try:
        _wait_until_it_answers(process, port, service)
        yield Running(port, process.pid)
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
