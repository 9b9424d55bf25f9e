"""Settings of the platform on one machine."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def default_data_directory() -> Path:
    """Where state is kept if nobody says otherwise: a system directory for root, else the user's state directory.

    Root's is not under `/root`, since the database server runs as another user, who may not look in there.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/stacyard")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "stacyard"


class LocalSettings(BaseSettings):
    """Where the local platform keeps its state and where it listens."""

    model_config = SettingsConfigDict(env_prefix="STACYARD_", extra="ignore")

    data_dir: Path = Field(
        default_factory=default_data_directory,
        description="Directory of all local state: database, assets, logs. Default: /var/lib/stacyard for root, else "
        "stacyard below the user's state directory.",
    )
    host: str = Field("127.0.0.1", description="Address on which the local platform listens.")
    port: int = Field(8080, ge=0, le=65535, description="Port on which the local platform listens; 0 takes a free one.")
    workers: int = Field(
        default_factory=lambda: max(2, os.cpu_count() or 1),
        ge=1,
        le=64,
        description="Server processes. Default: one a core, at least two.",
    )
    demo_dir: Path | None = Field(None, description="Folder of the demo's recipes and data, if not beside the source.")

    @field_validator("data_dir")
    @classmethod
    def _is_absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()
