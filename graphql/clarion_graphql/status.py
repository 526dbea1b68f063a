"""The ``status`` field: where each chain's index stands and what this server serves."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import strawberry

from clarion.chains.model import Finality
from clarion.config import Ready
from clarion.protocol import DeployedProtocol, Protocol
from clarion.protocol_list import state_of
from clarion.source_health import SourceState
from clarion_graphql.context import Info
from clarion_graphql.enums import ChainName
from clarion_graphql.errors import InputError
from clarion_graphql.receipt import Receipt as ReceiptValue
from clarion_graphql.scalars import BigInt, Bytes
from clarion_graphql.sql import literal

MOST_PROTOCOLS: Final = 1_000
"""How many protocols an index may have to be told of."""
MOST_SOURCES: Final = 1_000
"""How many sources an index may have to be told of."""
_SOURCE_FIELDS: Final = ("name", "kind", "state", "height", "detail", "seen_at")

_CLOCK: Final = """
SELECT to_timestamp(b.time), extract(epoch FROM statement_timestamp() - to_timestamp(b.time))::bigint, c.updated_at,
    greatest(extract(epoch FROM statement_timestamp() - c.updated_at), 0)::bigint
FROM clarion.cursor c LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash WHERE c.chain = %s
"""
_ANOMALIES: Final = """
SELECT count(*) FROM clarion.anomaly a
JOIN clarion.canonical_block c ON c.chain = a.chain AND c.height = a.height AND c.hash = a.block_hash WHERE a.chain = %s
"""
_SOURCES: Final = """
SELECT name, kind, state, height, detail, seen_at FROM clarion.source WHERE chain = %s ORDER BY name
"""
_INBOX: Final = """
SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error IS NOT NULL),
    extract(epoch FROM statement_timestamp() - min(received_at) FILTER (WHERE error IS NULL))::bigint
FROM clarion.inbox
"""
_PROTOCOLS: Final = """
SELECT name, generation, stopped_sequence IS NOT NULL, next_generation IS NOT NULL, next_ready, next_height
FROM clarion.protocol
"""


@strawberry.type(description="Where an answer was read. The same is in `extensions.receipt` of every answer.")
class Receipt:
    """A receipt as a type."""

    chain: ChainName = strawberry.field(description="The chain.")
    height: int | None = strawberry.field(description="Height of the tip; null while the index is empty.")
    hash: Bytes | None = strawberry.field(description="Hash of the tip; for Stacks the index block hash.")
    burn_height: int | None = strawberry.field(description="Height of the Bitcoin block that the tip is anchored to.")
    burn_hash: Bytes | None = strawberry.field(description="Hash of the Bitcoin block that the tip is anchored to.")
    finality: Finality | None = strawberry.field(description="How final the tip is.")
    digest: Bytes = strawberry.field(description="Hash over every change up to here: equal digests are equal indexes.")
    sequence: BigInt = strawberry.field(description="Number of the last change: `since` of a subscription.")


@strawberry.type(description="Where blocks come from, as it was last heard.")
class SourceStatus:
    """A source of blocks."""

    name: str = strawberry.field(description="Its name, such as `observer:10.0.0.7`.")
    kind: str = strawberry.field(description="`observer` for a node that posts; others are asked.")
    state: str = strawberry.field(
        description="`healthy`; `behind`: lower than the index; `forked`: on a branch that does not count; "
        "`unreachable`; `rewrites_final`: it told of a branch that would replace final blocks."
    )
    height: int | None = strawberry.field(description="Height of the last block that it told of.")
    detail: str | None = strawberry.field(description="What is wrong with it.")
    seen_at: datetime = strawberry.field(description="When it was last heard.")


@strawberry.type(description="One chain's index.")
class ChainStatus:
    """One chain's index."""

    chain: ChainName = strawberry.field(description="The chain.")
    receipt: Receipt = strawberry.field(description="The tip.")
    time: datetime | None = strawberry.field(description="When the tip was made, as its header says.")
    lag_seconds: int | None = strawberry.field(
        description="Age of the tip in seconds: how far behind the index is, and a chain that makes no blocks. "
        "Null where the chain's clock is ahead of the server's, as a devnet's is."
    )
    lag_blocks: int | None = strawberry.field(
        description="How many blocks of the highest healthy source are not indexed yet; null where none says."
    )
    updated_at: datetime = strawberry.field(description="When the index last moved.")
    silent_seconds: int = strawberry.field(description="How long ago the index last moved, in seconds.")
    stalled: bool = strawberry.field(
        description="Whether it stands still although a healthy source has more: for longer than the setting "
        "`ready.max_lag_seconds`."
    )
    burn_tip: int | None = strawberry.field(description="Height of the highest known Bitcoin block.")
    anomaly_count: int = strawberry.field(description="How many canonical events and transactions were not understood.")
    sources: list[SourceStatus] = strawberry.field(description="Where its blocks come from.")


@strawberry.type(description="Payloads that a node sent and that wait to be applied.")
class InboxStatus:
    """Payloads that wait."""

    depth: int = strawberry.field(description="How many wait.")
    failed: int = strawberry.field(description="How many could not be applied and are kept aside.")
    oldest_seconds: int | None = strawberry.field(
        description="Age of the oldest that waits, in seconds; null for none."
    )


@strawberry.type(description="A contract that a protocol follows.")
class ProtocolContract:
    """A contract that a protocol follows."""

    name: str = strawberry.field(description="Its name in the protocol.")
    id: str = strawberry.field(description="Its id on this network.")


@strawberry.type(description="A protocol that this server serves.")
class ProtocolStatus:
    """A protocol that this server serves."""

    name: str = strawberry.field(description="Its name.")
    title: str = strawberry.field(description="Its name for people.")
    chain: ChainName = strawberry.field(description="The chain that it reads.")
    state: str = strawberry.field(
        description="`live`: its rows are at the tip. `filling`, `waiting`: rows are yet to be made. `rebuilding`: "
        "they are at the tip and are made anew beside. `replacing`: they stand still until those of a changed package "
        "are made. `ready`: those are about to serve. `stopped`: it is not indexed any more."
    )
    filled_height: int | None = strawberry.field(
        description="Height up to which rows are made beside those that serve; null where none are being made."
    )
    contracts: list[ProtocolContract] = strawberry.field(
        description="The contracts it follows; empty where this server was not told who deployed them."
    )


@strawberry.type(description="Where this server and its index stand.")
class Status:
    """Where this server and its index stand."""

    version: str = strawberry.field(description="Version of Clarion.")
    chains: list[ChainStatus] = strawberry.field(description="The chains in this database.")
    inbox: InboxStatus = strawberry.field(description="What a node sent and that waits to be applied.")
    protocols: list[ProtocolStatus] = strawberry.field(description="The protocols that this server serves.")
    problems: list[str] = strawberry.field(
        description="Why answers may not be what the chain says now, for people; empty where nothing is known to be "
        "wrong."
    )


async def read_status(info: Info) -> Status:
    """Everything ``status`` says, in the operation's snapshot."""
    service, session = info.context.service, info.context.session
    if session.moments:
        raise InputError("status tells of now: ask for it without @asOf.")
    receipts = await session.receipts()
    chains = []
    for chain, receipt in receipts.items():
        ((time, lag, updated_at, silent),) = await session.fetch(literal(_CLOCK, chain))
        sources = [
            SourceStatus(**dict(zip(_SOURCE_FIELDS, row, strict=True)))
            for row in await session.fetch(literal(_SOURCES, chain), at_most=MOST_SOURCES)
        ]
        behind = _lag_blocks(receipt.height, sources)
        chains.append(
            ChainStatus(
                chain=ChainName(chain),
                receipt=_receipt(receipt),
                time=time,
                lag_seconds=lag if lag is not None and lag >= 0 else None,
                lag_blocks=behind,
                updated_at=updated_at,
                silent_seconds=silent,
                stalled=bool(behind) and silent > service.ready.max_lag_seconds,
                burn_tip=receipt.burn_tip,
                anomaly_count=await session.value(literal(_ANOMALIES, chain)),
                sources=sources,
            )
        )
    ((depth, failed, oldest),) = await session.fetch(literal(_INBOX))
    known = {name: rest for name, *rest in await session.fetch(literal(_PROTOCOLS), at_most=MOST_PROTOCOLS)}
    inbox = InboxStatus(depth=depth, failed=failed, oldest_seconds=oldest)
    outdated: dict[str, int | None] = {}
    for receipt in receipts.values():
        outdated |= receipt.outdated or {}
    served = [protocol.name for protocol in service.protocols]
    return Status(
        version=importlib.metadata.version("clarion"),
        chains=chains,
        inbox=inbox,
        protocols=[
            _protocol(protocol, service.deployed.get(protocol.name), known.get(protocol.name))
            for protocol in service.protocols
        ],
        problems=[
            *(problem for chain in chains for problem in _chain_problems(chain, service.ready)),
            *([f"Payloads of a node that could not be applied: {failed}."] if failed else ()),
            *(
                f"The rows of {name} are not those of the tip: they are those of block {outdated[name]}."
                if outdated[name] is not None
                else f"The rows of {name} have not been made yet."
                for name in served
                if name in outdated
            ),
        ],
    )


def _lag_blocks(height: int | None, sources: Sequence[SourceStatus]) -> int | None:
    heights = [source.height for source in sources if source.state == SourceState.HEALTHY and source.height is not None]
    return max(0, max(heights) - (-1 if height is None else height)) if heights else None


def _chain_problems(chain: ChainStatus, limits: Ready) -> Iterator[str]:
    name = chain.chain.value
    if chain.receipt.height is None:
        yield f"Nothing of {name} is indexed yet."
    if chain.sources and chain.lag_blocks is None:
        yield f"No source of {name} is healthy: nobody says how far the chain is."
    if chain.stalled:
        yield f"The index of {name} has stood still for {chain.silent_seconds} s, and there are more blocks."
    elif chain.lag_blocks is not None and chain.lag_blocks > limits.max_lag_blocks:
        yield f"The index of {name} is {chain.lag_blocks} blocks behind."
    for source in chain.sources:
        if source.state == SourceState.REWRITES_FINAL:
            yield f"The source {source.name} would replace final blocks of {name}: {source.detail}."
    if chain.anomaly_count:
        yield f"Events and transactions of {name} that were not understood: {chain.anomaly_count}; see anomalies."


def _protocol(protocol: Protocol, deployed: DeployedProtocol | None, known: Sequence[Any] | None) -> ProtocolStatus:
    generation, stopped, filling, ready, filled = known or (0, False, False, False, None)
    return ProtocolStatus(
        name=protocol.name,
        title=protocol.title or protocol.name,
        chain=ChainName(protocol.chain),
        state=state_of(generation, stopped=stopped, filling=filling, ready=ready, enabled=True),
        filled_height=filled,
        contracts=_contracts(deployed),
    )


def _contracts(deployed: DeployedProtocol | None) -> list[ProtocolContract]:
    if deployed is None:
        return []
    return [ProtocolContract(name=short, id=identifier) for identifier, short in sorted(deployed.contracts.items())]


def _receipt(receipt: ReceiptValue) -> Receipt:
    return Receipt(
        chain=ChainName(receipt.chain),
        height=receipt.height,
        hash=None if receipt.hash is None else Bytes(receipt.hash),
        burn_height=receipt.burn_height,
        burn_hash=None if receipt.burn_hash is None else Bytes(receipt.burn_hash),
        finality=receipt.finality,
        digest=Bytes(receipt.digest),
        sequence=BigInt(receipt.sequence),
    )
