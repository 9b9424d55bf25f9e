-- A bulk load steps back while others want the database. The ingestor's role may not see what they ask, only that they do.

CREATE FUNCTION stacyard.others_asked(seconds double precision) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path TO pg_catalog AS $$
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND usename <> session_user
            AND (state = 'active' OR state_change > clock_timestamp() - make_interval(secs => seconds))
            -- what many idle services ask all the time: whether the database is there, and what has changed
            AND query <> 'SELECT 1' AND query NOT LIKE '%stacyard.catalog_revision%'
    )
$$;
COMMENT ON FUNCTION stacyard.others_asked IS
    'Whether sessions of other roles ran a statement within so long; false too if this function''s owner may not see them.';
REVOKE ALL ON FUNCTION stacyard.others_asked FROM PUBLIC;
GRANT EXECUTE ON FUNCTION stacyard.others_asked TO stacyard_ingest;
