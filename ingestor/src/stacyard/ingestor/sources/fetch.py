"""The files of a task on this machine: those in S3 are copied, those that are here are used where they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from stacyard.ingestor.errors import RunStopped, SourceError
from stacyard.ingestor.sources.buckets import Buckets, CredentialsRefused
from stacyard.ingestor.sources.local import SourceFile, content_hash
from stacyard.ingestor.sources.versions import sidecars
from stacyard.ingestor.stages.space import space_watched


def fetch(
    files: Mapping[str, str],
    directory: Path,
    *,
    is_same: Callable[[Mapping[str, str]], bool],
    buckets: Buckets | None = None,
) -> dict[str, Path]:
    """Paths of a task's files, by the same names; a shapefile brings what belongs to it.

    Args:
        files: URIs.
        directory: where copies are written, each below a directory of its own.
        is_same: whether the versions of the files are those that were found. It is asked only if a file was copied;
            of files on this machine the stages see what they need.
        buckets: how S3 is read.

    Raises:
        SourceError: a file is gone, may not be read or has changed since it was found; trying again would not help.
        StorageError: the storage does not answer.
        OutOfSpace: the disk is full.
        RunStopped: the storage refuses the credentials.
    """
    buckets = buckets or Buckets()
    paths: dict[str, Path] = {}
    versions: dict[str, str] = {}
    copied = False
    for number, (name, uri) in enumerate(files.items()):
        file = SourceFile(uri=uri)
        if file.path is not None:
            paths[name] = file.path
            continue
        copied = True
        folder = _folder(directory, number)
        try:
            with space_watched(directory):
                folder.mkdir()
                paths[name] = folder / _plain(file.name)
                versions[name] = buckets.download(uri, paths[name])
                for beside in sidecars(file, buckets):
                    path = paths[name].with_suffix(beside.suffix)
                    versions[beside.suffix] = buckets.download(beside.uri, path)
        except CredentialsRefused as error:
            raise RunStopped(str(error)) from error
    if copied:
        versions |= {name: content_hash(path) for name, path in paths.items() if name not in versions}
        if not is_same(versions):
            listed = ", ".join(files.values())
            raise SourceError(f"{listed}: the content has changed since it was listed; run the same command again")
    return paths


def with_uris(text: str, files: Mapping[str, str], directory: Path) -> str:
    """A message of a later stage about a copy, which names the URI instead; the copy will be gone when it is read."""
    for number, uri in enumerate(files.values()):
        text = text.replace(str(_folder(directory, number) / _plain(SourceFile(uri=uri).name)), uri)
    return text


def _folder(directory: Path, number: int) -> Path:
    return directory / f"source-{number}"


def _plain(name: str) -> str:
    """A name that every file system takes; keys may be longer, and hold what paths may not."""
    stem, dot, suffix = name.rpartition(".")
    return f"{stem[-100:]}{dot}{suffix}" if len(name) > 100 else name
