"""Files, directories and globs on this machine."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from stacyard.core.storage import local_path
from stacyard.ingestor.errors import SourceError

_MAGIC = "*?["


def absolute(source: str) -> str:
    """A source as the ledger knows it, whatever directory the command runs in.

    Raises:
        SourceError: it is a URI that is no file.
    """
    scheme, found, _ = source.partition("://")
    if found:
        path = local_path(source) if scheme == "file" else None
        if path is None:
            raise SourceError(f"{source} cannot be read: sources are files, directories and globs; copy it here first")
        return str(path)
    return str(Path(source).absolute())


def walk(sources: Sequence[str]) -> Iterator[Path]:
    """The files of all sources, each sorted by name within its directory.

    Args:
        sources: absolute files, directories (with all below) or globs (`**` crosses directories).

    Raises:
        SourceError: a source is not there.
    """
    for source in sources:
        path = Path(source)
        if path.is_dir():
            yield from _below(path)
        elif path.exists():
            yield path
        elif any(char in source for char in _MAGIC):
            names = sorted(glob.glob(source, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
            if not names:
                raise SourceError(f"no file matches {source}: quote the pattern, and see that it is spelled right")
            for name in names:
                yield from _below(Path(name)) if Path(name).is_dir() else [Path(name)]
        else:
            raise SourceError(f"{source} does not exist: name a file, a directory or a glob")


def _below(directory: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(directory):
        names.sort()
        for name in sorted(files):
            yield Path(folder, name)


def content_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
