"""Which items a tile is made of."""

from __future__ import annotations

import shapely
from hypothesis import given
from hypothesis import strategies as st

from stacyard.raster.mosaic import needed

TILE = shapely.box(0, 0, 8, 8)
corners = st.integers(-4, 12)
boxes = st.builds(
    lambda x, y, width, height: shapely.box(x, y, x + width, y + height),
    corners,
    corners,
    st.integers(1, 12),
    st.integers(1, 12),
)


def seen(footprints: list[shapely.Geometry], order: list[int]) -> dict[int, shapely.Geometry]:
    """What of each footprint is seen inside the tile when they are drawn in order, the first on top."""
    covered, visible = shapely.Polygon(), {}
    for index in order:
        part = shapely.difference(shapely.intersection(footprints[index], TILE), covered)
        if shapely.area(part) > 0:
            visible[index] = part
        covered = shapely.union(covered, footprints[index])
    return visible


@given(st.lists(boxes, max_size=12), st.booleans())
def test_nothing_that_is_seen_is_left_out(footprints: list[shapely.Geometry], stop: bool) -> None:
    chosen = needed(footprints, TILE, stop_when_full=stop, skip_covered=True)
    everything = seen(footprints, list(range(len(footprints))))
    assert set(everything) <= set(chosen)
    assert chosen == sorted(chosen)


@given(st.lists(boxes, max_size=12))
def test_whole_tiles_end_the_search_and_covered_items_are_skipped(footprints: list[shapely.Geometry]) -> None:
    chosen = needed([TILE, *footprints], TILE, stop_when_full=True, skip_covered=True)
    assert chosen == [0]
    assert (
        needed([*footprints, TILE, TILE], TILE, stop_when_full=False, skip_covered=True).count(len(footprints) + 1) == 0
    )
    assert needed(footprints, TILE, stop_when_full=False, skip_covered=False) == list(range(len(footprints)))


def test_a_point_is_read_from_every_item() -> None:
    point = shapely.Point(4, 4)
    assert needed([TILE, TILE], point, stop_when_full=True, skip_covered=True) == [0, 1]
