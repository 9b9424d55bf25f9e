"""Whoever searches comes first: a load looks now and then whether others ask the database for something."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import LiteralString

from stacyard.ingestor.session import Connection, Session

_OTHERS_ASKED: LiteralString = "SELECT stacyard.others_asked(%s)"
_SECONDS_BETWEEN_LOOKS = 0.25
# of the last looks, so many that found somebody: a probe every few seconds is no reason to step back
_LOOKS = 4
_ENOUGH = 2


class Courtesy:
    """Knows whether others have been asking the database for something within the last second or so."""

    def __init__(self, session: Session, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._looked = -math.inf
        self._found: deque[bool] = deque(maxlen=_LOOKS)

    def others_ask(self) -> bool:
        """Whether somebody asks again and again; costs a round trip a few times a second at the most.

        Raises:
            DatabaseAway: the database is away.
        """
        now = self._clock()
        if now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            # what came before is no news after a while without a look
            since = min(now - self._looked, 1.0)
            self._looked = now
            self._found.append(self._session.run(lambda connection: _look(connection, since)))
        return sum(self._found) >= _ENOUGH


def _look(connection: Connection, seconds: float) -> bool:
    row = connection.execute(_OTHERS_ASKED, [seconds]).fetchone()
    return row is not None and bool(row[0])
