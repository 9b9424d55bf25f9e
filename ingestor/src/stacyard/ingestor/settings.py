"""Settings of the ingestor, prefix `STACYARD_INGEST_`."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_work_directory() -> Path:
    """A directory that no other user of the machine can have made before: below the user's own cache."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "stacyard" / "ingest"


class IngestorSettings(BaseSettings):
    """How an ingest uses this machine, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_INGEST_", extra="ignore")

    work_directory: Path = Field(
        default_factory=default_work_directory,
        description="Where files are converted; needs about the size of one item for each process. Default: "
        "stacyard/ingest below the user's cache directory.",
    )
    processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1,
        ge=1,
        le=64,
        description="Items that are converted at once. Default: one a core.",
    )
    lease_seconds: float = Field(
        900.0, ge=1, description="A task whose worker has not been heard of for so long is given to another."
    )
    attempts: int = Field(3, ge=1, le=100, description="How often a task is tried before it has failed for good.")
    chunk_items: int = Field(1000, ge=1, le=20000, description="Most items loaded into the catalog in one statement.")
    flush_seconds: float = Field(2.0, gt=0, description="Finished items wait at most so long for company.")
    database_patience_seconds: float = Field(
        20.0, ge=0, description="How long a lost database is waited for before the run stops."
    )
