-- Where the ingestor puts vector layers and the vector service finds them.

CREATE SCHEMA features;
COMMENT ON SCHEMA features IS 'Vector layers: one table each, made by the ingestor, served by the vector service.';
GRANT USAGE ON SCHEMA features TO stacyard_reader, stacyard_writer;
GRANT USAGE, CREATE ON SCHEMA features TO stacyard_ingest;
ALTER DEFAULT PRIVILEGES FOR ROLE stacyard_ingest IN SCHEMA features GRANT SELECT ON TABLES TO stacyard_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE stacyard_ingest IN SCHEMA features GRANT EXECUTE ON FUNCTIONS TO stacyard_reader;
