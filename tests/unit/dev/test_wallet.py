from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from clarion.chains.stacks.node_client import NodeClient, TransactionRejectedError
from clarion.chains.stacks.post_conditions import AmountCode, PostConditionMode, StxPostCondition
from clarion.chains.stacks.signing import verify
from clarion.chains.stacks.transactions import Transaction, decode_transaction
from clarion.dev.accounts import DEPLOYER, account
from clarion.dev.calls import BitHedgeCalls
from clarion.dev.wallet import PATIENCE, Wallet

CHAIN_ID = 0x80000000
ALICE = account("alice")
CALLS = BitHedgeCalls(DEPLOYER.address)


class FakeNode:
    """A node that takes transactions, and mines only when told to."""

    def __init__(self) -> None:
        self.nonce = 0
        self.taken: list[Transaction] = []
        self.rejection: dict[str, Any] | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/v2/accounts/"):
            return httpx.Response(200, json={"balance": "0x01", "locked": "0x00", "nonce": self.nonce})
        assert request.url.path == "/v2/transactions"
        if self.rejection:
            return httpx.Response(400, json=self.rejection | {"error": "transaction rejected", "txid": "00"})
        self.taken.append(decode_transaction(request.content))
        return httpx.Response(200, text=json.dumps(self.taken[-1].txid.hex()))

    @property
    def nonces(self) -> list[int]:
        return [transaction.nonce for transaction in self.taken]


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
async def wallet(node: FakeNode) -> AsyncIterator[Wallet]:
    async with NodeClient("http://node", transport=httpx.MockTransport(node.answer)) as client:
        yield Wallet(client, CHAIN_ID)


async def test_transactions_are_signed_and_paid_for(wallet: Wallet, node: FakeNode) -> None:
    call = CALLS.deposit(ALICE, CALLS.stx_token, "balanced", 500)
    tx_id = await wallet.send(call)
    (sent,) = node.taken
    assert sent.txid == tx_id
    assert str(verify(sent).origin) == ALICE.address
    assert sent.fee >= len(sent.encode())
    assert sent.post_condition_mode is PostConditionMode.DENY
    (condition,) = sent.post_conditions
    assert isinstance(condition, StxPostCondition)
    assert (condition.code, condition.amount) == (AmountCode.EQUAL, 500)


async def test_nonces_count_up_and_the_account_is_busy_until_all_are_mined(wallet: Wallet, node: FakeNode) -> None:
    node.nonce = 5
    assert wallet.is_busy(ALICE), "what has not been looked at may be"
    await wallet.sync(ALICE)
    assert not wallet.is_busy(ALICE)
    for _ in range(3):
        await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    assert node.nonces == [5, 6, 7]
    node.nonce = 7
    await wallet.sync(ALICE)
    assert wallet.is_busy(ALICE)
    node.nonce = 8
    await wallet.sync(ALICE)
    assert not wallet.is_busy(ALICE)


async def test_a_refused_transaction_leaves_its_nonce_to_the_next(wallet: Wallet, node: FakeNode) -> None:
    node.rejection = {"reason": "NoSuchContract"}
    with pytest.raises(TransactionRejectedError):
        await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    node.rejection = None
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    assert node.nonces == [0]


async def test_a_taken_nonce_is_passed_over(wallet: Wallet, node: FakeNode) -> None:
    node.rejection = {"reason": "ConflictingNonceInMempool"}
    with pytest.raises(TransactionRejectedError):
        await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    node.rejection = None
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    assert node.nonces == [1]


async def test_what_waits_too_long_is_sent_again(wallet: Wallet, node: FakeNode) -> None:
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    for _ in range(PATIENCE // 2):
        await wallet.sync(ALICE)
    assert node.nonces == [0, 1]
    for _ in range(PATIENCE // 2):
        await wallet.sync(ALICE)
    assert node.nonces == [0, 1, 0, 1]
    assert node.taken[:2] == node.taken[2:]


async def test_a_fork_that_takes_transactions_back_gets_them_again(wallet: Wallet, node: FakeNode) -> None:
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    node.nonce = 1
    await wallet.sync(ALICE)
    assert not wallet.is_busy(ALICE)
    node.nonce = 0
    for _ in range(PATIENCE + 1):
        await wallet.sync(ALICE)
    assert wallet.is_busy(ALICE)
    assert node.nonces == [0, 0]


async def test_nonces_of_an_earlier_process_that_were_lost_are_used_again(wallet: Wallet, node: FakeNode) -> None:
    node.nonce = 4
    await wallet.sync(ALICE)
    node.nonce = 2
    for _ in range(PATIENCE + 1):
        await wallet.sync(ALICE)
    await wallet.send(CALLS.claim_yield(ALICE, CALLS.stx_token))
    assert node.nonces == [2]


def test_accounts_are_the_same_everywhere_and_hide_nothing_by_accident() -> None:
    assert DEPLOYER.address == "ST30BMHJG7M1F0JPXY24RQSB43150RRYEDAQTXHAQ"
    assert account("x") == account("x") != account("y")
    assert len(account("x").secret) == 33
