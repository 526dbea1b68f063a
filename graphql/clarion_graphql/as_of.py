"""Reading an operation as of an earlier block: the directive ``@asOf`` on a query, and the tables as they were then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import psycopg
import strawberry
from graphql import GraphQLSchema
from graphql.execution.values import get_argument_values, get_variable_values
from psycopg import AsyncConnection, sql
from strawberry.directive import DirectiveLocation

from clarion.chains.model import Chain
from clarion.store.time_travel import Refusal, as_of_query, refused, relation
from clarion_graphql.chains import chains_of, only_chain_of
from clarion_graphql.documents import Operation
from clarion_graphql.enums import ChainName, chain_of
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.receipt import Receipt, read_receipt_at
from clarion_graphql.scalars import Bytes
from clarion_graphql.sql import Past, Sql, Table, tables_in, with_relations

NAME: Final = "asOf"

Receipts = dict[Chain, Receipt]

_CODES: Final = {
    Refusal.UNKNOWN_BLOCK: Code.UNKNOWN_BLOCK,
    Refusal.NOT_KEPT: Code.NOT_KEPT,
    Refusal.NOT_LIVE: Code.NOT_LIVE,
}


@dataclass(frozen=True, slots=True)
class Moment:
    """The canonical block that an operation asks a chain to be read as of: by its height or its hash."""

    chain: Chain
    height: int | None
    hash: bytes | None


def moments_of(schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any]) -> list[Moment]:
    """The blocks that ``@asOf`` names in an operation, of each chain one; none where all its arguments are null.

    Raises InputError where a block is named by both its height and its hash, a chain has two blocks, or one that the
    operation reads has none.
    """
    directives = [node for node in operation.node.directives or () if node.name.value == NAME]
    if not directives:
        return []
    values = get_variable_values(schema, operation.node.variable_definitions or (), dict(variables))
    definition = schema.get_directive(NAME)
    assert definition is not None
    if isinstance(values, list):
        return []  # variables that do not fit: execution says so, and reads nothing
    moments: dict[Chain, Moment] = {}
    for node in directives:
        given = get_argument_values(definition, node, values)
        height, block_hash = given.get("height"), given.get("hash")
        if height is not None and block_hash is not None:
            raise InputError("@asOf takes a block's height or its hash, not both.")
        if height is None and block_hash is None:
            continue
        named = given.get("chain")
        chain = only_chain_of(schema, operation, variables, NAME) if named is None else chain_of(named)
        if chain in moments:
            raise InputError(f"@asOf names two blocks of {chain}: one operation reads a chain as of one.")
        moments[chain] = Moment(chain, height, block_hash)
    missing = sorted((chains_of(schema, operation, variables) or set()) - moments.keys())
    if moments and missing:
        raise InputError(f"The operation reads {missing[0]} too: give @asOf once more, with a block of it.")
    return list(moments.values())


class PastTables:
    """The tables as they were at a canonical block of each of some chains, within one snapshot of the database."""

    def __init__(self, connection: AsyncConnection[Any], receipts: Mapping[Chain, Receipt]) -> None:
        self._connection = connection
        self._receipts = receipts
        self._relations: dict[str, sql.Composable] = {}
        self._chains: dict[str, Chain] | None = None

    async def read(self, query: Sql) -> Sql:
        """The query over the tables as they were. Raises ApiError where one cannot be told."""
        for table in tables_in(query.text):
            if table.name not in self._relations:
                self._relations[table.name] = await self._relation(table)
        text = with_relations(query.text, self._relations)
        assert isinstance(text, sql.SQL | sql.Composed)
        return Sql(text, query.parameters)

    async def _relation(self, table: Table) -> sql.Composable:
        if table.past is Past.TIP:
            tips = [map(sql.Literal, (r.chain, r.height, r.hash)) for r in self._receipts.values()]
            rows = sql.SQL(", ").join(sql.SQL("({}, {}, {}::bytea)").format(*tip) for tip in tips)
            return sql.SQL("(SELECT * FROM (VALUES {}) v (chain, height, hash))").format(rows)
        if table.past is Past.LOG:
            upto = sql.SQL(" OR ").join(
                sql.SQL("l.chain = {} AND l.height <= {}").format(sql.Literal(r.chain), sql.Literal(r.height))
                for r in self._receipts.values()
            )
            return sql.SQL("(SELECT * FROM {} l WHERE {})").format(table, upto)
        receipt = await self._receipt_of(table)
        assert receipt.height is not None
        text = await _ask(self._connection, *as_of_query(table.name, receipt.height, receipt.chain))
        return relation(text)

    async def _receipt_of(self, table: Table) -> Receipt:
        """The receipt of a projection's chain. Raises InputError where no block of that was named."""
        schema = table.name.partition(".")[0]
        found = await self._connection.execute("SELECT chain FROM clarion.protocol WHERE name = %s", (schema,))
        row = await found.fetchone()
        if row is None:  # of a protocol that is not indexed: reading it says so
            return next(iter(self._receipts.values()))
        if row[0] not in self._receipts:
            raise InputError(f"The operation reads {row[0]} too: give @asOf once more, with a block of it.")
        return self._receipts[row[0]]


async def _ask(connection: AsyncConnection[Any], query: sql.SQL | sql.Composed, parameters: tuple[Any, ...]) -> Any:
    """The value of one of the database's functions for time travel. Raises ApiError where it refuses."""
    try:
        async with connection.transaction():
            found = await (await connection.execute(query, parameters)).fetchone()
    except psycopg.Error as error:
        refusal = refused(error)
        if refusal is None:
            raise
        raise ApiError(_CODES[refusal.refusal], f"{refusal}.") from None
    assert found is not None
    return found[0]


async def past_tables(connection: AsyncConnection[Any], moments: Sequence[Moment]) -> tuple[Receipts, PastTables]:
    """The receipts of moments and the tables as they were then. Raises ApiError where there is no such block."""
    receipts = {}
    for moment in moments:
        by_hash = moment.hash is not None
        query = sql.SQL("SELECT clarion.canonical_height(%s::{}, %s)").format(sql.SQL("bytea" if by_hash else "bigint"))
        height = await _ask(connection, query, (moment.hash if by_hash else moment.height, moment.chain))
        receipt = await read_receipt_at(connection, moment.chain, height)
        assert receipt is not None
        receipts[moment.chain] = receipt
    return receipts, PastTables(connection, receipts)


@strawberry.directive(
    name=NAME,
    locations=[DirectiveLocation.QUERY],
    description="Read the whole query as of an earlier canonical block: `extensions.receipt` is that block's. Without "
    "a height and a hash it is read now. A query of both chains names a block of each: it has the directive twice. "
    "What is no part of the chain (finality, the mempool, Bitcoin blocks that a Stacks node announced) is always as it "
    "is now.",
)
def as_of_directive(
    height: Annotated[int | None, strawberry.argument(description="The block's height.")] = None,
    hash: Annotated[  # noqa: A002
        Bytes | None, strawberry.argument(description="Its hash instead; for Stacks the index block hash.")
    ] = None,
    chain: Annotated[
        ChainName | None, strawberry.argument(description="Its chain; null: the one that the query reads.")
    ] = None,
) -> None:
    """What the schema says of ``@asOf``; :func:`moments_of` reads it."""
