"""Objects in a local directory or in S3, addressed by URI, and only below allow-listed prefixes."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, unquote, urlsplit

import obstore
from obstore.store import LocalStore, S3Store

from stacyard.core.errors import Forbidden, NotFound, StorageError

Store: TypeAlias = LocalStore | S3Store

# a segment of one or two dots, which leads out of a directory; also where they or the slashes are percent-encoded
_DOTS = re.compile(r"(?:^|/|%2f)(?:\.|%2e){1,2}(?:/|%2f|\Z)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """What the storage says of an object. `size` in bytes."""

    uri: str
    size: int
    etag: str | None
    modified: datetime | None


def join(prefix: str, *segments: str) -> str:
    """A URI below a prefix; each segment is one path segment and is percent-encoded where it must be.

    Raises:
        ValueError: a segment is empty, `.` or `..`, or holds a slash or a control character.
    """
    for segment in segments:
        if segment in ("", ".", "..") or "/" in segment or any(ord(char) < 32 for char in segment):
            raise ValueError(f"{segment!r} cannot be part of an object's name")
    return "/".join([prefix.rstrip("/"), *(quote(segment, safe=" ()+,:;=@~!$&'*-._") for segment in segments)])


def local_path(uri: str) -> Path | None:
    """The path of a `file://` URI; None for other schemes."""
    parts = urlsplit(uri)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def is_below(uri: str, prefix: str) -> bool:
    """Whether a URI is the prefix itself or names something below it, with no way out by `..`."""
    if uri != prefix and not uri.startswith(prefix.rstrip("/") + "/"):
        return False
    return not _DOTS.search(uri)


class Storage:
    """Reads and writes objects below the given URI prefixes and refuses everything else.

    Writes are whole or not at all: a local file appears by rename, an S3 object when its upload completes.
    """

    def __init__(self, prefixes: Sequence[str]) -> None:
        self._stores = [(prefix.rstrip("/"), _open(prefix)) for prefix in prefixes]

    def put(self, uri: str, source: Path | bytes) -> StoredObject:
        """Write an object and verify that all of it is there.

        Raises:
            Forbidden: the URI is outside the allow-listed prefixes.
            StorageError: it could not be written, or what is there has another size; the message says why.
        """
        store, key = self._locate(uri)
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        try:
            obstore.put(store, key, source)
            stored = self.head(uri)
        except OSError as error:
            raise StorageError(_explain(error, f"{uri} could not be written")) from error
        except obstore.exceptions.BaseError as error:
            raise StorageError(_explain(error, f"{uri} could not be written")) from error
        if stored.size != size:
            raise StorageError(f"{uri} has {stored.size} bytes in storage, {size} were written")
        return stored

    def head(self, uri: str) -> StoredObject:
        """Size and identity of an object.

        Raises:
            Forbidden: the URI is outside the allow-listed prefixes.
            NotFound: there is no such object.
        """
        store, key = self._locate(uri)
        try:
            meta = obstore.head(store, key)
        except FileNotFoundError as error:
            raise NotFound(f"there is no object {uri}") from error
        return StoredObject(uri=uri, size=meta["size"], etag=meta["e_tag"], modified=meta["last_modified"])

    def read(self, uri: str, *, start: int = 0, length: int | None = None) -> bytes:
        """An object's bytes, or `length` of them from `start` on.

        Raises:
            Forbidden: the URI is outside the allow-listed prefixes.
            NotFound: there is no such object.
        """
        store, key = self._locate(uri)
        try:
            if length is None and start == 0:
                return bytes(obstore.get(store, key).bytes())
            end = start + length if length is not None else self.head(uri).size
            return bytes(obstore.get_range(store, key, start=start, end=end))
        except FileNotFoundError as error:
            raise NotFound(f"there is no object {uri}") from error

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """All objects below a URI prefix, as a stream, in the order of the storage.

        Raises:
            Forbidden: the URI is outside the allow-listed prefixes.
            StorageError: it cannot be listed to its end; the message says why.
        """
        store, key = self._locate(prefix)
        pages = iter(obstore.list(store, key or None))
        while True:
            try:
                page = next(pages, None)
            except (OSError, obstore.exceptions.BaseError) as error:
                raise StorageError(_explain(error, f"{prefix} could not be listed")) from error
            if page is None:
                return
            for meta in page:
                name = meta["path"].removeprefix(key).lstrip("/")
                uri = join(prefix, *name.split("/")) if name else prefix
                yield StoredObject(uri=uri, size=meta["size"], etag=meta["e_tag"], modified=meta["last_modified"])

    def delete(self, uri: str) -> None:
        """Remove an object; one that is not there is no error.

        Raises:
            Forbidden: the URI is outside the allow-listed prefixes.
            StorageError: it could not be removed; the message says why.
        """
        store, key = self._locate(uri)
        try:
            obstore.delete(store, key)
        except FileNotFoundError:
            return
        except (OSError, obstore.exceptions.BaseError) as error:
            raise StorageError(_explain(error, f"{uri} could not be deleted")) from error

    def ping(self) -> None:
        """See whether every prefix answers.

        Raises:
            StorageError: one does not; the message names it.
        """
        for prefix, store in self._stores:
            path = local_path(prefix)
            try:
                if path is not None:
                    path.stat()
                else:
                    next(iter(obstore.list(store, chunk_size=1)), None)
            except (OSError, obstore.exceptions.BaseError) as error:
                raise StorageError(f"the storage {prefix} does not answer") from error

    def _locate(self, uri: str) -> tuple[Store, str]:
        for prefix, store in self._stores:
            if is_below(uri, prefix):
                return store, unquote(uri[len(prefix) :].lstrip("/"))
        raise Forbidden(f"{uri} is outside the storage that may be used; see STACYARD_STORAGE_READABLE")


def _open(prefix: str) -> Store:
    path = local_path(prefix)
    if path is not None:
        return LocalStore(path, mkdir=True)
    parts = urlsplit(prefix)
    if parts.scheme != "s3":
        raise ValueError(f"{prefix!r} is no storage URI: write file:///directory or s3://bucket/prefix")
    return S3Store(parts.netloc, prefix=parts.path.strip("/") or None)


def _explain(error: Exception, what: str) -> str:
    text = str(error)
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in text:
        return f"{what}: no space left; free some and run again, nothing was half-written"
    return f"{what}: {text.splitlines()[0] if text else type(error).__name__}"
