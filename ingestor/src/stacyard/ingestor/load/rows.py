"""Items as rows of pgSTAC's table, in the form that binary COPY takes. Nothing here talks to a database.

The form of the fields is PostgreSQL's binary one (documentation of COPY, "Binary Format"): each field is its length and
its bytes; times are microseconds since 2000-01-01 UTC; jsonb is the byte 1 and JSON; geometry is EWKB.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import shapely
from hydraters import dehydrate
from numpy.typing import NDArray

COLUMNS = "id, collection, datetime, end_datetime, geometry, content, private"
#: Key of the mark in the column `private`, see `mark`.
MARK = "stacyard"

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIELDS = struct.Struct(">hi")
_LENGTH = struct.Struct(">i")
_TIMES = struct.Struct(">iqiqi")
_JSON = struct.Struct(">ib")


@dataclass(frozen=True, kw_only=True)
class CollectionShape:
    """How a collection's items lie in the database. `base_item_id` is None until the base item was first changed."""

    collection: str
    key: int
    partition_trunc: str | None
    base_item: dict[str, Any]
    base_item_id: int | None

    @property
    def table(self) -> str:
        """The table of schema pgstac that holds all items of the collection, in one or in many partitions."""
        return f"_items_{self.key}"


@dataclass(frozen=True, slots=True)
class Row:
    """An item, ready to be copied. `fields` are all columns but `private`; `first` and `last` are its times, in UTC."""

    item_id: str
    first: datetime
    last: datetime
    updated: datetime | None
    digest: str
    task: int
    fields: bytes
    private: dict[str, Any] | None = None


def digest_of(data: bytes) -> str:
    """The hash by which an item is known to be unchanged: 128 bits of SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:32]


def mark(digest: str, transaction: int, task: int) -> str:
    """What the column `private` says of a row that we wrote: of which content, in which transaction, for which task.

    It holds only while the row's `xmin` is that transaction: whoever else changes the row makes the mark void without
    knowing of it, and a row that was restored from a dump is taken as changed.
    """
    return f"{digest}:{transaction}:{task}"


def rows_of(
    items: Sequence[dict[str, Any]],
    shape: CollectionShape,
    *,
    digests: Sequence[str],
    tasks: Sequence[int],
    geometries: NDArray[np.object_] | None = None,
) -> list[Row]:
    """Rows of items, in their order. The items are used up: what is left of them afterwards is the stored content.

    Args:
        items: valid items of the collection, with times in UTC as `…Z`.
        shape: the collection's, read not long ago.
        digests: of each item's content.
        tasks: of the ledger, each item's.
        geometries: the items' geometries if they were parsed before, in EPSG:4326.
    """
    if geometries is None:
        geometries = np.asarray(shapely.from_geojson([orjson.dumps(item["geometry"]) for item in items]))
    wkb = shapely.to_wkb(shapely.set_srid(geometries, 4326), include_srid=True)
    name = shape.collection.encode()
    collection = _LENGTH.pack(len(name)) + name
    rows = []
    for item, geometry, digest, task in zip(items, wkb, digests, tasks, strict=True):
        properties = item["properties"]
        updated = properties.get("updated")
        first, last = _times(properties)
        item_id = item.pop("id")
        del item["collection"], item["geometry"]
        private = item.pop("private", None)
        dehydrate(shape.base_item, item)
        item.pop("pgstac:base_item", None)
        for column in ("id", "collection", "geometry"):
            item.pop(column, None)
        if shape.base_item_id is not None:
            item["pgstac:base_item"] = shape.base_item_id
        content = orjson.dumps(item)
        identity = item_id.encode()
        fields = b"".join(
            (
                _FIELDS.pack(7, len(identity)),
                identity,
                collection,
                _TIMES.pack(8, _microseconds(first), 8, _microseconds(last), len(geometry)),
                geometry,
                _JSON.pack(len(content) + 1, 1),
                content,
            )
        )
        since = datetime.fromisoformat(updated) if updated else None
        rows.append(Row(item_id, first, last, since, digest, task, fields, private))
    return rows


def copy_data(rows: Iterable[Row], transaction: int) -> bytes:
    """The rows as the data of a binary COPY, each marked with the transaction that writes it."""
    parts = [_SIGNATURE]
    for row in rows:
        private = orjson.dumps({**(row.private or {}), MARK: mark(row.digest, transaction, row.task)})
        parts += (row.fields, _JSON.pack(len(private) + 1, 1), private)
    parts.append(_TRAILER)
    return b"".join(parts)


def _times(properties: dict[str, Any]) -> tuple[datetime, datetime]:
    """First and last instant, by pgSTAC's rule: a range if both of its ends are there, else the datetime."""
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if start is not None and end is not None:
        return datetime.fromisoformat(start), datetime.fromisoformat(end)
    instant = datetime.fromisoformat(properties["datetime"])
    return instant, instant


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
