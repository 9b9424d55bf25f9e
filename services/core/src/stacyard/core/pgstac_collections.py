"""A page of collections: one statement with parameters, which writes nothing.

It looks at `stacyard.collection_search`, which triggers keep beside pgSTAC's table, and reads whole only the documents
of the page. Filters and orders other than by time and id are SQL that pgSTAC makes of them, with every value quoted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_order import NEWEST_FIRST, SortKey
from stacyard.core.pgstac_text import COLLECTION_HAS_WORDS
from stacyard.core.places import Box, meets_any
from stacyard.core.statement import Values

_CLAUSES = """
SELECT
    pgstac.stac_search_to_where($1::jsonb),
    ARRAY(
        SELECT (pgstac.queryable(name)).expression
        FROM unnest($2::text[]) WITH ORDINALITY AS of (name, place) ORDER BY place
    )
"""
# what needs none of pgSTAC's advice to sort by
_COLUMNS = {"id": "id", "datetime": "datetime"}
# the columns that pgSTAC's clauses name; a property of a collection is to them one of an item
_SEARCHED = """(
    SELECT key, id, 'collections' AS collection, geometry, datetime, end_datetime, properties, words
    FROM stacyard.collection_search
) AS collections"""
_PROPERTY, _OUR_PROPERTY = "content->'properties'->", "properties->"
# where they ask for what our table leaves out; slow
_WHOLE = """(
    SELECT key, id, collection, searched.geometry, searched.datetime, searched.end_datetime, whole.content, words
    FROM stacyard.collection_search AS searched JOIN pgstac.collections_asitems AS whole USING (id)
) AS collections"""
_LEFT_OUT = ("content->", "properties->'item_assets'")


@dataclass(frozen=True, kw_only=True)
class CollectionQuery:
    """Which collections, and which of them.

    Args:
        limit: how many at the most.
        offset: how many to pass over.
        boxes: its extent meets one of these: west, south, east, north in degrees, west not greater than east; empty:
            anywhere.
        first: ends then or later.
        last: begins then or before.
        text: has these words, as `text_query` writes them.
        filter: members of a search that pgSTAC makes a condition of: `filter` or `query`.
        order: the first counts most; empty: the latest to begin first.
        fields: `include` and `exclude`, as pgSTAC takes them; empty: whole documents.
    """

    limit: int
    offset: int = 0
    boxes: Sequence[Box] = ()
    first: datetime | None = None
    last: datetime | None = None
    text: str | None = None
    filter: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[SortKey] = ()
    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CollectionPage:
    """Ids and documents as they are stored, in order, and how many the query matches."""

    collections: list[tuple[str, dict[str, Any]]]
    matched: int


async def read_collections(connection: AsyncConnection, query: CollectionQuery) -> CollectionPage:
    """The page.

    Raises:
        InvalidRequest: pgSTAC or the database cannot make sense of the filter or the order.
    """
    order = query.order or NEWEST_FIRST
    with _understandable(query):
        where, keys = await _clauses(connection, query, order)
        statement, values = statement_of(query, where, order, keys)
        rows = await connection.fetch(statement, *values)
    # a page of none is one row that says how many match
    return CollectionPage(collections=[(row[1], row[2]) for row in rows if row[1] is not None], matched=rows[0][0])


async def _clauses(
    connection: AsyncConnection, query: CollectionQuery, order: Sequence[SortKey]
) -> tuple[str, list[str]]:
    """The filter and the keys of the order as SQL."""
    known = [_COLUMNS[each.name] for each in order if each.name in _COLUMNS]
    if not query.filter and len(known) == len(order):
        return "TRUE", known
    row = await connection.fetchrow(_CLAUSES, query.filter, [each.name for each in order])
    assert row is not None  # noqa: S101 - a SELECT without FROM always returns one row
    for each, key in zip(order, row[1], strict=True):
        if key is None:
            raise InvalidRequest(f"{each.name!r} is no name of a property to sort by", parameter="sortby")
    return row[0], row[1]


def statement_of(
    query: CollectionQuery, where: str, order: Sequence[SortKey], keys: Sequence[str]
) -> tuple[str, list[Any]]:
    """SQL and its parameters.

    Args:
        query: what is asked for.
        where: its filter, as SQL that pgSTAC made.
        order: what to sort by.
        keys: the same as SQL that pgSTAC made.
    """
    values = Values()
    # a quotation mark within a literal is two, so that no literal holds this
    where_here, *keys_here = (clause.replace(_PROPERTY, _OUR_PROPERTY) for clause in (where, *keys))
    relation = _SEARCHED
    if any(path in clause for path in _LEFT_OUT for clause in (where_here, *keys_here)):
        relation, where_here, keys_here = _WHOLE, where, list(keys)

    conditions = [f"({where_here})"]
    if query.last is not None:
        conditions.append(f"datetime <= {values.add(query.last, 'timestamptz')}")
    if query.first is not None:
        conditions.append(f"end_datetime >= {values.add(query.first, 'timestamptz')}")
    if query.boxes:
        conditions.append(meets_any(query.boxes, values))
    if query.text is not None:
        conditions.append(COLLECTION_HAS_WORDS.format(placeholder=values.add(query.text, "text")))
    directions = ["ASC" if each.ascending else "DESC" for each in order]
    # as pgSTAC does, so that no two collections are in the same place
    sorting = ", ".join(f"key_{n} {direction}" for n, direction in enumerate(directions)) + f", id {directions[0]}"
    document = f"pgstac.jsonb_fields(content, {values.add(query.fields, 'jsonb')})" if query.fields else "content"
    statement = f"""
    WITH found AS MATERIALIZED (
        SELECT key, id, {", ".join(f"{key} AS key_{n}" for n, key in enumerate(keys_here))}
        FROM {relation}
        WHERE {" AND ".join(conditions)}
    ), page AS (
        SELECT key, id, row_number() OVER () AS place
        FROM (
            SELECT key, id FROM found ORDER BY {sorting}
            LIMIT {values.add(query.limit, "bigint")} OFFSET {values.add(query.offset, "bigint")}
        ) AS sorted
    )
    SELECT matched, page.id, (SELECT {document} FROM pgstac.collections WHERE collections.key = page.key)
    FROM (SELECT count(*) AS matched FROM found) AS counted LEFT JOIN page ON true
    ORDER BY place
    """  # noqa: S608 - clauses come from pgSTAC, which quotes every value; the others are parameters
    return statement, values.all


@contextmanager
def _understandable(query: CollectionQuery) -> Iterator[None]:
    """What pgSTAC or the database cannot make sense of in a filter or an order is the client's to change."""
    try:
        yield
    except (
        asyncpg.DataError,
        asyncpg.RaiseError,
        asyncpg.SyntaxOrAccessError,
        asyncpg.ProgramLimitExceededError,
        # PostGIS's word for a geometry that is none
        asyncpg.InternalServerError,
    ) as error:
        if not query.filter and not query.order:
            raise
        raise InvalidRequest(f"this search cannot be made: {error.args[0]}") from error
