"""The vector service: tipg wired to what the services share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import jinja2
from fastapi import Depends, FastAPI
from starlette.templating import Jinja2Templates
from tipg.errors import DEFAULT_STATUS_CODES
from tipg.extensions.viewer import viewerExtension
from tipg.factory import Endpoints

from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.database import AsyncDatabase
from stacyard.core.logs import log_to_standard_error
from stacyard.core.openapi import serve_definition
from stacyard.vector.checks import check_bbox, check_filter
from stacyard.vector.layers import Layers, Pool, fresh_layers, readable_layer, readable_layers
from stacyard.vector.settings import VectorSettings
from stacyard.vector.tiles import check_tile

#: Status by exception of tipg. Where it says 422, OGC API Features asks for 400.
STATUSES: Mapping[type[Exception], int] = {
    kind: 400 if status == 422 else status for kind, status in DEFAULT_STATUS_CODES.items()
}

_BEFORE_EACH = (check_bbox, check_filter, check_tile, fresh_layers)


def create_app(settings: VectorSettings | None = None, *, mounted: bool = False) -> FastAPI:
    """The application.

    Args:
        settings: read from the environment if None.
        mounted: the shared HTTP stack is left to the application that this one is mounted in.
    """
    settings = settings or VectorSettings()
    reader = AsyncDatabase(settings.database, "reader", application_name="stacyard-vector")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await reader.open()
        yield
        await reader.close()

    app = FastAPI(title=settings.title, openapi_url="/api", docs_url="/api.html", redoc_url=None, lifespan=lifespan)
    app.state.pool = Pool(reader)
    app.state.layers = Layers(reader, settings)
    app.state.ready_checks = {"database": reader.ping}
    templates = Jinja2Templates(
        env=jinja2.Environment(
            loader=jinja2.PackageLoader("tipg", "templates"), autoescape=jinja2.select_autoescape(["html", "xml"])
        )
    )
    endpoints = Endpoints(
        title=settings.title,
        templates=templates,
        collection_dependency=readable_layer,
        collections_dependency=readable_layers,
        extensions=[viewerExtension()],
    )
    app.include_router(endpoints.router, dependencies=[Depends(check) for check in _BEFORE_EACH])
    serve_definition(app)
    answer_with_problems(app, STATUSES)
    if not mounted:
        log_to_standard_error()
        assemble(app, http=settings.http, service="vector", ready=app.state.ready_checks)
    return app
