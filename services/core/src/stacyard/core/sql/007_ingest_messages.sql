-- The queue of file events for streaming workers where there is no SQS: what is said stays until its work is committed.

CREATE TABLE stacyard.ingest_message (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body jsonb NOT NULL,
    sent_at timestamptz NOT NULL DEFAULT now(),
    visible_at timestamptz NOT NULL DEFAULT now(),
    received integer NOT NULL DEFAULT 0,
    receipt uuid
);
COMMENT ON TABLE stacyard.ingest_message IS 'Events of files that have come or changed; deleted when their items are in the catalog.';
COMMENT ON COLUMN stacyard.ingest_message.body IS '{"uri": "file:///…"} or an event of S3 as it was sent.';
COMMENT ON COLUMN stacyard.ingest_message.visible_at IS 'From when on a worker may receive it; later while another has it.';
COMMENT ON COLUMN stacyard.ingest_message.received IS 'How often it was received.';
COMMENT ON COLUMN stacyard.ingest_message.receipt IS 'Of the last receiver, who alone may keep it longer or give it back.';

CREATE INDEX ingest_message_visible ON stacyard.ingest_message (visible_at, id);

GRANT SELECT, INSERT, UPDATE, DELETE ON stacyard.ingest_message TO stacyard_ingest;
