"""The ``status`` field: where each chain's index stands and what this server serves."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import strawberry

from clarion.chains.model import Finality
from clarion.protocol import DeployedProtocol, Protocol
from clarion.protocol_list import state_of
from clarion_graphql.context import Info
from clarion_graphql.enums import ChainName
from clarion_graphql.errors import InputError
from clarion_graphql.receipt import Receipt as ReceiptValue
from clarion_graphql.scalars import BigInt, Bytes
from clarion_graphql.sql import literal

MOST_PROTOCOLS: Final = 1_000
"""How many protocols an index may have to be told of."""

_CLOCK: Final = """
SELECT to_timestamp(b.time), extract(epoch FROM statement_timestamp() - to_timestamp(b.time))::bigint, c.updated_at
FROM clarion.cursor c LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash WHERE c.chain = %s
"""
_ANOMALIES: Final = """
SELECT count(*) FROM clarion.anomaly a
JOIN clarion.canonical_block c ON c.chain = a.chain AND c.height = a.height AND c.hash = a.block_hash WHERE a.chain = %s
"""
_INBOX: Final = """
SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error IS NOT NULL),
    extract(epoch FROM statement_timestamp() - min(received_at) FILTER (WHERE error IS NULL))::bigint
FROM clarion.inbox
"""
_PROTOCOLS: Final = """
SELECT name, generation, stopped_sequence IS NOT NULL, next_generation IS NOT NULL, next_ready, next_height
FROM clarion.protocol WHERE chain = %s
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
    updated_at: datetime = strawberry.field(description="When the index last moved.")
    burn_tip: int | None = strawberry.field(description="Height of the highest known Bitcoin block.")
    anomaly_count: int = strawberry.field(description="How many canonical events and transactions were not understood.")


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


async def read_status(info: Info) -> Status:
    """Everything ``status`` says, in the operation's snapshot."""
    service, session = info.context.service, info.context.session
    if session.moment is not None:
        raise InputError("status tells of now: ask for it without @asOf.")
    receipts = await session.receipts()
    chains = []
    for chain, receipt in receipts.items():
        ((time, lag, updated_at),) = await session.fetch(literal(_CLOCK, chain))
        chains.append(
            ChainStatus(
                chain=ChainName(chain),
                receipt=_receipt(receipt),
                time=time,
                lag_seconds=lag if lag is not None and lag >= 0 else None,
                updated_at=updated_at,
                burn_tip=receipt.burn_tip,
                anomaly_count=await session.value(literal(_ANOMALIES, chain)),
            )
        )
    ((depth, failed, oldest),) = await session.fetch(literal(_INBOX))
    known = {name: rest for name, *rest in await session.fetch(literal(_PROTOCOLS, "stacks"), at_most=MOST_PROTOCOLS)}
    return Status(
        version=importlib.metadata.version("clarion"),
        chains=chains,
        inbox=InboxStatus(depth=depth, failed=failed, oldest_seconds=oldest),
        protocols=[
            _protocol(protocol, service.deployed.get(protocol.name), known.get(protocol.name))
            for protocol in service.protocols
        ],
    )


def _protocol(protocol: Protocol, deployed: DeployedProtocol | None, known: Sequence[Any] | None) -> ProtocolStatus:
    generation, stopped, filling, ready, filled = known or (0, False, False, False, None)
    return ProtocolStatus(
        name=protocol.name,
        title=protocol.title or protocol.name,
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
