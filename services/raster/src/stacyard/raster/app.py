"""The raster service: titiler-pgstac's factories wired to what the services share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
import jinja2
from fastapi import FastAPI
from pydantic import ValidationError
from rasterio.errors import CRSError, WindowError
from rio_tiler.errors import InvalidBufferSize, InvalidPointDataError, PointOutsideBounds
from starlette.templating import Jinja2Templates
from titiler.core.errors import DEFAULT_STATUS_CODES
from titiler.core.factory import AlgorithmFactory, ColorMapFactory, MultiBaseTilerFactory, TilerFactory, TMSFactory
from titiler.extensions import stacRenderExtension, wmtsExtension
from titiler.mosaic.errors import MOSAIC_STATUS_CODES
from titiler.mosaic.extensions import wmts as mosaic_wmts
from titiler.pgstac.errors import PGSTAC_STATUS_CODES
from titiler.pgstac.extensions import searchInfoExtension
from titiler.pgstac.factory import MosaicTilerFactory, add_search_list_route

from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.database import SyncDatabase
from stacyard.core.health import ReadyCheck
from stacyard.core.logs import log_to_standard_error
from stacyard.core.openapi import serve_definition
from stacyard.core.pgstac import BaseItems
from stacyard.core.storage import Storage
from stacyard.raster.landing import landing_router
from stacyard.raster.mosaic import Mosaic
from stacyard.raster.parameters import (
    MosaicOptions,
    MosaicSource,
    catalog_item,
    collection_mosaic,
    item_asset,
    searched_mosaic,
)
from stacyard.raster.reader import ReadableAssets, item_reader, mosaic_reader
from stacyard.raster.renders import tile_parameters
from stacyard.raster.searches import register_router
from stacyard.raster.settings import RasterSettings

#: Status by exception of titiler, rio-tiler and GDAL.
STATUSES: Mapping[type[Exception], int] = {
    **DEFAULT_STATUS_CODES,
    **MOSAIC_STATUS_CODES,
    **PGSTAC_STATUS_CODES,
    ValidationError: 400,
    PointOutsideBounds: 404,
    InvalidPointDataError: 400,
    InvalidBufferSize: 400,
    WindowError: 400,
    CRSError: 400,
}

_COLLECTIONS = "/collections/{collection_id}"
_ITEMS = _COLLECTIONS + "/items/{item_id}"
_ASSETS = _ITEMS + "/assets/{asset_id}"


def create_app(settings: RasterSettings | None = None, *, mounted: bool = False) -> FastAPI:
    """The application.

    Args:
        settings: read from the environment if None.
        mounted: the shared HTTP stack is left to the application that this one is mounted in.
    """
    settings = settings or RasterSettings()
    reader = SyncDatabase(settings.database, "reader", application_name="stacyard-raster")
    writer = (
        SyncDatabase(settings.database, "writer", application_name="stacyard-raster-writer")
        if settings.database.writer_url is not None
        else None
    )
    databases = [database for database in (reader, writer) if database is not None]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for database in databases:
            database.open()
        yield
        for database in databases:
            database.close()

    app = FastAPI(title=settings.title, openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=lifespan)
    app.state.dbpool = reader
    app.state.base_items = BaseItems()
    app.state.readable_assets = ReadableAssets(settings.storage.readable)
    app.state.ready_checks = _ready_checks(reader, Storage(settings.storage.readable))
    _add_routes(app, settings, writer)
    serve_definition(app)
    answer_with_problems(app, STATUSES)
    if not mounted:
        log_to_standard_error()
        assemble(app, http=settings.http, service="raster", ready=app.state.ready_checks)
    return app


def _ready_checks(reader: SyncDatabase, storage: Storage) -> dict[str, ReadyCheck]:
    async def database() -> None:
        await anyio.to_thread.run_sync(reader.ping)

    async def assets() -> None:
        await anyio.to_thread.run_sync(storage.ping)

    return {"database": database, "storage": assets}


def _add_routes(app: FastAPI, settings: RasterSettings, writer: SyncDatabase | None) -> None:
    templates = Jinja2Templates(
        env=jinja2.Environment(
            autoescape=jinja2.select_autoescape(["html", "xml"]),
            loader=jinja2.ChoiceLoader(
                [
                    jinja2.PackageLoader("titiler.pgstac", "templates"),
                    jinja2.PackageLoader("titiler.core", "templates"),
                ]
            ),
        )
    )
    mosaics: dict[str, Any] = {
        "backend": Mosaic,
        "backend_dependency": MosaicSource,
        "dataset_reader": mosaic_reader(app.state.readable_assets),
        "assets_accessor_dependency": MosaicOptions,
        "environment_dependency": settings.gdal_environment,
        "get_renders": _mosaic_renders,
        "add_statistics": True,
        "add_part": True,
        "templates": templates,
    }
    searches = MosaicTilerFactory(
        path_dependency=searched_mosaic,
        router_prefix="/searches/{search_id}",
        extensions=[searchInfoExtension(), mosaic_wmts.wmtsExtension()],
        **mosaics,
    )
    collections = MosaicTilerFactory(
        path_dependency=collection_mosaic,
        router_prefix=_COLLECTIONS,
        extensions=[searchInfoExtension(), mosaic_wmts.wmtsExtension()],
        **mosaics,
    )
    items = MultiBaseTilerFactory(
        reader=item_reader(app.state.readable_assets),
        path_dependency=catalog_item,
        router_prefix=_ITEMS,
        environment_dependency=settings.gdal_environment,
        get_renders=_item_renders,
        extensions=[wmtsExtension(), stacRenderExtension()],
        templates=templates,
    )
    assets = TilerFactory(
        path_dependency=item_asset,
        router_prefix=_ASSETS,
        environment_dependency=settings.gdal_environment,
        extensions=[wmtsExtension()],
        templates=templates,
    )
    matrix_sets = TMSFactory(templates=templates)
    algorithms = AlgorithmFactory(templates=templates)
    colormaps = ColorMapFactory(templates=templates)

    # before the searches, whose `{search_id}` would match `register` too
    app.include_router(register_router(writer), tags=["Searches"])
    add_search_list_route(app, prefix="/searches", tags=["Searches"])
    app.include_router(searches.router, prefix="/searches/{search_id}", tags=["Searches"])
    app.include_router(collections.router, prefix=_COLLECTIONS, tags=["Collections"])
    app.include_router(items.router, prefix=_ITEMS, tags=["Items"])
    app.include_router(assets.router, prefix=_ASSETS, tags=["Assets"])
    app.include_router(matrix_sets.router, tags=["Tile matrix sets"])
    app.include_router(algorithms.router, tags=["Algorithms"])
    app.include_router(colormaps.router, tags=["Colormaps"])
    factories = (searches, collections, items, assets, matrix_sets, algorithms, colormaps)
    conforms_to = set().union(*(factory.conforms_to for factory in factories))
    app.include_router(landing_router(settings.title, conforms_to, templates))


def _mosaic_renders(mosaic: Mosaic) -> dict[str, Any]:
    renders: dict[str, Any] = mosaic.info().metadata.defaults_params or {}
    return renders


def _item_renders(reader: Any) -> dict[str, Any]:
    return tile_parameters(reader.item.properties.get("renders"))
