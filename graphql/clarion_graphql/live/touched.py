"""Which tables a commit changed, and which a query reads: where they are others, nothing is read again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import strawberry
from graphql import GraphQLObjectType
from psycopg_pool import AsyncConnectionPool

from clarion.chains.model import Chain
from clarion_graphql.entities import Entity
from clarion_graphql.live.sources import LiveQuery
from clarion_graphql.reads import (
    READS,
    AggregateRead,
    ColumnRead,
    DecimalRead,
    ListRead,
    NodeIdRead,
    RelationRead,
    SingleRead,
)
from clarion_graphql.session import fetch_alone
from clarion_graphql.shared_reads import SharedReads
from clarion_graphql.sql import literal

#: Over more sequence numbers than these it is not looked for what changed: something did.
WINDOW: Final = 20_000

_CHANGED: Final = """
SELECT u.sequence,
    CASE WHEN u.sequence - %s <= %s THEN ARRAY(
        SELECT DISTINCT s."table" FROM clarion.change s
        WHERE s.chain = u.chain AND s.sequence > %s AND s.sequence <= u.sequence
    ) END,
    ARRAY(SELECT p.name FROM clarion.protocol p WHERE p.chain = u.chain AND p.since_sequence > %s)
FROM clarion.cursor u WHERE u.chain = %s
"""
_WORD: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Touched:
    """What changed up to a sequence: ``tables`` (None: it is not known) and every table of ``rebuilt`` protocols."""

    sequence: int
    tables: frozenset[str] | None
    rebuilt: frozenset[str]

    def any_of(self, tables: frozenset[str]) -> bool:
        """Whether one of these tables changed, or may have."""
        if self.tables is None or not self.tables.isdisjoint(tables):
            return True
        return any(table.partition(".")[0] in self.rebuilt for table in tables)


class TouchedTables:
    """Tells what changed since a sequence, with one read for all who ask after the same commit."""

    def __init__(self, pool: AsyncConnectionPool, reads: SharedReads) -> None:
        self._pool = pool
        self._reads = reads

    async def since(self, chain: Chain, after: int) -> Touched:
        """What changed after a sequence. Raises psycopg.OperationalError while the database does not answer."""
        return await self._reads.read(("touched", chain, after), lambda: self._read(chain, after))

    async def _read(self, chain: Chain, after: int) -> Touched:
        rows = await fetch_alone(self._pool, literal(_CHANGED, after, WINDOW, after, after, chain))
        if not rows:
            return Touched(after, None, frozenset())
        sequence, tables, rebuilt = rows[0]
        return Touched(sequence, None if tables is None else frozenset(tables), frozenset(rebuilt))


@dataclass
class ReadTables:
    """Which tables the words of a query say that it reads.

    A word is taken for whatever has that name anywhere in the schema, so what is said is too much rather than too
    little. Where one of them may stand for what also depends on something else (how final a block is, where the chain
    stands), nothing is said.
    """

    _tables: dict[str, set[str]] = field(default_factory=dict)
    _roots: set[str] = field(default_factory=set)
    _others: set[str] = field(default_factory=set)
    _chains: dict[str, Chain] = field(default_factory=dict)

    @classmethod
    def of_schema(cls, schema: strawberry.Schema) -> ReadTables:
        """What the names of a schema stand for."""
        known = cls()
        for kind in schema._schema.type_map.values():
            if isinstance(kind, GraphQLObjectType):
                known._learn(kind, is_query=kind is schema._schema.query_type)
        return known

    def _learn(self, kind: GraphQLObjectType, *, is_query: bool) -> None:
        reads = {
            name: definition.metadata.get(READS)
            for name, described in kind.fields.items()
            if (definition := described.extensions.get("strawberry-definition")) is not None
        }
        if not is_query and not any(isinstance(read, ColumnRead) for read in reads.values()):
            return  # a page, an edge, a message: its rows are of other types
        for name, read in reads.items():
            match read:
                case ColumnRead(_, column) if column.expression is None and column.within is None:
                    pass
                case ColumnRead(_, column):
                    self._others |= {name, column.name.upper(), (column.shown_as or column.name).upper()}
                case DecimalRead() | NodeIdRead():
                    pass
                case RelationRead(_, relation, target) if relation.condition is None:
                    self._add(name, target)
                    if relation.via is not None:
                        self._tables[name].add(relation.via.table)
                case ListRead(entity) | SingleRead(entity) | AggregateRead(entity):
                    self._add(name, entity)
                    self._roots.add(name)
                case _ if not is_query:
                    self._others.add(name)

    def _add(self, name: str, entity: Entity) -> None:
        if not entity.projection or entity.chain is None:
            self._others.add(name)
        else:
            self._chains[entity.table] = entity.chain
        self._tables.setdefault(name, set()).add(entity.table)

    def of(self, query: LiveQuery, variables: Mapping[str, object]) -> tuple[Chain, frozenset[str]] | None:
        """The tables that a query reads, and their chain; None where its answer may depend on more."""
        if query.roots is None or not query.roots <= self._roots:
            return None
        words = set(_WORD.findall(query.text)) | set(_WORD.findall(repr(variables)))
        if not words.isdisjoint(self._others):
            return None
        tables = frozenset(table for word in words for table in self._tables.get(word, ()))
        chains = {self._chains.get(table) for table in tables}
        if len(chains) != 1 or (chain := chains.pop()) is None:
            return None
        return chain, tables
