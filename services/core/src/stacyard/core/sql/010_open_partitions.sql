-- A partition that is open already costs next to nothing to open once more: several writers come upon the same ones.

CREATE OR REPLACE FUNCTION stacyard.open_partition(collection text, instant timestamptz) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path TO pgstac, public AS $$
DECLARE
    name text;
    relation regclass;
BEGIN
    SELECT partition_name INTO name FROM pgstac.partition_name(open_partition.collection, instant);
    relation := to_regclass(format('pgstac.%I', name));
    IF relation IS NOT NULL AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = relation AND contype = 'c') THEN
        RETURN name;
    END IF;
    IF relation IS NULL THEN
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
