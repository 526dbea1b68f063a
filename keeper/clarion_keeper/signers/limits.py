"""What an agent signs: it decodes the transaction itself and believes nothing else.

A keeper that is broken, or in somebody else's hands, can therefore waste what the limits leave it and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, TypeAlias

from msgspec import Struct

from clarion.chains.stacks.authorization import SingleSig
from clarion.chains.stacks.clarity import StandardPrincipal
from clarion.chains.stacks.payloads import ContractCall, TokenTransfer
from clarion.chains.stacks.post_conditions import (
    AmountCode,
    FtPostCondition,
    NftCode,
    NftPostCondition,
    Origin,
    PostCondition,
    PostConditionMode,
    PoxCode,
    PoxPostCondition,
)
from clarion.chains.stacks.transactions import Transaction
from clarion_keeper.signers.errors import SigningRefusedError

STX: Final = "STX"
FREEING_AMOUNT: Final = 1
"""Micro-STX of a transfer that does nothing but use up a nonce. Nodes take none to oneself, and none of 0."""


class StacksLimits(Struct, frozen=True, tag="stacks"):
    """Of an account on Stacks.

    Attributes:
        network: ``mainnet`` or ``testnet`` (whose constants devnets share).
        chain_id: the network's, or what a private network chose.
        calls: patterns ``ADDRESS.contract.function``, where ``*`` stands for any letters of a part.
        max_fee: of a transaction, in micro-STX.
        max_hourly: of all that are signed within any hour: fees, and what transfers send, in micro-STX.
        tokens: what the post-conditions of a transaction may let the account send, in the token's smallest unit, by
            contract principal or ``STX``. What is not named here may not be sent.
    """

    network: str
    chain_id: int
    calls: tuple[str, ...]
    max_fee: int
    max_hourly: int
    tokens: dict[str, int] = {}


class BitcoinLimits(Struct, frozen=True, tag="bitcoin"):
    """Of an account on Bitcoin, in satoshis.

    Attributes:
        network: ``mainnet``, ``testnet4``, ``signet`` or ``regtest``.
        max_fee: of a transaction, whoever pays it.
        max_spent: what a transaction may take from the account's own outputs without giving it back, fee included.
        max_hourly: of all that is so taken within any hour.
    """

    network: str
    max_fee: int
    max_spent: int
    max_hourly: int


Limits: TypeAlias = StacksLimits | BitcoinLimits


@dataclass(frozen=True, slots=True)
class Spending:
    """What a transaction takes from the account. At most one transaction of a ``slot`` can ever be mined."""

    slot: str
    amount: int


def check_stacks(transaction: Transaction, address: StandardPrincipal, limits: StacksLimits) -> Spending:
    """What the transaction takes from ``address``, in micro-STX, if it is one that may be signed.

    Raises:
        SigningRefusedError: it is not; the hour's budget is not looked at here.
    """
    _check_network(transaction, limits)
    origin = transaction.authorization.origin
    if transaction.authorization.sponsor is not None or not isinstance(origin, SingleSig):
        raise SigningRefusedError("account", "only transactions of one key that pays its own fee are signed")
    if transaction.sender != address:
        raise SigningRefusedError("account", f"the transaction is of {transaction.sender}, the key of {address}")
    if transaction.fee > limits.max_fee:
        raise SigningRefusedError(
            "max_fee", f"a fee of {transaction.fee} micro-STX is over the {limits.max_fee} of a transaction"
        )
    sent = _check_payload(transaction, limits)
    _check_post_conditions(transaction, address, limits)
    return Spending(f"nonce {transaction.nonce}", transaction.fee + sent)


def _check_network(transaction: Transaction, limits: StacksLimits) -> None:
    if transaction.network.value != limits.network or transaction.chain_id != limits.chain_id:
        raise SigningRefusedError(
            "network",
            f"the transaction is for {transaction.network.value}, chain {transaction.chain_id:#x}; "
            f"the signer's is {limits.network}, chain {limits.chain_id:#x}",
        )


def _check_payload(transaction: Transaction, limits: StacksLimits) -> int:
    """Micro-STX that the payload itself sends."""
    payload = transaction.payload
    match payload:
        case ContractCall():
            contract = payload.contract
            called = f"{contract.issuer}.{contract.name}.{payload.function}"
            if not any(_matches(called, pattern) for pattern in limits.calls):
                raise SigningRefusedError("calls", f"{called} is none of the calls that are signed")
            return 0
        case TokenTransfer(amount=amount):
            if amount != FREEING_AMOUNT:
                raise SigningRefusedError(
                    "calls", f"of transfers only those of {FREEING_AMOUNT} micro-STX are signed, to free a nonce"
                )
            return amount
        case _:
            raise SigningRefusedError("calls", f"a {payload.kind} is not signed, only contract calls are")


def _matches(called: str, pattern: str) -> bool:
    parts, patterns = called.split("."), pattern.split(".")
    return len(parts) == len(patterns) and all(
        fnmatchcase(part, wanted) for part, wanted in zip(parts, patterns, strict=True)
    )


def _check_post_conditions(transaction: Transaction, address: StandardPrincipal, limits: StacksLimits) -> None:
    if transaction.post_condition_mode is PostConditionMode.ALLOW:
        raise SigningRefusedError("post_conditions", "post-condition mode Allow would let the account send anything")
    sent: dict[str, int] = {}
    for condition in transaction.post_conditions:
        if not isinstance(condition.subject, Origin) and condition.subject != address:
            continue
        token, most = _most_sent(condition)
        if most is None:
            raise SigningRefusedError(
                "tokens", f"a post-condition lets the account send {token} without a most that could be checked"
            )
        sent[token] = sent.get(token, 0) + most
    _check_tokens(sent, limits.tokens)


def _check_tokens(sent: Mapping[str, int], allowed: Mapping[str, int]) -> None:
    for token, amount in sent.items():
        if amount > allowed.get(token, 0):
            raise SigningRefusedError(
                "tokens",
                f"post-conditions let the account send {amount} of {token}, over the {allowed.get(token, 0)} of a "
                "transaction",
            )


def _most_sent(condition: PostCondition) -> tuple[str, int | None]:
    """Of which token a condition of the account lets it send how much; None where there is no telling."""
    match condition:
        case NftPostCondition():
            return str(condition.asset.contract), 0 if condition.code is NftCode.NOT_SENT else 1
        case PoxPostCondition():
            return STX, 0 if condition.code is PoxCode.WILL_NOT_PERFORM else None
        case FtPostCondition():
            token = str(condition.asset.contract)
        case _:  # of STX that are sent, and of STX that are staked
            token = STX
    match condition.code:
        case AmountCode.EQUAL | AmountCode.LESS_OR_EQUAL:
            return token, condition.amount
        case AmountCode.LESS:
            return token, max(0, condition.amount - 1)
        case _:
            return token, None
