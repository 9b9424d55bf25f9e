"""Tiles are made from allow-listed storage only."""

from __future__ import annotations

import pystac
import pytest

from stacyard.core.errors import Forbidden
from stacyard.raster.reader import ReadableAssets, item_reader, mosaic_reader

READABLE = ReadableAssets(["file:///yard/assets", "s3://archive/landsat"])


@pytest.mark.parametrize("href", ["file:///yard/assets/a.tif", "s3://archive/landsat/2020/a.tif"])
def test_what_lies_below_a_prefix_may_be_read(href: str) -> None:
    READABLE.check(href)


@pytest.mark.parametrize(
    "href",
    [
        "/etc/passwd",
        "file:///etc/passwd",
        "file:///yard/assets/../../etc/passwd",
        "file:///yard/assets/%2e%2e/secret",
        "file:///yard/assets-private/a.tif",
        "/vsicurl/http://169.254.169.254/latest/meta-data",
        "http://169.254.169.254/latest/meta-data",
        "/vsizip/file:///yard/assets/a.zip",
        "s3://archive/landsat2/a.tif",
        "vrt://file:///yard/assets/a.tif",
        "",
    ],
)
def test_nothing_else_may_be_read(href: str) -> None:
    with pytest.raises(Forbidden):
        READABLE.check(href)


def test_both_readers_ask_before_they_open() -> None:
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": "evil",
        "collection": "c",
        "bbox": [0, 0, 1, 1],
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "properties": {"datetime": "2020-01-01T00:00:00Z"},
        "links": [],
        "assets": {"a": {"href": "http://169.254.169.254/a.tif", "type": "image/tiff"}},
    }
    with mosaic_reader(READABLE)(item) as reader, pytest.raises(Forbidden):
        reader.tile(0, 0, 0, assets=["a"])
    with item_reader(READABLE)(pystac.Item.from_dict(item)) as reader, pytest.raises(Forbidden):
        reader.tile(0, 0, 0, assets=["a"])
