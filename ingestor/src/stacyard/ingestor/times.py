"""Instants: what has no time zone is UTC, and what we write is UTC."""

from __future__ import annotations

from datetime import UTC, datetime


def utc(value: datetime) -> datetime:
    """The same instant in UTC; what has no time zone is UTC."""
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def instant(value: datetime) -> str:
    """RFC 3339 in UTC with a `Z`, with microseconds only where there are any."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def instant_of(text: str) -> datetime:
    """The instant that an RFC 3339 text names, in UTC.

    Raises:
        ValueError, TypeError, OverflowError: it names none within Python's calendar, the years 1 to 9999.
    """
    return utc(datetime.fromisoformat(text))
