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

from stacyard.ingestor.errors import Rejected
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


def test_across_the_antimeridian_west_is_greater_than_east() -> None:
    made = footprint(np.ones((2, 2), bool), 500, (1000, 1000), Affine(100, 0, 8e5, 0, -100, 8e6), CRS.from_epsg(32760))
    west, south, east, north = bbox_of(made)
    assert made["type"] == "MultiPolygon"
    assert 178 < west < 180
    assert -180 < east < -178
    assert south < north


#: Where longitudes are not continuous: at the antimeridian, beyond 180 degrees, around and beside the poles.
PLACES = {
    "UTM 60": ("EPSG:32660", (100, 0, 8e5, 0, -100, 1e6)),
    "UTM 1": ("EPSG:32701", (100, 0, 1.5e5, 0, -100, 8e6)),
    "degrees past 180": ("EPSG:4326", (0.01, 0, 175, 0, -0.01, 5)),
    "degrees from 0 to 360": ("EPSG:4326", (0.36, 0, 0, 0, -0.1, 50)),
    "degrees before -180": ("EPSG:4326", (0.01, 0, -185, 0, -0.01, 5)),
    "Pacific Mercator": ("EPSG:3832", (1000, 0, 3e6, 0, -1000, 1e6)),
    "around the South Pole": ("EPSG:3031", (1000, 0, -4e5, 0, -1000, 5e5)),
    "beside the North Pole": ("EPSG:3413", (1000, 0, -1e6, 0, -1000, 2e6)),
    "the world in Mercator": ("EPSG:3857", (40075.0, 0, -20037500, 0, -40075.0, 20037500)),
    "turned": ("EPSG:32660", (80, 60, 8e5, 60, -80, 1e6)),
}


@pytest.mark.parametrize("name", PLACES)
@settings(deadline=None, max_examples=15)
@given(coarse=arrays(bool, (10, 10), elements=st.booleans()))
def test_wherever_it_lies_a_footprint_is_valid_geojson_that_leaves_no_pixel_out(name: str, coarse: np.ndarray) -> None:
    coarse[4:6, 4:6] = True
    code, numbers = PLACES[name]
    crs, affine = CRS.from_string(code), Affine(*numbers)
    made = footprint(coarse, 100, (1000, 1000), affine, crs)
    outline = shape(made)
    assert outline.is_valid
    assert outline.area > 0
    west, south, east, north = outline.bounds
    assert -180 <= west <= east <= 180
    assert -90 <= south <= north <= 90
    assert all(ring.is_ccw for ring in [part.exterior for part in getattr(outline, "geoms", [outline])])
    rows, columns = np.nonzero(coarse)
    longitudes, latitudes = transform(crs, "EPSG:4326", *(affine * (100 * (columns + 0.5), 100 * (rows + 0.5))))
    turned = (np.array(longitudes) + 180) % 360 - 180
    assert shapely.covers(outline.buffer(2e-7), shapely.points(turned, latitudes)).all()


@pytest.mark.parametrize("name", ["UTM 60", "degrees past 180", "degrees before -180", "Pacific Mercator"])
def test_a_footprint_across_the_antimeridian_covers_no_more_than_its_raster(name: str) -> None:
    code, numbers = PLACES[name]
    made = footprint(np.ones((2, 2), bool), 500, (1000, 1000), Affine(*numbers), CRS.from_string(code))
    west, south, east, north = bbox_of(made)
    assert made["type"] == "MultiPolygon"
    assert west > 170
    assert east < -170
    assert shape(made).area <= (360 + east - west) * (north - south) * 1.001


@pytest.mark.parametrize("name", ["UTM 60", "UTM 1", "Pacific Mercator", "degrees from 0 to 360"])
def test_a_large_hole_is_left_out_on_whichever_side_of_the_antimeridian_it_is(name: str) -> None:
    code, numbers = PLACES[name]
    crs, affine = CRS.from_string(code), Affine(*numbers)
    # one hole at either side
    coarse = np.ones((20, 20), bool)
    coarse[6:14, 2:8] = coarse[6:14, 12:18] = False
    outline = shape(footprint(coarse, 50, (1000, 1000), affine, crs))
    for column in (250, 750):
        [longitude], [latitude] = transform(crs, "EPSG:4326", *([value] for value in affine * (column, 500)))
        assert not outline.covers(shapely.Point((longitude + 180) % 360 - 180, latitude)), column


def test_a_footprint_off_the_earth_is_refused() -> None:
    with pytest.raises(Rejected, match="knows no place on Earth"):
        footprint(
            np.ones((2, 2), bool), 5, (10, 10), Affine(1e6, 0, 1e12, 0, -1e6, 1e12), CRS.from_string("+proj=ortho")
        )


def test_a_full_disk_of_the_earth_has_the_outline_that_can_be_seen() -> None:
    # MTG: seen from 35,786 km, a square of 11,200 km, the corners of which are space
    crs = CRS.from_string("+proj=geos +h=35786400 +lon_0=0 +sweep=y +ellps=WGS84")
    rows, columns = np.mgrid[-55:55, -55:55] + 0.5
    seen = np.hypot(rows, columns) * 1e5 < 5.3e6
    made = footprint(seen, 10, (1100, 1100), Affine(1e4, 0, -5.5e6, 0, -1e4, 5.5e6), crs)
    west, south, east, north = shape(made).bounds
    assert (-82 < west < -70, 70 < east < 82, -82 < south < -70, 70 < north < 82) == (True,) * 4
