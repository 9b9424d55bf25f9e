"""Tell a full disk from other errors. GDAL reports it in many words, or only by what it wrote being unreadable."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stacyard.ingestor.errors import OutOfSpace

#: In the name of every file that is being written; an error that names one is not the source's fault.
PARTIAL = ".partial"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_WORDS = ("no space left", "disk quota exceeded", "file too large", "disk full", "tiffappendto", "write error", PARTIAL)
# what a disk must still take after an error, while the unfinished file is there, to be beyond suspicion
_PROBE_BYTES = 1024 * 1024


@contextmanager
def space_watched(directory: Path) -> Iterator[None]:
    """Turn whatever a full disk caused inside into one error that names the directory and the remedy.

    Raises:
        OutOfSpace: the disk of `directory` is full.
    """
    try:
        yield
    except OutOfSpace:
        raise
    except Exception as error:
        if is_full(error, directory):
            raise OutOfSpace(
                f"no space left in {directory}: free some, or name a roomier directory in "
                "STACYARD_INGEST_WORK_DIRECTORY; then run the same command again to go on"
            ) from error
        raise


def is_full(error: BaseException, directory: Path) -> bool:
    """Whether an error, or one that caused it, was made by a full disk."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "errno", None) in _FULL or any(word in str(cause).lower() for word in _WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    return not _takes_more(directory)


def _takes_more(directory: Path) -> bool:
    probe = directory / "probe"
    try:
        descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY)
        try:
            os.posix_fallocate(descriptor, 0, _PROBE_BYTES)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError as error:
        return error.errno not in _FULL
    return True
