"""The seam to stac-fastapi-pgstac: its client, with requests checked before and answers published after.

Searches and items have routes of their own, see `routes`; what is here are collections and what describes the API.
"""

from __future__ import annotations

from typing import Any, cast

import attr
from fastapi import Request
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.types.stac import Collection, Item
from starlette.responses import Response

from stacyard.core.access import check_read
from stacyard.stac.collections import answer_collections
from stacyard.stac.documents import DocumentPublisher
from stacyard.stac.requests import understandable
from stacyard.stac.search import check_limit

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

    async def all_collections(self, request: Request, **parameters: Any) -> Response:
        """`GET /collections`."""
        check_limit(parameters.get("limit"))
        state = request.app.state
        with understandable():
            async with state.get_connection(request) as connection:
                return await answer_collections(request, connection, page_limit=state.stacyard.page_limit, **parameters)

    async def get_collection(self, collection_id: str, request: Request, **_: Any) -> Collection:
        """`GET /collections/{id}`."""
        check_read(request, collection=collection_id)
        with understandable():
            found = await super().get_collection(collection_id, request)
        return cast(Collection, DocumentPublisher.of(request).collection(found))

    async def get_item(self, item_id: str, collection_id: str, request: Request, **_: Any) -> Item:
        """`GET /collections/{id}/items/{id}`."""
        return cast(Item, await request.app.state.items.get_item(request, collection_id, item_id))
