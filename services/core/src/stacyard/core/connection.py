"""One direct session with the database, for what a pool or a pooler cannot give: migrations and bulk loads."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg.rows import TupleRow

from stacyard.core.errors import Unavailable


def connect(url: str, *, application_name: str, **options: Any) -> psycopg.Connection[TupleRow]:
    """A session of its own, each statement of which is a transaction unless one is begun.

    Raises:
        Unavailable: the database cannot be reached; the message names it without its password.
    """
    try:
        return psycopg.connect(url, application_name=application_name, autocommit=True, connect_timeout=5, **options)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise Unavailable(f"cannot connect to {redacted(url)}: {reason}") from error


def redacted(url: str) -> str:
    """A connection URL that may be logged: the password is left out."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))
