"""What routes of our own have in common: how they are called, what they read, and what the database refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from stacyard.core.database import AsyncConnection
from stacyard.core.errors import InvalidRequest, NotFound
from stacyard.core.pgstac_pages import has_collection


class Answer:
    """A method as the application of a route: Starlette wraps functions in more than is needed here."""

    def __init__(self, method: Any) -> None:
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request."""
        response = await self._method(Request(scope, receive))
        await response(scope, receive, send)


@contextmanager
def understandable() -> Iterator[None]:
    """What the database cannot make sense of is the client's to change."""
    try:
        yield
    except (asyncpg.DataError, asyncpg.RaiseError, asyncpg.SyntaxOrAccessError) as error:
        raise InvalidRequest(f"this search cannot be made: {error.args[0]}") from error


def pairs_of(request: Request) -> list[tuple[str, str]]:
    """The query string of a request.

    Raises:
        InvalidRequest: it cannot be read.
    """
    try:
        text = request.scope["query_string"].decode("ascii")
        return parse_qsl(text, keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError as error:
        raise InvalidRequest(f"the query string cannot be read: {error}") from error


async def body_of(request: Request) -> dict[str, Any]:
    """The JSON object that a request sends.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        body = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not valid JSON: {error}", parameter="body") from error
    if not isinstance(body, dict):
        raise InvalidRequest("the body of a search is a JSON object", parameter="body")
    return body


async def check_collection(connection: AsyncConnection, collection: str) -> None:
    """Let the request go on.

    Raises:
        NotFound: there is no such collection.
    """
    if not await has_collection(connection, collection):
        raise NotFound(f"Collection {collection} does not exist.")
