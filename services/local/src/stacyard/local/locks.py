"""Locks between processes: files in the data directory, which the kernel lets go of when their holder dies."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from stacyard.core.errors import StacyardError


class DataDirectoryUnusable(StacyardError):
    """The data directory cannot be made or written; the message names it and the remedy."""


def open_lock(data_directory: Path, name: str) -> IO[str]:
    """The lock file of this name, made with its directory if it is not there; nothing is locked yet.

    Raises:
        DataDirectoryUnusable: the directory cannot be used.
    """
    try:
        data_directory.mkdir(parents=True, exist_ok=True)
        return (data_directory / name).open("a")
    except OSError as error:
        raise DataDirectoryUnusable(
            f"the data directory {data_directory} cannot be used ({error.strerror}): set STACYARD_DATA_DIR to one that "
            "you may write"
        ) from error


def try_exclusively(file: IO[str]) -> bool:
    """Take the lock for us alone; False, at once, if somebody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
