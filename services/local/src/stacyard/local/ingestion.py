"""The ingestor on this machine's database and storage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from stacyard.core.settings import DatabaseSettings
from stacyard.ingestor import commands
from stacyard.ingestor.report import RunSummary
from stacyard.ingestor.settings import IngestorSettings
from stacyard.local.platform import database, storage
from stacyard.local.settings import LocalSettings


def ingest(settings: LocalSettings, sources: Sequence[str], recipe: Path, console: Console) -> RunSummary:
    """Ingest into the platform of these settings, whether it is up or not."""
    with database(settings) as connections:
        return ingest_into(connections, settings, sources, recipe, console)


def ingest_into(
    connections: DatabaseSettings, settings: LocalSettings, sources: Sequence[str], recipe: Path, console: Console
) -> RunSummary:
    """Ingest into a database that runs already."""
    return commands.ingest(
        sources, recipe, database=connections, storage=storage(settings), settings=_ingestor(settings), console=console
    )


def retry(settings: LocalSettings, run: int, console: Console) -> RunSummary:
    """Try what failed in a run once more."""
    with database(settings) as connections:
        return commands.retry_run(
            run, database=connections, storage=storage(settings), settings=_ingestor(settings), console=console
        )


def _ingestor(settings: LocalSettings) -> IngestorSettings:
    """Files are converted in the data directory: the machine's temporary one may be small, or another user's."""
    if "STACYARD_INGEST_WORK_DIRECTORY" in os.environ:
        return IngestorSettings.model_validate({})
    return IngestorSettings.model_validate({"work_directory": settings.data_dir / "work"})
