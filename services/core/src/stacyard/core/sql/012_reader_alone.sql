-- A reader's statements find a page of items or one tile. Over many partitions the planner takes them for work to share, and
-- to start the workers takes twenty times as long as to find the page; those who ask at the same time share the processors.

DO $$
BEGIN
    EXECUTE format('ALTER ROLE stacyard_reader IN DATABASE %I SET max_parallel_workers_per_gather TO 0', current_database());
END
$$;
