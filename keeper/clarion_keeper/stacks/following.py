"""What became of transactions: the index says what is in a block, the nodes what still waits for one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from clarion.chains.stacks.clarity import Value, decode
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.chains.stacks.node_client import NodeError
from clarion_keeper.executor import Fate, Outgoing, Seen, is_displaced_for_good
from clarion_keeper.graph import MinedTransaction, Reader, Receipt
from clarion_keeper.stacks.nodes import Nodes


async def follow(
    nodes: Nodes, reader: Reader, outgoings: Sequence[Outgoing], address: str
) -> tuple[Mapping[int, Seen], Receipt]:
    """What became of outgoings of one account, by id, looking at every attempt of each; and where the index stood.

    Raises NodeError, `clarion_keeper.graph.GraphError`.
    """
    if not outgoings:
        return {}, await reader.tip()
    # Asked before the index is read: an index at least this far that does not have a transaction whose nonce is used up
    # proves that another one took its place.
    tip, account = await asyncio.gather(nodes.tip_height(), nodes.account(address))
    attempts = [attempt.tx_id for outgoing in outgoings for attempt in outgoing.attempts]
    found, receipt = await reader.transactions(attempts)
    fates = await asyncio.gather(
        *(_seen(nodes, reader, outgoing, found, receipt, tip, account.nonce) for outgoing in outgoings)
    )
    return dict(zip((outgoing.id for outgoing in outgoings), fates, strict=True)), receipt


async def _seen(
    nodes: Nodes,
    reader: Reader,
    outgoing: Outgoing,
    found: Mapping[bytes, MinedTransaction],
    receipt: Receipt,
    tip: int,
    confirmed: int,
) -> Seen:
    for attempt in outgoing.attempts:
        if (mined := found.get(attempt.tx_id)) is not None:
            return _mined(mined)
    if outgoing.nonce is not None and outgoing.nonce < confirmed:
        if receipt.height < tip:
            return Seen(fate=Fate.UNKNOWN, reason=f"the index is at {receipt.height}, the nodes at {tip}")
        return Seen(
            fate=Fate.DISPLACED,
            reason=f"nonce {outgoing.nonce} was used by another transaction, seen at {receipt.height} {receipt.hash}",
            final=await is_displaced_for_good(outgoing, reader),
        )
    if outgoing.state == "displaced" and tip < receipt.height:
        return Seen(fate=Fate.UNKNOWN, reason=f"the nodes are at {tip}, the index at {receipt.height}")
    if outgoing.newest.state == "signed":
        return Seen(fate=Fate.DROPPED, reason="no node has taken it yet")
    try:
        waiting = await nodes.is_waiting(outgoing.newest.tx_id)
    except NodeError as error:
        return Seen(fate=Fate.UNKNOWN, reason=str(error))
    if waiting:
        return Seen(fate=Fate.PENDING)
    return Seen(fate=Fate.DROPPED, reason="no node has it in its mempool any more")


def _mined(mined: MinedTransaction) -> Seen:
    return Seen(
        fate=Fate.MINED,
        tx_id=mined.tx_id,
        height=mined.height,
        block_hash=mined.block_hash,
        final=mined.final,
        status=mined.status,
        result=_result(mined.result),
        fee=mined.fee,
    )


def _result(raw: bytes | None) -> Value | None:
    try:
        return None if raw is None else decode(raw)
    except DecodeError:
        # A job takes None for a result that it knows nothing of, and stops.
        return None
