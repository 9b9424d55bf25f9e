"""What can go wrong in an ingest, sorted by what must be done about it."""

from __future__ import annotations

from stacyard.core.errors import StacyardError


class RecipeError(StacyardError):
    """The recipe cannot be used; the message names file, line and remedy."""


class SourceError(StacyardError):
    """A source that was asked for cannot be read at all; the message names it."""


class RunNotFound(StacyardError):
    """The ledger has no such run."""


class Rejected(StacyardError):
    """The data is not good enough for the recipe; trying again would not help."""


class OutOfSpace(StacyardError):
    """A directory is full; the run stops, because every other task would meet the same."""


class RunStopped(StacyardError):
    """The run cannot go on now. Its tasks are kept; running the same command again goes on from here."""

    exit_code = 3


class DatabaseAway(RunStopped):
    """The database was lost and did not come back within our patience."""
