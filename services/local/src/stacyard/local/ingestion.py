"""The ingestor on this machine's database and storage."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor import commands
from stacyard.ingestor.report import RunSummary
from stacyard.ingestor.run import Platform
from stacyard.ingestor.settings import IngestorSettings
from stacyard.local.platform import database, storage
from stacyard.local.processes import stopped_by_signals
from stacyard.local.settings import LocalSettings


@contextmanager
def opened(settings: LocalSettings) -> Iterator[Platform]:
    """What the ingestor works with: the platform of these settings, whether it is up or not."""
    with stopped_by_signals(), database(settings) as connections:
        yield _platform(connections, settings)


def ingest_into(
    connections: DatabaseSettings, settings: LocalSettings, sources: Sequence[str], recipe: Path, console: Console
) -> RunSummary:
    """Ingest into a database that runs already."""
    return commands.ingest(sources, recipe, platform=_platform(connections, settings), console=console)


def _platform(connections: DatabaseSettings, settings: LocalSettings) -> Platform:
    return Platform(database=connections, storage=storage(settings), settings=_ingestor(settings))


def _ingestor(settings: LocalSettings) -> IngestorSettings:
    """Files are converted in the data directory: the machine's temporary one may be small, or another user's."""
    if "STACYARD_INGEST_WORK_DIRECTORY" in os.environ:
        return IngestorSettings.model_validate({})
    return IngestorSettings.model_validate({"work_directory": settings.data_dir / "work"})
