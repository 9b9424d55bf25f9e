"""Of what kind the values of a property are: how kinds are joined, and how JSON Schema writes them.

Kinds form a tree whose branches widen towards the root, so that the kind of many values is the same in whatever order
and in whichever parts they are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What values of a property are; `NULL` if none was ever there, `MIXED` if no other kind holds all of them."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    DATE = "date"
    INSTANT = "date-time"
    TEXT = "string"
    TEXTS = "strings"
    ARRAY = "array"
    OBJECT = "object"
    MIXED = "mixed"


_WIDER = {
    Kind.INTEGER: Kind.NUMBER,
    Kind.DATE: Kind.TEXT,
    Kind.INSTANT: Kind.TEXT,
    Kind.TEXTS: Kind.ARRAY,
}

_SCHEMAS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.NULL: {"type": "null"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.DATE: {"type": "string", "format": "date"},
    Kind.INSTANT: {"type": "string", "format": "date-time"},
    Kind.TEXT: {"type": "string"},
    Kind.TEXTS: {"type": "array", "items": {"type": "string"}},
    Kind.ARRAY: {"type": "array"},
    Kind.OBJECT: {"type": "object"},
    Kind.MIXED: {},
}


def joined(one: Kind, other: Kind) -> Kind:
    """The narrowest kind that holds the values of both."""
    if one is other or other is Kind.NULL:
        return one
    if one is Kind.NULL:
        return other
    above = _branch(one)
    return next(kind for kind in _branch(other) if kind in above)


def schema_of(name: str, kind: Kind) -> dict[str, Any]:
    """JSON Schema of a property's values; that some items have none, or null, is not said."""
    return {"title": name, **_SCHEMAS[kind]}


def _branch(kind: Kind) -> list[Kind]:
    """The kind and all wider ones, up to the root."""
    branch = [kind]
    while (wider := _WIDER.get(branch[-1])) is not None:
        branch.append(wider)
    return branch if kind is Kind.MIXED else [*branch, Kind.MIXED]
