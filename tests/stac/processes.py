"""The catalog service in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from stacyard.core.settings import DatabaseSettings
from stacyard.local.ports import free_port


@contextmanager
def served(database: DatabaseSettings, log: Path, **environment: str) -> Iterator[tuple[str, int]]:
    """The address of a service that answers, with the rights of a reader, and the id of its process."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--factory", "stacyard.stac.app:create_app", "--port", str(port)]
    settings = {"STACYARD_DATABASE_READER_URL": database.url("reader"), "STACYARD_HTTP_ACCESS_LOG": "false"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--no-proxy-headers", "--no-access-log", "--log-level", "warning"],
            env={**os.environ, **settings, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            try:
                httpx.get(f"{url}/healthz").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            pytest.fail(f"the service did not start:\n{log.read_text()}")
        yield url, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        print(log.read_text())  # shown when a test has failed
