"""tipg's SQL functions, installed once by the migration and not, as stock tipg does, on every new connection."""

from __future__ import annotations

from importlib.resources import files

from stacyard.core.migrate import Script

#: Where migrations put them.
FUNCTION_SCHEMA = "tipg"


def catalog_functions() -> Script:
    """The script that creates or replaces the functions, of the tipg that is installed."""
    functions = files("tipg").joinpath("sql", "dbcatalog.sql").read_text(encoding="utf-8")
    text = "\n".join(
        [
            f"CREATE SCHEMA IF NOT EXISTS {FUNCTION_SCHEMA};",
            f"GRANT USAGE ON SCHEMA {FUNCTION_SCHEMA} TO stacyard_reader;",
            functions.replace("pg_temp.", f"{FUNCTION_SCHEMA}."),
        ]
    )
    return Script("tipg-functions", text)
