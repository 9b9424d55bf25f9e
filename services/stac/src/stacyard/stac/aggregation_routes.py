"""The routes of aggregations: what there are, and what they say of the items that a search means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stacyard.core.access import check_read
from stacyard.core.pgstac_aggregations import aggregate_items
from stacyard.core.pgstac_pages import Catalog
from stacyard.core.pgstac_where import ItemQuery
from stacyard.stac.aggregation import Asked, answer_of, asked_of, available, document_of
from stacyard.stac.bounds import check_bounds
from stacyard.stac.connections import GetConnection
from stacyard.stac.publishing import api_of
from stacyard.stac.requests import Answer, body_of, check_collection, pairs_of, understandable
from stacyard.stac.search import items_of, parameters_of
from stacyard.stac.settings import StacSettings
from stacyard.stac.tagged import TaggedAnswers

_METHODS = ["GET", "POST"]
_JSON = "application/json"


@dataclass(frozen=True, kw_only=True)
class AggregationRoutes:
    """Answers what `aggregation_extension` describes."""

    settings: StacSettings
    connect: GetConnection
    catalog: Catalog
    answers: TaggedAnswers

    def routes(self) -> Sequence[BaseRoute]:
        """Routes to be put before those of stac-fastapi."""
        return [
            Route(f"{prefix}/{name}", Answer(method), methods=_METHODS)
            for prefix in ("", "/collections/{collection_id}")
            for name, method in (("aggregate", self.aggregate), ("aggregations", self.aggregations))
        ]

    async def aggregate(self, request: Request) -> Response:
        """`GET` and `POST /aggregate`, of the catalog or of a collection."""
        collection = request.path_params.get("collection_id")
        parameters = await _parameters(request)
        check_bounds(parameters, self.settings.search)
        asked, items = asked_of(parameters), items_of(parameters, collection=collection)
        for each in items.collections:
            check_read(request, collection=each)
        return await self.answers.answer(
            request,
            partial(self._make, request, asked, items, collection),
            collections=items.collections,
            body=orjson.dumps(parameters) if request.method == "POST" else b"",
            media_type=_JSON,
        )

    async def _make(self, request: Request, asked: Asked, items: ItemQuery, collection: str | None) -> bytes:
        with understandable():
            async with self.connect(request) as connection:
                queryables = await self.catalog.queryables.of(connection, items.names(), items.collections)
                aggregates = await aggregate_items(connection, items, queryables, asked.groupings)
                if not aggregates.count and collection is not None:
                    await check_collection(connection, collection)
        return _document(request, "aggregate", collection, answer_of(asked.names, aggregates))

    async def aggregations(self, request: Request) -> Response:
        """`GET` and `POST /aggregations`, of the catalog or of a collection."""
        collection = request.path_params.get("collection_id")
        if collection is not None:
            check_read(request, collection=collection)
            with understandable():
                async with self.connect(request) as connection:
                    await check_collection(connection, collection)
        return Response(_document(request, "aggregations", collection, available()), media_type=_JSON)


async def _parameters(request: Request) -> dict[str, Any]:
    return await body_of(request) if request.method == "POST" else parameters_of(pairs_of(request))


def _document(request: Request, name: str, collection: str | None, aggregations: list[dict[str, Any]]) -> bytes:
    parent = f"collections/{quote(collection)}" if collection is not None else None
    path = f"{parent}/{name}" if parent is not None else name
    return orjson.dumps(document_of(aggregations, api=api_of(request), path=path, collection=parent))
