-- What a stream loaded long ago may leave the ledger; its run keeps how many items that were, so that its counts add up.

ALTER TABLE stacyard.ingest_run
    ADD COLUMN pruned_items bigint NOT NULL DEFAULT 0,
    ADD COLUMN pruned_unchanged bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT ingest_run_pruned CHECK (pruned_unchanged BETWEEN 0 AND pruned_items);
COMMENT ON COLUMN stacyard.ingest_run.pruned_items IS 'Loaded items whose tasks were deleted from the ledger.';
COMMENT ON COLUMN stacyard.ingest_run.pruned_unchanged IS 'How many of these the catalog had already.';
