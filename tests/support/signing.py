"""Keys, transactions and limits to try signers with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clarion.chains.stacks.clarity import StandardPrincipal, UInt, contract_principal
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import ContractCall, Payload, TokenTransfer
from clarion.chains.stacks.post_conditions import PostCondition, PostConditionMode
from clarion.chains.stacks.signing import single_sig, unsigned_transaction
from clarion.chains.stacks.transactions import Transaction
from clarion_keeper.signers import Purpose
from clarion_keeper.signers.limits import StacksLimits

SECRET: Final = bytes.fromhex("7287ba251d44a4d3fd9276c88ce34c5c52a038955511cccaf77e61068649c17801")
KEY: Final = PrivateKey(SECRET)
ADDRESS: Final = KEY.address(Network.TESTNET)
DEPLOYER: Final = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"
PURPOSE: Final = Purpose("settle", "settle", ("settle:7",))
LIMITS: Final = StacksLimits(
    network="testnet",
    chain_id=Network.TESTNET.chain_id,
    calls=(f"{DEPLOYER}.bh-policy.settle*",),
    max_fee=20_000,
    max_hourly=100_000,
)


def call(contract: str = f"{DEPLOYER}.bh-policy", function: str = "settle-many") -> ContractCall:
    """A call of a contract's function."""
    return ContractCall(contract_principal(contract), function, (UInt(7),))


def freeing_transfer(amount: int = 1) -> TokenTransfer:
    """A transfer to somebody else."""
    return TokenTransfer(StandardPrincipal(Network.TESTNET.single_sig_version, bytes(20)), amount)


def unsigned(
    payload: Payload | None = None,
    *,
    key: PrivateKey = KEY,
    nonce: int = 3,
    fee: int = 1_000,
    network: Network = Network.TESTNET,
    mode: PostConditionMode = PostConditionMode.DENY,
    post_conditions: Iterable[PostCondition] = (),
    sponsored: bool = False,
    chain_id: int | None = None,
) -> Transaction:
    """A transaction that nobody has signed; one within `LIMITS` unless told otherwise."""
    return unsigned_transaction(
        call() if payload is None else payload,
        single_sig(key.public_key, nonce=nonce, fee=fee),
        network=network,
        post_conditions=post_conditions,
        post_condition_mode=mode,
        sponsored=sponsored,
        chain_id=chain_id,
    )


def key_file(folder: Path, secret: bytes = SECRET, name: str = "key") -> Path:
    """A file that holds a key as an agent takes it."""
    path = folder / name
    path.touch(mode=0o600)
    path.write_text(secret.hex())
    return path
