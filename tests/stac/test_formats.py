"""Tables of whatever items hold, and what an export keeps until it is written."""

from __future__ import annotations

import csv
import io
import json
import random
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacyard.core.errors import InvalidRequest
from stacyard.stac.formats.columns import MOST_COLUMNS
from stacyard.stac.formats.csv import CsvWriter
from stacyard.stac.formats.form import Writer
from stacyard.stac.formats.geoparquet import GeoParquetWriter
from stacyard.stac.spool import Spool

# PostgreSQL has no other texts
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=5)
names = st.sampled_from(["a", "b", 'c "d"', "é", "e.f"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.sampled_from([2**63 - 1, 2**63, 2**64, -(2**63)])
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(["2020-01-01", "2020-01-01T00:00:00Z", "null", "1", "{}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
properties = st.dictionaries(names, values, max_size=4)
times = st.none() | st.sampled_from(
    ["2020-02-29T12:00:00Z", "2020-02-30T12:00:00Z", "2020-01-01T00:00:00.1234567Z", "2020-01-01T00:00:00.5Z", "soon"]
)


def item(number: int, properties: dict[str, Any]) -> dict[str, Any]:
    place = {"type": "Point", "coordinates": [number, 1]}
    return {"id": f"i{number}", "collection": "c", "geometry": place, "bbox": [1, 2, 3, 4], "properties": properties}


def written(writer: Writer, pages: list[list[dict[str, Any]]]) -> bytes:
    return b"".join(writer.written([writer.take(page) for page in pages]))


def is_told(got: Any, value: Any) -> bool:
    """Whether a table gave back a value: as it is, with nulls where others have something, or as JSON text."""
    if isinstance(value, dict) and isinstance(got, dict):
        return got.keys() >= value.keys() and all(is_told(got[name], value.get(name)) for name in got)
    if isinstance(value, list) and isinstance(got, list):
        return len(got) == len(value) and all(map(is_told, got, value))
    if got == value and isinstance(got, bool) is isinstance(value, bool):
        return True
    return isinstance(got, str) and got[:1] != "" and json.loads(got) == value


@given(st.lists(st.lists(properties, max_size=3), max_size=3), st.lists(times, min_size=9, max_size=9))
def test_a_typed_table_gives_back_what_items_hold(pages: list[list[dict[str, Any]]], created: list[Any]) -> None:
    numbered = iter(range(100))
    items = [[item(number := next(numbered), {**each, "created": created[number]}) for each in page] for page in pages]
    table = pq.read_table(io.BytesIO(written(GeoParquetWriter(), items)))
    rows = table.to_pylist()
    expected = [each for page in items for each in page]
    assert [row["id"] for row in rows] == [each["id"] for each in expected]
    for row, each in zip(rows, expected, strict=True):
        for name in {*each["properties"]} - {"created"}:
            assert is_told(row[name], each["properties"][name]), name
        moment, text = row["created"], each["properties"]["created"]
        if text is None or isinstance(moment, str):
            assert moment == text
        else:
            assert moment.isoformat()[:19] == text[:19]


@given(st.lists(st.lists(properties, max_size=3), max_size=3))
def test_a_line_of_text_has_what_an_item_holds(pages: list[list[dict[str, Any]]]) -> None:
    numbered = iter(range(100))
    items = [[item(next(numbered), each) for each in page] for page in pages]
    rows = list(csv.DictReader(io.StringIO(written(CsvWriter(), items).decode(), newline="")))
    expected = [each for page in items for each in page]
    assert [row["id"] for row in rows] == [each["id"] for each in expected]
    for row, each in zip(rows, expected, strict=True):
        for name, value in each["properties"].items():
            if isinstance(value, str):
                assert row[name] == (f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value)
            else:
                assert row[name] == "" if value is None else json.loads(row[name]) == value


@pytest.mark.parametrize("writer", [GeoParquetWriter, CsvWriter])
def test_two_things_of_one_name_are_no_table(writer: type[Writer]) -> None:
    name = "collection" if writer is GeoParquetWriter else "west"
    with pytest.raises(InvalidRequest, match=f"fields=-properties.{name}"):
        writer().take([item(1, {name: "x"})])


@pytest.mark.parametrize("writer", [GeoParquetWriter, CsvWriter])
def test_a_table_wider_than_anybody_could_read_is_refused(writer: type[Writer]) -> None:
    with pytest.raises(InvalidRequest, match="have so little in common"):
        writer().take([item(1, {f"p{number}": 1 for number in range(MOST_COLUMNS)})])


@given(st.lists(st.binary(max_size=50)))
def test_a_spool_gives_back_what_was_put_in(pages: list[bytes]) -> None:
    with Spool(most_bytes=10_000) as spool:
        for page in pages:
            spool.put(page)
        assert list(spool.pages()) == pages


def test_a_spool_is_bounded() -> None:
    with Spool(most_bytes=1000) as spool:
        # what counts is what it takes on disk
        spool.put(b"x" * 100_000)
        with pytest.raises(InvalidRequest, match="too large"):
            spool.put(random.Random(0).randbytes(1000))
