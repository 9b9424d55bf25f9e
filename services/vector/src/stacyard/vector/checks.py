"""What tipg would let through to a crash: checked before it sees the request.

Dependencies are coroutines although they wait for nothing: FastAPI sends plain functions to a thread, which costs more
than they do.
"""

from __future__ import annotations

import json
from typing import Annotated

from cql2 import Expr
from fastapi import Query

from stacyard.core.bounds import check_filter_text
from stacyard.core.errors import InvalidRequest


async def check_bbox(bbox: Annotated[str | None, Query(include_in_schema=False)] = None) -> None:
    """Dependency: let a bounding box of 4 or 6 numbers pass.

    Raises:
        InvalidRequest: it is none.
    """
    if not bbox:
        return
    try:
        numbers = [float(part) for part in bbox.split(",")]
    except ValueError as error:
        raise InvalidRequest(f"a bbox is made of numbers, {bbox!r} is not", parameter="bbox") from error
    if len(numbers) not in (4, 6):
        raise InvalidRequest(f"a bbox has 4 or 6 numbers, {bbox!r} has {len(numbers)}", parameter="bbox")


async def check_filter(
    text: Annotated[str | None, Query(alias="filter", include_in_schema=False)] = None,
    language: Annotated[str | None, Query(alias="filter-lang", include_in_schema=False)] = None,
) -> None:
    """Dependency: let a CQL2 filter pass that can be parsed.

    Raises:
        InvalidRequest: it cannot.
    """
    if not text:
        return
    # before the parser, whose stack is not endless
    check_filter_text(text)
    try:
        Expr(json.loads(text) if language == "cql2-json" else text).validate()
    except Exception as error:
        # cql2 raises bare exceptions
        raise InvalidRequest(f"this filter is not valid CQL2: {error}", parameter="filter") from error
