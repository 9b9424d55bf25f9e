"""The catalog service: stac-fastapi-pgstac wired to what the services share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import FastAPI
from stac_fastapi.api.errors import DEFAULT_STATUS_CODES
from stac_fastapi.pgstac.app import instantiate_api

from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.database import AsyncDatabase
from stacyard.core.logs import log_to_standard_error
from stacyard.core.openapi import serve_definition
from stacyard.core.pgstac import BaseItems
from stacyard.core.pgstac_pages import Catalog
from stacyard.core.revision import RevisionPoll, read_states
from stacyard.stac.aggregation_routes import AggregationRoutes
from stacyard.stac.assets import AssetPublisher
from stacyard.stac.client import CatalogClient
from stacyard.stac.connections import Writing, connection_getter
from stacyard.stac.definition import with_exports
from stacyard.stac.extensions import CatalogExtensions
from stacyard.stac.intake import Intake
from stacyard.stac.routes import ItemRoutes
from stacyard.stac.settings import StacSettings
from stacyard.stac.tagged import TaggedAnswers
from stacyard.stac.writes import Writes


def create_app(settings: StacSettings | None = None, *, mounted: bool = False) -> FastAPI:
    """The application.

    Args:
        settings: read from the environment if None.
        mounted: the shared HTTP stack is left to the application that this one is mounted in.
    """
    settings = settings or StacSettings()
    reader = AsyncDatabase(settings.database, "reader", application_name="stacyard-stac", fair=settings.fair)
    writer = (
        AsyncDatabase(settings.database, "writer", application_name="stacyard-stac-writer", fair=settings.fair)
        if settings.transactions
        else None
    )
    assets = AssetPublisher.of(settings.storage)
    databases = [database for database in (reader, writer) if database is not None]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(assets.open)
        for database in databases:
            await database.open()
        yield
        for database in databases:
            await database.close()

    async def read_revisions() -> Mapping[str, int]:
        async with reader.connection() as connection:
            return await read_states(connection)

    revisions = RevisionPoll(read_revisions)
    upstream = settings.upstream()
    writes = None
    if writer is not None:
        intake = Intake(max_items=settings.write_max_items, reserved=upstream.invalid_id_chars)
        writes = Writes(writing=Writing(writer, revisions), intake=intake, max_bytes=settings.write_max_bytes)
    api = instantiate_api(
        client=partial(CatalogClient, landing_page_id=settings.catalog_id),
        extensions=CatalogExtensions(settings=upstream, writes=writes),
        lifespan=lifespan,
        settings=upstream,
    )
    app: FastAPI = api.app
    app.state.stacyard = settings
    app.state.get_connection = connection_getter(reader)
    app.state.assets = assets
    catalog = Catalog(base_items=BaseItems(seconds=5.0))
    answers = TaggedAnswers(settings, revisions=revisions, edition=lambda: assets.edition, changed=catalog.clear)
    shared = {"settings": settings, "connect": app.state.get_connection, "catalog": catalog, "answers": answers}
    items, aggregations = ItemRoutes(**shared, assets=assets), AggregationRoutes(**shared)
    app.state.items = items
    app.state.caches = {"answers": answers.cache}
    app.state.reads = api.client
    app.state.ready_checks = {"database": reader.ping}
    # before upstream's for the same paths
    app.router.routes[:0] = [*items.routes(), *aggregations.routes()]
    serve_definition(app, with_exports)
    # upstream's models count with times that a client may have put at the end of the calendar
    answer_with_problems(app, {**DEFAULT_STATUS_CODES, OverflowError: 400})
    if not mounted:
        log_to_standard_error()
        assemble(app, http=settings.http, service="stac", ready=app.state.ready_checks, caches=app.state.caches)
    return app
