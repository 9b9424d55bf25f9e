"""The order of a search, and the place of an item in it, by which a page is found again whatever came and went.

As in pgSTAC, collection and id come last in every order, in the direction of its first key, so that no two items are
equal; what has no value comes last when rising and first when falling, as PostgreSQL has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_queryables import Queryable, wrapped
from stacyard.core.statement import Values

_TYPES = {
    "to_int": "int4",
    "to_float": "float8",
    "to_tstz": "timestamptz",
    "to_text": "text",
    "to_text_array": "text[]",
}
_LAST = ("collection", "id")


class SortKey(NamedTuple):
    """A property to sort by."""

    name: str
    ascending: bool = True


NEWEST_FIRST: Sequence[SortKey] = (SortKey("datetime", ascending=False),)


class Position(NamedTuple):
    """Where an item stands: its values of the properties that are sorted by besides collection and id, and these two.

    Times of columns are times; any other value is as PostgreSQL writes it as text, or None.
    """

    values: tuple[datetime | str | None, ...]
    collection: str
    item: str


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of an order as SQL: what is compared, of which type, and whether it can be missing."""

    expression: str
    kind: str
    nullable: bool
    ascending: bool

    @property
    def selected(self) -> str:
        """What a row holds of it for the position; a column is as it is."""
        return f"({self.expression})::text" if self.nullable else self.expression


def keys_of(sort: Sequence[SortKey], queryables: Mapping[str, Queryable], values: Values) -> list[Key]:
    """The keys of an order, collection and id among them.

    Args:
        sort: what is asked for; nothing: the newest first.
        queryables: what the names in it mean.
        values: of the statement.

    Raises:
        InvalidRequest: items have no order by this property.
    """
    sort = sort or NEWEST_FIRST
    named = {queryables[key.name].column for key in sort}
    keys = [_key(queryables[key.name], key.ascending, values) for key in sort]
    return keys + [
        Key(expression=column, kind="text", nullable=False, ascending=sort[0].ascending)
        for column in _LAST
        if column not in named
    ]


def _key(queryable: Queryable, ascending: bool, values: Values) -> Key:
    if queryable.column == "geometry" or (queryable.column is None and queryable.wrapper not in _TYPES):
        raise InvalidRequest(f"items cannot be sorted by {queryable.name}", parameter="sortby")
    kind = (
        _TYPES[queryable.wrapper]
        if queryable.column is None
        else "text"
        if queryable.column in _LAST
        else "timestamptz"
    )
    return Key(
        expression=wrapped(queryable, queryable.wrapper, values),
        kind=kind,
        nullable=queryable.column is None,
        ascending=ascending,
    )


def order_by(keys: Sequence[Key], *, backwards: bool) -> str:
    """SQL of the order, or of its reverse."""
    return ", ".join(f"{key.expression} {'ASC' if key.ascending is not backwards else 'DESC'}" for key in keys)


def behind(keys: Sequence[Key], start: Position, values: Values, *, backwards: bool) -> str:
    """SQL that is true of what comes behind a position, or before it.

    Raises:
        InvalidRequest: the position is one of another order.
    """
    if len(start.values) != sum(key.expression not in _LAST for key in keys):
        raise _of_another_order()
    others = iter(start.values)
    places: list[tuple[Key, str | None]] = []
    for key in keys:
        if key.expression in _LAST:
            held: datetime | str | None = start.collection if key.expression == "collection" else start.item
        else:
            held = next(others)
        if key.kind != "timestamptz" or key.nullable:
            held_well = (held is None and key.nullable) or isinstance(held, str)
        else:
            held_well = isinstance(held, datetime)
        if not held_well:
            raise _of_another_order()
        kind = f"text::{key.kind}" if key.nullable else key.kind
        places.append((key, None if held is None else values.add(held, kind)))
    if all(not key.nullable and key.ascending is keys[0].ascending for key in keys):
        return _row_behind(places, rising=keys[0].ascending is not backwards)
    return _any_behind(places, backwards=backwards)


def _row_behind(places: Sequence[tuple[Key, str | None]], *, rising: bool) -> str:
    sign = ">" if rising else "<"
    names = ", ".join(key.expression for key, _ in places)
    row = f"({names}) {sign} ({', '.join(place or '' for _, place in places)})"
    # the same once more of the first key alone: partitions are chosen by it, and not by rows
    return f"{places[0][0].expression} {sign}= {places[0][1]} AND {row}"


def _any_behind(places: Sequence[tuple[Key, str | None]], *, backwards: bool) -> str:
    cases, equal = [], ""
    for key, place in places:
        rising = key.ascending is not backwards
        if place is None:
            # what has no value comes first when falling: everything else is behind it
            further = None if rising else f"{key.expression} IS NOT NULL"
            same = f"{key.expression} IS NULL"
        else:
            further = f"{key.expression} {'>' if rising else '<'} {place}"
            if rising and key.nullable:
                further = f"({further} OR {key.expression} IS NULL)"
            same = f"{key.expression} = {place}"
        if further is not None:
            cases.append(f"({equal}{further})")
        equal += f"{same} AND "
    return f"({' OR '.join(cases)})"


def _of_another_order() -> InvalidRequest:
    return InvalidRequest("this page token belongs to a search in another order; begin anew", parameter="token")
