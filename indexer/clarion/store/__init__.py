"""Where blocks and what they mean are kept: chain log, projections, change log and cursor, in one Postgres."""
