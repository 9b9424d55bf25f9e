"""Which properties items have and of what kind their values are, written down before the items can be seen.

Every item is looked at, which must not cost what a parse costs: what is known so far is made into a type, and msgspec
checks items against it while it reads over them. Only an item that does not fit is taken apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Annotated, Any, LiteralString

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from stacyard.core.kinds import Kind, joined
from stacyard.ingestor.load.rows import Json
from stacyard.ingestor.session import Connection, Session

#: Of a collection; what comes after them is not written down.
MOST_PROPERTIES = 1000
_LONGEST_NAME = 200

# columns of pgSTAC's items, and members of an item for which such a name would be taken
_NOT_PROPERTIES = frozenset({"id", "collection", "geometry", "datetime", "start_datetime", "end_datetime"}) | {
    "assets",
    "links",
    "bbox",
    "stac_version",
    "stac_extensions",
    "properties",
}
# PostgreSQL takes no displacement from UTC beyond this
_FARTHEST = timedelta(hours=16)
# the loader has written them in UTC
_IN_UTC = ("created", "updated")

_Instant = Annotated[datetime, Meta(tz=True)]


class _Array(msgspec.Struct, array_like=True, gc=False):
    """Any array: what is in it is read over."""


class _Object(msgspec.Struct, gc=False):
    """Any object: what is in it is read over."""


_TYPES: Mapping[Kind, Any] = {
    Kind.NULL: None,
    Kind.BOOLEAN: bool,
    Kind.INTEGER: int,
    Kind.NUMBER: float,
    Kind.DATE: date,
    Kind.INSTANT: _Instant,
    Kind.TEXT: str,
    Kind.TEXTS: list[str],
    Kind.ARRAY: _Array,
    Kind.OBJECT: _Object,
}
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_integer_in = msgspec.json.Decoder(int).decode
_date_in = msgspec.json.Decoder(date).decode
_instant_in = msgspec.json.Decoder(_Instant).decode
_texts_in = msgspec.json.Decoder(list[str]).decode

_KNOWN: LiteralString = "SELECT name, kind FROM stacyard.item_property WHERE collection_key = %s"
# whoever else loads the collection waits for the few milliseconds that this takes
_LOCK: LiteralString = "SELECT pg_advisory_xact_lock(hashtextextended('stacyard.properties/' || %s::text, 0))"
_WRITE: LiteralString = """
INSERT INTO stacyard.item_property (collection_key, name, kind)
SELECT %s, name, kind FROM unnest(%s::text[], %s::text[]) AS new (name, kind)
ON CONFLICT (collection_key, name) DO UPDATE SET kind = excluded.kind
"""
_FORGET: LiteralString = """
DELETE FROM stacyard.item_property AS p
WHERE NOT EXISTS (SELECT FROM pgstac.collections AS c WHERE c.key = p.collection_key)
"""


class Properties:
    """What is known of the properties of a collection's items, and what of it is not written down yet.

    Args:
        known: what is written down.
    """

    def __init__(self, known: Mapping[str, Kind]) -> None:
        self._kinds = dict(known)
        self._ignored: set[str] = set()
        # in the order in which items have them, which is that in which fields are found fastest
        self._names: dict[str, None] = {}
        self.news: dict[str, Kind] = {}
        self._adapt()

    def learn(self, properties: Iterable[Json]) -> None:
        """Look at the properties of some items, each a JSON object."""
        changed = False
        for each in properties:
            try:
                known = self._fits(each)
                if not self._instants or self._plain(known):
                    continue
            except (msgspec.DecodeError, RecursionError):
                pass
            changed |= self._take_apart(each)
        if changed:
            self._adapt()

    def written(self, kinds: Mapping[str, Kind]) -> None:
        """These are written down; others may have made them wider."""
        self.news = {}
        if any(self._kinds.get(name) is not kind for name, kind in kinds.items()):
            self._kinds |= kinds
            self._adapt()

    def _take_apart(self, properties: Json) -> bool:
        """Whether something new was learned."""
        try:
            members = _members_of(properties)
        except (msgspec.DecodeError, RecursionError):
            # the database will refuse it
            return False
        changed = False
        for name, value in members.items():
            known = self._kinds.get(name)
            if known is None and (len(self._kinds) >= MOST_PROPERTIES or not _can_be_asked_for(name)):
                if name not in self._ignored and len(self._ignored) < MOST_PROPERTIES:
                    self._ignored.add(name)
                    self._names[name] = None
                    changed = True
                continue
            if name not in self._names:
                self._names[name] = None
                changed = True
            kind = joined(known or Kind.NULL, kind_of(bytes(value)))
            if kind is not known:
                self._kinds[name] = self.news[name] = kind
                changed = True
        return changed

    def _adapt(self) -> None:
        """Make the type that items fit of which there is nothing to learn."""
        names = list(self._names)
        fields: list[tuple[str, Any, Any]] = [
            (f"p{number}", _field_type(self._kinds.get(name, Kind.MIXED)), UNSET) for number, name in enumerate(names)
        ]
        known = msgspec.defstruct(
            "Known",
            fields,
            rename={f"p{number}": name for number, name in enumerate(names)},
            forbid_unknown_fields=len(self._ignored) < MOST_PROPERTIES,
            gc=False,
        )
        self._fits = msgspec.json.Decoder(known).decode
        self._instants = [
            f"p{number}"
            for number, name in enumerate(names)
            if self._kinds.get(name) is Kind.INSTANT and name not in _IN_UTC
        ]

    def _plain(self, known: Any) -> bool:
        return all(
            value is None or value is UNSET or _in_reach(value)
            for value in (getattr(known, field) for field in self._instants)
        )


def kind_of(value: bytes) -> Kind:
    """The kind of one value, which is sound JSON."""
    match value[:1]:
        case b"n":
            return Kind.NULL
        case b"t" | b"f":
            return Kind.BOOLEAN
        case b'"':
            return _kind_of_text(value)
        case b"[":
            return Kind.TEXTS if _reads(_texts_in, value) else Kind.ARRAY
        case b"{":
            return Kind.OBJECT
    return Kind.INTEGER if _reads(_integer_in, value) else Kind.NUMBER


def read_known(connection: Connection, key: int) -> dict[str, Kind]:
    """What is written down of a collection, by pgSTAC's key of it."""
    return {name: Kind(kind) for name, kind in connection.execute(_KNOWN, [key])}


def write_down(session: Session, key: int, properties: Properties) -> None:
    """Write down what is new, joined with what others have written; several may do so at the same time.

    Raises:
        RunStopped: the database is away.
    """
    news = properties.news
    if news:
        properties.written(session.run(lambda connection: write_kinds(connection, key, news)))


def write_kinds(connection: Connection, key: int, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    """Write these kinds down in a transaction of its own, joined with what is there; returns what is there then."""
    with connection.transaction():
        connection.execute(_LOCK, [key])
        there = read_known(connection, key)
        if not there:
            # of collections that were deleted
            connection.execute(_FORGET)
        room = MOST_PROPERTIES - len(there)
        new = [name for name in kinds if name not in there][:room]
        wider = {name: joined(there[name], kind) for name, kind in kinds.items() if name in there}
        changes = {name: kind for name, kind in wider.items() if kind is not there[name]}
        changes |= {name: kinds[name] for name in new}
        if changes:
            connection.execute(_WRITE, [key, list(changes), [kind.value for kind in changes.values()]])
    return there | changes


def _field_type(kind: Kind) -> Any:
    # what is raw is null as well
    return Raw if kind is Kind.MIXED else _TYPES[kind] | None | UnsetType if kind is not Kind.NULL else None | UnsetType


def _can_be_asked_for(name: str) -> bool:
    return (
        name not in _NOT_PROPERTIES
        and bool(name.strip())
        and len(name) <= _LONGEST_NAME
        and "\0" not in name
        and not name.startswith("properties.")
    )


def _kind_of_text(value: bytes) -> Kind:
    if _reads(_date_in, value):
        return Kind.DATE
    try:
        return Kind.INSTANT if _in_reach(_instant_in(value)) else Kind.TEXT
    except msgspec.DecodeError:
        return Kind.TEXT


def _in_reach(instant: datetime) -> bool:
    displacement = instant.utcoffset()
    return displacement is None or abs(displacement) < _FARTHEST


def _reads(decode: Any, value: bytes) -> bool:
    try:
        decode(value)
    except msgspec.DecodeError:
        return False
    return True
