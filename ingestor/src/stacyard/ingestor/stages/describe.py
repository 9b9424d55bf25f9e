"""Values become a valid STAC 1.1 item. The same values give the same bytes: nothing here asks the clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pystac import STACObjectType
from pystac.errors import STACValidationError
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Asset, Band, Recipe, Time
from stacyard.ingestor.stages.extensions import extensions_of, problems
from stacyard.ingestor.stages.footprint import bbox_of
from stacyard.ingestor.stages.inspect import BandReport, RasterReport
from stacyard.ingestor.stages.lineage import processing
from stacyard.ingestor.stages.quality import Judgement, main_report
from stacyard.ingestor.stages.vocabulary import COG, FLATGEOBUF, eo_band
from stacyard.ingestor.times import instant, utc

# multihash: 0x12 is SHA-256, 0x20 its length in bytes
_MULTIHASH_SHA256 = "1220"
# numpy counts both parts of a complex number, STAC one
_COMPLEX_TYPES: Mapping[str, str] = {"complex64": "cfloat32", "complex128": "cfloat64", "complex_int16": "cint16"}
_TAG_FORMATS = ("%Y:%m:%d %H:%M:%S",)
_WORDS: Mapping[str, Callable[[float], bool]] = {
    "nan": math.isnan,
    "inf": lambda value: value == math.inf,
    "-inf": lambda value: value == -math.inf,
}


@dataclass(frozen=True, kw_only=True)
class StoredAsset:
    """An asset that is in the storage. `size` and `header_size` in bytes, `sha256` in hexadecimal."""

    href: str
    size: int
    sha256: str
    header_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class When:
    """The time of an item, in UTC: an instant, or a range with both ends."""

    start: datetime
    end: datetime | None = None

    def properties(self) -> dict[str, Any]:
        """The STAC properties that say it."""
        if self.end is None:
            return {"datetime": instant(self.start)}
        return {"datetime": None, "start_datetime": instant(self.start), "end_datetime": instant(self.end)}


def when(time: Time, fields: Mapping[str, str], tags: Mapping[str, str]) -> When:
    """The time of an item, by the recipe's rule.

    Args:
        time: the rule.
        fields: of the file's name.
        tags: of the raster file; none for vector files.

    Raises:
        Rejected: the name or the tag does not hold a time in the rule's format.
    """
    if time.start is not None and time.end is not None:
        return When(start=utc(time.start), end=utc(time.end))
    if time.datetime is not None:
        return When(start=utc(time.datetime))
    if time.group is not None:
        text, formats, place = fields.get(time.group, ""), [time.format], f"field {time.group!r} of the file name"
    else:
        text, formats, place = tags.get(time.tag or "", ""), [time.format or None, *_TAG_FORMATS], f"tag {time.tag!r}"
    if not text:
        raise Rejected(f"there is no {place}, so the item has no time: change `time:` in the recipe")
    for form in formats:
        try:
            return When(start=utc(datetime.strptime(text, form) if form else datetime.fromisoformat(text)))
        except ValueError:
            continue
    raise Rejected(f"{place} is {text!r}, which is no time in the format {time.format or 'ISO 8601'!r}")


def describe_image(
    *,
    item_id: str,
    recipe: Recipe,
    time: When,
    reports: Mapping[str, RasterReport],
    stored: Mapping[str, StoredAsset],
    judgement: Judgement,
    sources: Iterable[str],
) -> dict[str, Any]:
    """The item of an image. Its geometry is that of the first asset with the role `data`, else of the first.

    Args:
        item_id: its id.
        recipe: the recipe.
        time: its time.
        reports: of its assets.
        stored: its assets, in the storage.
        judgement: what quality rules found.
        sources: paths of the files it was made of.

    Raises:
        Rejected: what came out is no valid STAC item.
    """
    main = main_report(reports, recipe.assets)
    projections = {key: _projection(report) for key, report in reports.items()}
    common = {
        name: value
        for name, value in _projection(main).items()
        if all(other.get(name) == value for other in projections.values())
    }
    # proj:code is required; null says that the assets differ
    properties: dict[str, Any] = {
        **time.properties(),
        **processing(sources, into="Cloud-optimized GeoTIFF"),
        **recipe.properties,
        "proj:code": None,
        **common,
        **judgement.properties,
    }
    renders = recipe.render_documents(reports)
    if renders:
        properties["renders"] = renders
    assets = {
        key: {**_image_asset(recipe.assets[key], reports[key], stored[key]), **projections[key]} for key in reports
    }
    return _item(recipe, item_id, geometry=main.footprint, properties=properties, assets=assets)


def describe_layer(
    *,
    item_id: str,
    recipe: Recipe,
    time: When,
    geometry: Any,
    columns: Sequence[Mapping[str, str]],
    features: Mapping[str, int],
    title: str | None,
    description: str | None,
    stored: StoredAsset,
    source: str,
) -> dict[str, Any]:
    """The item of a vector layer.

    Args:
        item_id: its id.
        recipe: the recipe.
        time: its time.
        geometry: GeoJSON in EPSG:4326 that covers all features.
        columns: as the table extension writes them.
        features: how many were read, written, repaired, dropped and rejected.
        title: of the layer.
        description: of the layer, and what was done to it.
        stored: the FlatGeobuf in EPSG:4326.
        source: path of the file it was made of.

    Raises:
        Rejected: what came out is no valid STAC item.
    """
    properties: dict[str, Any] = {
        **time.properties(),
        **processing([source], into="FlatGeobuf"),
        **recipe.properties,
        "proj:code": "EPSG:4326",
        "table:columns": [dict(column) for column in columns],
        "table:row_count": features["written"],
        "table:primary_geometry": "geometry",
        "stacyard:features": dict(features),
    }
    if title:
        properties["title"] = title
    if description:
        properties["description"] = description
    asset = {"href": stored.href, "type": FLATGEOBUF, "roles": ["data"], **_file(stored)}
    if title:
        asset["title"] = title
    return _item(recipe, item_id, geometry=geometry, properties=properties, assets={"data": asset})


def _item(
    recipe: Recipe,
    item_id: str,
    *,
    geometry: Any,
    properties: dict[str, Any],
    assets: dict[str, Any],
) -> dict[str, Any]:
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": extensions_of({"properties": properties, "assets": assets}),
        "id": item_id,
        "collection": recipe.collection.id,
        "geometry": geometry,
        "bbox": list(bbox_of(geometry)),
        "properties": properties,
        "links": [],
        "assets": assets,
    }
    # the schema wants a link for the collection, which only the service that publishes the item can write
    linked = {**item, "links": [{"rel": "collection", "href": "collection.json"}]}
    try:
        JsonSchemaSTACValidator().validate_core(linked, STACObjectType.ITEM, "1.1.0")
    except STACValidationError as error:
        raise Rejected(f"item {item_id} would not be valid STAC: {error}; look at the recipe's properties") from error
    wrong = problems(item)
    if wrong:
        raise Rejected(f"item {item_id} would not be valid STAC: {'; '.join(wrong)}; look at the recipe's properties")
    return item


def _projection(report: RasterReport) -> dict[str, Any]:
    document: dict[str, Any] = {
        "proj:code": report.crs,
        "proj:shape": list(report.shape),
        "proj:transform": list(report.transform),
        "proj:bbox": list(report.bbox),
    }
    if report.crs is None:
        document["proj:wkt2"] = report.wkt2
    return document


def _image_asset(asset: Asset, report: RasterReport, stored: StoredAsset) -> dict[str, Any]:
    document: dict[str, Any] = {"href": stored.href, "type": COG, "roles": asset.roles, **_file(stored)}
    document |= asset.model_dump(include={"title", "description"}, exclude_none=True)
    named = asset.bands or [Band(name=band.name or f"b{number}") for number, band in enumerate(report.bands, start=1)]
    document["bands"] = [
        {**eo_band(band), **_common(seen), **_scaling(seen, prefix="raster:")}
        for band, seen in zip(named, report.bands, strict=True)
    ]
    document["raster:bands"] = [{**_common(seen), **_scaling(seen, prefix="")} for seen in report.bands]
    return document


def _common(band: BandReport) -> dict[str, Any]:
    document: dict[str, Any] = {"data_type": _COMPLEX_TYPES.get(band.data_type, band.data_type)}
    if band.nodata is not None:
        document["nodata"] = _number(band.nodata)
    if band.unit:
        document["unit"] = band.unit
    document["statistics"] = {name: _number(value) for name, value in band.statistics.items()}
    return document


def _scaling(band: BandReport, *, prefix: str) -> dict[str, Any]:
    if (band.scale, band.offset) == (1, 0):
        return {}
    return {f"{prefix}scale": band.scale, f"{prefix}offset": band.offset}


def _number(value: float) -> float | int | str:
    """A JSON number, whole where it is whole; NaN and infinities as the words that STAC has for them."""
    for word, holds in _WORDS.items():
        if holds(value):
            return word
    return int(value) if value == int(value) else round(value, 6)


def _file(stored: StoredAsset) -> dict[str, Any]:
    document: dict[str, Any] = {"file:size": stored.size, "file:checksum": _MULTIHASH_SHA256 + stored.sha256}
    if stored.header_size is not None:
        document["file:header_size"] = stored.header_size
    return document
