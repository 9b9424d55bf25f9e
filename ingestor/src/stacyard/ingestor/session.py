"""One database session of the ingestor, which outlives a restart of the database within a bounded wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg.rows import TupleRow

from stacyard.core.connection import connect
from stacyard.core.errors import Unavailable
from stacyard.ingestor.errors import DatabaseAway

Connection = psycopg.Connection[TupleRow]
Result = TypeVar("Result")

# what a new connection can mend; a statement that took too long or waited too long for a lock is not of this kind
_LOST = (Unavailable, psycopg.InterfaceError, psycopg.OperationalError)
_NOT_LOST = (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable, psycopg.errors.DiskFull)


class Session:
    """A connection that is opened when needed and opened again when lost.

    Work handed to `run` may be done twice, so it must come to the same when it is.
    """

    def __init__(
        self,
        url: str,
        *,
        patience_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._patience = patience_seconds
        self._sleep = sleep
        self._clock = clock
        self._connection: Connection | None = None

    def run(self, work: Callable[[Connection], Result]) -> Result:
        """Do work on a live connection; after a loss, do it again with a growing pause until patience ends.

        Raises:
            DatabaseAway: the database did not come back in time.
        """
        deadline = None
        pause = 0.1
        while True:
            try:
                return work(self._live())
            except Exception as error:
                # libraries may turn a loss into an error of their own; the connection itself knows
                dead = self._connection is not None and self._connection.closed
                if not dead and (not isinstance(error, _LOST) or isinstance(error, _NOT_LOST)):
                    raise
                self.close()
                now = self._clock()
                deadline = deadline if deadline is not None else now + self._patience
                if now + pause > deadline:
                    raise DatabaseAway(
                        f"the database went away and did not come back within {self._patience:g} s: see that it runs, "
                        "then run the same command again to go on"
                    ) from error
                self._sleep(pause)
                pause = min(2 * pause, 3.0)

    def close(self) -> None:
        """Close the connection; the next `run` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _live(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._url, application_name="stacyard-ingest")
        return self._connection
