"""By what and from what an item was made, in the words of the processing extension."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import rasterio

_MOST_NAMES = 20


def processing(sources: Iterable[str], *, into: str) -> dict[str, Any]:
    """`processing:` fields of an item: the same sources and software give the same, whenever it is made.

    Args:
        sources: paths or URIs of files; only their names are told.
        into: what was made of them.
    """
    names = [_name(source) for source in sources]
    told = ", ".join(names[:_MOST_NAMES]) + (f" and {len(names) - _MOST_NAMES} more" if names[_MOST_NAMES:] else "")
    return {
        "processing:software": {"stacyard": version("stacyard-ingestor"), "GDAL": rasterio.__gdal_version__},
        "processing:lineage": f"{into} of {told}",
    }


def _name(source: str) -> str:
    # the query of a signed URL is a secret
    path = urlsplit(source).path if "://" in source else source
    return PurePosixPath(path).name
