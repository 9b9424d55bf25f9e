"""An item's row says what pgSTAC's own loader would have written, though most of the item is never parsed."""

from __future__ import annotations

import copy
import struct
from typing import Any

import orjson
import shapely
from hydraters import dehydrate
from hypothesis import given
from hypothesis import strategies as st

from stacyard.ingestor.load.rows import CollectionShape, Row, item_of, rows_of

NAMES = st.sampled_from(["type", "stac_version", "assets", "links", "a", 'quoted "name"', "ünïcode", "private"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
PARTS = st.dictionaries(NAMES, VALUES, max_size=5)


def columns(row: Row) -> list[bytes]:
    """The fields of a binary COPY row, as PostgreSQL reads them; `private` comes when the row is copied."""
    fields, data = [], row.fields[2:]
    while data:
        [length] = struct.unpack(">i", data[:4])
        # the last is jsonb, whose first byte is its version
        fields.append(data[4 : 4 + length])
        data = data[4 + length :]
    return fields


@given(own=PARTS, base=PARTS, same=st.sets(NAMES), base_item_id=st.none() | st.integers(1, 9))
def test_the_content_is_what_hydraters_leaves_of_the_whole_item(
    own: dict[str, Any], base: dict[str, Any], same: set[str], base_item_id: int | None
) -> None:
    base = {**base, "collection": "c"}
    own = {**own, **{name: base[name] for name in same & base.keys()}}
    own.pop("private", None)
    base.pop("private", None)
    document = {
        **own,
        "id": "x",
        "collection": "c",
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
    }
    shape = CollectionShape(collection="c", key=1, partition_trunc=None, base_item=base, base_item_id=base_item_id)
    wanted = copy.deepcopy(document)
    for name in ("id", "geometry"):
        del wanted[name]
    dehydrate(base, wanted)
    for name in ("id", "geometry", "collection"):
        wanted.pop(name, None)
    if base_item_id is not None:
        wanted["pgstac:base_item"] = base_item_id
    [row] = rows_of([item_of(document)], shape, tasks=[7])
    item_id, collection, first, last, geometry, content = columns(row)
    assert (item_id, collection) == (b"x", b"c")
    assert first == last
    assert shapely.from_wkb(geometry) == shapely.Point(1, 2)
    assert (content[0], orjson.loads(content[1:])) == (1, wanted)
