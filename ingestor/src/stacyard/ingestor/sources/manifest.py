"""A manifest: a list of the files to take, one URI a line, as CSV or as newline-delimited JSON."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import orjson

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.buckets import is_bucket
from stacyard.ingestor.sources.local import SourceFile

#: Columns of a CSV, or keys of an object, that may hold the URI.
KEYS = ("uri", "href", "url")

_CSV = (".csv", ".txt")
_JSON = (".ndjson", ".jsonl")
_LONGEST_LINE = 65536


def is_manifest(source: str) -> bool:
    """Whether a source is a list of sources: `@list.csv`, as curl writes it."""
    return source.startswith("@")


def read_manifest(uri: str, open_file: Callable[[], IO[bytes]], *, after: int = 0) -> Iterator[SourceFile]:
    """The files that a manifest lists, as a stream. Their versions are not known yet.

    A CSV has a column `uri`, `href` or `url`, or one column without a header. A line of JSON is a string or an object
    with one of these keys. Relative paths are relative to the manifest.

    Args:
        uri: where the manifest is; its suffix says what it is.
        open_file: opens it.
        after: lines to pass over. Each file's cursor has the number of its line, from 1, as `line`.

    Raises:
        SourceError: the manifest cannot be read, or a line of it is no file; the message names the line.
    """
    suffix = PurePosixPath(uri).suffix.lower()
    if suffix not in (*_CSV, *_JSON):
        raise SourceError(f"the manifest {uri} has no known suffix: name it .csv or .ndjson")
    try:
        with open_file() as file:
            entries = _rows(file, uri) if suffix in _CSV else _objects(file, uri)
            for number, entry in entries:
                if number > after:
                    yield SourceFile(uri=_resolved(entry, uri, number), cursor={"line": number})
    except (OSError, UnicodeDecodeError, csv.Error, StorageError) as error:
        raise SourceError(f"the manifest {uri} cannot be read: {error}") from error


def _lines(file: IO[bytes], uri: str) -> Iterator[tuple[int, str]]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            raise SourceError(f"line {number} of the manifest {uri} has more than {_LONGEST_LINE} bytes")
        text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        if text:
            yield number, text


def _rows(file: IO[bytes], uri: str) -> Iterator[tuple[int, str]]:
    column: int | None = None
    for number, text in _lines(file, uri):
        row = [cell.strip() for cell in next(csv.reader([text], strict=True))]
        if column is None:
            names = [cell.lower() for cell in row]
            column = next((names.index(key) for key in KEYS if key in names), None)
            if column is not None:
                continue
            if len(row) > 1:
                raise SourceError(f"the manifest {uri} has {len(row)} columns: name the one of the files `uri`")
            column = 0
        if len(row) <= column or not row[column]:
            raise SourceError(f"line {number} of the manifest {uri} names no file: {text[:200]!r}")
        yield number, row[column]


def _objects(file: IO[bytes], uri: str) -> Iterator[tuple[int, str]]:
    for number, text in _lines(file, uri):
        try:
            entry = orjson.loads(text)
        except ValueError as error:
            raise SourceError(f"line {number} of the manifest {uri} is no JSON: {error}") from error
        if isinstance(entry, dict):
            entry = next((entry[key] for key in KEYS if key in entry), None)
        if not isinstance(entry, str) or not entry:
            raise SourceError(
                f"line {number} of the manifest {uri} names no file: write a string, or an object with `uri`"
            )
        yield number, entry


def _resolved(entry: str, manifest: str, number: int) -> str:
    entry = entry.removeprefix("file://") if entry.startswith("file:///") else entry
    if is_bucket(entry) and not entry.endswith("/"):
        return entry
    if "://" in entry or entry.endswith("/"):
        raise SourceError(
            f"line {number} of the manifest {manifest} is {entry!r}: list files, each a path or s3://bucket/key"
        )
    if entry.startswith("/"):
        return entry
    beside = manifest.rpartition("/")[0]
    return f"{beside}/{entry}" if is_bucket(manifest) else str(Path(beside, entry))
