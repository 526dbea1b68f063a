"""Reading an operation as of an earlier block: the directive ``@asOf`` on a query, and the tables as they were then."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import psycopg
import strawberry
from graphql import DocumentNode, GraphQLSchema, get_directive_values, get_operation_ast
from graphql.execution.values import get_variable_values
from psycopg import AsyncConnection, sql
from strawberry.directive import DirectiveLocation

from clarion.chains.model import Chain
from clarion.store.time_travel import Refusal, as_of_query, refused, relation
from clarion_graphql.enums import ChainName, chain_of
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.receipt import Receipt, read_receipt_at
from clarion_graphql.scalars import Bytes
from clarion_graphql.sql import Past, Sql, Table, tables_in, with_relations

NAME: Final = "asOf"

_CODES: Final = {
    Refusal.UNKNOWN_BLOCK: Code.UNKNOWN_BLOCK,
    Refusal.NOT_KEPT: Code.NOT_KEPT,
    Refusal.NOT_LIVE: Code.NOT_LIVE,
}


@dataclass(frozen=True, slots=True)
class Moment:
    """The canonical block that an operation asks to be read as of: by its height or its hash."""

    chain: Chain
    height: int | None
    hash: bytes | None


def moment_of(
    schema: GraphQLSchema, document: DocumentNode, operation_name: str | None, variables: Mapping[str, Any]
) -> Moment | None:
    """The block that ``@asOf`` names in an operation; None without it, or where both its arguments are null.

    Raises InputError where both are given.
    """
    operation = get_operation_ast(document, operation_name)
    if operation is None or not operation.directives:
        return None
    values = get_variable_values(schema, operation.variable_definitions or (), dict(variables))
    definition = schema.get_directive(NAME)
    assert definition is not None
    if isinstance(values, list):
        return None  # variables that do not fit: execution says so, and reads nothing
    given = get_directive_values(definition, operation, values)
    if given is None:
        return None
    height, block_hash = given.get("height"), given.get("hash")
    if height is not None and block_hash is not None:
        raise InputError("@asOf takes a block's height or its hash, not both.")
    if height is None and block_hash is None:
        return None
    return Moment(chain_of(given["chain"]), height, block_hash)


class PastTables:
    """The tables as they were at a canonical block, within one snapshot of the database."""

    def __init__(self, connection: AsyncConnection[Any], receipt: Receipt) -> None:
        assert receipt.height is not None
        self._connection = connection
        self._receipt = receipt
        self._height = receipt.height
        self._relations: dict[str, sql.Composable] = {}

    async def read(self, query: Sql) -> Sql:
        """The query over the tables as they were. Raises ApiError where one cannot be told."""
        for table in tables_in(query.text):
            if table.name not in self._relations:
                self._relations[table.name] = await self._relation(table)
        text = with_relations(query.text, self._relations)
        assert isinstance(text, sql.SQL | sql.Composed)
        return Sql(text, query.parameters)

    async def _relation(self, table: Table) -> sql.Composable:
        chain, height = sql.Literal(self._receipt.chain), sql.Literal(self._height)
        if table.past is Past.TIP:
            return sql.SQL("(SELECT {} AS chain, {} AS height, {} AS hash)").format(
                chain, height, sql.Literal(self._receipt.hash)
            )
        if table.past is Past.LOG:
            return sql.SQL("(SELECT * FROM {} l WHERE l.chain = {} AND l.height <= {})").format(table, chain, height)
        text = await _ask(self._connection, *as_of_query(table.name, self._height, self._receipt.chain))
        return relation(text)


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


async def past_tables(connection: AsyncConnection[Any], moment: Moment) -> tuple[Receipt, PastTables]:
    """The receipt of a moment and the tables as they were then. Raises ApiError where there is no such block."""
    by_hash = moment.hash is not None
    query = sql.SQL("SELECT clarion.canonical_height(%s::{}, %s)").format(sql.SQL("bytea" if by_hash else "bigint"))
    height = await _ask(connection, query, (moment.hash if by_hash else moment.height, moment.chain))
    receipt = await read_receipt_at(connection, moment.chain, height)
    assert receipt is not None
    return receipt, PastTables(connection, receipt)


@strawberry.directive(
    name=NAME,
    locations=[DirectiveLocation.QUERY],
    description="Read the whole query as of an earlier canonical block: `extensions.receipt` is that block's. Without "
    "a height and a hash it is read now. What is no part of the chain (finality, the mempool, Bitcoin blocks) is "
    "always as it is now.",
)
def as_of_directive(
    height: Annotated[int | None, strawberry.argument(description="The block's height.")] = None,
    hash: Annotated[  # noqa: A002
        Bytes | None, strawberry.argument(description="Its hash instead; for Stacks the index block hash.")
    ] = None,
    chain: Annotated[ChainName, strawberry.argument(description="The chain.")] = ChainName.STACKS,
) -> None:
    """What the schema says of ``@asOf``; :func:`moment_of` reads it."""
