"""Ready-made STAC items, made fit for this catalog: their collection, UTC times, and links that still hold here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Recipe, utc
from stacyard.ingestor.stages.describe import instant
from stacyard.ingestor.stages.footprint import bbox_of

# what the service that publishes an item writes itself
_STRUCTURAL = frozenset({"self", "root", "parent", "collection", "items", "child", "item", "next", "prev", "data"})
# what only the catalog an item came from can answer
_SERVICE_BOUND = frozenset(
    {"preview", "tilejson", "xyz", "wmts", "wms", "map", "thumbnail", "queryables", "conformance", "search", "edit"}
)
_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")


def adopt(item: Any, recipe: Recipe) -> dict[str, Any]:
    """The item as this catalog keeps it. The argument is not changed; adopting twice changes nothing more.

    Raises:
        Rejected: it is no item that can be searched; the reason names what is missing.
    """
    if not isinstance(item, dict) or item.get("type") != "Feature":
        raise Rejected("it is no STAC item: `type` must be Feature")
    item_id = item.get("id")
    if not isinstance(item_id, str) or not item_id:
        raise Rejected("it has no id: a STAC item needs one")
    properties = item.get("properties")
    if not isinstance(properties, dict):
        raise Rejected("it has no properties: a STAC item needs at least a datetime there")
    assets = item.get("assets", {})
    if not isinstance(assets, dict):
        raise Rejected("its assets are no mapping of names to assets")
    geometry = _geometry(item.get("geometry"))
    return {
        **item,
        "stac_version": item.get("stac_version", "1.1.0"),
        "collection": recipe.collection.id,
        "geometry": item["geometry"],
        "bbox": _bbox(item.get("bbox"), geometry),
        "properties": {**properties, **recipe.properties, **_times(properties)},
        "links": _links(item.get("links") or []),
        "assets": {key: asset for key, asset in assets.items() if key not in recipe.items.drop_assets},
    }


def _geometry(geometry: Any) -> Any:
    if geometry is None:
        raise Rejected("its geometry is null: pgSTAC cannot keep an item that is nowhere")
    try:
        parsed = shape(geometry)
        west, south, east, north = parsed.bounds
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise Rejected(f"its geometry is no GeoJSON: {error}") from error
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        raise Rejected(f"its geometry is not in degrees: it reaches from {west:g}, {south:g} to {east:g}, {north:g}")
    if not shapely.is_valid(parsed):
        raise Rejected(f"its geometry is invalid: {shapely.is_valid_reason(parsed)}")
    return geometry


def _bbox(bbox: Any, geometry: Any) -> list[float]:
    if bbox is None:
        return list(bbox_of(geometry))
    if not isinstance(bbox, list) or len(bbox) not in (4, 6) or not all(isinstance(each, int | float) for each in bbox):
        raise Rejected(f"its bbox is {bbox!r}: it must be west, south, east, north")
    return bbox


def _times(properties: dict[str, Any]) -> dict[str, Any]:
    times = {name: _utc(name, properties[name]) for name in _TIMES if properties.get(name) is not None}
    if "datetime" not in times and not {"start_datetime", "end_datetime"} <= times.keys():
        raise Rejected("it has no time: give datetime, or start_datetime and end_datetime")
    start, end = times.get("start_datetime"), times.get("end_datetime")
    if start is not None and end is not None and start > end:
        raise Rejected(f"it ends ({instant(end)}) before it starts ({instant(start)})")
    empty = {"datetime": None} if "datetime" not in times else {}
    return empty | {name: instant(value) for name, value in times.items()}


def _utc(name: str, value: Any) -> datetime:
    try:
        return utc(datetime.fromisoformat(value))
    except (ValueError, TypeError, OverflowError) as error:
        raise Rejected(f"its {name} is {value!r}, which is no RFC 3339 time") from error


def _links(links: list[Any]) -> list[dict[str, Any]]:
    kept = []
    for link in links:
        if not isinstance(link, dict) or not link.get("href"):
            raise Rejected(f"one of its links is {link!r}: a link needs rel and href")
        rel = link.get("rel")
        if rel == "self":
            kept.append({**link, "rel": "via"})
        elif rel not in _STRUCTURAL and rel not in _SERVICE_BOUND:
            kept.append(link)
    return kept
