"""A footprint is small, valid, and leaves no valid pixel out."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely.geometry import shape

from stacyard.ingestor.stages.footprint import bbox_of, footprint

UTM = CRS.from_epsg(32633)


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)), elements=st.booleans()), st.integers(1, 40))
def test_no_valid_pixel_is_left_out(coarse: np.ndarray, factor: int) -> None:
    height, width = coarse.shape[0] * factor, coarse.shape[1] * factor
    made = footprint(coarse, factor, (height, width), Affine(10, 0, 5e5, 0, -10, 5e6), UTM)
    if not coarse.any():
        assert made is None
        return
    outline = shape(made)
    assert outline.is_valid
    assert shapely.get_num_coordinates(outline) < 2000
    rows, columns = np.nonzero(coarse)
    x = 5e5 + 10 * factor * (columns + 0.5)
    y = 5e6 - 10 * factor * (rows + 0.5)
    longitudes, latitudes = transform(UTM, "EPSG:4326", x, y)
    # two centimetres: coordinates are rounded to one
    assert shapely.covers(outline.buffer(2e-7), shapely.points(longitudes, latitudes)).all()


def test_a_whole_raster_follows_the_curve_of_its_edges() -> None:
    made = footprint(np.ones((2, 2), bool), 5000, (10000, 10000), Affine(30, 0, 2e5, 0, -30, 7e6), UTM)
    edge = np.linspace(0, 300000, 50)
    longitudes, latitudes = transform(UTM, "EPSG:4326", 2e5 + edge, np.full(50, 7e6))
    distance = shapely.distance(shape(made).exterior, shapely.points(longitudes, latitudes))
    assert distance.max() < 0.01


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_across_the_antimeridian_west_is_greater_than_east() -> None:
    made = footprint(np.ones((2, 2), bool), 500, (1000, 1000), Affine(100, 0, 8e5, 0, -100, 8e6), CRS.from_epsg(32760))
    west, south, east, north = bbox_of(made)
    assert made["type"] == "MultiPolygon"
    assert 178 < west < 180
    assert -180 < east < -178
    assert south < north
