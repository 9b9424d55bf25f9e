"""The STAC collection that a recipe describes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stacyard.ingestor.recipe import Asset, Recipe
from stacyard.ingestor.stages.extensions import extensions_of
from stacyard.ingestor.stages.vocabulary import COG, FLATGEOBUF, eo_band
from stacyard.ingestor.times import instant

_WORLD = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where and when a collection's items are: west, south, east, north in degrees, and UTC times."""

    bbox: tuple[float, float, float, float]
    start: datetime
    end: datetime


def describe_collection(recipe: Recipe, extent: Extent | None) -> dict[str, Any]:
    """A STAC 1.1 collection; without items its extent is the world and all time."""
    about = recipe.collection
    interval = [instant(extent.start), instant(extent.end)] if extent else [None, None]
    document: dict[str, Any] = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": about.id,
        "title": about.title,
        "description": about.description,
        "license": about.license,
        "keywords": about.keywords,
        "providers": [provider.model_dump(exclude_none=True) for provider in about.providers],
        "extent": {
            "spatial": {"bbox": [list(extent.bbox if extent else _WORLD)]},
            "temporal": {"interval": [interval]},
        },
        "links": [],
    }
    for name in ("keywords", "providers"):
        if not document[name]:
            del document[name]
    if recipe.renders:
        document["renders"] = recipe.render_documents(recipe.assets)
    assets = {key: _item_asset(asset) for key, asset in recipe.assets.items()}
    if recipe.kind == "vector":
        assets = {"data": {"type": FLATGEOBUF, "roles": ["data"]}}
    if assets:
        document["item_assets"] = assets
    document["stac_extensions"] = extensions_of(document)
    return document


def _item_asset(asset: Asset) -> dict[str, Any]:
    document: dict[str, Any] = {"type": COG, "roles": asset.roles}
    if asset.title:
        document["title"] = asset.title
    if asset.bands:
        document["bands"] = [eo_band(band) for band in asset.bands]
    return document
