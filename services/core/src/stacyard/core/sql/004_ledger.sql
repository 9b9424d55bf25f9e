-- The ledger of the ingestor: what was found, what became of it, and why. Counts of a run always add up.

CREATE TYPE stacyard.ingest_state AS ENUM ('discovered', 'running', 'loaded', 'rejected', 'failed');

CREATE TABLE stacyard.ingest_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection text NOT NULL,
    recipe text NOT NULL,
    recipe_hash text NOT NULL,
    sources jsonb NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    discovery_finished_at timestamptz,
    finished_at timestamptz
);
COMMENT ON TABLE stacyard.ingest_run IS 'One call of the ingestor. `recipe` is its text, so that a retry needs no file.';
COMMENT ON COLUMN stacyard.ingest_run.finished_at IS 'Empty while it runs, and after a kill until it is resumed.';

-- the same command at the same time, or again after a kill, shares one run
CREATE UNIQUE INDEX ingest_run_unfinished ON stacyard.ingest_run (collection, recipe_hash, sources)
    WHERE finished_at IS NULL;

CREATE TABLE stacyard.ingest_task (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id bigint NOT NULL REFERENCES stacyard.ingest_run ON DELETE CASCADE,
    key text NOT NULL,
    collection text NOT NULL,
    item_id text NOT NULL,
    source jsonb NOT NULL,
    state stacyard.ingest_state NOT NULL DEFAULT 'discovered',
    unchanged boolean NOT NULL DEFAULT false,
    attempts integer NOT NULL DEFAULT 0,
    reason text,
    worker text,
    claimed_at timestamptz,
    changed_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (run_id, key),
    CHECK (state NOT IN ('rejected', 'failed') OR reason IS NOT NULL),
    CHECK (NOT unchanged OR state = 'loaded')
);
COMMENT ON COLUMN stacyard.ingest_task.key IS
    'Hash of collection, recipe, source and content: the same work has the same key.';
COMMENT ON COLUMN stacyard.ingest_task.unchanged IS 'Loaded by an earlier run from the same content; nothing was done.';

CREATE INDEX ingest_task_waiting ON stacyard.ingest_task (run_id, id) WHERE state IN ('discovered', 'running');
CREATE INDEX ingest_task_item ON stacyard.ingest_task (run_id, item_id);
CREATE INDEX ingest_task_loaded ON stacyard.ingest_task (collection, item_id, changed_at DESC) WHERE state = 'loaded';

GRANT SELECT, INSERT, UPDATE, DELETE ON stacyard.ingest_run, stacyard.ingest_task TO stacyard_ingest;
GRANT SELECT ON stacyard.ingest_run, stacyard.ingest_task TO stacyard_reader;
