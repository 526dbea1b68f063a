"""What the keeper remembers, in Postgres: every statement of the schema ``keeper`` that the engine runs."""
