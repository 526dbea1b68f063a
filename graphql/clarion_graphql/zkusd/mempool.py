"""What waits in a Bitcoin node's mempool and spends states or vaults: the next operation has to come after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from decimal import ROUND_CEILING, Decimal
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, Final

import structlog
from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion.chains.bitcoin.rpc import BitcoinRpc, RpcError
from clarion.chains.bitcoin.source import BitcoinSourceError
from clarion.chains.bitcoin.transactions import parse_transaction
from clarion.chains.bitcoin.units import SATS_PER_BITCOIN, parse_outpoint, script_text
from clarion_graphql.amounts import figure
from clarion_graphql.chains import of_chain
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError
from clarion_graphql.lengths import Length
from clarion_graphql.types import Types, make_field, make_type, with_arguments

log = structlog.get_logger(__name__)

#: Most outpoints that are asked for at once.
MOST_OUTPOINTS: Final = 2_000
#: Within how many blocks a transaction of the fee rate is to be mined.
FEE_BLOCKS: Final = 2
NODE_TIMEOUT_S: Final = 3.0


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about what waits to be mined."""
    del types
    spend = make_type(
        "ZkusdPendingSpend",
        [
            figure("outpoint", str, "What it spends, `txid:vout`."),
            figure("tx_id", str, "The transaction, plain hexadecimal."),
            figure("scripts", list[str], "Locking scripts of its outputs: whom it pays."),
        ],
        "A transaction that waits and spends an outpoint. It may be replaced or never be mined.",
    )
    mempool = make_type(
        "ZkusdMempool",
        [
            figure(
                "fee_rate",
                int | None,
                f"What to pay to be mined within {FEE_BLOCKS} blocks, by the node's estimate; null: it has none. Unit: "
                "satoshis for 1,000 virtual bytes.",
            ),
            figure("spends", StrawberryList(spend), "Which of the outpoints are spent there, and by what."),
        ],
        "What a Bitcoin node says of transactions that are in no block. It is of now, and not of the receipt's block.",
    )

    async def resolve(root: Any, info: Info, *, outpoints: list[str]) -> Any:
        if len(outpoints) > MOST_OUTPOINTS:
            raise InputError(f"At most {MOST_OUTPOINTS} outpoints.")
        try:
            asked = [parse_outpoint(outpoint) for outpoint in outpoints]
        except ValueError as error:
            raise InputError(str(error)) from error
        node = info.context.service.bitcoin
        if node is None or info.context.session.moments:
            return None
        try:
            async with asyncio.timeout(NODE_TIMEOUT_S):
                return await _read(node, asked)
        except (BitcoinSourceError, TimeoutError) as error:
            log.warning("graphql.bitcoin_node_silent", reason=str(error) or "it takes too long")
            return None

    return [
        of_chain(
            make_field(
                "zkusdMempool",
                mempool | None,
                "What spends these outpoints in the mempool of the index's Bitcoin node; null where the index has no "
                "node (`bitcoin.sources` without `rpc`), it does not answer, or an earlier block is asked for.",
                resolver=with_arguments(
                    resolve, {"outpoints": (list[str], Parameter.empty, "Of states and vaults, `txid:vout`.")}
                ),
                length=Length(MOST_OUTPOINTS, "outpoints"),
            ),
            "bitcoin",
        )
    ]


async def _read(node: BitcoinRpc, outpoints: Sequence[tuple[bytes, int]]) -> SimpleNamespace:
    asked = [{"txid": tx_id.hex(), "vout": vout} for tx_id, vout in outpoints]
    found = await node.call("gettxspendingprevout", asked) if asked else []
    spent = [(f"{one['txid']}:{one['vout']}", one["spendingtxid"]) for one in found if "spendingtxid" in one]
    scripts: dict[str, list[str]] = {}
    for tx_id in dict.fromkeys(tx_id for _, tx_id in spent):
        try:
            transaction = parse_transaction(bytes.fromhex(await node.call("getrawtransaction", tx_id)))
        except RpcError:
            continue  # it was replaced or mined meanwhile
        scripts[tx_id] = [script_text(output.script) for output in transaction.outputs]
    return SimpleNamespace(
        fee_rate=await _fee_rate(node),
        spends=[
            SimpleNamespace(outpoint=outpoint, tx_id=tx_id, scripts=scripts[tx_id])
            for outpoint, tx_id in spent
            if tx_id in scripts
        ],
    )


async def _fee_rate(node: BitcoinRpc) -> int | None:
    said = await node.call("estimatesmartfee", FEE_BLOCKS)
    if "feerate" not in said:
        return None
    return int((Decimal(str(said["feerate"])) * SATS_PER_BITCOIN).to_integral_value(ROUND_CEILING))
