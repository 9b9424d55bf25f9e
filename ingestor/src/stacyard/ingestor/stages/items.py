"""Ready-made STAC items, made fit for this catalog: their collection, UTC times, and links that still hold here.

An item is taken apart into its top-level members, and only those are parsed that must be looked at or changed; the rest
goes to the database as it came, which parses it anyway.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
import orjson
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError
from shapely.geometry import shape

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.load.rows import Item, Json, digest_of, span
from stacyard.ingestor.recipe import Recipe
from stacyard.ingestor.sources.found import Line
from stacyard.ingestor.times import instant, utc
from stacyard.ingestor.verdicts import Rejection

# what the service that publishes an item writes itself
_STRUCTURAL = frozenset({"self", "root", "parent", "collection", "items", "child", "item", "next", "prev", "data"})
# what only the catalog an item came from can answer
_SERVICE_BOUND = frozenset(
    {"preview", "tilejson", "xyz", "wmts", "wms", "map", "thumbnail", "queryables", "conformance", "search", "edit"}
)


class _Times(msgspec.Struct, frozen=True):
    """Those properties of an item that are times. No other is parsed."""

    datetime: Any = msgspec.UNSET
    start_datetime: Any = msgspec.UNSET
    end_datetime: Any = msgspec.UNSET
    created: Any = msgspec.UNSET
    updated: Any = msgspec.UNSET


class _Named(msgspec.Struct, frozen=True):
    """Nothing of an item but its id."""

    id: Any = None


_members_of = cast("Callable[[bytes], dict[str, Json]]", msgspec.json.Decoder(dict[str, msgspec.Raw]).decode)
_named = msgspec.json.Decoder(_Named).decode
_times_in = msgspec.json.Decoder(_Times).decode
# digits become 0, an E becomes e, everything else a blank
_NUMBERS = bytes(b"0"[0] if byte in b"0123456789" else b"e"[0] if byte in b"eE" else b" "[0] for byte in range(256))
# no double has so many digits before the point
_TOO_LONG = b"0" * 300


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """Items that are fit for the catalog, with distinct ids, where each stands, and what became of the others.

    `geometries` are shapely's, in EPSG:4326; `repeated` counts lines that say again what another says.
    """

    items: list[Item]
    places: list[str]
    geometries: NDArray[np.object_]
    rejected: list[Rejection]
    repeated: int


class Seen(NamedTuple):
    """What is known of an item that came before: the hash of its content, and its `updated`."""

    digest: str
    updated: datetime | None


def adopt_all(
    lines: Iterable[Line], recipe: Recipe, *, recipe_hash: str, seen: dict[str, Seen] | None = None
) -> Adopted:
    """Make ready-made items fit for this catalog.

    Of two versions of an item, the one with the later `updated` stays; without that, the first. `seen` are the items of
    the batches before; what is added here replaces what they had of the same id.
    """
    seen = {} if seen is None else seen
    kept: dict[str, tuple[Item, str]] = {}
    rejected: list[Rejection] = []
    repeated = 0
    for line in lines:
        item_id = line.place
        try:
            members = _taken_apart(line.data)
            item_id = _id_of(members)
            item = _fit(item_id, members, recipe, digest=content_digest(line, recipe_hash))
            before = seen.get(item_id)
            replaces = before is None or _replaces(item, before)
            repeated += before is not None
            if replaces:
                seen[item_id] = Seen(item.digest, item.updated)
                kept[item_id] = item, line.place
        except Rejected as error:
            rejected.append(Rejection(place=line.place, item_id=item_id, reason=str(error)))
    candidates = list(kept.values())
    geometries, problems = _geometries([item.members["geometry"] for item, _ in candidates])
    for index, reason in problems.items():
        wrong, place = candidates[index]
        rejected.append(Rejection(place=place, item_id=wrong.item_id, reason=reason))
    good = [index for index in range(len(candidates)) if index not in problems]
    return Adopted(
        items=[_with_bbox(candidates[index][0]) for index in good],
        places=[candidates[index][1] for index in good],
        geometries=geometries[good],
        rejected=rejected,
        repeated=repeated,
    )


def content_digest(line: Line, recipe_hash: str) -> str:
    """By which an item is known to be unchanged: of what it is made from, and of what is made of it."""
    return digest_of(recipe_hash.encode() + line.data)


def id_of(line: Line) -> str | None:
    """The id of an item whose JSON nobody has looked at yet; None if it has none."""
    try:
        item_id = _named(line.data).id
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return item_id if isinstance(item_id, str) and "\0" not in item_id else None


def _replaces(now: Item, before: Seen) -> bool:
    if now.digest == before.digest:
        return False
    if now.updated is None or before.updated is None or now.updated == before.updated:
        raise Rejected(
            f"item id {now.item_id} came twice in this run with different content: make the ids differ, or give the "
            "newer one a later `updated`"
        )
    return now.updated > before.updated


def _taken_apart(data: bytes) -> dict[str, Json]:
    """The top-level members of an item, whose JSON is sound and says nothing that clients could not read."""
    try:
        members = _members_of(data)
        if not _is_plain(data):
            orjson.loads(data)
    except msgspec.ValidationError as error:
        raise Rejected("it is no STAC item: it is no JSON object") from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Rejected(f"it is no JSON: {error}") from error
    return members


def _is_plain(data: bytes) -> bool:
    """Whether JSON has no broken characters and no number beyond a double, of which many clients make an error.

    It is quick to say yes; what it says no to wants to be looked at.
    """
    if not data.isascii() or b"\\" in data:
        return False
    numbers = data.translate(_NUMBERS, b"+")
    return b"0e000" not in numbers and _TOO_LONG not in numbers


def _value(json: Json) -> Any:
    return orjson.loads(bytes(json))


def _id_of(members: Mapping[str, Json]) -> str:
    item_id = _value(members.get("id", b"null"))
    if not isinstance(item_id, str) or not item_id:
        raise Rejected("it has no id: a STAC item needs one")
    if "\0" in item_id:
        raise Rejected("it has a NUL character in its id: PostgreSQL has none")
    return item_id


def _fit(item_id: str, members: dict[str, Json], recipe: Recipe, *, digest: str) -> Item:
    """The item with all but its geometry looked at, and without a bbox of its own if it had none."""
    kind = members.get("type", b"null")
    if bytes(kind) != b'"Feature"' and _value(kind) != "Feature":
        raise Rejected("it is no STAC item: `type` must be Feature")
    times, instants = _times(members.get("properties", b"null"))
    if recipe.properties or times:
        members["properties"] = orjson.dumps({**_value(members["properties"]), **recipe.properties, **times})
    if not bytes(members.setdefault("assets", b"{}")).startswith(b"{"):
        raise Rejected("its assets are no mapping of names to assets")
    if recipe.items.drop_assets:
        assets = _value(members["assets"])
        members["assets"] = orjson.dumps(
            {key: asset for key, asset in assets.items() if key not in recipe.items.drop_assets}
        )
    if bytes(members.get("geometry", b"null")) == b"null":
        raise Rejected("its geometry is null: pgSTAC cannot keep an item that is nowhere")
    _check_bbox(_value(members.get("bbox", b"null")))
    members.setdefault("stac_version", b'"1.1.0"')
    links = _value(members.get("links", b"null"))
    kept = _links(links or [])
    if kept != links:
        members["links"] = orjson.dumps(kept)
    first, last = span(instants)
    return Item(item_id, members, first, last, instants.get("updated"), digest)


def _geometries(documents: Sequence[Json]) -> tuple[NDArray[np.object_], dict[int, str]]:
    """GeoJSON geometries as shapely's, and by position what is wrong with those that cannot be used."""
    geometries: NDArray[np.object_] = np.array(
        shapely.from_geojson([bytes(document) for document in documents], on_invalid="ignore"), dtype=object
    )
    problems = {}
    bounds = shapely.bounds(geometries)
    # what has no bounds compares as false
    placed = (bounds[:, 0] >= -180) & (bounds[:, 2] <= 180) & (bounds[:, 1] >= -90) & (bounds[:, 3] <= 90)
    for index in np.flatnonzero(~(placed & shapely.is_valid(geometries))).tolist():
        problems[index] = _geometry_problem(_value(documents[index]), geometries[index])
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


def _with_bbox(item: Item) -> Item:
    if bytes(item.members.get("bbox", b"null")) != b"null":
        return item
    # few items lack it, and the module brings GDAL with it
    from stacyard.ingestor.stages.footprint import bbox_of

    bbox = orjson.dumps(list(bbox_of(_value(item.members["geometry"]))))
    return item._replace(members={**item.members, "bbox": bbox})


def _check_bbox(bbox: Any) -> None:
    if bbox is None:
        return
    if not isinstance(bbox, list) or len(bbox) not in (4, 6) or not {type(each) for each in bbox} <= {int, float}:
        raise Rejected(f"its bbox is {bbox!r}: it must be west, south, east, north")


def _times(properties: Json) -> tuple[dict[str, str | None], dict[str, datetime]]:
    """Those times among the properties that must be written in another way, and all of them as instants in UTC."""
    try:
        found = _times_in(properties)
    except msgspec.DecodeError as error:
        raise Rejected("it has no properties: a STAC item needs at least a datetime there") from error
    written: dict[str, str | None] = {}
    instants: dict[str, datetime] = {}
    for name in _Times.__struct_fields__:
        value = getattr(found, name)
        if value is not None and value is not msgspec.UNSET:
            text, instants[name] = _utc(name, value)
            if text != value:
                written[name] = text
    start, end = instants.get("start_datetime"), instants.get("end_datetime")
    if "datetime" not in instants:
        if start is None or end is None:
            raise Rejected("it has no time: give datetime, or start_datetime and end_datetime")
        if found.datetime is msgspec.UNSET:
            written["datetime"] = None
    if start is not None and end is not None and start > end:
        raise Rejected(f"it ends ({instant(end)}) before it starts ({instant(start)})")
    return written, instants


def _utc(name: str, value: Any) -> tuple[str, datetime]:
    try:
        time = datetime.fromisoformat(value)
        # most are written as we would write them
        if len(value) == 20 and value[-1] == "Z" and value[10] == "T":
            return value, time
        time = utc(time)
        return instant(time), time
    except (ValueError, TypeError, OverflowError) as error:
        raise Rejected(f"its {name} is {value!r}, which is no RFC 3339 time") from error


def _links(links: Any) -> list[dict[str, Any]]:
    if not isinstance(links, list):
        raise Rejected(f"its links are {links!r}: they must be a list")
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
