"""The catalog service over HTTP on a real database, its writes through the transaction-mode pooler."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from stacyard.core.settings import DatabaseSettings, HttpSettings, StorageSettings
from stacyard.stac.app import create_app
from stacyard.stac.settings import StacSettings


@contextmanager
def serve_catalog(settings: StacSettings) -> Iterator[str]:
    """The service in a thread; its base URL without a slash at the end."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="warning", proxy_headers=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 30
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.started
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)


@pytest.fixture(scope="session")
def catalog_url(pgbouncer: DatabaseSettings, storage_settings: StorageSettings) -> Iterator[str]:
    """Where the service is, transactions on, at most 50 items and 200,000 bytes a write."""
    settings = StacSettings(
        transactions=True,
        write_max_items=50,
        write_max_bytes=200_000,
        database=pgbouncer,
        storage=storage_settings,
        http=HttpSettings(access_log=False),
    )
    with serve_catalog(settings) as url:
        yield url


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[httpx.Client]:
    """A client of the service."""
    with httpx.Client(base_url=catalog_url, timeout=30) as client:
        yield client
