"""Items as rows of pgSTAC's table, in the form that binary COPY takes. Nothing here talks to a database.

The form of the fields is PostgreSQL's binary one (documentation of COPY, "Binary Format"): each field is its length and
its bytes; times are microseconds since 2000-01-01 UTC; jsonb is the byte 1 and JSON; geometry is EWKB.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import orjson
import shapely
from hydraters import dehydrate
from numpy.typing import NDArray

COLUMNS = "id, collection, datetime, end_datetime, geometry, content, private"
#: Key of the mark in the column `private`, see `mark`.
MARK = "stacyard"

#: A value as JSON text.
Json: TypeAlias = bytes | msgspec.Raw

# members of an item that are columns of their own
_COLUMNS = frozenset({"id", "collection", "geometry"})
_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER = struct.pack(">h", -1)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIELDS = struct.Struct(">hi")
_LENGTH = struct.Struct(">i")
_TIMES = struct.Struct(">iqiqi")
_JSON = struct.Struct(">ib")


class Item(NamedTuple):
    """A valid item. `members` are its top-level members, each as JSON: most go to the database as they came.

    `first` and `last` are its times in UTC, `digest` is of the content it was made from.
    """

    item_id: str
    members: Mapping[str, Json]
    first: datetime
    last: datetime
    updated: datetime | None
    digest: str


class Row(NamedTuple):
    """An item, ready to be copied. `fields` are all columns but `private`; `first` and `last` are its times, in UTC."""

    item_id: str
    first: datetime
    last: datetime
    updated: datetime | None
    digest: str
    task: int
    fields: bytes
    private: dict[str, Any] | None


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

    @cached_property
    def base_members(self) -> dict[str, bytes]:
        """The members of the base item as JSON."""
        return {name: orjson.dumps(value) for name, value in self.base_item.items() if name not in _COLUMNS}


def digest_of(data: bytes) -> str:
    """The hash by which an item is known to be unchanged: 128 bits of SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()[:32]


def mark(digest: str, transaction: int, task: int) -> str:
    """What the column `private` says of a row that we wrote: of which content, in which transaction, for which task.

    It holds only while the row's `xmin` is that transaction: whoever else changes the row makes the mark void without
    knowing of it, and a row that was restored from a dump is taken as changed.
    """
    return f"{digest}:{transaction}:{task}"


def item_of(document: Mapping[str, Any]) -> Item:
    """A valid item that is no JSON yet, with times in UTC as `…Z`."""
    times = {
        name: datetime.fromisoformat(value) if isinstance(value, str) else None
        for name, value in document["properties"].items()
        if name in ("datetime", "start_datetime", "end_datetime", "updated")
    }
    first, last = span(times)
    members = {name: orjson.dumps(value) for name, value in document.items()}
    return Item(document["id"], members, first, last, times.get("updated"), digest_of(orjson.dumps(document)))


def span(times: Mapping[str, datetime | None]) -> tuple[datetime, datetime]:
    """First and last instant, by pgSTAC's rule: a range if both of its ends are there, else the datetime.

    Raises:
        KeyError: there is neither.
    """
    start, end = times.get("start_datetime"), times.get("end_datetime")
    if start is not None and end is not None:
        return start, end
    instant = times["datetime"]
    if instant is None:
        raise KeyError("datetime")
    return instant, instant


def rows_of(
    items: Sequence[Item],
    shape: CollectionShape,
    *,
    tasks: Sequence[int],
    geometries: NDArray[np.object_] | None = None,
) -> list[Row]:
    """Rows of items, in their order.

    Args:
        items: items of the collection.
        shape: the collection's, read not long ago.
        tasks: of the ledger, each item's.
        geometries: the items' geometries if they were parsed before, in EPSG:4326.
    """
    if geometries is None:
        geometries = np.asarray(shapely.from_geojson([bytes(item.members["geometry"]) for item in items]))
    wkb = shapely.to_wkb(shapely.set_srid(geometries, 4326), include_srid=True)
    name = shape.collection.encode()
    collection = _LENGTH.pack(len(name)) + name
    rows = []
    for item, geometry, task in zip(items, wkb, tasks, strict=True):
        identity = item.item_id.encode()
        first = _microseconds(item.first)
        last = first if item.last is item.first else _microseconds(item.last)
        content = _content(item.members, shape)
        fields = b"".join(
            (
                _FIELDS.pack(7, len(identity)),
                identity,
                collection,
                _TIMES.pack(8, first, 8, last, len(geometry)),
                geometry,
                _JSON.pack(len(content) + 1, 1),
                content,
            )
        )
        private = orjson.loads(bytes(item.members["private"])) if "private" in item.members else None
        rows.append(Row(item.item_id, item.first, item.last, item.updated, item.digest, task, fields, private))
    return rows


def copy_data(rows: Iterable[Row], transaction: int) -> bytes:
    """The rows as the data of a binary COPY, each marked with the transaction that writes it."""
    parts = [_SIGNATURE]
    for row in rows:
        private = orjson.dumps({**(row.private or {}), MARK: mark(row.digest, transaction, row.task)})
        parts += (row.fields, _JSON.pack(len(private) + 1, 1), private)
    parts.append(_TRAILER)
    return b"".join(parts)


def _content(members: Mapping[str, Json], shape: CollectionShape) -> bytes:
    """What pgSTAC keeps of an item in its column `content`: no other column, and nothing that the base item says."""
    kept = {name: json for name, json in members.items() if name not in _COLUMNS}
    kept.pop("private", None)
    kept.pop("pgstac:base_item", None)
    differing = []
    for name, json in shape.base_members.items():
        if name in kept and bytes(kept[name]) == json:
            del kept[name]
        else:
            differing.append(name)
    if differing:
        part = {name: orjson.loads(bytes(kept.pop(name))) for name in differing if name in kept}
        dehydrate({name: shape.base_item[name] for name in differing}, part)
        kept |= {name: orjson.dumps(value) for name, value in part.items()}
    if shape.base_item_id is not None:
        kept["pgstac:base_item"] = orjson.dumps(shape.base_item_id)
    pieces: list[Json] = []
    for name, json in kept.items():
        pieces += (_prefix(name), json)
    # the first prefix begins with a comma
    return b"{" + b"".join(pieces)[1:] + b"}"


@lru_cache(maxsize=1024)
def _prefix(name: str) -> bytes:
    return b"," + orjson.dumps(name) + b":"


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // _MICROSECOND
