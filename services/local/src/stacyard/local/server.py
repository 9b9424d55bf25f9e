"""The three services, the assets and the explorer under one origin, in as many processes as there are cores."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from stacyard.core.assembly import answer_with_problems, assemble
from stacyard.core.origin import OneOrigin
from stacyard.core.settings import HttpSettings, StorageSettings
from stacyard.core.storage import local_path
from stacyard.local.assets import PublishedAssets
from stacyard.local.pages import ExplorerPages
from stacyard.local.processes import die_with_parent

#: how long requests may take to end when the server is told to stop
GRACE_SECONDS = 10


def create_app() -> FastAPI:
    """The whole platform as one application, its settings taken from the environment.

    In a worker process, it also sees to it that the process does not outlive its supervisor.
    """
    supervisor = multiprocessing.parent_process()
    if supervisor is not None and supervisor.pid is not None:
        die_with_parent(supervisor.pid, by=signal.SIGKILL)
    return gather(services(), storage=StorageSettings(), http=HttpSettings())


def services() -> dict[str, FastAPI]:
    """The three services by the path they are served below."""
    # when it is imported, it warns of default titles that our settings replace a moment later
    logging.getLogger("stac_fastapi.types.config").setLevel(logging.ERROR)
    from stacyard.raster import app as raster
    from stacyard.stac import app as stac
    from stacyard.vector import app as vector

    return {
        "/stac": stac.create_app(mounted=True),
        "/raster": raster.create_app(mounted=True),
        "/vector": vector.create_app(mounted=True),
    }


def gather(parts: dict[str, FastAPI], *, storage: StorageSettings, http: HttpSettings) -> FastAPI:
    """One application of several, which shares their readiness and their lives."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for part in parts.values():
                await stack.enter_async_context(part.router.lifespan_context(part))
            yield

    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    answer_with_problems(app, {})
    ready = {
        f"{path.lstrip('/')}.{name}": check
        for path, part in parts.items()
        for name, check in part.state.ready_checks.items()
    }
    caches = {
        f"{path.lstrip('/')}.{name}": cache
        for path, part in parts.items()
        for name, cache in getattr(part.state, "caches", {}).items()
    }
    assemble(app, http=http, service="local", ready=ready, caches=caches)
    below: dict[str, ASGIApp] = dict(parts)
    assets = local_path(storage.assets)
    if assets is not None:
        assets.mkdir(parents=True, exist_ok=True)
        below["/assets"] = PublishedAssets(directory=assets)
    app.router.default = OneOrigin(below, fallback=ExplorerPages(list(parts)))
    return app


def serve(listener: socket.socket, *, workers: int) -> None:
    """Serve on a socket that listens already, until SIGINT or SIGTERM; a worker that dies is replaced."""
    config = uvicorn.Config(
        "stacyard.local.server:create_app",
        factory=True,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        workers=workers,
        # our own middleware believes proxies, or not
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    Multiprocess(config, sockets=[listener]).run()


def main() -> None:
    """What the platform runs in a process of its own: `python -m stacyard.local.server SOCKET WORKERS PARENT`."""
    descriptor, workers, parent = (int(argument) for argument in sys.argv[1:])
    die_with_parent(parent, by=signal.SIGTERM)
    serve(socket.socket(fileno=descriptor), workers=workers)


if __name__ == "__main__":
    main()
