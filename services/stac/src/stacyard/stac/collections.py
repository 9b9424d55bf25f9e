"""Search of collections: from the parameters of `GET /collections` to a query, and from its page to the document.

https://github.com/stac-api-extensions/collection-search
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus, urljoin

import orjson
from fastapi import Request
from stac_fastapi.pgstac.models.links import INFERRED_LINK_RELS, BaseLinks, merge_params
from stac_fastapi.types.requests import get_base_url
from stac_pydantic.links import Relations
from stac_pydantic.shared import MimeTypes
from starlette.responses import Response

from stacyard.core.access import may_read
from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_collections import CollectionPage, CollectionQuery, read_collections
from stacyard.core.pgstac_filters import names_in
from stacyard.core.pgstac_order import SortKey
from stacyard.core.pgstac_text import text_query
from stacyard.core.places import boxes_of
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.filters import filter_of
from stacyard.stac.search import DEFAULT_LIMIT, interval_of

_LAST_OFFSET = 2**31 - 1
#: Properties that a search may be sorted by, and members that it may choose of a document.
_SORTED, _CHOSEN = 10, 100


async def answer_collections(
    request: Request, connection: AsyncConnection, *, page_limit: int, **parameters: Any
) -> Response:
    """The answer to `GET /collections`.

    Args:
        request: what asks, for its links and for who may read what.
        connection: of a role that may read.
        page_limit: how many collections a page may hold at the most.
        parameters: of the request, as upstream's model has read them.

    Raises:
        InvalidRequest: they ask for what cannot be found.
    """
    query = collection_query(page_limit=page_limit, **parameters)
    page = await read_collections(connection, query)
    return Response(orjson.dumps(await _document(request, query, page)), media_type=MimeTypes.json.value)


def collection_query(
    *,
    page_limit: int,
    bbox: Sequence[float] | None = None,
    datetime: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
    query: str | None = None,
    q: Sequence[str] | None = None,
    fields: Sequence[str] | None = None,
    sortby: Sequence[str] | None = None,
    filter_expr: str | None = None,
    filter_lang: str | None = None,
    **_: Any,
) -> CollectionQuery:
    """What the parameters ask for.

    Raises:
        InvalidRequest: they ask for what cannot be found.
    """
    if query and filter_expr:
        raise InvalidRequest("give either a query or a filter, not both", parameter="query")
    if offset is not None and not 0 <= offset <= _LAST_OFFSET:
        raise InvalidRequest(f"offset is from 0 to {_LAST_OFFSET}, not {offset}", parameter="offset")
    first, last = interval_of(datetime)
    return CollectionQuery(
        limit=min(limit or DEFAULT_LIMIT, page_limit),
        offset=offset or 0,
        boxes=boxes_of(bbox) if bbox else (),
        first=first,
        last=last,
        text=text_query(q) if q else None,
        filter=_filter(query, filter_expr, filter_lang),
        order=_order(sortby or ()),
        fields=_fields(fields or ()),
    )


def _filter(query: str | None, text: str | None, language: str | None) -> dict[str, Any]:
    """What pgSTAC makes a condition of."""
    if text:
        filter_ = filter_of(text, language, None)
        # pgSTAC makes a condition of it, and recurses
        names_in(filter_)
        return {"filter": filter_}
    if not query:
        return {}
    conditions = orjson.loads(unquote_plus(query))
    if not isinstance(conditions, dict) or not all(isinstance(each, dict) for each in conditions.values()):
        raise InvalidRequest('query is an object of objects, such as {"license": {"eq": "CC0-1.0"}}', parameter="query")
    return {"query": conditions}


def _order(sortby: Sequence[str]) -> list[SortKey]:
    if len(sortby) > _SORTED:
        raise InvalidRequest(f"sort by no more than {_SORTED} properties", parameter="sortby")
    # an unescaped plus sign arrives as a space
    return [SortKey(each.lstrip("+- "), not each.startswith("-")) for each in sortby]


def _fields(fields: Sequence[str]) -> dict[str, list[str]]:
    if len(fields) > _CHOSEN:
        raise InvalidRequest(f"name no more than {_CHOSEN} fields", parameter="fields")
    chosen: dict[str, list[str]] = {"include": [], "exclude": []}
    for each in fields:
        chosen["exclude" if each.startswith("-") else "include"].append(each.lstrip("+- "))
    return {which: [name for name in names if name] for which, names in chosen.items() if any(names)}


async def _document(request: Request, query: CollectionQuery, page: CollectionPage) -> dict[str, Any]:
    base_url, publisher = get_base_url(request), DocumentPublisher.of(request)
    collections = [
        publisher.collection({**collection, "links": _links(base_url, identifier, collection)})
        for identifier, collection in page.collections
        if may_read(request, collection=identifier)
    ]
    for collection in collections:
        # of pgSTAC's catalogs, which are not served
        collection.pop("parent_ids", None)
    return {
        "collections": collections,
        "links": await _page_links(request, query, page.matched),
        "numberMatched": page.matched,
        "numberReturned": len(collections),
    }


def _links(base_url: str, identifier: str, collection: dict[str, Any]) -> list[dict[str, Any]]:
    """Upstream's links of a collection, whose way to them takes longer than the search."""
    own, plain = f"{base_url}collections/{identifier}", MimeTypes.json.value
    stored = [link for link in collection.get("links") or () if link["rel"] not in INFERRED_LINK_RELS]
    return [
        {"rel": "items", "type": MimeTypes.geojson.value, "href": f"{own}/items"},
        {"rel": "parent", "type": plain, "href": base_url},
        {"rel": "root", "type": plain, "href": base_url},
        {"rel": "self", "type": plain, "href": own},
        *({**link, "href": urljoin(base_url, link["href"])} for link in stored),
        {
            "rel": Relations.queryables.value,
            "type": MimeTypes.jsonschema.value,
            "title": "Queryables",
            "href": f"{own}/queryables",
        },
    ]


async def _page_links(request: Request, query: CollectionQuery, matched: int) -> list[dict[str, Any]]:
    """Links of the page to the catalog, to itself, to the page behind it and to the one before."""
    known = BaseLinks(request=request)
    links: list[dict[str, Any]] = await known.get_links()
    pages = {}
    if query.offset + query.limit < matched:
        pages["next"] = query.offset + query.limit
    if query.offset:
        # from beyond the end, to the last page there is
        pages["prev"] = max(0, min(query.offset, matched) - query.limit)
    for relation, offset in pages.items():
        href = merge_params(known.url, {"offset": offset or []})
        links.append({"rel": relation, "type": MimeTypes.json.value, "method": "GET", "href": href})
    return links
