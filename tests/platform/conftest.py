"""The whole platform with the demo's data in it: direct, and once more through a transaction-mode pooler."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.ingestor.commands import ingest
from stacyard.ingestor.run import Platform
from stacyard.ingestor.settings import IngestorSettings
from stacyard.local import explorer

DEMO = Path(__file__).parents[2] / "demo"


@dataclass(frozen=True)
class Served:
    """A platform that answers."""

    url: str
    log: Path

    def client(self, **options: object) -> httpx.Client:
        """An HTTP client whose paths are relative to the platform."""
        return httpx.Client(base_url=self.url, timeout=30, **options)  # type: ignore[arg-type]


@contextmanager
def serve(database: DatabaseSettings, storage: StorageSettings, log: Path, **environment: str) -> Iterator[Served]:
    """The platform's application in a process of its own, with the roles that services have and no others."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "STACYARD_DATABASE_READER_URL": database.url("reader"),
        "STACYARD_DATABASE_WRITER_URL": database.url("writer"),
        "STACYARD_STORAGE_ASSETS": storage.assets,
        "STACYARD_STORAGE_PUBLIC_PATH": "/assets",
        "STACYARD_STAC_TRANSACTIONS": "true",
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", "stacyard.local.server:create_app", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, "--no-proxy-headers", "--no-access-log", "--log-level", "warning"],
            env={**os.environ, **settings, **environment},
            stdout=output,
            stderr=output,
        )
    try:
        served = Served(f"http://127.0.0.1:{port}", log)
        _wait(process, served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) in (0, -signal.SIGTERM), log.read_text()


def _wait(process: subprocess.Popen[bytes], served: Served) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{served.url}/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the platform did not start:\n{served.log.read_text()}")


@pytest.fixture(scope="session")
def demo(
    database_settings: DatabaseSettings, storage_settings: StorageSettings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All of the demo's data, ingested as a user would."""
    settings = IngestorSettings(work_directory=tmp_path_factory.mktemp("work"))
    for recipe in sorted(DEMO.glob("*/recipe.yaml")):
        summary = ingest(
            [str(recipe.parent)],
            recipe,
            platform=Platform(database=database_settings, storage=storage_settings, settings=settings),
            console=Console(quiet=True),
        )
        assert summary.exit_code == 0, (recipe, summary)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[Served]]:
    """`serve`, for tests that want a platform of their own."""
    return serve


@pytest.fixture(scope="session")
def platform(
    demo: None, database_settings: DatabaseSettings, storage_settings: StorageSettings, public_directory: Path
) -> Iterator[Served]:
    """The platform straight on its database."""
    explorer.build()
    with serve(database_settings, storage_settings, public_directory / "platform.log") as served:
        yield served


@pytest.fixture(scope="session")
def origin(platform: Served) -> str:
    """The platform's base URL, without a slash at the end."""
    return platform.url


@pytest.fixture(scope="session")
def http(platform: Served) -> Iterator[httpx.Client]:
    """A client of the platform."""
    with platform.client() as client:
        yield client
