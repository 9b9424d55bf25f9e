-- Which properties the items of each collection have, and what their values are: written by whoever loads items.
--
-- This is beside pgstac.queryables, which stays the operator's. There, after every statement, a trigger walks the partitions
-- of all collections that a changed row names, and compares them with all rows of the table: with 300 collections that
-- share a row, adding one more takes eleven seconds.

CREATE TABLE stacyard.item_property (
    collection_key bigint NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    PRIMARY KEY (collection_key, name)
);
COMMENT ON TABLE stacyard.item_property IS 'The properties that items of a collection have had, each with the one type that holds all of its values.';
COMMENT ON COLUMN stacyard.item_property.collection_key IS
    'pgstac.collections.key: a collection that is made anew under the same id has another, and inherits nothing.';
COMMENT ON COLUMN stacyard.item_property.kind IS 'See stacyard.core.kinds; it only ever becomes wider.';
CREATE INDEX item_property_name ON stacyard.item_property (name, collection_key);

GRANT SELECT ON stacyard.item_property TO stacyard_reader, stacyard_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON stacyard.item_property TO stacyard_ingest;
