"""Ready-made STAC items, made fit for this catalog: their collection, UTC times, and links that still hold here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry import shape

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.load.rows import digest_of
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.times import instant, instant_of, utc

# what the service that publishes an item writes itself
_STRUCTURAL = frozenset({"self", "root", "parent", "collection", "items", "child", "item", "next", "prev", "data"})
# what only the catalog an item came from can answer
_SERVICE_BOUND = frozenset(
    {"preview", "tilejson", "xyz", "wmts", "wms", "map", "thumbnail", "queryables", "conformance", "search", "edit"}
)
_TIMES = ("datetime", "start_datetime", "end_datetime", "created", "updated")


@dataclass(frozen=True, kw_only=True)
class Rejection:
    """An item of a block that is not good enough. `item_id` is where it stands if it has no id."""

    place: str
    item_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """Items that are fit for the catalog, with distinct ids, and what became of the others.

    `digests` are of each item's content and recipe, `geometries` are shapely's, in EPSG:4326; `repeated` counts lines
    that say again what another says.
    """

    items: list[dict[str, Any]]
    places: list[str]
    digests: list[str]
    geometries: NDArray[np.object_]
    rejected: list[Rejection]
    repeated: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of an item that came before: the hash of its content, and its `updated`."""

    digest: str
    updated: str | None


def adopt_all(
    lines: Iterable[Line], recipe: Recipe, *, recipe_hash: str, seen: dict[str, Seen] | None = None
) -> Adopted:
    """Make ready-made items fit for this catalog.

    Of two versions of an item, the one with the later `updated` stays; without that, the first. `seen` are the items of
    the batches before; what is added here replaces what they had of the same id.
    """
    salt = recipe_hash.encode()
    seen = {} if seen is None else seen
    kept: dict[str, _Candidate] = {}
    rejected: list[Rejection] = []
    repeated = 0
    for line in lines:
        item_id = line.place
        try:
            value = orjson.loads(line.data)
            item_id = _id_of(value) or line.place
            item = _fit(value, recipe)
            now = Seen(digest_of(salt + line.data), item["properties"].get("updated"))
            before = seen.get(item_id)
            replaces = before is None or _replaces(now, before, item_id)
            repeated += before is not None
            if replaces:
                seen[item_id] = now
                kept[item_id] = _Candidate(item, line.place, now.digest)
        except Rejected as error:
            rejected.append(Rejection(place=line.place, item_id=item_id, reason=str(error)))
        except ValueError as error:
            rejected.append(Rejection(place=line.place, item_id=item_id, reason=f"it is no JSON: {error}"))
    candidates = list(kept.values())
    geometries, problems = _geometries([candidate.item["geometry"] for candidate in candidates])
    for index, reason in problems.items():
        wrong = candidates[index]
        rejected.append(Rejection(place=wrong.place, item_id=wrong.item["id"], reason=reason))
    good = [index for index in range(len(candidates)) if index not in problems]
    return Adopted(
        items=[_with_bbox(candidates[index].item) for index in good],
        places=[candidates[index].place for index in good],
        digests=[candidates[index].digest for index in good],
        geometries=geometries[good],
        rejected=rejected,
        repeated=repeated,
    )


def adopt(item: Any, recipe: Recipe) -> dict[str, Any]:
    """One item as this catalog keeps it. The argument is not changed; adopting twice changes nothing more.

    Raises:
        Rejected: it is no item that can be searched; the reason names what is missing.
    """
    adopted = _fit(item, recipe)
    _, problems = _geometries([adopted["geometry"]])
    if problems:
        raise Rejected(problems[0])
    return _with_bbox(adopted)


@dataclass(frozen=True, slots=True)
class _Candidate:
    item: dict[str, Any]
    place: str
    digest: str


def _replaces(now: Seen, before: Seen, item_id: str) -> bool:
    if now.digest == before.digest:
        return False
    if now.updated is None or before.updated is None or now.updated == before.updated:
        raise Rejected(
            f"item id {item_id} came twice in this run with different content: make the ids differ, or give the newer "
            "one a later `updated`"
        )
    return instant_of(now.updated) > instant_of(before.updated)


def _id_of(item: Any) -> str | None:
    item_id = item.get("id") if isinstance(item, dict) else None
    return item_id if isinstance(item_id, str) else None


def _fit(item: Any, recipe: Recipe) -> dict[str, Any]:
    """The item with all but its geometry looked at, and without a bbox of its own if it had none."""
    if not isinstance(item, dict):
        raise Rejected("it is no STAC item: it is no JSON object")
    item_id = item.get("id")
    if not isinstance(item_id, str) or not item_id:
        raise Rejected("it has no id: a STAC item needs one")
    if "\0" in item_id:
        raise Rejected("it has a NUL character in its id: PostgreSQL has none")
    if item.get("type") != "Feature":
        raise Rejected("it is no STAC item: `type` must be Feature")
    properties = item.get("properties")
    if not isinstance(properties, dict):
        raise Rejected("it has no properties: a STAC item needs at least a datetime there")
    assets = item.get("assets", {})
    if not isinstance(assets, dict):
        raise Rejected("its assets are no mapping of names to assets")
    if item.get("geometry") is None:
        raise Rejected("its geometry is null: pgSTAC cannot keep an item that is nowhere")
    _check_bbox(item.get("bbox"))
    adopted = item.copy()
    adopted["stac_version"] = item.get("stac_version", "1.1.0")
    adopted["collection"] = recipe.collection.id
    adopted["properties"] = {**properties, **recipe.properties, **_times(properties)}
    adopted["links"] = _links(item.get("links") or [])
    adopted["assets"] = {key: asset for key, asset in assets.items() if key not in recipe.items.drop_assets}
    return adopted


def _geometries(documents: Sequence[Any]) -> tuple[NDArray[np.object_], dict[int, str]]:
    """GeoJSON geometries as shapely's, and by position what is wrong with those that cannot be used."""
    geometries: NDArray[np.object_] = np.array(
        shapely.from_geojson([orjson.dumps(document) for document in documents], on_invalid="ignore"), dtype=object
    )
    problems = {}
    bounds = shapely.bounds(geometries)
    # what has no bounds compares as false
    placed = (bounds[:, 0] >= -180) & (bounds[:, 2] <= 180) & (bounds[:, 1] >= -90) & (bounds[:, 3] <= 90)
    for index in np.flatnonzero(~(placed & shapely.is_valid(geometries))).tolist():
        problems[index] = _geometry_problem(documents[index], geometries[index])
    return geometries, problems


def _geometry_problem(document: Any, geometry: Any) -> str:
    try:
        west, south, east, north = (geometry or shape(document)).bounds
    except (ShapelyError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        return f"its geometry is no GeoJSON: {error}"
    if geometry is None:
        return "its geometry is no GeoJSON: see that the rings of polygons end where they begin"
    if math.isnan(west):
        return "its geometry is empty: pgSTAC cannot keep an item that is nowhere"
    if not (-180 <= west <= east <= 180 and -90 <= south <= north <= 90):
        return f"its geometry is not in degrees: it reaches from {west:g}, {south:g} to {east:g}, {north:g}"
    return f"its geometry is invalid: {shapely.is_valid_reason(geometry)}"


def _with_bbox(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("bbox") is None:
        # few items lack it, and the module brings GDAL with it
        from stacyard.ingestor.stages.footprint import bbox_of

        item["bbox"] = list(bbox_of(item["geometry"]))
    return item


def _check_bbox(bbox: Any) -> None:
    if bbox is None:
        return
    if not isinstance(bbox, list) or len(bbox) not in (4, 6) or not {type(each) for each in bbox} <= {int, float}:
        raise Rejected(f"its bbox is {bbox!r}: it must be west, south, east, north")


def _times(properties: dict[str, Any]) -> dict[str, Any]:
    times = {name: _utc(name, properties[name]) for name in _TIMES if properties.get(name) is not None}
    if "datetime" not in times:
        if not {"start_datetime", "end_datetime"} <= times.keys():
            raise Rejected("it has no time: give datetime, or start_datetime and end_datetime")
        times["datetime"] = None
    start, end = times.get("start_datetime"), times.get("end_datetime")
    if start is not None and end is not None and datetime.fromisoformat(start) > datetime.fromisoformat(end):
        raise Rejected(f"it ends ({end}) before it starts ({start})")
    return times


def _utc(name: str, value: Any) -> str | None:
    try:
        time = datetime.fromisoformat(value)
        # most are written as we would write them
        return value if len(value) == 20 and value[-1] == "Z" and value[10] == "T" else instant(utc(time))
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
