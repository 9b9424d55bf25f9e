"""`/queryables` and `/collections/{id}/queryables`: what items can be searched by, registered or met by a load."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from stac_fastapi.pgstac.extensions.filter import FiltersClient
from stac_fastapi.types.errors import NotFoundError

from stacyard.core.access import check_read
from stacyard.core.pgstac_queryables import Queryables


class QueryablesClient(FiltersClient):
    """Upstream's client, which knows registered queryables only."""

    async def get_queryables(self, request: Request, collection_id: str | None = None, **_: Any) -> dict[str, Any]:
        """JSON Schema of what a collection, or all together, can be searched by."""
        if collection_id is not None:
            check_read(request, collection=collection_id)
        # what searches know, so that the document says what they do
        known: Queryables = request.app.state.items.catalog.queryables
        async with request.app.state.get_connection(request, "r") as connection:
            document = await known.document(connection, collection_id)
        if document is None:
            raise NotFoundError(f"Collection {collection_id} not found")
        return {**document, "$id": str(request.url)}
