"""Giving a signed transaction to the nodes, and what their refusals mean.

The words are Bitcoin Core's (``validation.cpp``, ``rpc/mempool.cpp``, as of 30.0). ``testmempoolaccept``, which has no
side effects, is asked before ``sendrawtransaction``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clarion.chains.bitcoin.rpc import BitcoinRpc, RpcError
from clarion.chains.bitcoin.transactions import BitcoinTransaction, write_transaction
from clarion_keeper.charms.nodes import BitcoinNodes
from clarion_keeper.executor import Broadcast, Taken

REFUSALS: Final[Mapping[str, Taken]] = {
    "txn-already-in-mempool": Taken.SENT,
    "txn-already-known": Taken.SENT,
    "txn-same-nonwitness-data-in-mempool": Taken.SENT,
    "Transaction outputs already in utxo set": Taken.SENT,
    "Transaction already in block chain": Taken.SENT,
    "missing-inputs": Taken.SPENT,
    "bad-txns-inputs-missingorspent": Taken.SPENT,
    "txn-mempool-conflict": Taken.SPENT,
    "insufficient fee": Taken.REPLACE,
    "min relay fee not met": Taken.REPLACE,
    "mempool min fee not met": Taken.REPLACE,
    "too-long-mempool-chain": Taken.LATER,
    "too-large-cluster": Taken.LATER,
    "too many potential replacements": Taken.LATER,
    "mempool full": Taken.LATER,
    "non-final": Taken.LATER,
    "non-BIP68-final": Taken.LATER,
    "bad-txns-premature-spend-of-coinbase": Taken.LATER,
}
"""What a node's word means. ``missing-inputs``: an input is spent, or what makes it is not known; of a spell that means
that somebody else used a state first. ``insufficient fee``: something that waits spends the same and pays as much. A
word that is not here is of a transaction that can never be mined or relayed."""

_RANKS: Final = (Taken.SENT, Taken.SPENT, Taken.REPLACE, Taken.LATER, Taken.STOP)
"""Of several nodes' answers the first of these counts: one node that is behind must not speak for all."""


async def broadcast(nodes: BitcoinNodes, transaction: BitcoinTransaction) -> Broadcast:
    """Give a transaction to all nodes at once. It is sent as soon as one of them has it, now or from before."""
    raw = write_transaction(transaction).hex()

    async def send(node: BitcoinRpc) -> str:
        (tried,) = await node.call("testmempoolaccept", [raw])
        if not tried["allowed"]:
            return str(tried["reject-reason"])
        try:
            await node.call("sendrawtransaction", raw)
        except RpcError as error:
            return error.said
        return ""

    return _summed_up(await nodes.on_all(send))


async def broadcast_package(nodes: BitcoinNodes, package: Sequence[BitcoinTransaction]) -> Broadcast:
    """Give a child (the last) with the parents that it pays for to all nodes at once: one is taken with the others.

    Spells until version 8 are such packages: a transaction that commits to the spell, and the spell's own.
    """
    raw = [write_transaction(one).hex() for one in package]

    async def send(node: BitcoinRpc) -> str:
        answer: dict[str, Any] = await node.call("submitpackage", raw)
        if answer["package_msg"] == "success":
            return ""
        problems = [one["error"] for one in answer.get("tx-results", {}).values() if "error" in one]
        return str(min(problems, key=lambda said: _RANKS.index(meaning(said)), default=answer["package_msg"]))

    return _summed_up(await nodes.on_all(send))


def meaning(said: str) -> Taken:
    """What a node's word of refusal means for a transaction; details may follow the word."""
    return REFUSALS.get(said, REFUSALS.get(said.partition(",")[0], Taken.STOP))


def _summed_up(answers: Mapping[str, str | Exception]) -> Broadcast:
    """What all nodes together say; an empty word is consent."""
    said = {name: answer for name, answer in answers.items() if isinstance(answer, str)}
    said |= {name: answer.said for name, answer in answers.items() if isinstance(answer, RpcError)}
    if not said:
        return Broadcast(taken=Taken.LATER, reason="; ".join(map(str, answers.values())))
    meant = {name: meaning(word) if word else Taken.SENT for name, word in said.items()}
    taken = min(meant.values(), key=_RANKS.index)
    takers = tuple(name for name, one in meant.items() if one is Taken.SENT)
    reason = "" if takers else next(said[name] for name, one in meant.items() if one is taken)
    return Broadcast(taken=taken, reason=reason, nodes=takers)
