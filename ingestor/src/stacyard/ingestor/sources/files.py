"""The files of a run's sources, whatever form a source has.

| form | listed by |
| --- | --- |
| file, directory, glob | `local` |
| `s3://bucket/prefix/`, `s3://bucket/key` | `buckets` |
| `@list.csv`, `@list.ndjson`, also in S3 | `manifest` |

Ready-made items come from more forms, see `places`.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from stacyard.core.storage import local_path
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.buckets import Buckets, is_bucket, split
from stacyard.ingestor.sources.forms import is_api, is_catalog, is_web
from stacyard.ingestor.sources.local import SourceFile, walk_local
from stacyard.ingestor.sources.manifest import is_manifest, read_manifest

# of an object that is read as a file; a reader that needs less at a time asks for less
_BUFFER_BYTES = 8 * 2**20


def absolute(source: str) -> str:
    """A source as the ledger knows it, whatever directory the command runs in.

    Raises:
        SourceError: it has none of the known forms.
    """
    if is_manifest(source):
        return f"@{absolute(source[1:])}"
    if is_bucket(source):
        split(source)
        return source
    scheme, found, _ = source.partition("://")
    if not found:
        return str(Path(source).absolute())
    if is_web(source):
        if is_api(source) or is_catalog(source):
            return source
        raise SourceError(
            f"{source} is neither a collection of a STAC API (https://host/collections/name), nor a search "
            "(https://host/search?…), nor a static catalog (…/catalog.json)"
        )
    path = local_path(source) if scheme == "file" else None
    if path is None:
        raise SourceError(
            f"{source} cannot be read: sources are files, directories, globs, s3://bucket/prefix/, @list.csv, STAC "
            "APIs and static catalogs"
        )
    return str(path)


def walk(
    sources: Sequence[str], *, cursor: Mapping[str, Any] | None = None, buckets: Buckets | None = None
) -> Iterator[SourceFile]:
    """The files of all sources, in an order that is always the same; each with the cursor that goes on after it.

    Args:
        sources: as `absolute` made them.
        cursor: of a file that was found before, with the same sources.
        buckets: how S3 is read.

    Raises:
        SourceError: a source is not there or cannot be listed.
    """
    buckets = buckets or Buckets()
    first = cursor["source"] if cursor else 0
    for number, source in enumerate(sources):
        if number >= first:
            for file in _files(source, cursor if number == first else None, buckets):
                yield replace(file, cursor={"source": number, **file.cursor} if file.cursor is not None else None)


def open_file(uri: str, *, buckets: Buckets | None = None) -> IO[bytes]:
    """A file of a source, here or in S3, to read and to seek in.

    Raises:
        OSError: it is not there, or cannot be read.
        SourceError: the same, of an object in S3.
    """
    if is_bucket(uri):
        return io.BufferedReader((buckets or Buckets()).open(uri), _BUFFER_BYTES)
    return Path(uri).open("rb")


def _files(source: str, cursor: Mapping[str, Any] | None, buckets: Buckets) -> Iterator[SourceFile]:
    if is_web(source):
        raise SourceError(f"{source} holds ready-made items: use a recipe of `kind: items`, or copy the files here")
    if is_manifest(source):
        yield from _listed(source[1:], cursor, buckets)
    elif is_bucket(source):
        yield from buckets.find(source, after=cursor["after"] if cursor else None)
    else:
        yield from walk_local(source)


def _listed(uri: str, cursor: Mapping[str, Any] | None, buckets: Buckets) -> Iterator[SourceFile]:
    version = _digest(uri, buckets)
    # of a list that was written anew no line is known
    after = cursor["line"] if cursor and cursor.get("manifest") == version else 0
    for file in read_manifest(uri, lambda: open_file(uri, buckets=buckets), after=after):
        yield replace(file, cursor={**(file.cursor or {}), "manifest": version})


def _digest(uri: str, buckets: Buckets) -> str:
    try:
        with open_file(uri, buckets=buckets) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except OSError as error:
        raise SourceError(f"the manifest {uri} cannot be read: {error.strerror}") from error
