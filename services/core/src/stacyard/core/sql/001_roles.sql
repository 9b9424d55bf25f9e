-- The login roles, and what holds for every session of each.
-- Settings sit on the roles because a pooled connection must not be changed by whoever borrows it.

DO $$
DECLARE
    login text;
BEGIN
    FOREACH login IN ARRAY ARRAY['stacyard_ingest', 'stacyard_writer', 'stacyard_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', login);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), login);
    END LOOP;
END
$$;

GRANT pgstac_read TO stacyard_reader;
GRANT pgstac_ingest TO stacyard_writer, stacyard_ingest;

-- default privileges below are given in the name of the role that will make the tables
DO $$ BEGIN EXECUTE format('GRANT stacyard_ingest TO %I', current_user); END $$;

DO $$
DECLARE
    setting record;
BEGIN
    FOR setting IN
        SELECT * FROM (VALUES
            ('stacyard_reader', 'search_path', 'pgstac, public'),
            ('stacyard_reader', 'default_transaction_read_only', 'on'),
            ('stacyard_reader', 'statement_timeout', '''15s'''),
            ('stacyard_reader', 'lock_timeout', '''2s'''),
            ('stacyard_reader', 'idle_in_transaction_session_timeout', '''15s'''),
            ('stacyard_reader', 'jit', 'off'),
            ('stacyard_writer', 'search_path', 'pgstac, public'),
            ('stacyard_writer', 'statement_timeout', '''25s'''),
            ('stacyard_writer', 'lock_timeout', '''5s'''),
            ('stacyard_writer', 'idle_in_transaction_session_timeout', '''30s'''),
            ('stacyard_writer', 'jit', 'off'),
            ('stacyard_ingest', 'search_path', 'pgstac, public'),
            ('stacyard_ingest', 'statement_timeout', '''10min'''),
            ('stacyard_ingest', 'lock_timeout', '''30s'''),
            ('stacyard_ingest', 'idle_in_transaction_session_timeout', '''10min'''),
            ('stacyard_ingest', 'jit', 'off')
        ) AS settings (login, name, value)
    LOOP
        EXECUTE format(
            'ALTER ROLE %I IN DATABASE %I SET %s TO %s',
            setting.login, current_database(), setting.name, setting.value
        );
    END LOOP;
END
$$;

-- pgSTAC writes a row for every search unless told that it may not. The name is pgSTAC's own, so that only a superuser,
-- or whoever was granted SET ON PARAMETER, may put it on a role. Where a managed database refuses, pgSTAC's own table of
-- settings says it for everybody; whoever registers a search says otherwise within that transaction.
DO $$
BEGIN
    EXECUTE format('ALTER ROLE stacyard_reader IN DATABASE %I SET pgstac.readonly TO true', current_database());
EXCEPTION WHEN insufficient_privilege THEN
    UPDATE pgstac.pgstac_settings SET value = 'true' WHERE name = 'readonly';
END
$$;
