"""What can go wrong in an ingest, sorted by what must be done about it."""

from __future__ import annotations

from collections.abc import Sequence

from stacyard.core.errors import StacyardError
from stacyard.ingestor.verdicts import Verdict


class RecipeError(StacyardError):
    """The recipe cannot be used; the message names file, line and remedy."""


class SourceError(StacyardError):
    """A source that was asked for cannot be read at all; the message names it."""


class Damaged(SourceError):
    """One file of a source is not what its name says; the others may be."""


class SourceAway(SourceError):
    """A source does not answer now; asking again later may help."""


class RunNotFound(StacyardError):
    """The ledger has no such run."""


class NothingToRetry(StacyardError):
    """No failed task of the run is what was asked for."""


class Rejected(StacyardError):
    """The data is not good enough for the recipe; trying again would not help. `verdicts` are what rules found."""

    def __init__(self, message: str, *, verdicts: Sequence[Verdict] = ()) -> None:
        super().__init__(message)
        self.verdicts = tuple(verdicts)


class OutOfSpace(StacyardError):
    """A directory is full; the run stops, because every other task would meet the same."""


class RunStopped(StacyardError):
    """The run cannot go on now. Its tasks are kept; running the same command again goes on from here."""

    exit_code = 3


class DatabaseAway(RunStopped):
    """The database was lost and did not come back within our patience."""
