"""Items as stac-geoparquet: a table with a geometry column, typed by what its items hold.

https://github.com/stac-utils/stac-geoparquet/blob/main/spec/stac-geoparquet-spec.md,
https://geoparquet.org/releases/v1.1.0/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
import shapely

from stacyard.core.pgstac_hydration import Json
from stacyard.stac.formats.columns import check_width, row_of
from stacyard.stac.formats.shapes import Kind, Shape

# a row group is written when it has so many rows or its items so many bytes of JSON, whichever comes first
_GROUP_ROWS = 10_000
_GROUP_BYTES = 2**23
# RFC 3339 texts by the common metadata of STAC and its timestamps extension
_TIMES = frozenset(
    ("datetime", "start_datetime", "end_datetime", "created", "updated", "published", "expires", "unpublished")
)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,6})?Z")
_FIRST = ("id", "collection", "geometry", "bbox", "stac_version", "stac_extensions", "datetime")
_LAST = ("assets", "links")
_EDGES = {4: ("xmin", "ymin", "xmax", "ymax"), 6: ("xmin", "ymin", "zmin", "xmax", "ymax", "zmax")}
# what is null throughout has a type that every reader knows
_TYPES = {
    Kind.NULL: pa.string(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.INTEGER: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.TEXT: pa.string(),
    Kind.MIXED: pa.string(),
}
_COVERING = {"bbox": {edge: ["bbox", edge] for edge in _EDGES[4]}}


class _Page(msgspec.Struct):
    """What is kept of a page: its rows as lines of JSON, and their geometries as WKB beside them."""

    lines: bytes
    geometries: list[bytes | None]


_rows: msgspec.json.Decoder[dict[str, Json]] = msgspec.json.Decoder(dict[str, Json])
_pages = msgspec.msgpack.Decoder(_Page)


class GeoParquetWriter:
    """Writes a row an item, in row groups of bounded size; the footer, without which no reader opens it, comes last.

    A column has the narrowest type that holds all of its values. Times are UTC in microseconds, if all of a column are;
    values that have no type in common are JSON text.
    """

    def __init__(self) -> None:
        self._row = Shape()
        # an export of no items has columns too
        self._row.learn({"id": "", "collection": ""})
        self._no_times: set[str] = set()
        self._places = _Places()

    def take(self, items: Sequence[Mapping[str, Any]]) -> bytes:
        """The rows of a page, after learning from them which columns there are."""
        if not items:
            return b""
        rows = [row_of(item) for item in items]
        geometries = [row.pop("geometry", None) for row in rows]
        for row in rows:
            if "bbox" in row:
                row["bbox"] = _box(row["bbox"])
            self._row.learn(msgspec.json.decode(msgspec.json.encode(row)))
            self._no_times.update(name for name in _TIMES if name in row and not _is_time(row[name]))
        check_width(self._row.width())
        page = _Page(msgspec.json.Encoder().encode_lines(rows), self._places.take(geometries))
        return msgspec.msgpack.encode(page)

    def written(self, kept: Iterable[bytes]) -> Iterator[bytes]:
        """The file, piece by piece."""
        mixed = {name: shape for name, shape in self._row.members.items() if shape.is_mixed()}
        plain = pa.schema([pa.field(name, self._type(name, shape)) for name, shape in self._row.members.items()])
        schema = plain.append(pa.field("geometry", pa.binary())) if self._places.seen else plain
        schema = pa.schema([schema.field(name) for name in _ordered(schema.names)], self._metadata())
        outbox = _Outbox()
        with pq.ParquetWriter(outbox, schema, compression="zstd") as writer:
            for group in _groups(kept):
                tables = [_table(page, plain, schema, mixed) for page in group]
                writer.write_table(pa.concat_tables(tables), row_group_size=_GROUP_ROWS)
                yield outbox.taken()
        yield outbox.taken()

    def _type(self, name: str, shape: Shape) -> Any:
        return pa.timestamp("us", "UTC") if name in _TIMES and name not in self._no_times else _arrow_type(shape)

    def _metadata(self) -> dict[str, str]:
        metadata: dict[str, Any] = {"stac-geoparquet": {"version": "1.0.0"}}
        if self._places.seen:
            column = self._places.described()
            box = self._row.members.get("bbox")
            if box is not None and box.kind is Kind.OBJECT:
                column["covering"] = _COVERING
            metadata["geo"] = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        return {name: orjson.dumps(value).decode() for name, value in metadata.items()}


class _Places:
    """Geometries, turned into WKB, and what the file says of all of them."""

    def __init__(self) -> None:
        self.seen = False
        self._kinds: set[str] = set()
        self._bounds = np.array([np.inf, np.inf, -np.inf, -np.inf])

    def take(self, geometries: Sequence[Json | None]) -> list[bytes | None]:
        self.seen = self.seen or any(each is not None for each in geometries)
        shapes = shapely.from_geojson([None if each is None else bytes(each) for each in geometries])
        for shape in shapes:
            if shape is not None:
                self._kinds.add(f"{shape.geom_type} Z" if shape.has_z else shape.geom_type)
        bounds = shapely.total_bounds(shapes)
        self._bounds[:2] = np.fmin(self._bounds[:2], bounds[:2])
        self._bounds[2:] = np.fmax(self._bounds[2:], bounds[2:])
        return list(shapely.to_wkb(shapes, flavor="iso"))

    def described(self) -> dict[str, Any]:
        description: dict[str, Any] = {"encoding": "WKB", "geometry_types": sorted(self._kinds)}
        if np.isfinite(self._bounds).all():
            description["bbox"] = self._bounds.tolist()
        return description


class _Outbox:
    """A file that is only written to, and emptied in between."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.closed = False

    def write(self, piece: Any) -> int:
        data = bytes(piece)
        self._pieces.append(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _groups(kept: Iterable[bytes]) -> Iterator[list[_Page]]:
    group: list[_Page] = []
    rows = size = 0
    for each in kept:
        if not each:
            continue
        page = _pages.decode(each)
        if group and (rows + len(page.geometries) > _GROUP_ROWS or size + len(page.lines) > _GROUP_BYTES):
            yield group
            group, rows, size = [], 0, 0
        group.append(page)
        rows, size = rows + len(page.geometries), size + len(page.lines)
    if group:
        yield group


def _table(page: _Page, plain: Any, schema: Any, mixed: Mapping[str, Shape]) -> Any:
    lines = _with_text(page.lines, mixed) if mixed else page.lines
    table = pa.json.read_json(
        pa.BufferReader(lines),
        read_options=pa.json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
        parse_options=pa.json.ParseOptions(explicit_schema=plain, unexpected_field_behavior="error"),
    )
    if "geometry" in schema.names:
        table = table.append_column("geometry", pa.array(page.geometries, pa.binary()))
    return table.select(schema.names).cast(schema)


def _with_text(lines: bytes, mixed: Mapping[str, Shape]) -> bytes:
    """The lines with JSON text where values have no type in common."""
    rows = _rows.decode_lines(lines)
    for row in rows:
        for name, shape in mixed.items():
            if name in row:
                row[name] = Json(orjson.dumps(shape.with_text(msgspec.json.decode(row[name]))))
    return msgspec.json.Encoder().encode_lines(rows)


def _ordered(names: Sequence[str]) -> list[str]:
    ends = {*_FIRST, *_LAST}
    return [
        *(name for name in _FIRST if name in names),
        *sorted(name for name in names if name not in ends),
        *(name for name in _LAST if name in names),
    ]


def _arrow_type(shape: Shape) -> Any:
    if shape.kind is Kind.LIST:
        return pa.list_(_arrow_type(shape.element))
    if shape.kind is Kind.OBJECT:
        return pa.struct([pa.field(name, _arrow_type(each)) for name, each in shape.members.items()])
    return _TYPES[shape.kind]


def _box(value: Json) -> Json:
    """The box of an item as an object, whose members are the edges; null for anything else."""
    box = msgspec.json.decode(value)
    edges = _EDGES.get(len(box)) if isinstance(box, list) else None
    if edges is None or not all(isinstance(each, int | float) for each in box):
        return Json(b"null")
    return Json(msgspec.json.encode({edge: float(each) for edge, each in zip(edges, box, strict=True)}))


def _is_time(value: Json) -> bool:
    """Whether a value is a time that a column of times gives back as it is, or null."""
    if bytes(value) == b"null":
        return True
    text = bytes(value)[1:-1].decode()
    if not _TIME.fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
