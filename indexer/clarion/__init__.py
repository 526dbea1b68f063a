"""Clarion: follows Stacks and Bitcoin block by block into Postgres projections."""
