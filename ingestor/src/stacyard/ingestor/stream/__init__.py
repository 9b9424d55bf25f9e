"""A worker that consumes events of files as they come: from SQS, or from a table of the database."""
