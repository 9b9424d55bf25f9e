"""What the name of a source says of it."""

from __future__ import annotations

from pathlib import PurePosixPath
from urllib.parse import urlsplit

_PARQUET = (".parquet", ".geoparquet")
_CATALOGS = ("catalog.json", "collection.json")


def is_web(source: str) -> bool:
    """Whether a source is on the web."""
    return source.startswith(("http://", "https://"))


def is_api(source: str) -> bool:
    """Whether a source is a collection or a search of a STAC API."""
    if not is_web(source):
        return False
    segments = urlsplit(source).path.rstrip("/").split("/")
    return not segments[-1].endswith(".json") and (segments[-1] == "search" or "collections" in segments[-3:-1])


def is_catalog(source: str) -> bool:
    """Whether a source is a static catalog: `catalog.json` or `collection.json`, and on the web any JSON."""
    if is_web(source):
        return urlsplit(source).path.endswith(".json")
    return PurePosixPath(source).name in _CATALOGS and not source.startswith("@")


def is_geoparquet(name: str) -> bool:
    """Whether a file name is that of a Parquet file."""
    return name.lower().endswith(_PARQUET)
