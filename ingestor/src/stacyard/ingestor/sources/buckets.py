"""Objects in S3 as sources: listed in the order of their keys, and read in bounded memory.

Keys are written as they are (`s3://bucket/a b.tif`), as the AWS tools do. Credentials, region and endpoint are found
as those tools find them.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.local import SourceFile

_SCHEME = "s3://"
# of the client, which waits between attempts with exponential back-off and full jitter
_ATTEMPTS = 6
# how often a connection that broke is taken up again
_RESUMPTIONS = 3
_CHUNK_BYTES = 4 * 2**20
_STALE_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_DENIED = {"AccessDenied", "403", "AllAccessDisabled"}
_GONE = {"NoSuchKey", "404", "NotFound"}
_CHANGED = {"PreconditionFailed", "412"}


class Gone(SourceError):
    """The object is not there."""


class CredentialsRefused(SourceError):
    """The storage does not know who asks, or no longer; the same for every object."""


def is_bucket(source: str) -> bool:
    """Whether a source is in S3."""
    return source.startswith(_SCHEME)


def split(uri: str) -> tuple[str, str]:
    """Bucket and key, or prefix.

    Raises:
        SourceError: the URI names no bucket.
    """
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not bucket:
        raise SourceError(f"{uri} names no bucket: write s3://bucket/prefix/")
    return bucket, key


class Buckets:
    """Reads objects of any bucket that the credentials open. Threads may share one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Any = None

    @property
    def _client(self) -> Any:
        # it may be shared by threads, but not made by two at once; making it takes 0.4 s, which only S3 should cost
        with self._lock:
            if self._made is None:
                import boto3
                from botocore.config import Config

                retries = {"mode": "standard", "max_attempts": _ATTEMPTS}
                config = Config(retries=retries, connect_timeout=10, read_timeout=60, max_pool_connections=32)
                self._made = boto3.client("s3", config=config)
        return self._made

    def find(self, uri: str, *, after: str | None = None) -> Iterator[SourceFile]:
        """The object that a URI names, or all below the prefix that it is, in the order of their keys.

        `after` is a key; the listing goes on behind it. Each file's cursor has it as `after`.

        Raises:
            SourceError: nothing is there, or the listing failed; run again, it goes on where it was.
        """
        bucket, prefix = split(uri)
        try:
            if prefix and not prefix.endswith("/"):
                try:
                    yield self.describe(uri)
                except Gone:
                    prefix += "/"
                else:
                    return
            empty = after is None
            for entry in self._entries(bucket, prefix, after):
                empty = False
                # what ends in a slash marks a directory
                if not entry["Key"].endswith("/"):
                    yield _file(bucket, entry["Key"], entry["Size"], entry["ETag"])
        except StorageError as error:
            raise SourceError(str(error)) from error
        if empty:
            raise SourceError(f"nothing is below {_SCHEME}{bucket}/{prefix}: see that the prefix is spelled right")

    def describe(self, uri: str) -> SourceFile:
        """An object with its version, which is its ETag and its size in bytes.

        Raises:
            Gone: there is no such object.
            SourceError: it cannot be asked for.
        """
        bucket, key = split(uri)
        try:
            head = self._client.head_object(Bucket=bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            _explain(error, uri)
        return _file(bucket, key, head["ContentLength"], head["ETag"])

    def download(self, uri: str, path: Path, *, sleep: Callable[[float], None] = time.sleep) -> str:
        """Copy an object into a file, in pieces; returns its version. A broken connection goes on where it broke.

        Raises:
            Gone: there is no such object.
            SourceError: it may not be read, is archived, or changed meanwhile.
            StorageError: the storage did not deliver all of it.
            OSError: the file cannot be written.
        """
        file = self.describe(uri)
        size, etag = _measures(file)
        with path.open("wb") as output:
            for attempt in range(_RESUMPTIONS):
                for piece in self._pieces(uri, etag, start=output.tell()):
                    output.write(piece)
                if output.tell() >= size:
                    break
                sleep(0.5 * 2**attempt)
            written = output.tell()
        if written != size:
            raise StorageError(f"{uri} has {size} bytes, {written} came: the storage broke off; run again")
        return file.version or ""

    def open(self, uri: str) -> ObjectFile:
        """An object as a file to read and to seek in.

        Raises:
            Gone: there is no such object.
            SourceError: it cannot be asked for.
        """
        size, etag = _measures(self.describe(uri))
        return ObjectFile(lambda start, end: self._range(uri, etag, start, end), size=size)

    def _entries(self, bucket: str, prefix: str, after: str | None) -> Iterator[Mapping[str, Any]]:
        start = {"StartAfter": after} if after else {}
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **start)
        try:
            for page in pages:
                yield from page.get("Contents", ())
        except (BotoCoreError, ClientError) as error:
            _explain(error, f"{_SCHEME}{bucket}/{prefix}")

    def _pieces(self, uri: str, etag: str, *, start: int) -> Iterator[bytes]:
        bucket, key = split(uri)
        part = {"Range": f"bytes={start}-"} if start else {}
        try:
            yield from self._client.get_object(Bucket=bucket, Key=key, IfMatch=etag, **part)["Body"].iter_chunks(
                _CHUNK_BYTES
            )
        except ClientError as error:
            _explain(error, uri)
        except BotoCoreError as error:
            if isinstance(error, NoCredentialsError):
                _explain(error, uri)
            # what came is kept, and the rest asked for again

    def _range(self, uri: str, etag: str, start: int, end: int) -> bytes:
        bucket, key = split(uri)
        for _ in range(_RESUMPTIONS):
            try:
                answer = self._client.get_object(Bucket=bucket, Key=key, IfMatch=etag, Range=f"bytes={start}-{end - 1}")
                data: bytes = answer["Body"].read()
            except ClientError as error:
                _explain(error, uri)
            except BotoCoreError:
                continue
            if len(data) == end - start:
                return data
        raise StorageError(f"{uri}: the storage broke off at byte {start}; run again")


class ObjectFile(io.RawIOBase):
    """An object of `size` bytes as a file; `read` gets the bytes from `start` up to `end`."""

    def __init__(self, read: Callable[[int, int], bytes], *, size: int) -> None:
        self._read = read
        self._size = size
        self._position = 0

    def readable(self) -> bool:  # noqa: D102 - of the base class
        return True

    def seekable(self) -> bool:  # noqa: D102 - of the base class
        return True

    def tell(self) -> int:  # noqa: D102 - of the base class
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:  # noqa: D102 - of the base class
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:  # noqa: D102 - of the base class
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._read(self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _file(bucket: str, key: str, size: int, etag: str) -> SourceFile:
    version = f"{etag.strip(chr(34))}:{size}"
    return SourceFile(uri=f"{_SCHEME}{bucket}/{key}", version=version, cursor={"after": key})


def _measures(file: SourceFile) -> tuple[int, str]:
    etag, _, size = (file.version or "").rpartition(":")
    return int(size), f'"{etag}"'


def _explain(error: BotoCoreError | ClientError, uri: str) -> NoReturn:
    """Say in a sentence what went wrong with a request, without the request: it may hold credentials."""
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    if code in _STALE_CREDENTIALS or isinstance(error, NoCredentialsError):
        raise CredentialsRefused(
            f"{uri}: the storage refuses the credentials ({code or 'there are none'}): renew them and run the same "
            "command again, which goes on where this one was"
        ) from error
    if code in _DENIED:
        raise SourceError(
            f"{uri} may not be read with these credentials: let them list the bucket and get its objects, then run "
            "the same command again"
        ) from error
    if code == "NoSuchBucket":
        raise SourceError(f"{uri}: there is no such bucket; see that it is spelled right") from error
    if code in _GONE:
        raise Gone(f"{uri} is not there: it was removed, or is spelled wrong") from error
    if code in _CHANGED:
        raise SourceError(f"{uri} has changed while it was read; run the same command again") from error
    if code == "InvalidObjectState":
        raise SourceError(f"{uri} is archived: restore it, and run the same command again") from error
    raise StorageError(
        f"{uri}: the storage does not answer ({code or type(error).__name__}); run the same command again, which "
        "goes on where this one was"
    ) from error
