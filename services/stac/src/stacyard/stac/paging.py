"""Page tokens: the only form in which pgSTAC makes them, and so the only one that is let through to it."""

from __future__ import annotations

import re

from stacyard.core.errors import InvalidRequest

_TOKEN = re.compile(r"(next|prev):[^:\s]+(:[^:\s]+)?")


def check_token(token: str | None) -> None:
    """Let a page token pass.

    Raises:
        InvalidRequest: it is none that a `next` or `prev` link of ours ever held.
    """
    if token is not None and not _TOKEN.fullmatch(token):
        raise InvalidRequest(
            "this is no page token; follow the `next` and `prev` links of an answer instead of making one",
            parameter="token",
        )
