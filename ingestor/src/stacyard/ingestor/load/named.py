"""Which stored assets the items of the catalog name.

Assets are told apart by their last three path segments, `collection/item/name`, because the same asset is also named
by its public URL: in a catalog that was copied from this one, for example.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import LiteralString
from urllib.parse import quote, unquote

from stacyard.ingestor.session import Connection

# alternates and links name assets too
_TAIL: LiteralString = "substring(split_part(href #>> '{}', '?', 1) FROM '[^/]+/[^/]+/[^/]+$')"
_BY_ITEMS: LiteralString = f"""
SELECT DISTINCT {_TAIL} FROM pgstac.items AS item, jsonb_path_query(item.content, '$.**.href') AS href
WHERE item.collection = %(collection)s AND item.id = ANY (%(ids)s::text[])
"""  # noqa: S608 - a constant of this module, no value
_BY_ANY: LiteralString = f"""
SELECT DISTINCT tail FROM (
    SELECT {_TAIL} AS tail FROM pgstac.items AS item, jsonb_path_query(item.content, '$.**.href') AS href
    UNION ALL
    SELECT {_TAIL} FROM pgstac.collections AS collection, jsonb_path_query(collection.content, '$.**.href') AS href
) AS named WHERE tail = ANY (%(tails)s::text[])
"""  # noqa: S608 - a constant of this module, no value


def named_by_items(connection: Connection, collection: str, ids: Collection[str]) -> set[str]:
    """What these items of a collection name, as `collection/item/name` without percent-encoding."""
    rows = connection.execute(_BY_ITEMS, {"collection": collection, "ids": list(ids)})
    return {unquote(tail) for (tail,) in rows if tail}


def named_by_any(connection: Connection, tails: Iterable[str]) -> set[str]:
    """Which of these assets, given as `collection/item/name`, any item or collection of the catalog names.

    It reads the whole catalog, once.
    """
    # as whoever wrote the href may have encoded it
    forms = {form for tail in tails for form in (tail, quote(tail), quote(tail, safe="/ ()+,:;=@~!$&'*-._"))}
    return {unquote(tail) for (tail,) in connection.execute(_BY_ANY, {"tails": list(forms)})}
