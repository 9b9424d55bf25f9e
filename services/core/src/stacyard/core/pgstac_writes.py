"""Single documents and small batches into pgSTAC's tables, within a transaction of the caller's.

pgSTAC's own functions for it make a temporary table, which keeps a proxy from lending the connection to others, and
lose what is null in an item, which its `datetime` may be and must then say. So the steps are taken here: partitions are
made by pgSTAC's function for that, items are dehydrated as the bulk loader does it, and an older version is deleted
wherever it lies.

Whoever writes items of a collection holds all of the locks that the bulk loader deals the collection's ids to
(`stacyard.ingestor.load.bulk`). So nobody else has any of its items in hand, an id stays unique over all partitions,
and what was read is what is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from hydraters import dehydrate

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import Conflict, NotFound
from stacyard.core.pgstac_hydration import BaseItem, hydrated, tag_of
from stacyard.core.revision import RAISE_REVISION

#: As many as the bulk loader has; tests hold the two together.
SHARDS = 4

_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended('stacyard.load/' || $1::text || '/' || shard::text, 0))
FROM generate_series(0, $2::integer - 1) AS shard
"""
_SHARE_COLLECTION = "SELECT id FROM pgstac.collections WHERE id = $1 FOR KEY SHARE"
_LOCK_COLLECTION = "SELECT id FROM pgstac.collections WHERE id = $1 FOR NO KEY UPDATE"
_CREATE_COLLECTION = "SELECT pgstac.create_collection($1::text::jsonb)"
_UPDATE_COLLECTION = "SELECT pgstac.update_collection($1::text::jsonb)"
_DELETE_COLLECTION = "SELECT pgstac.delete_collection($1)"
_COLLECTION = "SELECT pgstac.get_collection($1)"
# digits as pgSTAC writes them
_ITEMS = """
SELECT id, content, ST_AsGeoJSON(geometry, 20)::jsonb FROM pgstac.items WHERE collection = $1 AND id = ANY ($2::text[])
"""
_BASE_ITEM = "SELECT pgstac.collection_base_item($1, $2)"
_CURRENT_BASE_ITEM = "SELECT base_item, base_item_id FROM pgstac.current_base_item($1)"
_PRESENT = "SELECT DISTINCT id FROM pgstac.items WHERE collection = $1 AND id = ANY ($2::text[]) ORDER BY id"
_DELETE = "DELETE FROM pgstac.items WHERE collection = $1 AND id = ANY ($2::text[])"
# in the order of time, as pgSTAC does it, so that two writers cannot wait for each other
_MAKE_PARTITIONS = """
SELECT pgstac.check_partition($1, starts, ends)
FROM (
    SELECT tstzrange(min(lower(span)), max(lower(span)), '[]') AS starts,
        tstzrange(min(upper(span)), max(upper(span)), '[]') AS ends
    FROM pgstac.collections AS known,
        jsonb_array_elements($2::text::jsonb) AS document,
        pgstac.stac_daterange(document->'properties') AS span
    WHERE known.id = $1
    GROUP BY date_trunc(known.partition_trunc, lower(span), 'UTC')
    ORDER BY 1
) AS partitions
"""
_INSERT = """
INSERT INTO pgstac.items (id, collection, geometry, datetime, end_datetime, content)
SELECT written->>'id', $1, pgstac.stac_geom(written), pgstac.stac_datetime(written), pgstac.stac_end_datetime(written),
    written->'content'
FROM jsonb_array_elements($2::text::jsonb) AS written
"""
# members of an item that are columns of their own
_COLUMNS = ("id", "collection", "geometry")
_TIMES = ("datetime", "start_datetime", "end_datetime")


class CatalogWriter:
    """Writes one collection and its items over a connection of the writer's that is in a transaction."""

    def __init__(self, connection: AsyncConnection, collection: str) -> None:
        self._connection = connection
        self._collection = collection
        self._changed = False

    async def lock_items(self) -> None:
        """Be the only one to write items of the collection until the transaction ends.

        Raises:
            NotFound: there is no such collection.
        """
        await self._connection.execute(_LOCK, self._collection, SHARDS)
        if await self._connection.fetchval(_SHARE_COLLECTION, self._collection) is None:
            raise NotFound(f"there is no collection {self._collection!r}")

    async def lock_collection(self) -> None:
        """Be the only one to write the collection's own document until the transaction ends.

        Raises:
            NotFound: there is no such collection.
        """
        if await self._connection.fetchval(_LOCK_COLLECTION, self._collection) is None:
            raise NotFound(f"there is no collection {self._collection!r}")

    async def collection(self) -> dict[str, Any]:
        """The collection as it is stored; there must be one."""
        document: dict[str, Any] = await self._connection.fetchval(_COLLECTION, self._collection)
        return document

    async def items(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there, as they were stored, by id."""
        found, bases = {}, {}
        for item, content, geometry in await self._connection.fetch(_ITEMS, self._collection, ids):
            tag = tag_of(content)
            if tag not in bases:
                bases[tag] = BaseItem(await self._connection.fetchval(_BASE_ITEM, self._collection, tag))
            own = {"id": item, "collection": self._collection, "geometry": geometry}
            found[item] = {"type": "Feature", **hydrated(content, bases[tag]), **own}
        return found

    async def present(self, ids: Sequence[str]) -> list[str]:
        """Which of these items are there."""
        return [row[0] for row in await self._connection.fetch(_PRESENT, self._collection, ids)]

    async def create_collection(self, document: dict[str, Any]) -> None:
        """Write a collection that is not there yet.

        Raises:
            asyncpg.UniqueViolationError: it is.
        """
        await self._connection.execute(_CREATE_COLLECTION, _json(document))
        self._changed = True

    async def update_collection(self, document: dict[str, Any]) -> None:
        """Write another document for a collection that is there."""
        await self._connection.execute(_UPDATE_COLLECTION, _json(document))
        self._changed = True

    async def delete_collection(self) -> None:
        """Delete the collection with all of its items."""
        await self._connection.execute(_DELETE_COLLECTION, self._collection)
        self._changed = True

    async def insert_items(self, documents: Sequence[dict[str, Any]]) -> None:
        """Write items none of which is there.

        Raises:
            Conflict: another writer came between, one that does not know of the locks.
        """
        if not documents:
            return
        current = await self._connection.fetchrow(_CURRENT_BASE_ITEM, self._collection)
        base_item, tag = current or (None, None)
        base = BaseItem(base_item).document
        text = _json([_row(document, base, tag) for document in documents])
        await self._connection.execute(_MAKE_PARTITIONS, self._collection, text)
        if _count(await self._connection.execute(_INSERT, self._collection, text)) != len(documents):
            raise Conflict("the items were not written, because something else is writing them: try again")
        self._changed = True

    async def delete_items(self, ids: Sequence[str]) -> int:
        """Delete these items with all of their versions; returns how many rows it were."""
        deleted = _count(await self._connection.execute(_DELETE, self._collection, ids)) if ids else 0
        self._changed = self._changed or deleted > 0
        return deleted

    async def raise_revision(self) -> None:
        """Say that the collection has changed, if it has."""
        if self._changed:
            await self._connection.fetchval(RAISE_REVISION.format(placeholder="$1"), self._collection)


def _row(document: dict[str, Any], base_item: dict[str, Any], tag: int | None) -> dict[str, Any]:
    """What the database needs of an item: what its columns are made of, and what pgSTAC keeps as its content."""
    content = {name: value for name, value in document.items() if name not in _COLUMNS}
    base = {name: value for name, value in base_item.items() if name not in _COLUMNS}
    dehydrate(base, content)
    if tag is not None:
        content["pgstac:base_item"] = tag
    times = {name: document["properties"].get(name) for name in _TIMES}
    return {"id": document["id"], "geometry": document["geometry"], "properties": times, "content": content}


def _json(document: Any) -> str:
    return orjson.dumps(document).decode()


def _count(tag: str) -> int:
    """Of a command tag as PostgreSQL answers INSERT and DELETE: its last word."""
    return int(tag.rpartition(" ")[2])
