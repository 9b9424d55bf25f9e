"""A recipe: the one YAML file that brings a data product in. Unknown keys are refused everywhere."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from stacyard.ingestor.errors import RecipeError
from stacyard.ingestor.located import read_located
from stacyard.ingestor.times import utc

#: Part of every task's key; raised when the same recipe and file would now give another item or asset.
OUTPUT_VERSION = 3

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
Severity = Literal["reject", "warn"]
#: https://github.com/stac-extensions/eo#common-band-names
CommonName = Literal[
    "pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12",
]  # fmt: skip
Resampling = Literal["nearest", "average", "bilinear", "cubic", "cubicspline", "lanczos", "gauss", "rms", "mode"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Provider(_Part):
    """Who made, processed, licensed or hosts the data."""

    name: str
    description: str | None = None
    roles: list[Literal["licensor", "producer", "processor", "host"]] = Field(default_factory=list)
    url: str | None = None


class Collection(_Part):
    """What the catalog says of the product as a whole."""

    id: Identifier
    title: str
    description: str
    license: str = Field(description="An SPDX identifier, or `other`.")
    providers: list[Provider] = Field(default_factory=list)
    keywords: list[str] = Field(default_factory=list)
    extent: Literal["items"] = Field("items", description="The extent is computed from the items.")
    partition: Literal["none", "month", "year"] = Field(
        "none", description="How pgSTAC cuts the collection's table; month only above about a million items."
    )


class Files(_Part):
    """Which files belong to the product, and how they group into items."""

    pattern: str = Field(description="Regular expression that a whole file name matches; named groups are fields.")
    item: str = Field(description="Template of the item's id: `{field}` of the pattern, `{stem}`, `{layer}`.")

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value

    @property
    def fields(self) -> set[str]:
        """Names that templates may use."""
        return {*re.compile(self.pattern).groupindex, "stem"}


class Time(_Part):
    """Where an item's time comes from: exactly one of `group`, `tag`, `datetime`, or `start` with `end`.

    What has no time zone is UTC.
    """

    group: str | None = Field(None, description="Named group of the file pattern, read with `format`.")
    tag: str | None = Field(None, description="Tag of the raster file, such as TIFFTAG_DATETIME.")
    format: str | None = Field(None, description="strptime format of group or tag; tags may also be ISO 8601.")
    datetime: dt.datetime | None = Field(None, description="The same time for all items.")
    start: dt.datetime | None = Field(None, description="Begin of the same time range for all items.")
    end: dt.datetime | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Time:
        ways = [self.group, self.tag, self.datetime, self.start]
        if sum(way is not None for way in ways) != 1:
            raise ValueError("say where the time comes from with one of group, tag, datetime, or start and end")
        if (self.start is None) != (self.end is None):
            raise ValueError("start and end belong together; give both")
        if self.start is not None and self.end is not None and utc(self.start) > utc(self.end):
            raise ValueError("start is after end; exchange them")
        if self.group is not None and self.format is None:
            raise ValueError("group needs a format, for example '%Y%m%d'")
        return self


class Band(_Part):
    """One band of an asset. What is given here wins over what the file says."""

    name: str
    common_name: CommonName | None = Field(None, description="One of the STAC eo extension's common names.")
    description: str | None = None
    scale: float | None = None
    offset: float | None = None
    unit: str | None = None


class Conversion(_Part):
    """How rasters become cloud-optimized GeoTIFFs; docs/imagery.md has the table. Valid ones are taken as they are."""

    compression: Literal["auto", "deflate", "zstd", "lzw", "lerc", "jpeg", "webp"] = Field(
        "auto",
        description="auto: deflate for integers and classes, zstd for real numbers. Classes are never made lossy.",
    )
    level: int | None = Field(None, ge=1, le=22, description="Of auto, deflate (to 12) or zstd; none: 6, zstd 3.")
    quality: int | None = Field(None, ge=1, le=100, description="Of jpeg or webp, where 100 is lossless; none: 85.")
    max_error: float | None = Field(None, ge=0, description="Of lerc, in the file's own numbers; none: lossless.")
    blocksize: Literal[128, 256, 512, 1024] = Field(
        512, description="Pixels; less for rasters that are smaller or have very many bands."
    )
    resampling: Resampling | None = Field(None, description="Of overviews; none: average, or mode if categorical.")

    @model_validator(mode="after")
    def _options_fit(self) -> Conversion:
        takes = {"level": ("auto", "deflate", "zstd"), "quality": ("jpeg", "webp"), "max_error": ("lerc",)}
        for name, codecs in takes.items():
            if getattr(self, name) is not None and self.compression not in codecs:
                raise ValueError(f"{name} is not for compression {self.compression}, but for {', '.join(codecs)}")
        if self.level is not None and self.level > 12 and self.compression != "zstd":
            raise ValueError(f"level {self.level} is too high: deflate ends at 12, and so must auto; zstd goes to 22")
        return self


class Asset(_Part):
    """One file of an item, or a part of one."""

    match: dict[str, str] = Field(default_factory=dict, description="Fields of the pattern that the file must have.")
    title: str | None = None
    description: str | None = None
    roles: list[str] = Field(default_factory=lambda: ["data"])
    subdataset: str | None = Field(None, description="Variable of a netCDF or HDF5 file, such as NDVI or grid/NDVI.")
    indexes: list[Annotated[int, Field(ge=1)]] = Field(
        default_factory=list, description="Bands to take, counted from 1, in this order; none: all of them."
    )
    bands: list[Band] = Field(default_factory=list)
    nodata: float | None = Field(None, description="Wins over what the file says.")
    crs: str | None = Field(None, description="For files that say none, such as EPSG:32633.")
    categorical: bool = Field(False, description="Classes or masks: overviews keep values instead of averaging them.")
    required: bool = True
    conversion: Conversion | None = Field(None, description="Of this asset; none: that of the recipe.")


class CrsRule(_Part):
    """In which coordinate reference systems assets must come."""

    codes: list[str] = Field(min_length=1, description="Such as EPSG:32633; after `crs:` of the asset was applied.")
    severity: Severity = "reject"


class FootprintRule(_Part):
    """Where the data of an item must lie."""

    within: tuple[float, float, float, float] = Field(
        description="West, south, east, north in degrees; west is greater than east across the antimeridian."
    )
    min_inside_percent: float = Field(100.0, ge=0, le=100, description="Of the footprint's area, inside the box.")
    min_covered_percent: float = Field(0.0, ge=0, le=100, description="Of the box's area, under the footprint.")
    severity: Severity = "reject"

    @field_validator("within")
    @classmethod
    def _is_a_box(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        west, south, east, north = value
        if not (-180 <= west <= 180 and -180 <= east <= 180 and -90 <= south < north <= 90) or west == east:
            raise ValueError(f"{list(value)} is no box: write west, south, east, north in degrees")
        return value


class CloudThreshold(_Part):
    """Where a cloud's values lie in a band, in the file's own numbers, before scale and offset."""

    band: int = Field(1, ge=1)
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _has_a_side(self) -> CloudThreshold:
        if self.min is None and self.max is None:
            raise ValueError("give min, max, or both")
        return self


class CloudRule(_Part):
    """How the share of clouds is told, which becomes `eo:cloud_cover`; docs/quality.md has the kinds."""

    kind: Literal["mask", "scl", "landsat_qa", "threshold"] = Field(
        "mask", description="A mask of one's own, Sentinel-2 scene classes, Landsat QA_PIXEL, or values of the image."
    )
    asset: str | None = Field(None, description="The mask; for every kind but threshold.")
    band: int = Field(1, ge=1, description="Of the mask.")
    values: list[int] | None = Field(
        None, min_length=1, description="Pixel values that mean cloud; none: 1 of a mask, 3, 8, 9 and 10 of scl."
    )
    bits: list[Literal["dilated_cloud", "cirrus", "cloud", "cloud_shadow"]] = Field(
        ["dilated_cloud", "cirrus", "cloud", "cloud_shadow"],
        min_length=1,
        description="Of landsat_qa: one of these set makes a pixel cloudy.",
    )
    thresholds: dict[str, CloudThreshold] = Field(
        default_factory=dict, description="Of threshold, by asset: a pixel that lies within all of them is cloud."
    )
    max_percent: float = Field(100.0, ge=0, le=100)
    severity: Severity = "reject"

    @model_validator(mode="after")
    def _parts_of_the_kind(self) -> CloudRule:
        if self.kind == "threshold":
            if self.asset is not None or not self.thresholds:
                raise ValueError("kind threshold takes thresholds and no asset")
        elif self.asset is None or self.thresholds:
            raise ValueError(f"kind {self.kind} takes an asset and no thresholds")
        if self.values is not None and self.kind not in ("mask", "scl"):
            raise ValueError(f"values are of kind mask or scl, not of {self.kind}")
        if "bits" in self.model_fields_set and self.kind != "landsat_qa":
            raise ValueError(f"bits are of kind landsat_qa, not of {self.kind}")
        return self

    @property
    def assets(self) -> list[str]:
        """What the rule reads."""
        return list(self.thresholds) if self.asset is None else [self.asset]


class ValueRange(_Part):
    """Where all valid pixels of an asset must lie, in the file's own numbers, before scale and offset."""

    min: float | None = None
    max: float | None = None
    min_mean: float | None = None
    max_mean: float | None = None
    min_stddev: float | None = Field(None, ge=0, description="More than 0 refuses rasters of one single value.")
    max_stddev: float | None = Field(None, ge=0)
    severity: Severity = "reject"


class DuplicateRule(_Part):
    """When an item is a scene that the catalog has already: platform (else constellation), time and footprint agree."""

    seconds: float = Field(1.0, ge=0, le=86_400, description="By which the times may differ.")
    min_overlap_percent: float = Field(
        80.0, gt=0, le=100, description="Of the larger footprint's area, shared by both footprints."
    )
    collections: list[Identifier] = Field(
        default_factory=list, max_length=20, description="Where to look besides the collection itself."
    )
    severity: Severity = "reject"


class AnomalyRule(_Part):
    """When a statistic of an item stands out from the series of its place; docs/quality.md has the formula."""

    asset: str
    band: int = Field(1, ge=1)
    statistic: Literal["mean", "minimum", "maximum", "stddev", "valid_percent"] = "mean"
    threshold: float = Field(3.5, gt=0, description="A robust z-score beyond this, on either side, is an anomaly.")
    min_count: int = Field(8, ge=3, le=500, description="A shorter series judges nothing.")
    season_days: int | None = Field(
        None, ge=1, le=182, description="Compare only with this many days of the year around; none: the whole year."
    )
    history_days: int = Field(1826, ge=1, le=36_525, description="How far away in time items are looked at.")
    max_cloud_percent: float = Field(20.0, ge=0, le=100, description="Cloudier items neither judge nor are judged.")
    min_overlap_percent: float = Field(80.0, gt=0, le=100, description="Of the larger footprint: the same place.")
    severity: Severity = Field("warn", description="What stands out may be wrong, or be what one looks for.")


class Quality(_Part):
    """What an item must keep. A rule of severity `warn` lets an item pass and notes what it found."""

    min_valid_percent: float = Field(0.0, ge=0, le=100, description="Valid pixels, of each data asset.")
    crs: CrsRule | None = None
    footprint: FootprintRule | None = None
    cloud: CloudRule | None = None
    values: dict[str, ValueRange] = Field(default_factory=dict, description="By asset.")
    duplicate: DuplicateRule | None = None
    anomaly: AnomalyRule | None = None

    @property
    def assets(self) -> list[str]:
        """All assets that rules name."""
        named = [*self.values, *(self.cloud.assets if self.cloud else [])]
        return named + ([self.anomaly.asset] if self.anomaly else [])


class Render(_Part):
    """A named look, as the STAC render extension writes it."""

    title: str | None = None
    assets: list[str] = Field(min_length=1)
    rescale: list[tuple[float, float]] | None = Field(None, description="A pair for each band drawn.")
    nodata: float | str | None = None
    colormap_name: str | None = None
    colormap: dict[str, Any] | None = None
    color_formula: str | None = None
    expression: str | None = None
    resampling: Resampling | None = None
    minmax_zoom: tuple[int, int] | None = None
    unscale: bool | None = Field(None, description="Draw after scale and offset are applied.")


#: Names that no attribute can have: of the geometry, of ids that formats write themselves, of PostgreSQL's own columns.
RESERVED_COLUMNS = frozenset({"geom", "geometry", "fid", "ogc_fid", "tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})


class Layer(_Part):
    """One layer of a vector file."""

    layer: str | None = Field(None, description="Its name in the file; none: the file's only layer.")
    title: str | None = None
    description: str | None = None
    table: str | None = Field(None, description="Table of the schema `features` to fill; none: only a file.")
    id_column: str | None = Field(None, description="Unique column that becomes the key; none: numbered from 1.")
    rename: dict[str, str] = Field(default_factory=dict, description="Columns under new names; others in lower case.")
    drop_columns: list[str] = Field(default_factory=list, description="Columns of the file that are left out.")
    columns: dict[str, str] = Field(default_factory=dict, description="What columns mean, by their new names.")
    geometry: Literal["repair", "drop", "reject"] = Field(
        "repair", description="Invalid geometry is mended, or the feature is left out, or the file is refused."
    )
    crs: str | None = Field(None, description="For files that say none, such as EPSG:32633.")

    @field_validator("table")
    @classmethod
    def _is_identifier(cls, value: str | None) -> str | None:
        if value is not None and not is_identifier(value):
            raise ValueError(f"{value!r} is no table name: use a-z, 0-9 and _, not more than 63, no digit first")
        return value

    @field_validator("rename")
    @classmethod
    def _are_identifiers(cls, value: dict[str, str]) -> dict[str, str]:
        for name in value.values():
            if not is_identifier(name):
                raise ValueError(f"{name!r} is no column name: use a-z, 0-9 and _, not more than 63, no digit first")
            if name in RESERVED_COLUMNS:
                raise ValueError(f"{name!r} is the name of a column that tables have of their own; use another")
        return value


class ItemFiles(_Part):
    """What is changed in ready-made items."""

    drop_assets: list[str] = Field(default_factory=list, description="Assets that name services of another catalog.")


class Recipe(_Part):
    """A whole recipe."""

    collection: Collection
    kind: Literal["imagery", "vector", "items"]
    files: Files | None = None
    time: Time | None = None
    assets: dict[Identifier, Asset] = Field(default_factory=dict)
    layers: list[Layer] = Field(default_factory=list)
    items: ItemFiles = Field(default_factory=ItemFiles)
    conversion: Conversion = Field(default_factory=Conversion)
    quality: Quality = Field(default_factory=Quality)
    renders: dict[Identifier, Render] = Field(default_factory=dict)
    properties: dict[str, Any] = Field(default_factory=dict, description="Added to every item.")

    @model_validator(mode="after")
    def _parts_fit(self) -> Recipe:
        if self.kind != "items":
            if self.files is None or self.time is None:
                raise ValueError(f"kind {self.kind} needs the keys files and time")
            self._fields_exist(self.files, self.time)
        if self.kind == "imagery" and not self.assets:
            raise ValueError("kind imagery needs at least one entry under assets")
        if self.kind == "vector":
            if not self.layers:
                raise ValueError("kind vector needs at least one entry under layers")
            self._tables_differ()
            if self.time is not None and self.time.tag is not None:
                raise ValueError("time.tag is for rasters; vector files need group, datetime, or start and end")
        if self.kind == "imagery":
            self._assets_exist()
        return self

    def _fields_exist(self, files: Files, time: Time) -> None:
        known = files.fields | ({"layer"} if self.kind == "vector" else set())
        used = {name for _, name, _, _ in string.Formatter().parse(files.item) if name is not None}
        used |= {time.group} if time.group else set()
        used |= {name for asset in self.assets.values() for name in asset.match}
        unknown = sorted(used - known)
        if unknown:
            raise ValueError(f"{unknown[0]!r} is no field of files.pattern; it has {', '.join(sorted(known))}")

    def _tables_differ(self) -> None:
        tables = [layer.table for layer in self.layers if layer.table]
        twice = sorted({table for table in tables if tables.count(table) > 1})
        if twice:
            raise ValueError(f"two layers fill the table {twice[0]!r}, which holds one; give each a table of its own")

    def _assets_exist(self) -> None:
        used = [name for render in self.renders.values() for name in render.assets]
        used += self.quality.assets
        unknown = sorted(set(used) - set(self.assets))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is used but not among assets, which has {', '.join(self.assets)}")

    @property
    def hash(self) -> str:
        """SHA-256 of everything that an item or asset depends on; a new title of the collection changes nothing."""
        content = self.model_dump(mode="json", exclude={"collection"})
        content |= {"collection": self.collection.id, "version": OUTPUT_VERSION}
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def render_documents(self, assets: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The renders that these assets suffice for, as the render extension writes them."""
        there = set(assets)
        return {
            name: render.model_dump(mode="json", exclude_none=True)
            for name, render in self.renders.items()
            if there.issuperset(render.assets)
        }


def is_identifier(name: str) -> bool:
    """Whether PostgreSQL takes a name without quotes and as it is written."""
    return _IDENTIFIER.fullmatch(name) is not None


def load_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        RecipeError: the file cannot be read or used; each line names file, line and remedy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error}") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, name: str) -> Recipe:
    """A recipe from its text; `name` is what errors call it.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return read_located(text, name, Recipe)
