"""What is kept of an export until all of it was read: on disk, compressed, and bounded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from types import TracebackType

from stacyard.core.errors import InvalidRequest

# a small export never meets the disk
_IN_MEMORY = 2**22
_LENGTH_BYTES = 4


class Spool:
    """Pages of bytes, put in once and read once, in the same order."""

    def __init__(self, *, most_bytes: int) -> None:
        """A spool that holds so many bytes, compressed."""
        self._file = SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by __exit__
        self._room = most_bytes

    def put(self, page: bytes) -> None:
        """Keep a page.

        Raises:
            InvalidRequest: there is no room for it.
            OSError: the disk is full.
        """
        packed = zlib.compress(page, 1)
        self._room -= len(packed)
        if self._room < 0:
            raise InvalidRequest(
                "this export is too large: narrow the search, leave fields out, take parts with limit and token, or use"
                " f=ndjson without a limit"
            )
        self._file.write(len(packed).to_bytes(_LENGTH_BYTES, "big") + packed)

    def pages(self) -> Iterator[bytes]:
        """The pages."""
        self._file.seek(0)
        while head := self._file.read(_LENGTH_BYTES):
            yield zlib.decompress(self._file.read(int.from_bytes(head, "big")))

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
