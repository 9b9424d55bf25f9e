"""Ready-made STAC items in files: newline-delimited JSON (one item a line, also gzipped) or JSON.

NDJSON is streamed and found again by byte offset, so its size does not matter; a JSON file (an item, a list or a
FeatureCollection) is held in memory.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import orjson

from stacyard.ingestor.errors import SourceError
from stacyard.ingestor.sources.found import Found

_LINES = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz", ".geojsonl", ".geojsonl.gz")
_WHOLE = (".json", ".geojson", ".json.gz", ".geojson.gz")


def find_items(paths: Iterable[Path]) -> Iterator[Found]:
    """Every item of every item file; a line that is no item is found with the problem it has.

    Raises:
        SourceError: there is no item file, or one cannot be read to its end.
    """
    count = 0
    for path in paths:
        name = path.name.lower()
        if not name.endswith((*_LINES, *_WHOLE)):
            continue
        count += 1
        try:
            yield from _lines(path) if name.endswith(_LINES) else _features(path)
        except (OSError, EOFError) as error:
            raise SourceError(f"{path} cannot be read: {error}; copy it again") from error
    if not count:
        raise SourceError(f"no file of the sources is an item file; their names end in {', '.join((*_LINES, *_WHOLE))}")


class ItemReader:
    """Reads found items again. One file is kept open, because tasks come in the order of the file."""

    def __init__(self) -> None:
        self._path: str | None = None
        self._file: IO[bytes] | None = None
        self._features: list[Any] = []

    def read(self, source: Mapping[str, Any]) -> Any:
        """The JSON value that a `Found.source` of this module names.

        Raises:
            OSError: the file is gone or cannot be read.
            ValueError: what is there is no JSON any more.
            IndexError: the file has become shorter.
        """
        if source["path"] != self._path:
            self.close()
            path = Path(source["path"])
            if "offset" in source:
                self._file = _open(path)
            else:
                self._features = _load(path)
            self._path = source["path"]
        if self._file is None:
            return self._features[source["index"]]
        self._file.seek(source["offset"])
        return orjson.loads(self._file.read(source["length"]))

    def close(self) -> None:
        """Close the file that is open."""
        if self._file is not None:
            self._file.close()
        self._path, self._file, self._features = None, None, []


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[Found]:
    offset = 0
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            length = len(line)
            if line.strip():
                source = {"path": str(path), "line": number, "offset": offset, "length": length}
                yield _found(line.strip(), source, f"line {number}")
            offset += length


def _features(path: Path) -> Iterator[Found]:
    try:
        features = _load(path)
    except ValueError as error:
        raise SourceError(f"{path} is no JSON: {error}") from error
    for index, feature in enumerate(features):
        yield _found(orjson.dumps(feature), {"path": str(path), "index": index}, f"feature {index}")


def _load(path: Path) -> list[Any]:
    with _open(path) as file:
        content = orjson.loads(file.read())
    if isinstance(content, list):
        return content
    if isinstance(content, dict) and isinstance(content.get("features"), list):
        return list(content["features"])
    return [content]


def _found(data: bytes, source: Mapping[str, Any], place: str) -> Found:
    item_id = None
    problem = None
    try:
        value = orjson.loads(data)
    except ValueError as error:
        problem = f"{place} of {source['path']} is no JSON: {error}"
    else:
        with suppress(AttributeError):
            item_id = value.get("id")
        if not isinstance(item_id, str) or not item_id:
            item_id, problem = None, f"{place} of {source['path']} has no id: a STAC item needs one"
        elif "\0" in item_id:
            item_id, problem = None, f"{place} of {source['path']} has a NUL character in its id: PostgreSQL has none"
    content = {"item": hashlib.sha256(data).hexdigest()}
    return Found(item_id=item_id or place, source=source, content=content, problem=problem)
