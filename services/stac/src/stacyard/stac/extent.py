"""The spatial extent of a collection as clients read it: across the antimeridian its west is greater than its east.

RFC 7946, section 5.2, and STAC want it so. pgSTAC finds collections by the first box of their extent and takes the
lesser longitude for its west: it would find such a one everywhere but where it is. So it is stored as three boxes, of
which the first reaches from the least longitude to the greatest, and the others are its parts east and west of the gap.
"""

from __future__ import annotations

from typing import Any

_DIMENSIONS = 4


def publish_extent(collection: dict[str, Any]) -> dict[str, Any]:
    """The collection, changed in place: a box across the antimeridian is the first, if it is smaller and holds all."""
    boxes = _boxes(collection)
    if len(boxes) != 3:
        return collection
    (west, south, east, north), eastern, western = boxes
    gap = eastern[0] - western[2]
    if (western[0], eastern[2]) == (west, east) and gap > 0 and gap > 360 - (east - west):
        boxes[0][:] = [eastern[0], south, western[2], north]
    return collection


def withdraw_extent(collection: dict[str, Any]) -> dict[str, Any]:
    """The reverse, in place: what a client read and sends back is stored as it was."""
    boxes = _boxes(collection)
    if len(boxes) != 3:
        return collection
    (west, south, east, north), eastern, western = boxes
    if west > east and (eastern[0], western[2]) == (west, east):
        boxes[0][:] = [western[0], south, eastern[2], north]
    return collection


def _boxes(collection: dict[str, Any]) -> list[list[float]]:
    """The boxes of the extent, if each is of west, south, east and north; clients may have stored anything."""
    match collection:
        case {"extent": {"spatial": {"bbox": [*boxes]}}} if all(map(_is_flat, boxes)):
            return boxes
    return []


def _is_flat(box: Any) -> bool:
    return isinstance(box, list) and len(box) == _DIMENSIONS and all(isinstance(each, int | float) for each in box)
