"""Reading one's own writes: the directives ``@minBlock`` and ``@afterTx`` on a query wait until the index has it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import psycopg
import strawberry
from graphql import GraphQLError, GraphQLSchema
from graphql.execution.values import get_argument_values, get_variable_values
from strawberry.directive import DirectiveLocation

from clarion.chains.model import Chain
from clarion_graphql.chains import only_chain_of
from clarion_graphql.context import Service
from clarion_graphql.documents import Operation
from clarion_graphql.enums import ChainName, chain_of
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.feed import POLL_S
from clarion_graphql.scalars import Bytes, hex_text, parse_tx_id
from clarion_graphql.session import fetch_alone
from clarion_graphql.sql import Sql, all_of, build, literal

MIN_BLOCK: Final = "minBlock"
AFTER_TX: Final = "afterTx"
#: How long a query waits where it does not say, and how long at most, in milliseconds.
DEFAULT_TIMEOUT_MS: Final = 5_000
MAX_TIMEOUT_MS: Final = 30_000
#: How long looking may take beyond that, in seconds: who does not want to wait is told where the index stands too.
LOOK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Requirement:
    """What the index has to have: blocks up to a height, a canonical block, or a transaction in one."""

    chain: Chain
    height: int | None = None
    hash: bytes | None = None
    tx_id: bytes | None = None
    timeout_ms: int = DEFAULT_TIMEOUT_MS

    @property
    def condition(self) -> Sql:
        """Whether the index has it, for the cursor ``u``."""
        return all_of(
            [
                None if self.height is None else literal("u.height >= %s", self.height),
                None
                if self.hash is None
                else literal(
                    "EXISTS (SELECT FROM clarion.canonical_block c WHERE c.chain = u.chain AND c.hash = %s)", self.hash
                ),
                None
                if self.tx_id is None
                else literal(
                    "EXISTS (SELECT FROM clarion.transaction x JOIN clarion.canonical_block c "
                    "ON c.chain = x.chain AND c.height = x.height AND c.hash = x.block_hash "
                    "WHERE x.chain = u.chain AND x.tx_id = %s)",
                    self.tx_id,
                ),
            ]
        )

    @property
    def name(self) -> str:
        """What it is, for people."""
        if self.tx_id is not None:
            return f"transaction {hex_text(self.tx_id)}"
        return f"block {self.height if self.hash is None else hex_text(self.hash)}"


@dataclass(frozen=True, slots=True)
class _State:
    height: int | None
    is_met: bool
    mempool: str | None


def requirements_of(schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any]) -> list[Requirement]:
    """What ``@minBlock`` and ``@afterTx`` ask for in an operation; one whose argument is null asks for nothing.

    Raises InputError where ``@minBlock`` has both its arguments, ``@afterTx`` what is no transaction's id, or a timeout
    is out of bounds.
    """
    directives = [node for node in operation.node.directives or () if node.name.value in (MIN_BLOCK, AFTER_TX)]
    if not directives:
        return []
    values = get_variable_values(schema, operation.node.variable_definitions or (), dict(variables))
    if isinstance(values, list):
        return []  # variables that do not fit: execution says so, and reads nothing
    requirements = []
    for node in directives:
        name = node.name.value
        definition = schema.get_directive(name)
        assert definition is not None
        arguments = get_argument_values(definition, node, values)
        timeout = arguments["timeoutMs"]
        if not 0 <= timeout <= MAX_TIMEOUT_MS:
            raise InputError(f"@{name}: timeoutMs is from 0 to {MAX_TIMEOUT_MS}.")
        height, block_hash, tx_id = (arguments.get(key) for key in ("height", "hash", "txId"))
        if height is not None and block_hash is not None:
            raise InputError("@minBlock takes a block's height or its hash, not both.")
        if height is None and block_hash is None and tx_id is None:
            continue
        if tx_id is not None:
            parse_tx_id(tx_id)
        named = arguments.get("chain")
        chain = only_chain_of(schema, operation, variables, name) if named is None else chain_of(named)
        requirements.append(Requirement(chain, height, block_hash, tx_id, timeout))
    return requirements


async def wait_for_block(
    service: Service, schema: GraphQLSchema, operation: Operation, variables: Mapping[str, Any]
) -> None:
    """Wait until the index has what an operation requires. To be awaited before its snapshot is taken.

    Raises ApiError with NOT_YET where that takes longer than the operation allows.
    """
    for requirement in requirements_of(schema, operation, variables):
        await _wait(service, requirement)


async def _wait(service: Service, requirement: Requirement) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + requirement.timeout_ms / 1000
    state: _State | None = None
    while True:
        turn = service.feed.turn(requirement.chain)
        # everybody who waits for the same is told by one read
        try:
            async with asyncio.timeout_at(deadline + LOOK_S):
                state = await service.short_reads.read(
                    ("requirement", requirement, turn), lambda: _read_state(service, requirement)
                )
        except TimeoutError:
            raise _not_yet(requirement, state) from None
        except psycopg.OperationalError as error:
            raise GraphQLError(str(error), original_error=error) from error
        if state.is_met:
            return
        left = deadline - loop.time()
        if left <= 0:
            raise _not_yet(requirement, state)
        try:
            # no longer than this without a look: while the feed is not connected nothing wakes
            await asyncio.wait_for(service.feed.turned(requirement.chain, turn), min(left, POLL_S))
        except TimeoutError:
            continue


async def _read_state(service: Service, requirement: Requirement) -> _State:
    query = build(
        "SELECT u.height, {condition}, (SELECT coalesce('it was dropped: ' || m.dropped_reason, 'the node holds it') "
        "FROM clarion.mempool_transaction m WHERE m.tx_id = {tx_id}) FROM clarion.cursor u WHERE u.chain = {chain}",
        condition=requirement.condition,
        tx_id=literal("%s", requirement.tx_id),
        chain=literal("%s", requirement.chain),
    )
    rows = await fetch_alone(service.pool, query)
    return _State(*rows[0]) if rows else _State(None, is_met=False, mempool=None)


def _not_yet(requirement: Requirement, state: _State | None) -> ApiError:
    """``state``: what was seen last; None: the database is busy, and nothing was."""
    height = None if state is None else state.height
    if state is None:
        why = "the database did not say in time"
    else:
        why = "it is empty" if height is None else f"it is at height {height}"
        why += f"; {state.mempool}" if state.mempool is not None else ""
    return ApiError(
        Code.NOT_YET,
        f"The index has not got {requirement.name} after {requirement.timeout_ms} ms: {why}. Ask again.",
        chain=requirement.chain,
        height=height,
    )


_TIMEOUT: Final = f"How long to wait, in milliseconds, at most {MAX_TIMEOUT_MS}; 0 does not wait."
_CHAIN: Final = "The chain; null: the one that the query reads."


@strawberry.directive(
    name=MIN_BLOCK,
    locations=[DirectiveLocation.QUERY],
    description="Wait until the index has a block before anything is read; the error `NOT_YET` says that it took too "
    "long, and how high the index is.",
)
def min_block_directive(
    height: Annotated[
        int | None, strawberry.argument(description="Height that the index is to have reached; null does not wait.")
    ] = None,
    hash: Annotated[  # noqa: A002
        Bytes | None,
        strawberry.argument(description="Hash of a block that is to be canonical; for Stacks the index block hash."),
    ] = None,
    chain: Annotated[ChainName | None, strawberry.argument(description=_CHAIN)] = None,
    timeout_ms: Annotated[int, strawberry.argument(description=_TIMEOUT)] = DEFAULT_TIMEOUT_MS,
) -> None:
    """What the schema says of ``@minBlock``; :func:`wait_for_block` reads it."""


@strawberry.directive(
    name=AFTER_TX,
    locations=[DirectiveLocation.QUERY],
    description="Wait until a transaction is in a canonical block of the index, successful or not, before anything is "
    "read; the error `NOT_YET` says that it took too long.",
)
def after_tx_directive(
    tx_id: Annotated[Bytes | None, strawberry.argument(description="Transaction id; null does not wait.")] = None,
    chain: Annotated[ChainName | None, strawberry.argument(description=_CHAIN)] = None,
    timeout_ms: Annotated[int, strawberry.argument(description=_TIMEOUT)] = DEFAULT_TIMEOUT_MS,
) -> None:
    """What the schema says of ``@afterTx``; :func:`wait_for_block` reads it."""
