"""The routes that clients call most, searches and items: from the request to bytes with nothing between.

They stand before those of stac-fastapi, which describe them in the OpenAPI definition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stacyard.core.access import check_read
from stacyard.core.database import AsyncConnection
from stacyard.core.errors import NotFound
from stacyard.core.pgstac_count import Count, Counting, count_items
from stacyard.core.pgstac_pages import Catalog, read_one, read_page
from stacyard.stac.answers import GEOJSON, Asked, feature, feature_collection
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.bounds import check_bounds
from stacyard.stac.connections import GetConnection
from stacyard.stac.export import Exports, Places, export_of
from stacyard.stac.formats.form import form_of
from stacyard.stac.items import ItemPublisher, Looks
from stacyard.stac.publishing import api_of, origin_of
from stacyard.stac.requests import Answer, body_of, check_collection, pairs_of, understandable
from stacyard.stac.search import Fields, ItemSearch, parameters_of, search_of
from stacyard.stac.settings import StacSettings
from stacyard.stac.tagged import TaggedAnswers

# of forms
_VARY = {"Vary": "Accept"}


@dataclass(kw_only=True)
class ItemRoutes:
    """Answers searches and reads of items.

    Args:
        settings: of the service.
        connect: lends connections of the reader.
        assets: publishes hrefs.
        catalog: what is known of the database.
        answers: keeps answers to searches.
    """

    settings: StacSettings
    connect: GetConnection
    assets: AssetPublisher
    catalog: Catalog
    answers: TaggedAnswers
    counting: Counting = field(default_factory=Counting)

    def __post_init__(self) -> None:
        """What follows from the settings."""
        self.looks = Looks(self.settings.linked_services)
        places = Places(self.settings.exports_at_once)
        self.exports = Exports(settings=self.settings, connect=self.connect, catalog=self.catalog, places=places)

    def routes(self) -> Sequence[BaseRoute]:
        """Routes to be put before those of stac-fastapi."""
        return [
            Route("/search", Answer(self.search), methods=["GET", "POST"]),
            Route("/collections/{collection_id}/items", Answer(self.items), methods=["GET"]),
            Route("/collections/{collection_id}/items/{item_id}", Answer(self.item), methods=["GET"]),
        ]

    async def search(self, request: Request) -> Response:
        """`GET` and `POST /search`."""
        if request.method == "POST":
            body = await body_of(request)
            return await self._found(request, body, Asked(api=api_of(request), path="search", body=body))
        parameters = parameters_of(pairs_of(request))
        asked = Asked(api=api_of(request), path="search", query=request.scope["query_string"].decode())
        return await self._found(request, parameters, asked)

    async def items(self, request: Request) -> Response:
        """`GET /collections/{id}/items`."""
        collection, parameters = request.path_params["collection_id"], parameters_of(pairs_of(request))
        path = f"collections/{quote(collection)}/items"
        query = request.scope["query_string"].decode()
        asked = Asked(api=api_of(request), path=path, collection=collection, query=query)
        return await self._found(request, parameters, asked)

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
                    await check_collection(connection, collection)
                    raise NotFound(f"Item {item} in Collection {collection} does not exist.")
                documents = await self.catalog.documents.of(connection, [collection])
        return Response(feature(self._publisher(request), row, documents[collection]), media_type=GEOJSON)

    async def _found(self, request: Request, parameters: Mapping[str, Any], asked: Asked) -> Response:
        """A page of what is found, or all of it in another form."""
        check_bounds(parameters, self.settings.search)
        name = parameters.get("f", request.query_params.get("f"))
        form = form_of(name, request.headers.get("accept"))
        if form is None:
            search = search_of(parameters, page_limit=self.settings.page_limit, collection=asked.collection)
            return await self._page(request, search, asked)
        export = export_of(parameters, most=self.settings.export_limit, collection=asked.collection)
        for collection in export.page.items.collections:
            check_read(request, collection=collection)
        with understandable():
            return await self.exports.answer(request, export, form, asked, self._publisher(request, export.fields))

    async def _page(self, request: Request, search: ItemSearch, asked: Asked) -> Response:
        collections = search.page.items.collections
        for collection in collections:
            check_read(request, collection=collection)
        return await self.answers.answer(
            request,
            partial(self._make_page, request, search, asked),
            collections=collections,
            body=orjson.dumps(asked.body) if asked.body is not None else b"",
            media_type=GEOJSON,
            headers=_VARY,
        )

    async def _make_page(self, request: Request, search: ItemSearch, asked: Asked) -> bytes:
        with understandable():
            async with self.connect(request) as connection:
                page = await read_page(connection, self.catalog, search.page)
                if not page.rows and asked.collection is not None:
                    await check_collection(connection, asked.collection)
                count = await self._count(connection, search)
        return feature_collection(page, self._publisher(request, search.fields), asked, count)

    async def _count(self, connection: AsyncConnection, search: ItemSearch) -> Count | None:
        if not search.count and not await self.counting.is_on(connection):
            return None
        items = search.page.items
        queryables = await self.catalog.queryables.of(connection, items.names(), items.collections)
        return await count_items(connection, items, queryables)

    def _publisher(self, request: Request, fields: Fields | None = None) -> ItemPublisher:
        api = api_of(request)
        return ItemPublisher(api=api, origin=origin_of(api), assets=self.assets, looks=self.looks, fields=fields)
