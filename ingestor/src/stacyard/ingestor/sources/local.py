"""Files of a source, wherever they are; and the files, directories and globs on this machine."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stacyard.ingestor.errors import SourceError

_MAGIC = "*?["
_ANY_DEPTH = "**"


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source.

    `uri` is an absolute path or `s3://bucket/key`. `version` is what the storage says of the content, if it has said
    so already. `cursor` is where the listing goes on after this file; None where listing again costs little.
    """

    uri: str
    version: str | None = None
    cursor: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        """The last segment of the URI."""
        return self.uri.rpartition("/")[2]

    @property
    def stem(self) -> str:
        """The name without its last suffix."""
        return Path(self.name).stem

    @property
    def suffix(self) -> str:
        """The last suffix of the name in lower case, such as `.tif`."""
        return Path(self.name).suffix.lower()

    @property
    def path(self) -> Path | None:
        """Where the file is on this machine; None if it is elsewhere."""
        return None if "://" in self.uri else Path(self.uri)


def walk_local(source: str) -> Iterator[SourceFile]:
    """The files of a file, a directory (with all below) or a glob (`**` crosses directories), sorted by name.

    A link to a file is a file under the link's name, also if it leads nowhere. A link to a directory is followed
    where it is named or matched by a glob, and passed over below a directory and by `**`, so that no link leads round
    in a circle. What is no file, such as a pipe or a socket, is passed over.

    Raises:
        SourceError: the source is not there, or a directory of it cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        yield from _below(path)
    elif path.exists():
        yield SourceFile(uri=source)
    elif any(char in source for char in _MAGIC):
        any_file = False
        for match in _matches(path):
            for file in _below(match) if match.is_dir() else _file(match):
                any_file = True
                yield file
        if not any_file:
            raise SourceError(f"no file matches {source}: quote the pattern, and see that it is spelled right")
    else:
        raise SourceError(f"{source} does not exist: name a file, a directory or a glob")


def as_text(name: str) -> str:
    """A name as JSON can keep it; bytes of it that are no UTF-8 become `\\udcff` and the like."""
    return name.encode("utf-8", "backslashreplace").decode()


def content_hash(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _below(directory: Path) -> Iterator[SourceFile]:
    for folder, names, files in os.walk(directory, onerror=_unreadable):
        names.sort()
        for name in sorted(files):
            yield from _file(Path(folder, name))


def _file(path: Path) -> Iterator[SourceFile]:
    # of a link that leads nowhere the reason is told where the file is read
    if path.is_file() or (path.is_symlink() and not path.exists()):
        yield SourceFile(uri=str(path))


def _unreadable(error: OSError) -> None:
    # to pass a directory over would be to miss what is in it without a word
    raise SourceError(f"the directory {error.filename} cannot be read: {error.strerror}; mend that and run again")


def _matches(pattern: Path) -> Iterator[Path]:
    parts = pattern.parts
    fixed = next(index for index, part in enumerate(parts) if any(char in part for char in _MAGIC))
    seen: set[Path] = set()
    for match in _descend(Path(*parts[:fixed]), parts[fixed:]):
        # only a second `**` can find the same again
        if parts.count(_ANY_DEPTH) < 2 or match not in seen:
            seen.add(match)
            yield match


def _descend(directory: Path, segments: Sequence[str]) -> Iterator[Path]:
    """Paths that match; `**` at the end stands for the directory itself, and all that is below it."""
    head, rest = segments[0], segments[1:]
    if head == _ANY_DEPTH:
        if not rest:
            yield directory
            return
        yield from _descend(directory, rest)
        for entry in _entries(directory):
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _descend(Path(entry.path), segments)
        return
    for entry in _entries(directory):
        hidden = entry.name.startswith(".") and not head.startswith(".")
        if hidden or not fnmatch.fnmatchcase(entry.name, head):
            continue
        if not rest:
            yield Path(entry.path)
        elif entry.is_dir():
            yield from _descend(Path(entry.path), rest)


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _unreadable(error)
        raise
