"""What the name of a property means in a search: a column of pgSTAC's items, or a place in their content and its type.

Registered queryables decide, as in pgSTAC's function `queryable`; where there is none, what loads have written down of
the properties of items. A name that neither knows is read as text, and only if items have such a property: looking for
one that none has would read every item there is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest
from stacyard.core.kinds import Kind
from stacyard.core.pgstac_properties import document_of, kinds_of, seen_in
from stacyard.core.statement import Values

_COLUMNS = {name: name for name in ("id", "collection", "geometry", "datetime", "end_datetime")} | {
    "start_datetime": "datetime"
}
# members of an item that a name may begin with; any other name is one of its properties
_MEMBERS = ("assets", "links", "bbox", "stac_version", "stac_extensions", "properties")

_WRAPPER = re.compile(r"[a-z_][a-z0-9_]*")
_WRAPPERS = {
    # pgSTAC's to_int takes fractions off what it is compared with, and no number beyond 32 bits
    Kind.INTEGER: "to_float",
    Kind.NUMBER: "to_float",
    Kind.DATE: "to_tstz",
    Kind.INSTANT: "to_tstz",
    Kind.TEXTS: "to_text_array",
    Kind.ARRAY: "to_text_array",
}

_REGISTERED = """
SELECT name, collection_ids, definition, property_path, property_wrapper
FROM pgstac.queryables WHERE name = ANY ($1::text[]) ORDER BY id
"""
# as a filter of jsonpath: of JSON, that pgSTAC's function can read it; what it cannot is an error there. The content is
# looked into once for it, which is most of what a condition costs
_TIME = r"^\\d{4}-\\d\\d-\\d\\d([t ]\\d\\d:\\d\\d:\\d\\d([.]\\d+)?(z|[+-](0\\d|1[0-5]):\\d\\d))?$"
_FITTING = {"to_float": '@.type() == "number"', "to_tstz": f'@ like_regex "{_TIME}" flag "i"'}


@dataclass(frozen=True, kw_only=True)
class Queryable:
    """How a property is read.

    Args:
        name: without `properties.` before it.
        column: of `pgstac.items`, if it is one; then the rest does not matter.
        keys: where in an item's content it stands.
        wrapper: pgSTAC's function that makes a value of its type of the JSON there.
        declared: somebody said so; else the values it is compared with may decide otherwise.
        date: its values are days.
        temporal: its values may be times.
        mixed: some of its values may be of another type than its wrapper takes; they are left out, and no error.
    """

    name: str
    column: str | None = None
    keys: Sequence[str] = ()
    wrapper: str = "to_text"
    declared: bool = False
    date: bool = False
    temporal: bool = True
    mixed: bool = False


@dataclass(frozen=True)
class _Registered:
    collections: frozenset[str] | None
    definition: Mapping[str, Any]
    path: Sequence[str] | None
    wrapper: str | None


def plain_name(name: str) -> str:
    """The name without `properties.` before it.

    Raises:
        InvalidRequest: nothing is left of it.
    """
    plain = name
    while plain.startswith("properties."):
        plain = plain.removeprefix("properties.")
    if not plain.strip() or plain.strip() == "properties":
        raise InvalidRequest(f"{name!r} is no name of a property")
    return plain


def path_of(queryable: Queryable, values: Values) -> str:
    """SQL of a property: its column, or the JSON at its place in the content."""
    if queryable.column is not None:
        return queryable.column
    return "->".join(["content", *(values.add(key, "text") for key in queryable.keys)])


def wrapped(queryable: Queryable, wrapper: str | None, values: Values) -> str:
    """SQL of a property as a value of its type; a column has its type already."""
    path = path_of(queryable, values)
    if queryable.column is not None or wrapper is None:
        return path
    fits = _FITTING.get(wrapper) if queryable.mixed else None
    read = path if fits is None else f"jsonb_path_query_first({path}, 'strict $ ? ({fits})')"
    return f"{function_of(wrapper)}({read})"


def function_of(wrapper: str) -> str:
    """SQL of the function of pgSTAC's that a wrapper names.

    Raises:
        InvalidRequest: it is no name of one.
    """
    if not _WRAPPER.fullmatch(wrapper):
        raise InvalidRequest(f"the queryable's wrapper {wrapper!r} is none of pgSTAC's")
    return f"pgstac.{wrapper}"


class Queryables:
    """What names mean, asked again after a while. Names come from clients, so that a bounded number is kept."""

    def __init__(
        self,
        *,
        seconds: float = 30.0,
        kind_seconds: float = 2.0,
        limit: int = 2000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        # a load may make a kind wider, and to ask for it takes little
        self._kind_seconds = kind_seconds
        self._limit = limit
        self._clock = clock
        self._registered: dict[str, tuple[float, list[_Registered]]] = {}
        self._kinds: dict[tuple[tuple[str, ...], str], tuple[float, Kind]] = {}
        self._seen: dict[tuple[str, ...], tuple[float, frozenset[str] | None]] = {}

    def clear(self) -> None:
        """Ask anew whatever comes next."""
        self._registered.clear()
        self._kinds.clear()
        self._seen.clear()

    async def of(
        self,
        connection: AsyncConnection,
        names: Iterable[str],
        collections: Sequence[str],
        *,
        parameter: str | None = None,
    ) -> Mapping[str, Queryable]:
        """What each of these names means in items of these collections; none: of all.

        `parameter` is where the names come from.

        Raises:
            InvalidRequest: no load has met a name, it is not registered, and no item that was looked at has it.
        """
        plain = {name: plain_name(name) for name in names}
        asked = {name for name in plain.values() if name not in _COLUMNS}
        if not asked:
            return {name: _column(own) for name, own in plain.items()}
        await self._read(connection, asked)
        registered = {name: [row for row in self._registered[name][1] if _reaches(row, collections)] for name in asked}
        others = {name for name, rows in registered.items() if not rows and _first(name) not in _MEMBERS}
        kinds = await self._learned(connection, others, collections) if others else {}
        for name in others:
            if name not in kinds and _first(name) not in kinds:
                await self._check_seen(connection, name, collections, parameter)
        return {
            name: _column(own)
            if own in _COLUMNS
            else _of_kind(own, kinds[own])
            if own in kinds
            else _meaning(own, registered[own])
            for name, own in plain.items()
        }

    async def document(self, connection: AsyncConnection, collection: str | None) -> dict[str, Any] | None:
        """What items of a collection, or of all, can be searched by, as JSON Schema; None if there is no such one."""
        seen = await self._looked_at(connection, () if collection is None else (collection,))
        return await document_of(connection, collection, seen)

    async def _read(self, connection: AsyncConnection, names: Collection[str]) -> None:
        now = self._clock()
        missing = [name for name in names if now - self._registered.get(name, (float("-inf"),))[0] >= self._seconds]
        if not missing:
            return
        rows = await connection.fetch(_REGISTERED, missing)
        if len(self._registered) + len(missing) > self._limit:
            self._registered = {name: kept for name, kept in self._registered.items() if name in names}
        for name in missing:
            self._registered[name] = (
                now,
                [_registered(row) for row in rows if row["name"] == name],
            )

    async def _learned(
        self, connection: AsyncConnection, names: Collection[str], collections: Sequence[str]
    ) -> dict[str, Kind]:
        """The kinds of these names, and of what they are parts of; what is not known is asked for each time."""
        asked, now = tuple(sorted(set(collections))), self._clock()
        wanted = {each for name in names for each in (name, _first(name))}
        kept = {name: self._kinds[asked, name] for name in wanted if (asked, name) in self._kinds}
        kinds = {name: kind for name, (since, kind) in kept.items() if now - since < self._kind_seconds}
        missing = wanted - kinds.keys()
        if missing:
            found = await kinds_of(connection, missing, asked)
            if len(self._kinds) + len(found) > self._limit:
                self._kinds.clear()
            self._kinds |= {(asked, name): (now, kind) for name, kind in found.items()}
            kinds |= found
        return kinds

    async def _check_seen(
        self, connection: AsyncConnection, name: str, collections: Sequence[str], parameter: str | None
    ) -> None:
        seen = await self._looked_at(connection, tuple(sorted(set(collections))))
        # where nothing was seen there is nothing to read in vain
        if seen and name not in seen and _first(name) not in seen:
            raise InvalidRequest(
                f"items here have no property {name!r}; /queryables names those that can be searched by",
                parameter=parameter,
            )

    async def _looked_at(self, connection: AsyncConnection, collections: tuple[str, ...]) -> frozenset[str] | None:
        kept = self._seen.get(collections)
        if kept is None or self._clock() - kept[0] >= self._seconds:
            if len(self._seen) >= self._limit // 10:
                self._seen.clear()
            self._seen[collections] = kept = (self._clock(), await seen_in(connection, collections))
        return kept[1]


def _column(name: str) -> Queryable:
    return Queryable(name=name, column=_COLUMNS[name])


def _first(name: str) -> str:
    return name.split(".", maxsplit=1)[0]


def _of_kind(name: str, kind: Kind) -> Queryable:
    """What a name means of which only loads know; all numbers are read alike, whole or not."""
    return Queryable(
        name=name,
        # the name is what items have, dots or not
        keys=("properties", name),
        wrapper=_WRAPPERS.get(kind, "to_text"),
        declared=kind not in (Kind.MIXED, Kind.NULL),
        date=kind is Kind.DATE,
        temporal=kind in (Kind.DATE, Kind.INSTANT, Kind.TEXT, Kind.MIXED, Kind.NULL),
        mixed=True,
    )


def _registered(row: Any) -> _Registered:
    _, collections, definition, path, wrapper = row
    return _Registered(frozenset(collections) if collections else None, definition or {}, path, wrapper)


def _reaches(row: _Registered, collections: Sequence[str]) -> bool:
    return row.collections is None or not collections or not row.collections.isdisjoint(collections)


def _meaning(name: str, rows: Sequence[_Registered]) -> Queryable:
    """What rows that apply say together: one for all collections says it alone, and those that differ make it text."""
    if not rows:
        return Queryable(name=name, keys=_keys(name, None))
    chosen = next((row for row in rows if row.collections is None), rows[0])
    alone = chosen.collections is None
    same_type = alone or len({_wrapper(row) for row in rows}) == 1
    same_place = alone or len({tuple(_keys(name, row.path)) for row in rows}) == 1
    wrapper = _wrapper(chosen) if same_type else "to_text"
    definition = chosen.definition
    return Queryable(
        name=name,
        keys=_keys(name, chosen.path if same_place else None),
        wrapper=wrapper,
        declared=(
            chosen.wrapper is not None
            or wrapper != "to_text"
            or not same_type
            or "type" in definition
            or "format" in definition
        ),
        date=definition.get("format") == "date",
        temporal=_may_be_time(wrapper, definition),
    )


def _wrapper(row: _Registered) -> str:
    if row.wrapper is not None:
        return row.wrapper
    kinds = _kinds(row.definition)
    for kind, wrapper in (("integer", "to_int"), ("number", "to_float"), ("array", "to_text_array")):
        if kind in kinds:
            return wrapper
    return "to_tstz" if row.definition.get("format") in ("date-time", "date") else "to_text"


def _may_be_time(wrapper: str, definition: Mapping[str, Any]) -> bool:
    if wrapper == "to_tstz":
        return True
    if wrapper in ("to_int", "to_float", "to_text_array"):
        return False
    if "format" in definition and definition["format"] not in ("date", "date-time"):
        return False
    return "type" not in definition or "string" in _kinds(definition)


def _kinds(definition: Mapping[str, Any]) -> Sequence[str]:
    kinds = definition.get("type", ())
    return [kinds] if isinstance(kinds, str) else kinds


def _keys(name: str, path: Sequence[str] | None) -> Sequence[str]:
    if path is not None:
        return path
    parts = name.split(".")
    return parts if parts[0] in _MEMBERS else ["properties", *parts]
