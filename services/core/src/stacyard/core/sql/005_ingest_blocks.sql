-- A task may stand for a block of ready-made items, a run remembers where its search for data stands, and what was done
-- for a task is kept with it.

ALTER TABLE stacyard.ingest_run
    ADD COLUMN cursor jsonb,
    ADD COLUMN mode text NOT NULL DEFAULT 'upsert',
    ADD COLUMN streaming boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN stacyard.ingest_run.cursor IS 'Where the search for data goes on after a kill; empty: from the start.';
COMMENT ON COLUMN stacyard.ingest_run.mode IS 'What is done with items that the catalog has: see the loader.';
COMMENT ON COLUMN stacyard.ingest_run.streaming IS 'Of a worker that consumes events; such a run has no end of its own.';

ALTER TABLE stacyard.ingest_task
    DROP CONSTRAINT ingest_task_check1,
    ALTER COLUMN unchanged DROP DEFAULT,
    ALTER COLUMN unchanged TYPE integer USING unchanged::integer,
    ALTER COLUMN unchanged SET DEFAULT 0,
    ADD COLUMN items integer NOT NULL DEFAULT 1 CHECK (items >= 0),
    ADD COLUMN report jsonb,
    ADD CONSTRAINT ingest_task_unchanged CHECK (unchanged = 0 OR state = 'loaded' AND unchanged <= items);
COMMENT ON COLUMN stacyard.ingest_task.items IS
    'How many items the task stands for: one, or a block of ready-made items. What is rejected of a block becomes a task.';
COMMENT ON COLUMN stacyard.ingest_task.unchanged IS 'How many of its items the catalog had already; nothing was written.';
COMMENT ON COLUMN stacyard.ingest_task.report IS 'Bytes in and out, seconds by stage, and the verdicts of quality rules.';
