"""Items in stac-geoparquet, here or in S3: found by the file's footer, read a thousand rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import rustac

from stacyard.core.errors import StorageError
from stacyard.ingestor.errors import Damaged, SourceError
from stacyard.ingestor.sources.buckets import Buckets
from stacyard.ingestor.sources.files import open_file
from stacyard.ingestor.sources.found import Found, Line

_BLOCK_ROWS = 1000
# columns are read in pieces of this size and not as wholes, which may be gigabytes
_BUFFER_BYTES = 2**20
_NEEDED = ("id", "geometry", "assets")


def find(uri: str, *, buckets: Buckets | None = None) -> Iterator[Found]:
    """Every block of a file; only its footer is read.

    Raises:
        SourceError: it cannot be read, or is no stac-geoparquet.
    """
    with _Table(uri, buckets or Buckets()) as table:
        version = table.version
        row = 0
        for group, rows in enumerate(table.rows):
            for first in range(0, rows, _BLOCK_ROWS):
                count = min(_BLOCK_ROWS, rows - first)
                source = {
                    "reader": "geoparquet",
                    "path": uri,
                    "version": version,
                    "group": group,
                    "first": first,
                    "count": count,
                    "row": row + 1,
                }
                yield Found(item_id=f"{uri} from row {row + 1}", source=source, items=count)
                row += count


class Reader:
    """Reads found blocks again. One file is kept open, because blocks come in the order of the file."""

    def __init__(self, *, buckets: Buckets | None = None) -> None:
        self._buckets = buckets or Buckets()
        self._table: _Table | None = None
        self._place: tuple[str, str, int, int] | None = None
        self._batches: Iterator[Any] = iter(())

    def read(self, source: Mapping[str, Any]) -> Iterator[Line]:
        """The items of a block, each as JSON.

        Raises:
            SourceError: the file is gone, has changed since it was found, or its rows are no items.
            OSError: it cannot be read now.
            StorageError: the same, in S3.
        """
        batch = self._batch(source)
        table = pa.Table.from_batches([batch])
        try:
            features = rustac.from_arrow(table)["features"]
        except (KeyboardInterrupt, SystemExit):
            raise
        # of a table that it cannot read rustac panics, which is no Exception
        except BaseException as error:
            last = source["row"] + source["count"] - 1
            raise SourceError(f"rows {source['row']} to {last} of {source['path']} are no items: {error}") from error
        for number, feature in enumerate(features):
            yield Line(place=f"row {source['row'] + number}", data=orjson.dumps(_without_gaps(feature)))

    def close(self) -> None:
        """Close the file that is open."""
        if self._table is not None:
            self._table.close()
        self._table, self._place, self._batches = None, None, iter(())

    def _batch(self, source: Mapping[str, Any]) -> Any:
        path, version, group, first = (source[name] for name in ("path", "version", "group", "first"))
        if self._place is None or self._place[:3] != (path, version, group) or self._place[3] > first:
            self.close()
            self._table = _Table(path, self._buckets)
            if self._table.version != version:
                self.close()
                raise SourceError(f"{path} has changed since it was listed; run again")
            self._batches = self._table.batches(group)
            self._place = (path, version, group, 0)
        try:
            for _ in range(self._place[3], first, _BLOCK_ROWS):
                next(self._batches)
            batch = next(self._batches)
        except (OSError, StorageError):
            self.close()
            raise
        except (pa.ArrowException, StopIteration) as error:
            self.close()
            raise SourceError(f"{path} cannot be read from row {source['row']} on: {error}") from error
        if batch.num_rows != source["count"]:
            self.close()
            raise SourceError(f"{path} gives {batch.num_rows} rows from row {source['row']} on: write it again")
        self._place = (path, version, group, first + _BLOCK_ROWS)
        return batch


class _Table:
    """An open Parquet file of items."""

    def __init__(self, uri: str, buckets: Buckets) -> None:
        with ExitStack() as stack:
            try:
                self._file: Any = stack.enter_context(open_file(uri, buckets=buckets))
                self._parquet = pq.ParquetFile(self._file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
                self.version = self._footer()
            except StorageError as error:
                raise SourceError(f"{uri} cannot be read: {error}") from error
            except (OSError, pa.ArrowException) as error:
                raise Damaged(f"{uri} cannot be read as Parquet: {error}") from error
            names = self._parquet.schema_arrow.names
            missing = [name for name in _NEEDED if name not in names]
            if missing:
                raise Damaged(f"{uri} is no stac-geoparquet: it has no column {missing[0]!r}")
            stack.pop_all()

    @property
    def rows(self) -> list[int]:
        """How many rows each row group has."""
        metadata = self._parquet.metadata
        return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]

    def batches(self, group: int) -> Iterator[Any]:
        return iter(self._parquet.iter_batches(batch_size=_BLOCK_ROWS, row_groups=[group], use_threads=False))

    def close(self) -> None:
        self._parquet.close()
        self._file.close()

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _footer(self) -> str:
        """SHA-256 of the footer, which has size and place of every column, and the smallest and largest values."""
        size = self._file.seek(0, 2)
        self._file.seek(size - 8)
        length = int.from_bytes(self._file.read(4), "little")
        self._file.seek(size - 8 - length)
        return hashlib.sha256(self._file.read(length)).hexdigest()


def _without_gaps(item: dict[str, Any]) -> dict[str, Any]:
    """An item without the properties that it has only because other items of the table have them."""
    properties = {key: value for key, value in item["properties"].items() if value is not None or key == "datetime"}
    return {**item, "properties": properties}
