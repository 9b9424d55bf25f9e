"""Registered searches: mosaics with an id of their own. Registering is the one write of this service."""

from __future__ import annotations

from typing import Annotated, Any

import psycopg
from fastapi import APIRouter, Depends, Request
from psycopg.rows import dict_row
from titiler.pgstac.dependencies import SearchParams, register_search_in_db
from titiler.pgstac.errors import BackendError
from titiler.pgstac.model import Link, Metadata, PgSTACSearch, RegisterResponse, Search

from stacyard.core.database import SyncDatabase
from stacyard.core.errors import Forbidden, InvalidRequest

# pgSTAC stores nothing while this is on, as it is where a managed database keeps it in pgSTAC's own settings
_WRITABLE = "SELECT set_config('pgstac.readonly', 'false', true)"


def register_router(writer: SyncDatabase | None) -> APIRouter:
    """The route that registers a search; without a writer it refuses, and says why."""
    router = APIRouter()

    @router.post(
        "/searches/register",
        response_model=RegisterResponse,
        response_model_exclude_none=True,
        operation_id="registerSearch",
        summary="Register a search as a mosaic",
    )
    def register(
        request: Request, search_and_metadata: Annotated[tuple[PgSTACSearch, Metadata], Depends(SearchParams)]
    ) -> RegisterResponse:
        if writer is None:
            raise Forbidden("searches cannot be registered here: the operator has to set STACYARD_DATABASE_WRITER_URL")
        search, metadata = search_and_metadata
        with writer.connection() as connection, connection.transaction():
            connection.execute(_WRITABLE)
            with connection.cursor(row_factory=dict_row) as cursor:
                try:
                    registered = register_search_in_db(cursor, search, metadata)
                except (BackendError, psycopg.errors.RaiseException) as error:
                    raise InvalidRequest("this search cannot be registered: pgSTAC does not understand it") from error
        return RegisterResponse(id=registered.id, links=_links(request, registered))

    return router


def _links(request: Request, search: Search) -> list[Link]:
    def url(route: str, **parameters: Any) -> str:
        path = request.app.url_path_for(route, search_id=search.id, **parameters)
        return str(path.make_absolute_url(base_url=request.base_url))

    matrix_set = {"tileMatrixSetId": "{tileMatrixSetId}"}
    return [
        Link(rel="metadata", title="Mosaic metadata", href=url("info")),
        Link(rel="tilejson", title="TileJSON (template)", href=url("tilejson", **matrix_set), templated=True),
        Link(rel="map", title="Map viewer (template)", href=url("map_viewer", **matrix_set), templated=True),
        Link(rel="wmts", title="WMTS capabilities", href=url("wmts")),
    ]
