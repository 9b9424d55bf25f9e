"""Which properties items have: what a load has written down of them, and what a look at the newest items shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from stacyard.core.database import AsyncConnection
from stacyard.core.kinds import Kind, joined, schema_of

_KINDS = """
SELECT DISTINCT property.name, property.kind
FROM stacyard.item_property AS property JOIN pgstac.collections ON collections.key = property.collection_key
WHERE ($1::text[] IS NULL OR property.name = ANY ($1::text[]))
    AND (cardinality($2::text[]) = 0 OR collections.id = ANY ($2::text[]))
"""
# looked at altogether, the newest of each collection; more collections than that are not looked at
_SAMPLE, _MOST_COLLECTIONS = 2000, 400
_OF_COLLECTIONS = """
SELECT DISTINCT jsonb_object_keys(content->'properties')
FROM unnest($1::text[]) AS asked (collection)
CROSS JOIN LATERAL (
    SELECT content FROM pgstac.items
    WHERE items.collection = asked.collection ORDER BY datetime DESC LIMIT $2::bigint
) AS newest
"""
_SOME_COLLECTIONS = "SELECT id FROM pgstac.collections LIMIT $1::bigint"
_REGISTERED = "SELECT pgstac.get_queryables($1::text)"
# https://docs.ogc.org/is/19-079r2/19-079r2.html#queryables
_EMPTY = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "",
    "type": "object",
    "title": "STAC Queryables.",
}
_TIME = {"type": "string", "format": "date-time"}
# what is always known, see `pgstac_queryables`
_ALWAYS = {
    "collection": {"title": "Collection ID", "type": "string"},
    "start_datetime": {"title": "Start of the item", **_TIME},
    "end_datetime": {"title": "End of the item", **_TIME},
}


async def kinds_of(
    connection: AsyncConnection, names: Collection[str] | None, collections: Sequence[str]
) -> dict[str, Kind]:
    """The kinds of these properties, or of all, in items of these collections, or of all, if a load has seen them."""
    kinds: dict[str, Kind] = {}
    for name, kind in await connection.fetch(_KINDS, None if names is None else list(names), list(collections)):
        kinds[name] = joined(kinds.get(name, Kind.NULL), Kind(kind))
    return kinds


async def seen_in(connection: AsyncConnection, collections: Sequence[str]) -> frozenset[str] | None:
    """The properties of some items of these collections, or of all; None if they are too many to look at."""
    asked = collections or [row[0] for row in await connection.fetch(_SOME_COLLECTIONS, _MOST_COLLECTIONS + 1)]
    if len(asked) > _MOST_COLLECTIONS:
        return None
    if not asked:
        return frozenset()
    return frozenset(row[0] for row in await connection.fetch(_OF_COLLECTIONS, asked, _SAMPLE // len(asked)))


async def document_of(
    connection: AsyncConnection, collection: str | None, seen: Iterable[str] | None
) -> dict[str, Any] | None:
    """What items of a collection, or of all, can be searched by, as JSON Schema; None if there is no such collection.

    Args:
        connection: to the catalog.
        collection: its id; None: of all.
        seen: properties of items that were looked at; None: items have others, nobody knows which.
    """
    registered = await connection.fetchval(_REGISTERED, collection)
    if registered is None and collection is not None:
        return None
    kinds = await kinds_of(connection, None, [collection] if collection is not None else [])
    looked = {name: schema_of(name, Kind.MIXED) for name in sorted(seen or ())}
    learned = {name: schema_of(name, kind) for name, kind in sorted(kinds.items())}
    properties = {**_ALWAYS, **looked, **learned, **((registered or {}).get("properties") or {})}
    # what is not among them is refused, unless nobody knows
    return {**_EMPTY, **(registered or {}), "properties": properties, "additionalProperties": seen is None}
