"""The statements of the ledger; what each is for stands where it is used, in `ledger`."""

from __future__ import annotations

from typing import LiteralString

RUN = (
    "SELECT id, collection, recipe, recipe_hash, sources, mode, cursor, started_at, discovery_finished_at, finished_at "
)
RUN_BY_ID: LiteralString = RUN + "FROM stacyard.ingest_run WHERE id = %(run)s"
RUNS: LiteralString = (
    RUN
    + """
FROM stacyard.ingest_run
WHERE (%(collection)s::text IS NULL OR collection = %(collection)s)
    AND (%(finished)s::boolean IS NULL OR (finished_at IS NOT NULL) = %(finished)s)
    AND (%(since)s::timestamptz IS NULL OR started_at >= %(since)s)
ORDER BY id DESC LIMIT %(limit)s
"""
)

OPEN_RUN: LiteralString = """
INSERT INTO stacyard.ingest_run (collection, recipe, recipe_hash, sources, mode)
VALUES (%(collection)s, %(recipe)s, %(hash)s, %(sources)s, %(mode)s)
ON CONFLICT (collection, recipe_hash, sources) WHERE finished_at IS NULL
    DO UPDATE SET recipe = excluded.recipe, mode = excluded.mode, discovery_finished_at = NULL
RETURNING id
"""

CURSOR: LiteralString = """
SELECT cursor FROM stacyard.ingest_run
WHERE collection = %(collection)s AND recipe_hash = %(hash)s AND sources = %(sources)s AND finished_at IS NULL
"""

REPLACE: LiteralString = """
DELETE FROM stacyard.ingest_task AS task
USING unnest(%(keys)s::text[], %(items)s::text[], %(sources)s::jsonb[]) AS new (key, item_id, source)
WHERE task.run_id = %(run)s AND task.item_id = new.item_id AND task.key <> new.key
    AND (task.source = new.source OR new.source ? 'reader')
    AND task.state IN ('discovered', 'rejected', 'failed')
"""

RECORD: LiteralString = """
INSERT INTO stacyard.ingest_task (run_id, key, collection, item_id, source, items, state, unchanged, reason)
SELECT %(run)s, new.key, %(collection)s, new.item_id, new.source, new.items,
    (CASE WHEN problem.text IS NOT NULL THEN 'rejected' WHEN known.unchanged THEN 'loaded' ELSE 'discovered' END)
        ::stacyard.ingest_state,
    (problem.text IS NULL AND known.unchanged)::integer,
    problem.text
FROM unnest(%(keys)s::text[], %(items)s::text[], %(sources)s::jsonb[], %(counts)s::integer[], %(problems)s::text[])
    WITH ORDINALITY AS new (key, item_id, source, items, problem, place)
CROSS JOIN LATERAL (
    -- of blocks the loader sees what comes twice
    SELECT NOT new.source ? 'reader' AND EXISTS (
        SELECT FROM stacyard.ingest_task AS other
        WHERE other.run_id = %(run)s AND other.item_id = new.item_id AND other.key <> new.key
            AND other.source <> new.source AND NOT (other.state = 'rejected' AND other.claimed_at IS NULL)
            -- an asset that need not be there has come or gone
            AND NOT coalesce(
                (other.source -> 'files') <> (new.source -> 'files')
                AND (
                    (other.source -> 'files') <@ (new.source -> 'files')
                    OR (new.source -> 'files') <@ (other.source -> 'files')
                ),
                false
            )
    ) AS found
) AS twin
CROSS JOIN LATERAL (
    SELECT coalesce(
        new.problem,
        CASE WHEN twin.found THEN
            'item id ' || new.item_id || ' came twice in this run with different content: make the ids differ'
        END
    ) AS text
) AS problem
LEFT JOIN LATERAL (
    SELECT last.key, coalesce(last.claimed_at, last.changed_at) AS since FROM stacyard.ingest_task AS last
    WHERE last.collection = %(collection)s AND last.item_id = new.item_id AND last.state = 'loaded'
    ORDER BY last.changed_at DESC, last.id DESC LIMIT 1
) AS last ON true
CROSS JOIN LATERAL (
    SELECT coalesce(new.item_id = ANY (%(present)s::text[]) AND new.key = last.key AND NOT EXISTS (
        SELECT FROM stacyard.ingest_run AS run
        JOIN stacyard.ingest_task AS other ON other.run_id = run.id AND other.item_id = new.item_id
        WHERE run.collection = %(collection)s AND (run.finished_at IS NULL OR run.finished_at > last.since)
            AND other.key <> new.key AND other.claimed_at IS NOT NULL
            AND greatest(other.claimed_at, other.changed_at) > last.since
    ), false) AS unchanged
) AS known
ORDER BY new.place
ON CONFLICT (run_id, key) DO NOTHING
RETURNING state = 'rejected'
"""

GO_ON: LiteralString = "UPDATE stacyard.ingest_run SET cursor = %(cursor)s WHERE id = %(run)s"

DISCOVERY_FINISHED: LiteralString = """
UPDATE stacyard.ingest_run SET discovery_finished_at = now(), cursor = NULL WHERE id = %(run)s
"""

LOADED: LiteralString = """
UPDATE stacyard.ingest_task AS task
SET state = 'loaded', reason = NULL, report = done.report, changed_at = clock_timestamp()
FROM unnest(%(ids)s::bigint[], %(reports)s::jsonb[]) AS done (id, report)
WHERE task.id = done.id AND task.state = 'running' AND task.worker = %(worker)s
"""

BLOCK_LOADED: LiteralString = """
UPDATE stacyard.ingest_task
SET state = 'loaded', items = %(items)s, unchanged = %(unchanged)s, report = %(report)s, reason = NULL,
    changed_at = clock_timestamp()
WHERE id = %(id)s AND state = 'running' AND worker = %(worker)s
"""

BLOCK_REJECTED: LiteralString = """
INSERT INTO stacyard.ingest_task (run_id, key, collection, item_id, source, state, reason, attempts)
SELECT block.run_id, encode(sha256(convert_to(block.key || '/' || new.place, 'UTF8')), 'hex'), block.collection,
    new.item_id, block.source || jsonb_build_object('place', new.place), 'rejected', new.reason, block.attempts
FROM stacyard.ingest_task AS block,
    unnest(%(places)s::text[], %(items)s::text[], %(reasons)s::text[]) AS new (place, item_id, reason)
WHERE block.id = %(id)s
ON CONFLICT (run_id, key) DO UPDATE SET reason = excluded.reason
"""

REJECTED: LiteralString = """
UPDATE stacyard.ingest_task SET state = 'rejected', reason = %(reason)s, report = %(report)s, changed_at = now()
WHERE id = %(id)s AND state = 'running' AND worker = %(worker)s
"""

FAILED: LiteralString = """
UPDATE stacyard.ingest_task
SET state = (CASE WHEN %(retry)s AND attempts < %(limit)s THEN 'discovered' ELSE 'failed' END)::stacyard.ingest_state,
    reason = %(reason)s, report = %(report)s, changed_at = now()
WHERE id = %(id)s AND state = 'running' AND worker = %(worker)s
RETURNING state::text
"""

FINISH: LiteralString = """
UPDATE stacyard.ingest_run SET finished_at = now()
WHERE id = %(run)s AND finished_at IS NULL AND discovery_finished_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM stacyard.ingest_task WHERE run_id = %(run)s AND state IN ('discovered', 'running')
)
"""

COUNTS: LiteralString = """
SELECT tasks.discovered + coalesce(run.pruned_items, 0), tasks.loaded + coalesce(run.pruned_items, 0),
    tasks.unchanged + coalesce(run.pruned_unchanged, 0), tasks.rejected, tasks.failed, tasks.waiting, tasks.running,
    coalesce(run.pruned_items, 0), run.discovery_finished_at IS NOT NULL
FROM (
    SELECT coalesce(sum(items), 0) AS discovered,
        coalesce(sum(items) FILTER (WHERE state = 'loaded'), 0) AS loaded,
        coalesce(sum(unchanged), 0) AS unchanged,
        coalesce(sum(items) FILTER (WHERE state = 'rejected'), 0) AS rejected,
        coalesce(sum(items) FILTER (WHERE state = 'failed'), 0) AS failed,
        coalesce(sum(items) FILTER (WHERE state IN ('discovered', 'running')), 0) AS waiting,
        coalesce(sum(items) FILTER (WHERE state = 'running'), 0) AS running
    FROM stacyard.ingest_task WHERE run_id = %(run)s
) AS tasks LEFT JOIN stacyard.ingest_run AS run ON run.id = %(run)s
"""

WAITING: LiteralString = """
SELECT count(*) FROM stacyard.ingest_task WHERE run_id = %(run)s AND state IN ('discovered', 'running')
"""

OUTCOMES: LiteralString = """
SELECT run_id, item_id, state::text, reason, attempts, source FROM stacyard.ingest_task
WHERE (%(run)s::bigint IS NULL OR run_id = %(run)s) AND state::text = ANY (%(states)s::text[])
    AND (%(reason)s::text IS NULL OR reason ILIKE %(reason)s) AND (%(item)s::text IS NULL OR item_id ILIKE %(item)s)
ORDER BY run_id DESC, id LIMIT %(limit)s
"""

RETRY: LiteralString = """
WITH again AS (
    UPDATE stacyard.ingest_task SET state = 'discovered', attempts = 0, worker = NULL, changed_at = now()
    WHERE run_id = %(run)s AND state = 'failed' AND (%(reason)s::text IS NULL OR reason ILIKE %(reason)s)
    RETURNING id
), opened AS (
    UPDATE stacyard.ingest_run SET finished_at = NULL WHERE id = %(run)s AND EXISTS (SELECT FROM again)
)
SELECT count(*) FROM again
"""

SAME_WORK: LiteralString = """
SELECT other.id FROM stacyard.ingest_run AS this JOIN stacyard.ingest_run AS other
    USING (collection, recipe_hash, sources)
WHERE this.id = %(run)s AND other.id <> this.id ORDER BY other.finished_at DESC NULLS FIRST LIMIT 1
"""
