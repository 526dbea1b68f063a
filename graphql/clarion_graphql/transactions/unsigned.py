"""Unsigned transactions: what a wallet is given to sign, and what a node says of fee and nonce."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from clarion.chains.stacks.authorization import HashMode, KeyEncoding, SingleSig
from clarion.chains.stacks.clarity import StandardPrincipal, principal
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.keys import address_of_public_key, encoding_of_public_key
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import FeeEstimate, NodeClient, NodeError
from clarion.chains.stacks.payloads import ContractCall, encode_payload
from clarion.chains.stacks.post_conditions import PostCondition
from clarion.chains.stacks.signing import unsigned_transaction
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError
from clarion_graphql.sql import literal

#: Longest that a node is waited for, in seconds.
NODE_TIMEOUT_S: Final = 3.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Signer:
    """Who is to sign: a single-signature account."""

    address: StandardPrincipal
    key_encoding: KeyEncoding


@dataclass(frozen=True, slots=True)
class Hints:
    """What a node says. ``problem`` says why something is missing."""

    nonce: int | None
    fees: FeeEstimate | None
    chain_id: int | None
    problem: str | None


def signer_of(sender: str | None, public_key: bytes | None, network: Network) -> Signer:
    """The account of an address, of a public key, or of both where they agree. Raises InputError."""
    if public_key is not None:
        try:
            address, encoding = address_of_public_key(public_key, network), encoding_of_public_key(public_key)
        except CodecError as error:
            raise InputError(f"publicKey: {error}.") from None
        if sender is not None and sender != str(address):
            raise InputError(f"The public key is that of {address}, not of the sender {sender}.")
        return Signer(address, encoding)
    if sender is None:
        raise InputError("Give the sender's address, or its public key.")
    try:
        found = principal(sender)
    except CodecError as error:
        raise InputError(f"sender: {error}.") from None
    if not isinstance(found, StandardPrincipal):
        raise InputError(f"A contract cannot sign: {sender} is none of an account.")
    if found.version != network.single_sig_version:
        raise InputError(
            f"{sender} is no single-signature address of this network; prepare for one whose key signs alone."
        )
    return Signer(found, KeyEncoding.COMPRESSED)


def unsigned_bytes(
    payload: ContractCall,
    signer: Signer,
    conditions: Sequence[PostCondition],
    *,
    network: Network,
    chain_id: int | None,
    nonce: int,
    fee: int,
    sponsored: bool,
) -> bytes:
    """The wire bytes of the transaction with an empty signature, in deny mode."""
    origin = SingleSig(HashMode.P2PKH, signer.address.hash160, nonce, fee, signer.key_encoding)
    return unsigned_transaction(
        payload, origin, network=network, post_conditions=conditions, sponsored=sponsored, chain_id=chain_id
    ).encode()


async def hints(info: Info, payload: ContractCall, sender: str, length: int) -> Hints:
    """What the configured node says of the sender's next nonce and of fees; never an error.

    The nonce is after every transaction of the sender that the index knows to be in a mempool.
    """
    node = info.context.service.node
    if node is None:
        return Hints(None, None, None, "This server asks no node: the wallet knows fee and nonce.")
    problems: list[str] = []
    account, fees, tip, waiting = await asyncio.gather(
        asked_of_node(node.account(sender), problems),
        asked_of_node(node.estimate_fees(encode_payload(payload), length), problems),
        asked_of_node(node.info(), problems),
        info.context.session.value(
            literal(
                "SELECT max(nonce)::bigint FROM clarion.mempool_transaction "
                "WHERE sender = %s AND dropped_reason IS NULL",
                sender,
            )
        ),
    )
    nonce = None if account is None else max(account.nonce, 0 if waiting is None else waiting + 1)
    return Hints(nonce, fees, None if tip is None else tip.chain_id, " ".join(problems) or None)


async def asked_of_node(question: Awaitable[T], problems: list[str]) -> T | None:
    """What a node answers, in time; None adds to ``problems`` why it did not."""
    try:
        async with asyncio.timeout(NODE_TIMEOUT_S):
            return await question
    except TimeoutError:
        problems.append(f"The node did not answer within {NODE_TIMEOUT_S:g} s.")
    except NodeError as error:
        problems.append(f"{error}.")
    return None


def node_of(url: str | None) -> NodeClient | None:
    """A client of the node that hints come from."""
    return None if url is None else NodeClient(url, timeout_seconds=NODE_TIMEOUT_S, attempts=1)
