"""What tests share: a real database, reached directly and through a transaction-mode pooler, and a place for assets."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from benchmarks.pooler import pooled
from stacyard.core.settings import DatabaseSettings, StorageSettings
from stacyard.local.postgres import EmbeddedCluster, running

# a noisy machine makes any example slow; what must be fast has its own assertion
hypothesis.settings.register_profile("stacyard", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("stacyard")


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
def pgbouncer(database_settings: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """Reader and writer through PgBouncer in transaction mode, two server connections a role, nothing prepared."""
    with pooled(database_settings, servers=2, clients=200) as settings:
        yield settings
