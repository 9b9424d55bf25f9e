"""Fill a table of the schema `features` with a layer, in one transaction: until it ends, readers see the old table."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from psycopg import sql

from stacyard.core.revision import raise_revision
from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.stages.vectors import GEOMETRY, Layer
from stacyard.ingestor.stages.vocabulary import LAYER_SCHEMA as SCHEMA

_EXISTS = "SELECT to_regclass(%s) IS NOT NULL"
_OURS = """
SELECT relkind = 'r' AND pg_get_userbyid(relowner) = current_user
FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = %s
"""
# held to the end of the transaction; the number is of this purpose
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 5720))"
_MOST_STEM = 50


def table_exists(session: Session, table: str) -> bool:
    """Whether `features.<table>` is there."""
    row = session.run(lambda connection: connection.execute(_EXISTS, [f"{SCHEMA}.{table}"]).fetchone())
    return bool(row and row[0])


def replace_table(session: Session, layer: Layer, *, table: str, comment: str, collection: str) -> None:
    """Make `features.<table>` hold exactly this layer: key, columns, and `geom` in EPSG:4326 with its index.

    The table is built under another name and takes its place by renaming; of two that fill it at the same moment, the
    later takes the place of the earlier. Raises the catalog revision of the collection and of the layer, which is
    called `features.<table>`.

    Raises:
        Rejected: the table belongs to somebody else, something depends on it, or PostgreSQL cannot hold the layer.
    """

    def write(connection: Connection) -> None:
        _check_ours(connection, table)
        with connection.transaction():
            _build(connection, layer, table, comment)
            raise_revision(connection, collection)
            raise_revision(connection, f"{SCHEMA}.{table}")

    try:
        session.run(write)
    except psycopg.errors.DependentObjectsStillExist as error:
        raise Rejected(
            f"views or functions depend on {SCHEMA}.{table}: drop them, then run the same command again"
        ) from error
    except (psycopg.errors.ProgramLimitExceeded, psycopg.errors.TooManyColumns) as error:
        raise Rejected(f"{SCHEMA}.{table} cannot hold the layer: {error.diag.message_primary}") from error


def _check_ours(connection: Connection, table: str) -> None:
    row = connection.execute(_OURS, [SCHEMA, table]).fetchone()
    if row is not None and not row[0]:
        raise Rejected(f"{SCHEMA}.{table} was not made by the ingestor: choose another `table:`")


def _build(connection: Connection, layer: Layer, table: str, comment: str) -> None:
    stem, own = _stem(table), secrets.token_hex(4)
    names: dict[str, sql.Composable] = {
        "new": sql.Identifier(SCHEMA, f"{own}$new"),
        "old": sql.Identifier(SCHEMA, table),
        "new_key": sql.Identifier(f"{own}$new_pkey"),
        "new_index": sql.Identifier(f"{own}$new_geom"),
        "new_key_in": sql.Identifier(SCHEMA, f"{own}$new_pkey"),
        "new_index_in": sql.Identifier(SCHEMA, f"{own}$new_geom"),
        "table": sql.Identifier(table),
        "key": sql.Identifier(f"{stem}$pkey"),
        "index": sql.Identifier(f"{stem}$geom"),
        "key_column": sql.Identifier(layer.columns[0].name),
        "columns": sql.SQL(", ").join(
            # types are constants of `vector_columns`, never of the data
            sql.SQL("{} ").format(sql.Identifier(column.name)) + sql.SQL(column.kind.sql)
            for column in layer.columns
        ),
        "geometry": sql.SQL(layer.geometry_type.replace("Unknown", "Geometry")),
        "names": sql.SQL(", ").join(sql.Identifier(column.name) for column in layer.columns),
        "comment": sql.Literal(comment),
    }

    def execute(statement: str, **more: sql.Composable) -> None:
        connection.execute(sql.SQL(statement).format(**names, **more))

    execute(
        "CREATE TABLE {new} ({columns}, geom geometry({geometry}, 4326) NOT NULL,"
        " CONSTRAINT {new_key} PRIMARY KEY ({key_column}))"
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {new} ({names}, geom) FROM STDIN").format(**names)) as copy,
    ):
        for batch in layer.batches():
            copy.write(copy_lines(batch))
    execute("CREATE INDEX {new_index} ON {new} USING gist (geom)")
    execute("COMMENT ON TABLE {new} IS {comment}")
    described = [*((column.name, column.comment) for column in layer.columns), (GEOMETRY, "Geometry in EPSG:4326")]
    for name, meaning in described:
        execute("COMMENT ON COLUMN {new}.{name} IS {meaning}", name=sql.Identifier(name), meaning=sql.Literal(meaning))
    execute("ANALYZE {new}")
    # from here on one after the other: a table that the other has just put there is replaced like any
    connection.execute(_LOCK, [f"{SCHEMA}.{table}"])
    _check_ours(connection, table)
    execute("DROP TABLE IF EXISTS {old}")
    execute("ALTER TABLE {new} RENAME TO {table}")
    execute("ALTER INDEX {new_key_in} RENAME TO {key}")
    execute("ALTER INDEX {new_index_in} RENAME TO {index}")


def _stem(table: str) -> str:
    """What the names of a table's indexes begin with; `$`, which follows, is in no table name of a recipe.

    PostgreSQL cuts names at 63 bytes, so a long one ends in its hash.
    """
    if len(table) <= _MOST_STEM:
        return table
    return f"{table[: _MOST_STEM - 13]}_{hashlib.sha256(table.encode()).hexdigest()[:12]}"


def copy_lines(batch: pa.RecordBatch) -> memoryview:
    """Features in the text format of COPY, the geometry as EWKB in hexadecimal."""
    shapes = shapely.set_srid(shapely.from_wkb(batch.column(GEOMETRY).to_numpy(zero_copy_only=False)), 4326)
    texts = [_text(column) for name, column in zip(batch.schema.names, batch.columns, strict=True) if name != GEOMETRY]
    texts.append(pa.array(shapely.to_wkb(shapes, hex=True, include_srid=True), pa.large_string()))
    tab, nothing, newline = (pa.scalar(text, pa.large_string()) for text in ("\t", "", "\n"))
    fields = pc.binary_join_element_wise(*texts, tab, null_handling="replace", null_replacement="\\N")
    lines = pc.binary_join_element_wise(fields, nothing, newline)
    # the array's own bytes are the lines one after the other, and its last offset is their end
    _, offsets, data = lines.buffers()
    return memoryview(data)[: int(np.frombuffer(offsets, "int64")[len(lines)])] if len(lines) else memoryview(b"")


def _text(values: Any) -> pa.Array:
    escaped = values.cast(pa.large_string())
    if pa.types.is_string(values.type):
        for char, written in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
            escaped = pc.replace_substring(escaped, char, written)
    return escaped
