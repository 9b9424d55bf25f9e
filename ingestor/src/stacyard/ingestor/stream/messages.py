"""The queue of file events, and the table that is one where there is no SQS.

A message that was received is invisible to others for a while. Whoever received it deletes it when its work is
committed; if that never happens it becomes visible again, so every message is delivered at least once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, Protocol

import orjson
from psycopg.types.json import Jsonb

from stacyard.ingestor.session import Session

_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message that was received. `received` counts this time; the receipt is of this time alone.

    `sent` is when it was, in seconds of this process's monotonic clock.
    """

    id: str
    receipt: str
    body: str
    received: int
    sent: float


class Messages(Protocol):
    """A queue of file events, as one worker sees it. Not to be shared by threads."""

    def receive(self, limit: int, *, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """Up to `limit` messages, which nobody else gets for `visibility_seconds`; waits at most so long for the first.

        Raises:
            RunStopped: the queue does not answer or may not be read.
        """

    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages away, whose work is committed. One that cannot be deleted now is delivered again."""

    def extend(self, messages: Sequence[Message], *, seconds: float) -> None:
        """Keep messages invisible for so long from now; passes over those that another has received since."""

    def give_back(self, messages: Sequence[Message], *, seconds: float = 0) -> None:
        """Let others have the messages after so many seconds; passes over those that another has received since."""

    def count(self) -> int | None:
        """About how many messages are in the queue, those that somebody has in hand too; None if it does not say."""


_SEND: LiteralString = "INSERT INTO stacyard.ingest_message (body) SELECT unnest(%s::jsonb[])"
_RECEIVE: LiteralString = """
WITH next AS (
    SELECT id FROM stacyard.ingest_message WHERE visible_at <= now() ORDER BY visible_at, id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
UPDATE stacyard.ingest_message AS message
SET visible_at = now() + make_interval(secs => %(seconds)s), received = received + 1, receipt = gen_random_uuid()
FROM next WHERE message.id = next.id
RETURNING message.id, message.receipt::text, message.body, message.received,
    extract(epoch FROM clock_timestamp() - message.sent_at)::float8
"""
_DELETE: LiteralString = "DELETE FROM stacyard.ingest_message WHERE id = ANY (%s::bigint[])"
_COUNT: LiteralString = "SELECT count(*) FROM stacyard.ingest_message"
_EXTEND: LiteralString = """
UPDATE stacyard.ingest_message AS message SET visible_at = now() + make_interval(secs => %(seconds)s)
FROM unnest(%(ids)s::bigint[], %(receipts)s::uuid[]) AS held (id, receipt)
WHERE message.id = held.id AND message.receipt = held.receipt
"""


class TableMessages:
    """The queue that is the table `stacyard.ingest_message`. Every method may be repeated after a lost connection."""

    def __init__(
        self,
        session: Session,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._sleep = sleep
        self._clock = clock

    def send(self, bodies: Sequence[dict[str, Any]]) -> None:
        """Put messages at the end."""
        documents = [Jsonb(body) for body in bodies]
        self._session.run(lambda connection: connection.execute(_SEND, [documents]))

    def receive(self, limit: int, *, wait_seconds: float, visibility_seconds: float) -> list[Message]:
        """Up to `limit` of the messages that have been visible longest; looks again until there is one.

        Raises:
            DatabaseAway: the database did not come back in time.
        """
        parameters = {"limit": limit, "seconds": visibility_seconds}
        deadline = self._clock() + wait_seconds
        while True:
            rows = self._session.run(lambda connection: connection.execute(_RECEIVE, parameters).fetchall())
            if rows or self._clock() >= deadline:
                now = self._clock()
                return [_message(row, now) for row in sorted(rows, key=lambda row: row[0])]
            self._sleep(min(_POLL_SECONDS, wait_seconds))

    def delete(self, messages: Sequence[Message]) -> None:
        """Take messages away. Who has received one since does its work again, to the same end, and deletes nothing."""
        ids = [message.id for message in messages]
        self._session.run(lambda connection: connection.execute(_DELETE, [ids]))

    def extend(self, messages: Sequence[Message], *, seconds: float) -> None:
        """Keep messages invisible for so long from now."""
        parameters = {
            "ids": [message.id for message in messages],
            "receipts": [message.receipt for message in messages],
            "seconds": seconds,
        }
        self._session.run(lambda connection: connection.execute(_EXTEND, parameters))

    def give_back(self, messages: Sequence[Message], *, seconds: float = 0) -> None:
        """Let others have the messages after so many seconds."""
        self.extend(messages, seconds=seconds)

    def count(self) -> int:
        """How many messages are in the table."""
        row = self._session.run(lambda connection: connection.execute(_COUNT).fetchone())
        return int(row[0]) if row else 0


def _message(row: tuple[Any, ...], now: float) -> Message:
    """A message as `_RECEIVE` returns it, at `now`."""
    id, receipt, body, received, age = row
    return Message(id=str(id), receipt=receipt, body=orjson.dumps(body).decode(), received=received, sent=now - age)
