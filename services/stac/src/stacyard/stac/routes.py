"""The routes that clients call most, searches and items: from the request to bytes with nothing between.

They stand before those of stac-fastapi, which describe them in the OpenAPI definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, quote

import asyncpg
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stacyard.core.access import check_read
from stacyard.core.cache import AnswerCache
from stacyard.core.database import AsyncConnection
from stacyard.core.entity_tag import CatalogTags, made_by, not_modified
from stacyard.core.errors import InvalidRequest, NotFound
from stacyard.core.pgstac import BaseItems
from stacyard.core.pgstac_count import Count, Counting, count_items
from stacyard.core.pgstac_pages import Catalog, has_collection, read_one, read_page
from stacyard.core.revision import RevisionPoll
from stacyard.stac.answers import GEOJSON, Asked, feature, feature_collection
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.bounds import check_bounds
from stacyard.stac.connections import GetConnection
from stacyard.stac.items import ItemPublisher, Looks
from stacyard.stac.publishing import api_of, origin_of
from stacyard.stac.search import Fields, ItemSearch, parameters_of, search_of
from stacyard.stac.settings import StacSettings


@dataclass(kw_only=True)
class ItemRoutes:
    """Answers searches and reads of items.

    Args:
        settings: of the service.
        connect: lends connections of the reader.
        assets: publishes hrefs.
        revisions: of the catalog, which decide how long an answer is good for.
    """

    settings: StacSettings
    connect: GetConnection
    assets: AssetPublisher
    revisions: RevisionPoll
    catalog: Catalog = field(default_factory=lambda: Catalog(base_items=BaseItems(seconds=5.0)))
    counting: Counting = field(default_factory=Counting)

    def __post_init__(self) -> None:
        """What follows from the settings."""
        self.looks = Looks(self.settings.linked_services)
        self.tags = CatalogTags(
            revisions=self.revisions, made_by=made_by("stacyard-core", "stacyard-stac", settings=[self.settings])
        )
        self.answers: AnswerCache[bytes] = AnswerCache(most_bytes=self.settings.result_cache_mb * 2**20, size=len)
        self._known_states: Mapping[str, int] = {}

    def routes(self) -> Sequence[BaseRoute]:
        """Routes to be put before those of stac-fastapi."""
        return [
            Route("/search", _Answer(self.search), methods=["GET", "POST"]),
            Route("/collections/{collection_id}/items", _Answer(self.items), methods=["GET"]),
            Route("/collections/{collection_id}/items/{item_id}", _Answer(self.item), methods=["GET"]),
        ]

    async def search(self, request: Request) -> Response:
        """`GET` and `POST /search`."""
        if request.method == "POST":
            body = await _body(request)
            return await self._page(request, body, Asked(api=api_of(request), path="search", body=body))
        pairs = _pairs(request)
        return await self._page(request, parameters_of(pairs), Asked(api=api_of(request), path="search", pairs=pairs))

    async def items(self, request: Request) -> Response:
        """`GET /collections/{id}/items`."""
        collection, pairs = request.path_params["collection_id"], _pairs(request)
        path = f"collections/{quote(collection)}/items"
        asked = Asked(api=api_of(request), path=path, collection=collection, pairs=pairs)
        return await self._page(request, parameters_of(pairs), asked)

    async def item(self, request: Request) -> Response:
        """`GET /collections/{id}/items/{id}`."""
        return await self.get_item(request, request.path_params["collection_id"], request.path_params["item_id"])

    async def get_item(self, request: Request, collection: str, item: str) -> Response:
        """An item by its id.

        Raises:
            NotFound: there is none, or no such collection.
        """
        check_read(request, collection=collection, item=item)
        with understandable():
            async with self.connect(request) as connection:
                row = await read_one(connection, self.catalog.base_items, collection, item)
                if row is None:
                    await _check_collection(connection, collection)
                    raise NotFound(f"Item {item} in Collection {collection} does not exist.")
                publisher = await self._publisher(request, connection, {collection})
        return Response(feature(publisher, row), media_type=GEOJSON)

    async def _page(self, request: Request, parameters: Mapping[str, Any], asked: Asked) -> Response:
        check_bounds(parameters, self.settings.search)
        search = search_of(parameters, page_limit=self.settings.page_limit, collection=asked.collection)
        collections = search.page.items.collections
        for collection in collections:
            check_read(request, collection=collection)
        await self._forget_what_changed()
        tag = await self.tags.of(
            request,
            collections=collections or None,
            body=orjson.dumps(asked.body) if asked.body is not None else b"",
            edition=self.assets.edition,
        )
        unchanged = not_modified(request, tag)
        if unchanged is not None:
            return unchanged
        content = await self.answers.get(tag, partial(self._make_page, request, search, asked))
        return Response(content, media_type=GEOJSON, headers={"ETag": tag})

    async def _forget_what_changed(self) -> None:
        """So that no answer is made of something older than its tag says."""
        states = await self.revisions.all()
        if states is not self._known_states:
            if states != self._known_states:
                self.catalog.clear()
            self._known_states = states

    async def _make_page(self, request: Request, search: ItemSearch, asked: Asked) -> bytes:
        with understandable():
            async with self.connect(request) as connection:
                page = await read_page(connection, self.catalog, search.page)
                if not page.rows and asked.collection is not None:
                    await _check_collection(connection, asked.collection)
                count = await self._count(connection, search)
                collections = {row.collection for row in page.rows}
                publisher = await self._publisher(request, connection, collections, search.fields)
        return feature_collection(page, publisher, asked, count)

    async def _count(self, connection: AsyncConnection, search: ItemSearch) -> Count | None:
        if not search.count and not await self.counting.is_on(connection):
            return None
        items = search.page.items
        queryables = await self.catalog.queryables.of(connection, items.names(), items.collections)
        return await count_items(connection, items, queryables)

    async def _publisher(
        self, request: Request, connection: AsyncConnection, collections: set[str], fields: Fields | None = None
    ) -> ItemPublisher:
        api = api_of(request)
        return ItemPublisher(
            api=api,
            origin=origin_of(api),
            assets=self.assets,
            looks=self.looks,
            collections=await self.catalog.documents.of(connection, collections),
            fields=fields,
        )


class _Answer:
    """A method as the application of a route: Starlette wraps functions in more than is needed here."""

    def __init__(self, method: Any) -> None:
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._method(Request(scope, receive))
        await response(scope, receive, send)


@contextmanager
def understandable() -> Iterator[None]:
    """What the database cannot make sense of is the client's to change."""
    try:
        yield
    except (asyncpg.DataError, asyncpg.RaiseError, asyncpg.SyntaxOrAccessError) as error:
        raise InvalidRequest(f"this search cannot be made: {error.args[0]}") from error


def _pairs(request: Request) -> list[tuple[str, str]]:
    try:
        text = request.scope["query_string"].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError as error:
        raise InvalidRequest(f"the query string cannot be read: {error}") from error


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", parameter="body") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body of a search is a JSON object", parameter="body")
    return body


async def _check_collection(connection: AsyncConnection, collection: str) -> None:
    if not await has_collection(connection, collection):
        raise NotFound(f"Collection {collection} does not exist.")
