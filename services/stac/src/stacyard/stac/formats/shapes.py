"""What JSON values have in common, so that one typed column can hold all of them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

import msgspec

_INT64 = range(-(2**63), 2**63)


class Kind(Enum):
    """Of which kind values are. `MIXED`: they have none in common, and are kept as JSON text."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    LIST = "list"
    OBJECT = "object"
    MIXED = "mixed"


_KINDS = {
    bool: Kind.BOOLEAN,
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    str: Kind.TEXT,
    list: Kind.LIST,
    dict: Kind.OBJECT,
}
_NUMERIC = {Kind.INTEGER, Kind.NUMBER}


class Shape:
    """The narrowest shape that every value seen so far fits into; each of them may also be null."""

    __slots__ = ("_element", "_members", "_seen")

    def __init__(self) -> None:
        self._seen = Kind.NULL
        self._members: dict[str, Shape] = {}
        self._element: Shape | None = None

    def learn(self, value: Any) -> None:
        """See one more value. A whole number that 64 bits do not hold is `MIXED`: it would not come back as it is."""
        if value is None:
            return
        kind = _KINDS[type(value)]
        if kind is not self._seen:
            self._widen(kind)
        if kind is Kind.OBJECT:
            members = self._members
            for name, each in value.items():
                member = members.get(name)
                if member is None:
                    member = members[name] = Shape()
                member.learn(each)
        elif kind is Kind.LIST:
            for each in value:
                self.element.learn(each)
        elif kind is Kind.INTEGER and value not in _INT64:
            self._seen = Kind.MIXED

    def _widen(self, kind: Kind) -> None:
        if self._seen is Kind.NULL:
            self._seen = kind
        elif {kind, self._seen} == _NUMERIC:
            self._seen = Kind.NUMBER
        else:
            self._seen = Kind.MIXED

    @property
    def kind(self) -> Kind:
        """Of which kind its values are. Objects without any member are `MIXED`: no type of a column holds them."""
        return Kind.MIXED if self._seen is Kind.OBJECT and not self._members else self._seen

    @property
    def element(self) -> Shape:
        """The shape of what is in its lists."""
        if self._element is None:
            self._element = Shape()
        return self._element

    @property
    def members(self) -> dict[str, Shape]:
        """The shapes of the members of its objects."""
        return self._members

    def parts(self) -> Iterator[Shape]:
        """The shapes in it one level down."""
        if self.kind is Kind.OBJECT:
            yield from self._members.values()
        elif self.kind is Kind.LIST:
            yield self.element

    def is_mixed(self) -> bool:
        """Whether something in its values is kept as JSON text."""
        return self.kind is Kind.MIXED or any(part.is_mixed() for part in self.parts())

    def width(self) -> int:
        """How many columns of plain values it takes."""
        return sum(part.width() for part in self.parts()) or 1

    def with_text(self, value: Any) -> Any:
        """A value that it has seen, in which what is `MIXED` is JSON text."""
        kind = self.kind
        if value is None or kind is Kind.NULL:
            return value
        if kind is Kind.MIXED:
            return msgspec.json.encode(value).decode()
        if kind is Kind.LIST:
            return [self.element.with_text(each) for each in value]
        if kind is Kind.OBJECT:
            return {name: self._members[name].with_text(each) for name, each in value.items()}
        return value
