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


def _processors() -> int:
    """How many processors this process may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class IngestorSettings(BaseSettings):
    """How an ingest uses this machine, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_INGEST_", extra="ignore")

    work_directory: Path = Field(
        default_factory=default_work_directory,
        description="Where files are converted; needs about the size of one item for each process. Default: "
        "stacyard/ingest below the user's cache directory.",
    )
    processes: int = Field(
        default_factory=_processors,
        ge=1,
        le=64,
        description="Items that are converted, or blocks of items that are loaded, at once. Default: one a processor.",
    )
    threads: int = Field(
        default_factory=lambda: min(4, _processors()),
        ge=1,
        le=64,
        description="Threads that compress one raster. Default: one for each processor that it may use, at the most 4.",
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


class StreamSettings(BaseSettings):
    """How a streaming worker consumes the queue of file events."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_STREAM_", extra="ignore")

    queue: str = Field(
        "table",
        pattern=r"^(table|https?://.+)$",
        description="URL of an SQS queue, or `table`: the table stacyard.ingest_message of the database.",
    )
    endpoint_url: str | None = Field(None, description="Of SQS, where it is not that of AWS.")
    prefixes: list[str] = Field(
        default_factory=list,
        description='Where objects may be read, as a JSON list such as `["s3://inbox/", "file:///fields/"]`; events '
        "of others are refused. Without one nothing is read.",
    )
    batch_items: int = Field(
        200, ge=1, le=5000, description="Most messages in hand at once, and most items loaded in one statement."
    )
    batch_seconds: float = Field(0.5, gt=0, le=60, description="Finished items wait at most so long for company.")
    wait_seconds: float = Field(
        1.0, ge=0, le=20, description="How long an idle worker waits for the queue before it looks around."
    )
    visibility_seconds: float = Field(
        120.0,
        ge=3,
        le=43200,
        description="A received message is hidden from others for so long; extended while it is worked on.",
    )
    drain_seconds: float = Field(
        25.0, ge=0, description="After SIGTERM what is in work may take so long; the rest goes back to the queue."
    )
    attempts: int = Field(
        5, ge=1, le=100, description="How often a message whose object cannot be looked at comes back before it fails."
    )
    upkeep_seconds: float = Field(
        60.0, gt=0, description="How often a collection's extent and its partitions' constraints follow its items."
    )
    retention_days: float = Field(
        30.0,
        ge=0,
        le=36500,
        description="For how long the ledger keeps every loaded task; older ones stay only where they are needed. 0: "
        "for ever.",
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Where a worker answers Prometheus at /metrics; none: nowhere."
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address to answer Prometheus at; in a pod 0.0.0.0. Not for the public."
    )
