"""Giving a signed transaction to the nodes, and what their refusals mean.

The words are stacks-core's (``MemPoolRejection``, answered as ``reason`` by ``POST /v2/transactions``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clarion.chains.stacks.node_client import TransactionRejectedError
from clarion_keeper.executor import Broadcast, Taken
from clarion_keeper.stacks.nodes import Nodes

REFUSALS: Final[Mapping[str, Taken]] = {
    "TooMuchChaining": Taken.LATER,
    "NotEnoughFunds": Taken.LATER,
    "ConflictingNonceInMempool": Taken.LATER,
    "ServerFailureDatabase": Taken.LATER,
    "ServerFailureNoSuchChainTip": Taken.LATER,
    "EstimatorError": Taken.LATER,
    "TemporarilyBlacklisted": Taken.REPLACE,
    "FeeTooLow": Taken.REPLACE,
    "NoSuchContract": Taken.STOP,
    "NoSuchPublicFunction": Taken.STOP,
    "BadFunctionArgument": Taken.STOP,
    "ContractAlreadyExists": Taken.STOP,
    "BadAddressVersionByte": Taken.STOP,
    "BadTransactionVersion": Taken.STOP,
    "SignatureValidation": Taken.STOP,
    "Serialization": Taken.STOP,
    "Deserialization": Taken.STOP,
    "TransferRecipientCannotEqualSender": Taken.STOP,
    "TransferAmountMustBePositive": Taken.STOP,
    "StacksTransactionNotSupported": Taken.STOP,
}
"""What a node's word means. ``ConflictingNonceInMempool``: it has another transaction of this nonce that pays as much;
which of them counts is seen when one is mined, or when this one is replaced for its age. A word that is not here stops
the job, so that somebody looks into it."""

_RANKS: Final = (Taken.SENT, Taken.SPENT, Taken.REPLACE, Taken.LATER, Taken.STOP)
"""Of several nodes' answers the first of these counts: one node that is behind must not speak for all."""


async def broadcast(nodes: Nodes, raw: bytes) -> Broadcast:
    """Give a transaction to all nodes at once. It is sent as soon as one of them has it, now or from before."""
    answers = await nodes.send(raw)
    takers = tuple(url for url, problem in answers.items() if problem is None)
    if takers:
        return Broadcast(taken=Taken.SENT, nodes=takers)
    refusals = [problem for problem in answers.values() if isinstance(problem, TransactionRejectedError)]
    if not refusals:
        return Broadcast(taken=Taken.LATER, reason="; ".join(map(str, answers.values())))
    foremost = min(refusals, key=lambda refusal: _RANKS.index(meaning(refusal)))
    return Broadcast(taken=meaning(foremost), reason=_in_words(foremost))


def meaning(refusal: TransactionRejectedError) -> Taken:
    """What a node's refusal means for the transaction."""
    if refusal.reason == "BadNonce":
        return Taken.LATER if _is_ahead(refusal.data) else Taken.SPENT
    return REFUSALS.get(refusal.reason, Taken.STOP)


def _is_ahead(data: Any) -> bool:
    """Whether the nonce is one that the account has yet to reach, at a node that is behind the others."""
    if not isinstance(data, dict):
        return False
    expected, actual = data.get("expected"), data.get("actual")
    return isinstance(expected, int) and isinstance(actual, int) and actual > expected


def _in_words(refusal: TransactionRejectedError) -> str:
    return f"{refusal.reason} {refusal.data}" if refusal.data else refusal.reason
