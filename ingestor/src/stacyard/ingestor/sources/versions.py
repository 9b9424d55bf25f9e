"""Which content a file has: the SHA-256 of a file on this machine, and what the storage says of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.buckets import Buckets, CredentialsRefused, Gone, is_bucket
from stacyard.ingestor.sources.local import SourceFile, as_text, content_hash

_ASKED_AT_ONCE = 16
_SIDECARS = (".dbf", ".shx", ".prj", ".cpg")


@dataclass(frozen=True, kw_only=True)
class Known:
    """A file with its version, or with what keeps it from being read."""

    file: SourceFile
    version: str | None = None
    problem: str | None = None

    @property
    def text(self) -> str:
        """The URI as the ledger can keep it."""
        return as_text(self.file.uri)


def versioned(files: Iterable[SourceFile], buckets: Buckets) -> Iterator[Known]:
    """The same files in the same order, with their versions; storage is asked for several at once.

    Raises:
        SourceError: the storage does not answer, or refuses the credentials.
    """
    pool = ThreadPoolExecutor(_ASKED_AT_ONCE, thread_name_prefix="versions")
    ahead: deque[Callable[[], Known]] = deque()
    try:
        for file in files:
            if file.version is None and is_bucket(file.uri):
                ahead.append(pool.submit(_known, file, buckets).result)
            elif ahead:
                ahead.append(lambda file=file: _known(file, buckets))  # type: ignore[misc]
            else:
                yield _known(file, buckets)
            if len(ahead) > 2 * _ASKED_AT_ONCE:
                yield ahead.popleft()()
        while ahead:
            yield ahead.popleft()()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def sidecars(file: SourceFile, buckets: Buckets) -> Iterator[SourceFile]:
    """The files without which a shapefile has neither attributes nor CRS, as far as they are there.

    Raises:
        SourceError: the storage cannot be asked.
    """
    if file.suffix != ".shp":
        return
    stem = file.uri[: -len(".shp")]
    for suffix in _SIDECARS:
        uri = f"{stem}{suffix}"
        beside = SourceFile(uri=uri)
        if beside.path is None:
            try:
                yield buckets.describe(uri)
            except Gone:
                continue
            except StorageError as error:
                raise SourceError(str(error)) from error
        elif beside.path.exists():
            yield beside


def _known(file: SourceFile, buckets: Buckets) -> Known:
    try:
        file.uri.encode()
    except UnicodeEncodeError:
        return Known(file=file, problem=f"the name of {file.uri!r} is no UTF-8: rename it")
    if file.version is not None:
        return Known(file=file, version=file.version)
    try:
        if file.path is not None:
            return Known(file=file, version=content_hash(file.path))
        return Known(file=file, version=buckets.describe(file.uri).version)
    except OSError as error:
        return Known(file=file, problem=f"{file.uri} cannot be read: {error.strerror}")
    except CredentialsRefused:
        raise
    except StorageError as error:
        raise SourceError(str(error)) from error
    except SourceError as error:
        return Known(file=file, problem=str(error))
