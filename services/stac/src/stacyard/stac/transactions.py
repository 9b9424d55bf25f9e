"""The transaction extensions: which writes there are, and by which routes. What they do is in `writes`.

Bodies are read by the operations themselves: upstream's models would change a document before it is stored, and know
no place of a fault in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import attr
from fastapi import APIRouter, FastAPI
from stac_fastapi.api.models import CollectionUri, EmptyRequest, ItemUri, JSONResponse
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.extensions.bulk_transactions import BulkTransactionModel
from stac_fastapi.extensions.transaction import TransactionConformanceClasses
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.search import APIRequest

from stacyard.stac.bodies import JSON, JSON_PATCH, MERGE_PATCH
from stacyard.stac.writes import Writes

_ITEM = {"type": "object", "required": ["type", "stac_version", "id", "geometry", "properties", "links", "assets"]}
_ITEMS = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array", "items": _ITEM}},
}
_COLLECTION = {
    "type": "object",
    "required": ["type", "stac_version", "id", "description", "license", "extent", "links"],
}
_BULK = {
    "type": "object",
    "required": ["items"],
    "properties": {
        "items": {"type": "object", "additionalProperties": _ITEM},
        "method": {"enum": ["insert", "upsert"], "default": "insert"},
    },
}
_OPERATIONS = {"type": "array", "items": {"type": "object", "required": ["op", "path"]}}


@attr.s
class CatalogTransactionExtension(ApiExtension):
    """Items and collections are created, replaced, patched and deleted.

    https://github.com/stac-api-extensions/transaction, https://github.com/stac-api-extensions/collection-transaction
    """

    writes: Writes = attr.ib(kw_only=True)
    conformance_classes: list[str] = attr.ib(factory=lambda: [each.value for each in TransactionConformanceClasses])

    def register(self, app: FastAPI) -> None:
        """Add the routes."""
        router = APIRouter(prefix=app.state.router_prefix)
        for route in _routes(self.writes):
            router.add_api_route(
                route.path,
                create_async_endpoint(route.operation, route.parameters),
                methods=[route.method],
                name=route.operation.__name__.replace("_", " ").title(),
                status_code=route.status,
                response_model=None,
                response_class=JSONResponse,
                openapi_extra=_takes(route.takes) if route.takes else None,
            )
        app.include_router(router, tags=["Transaction Extension"])


@attr.s
class CatalogBulkExtension(ApiExtension):
    """Many items at a time, each by itself; the counts of the answer say what was written.

    https://github.com/stac-utils/stac-fastapi/tree/main/stac_fastapi/extensions
    """

    writes: Writes = attr.ib(kw_only=True)

    def register(self, app: FastAPI) -> None:
        """Add the route."""
        router = APIRouter(prefix=app.state.router_prefix)
        router.add_api_route(
            "/collections/{collection_id}/bulk_items",
            create_async_endpoint(self.writes.bulk_items, CollectionUri),
            methods=["POST"],
            name="Bulk Create Item",
            response_model=BulkTransactionModel,
            openapi_extra=_takes(_json(_BULK)),
        )
        app.include_router(router, tags=["Bulk Transaction Extension"])


@dataclass(frozen=True)
class _Route:
    """An operation by its route; `takes` are the schemas of its body by media type."""

    method: str
    path: str
    operation: Callable[..., Any]
    parameters: type[APIRequest]
    takes: dict[str, Any] | None = None
    status: int = 200


def _routes(writes: Writes) -> list[_Route]:
    collections, items = "/collections", "/collections/{collection_id}/items"
    collection, item = f"{collections}/{{collection_id}}", f"{items}/{{item_id}}"
    patch = {**_json({"type": "object"}), MERGE_PATCH: {"type": "object"}, JSON_PATCH: _OPERATIONS}
    return [
        _Route("POST", items, writes.create_item, CollectionUri, _json({"oneOf": [_ITEM, _ITEMS]}), 201),
        _Route("PUT", item, writes.update_item, ItemUri, _json(_ITEM)),
        _Route("PATCH", item, writes.patch_item, ItemUri, patch),
        _Route("DELETE", item, writes.delete_item, ItemUri),
        _Route("POST", collections, writes.create_collection, EmptyRequest, _json(_COLLECTION), 201),
        _Route("PUT", collection, writes.update_collection, CollectionUri, _json(_COLLECTION)),
        _Route("PATCH", collection, writes.patch_collection, CollectionUri, patch),
        _Route("DELETE", collection, writes.delete_collection, CollectionUri),
    ]


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys(JSON, schema)


def _takes(schemas: dict[str, Any]) -> dict[str, Any]:
    """The body of a request, for the API definition."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}
