"""What is checked before a search reaches the database."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.errors import InvalidRequest
from stacyard.core.places import boxes_of
from stacyard.stac.paging import position_of
from stacyard.stac.search import interval_of

longitude = st.floats(-180, 180)
latitude = st.floats(-90, 90)


@given(longitude, latitude, longitude, latitude, st.booleans())
def test_every_box_on_the_earth_passes_across_the_antimeridian_too(
    west: float, south: float, east: float, north: float, heights: bool
) -> None:
    south, north = sorted((south, north))
    boxes_of([west, south, 0.0, east, north, 10.0] if heights else [west, south, east, north])


@given(st.lists(st.floats(), max_size=8))
def test_no_other_list_of_numbers_passes(numbers: list[float]) -> None:
    half = len(numbers) // 2
    possible = len(numbers) in (4, 6) and (
        abs(numbers[0]) <= 180
        and abs(numbers[half]) <= 180
        and -90 <= numbers[1] <= numbers[half + 1] <= 90
        and not any(math.isnan(number) for number in (numbers[0], numbers[1], numbers[half], numbers[half + 1]))
    )
    if possible:
        boxes_of(numbers)
    else:
        with pytest.raises(InvalidRequest):
            boxes_of(numbers)


@given(st.datetimes(timezones=st.timezones()), st.booleans(), st.booleans())
def test_instants_and_open_intervals_pass(time: object, before: bool, after: bool) -> None:
    text = time.isoformat(timespec="seconds")  # type: ignore[attr-defined]
    if len(text) != len("2020-01-01T00:00:00+00:00"):
        return  # historical zones have offsets with seconds, which RFC 3339 does not know
    interval_of(f"../{text}" if before else f"{text}/" if after else text)


@pytest.mark.parametrize(
    "text",
    ["", "..", "../..", "/", "yesterday", "2020", "2020-01-01", "2020-01-01T00:00:00", "2020-02-30T00:00:00Z",
     "2020-01-01T25:00:00Z", "2021-01-01T00:00:00Z/2020-01-01T00:00:00Z",
     "2020-01-01T00:00:00Z/2020-02-01T00:00:00Z/..", "2020-01-01T00:00:00Z; DROP TABLE items"],
)  # fmt: skip
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidRequest):
        interval_of(text)


@pytest.mark.parametrize(
    "token", ["", "next", "next:", ":61", "first:61:61", "next:6 1", "next:61:61:c", "next:61:61\n", "next:zz:61"]
)
def test_a_token_that_no_link_held_is_refused(token: str) -> None:
    with pytest.raises(InvalidRequest, match="links"):
        position_of(token)
