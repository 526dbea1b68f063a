"""The GraphQL schema that is committed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from graphql import GraphQLSchema, build_schema

COMMITTED: Final = Path(__file__).resolve().parents[2] / "graphql" / "schema.graphql"


@cache
def committed_schema() -> GraphQLSchema:
    """The schema that is committed, read once: it is long."""
    return build_schema(COMMITTED.read_text(encoding="utf-8"))
