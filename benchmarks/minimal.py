"""The least that a server of searches can do, as the floor beside which the others are measured.

A bare ASGI application without a framework: one indexed, parameterised statement for place, time and collections, and
the rows' stored content as it is, not made whole, without geometry and without links. It checks nothing.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import orjson

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

DATABASE_URL = "BENCHMARK_DATABASE_URL"
# what a statement costs depends on the size of its box: one plan for all of them is slow for many
_SERVER_SETTINGS = {"plan_cache_mode": "force_custom_plan"}
_OLDEST, _NEWEST = datetime.fromisoformat("0001-01-01T00:00:00+00:00"), datetime.fromisoformat("9999-12-31T00:00:00Z")
_ITEM = "SELECT content FROM pgstac.items WHERE collection = $1 AND id = $2"


def create_app() -> Callable[[Message, Receive, Send], Awaitable[None]]:
    """The application, on the database that `BENCHMARK_DATABASE_URL` names."""
    pool: asyncpg.Pool[asyncpg.Record]

    async def application(scope: Message, receive: Receive, send: Send) -> None:
        nonlocal pool
        if scope["type"] == "lifespan":
            await receive()
            pool = await asyncpg.create_pool(
                os.environ[DATABASE_URL], min_size=4, max_size=4, server_settings=_SERVER_SETTINGS
            )
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await pool.close()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == "/search":
            statement, arguments = search_statement(await _parameters(scope, receive))
            await _reply(send, _collection_of(await pool.fetch(statement, *arguments)))
        elif scope["path"].startswith("/collections/"):
            _, _, collection, _, item = scope["path"].split("/")
            content = await pool.fetchval(_ITEM, collection, item)
            await _reply(send, b"" if content is None else _feature(item, content), 404 if content is None else 200)
        else:
            await _reply(send, b"{}")

    return application


def search_statement(parameters: dict[str, Any]) -> tuple[str, list[Any]]:
    """One statement and its arguments for `collections`, `bbox`, `datetime`, `limit` and a sort by time."""
    conditions, arguments = [], []

    def bound(value: Any) -> str:
        arguments.append(value)
        return f"${len(arguments)}"

    if "collections" in parameters:
        conditions.append(f"collection = ANY({bound(parameters['collections'])}::text[])")
    if "bbox" in parameters:
        corners = ", ".join(f"{bound(corner)}::float8" for corner in parameters["bbox"])
        conditions.append(f"ST_Intersects(geometry, ST_MakeEnvelope({corners}, 4326))")
    if "datetime" in parameters:
        first, _, last = parameters["datetime"].partition("/")
        conditions.append(f"datetime <= {bound(_instant(last or first, _NEWEST))}")
        conditions.append(f"end_datetime >= {bound(_instant(first, _OLDEST))}")
    order = parameters["sortby"][0]["direction"] if "sortby" in parameters else "desc"
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    return (
        f"SELECT id, content FROM pgstac.items {where}"
        f"ORDER BY datetime {order}, id {order} LIMIT {bound(parameters['limit'])}::int",
        arguments,
    )


async def _parameters(scope: Message, receive: Receive) -> dict[str, Any]:
    if scope["method"] == "POST":
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        found: dict[str, Any] = orjson.loads(body)
        return found
    texts = dict(parse_qsl(scope["query_string"].decode()))
    parameters: dict[str, Any] = {"limit": int(texts.get("limit", "10"))}
    if "collections" in texts:
        parameters["collections"] = texts["collections"].split(",")
    if "bbox" in texts:
        parameters["bbox"] = [float(corner) for corner in texts["bbox"].split(",")]
    if "datetime" in texts:
        parameters["datetime"] = texts["datetime"]
    if "sortby" in texts:
        parameters["sortby"] = [{"direction": "desc" if texts["sortby"].startswith("-") else "asc"}]
    return parameters


def _instant(text: str, otherwise: datetime) -> datetime:
    return otherwise if text in ("", "..") else datetime.fromisoformat(text)


def _collection_of(rows: list[asyncpg.Record]) -> bytes:
    features = b",".join(_feature(item, content) for item, content in rows)
    return b'{"type":"FeatureCollection","features":[' + features + b"]}"


def _feature(item: str, content: str) -> bytes:
    return b'{"id":' + orjson.dumps(item) + b"," + content[1:].encode()


async def _reply(send: Send, body: bytes, status: int = 200) -> None:
    headers = [(b"content-type", b"application/geo+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
