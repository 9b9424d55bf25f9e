"""Windows of time: together all of it, each once, in order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.pgstac_steps import ALWAYS, FEW_PARTITIONS, Window, stretches_of, windows_of

START = datetime(2000, 1, 1, tzinfo=UTC)
partitions = st.lists(
    st.tuples(st.integers(0, 300).map(lambda month: START + timedelta(days=30 * month)), st.floats(1, 1e6)),
    max_size=400,
)


@given(partitions=partitions, items=st.floats(1, 1e5), ascending=st.booleans())
def test_windows_follow_each_other_from_one_end_of_time_to_the_other(
    partitions: list[tuple[datetime, float]], items: float, ascending: bool
) -> None:
    windows = list(windows_of(partitions, items, ascending=ascending))
    in_time = windows if ascending else windows[::-1]
    assert (in_time[0].first, in_time[-1].end) == (None, None)
    for earlier, later in pairwise(in_time):
        assert earlier.end == later.first
        assert earlier.end is not None
    edges = [window.first for window in in_time[1:]]
    assert edges == sorted(set(edges))  # type: ignore[type-var]


def test_the_first_window_is_small_and_each_further_one_larger() -> None:
    monthly = [(START + timedelta(days=30 * month), 100.0) for month in range(200)]
    windows = list(windows_of(monthly, 200, ascending=False))
    assert windows[0] == Window(monthly[198][0], None)
    held = [
        sum(w.first <= begin and (w.end is None or begin < w.end) for begin, _ in monthly)
        for w in windows[:-1]
        if w.first
    ]
    assert held == [2, 8, 32, 128]
    # where partitions are nearly empty their number is what counts
    empty = [(begin, 1.0) for begin, _ in monthly]
    assert next(windows_of(empty, 200, ascending=False)) == Window(monthly[-FEW_PARTITIONS][0], None)


def test_without_partitions_there_is_one_window() -> None:
    assert list(windows_of([], 10, ascending=True)) == [ALWAYS]


@given(
    times=st.lists(
        st.integers(0, 10**6).map(lambda minute: START + timedelta(minutes=minute)), min_size=2, max_size=101
    ),
    items=st.floats(1000, 1e8),
    stretch=st.floats(10, 1e5),
)
def test_stretches_begin_in_order_and_hold_all_items(times: list[datetime], items: float, stretch: float) -> None:
    parts = list(stretches_of(sorted(times), items, stretch))
    begins = [begin for begin, _ in parts]
    assert begins == sorted(begins)
    assert begins[0] == min(times)
    assert sum(inside for _, inside in parts) == pytest.approx(items)
    assert len(parts) <= 2000
