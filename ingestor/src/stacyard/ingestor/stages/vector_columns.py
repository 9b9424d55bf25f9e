"""Attributes of a layer: their names and types in the FlatGeobuf and in the table, and values brought to them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import RESERVED_COLUMNS, is_identifier
from stacyard.ingestor.recipe import Layer as LayerRule

_INSTANT = pa.timestamp("us", "UTC")
# what ISO 8601 writes with four digits
_FIRST, _LAST = dt.date(1, 1, 1), dt.date(9999, 12, 31)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A type of attribute: in SQL, in the STAC table extension, and in Arrow."""

    sql: str
    name: str
    arrow: pa.DataType


_BOOLEAN = Kind(sql="boolean", name="boolean", arrow=pa.bool_())
_INT32 = Kind(sql="integer", name="int32", arrow=pa.int32())
_INT64 = Kind(sql="bigint", name="int64", arrow=pa.int64())
_DOUBLE = Kind(sql="double precision", name="double", arrow=pa.float64())
_TEXT = Kind(sql="text", name="string", arrow=pa.string())
_DATE = Kind(sql="date", name="date", arrow=pa.date32())
_DATETIME = Kind(sql="timestamp with time zone", name="datetime", arrow=_INSTANT)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One attribute. `source` is its name in the file; the key that we number ourselves has none."""

    name: str
    kind: Kind
    source: str | None
    description: str | None = None

    @property
    def comment(self) -> str:
        """What the table says of it."""
        return self.description or (f"{self.source} of the source" if self.source else "Number of the feature, from 1")


def plan_columns(schema: pa.Schema, rule: LayerRule, path: Path) -> tuple[Column, ...]:
    """The columns of a layer, the key first.

    Raises:
        Rejected: a column that the rule names is not there, two would have one name, or no table can hold its type.
    """
    for use, wanted in (("rename", rule.rename), ("drop", rule.drop_columns)):
        unknown = sorted(set(wanted) - set(schema.names))
        if unknown:
            raise Rejected(f"{path} has no column {unknown[0]!r} to {use}; it has {', '.join(schema.names)}")
    columns = [_column(field, rule, path) for field in schema if field.name not in rule.drop_columns]
    names = [column.name for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Rejected(f"{path} would have two columns {twice[0]!r}: tell them apart with `rename:`")
    whole = _with_key(columns, rule, path)
    unknown = sorted(rule.columns.keys() - {column.name for column in whole})
    if unknown:
        names = [column.name for column in whole]
        raise Rejected(
            f"{path} gives no column {unknown[0]!r} to describe with `columns:`; it gives {', '.join(names)}"
        )
    return whole


def converted(
    batch: pa.RecordBatch, columns: Sequence[Column], *, numbers: Iterable[int], path: Path
) -> list[pa.Array]:
    """The values of the columns, in their order. `numbers` are the features' own, for a key that we number.

    Raises:
        Rejected: a value does not fit its type, or a key is missing.
    """
    arrays = []
    for place, column in enumerate(columns):
        if column.source is None:
            arrays.append(pa.array(numbers, column.kind.arrow))
            continue
        try:
            values = _values(batch.column(column.source), column.kind)
            values.validate(full=True)
        except (pa.ArrowException, orjson.JSONEncodeError, ValueError) as error:
            raise Rejected(f"{path}: column {column.source!r} has a value that cannot be kept: {error}") from error
        if place == 0 and values.null_count:
            raise Rejected(
                f"{path}: id_column {column.source!r} is empty in some features; choose another or leave it out"
            )
        arrays.append(values)
    return arrays


def check_unique(values: pa.ChunkedArray, column: Column, path: Path) -> None:
    """Raises Rejected if a value of the key comes twice."""
    if pc.count_distinct(values).as_py() == len(values):
        return
    counts = pc.value_counts(values)
    first = counts.filter(pc.greater(counts.field("counts"), 1))[0].as_py()
    raise Rejected(
        f"{path}: id_column {column.source!r} is not unique, {first['values']} comes {first['counts']} times; "
        "choose another or leave it out"
    )


def _column(field: pa.Field, rule: LayerRule, path: Path) -> Column:
    kind = _kind(field.type)
    if kind is None:
        raise Rejected(
            f"{path}: column {field.name!r} is of type {field.type}, which no table can hold; "
            "leave it out with `drop_columns:`"
        )
    name = rule.rename.get(field.name, _plain_name(field.name))
    return Column(name=name, kind=kind, source=field.name, description=rule.columns.get(name))


def _with_key(columns: list[Column], rule: LayerRule, path: Path) -> tuple[Column, ...]:
    if rule.id_column is None:
        name = "id" if all(column.name != "id" for column in columns) else "stacyard_id"
        return (Column(name=name, kind=_INT64, source=None, description=rule.columns.get(name)), *columns)
    wanted = rule.rename.get(rule.id_column, _plain_name(rule.id_column))
    found = next((column for column in columns if column.name == wanted), None)
    if found is None:
        names = ", ".join(column.name for column in columns)
        raise Rejected(f"{path} has no column {rule.id_column!r} for id_column; it has {names}")
    return (found, *(column for column in columns if column is not found))


def _plain_name(source: str) -> str:
    name = re.sub(r"[^a-z0-9_]+", "_", source.lower()).strip("_")[:60] or "column"
    name = f"c_{name}" if name[0].isdigit() else name
    return f"{name}_" if name in RESERVED_COLUMNS or not is_identifier(name) else name


def _kind(type_: pa.DataType) -> Kind | None:
    """What an Arrow type becomes; None if nothing."""
    if isinstance(type_, pa.BaseExtensionType):
        return _kind(type_.storage_type)
    if pa.types.is_dictionary(type_):
        return _kind(type_.value_type)
    return next((kind for kind, holds in _KINDS if holds(type_)), None)


def _is_nested(type_: pa.DataType) -> bool:
    """Lists, structs and maps, which JSON can hold if all that is in them is held by a column."""
    if not pa.types.is_nested(type_) or pa.types.is_union(type_):
        return False
    return all(_kind(type_.field(number).type) is not None for number in range(type_.num_fields))


# the first that holds
_KINDS: Sequence[tuple[Kind, Callable[[pa.DataType], bool]]] = (
    (_BOOLEAN, pa.types.is_boolean),
    (_INT64, pa.types.is_int64),
    (_INT64, pa.types.is_uint64),
    (_INT64, pa.types.is_uint32),
    (_INT32, pa.types.is_integer),
    (_DOUBLE, pa.types.is_floating),
    # as GDAL takes them: a double has 15 digits
    (_DOUBLE, pa.types.is_decimal),
    (_DATE, pa.types.is_date),
    (_DATETIME, pa.types.is_timestamp),
    (_TEXT, pa.types.is_string),
    (_TEXT, pa.types.is_large_string),
    (_TEXT, pa.types.is_string_view),
    (_TEXT, pa.types.is_time),
    (_TEXT, pa.types.is_null),
    (_TEXT, _is_nested),
)


def _values(values: pa.Array, kind: Kind) -> pa.Array:
    if isinstance(values, pa.ExtensionArray):
        return _values(values.storage, kind)
    if pa.types.is_dictionary(values.type):
        return _values(values.dictionary_decode(), kind)
    if _is_nested(values.type):
        return pa.array([None if value is None else _json(value) for value in values.to_pylist()], pa.string())
    if pa.types.is_timestamp(values.type) and values.type.unit == "ns":
        # PostgreSQL counts microseconds
        values = pc.floor_temporal(values, unit="microsecond")
    plain = values.cast(kind.arrow)
    if kind is _DOUBLE:
        return pc.if_else(pc.is_nan(plain), pa.scalar(None, pa.float64()), plain)
    if kind is _TEXT:
        plain.validate(full=True)
        if pc.any(pc.match_substring(plain, "\0")).as_py():
            raise ValueError("it has a NUL character")
    if kind in (_DATE, _DATETIME):
        _check_years(plain)
    return plain


def _json(value: Any) -> str:
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _check_years(values: pa.Array) -> None:
    days = values.cast(pa.date32(), safe=False)
    if pc.any(pc.or_(pc.less(days, pa.scalar(_FIRST)), pc.greater(days, pa.scalar(_LAST)))).as_py():
        raise ValueError("it has a time before the year 1 or after 9999")
