"""Files that are packed by gzip or zstd, as streams; one that ends before its end is an error, not a shorter file."""

from __future__ import annotations

import gzip
import io
from typing import IO, Any

import zstandard

#: What a name may end in.
SUFFIXES = (".gz", ".zst")

_PIECE = 2**18


def unpacked(file: IO[bytes], name: str) -> IO[bytes]:
    """A file as its name says it is packed, to be read from its start to its end. Closing it closes the file.

    Reading raises EOFError, OSError, zlib.error or zstandard.ZstdError if it is damaged.
    """
    if name.lower().endswith(".gz"):
        return _Unpacked(gzip.GzipFile(fileobj=file), file)
    if name.lower().endswith(".zst"):
        return _Unpacked(_Zstd(file), file)
    return file


class _Unpacked(io.BufferedReader):
    def __init__(self, stream: io.RawIOBase | gzip.GzipFile, file: IO[bytes]) -> None:
        super().__init__(stream, _PIECE)
        self._file = file

    def close(self) -> None:
        super().close()
        self._file.close()


class _Zstd(io.RawIOBase):
    """Frame after frame. The library's own reader takes a file that was cut off for one that ends there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._frame = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        while not self._ready:
            packed = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame, self._begun = zstandard.ZstdDecompressor().decompressobj(), False
            packed = packed or self._file.read(_PIECE)
            if not packed:
                if self._begun:
                    raise EOFError("it is cut off before its end")
                return 0
            self._begun = True
            self._ready = memoryview(self._frame.decompress(packed))
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
