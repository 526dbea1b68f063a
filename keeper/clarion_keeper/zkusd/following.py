"""What became of spells: the index says what is in a block and who spent what, the nodes what still waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.rpc import RpcError
from clarion.chains.bitcoin.transactions import parse_transaction
from clarion.chains.bitcoin.units import outpoint_text
from clarion_keeper.charms.nodes import BitcoinNodes, Contention
from clarion_keeper.executor import Fate, Outgoing, Seen, is_displaced_for_good
from clarion_keeper.graph import PAGE, MinedTransaction, MovedError, Reader, Receipt

_SPENT: Final = """
query KeeperZkusdSpent($outpoints: [String!]!, $first: Int!) {
  zkusdOutpoints(filter: {outpoint: {in: $outpoints}}, first: $first) { nodes { outpoint spentBy charms } }
}
"""


@dataclass(frozen=True, slots=True)
class _Spent:
    """An output that holds, or held, zkUSD's charms. ``by``: the transaction that spent it; None: nobody has."""

    by: str | None
    is_vault: bool


def spends_of(outgoing: Outgoing) -> tuple[OutPoint, ...]:
    """What an outgoing spends. All of its attempts spend the same: only their change differs."""
    return tuple(OutPoint(taken.tx_id, taken.vout) for taken in parse_transaction(outgoing.newest.raw).inputs)


async def follow(nodes: BitcoinNodes, reader: Reader, outgoings: Sequence[Outgoing]) -> tuple[dict[int, Seen], Receipt]:
    """What became of outgoings, by id, and where the index stood. Raises GraphError, NodesUnavailableError."""
    attempts = [attempt.tx_id for outgoing in outgoings for attempt in outgoing.attempts]
    found, receipt = await reader.transactions(attempts)
    open_ones = [one for one in outgoings if not any(attempt.tx_id in found for attempt in one.attempts)]
    spent = await _spent(reader, [outpoint for one in open_ones for outpoint in spends_of(one)], receipt)
    seen = {}
    for one in outgoings:
        mined = next((found[attempt.tx_id] for attempt in one.attempts if attempt.tx_id in found), None)
        fate = _mined(one, mined) if mined else await _open(nodes, one, spent)
        if fate.fate is Fate.DISPLACED:
            fate = replace(fate, final=await is_displaced_for_good(one, reader))
        seen[one.id] = fate
    return seen, receipt


def _mined(outgoing: Outgoing, mined: MinedTransaction) -> Seen:
    fee = next(attempt.fee for attempt in outgoing.attempts if attempt.tx_id == mined.tx_id)
    return Seen(
        fate=Fate.MINED,
        tx_id=mined.tx_id,
        height=mined.height,
        block_hash=mined.block_hash,
        final=mined.final,
        status="success",
        fee=fee,
    )


async def _open(nodes: BitcoinNodes, outgoing: Outgoing, spent: Mapping[OutPoint, _Spent]) -> Seen:
    """Of one that is in no block."""
    mine = spends_of(outgoing)
    # the vault first: that somebody did it counts for more than that a state moved on
    for outpoint in sorted(spent.keys() & set(mine), key=lambda one: not spent[one].is_vault):
        found = spent[outpoint]
        if found.by is not None:
            what = "the vault" if found.is_vault else "a state"
            reason = f"somebody else's transaction {found.by} spent {what} first, {outpoint_text(*outpoint)}"
            return Seen(fate=Fate.DISPLACED, reason=reason, benign=found.is_vault)
    if outgoing.newest.state == "signed":
        return Seen(fate=Fate.DROPPED, reason="no node has taken it yet")
    ids = [attempt.tx_id for attempt in outgoing.attempts]
    for tx_id in reversed(ids):
        if await _waits(nodes, tx_id):
            return Seen(fate=Fate.PENDING, tx_id=tx_id)
    return _lost(outgoing, await nodes.contention(mine), spent)


def _lost(outgoing: Outgoing, contention: Contention, spent: Mapping[OutPoint, _Spent]) -> Seen:
    """Of one that no node holds: whether it can still be mined."""
    for outpoint, tx_id in contention.waiting.items():
        reason = f"{outpoint_text(*outpoint)} is spent by {tx_id.hex()}, which waits in the mempool"
        return Seen(fate=Fate.UNKNOWN, reason=reason)
    gone = contention.gone
    if any(outpoint in spent for outpoint in gone):
        return Seen(fate=Fate.UNKNOWN, reason="what it spends is spent in a block that the index does not have yet")
    if gone:
        reason = f"{outpoint_text(*gone[0])}, which it spends, is not on the chain any more: a reorganization took it"
        return Seen(fate=Fate.DISPLACED, reason=reason)
    return Seen(fate=Fate.DROPPED, reason="no node has it in its mempool any more")


async def _waits(nodes: BitcoinNodes, tx_id: bytes) -> bool:
    try:
        await nodes.call("getmempoolentry", tx_id.hex())
    except RpcError:
        return False
    return True


async def _spent(reader: Reader, outpoints: Sequence[OutPoint], receipt: Receipt) -> dict[OutPoint, _Spent]:
    """Those of these outputs that hold zkUSD's charms, or did."""
    names = {outpoint_text(*outpoint): outpoint for outpoint in outpoints}
    found: dict[OutPoint, _Spent] = {}
    for start in range(0, len(names), PAGE):
        chunk = list(names)[start : start + PAGE]
        data, at = await reader.query(_SPENT, {"outpoints": chunk, "first": len(chunk)})
        if at.hash != receipt.hash:
            raise MovedError("a block came while it was read what spells spent")
        for node in data["zkusdOutpoints"]["nodes"]:
            is_vault = any(charm["kind"] == "vault" for charm in node["charms"])
            found[names[node["outpoint"]]] = _Spent(node["spentBy"], is_vault)
    return found
