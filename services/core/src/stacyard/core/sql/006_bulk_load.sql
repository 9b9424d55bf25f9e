-- What the bulk loader needs of pgSTAC's partitions and may not do itself, because they belong to pgSTAC's administrator.
--
-- pgSTAC tightens a partition's CHECK constraint to the data in it, so that searches can pass over it, and rebuilds it under
-- an exclusive lock while it reads the whole partition. Here a load takes the constraint off first, which is instant, and
-- puts it back at the end in two steps of which only the first, instant one excludes searches.

GRANT USAGE, CREATE ON SCHEMA stacyard TO pgstac_admin;

CREATE FUNCTION stacyard.open_partition(collection text, instant timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO pgstac, public AS $$
DECLARE
    name text;
BEGIN
    SELECT partition_name INTO name FROM pgstac.partition_name(open_partition.collection, instant);
    IF to_regclass(format('pgstac.%I', name)) IS NULL THEN
        PERFORM pgstac.check_partition(
            open_partition.collection, tstzrange(instant, instant, '[]'), tstzrange(instant, instant, '[]')
        );
        IF to_regclass(format('pgstac.%I', name)) IS NULL THEN
            RAISE EXCEPTION 'pgSTAC could not make the partition % of collection %', name, open_partition.collection
                USING ERRCODE = 'lock_not_available';
        END IF;
    END IF;
    PERFORM pgstac.drop_table_constraints(name);
    RETURN name;
END;
$$;
COMMENT ON FUNCTION stacyard.open_partition IS
    'The partition for items of this datetime, made if there is none, without a constraint on what it holds.';

CREATE FUNCTION stacyard.constrain_partition(name text, times tstzrange, ends tstzrange) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO pgstac, public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgstac.partition_catalog_meta(name)) THEN
        RETURN;
    END IF;
    EXECUTE format('ALTER TABLE pgstac.%I DROP CONSTRAINT IF EXISTS %I', name, name || '_dt');
    -- the spelling is pgSTAC's own, which it reads back
    EXECUTE format(
        'ALTER TABLE pgstac.%I ADD CONSTRAINT %I CHECK ((datetime >= %L) AND (datetime <= %L) '
        'AND (end_datetime >= %L) AND (end_datetime <= %L)) NOT VALID',
        name, name || '_dt', lower(times), upper(times), lower(ends), upper(ends)
    );
END;
$$;
COMMENT ON FUNCTION stacyard.constrain_partition IS
    'Put a constraint on a partition for what comes from now on; stacyard.validate_partition looks at what is there.';

CREATE FUNCTION stacyard.validate_partition(name text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO pgstac, public AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pgstac.partition_catalog_meta(name)) THEN
        RETURN false;
    END IF;
    BEGIN
        EXECUTE format('ALTER TABLE pgstac.%I VALIDATE CONSTRAINT %I', name, name || '_dt');
    EXCEPTION WHEN check_violation OR undefined_object THEN
        RETURN false;
    END;
    EXECUTE format('ANALYZE pgstac.%I', name);
    RETURN true;
END;
$$;
COMMENT ON FUNCTION stacyard.validate_partition IS
    'See that all rows of a partition keep its constraint, beside readers and writers; false if one does not.';

ALTER FUNCTION stacyard.open_partition OWNER TO pgstac_admin;
ALTER FUNCTION stacyard.constrain_partition OWNER TO pgstac_admin;
ALTER FUNCTION stacyard.validate_partition OWNER TO pgstac_admin;
REVOKE CREATE ON SCHEMA stacyard FROM pgstac_admin;
REVOKE ALL ON FUNCTION stacyard.open_partition, stacyard.constrain_partition, stacyard.validate_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stacyard.open_partition, stacyard.constrain_partition, stacyard.validate_partition
    TO stacyard_ingest;

CREATE TABLE stacyard.ingest_seen (
    run_id bigint NOT NULL REFERENCES stacyard.ingest_run ON DELETE CASCADE,
    item_id text NOT NULL
);
COMMENT ON TABLE stacyard.ingest_seen IS
    'Which items a mirroring run has seen in its sources; what it has not seen is deleted at its end. Ids may repeat.';
CREATE INDEX ingest_seen_run ON stacyard.ingest_seen (run_id, item_id);
GRANT SELECT, INSERT, DELETE ON stacyard.ingest_seen TO stacyard_ingest;
