"""The ledger of a run that never ends: the one run of a recipe that all streaming workers share.

In it the same object may be found with one content after another, and with an earlier content again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import LiteralString

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from stacyard.ingestor.ledger import State
from stacyard.ingestor.queue import Task
from stacyard.ingestor.session import Connection, Session
from stacyard.ingestor.sources.found import Found

#: What such a run has as its sources; no path is so short.
STREAM = ("stream",)

_OPEN: LiteralString = """
INSERT INTO stacyard.ingest_run (collection, recipe, recipe_hash, sources, streaming)
VALUES (%(collection)s, %(recipe)s, %(hash)s, %(sources)s, true)
ON CONFLICT (collection, recipe_hash, sources) WHERE finished_at IS NULL DO UPDATE SET recipe = excluded.recipe
RETURNING id
"""

# what waits and was found with fewer or other contents of the same files
_SUPERSEDE: LiteralString = """
DELETE FROM stacyard.ingest_task AS task
USING unnest(%(keys)s::text[], %(items)s::text[], %(sources)s::jsonb[]) AS new (key, item_id, source)
WHERE task.run_id = %(run)s AND task.item_id = new.item_id AND task.key <> new.key AND task.state = 'discovered'
    AND ((task.source -> 'files') <@ (new.source -> 'files') OR (new.source -> 'files') <@ (task.source -> 'files'))
    AND (task.source -> 'layer') IS NOT DISTINCT FROM (new.source -> 'layer')
"""

# a content that has ended is done again if the catalog may hold another: work on that has begun or ended since
_REOPEN: LiteralString = """
UPDATE stacyard.ingest_task AS task
SET state = 'discovered', unchanged = 0, attempts = 0, reason = NULL, worker = NULL, changed_at = clock_timestamp()
WHERE task.run_id = %(run)s AND task.key = ANY (%(keys)s::text[]) AND task.state IN ('loaded', 'rejected', 'failed')
    AND NOT (task.state = 'rejected' AND task.claimed_at IS NULL)
    AND (
        task.state = 'loaded' AND NOT task.source ? 'reader' AND task.item_id <> ALL (%(present)s::text[])
        OR EXISTS (
            SELECT FROM stacyard.ingest_task AS other
            WHERE other.run_id = task.run_id AND other.item_id = task.item_id AND other.key <> task.key
                AND other.claimed_at IS NOT NULL
                AND (
                    other.state = 'running'
                    OR greatest(other.claimed_at, other.changed_at) > coalesce(task.claimed_at, task.changed_at)
                )
        )
    )
"""

# of one item one content at a time; what nobody has claimed for a while, such as after `runs retry`, is anybody's
_CLAIM: LiteralString = """
UPDATE stacyard.ingest_task
SET state = 'running', worker = %(worker)s, claimed_at = clock_timestamp(), changed_at = clock_timestamp(),
    attempts = attempts + 1
WHERE id IN (
    SELECT id FROM stacyard.ingest_task AS task
    WHERE run_id = %(run)s AND (
        state = 'running' AND worker = %(worker)s AND id <> ALL (%(holding)s::bigint[])
        OR state = 'discovered' AND (
            key = ANY (%(keys)s::text[]) OR changed_at < now() - make_interval(secs => %(stray)s)
        ) AND NOT EXISTS (
            SELECT FROM stacyard.ingest_task AS other
            WHERE other.run_id = task.run_id AND other.item_id = task.item_id AND other.state = 'running'
        )
    )
    ORDER BY id LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
)
RETURNING id, key, item_id, source, attempts
"""

_STATES: LiteralString = """
SELECT key, state::text FROM stacyard.ingest_task WHERE run_id = %(run)s AND key = ANY (%(keys)s::text[])
"""

_STRAY_SECONDS = 10.0


class StreamLedger:
    """What a streaming worker needs of the ledger besides `Ledger`. Everything may be repeated."""

    def __init__(self, session: Session, *, worker: str) -> None:
        self._session = session
        self._worker = worker

    def open_run(self, *, collection: str, recipe: str, recipe_hash: str) -> int:
        """The id of the streaming run of a recipe, whose text is `recipe`; made if there is none."""
        parameters = {
            "collection": collection,
            "recipe": recipe,
            "hash": recipe_hash,
            "sources": Jsonb(list(STREAM)),
        }
        row = self._session.run(lambda connection: connection.execute(_OPEN, parameters).fetchone())
        assert row is not None  # noqa: S101 - the statement always returns a row
        return int(row[0])

    def supersede(self, run: int, found: Mapping[str, Found]) -> int:
        """Remove what waits in the place of what was found now, given by keys; returns how many."""
        parameters = {
            "run": run,
            "keys": list(found),
            "items": [each.item_id for each in found.values()],
            "sources": [Jsonb(dict(each.source)) for each in found.values()],
        }
        return self._session.run(lambda connection: connection.execute(_SUPERSEDE, parameters).rowcount)

    def reopen(self, run: int, keys: Iterable[str], *, present: Iterable[str]) -> int:
        """Put back to work what has ended but may not be what the catalog holds; returns how many.

        `keys` are of what was found now. `present` are their items that the catalog has.
        """
        parameters = {"run": run, "keys": list(keys), "present": list(present)}
        return self._session.run(lambda connection: connection.execute(_REOPEN, parameters).rowcount)

    def claim(self, run: int, keys: Iterable[str], *, limit: int, holding: Sequence[int]) -> list[Task]:
        """Take up to `limit` of the waiting tasks with these keys, or of those that nobody takes.

        `holding` are the tasks this worker knows it has; others in its name are of a claim whose answer was lost.
        """
        parameters = {
            "run": run,
            "worker": self._worker,
            "keys": list(keys),
            "limit": limit,
            "holding": list(holding),
            "stray": _STRAY_SECONDS,
        }

        def read(connection: Connection) -> list[Task]:
            with connection.cursor(row_factory=class_row(Task)) as cursor:
                return sorted(cursor.execute(_CLAIM, parameters).fetchall(), key=lambda task: task.id)

        return self._session.run(read)

    def states(self, run: int, keys: Iterable[str]) -> dict[str, State]:
        """Where the tasks with these keys stand; one that another content has taken the place of is not among them."""
        parameters = {"run": run, "keys": list(keys)}
        rows = self._session.run(lambda connection: connection.execute(_STATES, parameters).fetchall())
        return {row[0]: State(row[1]) for row in rows}
