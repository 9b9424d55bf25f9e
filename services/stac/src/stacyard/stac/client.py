"""The seam to stac-fastapi-pgstac: its client, with requests checked before and answers published after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, cast

import asyncpg
import attr
import orjson
from fastapi import Request
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.pgstac.models.links import PagingLinks
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types.errors import NotFoundError
from stac_fastapi.types.stac import Collection, Collections, Item, ItemCollection
from stac_pydantic.shared import MimeTypes
from starlette.responses import Response

from stacyard.core.access import check_read, may_read
from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest
from stacyard.core.pgstac_pages import Page, PageQuery, read_one, read_page
from stacyard.stac.connections import GetConnection
from stacyard.stac.extent import publish_extent
from stacyard.stac.items import ItemPublisher, publisher_of
from stacyard.stac.paging import check_token, for_pgstac, token_of
from stacyard.stac.search import check_bbox, check_datetime, check_limit, page_query
from stacyard.stac.settings import StacSettings

# https://github.com/radiantearth/stac-api-spec/tree/v1.0.0/item-search
_DEFAULT_LIMIT = 10
# https://github.com/stac-api-extensions/sort
_SORT_1_0 = ("https://api.stacspec.org/v1.0.0/item-search#sort", "https://api.stacspec.org/v1.0.0/ogcapi-features#sort")


@attr.s
class CatalogClient(CoreCrudClient):
    """Answers with what stac-fastapi-pgstac finds, for callers who may read it, with hrefs they can use."""

    landing_page_id: str = attr.ib(default="stacyard", kw_only=True)

    def conformance_classes(self) -> list[str]:
        """Upstream's classes, and the sort extension's first version, which its second one contains.

        Clients such as pystac-client look for 1.0 and would not sort otherwise.
        """
        classes: list[str] = super().conformance_classes()
        return sorted({*classes, *(_SORT_1_0 if any(name.endswith("#sort") for name in classes) else ())})

    async def get_search(self, request: Request, **parameters: Any) -> ItemCollection:
        """`GET /search`."""
        _check(parameters)
        return _features(await super().get_search(request=request, **parameters))

    async def post_search(self, search_request: PgstacSearch, request: Request, **parameters: Any) -> ItemCollection:
        """`POST /search`."""
        return _features(await super().post_search(search_request, request, **parameters))

    async def item_collection(self, collection_id: str, request: Request, **parameters: Any) -> ItemCollection:
        """`GET /collections/{id}/items`."""
        _check(parameters)
        return _features(await super().item_collection(collection_id=collection_id, request=request, **parameters))

    async def all_collections(self, request: Request, **parameters: Any) -> Collections:
        """`GET /collections`."""
        _check(parameters)
        found = await super().all_collections(request=request, **parameters)
        if isinstance(found, dict):
            readable = [each for each in found["collections"] if may_read(request, collection=each.get("id"))]
            found["collections"] = [publish_extent(_publish(request, collection)) for collection in readable]
        return cast(Collections, found)

    async def get_collection(self, collection_id: str, request: Request, **_: Any) -> Collection:
        """`GET /collections/{id}`."""
        check_read(request, collection=collection_id)
        with _understandable():
            found = await super().get_collection(collection_id, request)
        return cast(Collection, publish_extent(_publish(request, found)))

    async def get_item(self, item_id: str, collection_id: str, request: Request, **_: Any) -> Item:
        """`GET /collections/{id}/items/{id}`."""
        check_read(request, collection=collection_id, item=item_id)
        with _understandable():
            async with _connection(request) as connection:
                item = await read_one(connection, request.app.state.base_items, collection_id, item_id)
        if item is None:
            # says so if it is the collection that is not there
            await self.get_collection(collection_id, request)
            raise NotFoundError(f"Item {item_id} in Collection {collection_id} does not exist.")
        return cast(Item, _answer(ItemPublisher.of(request).publish(item)))

    async def _search_base(self, search_request: PgstacSearch, request: Request) -> ItemCollection:
        """What every search goes through, whichever route it came by."""
        check_bbox(search_request.bbox)
        check_limit(search_request.limit)
        # OGC API Features 1.0, requirement 22: a limit above the maximum is no error
        search_request.limit = min(search_request.limit or _DEFAULT_LIMIT, _settings(request).page_limit)
        check_token(getattr(search_request, "token", None))
        for collection in search_request.collections or []:
            check_read(request, collection=collection)
        # a client must not choose pgSTAC's settings
        search_request.conf = None
        query = page_query(search_request)
        with _understandable():
            page = await _page(query, request) if query else None
            if query is None or page is None:
                return await self._ask_pgstac(search_request, request)
            return await _item_collection(page, query, request)

    async def _ask_pgstac(self, search_request: PgstacSearch, request: Request) -> ItemCollection:
        token = getattr(search_request, "token", None)
        if token:
            search_request.token = for_pgstac(token)
        found = await super()._search_base(search_request, request)
        for item in found["features"]:
            _publish(request, item)
        return cast(ItemCollection, found)


@contextmanager
def _understandable() -> Iterator[None]:
    """What the database cannot make sense of is the client's to change."""
    try:
        yield
    except (asyncpg.DataError, asyncpg.RaiseError, asyncpg.SyntaxOrAccessError) as error:
        raise InvalidRequest(f"this search cannot be made: {error.args[0]}") from error


async def _page(query: PageQuery, request: Request) -> Page | None:
    """The page; None if pgSTAC is to count what there is besides."""
    state = request.app.state
    async with _connection(request) as connection:
        return None if await state.counting.is_on(connection) else await read_page(connection, state.base_items, query)


async def _item_collection(page: Page, query: PageQuery, request: Request) -> ItemCollection:
    publisher = ItemPublisher.of(request)
    # an empty page has a way back to where it was asked from, and none further
    first = page.positions[0] if page.positions else query.start
    last = page.positions[-1] if page.positions else None
    links = PagingLinks(
        request=request,
        next=token_of(last) if last and page.more_behind else None,
        prev=token_of(first) if first and page.more_before else None,
    )
    document = {
        "type": "FeatureCollection",
        "features": [publisher.publish(item) for item in page.items],
        "links": await links.get_links(),
        "numberReturned": len(page.items),
    }
    return cast(ItemCollection, document)


def _features(found: Any) -> ItemCollection:
    return cast(ItemCollection, found if isinstance(found, Response) else _answer(found))


def _answer(document: Any) -> Response:
    """GeoJSON as it is: what FastAPI would do to it takes longer than the search."""
    return Response(orjson.dumps(document), media_type=MimeTypes.geojson.value)


def _connection(request: Request) -> AbstractAsyncContextManager[AsyncConnection]:
    get_connection: GetConnection = request.app.state.get_connection
    return get_connection(request, "r")


def _settings(request: Request) -> StacSettings:
    return cast(StacSettings, request.app.state.stacyard)


def _check(parameters: dict[str, Any]) -> None:
    """Check what arrives as text in a query string; a JSON body is checked by its model and in `_search_base`."""
    check_bbox(parameters.get("bbox"))
    check_datetime(parameters.get("datetime"))
    check_limit(parameters.get("limit"))
    check_token(parameters.get("token"))
    for name in ("query", "intersects"):
        text = parameters.get(name)
        if isinstance(text, str):
            try:
                orjson.loads(text)
            except orjson.JSONDecodeError as error:
                raise InvalidRequest(f"{name} is not valid JSON: {error}", parameter=name) from error


def _publish(request: Request, document: Any) -> Any:
    publisher, origin = publisher_of(request)
    return publisher.publish(document, origin=origin)
