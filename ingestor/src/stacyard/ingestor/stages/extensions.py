"""The STAC extensions that items use: which they are, and what their fields may hold.

The official schemas are documents on the web, which a run must not depend on. What is checked here is what their
specifications say of the fields that we write ourselves; fields of other extensions, which a recipe may add, are not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_args

from stacyard.ingestor.recipe import CommonName

EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
# version 1.1 is the one that has `raster:bands`, which the tilers read; `bands` of STAC 1.1 says the same
RASTER = "https://stac-extensions.github.io/raster/v1.1.0/schema.json"
RENDER = "https://stac-extensions.github.io/render/v2.0.0/schema.json"
# version 1.3 lets a collection list its tables and no more
TABLE = "https://stac-extensions.github.io/table/v1.3.0/schema.json"

_BY_PREFIX: Mapping[str, str] = {
    "eo": EO,
    "file": FILE,
    "proj": PROJECTION,
    "processing": PROCESSING,
    "raster": RASTER,
    "table": TABLE,
}

COMMON_NAMES = frozenset(get_args(CommonName))
#: https://github.com/stac-extensions/raster/tree/v1.1.0#data-types
DATA_TYPES = frozenset(
    [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
    + ["float16", "float32", "float64", "cint16", "cint32", "cfloat32", "cfloat64", "other"]
)
_STATISTICS = frozenset({"minimum", "maximum", "mean", "stddev", "valid_percent"})
_CODE = re.compile(r"[A-Za-z0-9_]+:[A-Za-z0-9._-]+")
_HEXADECIMAL = re.compile(r"[0-9a-f]+")

Check = Callable[[Any], bool]


def extensions_of(document: Mapping[str, Any]) -> list[str]:
    """The schemas of all extensions of which an item or collection uses a field, in the order of their addresses."""
    prefixes = {name.partition(":")[0] for _, fields in _places(document) for name in fields if ":" in name}
    used = {_BY_PREFIX[prefix] for prefix in prefixes & _BY_PREFIX.keys()}
    if "renders" in document or "renders" in document.get("properties", {}):
        used.add(RENDER)
    return sorted(used)


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with the extension fields of an item or collection, each as the field, its place and its value."""
    found = []
    for place, fields in _places(document):
        for name, check in _CHECKS.items():
            if name in fields and not check(fields[name]):
                found.append(f"{name} of {place} is {fields[name]!r}")
    return found


def _places(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Wherever fields of extensions may stand: the properties, the assets, and their bands."""
    yield "the collection" if document.get("type") == "Collection" else "the item", document
    yield "the item", document.get("properties", {})
    for kind in ("assets", "item_assets"):
        for key, asset in document.get(kind, {}).items():
            yield f"asset {key!r}", asset
            for band in asset.get("bands", []):
                yield f"a band of asset {key!r}", band


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _percent(value: Any) -> bool:
    return _number(value) and 0 <= value <= 100


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _numbers(*lengths: int) -> Check:
    return lambda value: isinstance(value, list) and len(value) in lengths and all(map(_number, value))


def _matches(pattern: re.Pattern[str]) -> Check:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _raster_bands(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(band, dict) and _raster_band(band) for band in value)
    )


def _raster_band(band: Mapping[str, Any]) -> bool:
    statistics = band.get("statistics", {"mean": 0})
    return (
        band.get("data_type", "other") in DATA_TYPES
        and (_number(band.get("nodata", 0)) or band["nodata"] in ("nan", "inf", "-inf"))
        and all(_number(band.get(name, 0)) for name in ("scale", "offset"))
        and bool(statistics)
        and statistics.keys() <= _STATISTICS
        and all(map(_number, statistics.values()))
    )


def _renders(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(render, dict) and isinstance(render.get("assets"), list) and all(map(_text, render["assets"]))
        for render in value.values()
    )


def _named(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) and _text(each.get("name")) for each in value)


_CHECKS: Mapping[str, Check] = {
    "eo:cloud_cover": _percent,
    "eo:snow_cover": _percent,
    "eo:common_name": lambda value: value in COMMON_NAMES,
    "file:size": _whole,
    "file:header_size": _whole,
    "file:checksum": _matches(_HEXADECIMAL),
    "proj:code": _or_null(_matches(_CODE)),
    "proj:wkt2": _or_null(_text),
    "proj:shape": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_whole, value)),
    "proj:transform": _numbers(6, 9),
    "proj:bbox": _numbers(4, 6),
    "processing:lineage": _text,
    "processing:facility": _text,
    "processing:level": _text,
    "processing:software": lambda value: isinstance(value, dict) and all(map(_text, value.values())),
    "raster:bands": _raster_bands,
    "renders": _renders,
    "table:columns": _named,
    "table:row_count": _whole,
    "table:primary_geometry": _text,
    "table:tables": _named,
}
