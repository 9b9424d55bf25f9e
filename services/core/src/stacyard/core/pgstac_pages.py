"""A page of items straight from pgSTAC's table: one statement with parameters, which writes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac import BaseItems
from stacyard.core.pgstac_documents import CollectionDocuments, Document
from stacyard.core.pgstac_hydration import BaseItem, StoredItem
from stacyard.core.pgstac_order import NEWEST_FIRST, Position, SortKey, behind, keys_of, order_by
from stacyard.core.pgstac_queryables import Queryable, Queryables
from stacyard.core.pgstac_steps import ALWAYS, Steps, Window
from stacyard.core.pgstac_where import ItemQuery, where_of
from stacyard.core.statement import Values

# both texts in one expression, which is dear enough to the planner to be made after sorting, of the page's rows alone;
# that of the content by itself would be made of every row that is sorted. Digits are as many as pgSTAC writes.
_COLUMNS = "id, collection, ARRAY[content::text, ST_AsGeoJSON(geometry, 20)]"
_ITEM = f"SELECT {_COLUMNS} FROM pgstac.items WHERE collection = $1 AND id = $2 LIMIT 1"  # noqa: S608 - a constant
_TIES = ("collection", "id")
# what has the words is found by their index before it is sorted: in the order of time, every item would be looked at
_FOUND_FIRST = """
WITH found AS MATERIALIZED (SELECT {found} FROM pgstac.items WHERE {where}),
page AS (SELECT *, row_number() OVER (ORDER BY {order}) AS place FROM found ORDER BY place LIMIT {rows})
SELECT {columns} FROM page JOIN pgstac.items USING (collection, id) ORDER BY place
"""
_HAS_COLLECTION = "SELECT EXISTS (SELECT FROM pgstac.collections WHERE id = $1)"
_BASE_ITEM = "SELECT pgstac.collection_base_item($1, $2)"


@dataclass(frozen=True, kw_only=True)
class PageQuery:
    """Which items, and which of them.

    Args:
        items: which items the search is about.
        limit: how many at the most.
        sort: their order; nothing: the newest first.
        start: only what comes behind this in that order; with `backwards` what comes before it, the nearest. Without
            values it stands for where the item of this id is now.
        backwards: see there.
    """

    items: ItemQuery = field(default_factory=ItemQuery)
    limit: int
    sort: Sequence[SortKey] = ()
    start: Position | None = None
    backwards: bool = False


@dataclass(frozen=True, kw_only=True)
class Row:
    """A stored item of a page: its ids, its content, its geometry as GeoJSON text, and its base item."""

    item: str
    collection: str
    stored: StoredItem
    geometry: str
    base: BaseItem


@dataclass(frozen=True, kw_only=True)
class Page:
    """Items in the order of the search, the documents of their collections, and where the walk goes on to either side.

    None: there are no more there.
    """

    rows: list[Row]
    collections: Mapping[str, Document]
    before: Position | None
    behind: Position | None


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """What is known of the database between searches."""

    base_items: BaseItems
    queryables: Queryables = field(default_factory=Queryables)
    steps: Steps = field(default_factory=Steps)
    documents: CollectionDocuments = field(default_factory=CollectionDocuments)

    def clear(self) -> None:
        """Know nothing any more that could be out of date since something was written."""
        for known in (self.base_items, self.queryables, self.documents):
            known.clear()


def statement_of(
    query: PageQuery, queryables: Mapping[str, Queryable], window: Window = ALWAYS, *, limit: int | None = None
) -> tuple[str, list[Any]]:
    """SQL and its parameters.

    Args:
        query: which items.
        queryables: what the names in it mean.
        window: only what begins in it.
        limit: how many rows; else one more than the page holds, to know whether there are more.

    Raises:
        InvalidRequest: the query cannot be made.
    """
    values = Values()
    keys = keys_of(query.sort, queryables, values)
    conditions = [where_of(query.items, queryables, values)]
    if query.start is not None:
        conditions.append(behind(keys, query.start, values, backwards=query.backwards))
    if window.first is not None:
        conditions.append(f"datetime >= {values.add(window.first, 'timestamptz')}")
    if window.end is not None:
        conditions.append(f"datetime < {values.add(window.end, 'timestamptz')}")
    rows = values.add(query.limit + 1 if limit is None else limit, "bigint")
    where = " AND ".join(conditions)
    own = [key for key in keys if key.expression not in _TIES]
    if query.items.text is None:
        columns = ", ".join([_COLUMNS, *(key.selected for key in own)])
        order = order_by(keys, backwards=query.backwards)
        # no value is in it
        return f"SELECT {columns} FROM pgstac.items WHERE {where} ORDER BY {order} LIMIT {rows}", values.all  # noqa: S608
    named = {key.expression: replace(key, expression=f"key_{number}") for number, key in enumerate(own)}
    statement = _FOUND_FIRST.format(
        found=", ".join([*_TIES, *(f"{expression} AS {key.expression}" for expression, key in named.items())]),
        where=where,
        order=order_by([named.get(key.expression, key) for key in keys], backwards=query.backwards),
        rows=rows,
        columns=", ".join([_COLUMNS, *(named[key.expression].selected for key in own)]),
    )
    return statement, values.all


async def read_page(connection: AsyncConnection, catalog: Catalog, query: PageQuery) -> Page:
    """The page.

    Raises:
        InvalidRequest: the query cannot be made.
        asyncpg.PostgresError: the database cannot make sense of a value in it.
    """
    query, queryables = await _prepared(connection, catalog, query)
    rows = await _rows(connection, catalog.steps, query, queryables)
    more, rows = len(rows) > query.limit, rows[: query.limit]
    if query.backwards:
        rows.reverse()
    # an empty page leads back to where it was asked from, and no further
    first = _position(rows[0]) if rows else query.start
    last = _position(rows[-1]) if rows else None
    return Page(
        rows=[await _row(connection, catalog.base_items, row) for row in rows],
        collections=await catalog.documents.of(connection, {row[1] for row in rows}),
        # where we came from there is at least what we came from
        before=first if (more if query.backwards else query.start is not None) else None,
        behind=last if query.backwards or more else None,
    )


async def count_rows(connection: AsyncConnection, catalog: Catalog, query: PageQuery) -> int:
    """How many items a walk from the page on would meet, counted up to one more than the page holds.

    Raises:
        InvalidRequest, asyncpg.PostgresError: as `read_page`.
    """
    query, queryables = await _prepared(connection, catalog, query)
    statement, values = statement_of(query, queryables)
    counted: int = await connection.fetchval(f"SELECT count(*) FROM ({statement}) AS rows", *values)  # noqa: S608 - as there
    return counted


async def read_one(connection: AsyncConnection, base_items: BaseItems, collection: str, item: str) -> Row | None:
    """One stored item; None if there is none."""
    row = await connection.fetchrow(_ITEM, collection, item)
    return None if row is None else await _row(connection, base_items, row)


async def has_collection(connection: AsyncConnection, collection: str) -> bool:
    """Whether there is a collection of this id."""
    found: bool = await connection.fetchval(_HAS_COLLECTION, collection)
    return found


async def _prepared(
    connection: AsyncConnection, catalog: Catalog, query: PageQuery
) -> tuple[PageQuery, Mapping[str, Queryable]]:
    """The query with its start looked up, and what the names in it mean."""
    sort = query.sort or NEWEST_FIRST
    meaning, collections = catalog.queryables.of, query.items.collections
    queryables = {
        **await meaning(connection, query.items.names(), collections),
        **await meaning(connection, {key.name for key in sort}, collections, parameter="sortby"),
    }
    valued = any(queryables[key.name].column not in _TIES for key in sort)
    if query.start is not None and valued and not query.start.values:
        query = replace(query, start=await _found(connection, query, queryables, query.start))
    return query, queryables


async def _rows(
    connection: AsyncConnection, steps: Steps, query: PageQuery, queryables: Mapping[str, Queryable]
) -> list[Any]:
    first = (query.sort or NEWEST_FIRST)[0]
    if queryables[first.name].column != "datetime":
        statement, values = statement_of(query, queryables)
        return list(await connection.fetch(statement, *values))
    ascending = first.ascending is not query.backwards
    windows = await steps.windows(
        connection,
        query.items.collections,
        query.limit,
        ascending=ascending,
        bound=_bound(query, ascending=ascending),
        until=query.items.last if ascending else query.items.first,
        fine=_is_by_properties_alone(query.items),
    )
    rows: list[Any] = []
    for window in windows:
        statement, values = statement_of(query, queryables, window, limit=query.limit + 1 - len(rows))
        rows += await connection.fetch(statement, *values)
        if len(rows) > query.limit:
            break
    return rows


def _is_by_properties_alone(items: ItemQuery) -> bool:
    """Whether the planner knows next to nothing of how many items there are: ids, places and words it does know."""
    others = (items.ids, items.geometry, items.text)
    return items.filter is not None and not items.boxes and all(each is None for each in others)


def _bound(query: PageQuery, *, ascending: bool) -> datetime | None:
    """The time that what is asked for begins at the earliest, or at the latest if the newest come first."""
    at = query.start.values[0] if query.start is not None else None
    bounds = [time for time in (at, None if ascending else query.items.last) if isinstance(time, datetime)]
    return min(bounds, default=None)


async def _found(
    connection: AsyncConnection, query: PageQuery, queryables: Mapping[str, Queryable], start: Position
) -> Position:
    """Where the item that a page token names is now."""
    values = Values()
    keys = [key for key in keys_of(query.sort, queryables, values) if key.expression not in _TIES]
    row = await connection.fetchrow(
        f"SELECT {', '.join(key.selected for key in keys)} FROM pgstac.items"  # noqa: S608 - no value in it
        f" WHERE collection = {values.add(start.collection, 'text')} AND id = {values.add(start.item, 'text')} LIMIT 1",
        *values.all,
    )
    if row is None:
        raise InvalidRequest("the item of this page token is gone; begin the search anew", parameter="token")
    return start._replace(values=tuple(row))


def _position(row: Any) -> Position:
    item, collection, _, *values = row
    return Position(tuple(values), collection, item)


async def _row(connection: AsyncConnection, base_items: BaseItems, row: Any) -> Row:
    item, collection, (content, geometry), *_ = row
    stored = StoredItem(content)
    base = base_items.known(collection, stored.tag)
    if base is None:
        base = base_items.keep(collection, stored.tag, await connection.fetchval(_BASE_ITEM, collection, stored.tag))
    return Row(item=item, collection=collection, stored=stored, geometry=geometry, base=base)
