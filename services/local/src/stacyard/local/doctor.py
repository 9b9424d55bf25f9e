"""What is missing or wrong on this machine, and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stacyard.core.errors import StacyardError
from stacyard.local import explorer
from stacyard.local.installation import choose_installation, server_account
from stacyard.local.platform import status
from stacyard.local.ports import is_free, owner_of
from stacyard.local.postgres import EmbeddedCluster
from stacyard.local.settings import LocalSettings
from stacyard.local.tuning import memory_mb

_SPACE_GB = 5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. `remedy` is there if it is not well; `needed` if nothing works without it."""

    name: str
    seen: str
    remedy: str | None = None
    needed: bool = True


def examine(settings: LocalSettings) -> Iterator[Finding]:
    """Look at everything, the most basic first; nothing is changed."""
    yield _python()
    yield _postgres(settings)
    yield _data_directory(settings)
    yield _space(settings)
    yield _port(settings)
    yield _explorer()
    memory = memory_mb()
    yield Finding(
        name="memory",
        seen=f"{memory / 1024:.1f} GB, {os.cpu_count()} cores",
        remedy=None if memory >= 2048 else "2 GB are the least for a comfortable start",
        needed=False,
    )
    for program, package, purpose in (
        ("pgbouncer", "pgbouncer", "the tests"),
        ("gdalinfo", "gdal-bin", "the tests"),
        ("chromium", "chromium", "the explorer's tests"),
    ):
        yield _optional(program, package, purpose)


def _python() -> Finding:
    return Finding(name="python", seen=f"{sys.version.split()[0]} in {sys.prefix}")


def _postgres(settings: LocalSettings) -> Finding:
    try:
        version = EmbeddedCluster(settings.data_dir).status().version
        server_account()
        installation = choose_installation(version)
    except StacyardError as error:
        return Finding(name="PostgreSQL", seen="unusable", remedy=str(error))
    made = "the database is made" if version else "the database is made at the first start"
    return Finding(name="PostgreSQL", seen=f"{installation.major} with PostGIS in {installation.bin}; {made}")


def _data_directory(settings: LocalSettings) -> Finding:
    directory = settings.data_dir
    existing = _existing(directory)
    try:
        server_account().refuse_closed_parents(directory / "postgres")
    except StacyardError as error:
        return Finding(name="data directory", seen=str(directory), remedy=str(error))
    if not os.access(existing, os.W_OK):
        return Finding(
            name="data directory",
            seen=f"{directory}: {existing} may not be written",
            remedy="set STACYARD_DATA_DIR to a directory of your own",
        )
    return Finding(name="data directory", seen=f"{directory}{'' if directory.exists() else ' (not made yet)'}")


def _space(settings: LocalSettings) -> Finding:
    free = shutil.disk_usage(_existing(settings.data_dir)).free / 1e9
    remedy = None if free >= _SPACE_GB else f"free some: {_SPACE_GB} GB are the least for a comfortable start"
    return Finding(name="disk space", seen=f"{free:.0f} GB free", remedy=remedy, needed=False)


def _port(settings: LocalSettings) -> Finding:
    up = status(settings)
    if up is not None:
        return Finding(name="port", seen=f"the platform is up at {up.url}")
    if settings.port == 0 or is_free(settings.port):
        return Finding(name="port", seen=f"{settings.port} is free")
    owner = owner_of(settings.port)
    return Finding(
        name="port",
        seen=f"{settings.port} is in use{f' by {owner}' if owner else ''}",
        remedy="stop that, or choose another with --port or STACYARD_PORT",
    )


def _explorer() -> Finding:
    if explorer.built() is None:
        seen, remedy = "not built", "`stacyard up` builds it; if it says why it cannot, mend that"
    elif not explorer.is_current():
        seen, remedy = "built from older sources", "`stacyard up` builds it anew"
    else:
        seen, remedy = "built", None
    return Finding(name="explorer", seen=seen, remedy=remedy, needed=False)


def _optional(program: str, package: str, purpose: str) -> Finding:
    found = shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"]))
    return Finding(
        name=program,
        seen=found or "not found",
        remedy=None if found else f"only {purpose} need it: on Debian, apt-get install {package}",
        needed=False,
    )


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())
