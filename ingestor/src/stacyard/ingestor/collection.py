"""The STAC collection that a recipe describes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from stacyard.ingestor.recipe import Asset, Layer, Recipe
from stacyard.ingestor.stages.extensions import extensions_of
from stacyard.ingestor.stages.vocabulary import COG, FLATGEOBUF, LAYER_SCHEMA, eo_band
from stacyard.ingestor.times import instant

_WORLD = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Where and when a collection's items are: west, south, east, north in degrees, and UTC times.

    `across` are west and east of the smaller box across the antimeridian that holds them too, if there is one.
    """

    bbox: tuple[float, float, float, float]
    across: tuple[float, float] | None = None
    start: datetime
    end: datetime

    @property
    def boxes(self) -> list[list[float]]:
        """The box that holds all; then, if a smaller one lies across the antimeridian, its parts east and west of it.

        pgSTAC finds a collection by its first box and takes the lesser longitude for its west: one with west greater
        than east would be found everywhere but where it is. TileJSON forbids it. So the catalog service makes the box
        across the antimeridian, as clients are to read it, of the other two.
        """
        if self.across is None:
            return [list(self.bbox)]
        west, south, east, north = self.bbox
        return [[west, south, east, north], [self.across[0], south, east, north], [west, south, self.across[1], north]]


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
            "spatial": {"bbox": extent.boxes if extent else [list(_WORLD)]},
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
    tables = [_table(layer, layer.table) for layer in recipe.layers if layer.table]
    if tables:
        document["table:tables"] = tables
    if recipe.kind == "vector":
        assets = {"data": {"type": FLATGEOBUF, "roles": ["data"]}}
    if assets:
        document["item_assets"] = assets
    document["stac_extensions"] = extensions_of(document)
    return document


def _table(layer: Layer, table: str) -> dict[str, str]:
    """A table as the table extension lists it, by the name that the vector service gives its layer."""
    description = layer.title or layer.description
    return {"name": f"{LAYER_SCHEMA}.{table}"} | ({"description": description} if description else {})


def _item_asset(asset: Asset) -> dict[str, Any]:
    document: dict[str, Any] = {"type": COG, "roles": asset.roles}
    if asset.title:
        document["title"] = asset.title
    if asset.bands:
        document["bands"] = [eo_band(band) for band in asset.bands]
    return document
