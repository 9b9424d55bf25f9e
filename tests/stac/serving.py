"""The catalog over a real socket, with a route that is as slow as one asks for, and one that says much."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, Request, Response

from stacyard.stac.app import create_app
from stacyard.stac.settings import StacSettings


def catalog(settings: StacSettings) -> FastAPI:
    """The application, `/slow`, whose statement takes the seconds asked for, and `/much`, more than a socket holds."""
    app = create_app(settings)

    @app.get("/slow")
    async def slow(request: Request, seconds: float) -> dict[str, float]:
        async with app.state.get_connection(request, "r") as connection:
            await connection.execute("SELECT pg_sleep($1)", seconds)
        return {"slept": seconds}

    @app.get("/much")
    async def much(request: Request) -> Response:
        async with app.state.get_connection(request, "r") as connection:
            await connection.execute("SELECT 1")
        return Response(bytes(8_000_000), media_type="application/octet-stream")

    return app


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The base URL at which uvicorn serves an application, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(app, proxy_headers=False, access_log=False, log_level="warning", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and thread.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.started, "the catalog did not start"
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()
