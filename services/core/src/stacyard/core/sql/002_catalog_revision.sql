-- One number a collection, raised in the transaction of whoever changes it.

CREATE TABLE stacyard.catalog_revision (
    collection text PRIMARY KEY,
    revision bigint NOT NULL,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE stacyard.catalog_revision IS
    'Raised by every write to a collection or vector layer; part of every cache key that depends on it.';

CREATE FUNCTION stacyard.raise_catalog_revision(collection text) RETURNS bigint
LANGUAGE sql
BEGIN ATOMIC
    INSERT INTO stacyard.catalog_revision AS known (collection, revision, changed_at)
    VALUES (raise_catalog_revision.collection, 1, clock_timestamp())
    ON CONFLICT ON CONSTRAINT catalog_revision_pkey
        DO UPDATE SET revision = known.revision + 1, changed_at = excluded.changed_at
    RETURNING known.revision;
END;

GRANT USAGE ON SCHEMA stacyard TO stacyard_reader, stacyard_writer, stacyard_ingest;
GRANT SELECT ON stacyard.catalog_revision TO stacyard_reader;
GRANT SELECT, INSERT, UPDATE ON stacyard.catalog_revision TO stacyard_writer, stacyard_ingest;
