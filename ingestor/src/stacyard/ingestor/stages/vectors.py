"""A layer of any vector file becomes a FlatGeobuf with a spatial index, in EPSG:4326.

EPSG:4326 and not the layer's own CRS, because tiles, features and search all ask in degrees, and because the table
that the recipe may name has the same geometry. A layer is read once, in batches, into a working file of clean features;
FlatGeobuf and table are written from that, since both must know their geometry type before the first feature.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyogrio
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from shapely.errors import GEOSException

from stacyard.ingestor.errors import Rejected
from stacyard.ingestor.recipe import Layer as LayerRule
from stacyard.ingestor.stages.footprint import geojson
from stacyard.ingestor.stages.space import space_watched
from stacyard.ingestor.stages.vector_columns import Column, check_unique, converted, plan_columns
from stacyard.ingestor.stages.vector_geometry import (
    Array,
    Cleaned,
    as_area,
    clean,
    family,
    grown_hull,
    invalid,
    multi_points,
)
from stacyard.ingestor.stages.vector_source import Batch, VectorSource, open_source

#: The geometry's name in the batches of a layer; no attribute can have it.
GEOMETRY = "geom"

_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


@dataclass(frozen=True, kw_only=True)
class VectorReport:
    """What became of the features of a layer: `read` is `written` and `dropped` and `rejected` together.

    `repaired` of those written were invalid; `dropped` have no geometry, or one that encloses nothing; `rejected` are
    invalid and were left out by the rule `drop`.
    """

    read: int = 0
    written: int = 0
    repaired: int = 0
    dropped: int = 0
    rejected: int = 0


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A clean layer in a working file: valid geometries of one type in EPSG:4326, and the key in the first column.

    `footprint` is GeoJSON that covers all features: their convex hull.
    """

    path: Path
    columns: tuple[Column, ...]
    geometry_type: str
    footprint: Any
    report: VectorReport

    @property
    def schema(self) -> pa.Schema:
        """Of the batches: the columns, then the geometry as WKB."""
        return _schema(self.columns)

    @property
    def table_columns(self) -> list[dict[str, str]]:
        """The columns as the STAC table extension writes them; in a FlatGeobuf the geometry has no name of its own."""
        described = [
            {"name": column.name, "type": column.kind.name}
            | ({"description": column.description} if column.description else {})
            for column in self.columns
        ]
        return [*described, {"name": "geometry", "type": "geometry"}]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The features, in the order of the source; may be read again."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                if self.geometry_type == "MultiPoint":
                    points = multi_points(shapely.from_wkb(batch.column(GEOMETRY).to_numpy(zero_copy_only=False)))
                    batch = batch.set_column(len(self.columns), GEOMETRY, _wkb(points))
                yield batch


def read_layer(path: Path, rule: LayerRule, *, directory: Path) -> Layer:
    """Read one layer, mend or refuse its geometry, and bring it to EPSG:4326.

    Args:
        path: a file that GDAL reads, or GeoParquet.
        rule: of the recipe.
        directory: where the working file is left.

    Raises:
        Rejected: the file or layer cannot be read, has no CRS or no feature, has invalid geometry and the rule is to
            reject it, or has a key that is not unique.
        OutOfSpace: the directory's disk is full.
    """
    target = directory / "features.arrow"
    with open_source(path, rule) as source:
        crs = _crs(source, rule, path)
        columns = plan_columns(source.schema, rule, path)
        work = _Cleaning(rule=rule, crs=crs, columns=columns, path=path)
        with (
            space_watched(directory),
            pa.OSFile(str(target), "wb") as file,
            pa.ipc.new_file(file, _schema(columns), options=_OPTIONS) as sink,
        ):
            for batch in source.batches:
                sink.write_batch(work.take(batch))
        report, hull = work.finished(), work.hull
    if hull is None:
        raise Rejected(f"layer {source.name!r} of {path} has no feature to keep: leave it out, or export it again")
    if columns[0].source is not None:
        check_unique(_keys(target), columns[0], path)
    return Layer(
        path=target,
        columns=columns,
        geometry_type=family(work.types),
        footprint=geojson(as_area(hull)),
        report=report,
    )


def to_flatgeobuf(layer: Layer, target: Path, *, name: str) -> None:
    """Write a layer as FlatGeobuf with its spatial index.

    Raises:
        OutOfSpace: the target's disk is full.
    """
    try:
        with space_watched(target.parent):
            pyogrio.raw.write_arrow(
                pa.RecordBatchReader.from_batches(layer.schema, layer.batches()),
                target,
                layer=name,
                driver="FlatGeobuf",
                geometry_name=GEOMETRY,
                geometry_type=layer.geometry_type,
                crs="EPSG:4326",
                # GDAL sorts the features in a file beside the target, not in memory
                layer_options={"SPATIAL_INDEX": "YES", "TEMPORARY_DIR": str(target.parent)},
            )
    except BaseException:
        target.unlink(missing_ok=True)
        raise


class _Cleaning:
    """Takes batch after batch, and knows in the end what all of them were."""

    def __init__(self, *, rule: LayerRule, crs: CRS, columns: tuple[Column, ...], path: Path) -> None:
        self._rule = rule
        self._crs = crs
        self._columns = columns
        self._path = path
        self._report = VectorReport()
        self._refused: str | None = None
        self.hull: Any = None
        self.types: set[int] = set()

    def take(self, batch: Batch) -> pa.RecordBatch:
        """The clean features of a batch."""
        before = self._report
        bad = invalid(batch.geometries)
        geometries = batch.geometries
        rejected = 0
        if self._rule.geometry != "repair" and bad.any():
            rejected = int(np.count_nonzero(bad))
            if self._refused is None:
                first = int(np.argmax(bad))
                self._refused = f"feature {before.read + first + 1}: {shapely.is_valid_reason(geometries[first])}"
            geometries = geometries.copy()
            geometries[bad] = None
        cleaned = self._clean(geometries)
        there = ~shapely.is_missing(cleaned.geometries)
        kept = cleaned.geometries[there]
        self._report = VectorReport(
            read=before.read + len(there),
            written=before.written + len(kept),
            repaired=before.repaired + int(np.count_nonzero(cleaned.repaired)),
            dropped=before.dropped + len(there) - len(kept) - rejected,
            rejected=before.rejected + rejected,
        )
        if len(kept):
            self.hull = grown_hull(self.hull, kept)
            self.types |= set(shapely.get_type_id(kept).tolist())
        attributes = batch.attributes.filter(pa.array(there))
        numbers = range(before.written + 1, self._report.written + 1)
        arrays = converted(attributes, self._columns, numbers=numbers, path=self._path)
        return pa.RecordBatch.from_arrays([*arrays, _wkb(kept)], schema=_schema(self._columns))

    def finished(self) -> VectorReport:
        """What became of all features.

        Raises:
            Rejected: some were invalid, which the rule does not allow.
        """
        if self._rule.geometry == "reject" and self._refused is not None:
            raise Rejected(
                f"{self._path} has {self._report.rejected} invalid geometries, the first: {self._refused}; "
                "mend it or use geometry: repair"
            )
        return self._report

    def _clean(self, geometries: Array) -> Cleaned:
        try:
            return clean(geometries, self._crs)
        except (CRSError, RasterioError, ValueError) as error:
            raise Rejected(
                f"{self._path} has coordinates that do not fit its coordinate reference system "
                f"{self._crs.to_string()}: {error}; see that it is right, and export it again"
            ) from error
        except GEOSException as error:
            raise Rejected(f"{self._path} has a geometry that cannot be repaired: {error}; mend it") from error


def _crs(source: VectorSource, rule: LayerRule, path: Path) -> CRS:
    if source.crs is not None:
        return source.crs
    if rule.crs is None:
        raise Rejected(f"{path} has no coordinate reference system: give `crs:` in the recipe's layer")
    try:
        return CRS.from_user_input(rule.crs)
    except CRSError as error:
        raise Rejected(f"{rule.crs!r} is no coordinate reference system: mend `crs:` of the recipe's layer") from error


def _schema(columns: tuple[Column, ...]) -> pa.Schema:
    return pa.schema([*(pa.field(column.name, column.kind.arrow) for column in columns), (GEOMETRY, pa.binary())])


def _wkb(geometries: Array) -> pa.Array:
    return pa.array(shapely.to_wkb(geometries), pa.binary())


def _keys(path: Path) -> pa.ChunkedArray:
    options = pa.ipc.IpcReadOptions(included_fields=[0])
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file, options=options) as reader:
        return reader.read_all().column(0)
