"""Ready-made STAC items in files: newline-delimited JSON (one item a line) or JSON, plain or packed by gzip or zstd.

Items are found in blocks, which one worker reads again and loads in one go. Neither finding nor reading holds more than
a block, however large the file: lines are found again by their byte offset, and features of a document by their
number.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import ijson
import orjson
import zstandard

from stacyard.ingestor.errors import Damaged
from stacyard.ingestor.sources.files import open_file
from stacyard.ingestor.sources.found import Found, Line
from stacyard.ingestor.sources.local import SourceFile
from stacyard.ingestor.sources.packed import SUFFIXES, unpacked

#: Bytes of the longest item that is read; PostgreSQL would take more, but no client wants it.
LONGEST = 16 * 2**20

_PACKED = ("", *SUFFIXES)
_LINES = tuple(f"{name}{packed}" for name in (".ndjson", ".jsonl", ".geojsonl") for packed in _PACKED)
_DOCUMENTS = tuple(f"{name}{packed}" for name in (".json", ".geojson") for packed in _PACKED)
_BLOCK_ITEMS = 4000
_BLOCK_BYTES = 16 * 2**20
# a document up to this size is parsed at once, which is many times faster than in a stream
_AT_ONCE = 32 * 2**20
_PIECE = 2**20


def find_file(file: SourceFile) -> Iterator[Found] | None:
    """Every block of items of a file, a line that is too long with that problem; None if it is no item file.

    Raises:
        Damaged: it cannot be read to its end.
    """
    name = file.name.lower()
    if not name.endswith((*_LINES, *_DOCUMENTS)):
        return None
    return _found_in(file.uri, _line_blocks if name.endswith(_LINES) else _feature_blocks)


class BlockReader:
    """Reads found blocks again. One file is kept open, because blocks come in the order of the file.

    A packed file is unpacked from its start to the block, so it is worth reading in order.
    """

    def __init__(self) -> None:
        self._path: str | None = None
        self._file: IO[bytes] | None = None
        self._features: Generator[bytes, None, None] | None = None
        self._place = 0

    def read(self, source: Mapping[str, Any]) -> list[Line]:
        """The items of the block that a `Found.source` of this module names.

        Raises:
            OSError: the file is gone or cannot be read.
            ValueError: what is there is not what was found.
        """
        lines = self._lines(source) if source["reader"] == "lines" else self._document(source)
        if _digest(line.data for line in lines) != source["sha256"]:
            raise ValueError("its content is another")
        return lines

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        if self._features is not None:
            self._features.close()
        self._path, self._file, self._features, self._place = None, None, None, 0

    def _open(self, path: str) -> IO[bytes]:
        if self._file is None or path != self._path:
            self.close()
            self._path, self._file = path, _open(path)
        return self._file

    def _lines(self, source: Mapping[str, Any]) -> list[Line]:
        if self._path != source["path"] or self._features is not None or self._place > source["offset"]:
            self.close()
        file = self._open(source["path"])
        if source["path"].lower().endswith(SUFFIXES):
            while skip := min(source["offset"] - self._place, _PIECE):
                if not file.read(skip):
                    break
                self._place += skip
        else:
            file.seek(source["offset"])
        data = file.read(source["length"])
        self._place = source["offset"] + len(data)
        lines = enumerate(data.split(b"\n"), start=source["line"])
        return [Line(place=f"line {number}", data=line) for number, line in lines if line.strip()]

    def _document(self, source: Mapping[str, Any]) -> list[Line]:
        first, count = source["first"], source["count"]
        if source["path"] != self._path or self._features is None or self._place > first:
            self.close()
            self._path, self._features = source["path"], _features(source["path"])
        wanted = itertools.islice(self._features, first - self._place, first - self._place + count)
        features = list(wanted)
        self._place = first + len(features)
        return [Line(place=f"feature {first + index}", data=feature) for index, feature in enumerate(features)]


def _found_in(uri: str, find: Callable[[str], Iterator[Found]]) -> Iterator[Found]:
    try:
        yield from find(uri)
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise Damaged(f"{uri} cannot be read: {error}; copy it again") from error


def _open(uri: str) -> IO[bytes]:
    return unpacked(open_file(uri), uri)


def _digest(items: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for item in items:
        digest.update(item)
    return digest.hexdigest()


def _line_blocks(path: str) -> Iterator[Found]:
    with _open(path) as file:
        offset, number = 0, 0
        block: list[bytes] = []
        start, first, size = 0, 1, 0
        while line := file.readline(LONGEST):
            number += 1
            length = len(line)
            if length == LONGEST and not line.endswith(b"\n"):
                yield from _block_of_lines(path, block, start, first, size)
                while rest := file.readline(LONGEST):
                    length += len(rest)
                    if rest.endswith(b"\n"):
                        break
                yield _too_long(path, f"line {number}", length)
                offset += length
                block, start, first, size = [], offset, number + 1, 0
                continue
            offset += length
            size += length
            if line.strip():
                block.append(line.removesuffix(b"\n"))
            if len(block) >= _BLOCK_ITEMS or size >= _BLOCK_BYTES:
                yield from _block_of_lines(path, block, start, first, size)
                block, start, first, size = [], offset, number + 1, 0
        yield from _block_of_lines(path, block, start, first, size)


def _block_of_lines(path: str, block: Sequence[bytes], offset: int, first: int, length: int) -> Iterator[Found]:
    if block:
        source = {
            "reader": "lines",
            "path": path,
            "line": first,
            "offset": offset,
            "length": length,
            "sha256": _digest(block),
        }
        yield Found(item_id=f"{path} from line {first}", source=source, items=len(block))


def _feature_blocks(path: str) -> Iterator[Found]:
    features = _features(path)
    for first in itertools.count(0, _BLOCK_ITEMS):
        block = list(itertools.islice(features, _BLOCK_ITEMS))
        if not block:
            return
        source = {"reader": "document", "path": path, "first": first, "count": len(block), "sha256": _digest(block)}
        yield Found(item_id=f"{path} from feature {first}", source=source, items=len(block))


def _features(path: str) -> Generator[bytes, None, None]:
    """The items of a document (an item, a list of them, or a FeatureCollection), each as JSON."""
    with _open(path) as file:
        head = file.read(_AT_ONCE)
    try:
        if len(head) >= _AT_ONCE:
            yield from _streamed(path)
            return
        content = orjson.loads(head)
        items = content.get("features", [content]) if isinstance(content, dict) else content
        for item in items if isinstance(items, list) else [content]:
            yield orjson.dumps(item)
    except (ValueError, ijson.JSONError) as error:
        raise Damaged(f"{path} is no JSON: {error}") from error


def _streamed(path: str) -> Iterator[bytes]:
    with _open(path) as file:
        events = ijson.parse(_Bounded(path, file))
        starts = (("", "start_array"), ("features", "start_array"))
        prefix = next((f"{name}.item".lstrip(".") for name, event, _ in events if (name, event) in starts), None)
    if prefix is None:
        raise Damaged(f"{path} is a single item of more than {LONGEST // 2**20} MB: leave out what no client reads")
    with _open(path) as file:
        bounded = _Bounded(path, file)
        for item in ijson.items(bounded, prefix, use_float=True):
            bounded.item_read()
            yield orjson.dumps(item)


class _Bounded:
    """A file that is no longer read when an item in it does not end."""

    def __init__(self, path: str, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._since = 0

    def read(self, size: int = -1) -> bytes:
        self._since += size
        if self._since > 2 * LONGEST:
            raise Damaged(
                f"{self._path} has an item of more than {LONGEST // 2**20} MB: leave out what no client reads, or "
                "write it as newline-delimited JSON, of which the other lines are loaded"
            )
        return self._file.read(size)

    def item_read(self) -> None:
        self._since = 0


def _too_long(path: str, place: str, length: int) -> Found:
    return Found(
        item_id=f"{path} {place}",
        source={"path": path, "place": place},
        content={"length": str(length)},
        problem=f"{place} of {path} has {length // 2**20} MB; items of up to {LONGEST // 2**20} MB are read",
    )
