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

#: Part of every task's key; raised when the same recipe and file would now give another item or asset.
OUTPUT_VERSION = 2

_IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
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
    common_name: str | None = Field(None, description="One of the STAC eo extension's common names.")
    description: str | None = None
    scale: float | None = None
    offset: float | None = None
    unit: str | None = None


class Asset(_Part):
    """One file of an item."""

    match: dict[str, str] = Field(default_factory=dict, description="Fields of the pattern that the file must have.")
    title: str | None = None
    description: str | None = None
    roles: list[str] = Field(default_factory=lambda: ["data"])
    bands: list[Band] = Field(default_factory=list)
    nodata: float | None = Field(None, description="Wins over what the file says.")
    crs: str | None = Field(None, description="For files that say none, such as EPSG:32633.")
    categorical: bool = Field(False, description="Classes or masks: overviews keep values instead of averaging them.")
    required: bool = True


class Conversion(_Part):
    """How rasters become cloud-optimized GeoTIFFs. The predictor follows the data type."""

    compression: Literal["deflate", "zstd", "lzw"] = "deflate"
    level: int | None = Field(None, ge=1, le=22, description="Of the compression; none: GDAL's default.")
    blocksize: Literal[128, 256, 512, 1024] = Field(512, description="Pixels; less for rasters that are smaller.")
    resampling: Resampling | None = Field(None, description="Of overviews; none: average, or mode if categorical.")


class CloudRule(_Part):
    """How the share of clouds is read from a mask."""

    asset: str
    values: list[int] = Field(default_factory=lambda: [1], min_length=1, description="Pixel values that mean cloud.")
    max_percent: float = Field(100.0, ge=0, le=100)


class ValueRange(_Part):
    """Where all valid pixels of an asset must lie, in the file's own numbers, before scale and offset."""

    min: float | None = None
    max: float | None = None


class Quality(_Part):
    """What an item must keep to be loaded."""

    min_valid_percent: float = Field(0.0, ge=0, le=100, description="Valid pixels, of each data asset.")
    cloud: CloudRule | None = None
    values: dict[str, ValueRange] = Field(default_factory=dict, description="By asset.")


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


class Layer(_Part):
    """One layer of a vector file."""

    layer: str | None = Field(None, description="Its name in the file; none: the file's only layer.")
    title: str | None = None
    description: str | None = None
    table: str | None = Field(None, description="Table of the schema `features` to fill; none: only a file.")
    id_column: str | None = Field(None, description="Unique column that becomes the key; none: numbered from 1.")
    rename: dict[str, str] = Field(default_factory=dict, description="Columns under new names; others in lower case.")
    geometry: Literal["repair", "reject"] = Field("repair", description="What is done about invalid geometry.")
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
        used += [self.quality.cloud.asset] if self.quality.cloud else []
        used += list(self.quality.values)
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


def utc(value: dt.datetime) -> dt.datetime:
    """The same instant in UTC; what has no time zone is UTC."""
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


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
