"""Writes through the API: upstream's transaction extensions, storing storage URIs again where hrefs were published."""

from __future__ import annotations

from typing import Any

import attr
from fastapi import Request
from stac_fastapi.api.models import JSONResponse
from stac_fastapi.extensions import BulkTransactionExtension, TransactionExtension
from stac_fastapi.pgstac.models.extensions import Extensions
from stac_fastapi.pgstac.transactions import BulkTransactionsClient, TransactionsClient
from stac_fastapi.types.extension import ApiExtension

from stacyard.stac.assets import withdraw
from stacyard.stac.extent import withdraw_extent


class StoresStorageUris:
    """Undoes, before upstream's validation, what was published otherwise than stored in a document that comes back."""

    def _validate_item(self, request: Request, item: Any, *ids: Any) -> None:
        withdraw(item)
        super()._validate_item(request, item, *ids)  # type: ignore[misc]

    def _validate_collection(self, request: Request, collection: Any) -> None:
        withdraw_extent(withdraw(collection))
        super()._validate_collection(request, collection)  # type: ignore[misc]


@attr.s
class CatalogTransactions(StoresStorageUris, TransactionsClient):
    """One document at a time."""


@attr.s
class CatalogBulkTransactions(StoresStorageUris, BulkTransactionsClient):
    """Many items at a time."""


class CatalogExtensions(Extensions):
    """Upstream's extensions, with our clients where something is written."""

    @property
    def transaction(self) -> list[ApiExtension]:
        """The transaction extensions; none while they are off."""
        if not self.settings.enable_transactions_extensions:
            return []
        return [
            TransactionExtension(client=CatalogTransactions(), settings=self.settings, response_class=JSONResponse),
            BulkTransactionExtension(client=CatalogBulkTransactions()),
        ]


async def collection_written(request: Request) -> str | None:
    """The collection that a write is about: from the path, or for a new collection from its body."""
    collection = request.path_params.get("collection_id")
    if collection is None:
        body = await request.json()
        collection = body.get("id") if isinstance(body, dict) else None
    return collection
