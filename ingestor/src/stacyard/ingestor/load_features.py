"""Fill a table of the schema `features` with a layer, in one transaction: until it ends, readers see the old table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import shapely
from psycopg import sql

from stacyard.core.revision import raise_revision
from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.stages.vectors import Column, Layer

SCHEMA = "features"
_EXISTS = "SELECT to_regclass(%s) IS NOT NULL"
_OWNER = "SELECT tableowner = current_user FROM pg_tables WHERE schemaname = %s AND tablename = %s"


def table_exists(session: Session, table: str) -> bool:
    """Whether `features.<table>` is there."""
    row = session.run(lambda connection: connection.execute(_EXISTS, [f"{SCHEMA}.{table}"]).fetchone())
    return bool(row and row[0])


def replace_table(session: Session, layer: Layer, *, table: str, comment: str, collection: str) -> None:
    """Make `features.<table>` hold exactly this layer: key, columns, and `geom` in EPSG:4326 with its index.

    The table is built under another name and takes its place by renaming. Raises the catalog revision of the
    collection and of the layer, which is called `features.<table>`.

    Raises:
        Rejected: the table belongs to somebody else, or something depends on it.
    """

    def write(connection: Connection) -> None:
        owner = connection.execute(_OWNER, [SCHEMA, table]).fetchone()
        if owner is not None and not owner[0]:
            raise Rejected(f"the table {SCHEMA}.{table} was not made by the ingestor: choose another `table:`")
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


def _build(connection: Connection, layer: Layer, table: str, comment: str) -> None:
    short = table[:50]
    names = {
        "new": sql.Identifier(SCHEMA, f"{short}_new"),
        "old": sql.Identifier(SCHEMA, table),
        "new_key": sql.Identifier(f"{short}_new_pkey"),
        "new_index": sql.Identifier(f"{short}_new_geom"),
        "new_key_in": sql.Identifier(SCHEMA, f"{short}_new_pkey"),
        "new_index_in": sql.Identifier(SCHEMA, f"{short}_new_geom"),
        "table": sql.Identifier(table),
        "key": sql.Identifier(f"{short}_pkey"),
        "index": sql.Identifier(f"{short}_geom"),
        "key_column": sql.Identifier(layer.columns[0].name),
        "columns": sql.SQL(", ").join(
            # types are constants of `vectors`, never of the data
            sql.SQL("{} ").format(sql.Identifier(column.name)) + sql.SQL(column.sql_type)
            for column in layer.columns
        ),
        "geometry": sql.SQL(layer.geometry_type.replace("Unknown", "Geometry")),
        "names": sql.SQL(", ").join(sql.Identifier(column.name) for column in layer.columns),
        "comment": sql.Literal(comment),
    }

    def execute(statement: str) -> None:
        connection.execute(sql.SQL(statement).format(**names))

    execute(
        "CREATE TABLE {new} ({columns}, geom geometry({geometry}, 4326) NOT NULL,"
        " CONSTRAINT {new_key} PRIMARY KEY ({key_column}))"
    )
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {new} ({names}, geom) FROM STDIN").format(**names)) as copy,
    ):
        for row in _rows(layer):
            copy.write_row(row)
    execute("CREATE INDEX {new_index} ON {new} USING gist (geom)")
    execute("COMMENT ON TABLE {new} IS {comment}")
    execute("ANALYZE {new}")
    execute("DROP TABLE IF EXISTS {old}")
    execute("ALTER TABLE {new} RENAME TO {table}")
    execute("ALTER INDEX {new_key_in} RENAME TO {key}")
    execute("ALTER INDEX {new_index_in} RENAME TO {index}")


def _rows(layer: Layer) -> Iterator[tuple[Any, ...]]:
    columns = [_values(column) for column in layer.columns]
    for start in range(0, len(layer.geometries), 1000):
        some = slice(start, start + 1000)
        shapes = shapely.to_wkb(shapely.set_srid(layer.geometries[some], 4326), hex=True, include_srid=True)
        yield from zip(*(values[some] for values in columns), shapes, strict=True)


def _values(column: Column) -> list[Any]:
    """Python values with None for what is missing."""
    values = column.values
    if column.kind in ("int32", "int64"):
        values = np.where(column.missing, 0, values).astype("int64")
    elif column.kind == "boolean":
        values = np.where(column.missing, False, values).astype(bool)
    elif column.kind == "date":
        values = values.astype("datetime64[D]")
    elif column.kind == "datetime":
        values = values.astype("datetime64[us]")
    return [None if missing else value for value, missing in zip(values.tolist(), column.missing, strict=True)]
