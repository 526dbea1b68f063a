"""Where blocks and what they mean are kept: chain log, projections, change log, cursor, all in one Postgres database."""
