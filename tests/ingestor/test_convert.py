"""Conversion and inspection of rasters: of every kind that comes, large ones, and oddly shaped ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.warp import transform
from rasterio.windows import Window
from shapely.geometry import Point, shape

from stacyard.ingestor.stages.inspect import inspect

SIDE = 20_000
CONVERT = """
import sys
from pathlib import Path
from stacyard.ingestor.recipe import Asset, Conversion
from stacyard.ingestor.stages.convert import to_cog
from stacyard.ingestor.stages.inspect import inspect
report = inspect(to_cog(Path(sys.argv[1]), Path(sys.argv[2]), Asset(), Conversion()).path)
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(report.valid_percent, int(status["VmHWM"].split()[0]) // 1024)
"""
PLACE = {"crs": "EPSG:32633", "transform": Affine(1, 0, 5e5, 0, -1, 5e6)}


def test_four_hundred_million_pixels_are_converted_and_inspected_in_bounded_memory(tmp_path: Path) -> None:
    profile = {"driver": "GTiff", "width": SIDE, "height": SIDE, "count": 1, "dtype": "uint16", "nodata": 0, **PLACE}
    noise = np.random.default_rng(7).integers(1, 65535, (1, 512, 512), dtype="uint16")
    with rasterio.open(
        tmp_path / "large.tif", "w", **profile, tiled=True, blockxsize=512, blockysize=512, compress="deflate"
    ) as dataset:
        for top in range(0, SIDE, 512):
            rows = min(512, SIDE - top)
            dataset.write(np.full((1, rows, SIDE), 7, dtype="uint16"), window=Window(0, top, SIDE, rows))
        for place in range(0, SIDE - 512, 2048):
            dataset.write(noise, window=Window(place, place, 512, 512))
    process = subprocess.run(
        [sys.executable, "-c", CONVERT, tmp_path / "large.tif", tmp_path / "cog.tif"],
        capture_output=True,
        text=True,
        check=True,
    )
    valid_percent, peak = process.stdout.split()
    assert float(valid_percent) == 100
    # the raster has 800 MB; 370 MB were seen, 100 of them before the first pixel and 128 of GDAL's cache
    assert int(peak) < 500


def test_the_footprint_covers_lone_pixels_wherever_the_strips_are_cut(tmp_path: Path) -> None:
    height, width = 1100, 9001
    pixels = [(0, 0), (1099, 9000), (63, 8191), (64, 8192), (1023, 4500)]
    data = np.zeros((height, width), dtype="uint8")
    data[tuple(zip(*pixels, strict=True))] = 1
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": "uint8", "nodata": 0, **PLACE}
    with rasterio.open(tmp_path / "lone.tif", "w", **profile) as dataset:
        dataset.write(data, 1)
    report = inspect(tmp_path / "lone.tif")
    assert round(report.valid_percent / 100 * height * width) == len(pixels)
    outline = shape(report.footprint)
    for row, column in pixels:
        x, y = transform("EPSG:32633", "EPSG:4326", [5e5 + column + 0.5], [5e6 - row - 0.5])
        assert outline.covers(Point(x[0], y[0])), (row, column)
