"""The keeper's way to Stacks against a devnet: aborts foretold, crowded blocks, dropped transactions, forks."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from support.stacks_node import KeySigner, Settle, work

from clarion.chains.stacks.clarity import contract_principal, principal
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient
from clarion.chains.stacks.payloads import ContractCall, Payload, SmartContract, TokenTransfer
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.signing import signed_transaction
from clarion_keeper.executor import Attempt, Declined, Draft, Fate, Outgoing, Seen, Signed, Taken, Work
from clarion_keeper.graph import MinedTransaction, Receipt
from clarion_keeper.intents import Lane, Verdict
from clarion_keeper.stacks.contracts import Contracts
from clarion_keeper.stacks.executor import StacksExecutor
from clarion_keeper.stacks.fees import Escalating
from clarion_keeper.stacks.nodes import Nodes

TOKEN: Final = "simulate for me"
FUNDS = 10**9

#: What the keeper settles: each number once, and only even ones are due; the last function is for the owner alone.
LEDGER = """
(define-map settled uint principal)
(define-data-var owner principal tx-sender)
(define-read-only (settled-by (id uint)) (map-get? settled id))
(define-private (settle-one (id uint))
  (begin
    (asserts! (is-eq (mod id u2) u0) (err u425))
    (asserts! (map-insert settled id tx-sender) (err u409))
    (ok id)))
(define-public (settle (id uint)) (settle-one id))
(define-public (settle-as-owner (id uint))
  (begin (asserts! (is-eq tx-sender (var-get owner)) (err u403)) (settle-one id)))
(define-public (settle-and-send (id uint))
  (begin (try! (stx-transfer? u5 tx-sender 'ST000000000000000000002AMW42H)) (settle-one id)))
"""

DEVNET: Final = Path(__file__).resolve().parents[2] / "contracts" / "devnet" / "main.js"
#: Accounts and items of the ledger that no test has used yet: all tests share one devnet, which takes long to start.
NUMBERS: Final = itertools.count(1)


@pytest.fixture(scope="module")
def devnet_url(node_command: list[str]) -> Iterator[str]:
    """A devnet that simulates, and mines when asked to."""
    command = [*node_command, str(DEVNET), "--port", "0", "--block-interval-ms", "0", "--burn-interval-ms", "0"]
    command += ["--auth-token", TOKEN, "--genesis-time", "1800000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
        process.kill()


@dataclass
class Chain:
    """A devnet, as the tests drive it and as an index of it would say."""

    client: httpx.AsyncClient

    async def control(self, route: str, **body: Any) -> Any:
        answer = await self.client.post(f"/devnet/{route}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def mine(self, blocks: int = 1) -> None:
        await self.control("mine", blocks=blocks)

    async def status(self) -> Any:
        return (await self.client.get("/devnet/status")).json()

    async def account(self, key: PrivateKey) -> tuple[int, int]:
        """Nonce and balance."""
        body = (await self.client.get(f"/v2/accounts/{key.address(Network.TESTNET)}?proof=0")).json()
        return body["nonce"], int(body["balance"], 16)

    async def send(self, key: PrivateKey, payload: Payload, *, fee: int = 10_000) -> str:
        nonce, _ = await self.account(key)
        transaction = signed_transaction(
            payload,
            key,
            nonce=nonce,
            fee=fee,
            network=Network.TESTNET,
            post_condition_mode=PostConditionMode.ALLOW,
        )
        answer = await self.client.post("/v2/transactions", json={"tx": transaction.encode().hex()})
        assert answer.status_code == 200, answer.text
        return transaction.txid.hex()

    # what an index says

    async def tip(self) -> Receipt:
        status = await self.status()
        height = status["tip"]["height"]
        return Receipt(height, status["tip"]["index_block_hash"], status["tip"]["burn_block_height"], height)

    async def is_final(self, height: int) -> bool:
        return False

    async def transactions(self, ids: Sequence[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        found = {}
        for tx_id in ids:
            answer = await self.client.get(f"/v3/transaction/{tx_id.hex()}")
            if answer.status_code == 404:
                continue
            body = answer.json()
            result = bytes.fromhex(body["result"].removeprefix("0x"))
            found[tx_id] = MinedTransaction(
                tx_id=tx_id,
                status="success" if result[0] == 7 else "abort_by_response",
                result=result,
                height=body["block_height"],
                block_hash=bytes.fromhex(body["index_block_hash"]),
                final=False,
            )
        return found, await self.tip()


@dataclass
class Slots:
    """What an engine would store: outgoings with their attempts, in memory."""

    executor: StacksExecutor
    chain: Chain
    live: dict[int, Outgoing] = field(default_factory=dict)
    works: dict[int, Work] = field(default_factory=dict)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def draft(self, wanted: Work) -> Draft | Declined:
        return await self.executor.draft(wanted, await self.chain.tip(), nonce=None)

    async def send(self, wanted: Work) -> Outgoing | Declined:
        """Draft, sign, store, send."""
        room = await self.executor.room(list(self.live.values()))
        draft = await self.draft(wanted)
        if isinstance(draft, Declined):
            return draft
        signed = await self.executor.sign(draft, wanted, nonce=room.nonces[0])
        if isinstance(signed, Declined):
            return signed
        receipt = await self.chain.tip()
        id_ = next(self.numbers)
        self.works[id_] = wanted
        self.live[id_] = Outgoing(
            id=id_,
            account="keeper",
            sender=self.executor.address,
            nonce=room.nonces[0],
            lane=Lane.SETTLE,
            job="settle",
            state="signed",
            height=receipt.height,
            burn=receipt.burn_height,
            first_burn=receipt.burn_height,
            deadline_burn=None,
            attempts=(self._attempt(signed, 1),),
        )
        await self.broadcast(id_)
        return self.live[id_]

    async def broadcast(self, id_: int) -> Taken:
        one = self.live[id_]
        answer = await self.executor.broadcast(one.newest)
        if answer.taken is Taken.SENT:
            newest = replace(one.newest, state="broadcast")
            self.live[id_] = replace(one, state="broadcast", attempts=(*one.attempts[:-1], newest))
        return answer.taken

    async def replace(self, id_: int, *, due: bool = True, wanted: bool = False) -> bool:
        one, receipt = self.live[id_], await self.chain.tip()
        work_ = self.works[id_] if due else None
        draft = await self.executor.replacement(one, work_, receipt, wanted=wanted)
        if isinstance(draft, Declined):
            work_, draft = None, await self.executor.replacement(one, None, receipt, wanted=wanted)
        if not isinstance(draft, Draft):
            return False
        signed = (
            await self.executor.sign_release(draft, one)
            if work_ is None
            else await self.executor.sign(draft, work_, nonce=one.nonce)
        )
        if isinstance(signed, Declined):
            return False
        attempts = (*one.attempts, self._attempt(signed, len(one.attempts) + 1))
        self.live[id_] = replace(one, state="signed", height=receipt.height, attempts=attempts)
        await self.broadcast(id_)
        return True

    async def follow(self) -> dict[int, Seen]:
        seen, _ = await self.executor.follow(list(self.live.values()))
        return dict(seen)

    @staticmethod
    def _attempt(signed: Signed, number: int) -> Attempt:
        return Attempt(tx_id=signed.tx_id, number=number, fee=signed.fee, raw=signed.raw, state="signed")


@dataclass
class World:
    """A chain with the ledger on it, and a keeper's executor with an account of its own."""

    chain: Chain
    slots: Slots
    ledger: str
    key: PrivateKey
    owner: PrivateKey
    #: The first of 1,000 numbers that only this test settles.
    base: int

    def work(self, *ids: int, function: str = "settle") -> Work:
        return work(Settle(self.ledger, function), *(self.base + number for number in ids))

    async def account(self) -> tuple[int, int]:
        return await self.chain.account(self.key)


Open = Callable[..., contextlib.AbstractAsyncContextManager[World]]


@pytest.fixture
def settling(devnet_url: str) -> Open:
    """Opens a world: `settling(simulating=True, dead_node=False, as_owner=False)`."""

    @contextlib.asynccontextmanager
    async def opened(
        *, simulating: bool = True, dead_node: bool = False, as_owner: bool = False
    ) -> AsyncIterator[World]:
        async with contextlib.AsyncExitStack() as stack:
            chain = Chain(await stack.enter_async_context(httpx.AsyncClient(base_url=devnet_url, timeout=120)))
            number = next(NUMBERS)
            owner, key = (PrivateKey(bytes((1, kind)) + number.to_bytes(30, "big") + b"\x01") for kind in (1, 2))
            for one in (owner, key):
                await chain.control("fund", address=str(one.address(Network.TESTNET)), ustx=str(FUNDS))
            await chain.mine()
            await chain.send(owner, SmartContract("ledger", LEDGER))
            await chain.mine()
            clients = [NodeClient(devnet_url, auth_token=TOKEN if simulating else None, attempts=1)]
            if dead_node:
                clients.insert(0, NodeClient("http://127.0.0.1:9", attempts=1))
            for client in clients:
                await stack.enter_async_context(client)
            executor = StacksExecutor(
                nodes=Nodes(clients),
                reader=chain,  # type: ignore[arg-type]
                signer=KeySigner(owner if as_owner else key),
                network=Network.TESTNET,
                policy=Escalating(1_000, 200_000, 110, 125, 6),
                contracts=Contracts({}),
                replace_after_blocks=2,
            )
            ledger = f"{owner.address(Network.TESTNET)}.ledger"
            # somewhat deeper than any fork of these tests
            await chain.mine(4)
            yield World(chain, Slots(executor, chain), ledger, key, owner, 1_000 * number)
            await chain.control("congestion")
            await chain.mine()

    return opened


async def test_it_is_foretold_sent_mined_and_followed(settling: Open) -> None:
    async with settling(dead_node=True) as world:
        slots, chain = world.slots, world.chain
        draft = await slots.draft(world.work(2))
        assert isinstance(draft, Draft)
        assert [outcome.reason for outcome in draft.outcomes] == ["settled"]
        not_due = await slots.draft(world.work(3))
        assert isinstance(not_due, Declined)
        assert [outcome.verdict for outcome in not_due.outcomes] == [Verdict.AGAIN]

        sent = await slots.send(world.work(2))
        assert isinstance(sent, Outgoing)
        assert (await slots.follow())[sent.id].fate is Fate.PENDING
        await chain.mine()
        seen = (await slots.follow())[sent.id]
        assert (seen.fate, seen.status, seen.tx_id) == (Fate.MINED, "success", sent.newest.tx_id)

        again = await slots.draft(world.work(2))
        assert isinstance(again, Declined)
        assert [(outcome.verdict, outcome.benign) for outcome in again.outcomes] == [(Verdict.DONE, True)]
        assert await world.account() == (1, FUNDS - sent.newest.fee)


async def test_a_rival_that_is_first_costs_no_fee(settling: Open) -> None:
    async with settling() as world:
        slots, chain = world.slots, world.chain
        wanted = world.work(4)
        assert await slots.executor.over(wanted) == [None]
        call = wanted.job.call(wanted.items)
        await chain.send(world.owner, ContractCall(contract_principal(world.ledger), call.function, call.arguments))
        await chain.mine()
        answer = await slots.send(world.work(4))
        assert isinstance(answer, Declined)
        assert [outcome.benign for outcome in answer.outcomes] == [True]
        assert await slots.executor.over(wanted) == list(answer.outcomes)
        assert await slots.executor.over(world.work(3)) == [None], "it is not due, and nobody did it"
        assert await world.account() == (0, FUNDS)


async def test_what_only_the_owner_may_do(settling: Open) -> None:
    async with settling(as_owner=True) as world:
        slots, chain = world.slots, world.chain
        job = "settle-as-owner"
        sent = await slots.send(world.work(2, function=job))
        assert isinstance(sent, Outgoing)
        await chain.mine()
        assert (await slots.follow())[sent.id].status == "success"
    async with settling() as world:
        slots, chain = world.slots, world.chain
        answer = await slots.send(world.work(2, function=job))
        assert isinstance(answer, Declined)
        (outcome,) = answer.outcomes
        assert outcome.verdict is Verdict.FAILED
        assert "403" in outcome.reason
        assert (await chain.status())["mempool"]["size"] == 0


async def test_a_call_that_sends_the_keeper_s_money_is_not_signed(settling: Open) -> None:
    async with settling() as world:
        answer = await world.slots.send(world.work(2, function="settle-and-send"))
        assert isinstance(answer, Declined)
        assert "more than its post-conditions allow" in answer.outcomes[0].reason
        assert await world.account() == (0, FUNDS)


async def test_when_blocks_are_full_it_pays_more_until_it_is_mined(settling: Open) -> None:
    async with settling() as world:
        slots, chain = world.slots, world.chain
        sent = await slots.send(world.work(2))
        assert isinstance(sent, Outgoing)
        await chain.control("drop", txids=[sent.newest.tx_id.hex()])
        await chain.control("congestion", capacity=3, strangers=12, stranger_fees=[20, 60])
        await slots.broadcast(sent.id)
        for _ in range(12):
            await chain.mine()
            seen = (await slots.follow())[sent.id]
            if seen.fate is Fate.MINED:
                break
            await slots.replace(sent.id)
        attempts = slots.live[sent.id].attempts
        fees = [attempt.fee for attempt in attempts]
        assert seen.fate is Fate.MINED
        assert len(fees) > 1
        assert fees == sorted(set(fees))
        mined, _ = await chain.transactions([attempt.tx_id for attempt in attempts])
        assert set(mined) == {seen.tx_id}, "one attempt is mined, and no other ever is"
        paid = next(attempt.fee for attempt in attempts if attempt.tx_id == seen.tx_id)
        assert await world.account() == (1, FUNDS - paid)


async def test_what_was_dropped_is_sent_again_as_it_was(settling: Open) -> None:
    async with settling() as world:
        slots, chain = world.slots, world.chain
        sent = await slots.send(world.work(2))
        assert isinstance(sent, Outgoing)
        await chain.control("drop", fraction=1)
        assert (await slots.follow())[sent.id].fate is Fate.DROPPED
        assert await slots.broadcast(sent.id) is Taken.SENT
        await chain.mine()
        seen = (await slots.follow())[sent.id]
        assert (seen.fate, seen.tx_id) == (Fate.MINED, sent.attempts[0].tx_id)


async def test_a_reorg_takes_it_out_of_its_block_and_the_same_bytes_go_in_again(settling: Open) -> None:
    async with settling() as world:
        slots, chain = world.slots, world.chain
        sent = await slots.send(world.work(2))
        assert isinstance(sent, Outgoing)
        await chain.mine(2)
        before = (await slots.follow())[sent.id]
        await chain.control("fork", depth=2, keep_transactions=False)
        assert (await slots.follow())[sent.id].fate is Fate.DROPPED
        assert await slots.broadcast(sent.id) is Taken.SENT
        await chain.mine()
        after = (await slots.follow())[sent.id]
        assert (before.fate, after.fate) == (Fate.MINED, Fate.MINED)
        assert before.block_hash != after.block_hash
        assert before.tx_id == after.tx_id


async def test_a_nonce_that_something_else_used_is_displaced(settling: Open) -> None:
    async with settling() as world:
        slots, chain = world.slots, world.chain
        sent = await slots.send(world.work(2))
        assert isinstance(sent, Outgoing)
        recipient = principal("ST000000000000000000002AMW42H")
        await chain.send(world.key, TokenTransfer(recipient, 1), fee=500_000)
        await chain.mine()
        assert (await slots.follow())[sent.id].fate is Fate.DISPLACED
        assert await slots.broadcast(sent.id) is Taken.SPENT
        # a reorganisation takes the other one back
        slots.live[sent.id] = replace(slots.live[sent.id], state="displaced", height=(await chain.tip()).height)
        assert (await slots.follow())[sent.id].fate is Fate.DISPLACED
        await chain.control("fork", depth=1, keep_transactions=False)
        assert (await slots.follow())[sent.id].fate is Fate.DROPPED
        assert await slots.broadcast(sent.id) is Taken.SENT
        await chain.mine()
        assert (await slots.follow())[sent.id].fate is Fate.MINED
        assert await world.account() == (1, FUNDS - sent.newest.fee)


async def test_a_freed_nonce_lets_the_others_pass(settling: Open) -> None:
    async with settling(simulating=False) as world:
        slots, chain = world.slots, world.chain
        await chain.control("congestion", capacity=50, min_fee_rate=4)
        sent = []
        for number in range(6):
            one = await slots.send(world.work(2 * number))
            assert isinstance(one, Outgoing)
            assert one.state == "broadcast"
            sent.append(one)
        assert (await slots.executor.room(list(slots.live.values()))).nonces[0] == 6
        await chain.mine(3)
        assert {seen.fate for seen in (await slots.follow()).values()} == {Fate.PENDING}
        first, *others = sent
        for one in others:
            while slots.live[one.id].newest.fee < 4 * len(one.newest.raw):
                assert await slots.replace(one.id, wanted=True)
        await chain.mine()
        assert {seen.fate for seen in (await slots.follow()).values()} == {Fate.PENDING}, "the first blocks them all"
        while slots.live[first.id].newest.fee < 4 * 180:
            assert await slots.replace(first.id, due=False, wanted=True)
        await chain.mine()
        seen = await slots.follow()
        assert {one.fate for one in seen.values()} == {Fate.MINED}
        assert [seen[one.id].status for one in others] == ["success"] * 5
        assert (await world.account())[0] == 6
        settled = await slots.draft(world.work(0))
        assert isinstance(settled, Draft), "the first was not settled: its nonce was only freed"


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
async def test_whatever_happens_everything_is_settled_once_and_the_books_balance(settling: Open, seed: int) -> None:
    """A crowded chain that drops transactions and forks: every nonce is used, and every fee is accounted for."""
    draws = random.Random(seed)
    async with settling() as world:
        slots, chain = world.slots, world.chain
        todo = [world.base + 2 * number for number in range(12)]
        await chain.control("congestion", capacity=4, strangers=10, stranger_fees=[5, 30])
        done: set[int] = set()
        for _ in range(80):
            event = draws.random()
            if event < 0.15:
                await chain.control("drop", fraction=0.5)
            elif event < 0.25:
                await chain.control("fork", depth=draws.randint(1, 3), keep_transactions=draws.random() < 0.5)
            elif event < 0.35:
                await chain.control("burn")
            await chain.mine()
            seen = await slots.follow()
            done = {slots.works[id_].items[0]["id"] for id_, one in seen.items() if one.status == "success"}  # type: ignore[misc]
            if done == set(todo):
                break
            for id_, one in seen.items():
                if one.fate is Fate.DROPPED:
                    await slots.broadcast(id_)
                if one.fate is Fate.PENDING:
                    await slots.replace(id_)
            carried = {slots.works[id_].items[0]["id"] for id_ in slots.live}
            for number in [number for number in todo if number not in carried][:2]:
                assert isinstance(await slots.send(world.work(number - world.base)), Outgoing)
        assert done == set(todo)
        assert len(slots.live) == len(todo)
        nonce, balance = await world.account()
        assert nonce == len(todo)
        assert sorted(one.nonce or 0 for one in slots.live.values()) == list(range(len(todo)))
        attempts = {a.tx_id: a for one in slots.live.values() for a in one.attempts}
        mined, _ = await chain.transactions(list(attempts))
        assert len(mined) == len(todo)
        assert balance == FUNDS - sum(attempts[tx_id].fee for tx_id in mined)
