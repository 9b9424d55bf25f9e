"""What items and their collection say in the same words: media types, bands, and where tables are."""

from __future__ import annotations

from typing import Any

from stacyard.ingestor.recipe import Band

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
FLATGEOBUF = "application/vnd.flatgeobuf"
#: Schema of the tables that the vector service serves.
LAYER_SCHEMA = "features"


def eo_band(band: Band) -> dict[str, Any]:
    """A band as STAC 1.1 writes it, with what the recipe knows."""
    document: dict[str, Any] = {"name": band.name}
    if band.description:
        document["description"] = band.description
    if band.common_name:
        document["eo:common_name"] = band.common_name
    return document
