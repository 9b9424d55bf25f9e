"""How pixels are compressed, by what they are: a table of decisions, without a file in sight.

| pixels | compressor | predictor | overviews |
| --- | --- | --- | --- |
| integers | deflate, level 6: every TIFF reader has it | 2 (differences) | average |
| real numbers | zstd, level 3: as small as deflate, in half the time | 3 (bytes by weight) | average |
| complex numbers | zstd, level 3 | none: GDAL has none for them | average |
| classes, colour tables | deflate, level 6 | none: it breaks runs of equal values | mode |
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from stacyard.ingestor.recipe import Conversion

#: Beyond this a block is made smaller, in bytes: GDAL holds some of them for each thread.
MOST_BLOCK_BYTES = 32 * 1024 * 1024

_PREDICTED = frozenset({"deflate", "zstd", "lzw"})
_LOSSY = frozenset({"jpeg", "webp", "lerc"})
_NOT_OF_LERC = frozenset({"int64", "uint64", "complex_int16", "complex64", "complex128"})
_LEVELS = {"deflate": 6, "zstd": 3}
_QUALITY = 85


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """What the choice depends on.

    `data_type` as rasterio names it. `bits` of one number, `bands` with the alpha band. `classes` says that values
    are names, not amounts.
    """

    width: int
    height: int
    bands: int
    data_type: str
    bits: int
    classes: bool = False
    alpha: bool = False
    nodata: float | None = None


def compressor(pixels: Pixels, conversion: Conversion) -> str:
    """The compressor, in the recipe's words; what loses detail is never used for classes."""
    if conversion.compression != "auto" and not (pixels.classes and conversion.compression in _LOSSY):
        return conversion.compression
    return "deflate" if pixels.classes or not pixels.data_type.startswith(("float", "complex")) else "zstd"


def overview_resampling(pixels: Pixels, conversion: Conversion) -> str:
    """How overviews are made, in the recipe's words; classes are never mixed."""
    if pixels.classes:
        return "nearest" if conversion.resampling == "nearest" else "mode"
    return conversion.resampling or "average"


def creation_options(pixels: Pixels, conversion: Conversion, *, threads: int) -> dict[str, str]:
    """Options of GDAL's COG driver (https://gdal.org/drivers/raster/cog.html)."""
    codec = compressor(pixels, conversion)
    options = {
        "COMPRESS": codec.upper(),
        "BLOCKSIZE": str(blocksize(pixels, conversion.blocksize)),
        # what a source has of overviews was made by a rule that nobody knows; a line of pixels cannot be halved
        "OVERVIEWS": "IGNORE_EXISTING" if min(pixels.width, pixels.height) > 1 else "NONE",
        "OVERVIEW_RESAMPLING": overview_resampling(pixels, conversion).upper(),
        "BIGTIFF": "IF_SAFER",
        "NUM_THREADS": str(threads),
    }
    if codec in _PREDICTED:
        options["PREDICTOR"] = "YES" if _is_predicted(pixels) else "NO"
    if codec in _LEVELS:
        options["LEVEL"] = str(conversion.level or _LEVELS[codec])
    if codec in ("jpeg", "webp"):
        options["QUALITY"] = str(conversion.quality or _QUALITY)
    if codec == "lerc":
        options["MAX_Z_ERROR"] = str(conversion.max_error or 0)
    return options


def refusal(pixels: Pixels, conversion: Conversion) -> str | None:
    """Why the compressor that the recipe names cannot hold these pixels, and what to do; None if it can."""
    codec = compressor(pixels, conversion)
    colours = pixels.bands - (1 if pixels.alpha else 0)
    has = f"{pixels.data_type} in {pixels.bands} band{'s' if pixels.bands > 1 else ''}"
    remedy = "leave `compression:` at auto, or give this asset a `conversion:` of its own"
    if codec == "jpeg" and (
        pixels.data_type != "uint8" or (colours, pixels.alpha) not in ((1, False), (3, False), (3, True))
    ):
        return f"is {has}, and jpeg holds bytes in one band, or three with or without alpha: {remedy}"
    if codec == "webp" and (pixels.data_type != "uint8" or colours != 3):
        return f"is {has}, and webp holds bytes in three bands with or without alpha: {remedy}"
    if codec == "lerc" and pixels.data_type in _NOT_OF_LERC:
        return f"is {has}, which lerc cannot hold: {remedy}"
    changes = codec == "jpeg" or (codec == "webp" and conversion.quality != 100) or bool(conversion.max_error)
    if codec in _LOSSY and changes and pixels.nodata is not None and not math.isnan(pixels.nodata):
        return f"marks missing pixels by the value {pixels.nodata:g}, which {codec} would blur: {remedy}"
    return None


def blocksize(pixels: Pixels, wanted: int) -> int:
    """Side of a block in pixels: as wanted, or the smallest of 128, 256 … that holds the whole raster.

    Padding costs every reader, and a block of many bands costs every thread memory.
    """
    size = 128
    while (
        size < wanted and size < max(pixels.width, pixels.height) and _block_bytes(pixels, 2 * size) <= MOST_BLOCK_BYTES
    ):
        size *= 2
    return size


def _block_bytes(pixels: Pixels, side: int) -> int:
    return side * side * pixels.bands * pixels.bits // 8


def _is_predicted(pixels: Pixels) -> bool:
    return not pixels.classes and not pixels.data_type.startswith("complex") and pixels.bits in (8, 16, 32, 64)
