"""An account's way to Stacks, against a node and an index that say what a test wants."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from support import signing
from support.stacks_node import DONE_BEFORE, FORBIDDEN, NOT_YET, FakeNode, KeySigner, Settle, work

from clarion.chains.stacks.clarity import Err, Ok, Some, UInt, Value, principal
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import TokenTransfer
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.signing import verify
from clarion.chains.stacks.transactions import Transaction, decode_transaction
from clarion_keeper.executor import Attempt, Declined, Draft, ExecutorError, Fate, Outgoing, Signed, Taken, Work
from clarion_keeper.graph import MinedTransaction, Receipt
from clarion_keeper.intents import Call, Lane, Verdict
from clarion_keeper.signers import SignerUnavailableError
from clarion_keeper.stacks.contracts import Contracts
from clarion_keeper.stacks.executor import StacksExecutor
from clarion_keeper.stacks.fees import Escalating, FeePolicy, Fixed
from clarion_keeper.stacks.nodes import Nodes

LEDGER = f"{signing.DEPLOYER}.ledger"
JOB = Settle(LEDGER)


@dataclass
class FakeIndex:
    """What is in blocks, as GraphQL would say."""

    height: int = 10
    final_height: int = 0
    mined: dict[bytes, MinedTransaction] = field(default_factory=dict)

    async def tip(self) -> Receipt:
        return self.receipt

    async def transactions(self, ids: list[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        return {tx_id: self.mined[tx_id] for tx_id in ids if tx_id in self.mined}, self.receipt

    async def is_final(self, height: int) -> bool:
        return height <= self.final_height

    @property
    def receipt(self) -> Receipt:
        return Receipt(self.height, f"0x{self.height:02x}", 120, self.height)

    def mine(self, tx_id: bytes, **fields: Any) -> None:
        known = {"status": "success", "result": None, "height": self.height, "final": False, "fee": 700}
        self.mined[tx_id] = MinedTransaction(tx_id=tx_id, block_hash=bytes(32), **{**known, **fields})


class World:
    def __init__(self, policy: FeePolicy | None = None) -> None:
        self.node, self.index, self.signer = FakeNode(), FakeIndex(), KeySigner(signing.KEY)
        self.executor = StacksExecutor(
            nodes=Nodes([self.node.client()]),
            reader=self.index,  # type: ignore[arg-type]
            signer=self.signer,
            network=Network.TESTNET,
            policy=policy or Escalating(10_000, 1_000_000, 100, 125, 6),
            contracts=Contracts({}),
            replace_after_blocks=3,
        )

    def simulates(self, stranger: Value | str, own: Value | str | None = None) -> None:
        """What a node says of a made-up sender's call, and of the account's own."""

        def answer(transaction: Transaction) -> Value | str:
            verify(transaction)
            if str(transaction.sender) != self.signer.address:
                assert (transaction.nonce, transaction.fee) == (0, 0), "nothing that could ever be mined"
                return stranger
            assert transaction.nonce == self.node.nonce
            return stranger if own is None else own

        self.node.simulates = answer

    async def draft(self, *ids: int, deadline_burn: int | None = None) -> Draft:
        draft = await self.executor.draft(
            work(JOB, *ids or (7,), deadline_burn=deadline_burn), self.index.receipt, nonce=3
        )
        assert isinstance(draft, Draft)
        return draft

    async def signed(self, draft: Draft, wanted: Work, *, nonce: int) -> Signed:
        signed = await self.executor.sign(draft, wanted, nonce=nonce)
        assert isinstance(signed, Signed)
        return signed


@pytest.fixture
def world() -> World:
    return World()


def outgoing(
    id_: int, nonce: int, *attempts: Attempt, state: str = "broadcast", height: int = 10, deadline: int | None = None
) -> Outgoing:
    return Outgoing(
        id=id_,
        account="keeper",
        sender="ST",
        nonce=nonce,
        lane=Lane.SETTLE,
        job="settle",
        state=state,
        height=height,
        burn=120,
        first_burn=120,
        deadline_burn=deadline,
        attempts=attempts,
    )


def attempt(number: int, fee: int = 1000, state: str = "broadcast") -> Attempt:
    return Attempt(tx_id=bytes((number,)) * 32, number=number, fee=fee, raw=b"", state=state)


# room


async def test_there_is_room_for_what_a_node_chains_and_gaps_come_first(world: World) -> None:
    live = [outgoing(1, 4, attempt(1, 700)), outgoing(2, 6, attempt(2, 800), attempt(3, 1000))]
    room = await world.executor.room(live)
    assert room.nonces[:4] == (3, 5, 7, 8)
    assert len(room.nonces) == 23
    assert room.confirmed == 3
    assert room.balance == 10**9 - 700 - 1000, "what waits may yet be paid, the dearest attempt of each"


async def test_what_is_mined_already_is_paid_already(world: World) -> None:
    world.node.nonce = 5
    room = await world.executor.room([outgoing(1, 4, attempt(1, 700), state="mined")])
    assert room.balance == 10**9
    assert room.nonces[0] == 5


async def test_nodes_behind_the_index_are_not_asked_for_nonces(world: World) -> None:
    world.index.height = 12
    await world.executor.follow([])
    with pytest.raises(ExecutorError, match="at block 10, behind the index at 12"):
        await world.executor.room([])
    world.node.height = 12
    assert (await world.executor.room([])).nonces[0] == 3


async def test_no_node_is_a_passing_fault(world: World) -> None:
    world.node.down = True
    with pytest.raises(ExecutorError, match="cannot be reached"):
        await world.executor.room([])


# drafts


async def test_a_draft_pays_what_nodes_estimate_and_says_what_was_simulated(world: World) -> None:
    world.simulates(Ok(UInt(1)))
    draft = await world.draft(7)
    assert (draft.fee, draft.contract, draft.function) == (1000, LEDGER, "settle")
    assert [outcome.verdict for outcome in draft.outcomes] == [Verdict.DONE]
    assert draft.detail is not None
    assert draft.detail["simulated"] == "sure"
    assert world.signer.signed == [], "nothing is signed for a simulation"


async def test_a_fee_rises_towards_the_deadline(world: World) -> None:
    fees = [(await world.draft(7, deadline_burn=120 + left)).fee for left in (10, 3, 0)]
    assert fees == [1000, 1000 + 999_000 // 4, 1_000_000]


async def test_where_no_node_simulates_or_estimates_the_job_s_own_rules_count(world: World) -> None:
    world.node.estimate = None
    draft = await world.draft(7, 8)
    assert (draft.fee, draft.outcomes) == (10_000, ())
    assert draft.detail is not None
    assert "own rules" in draft.detail["says"]


@pytest.mark.parametrize(
    ("code", "verdict", "benign"), [(DONE_BEFORE, Verdict.DONE, True), (NOT_YET, Verdict.AGAIN, False)]
)
async def test_what_would_abort_is_declined(world: World, code: int, verdict: Verdict, benign: bool) -> None:
    world.simulates(Err(UInt(code)))
    answer = await world.executor.draft(work(JOB, 7, 8), world.index.receipt, nonce=3)
    assert isinstance(answer, Declined)
    assert [(outcome.verdict, outcome.benign) for outcome in answer.outcomes] == [(verdict, benign)] * 2
    assert world.signer.signed == []


@pytest.mark.parametrize("words", ["Too much data in transaction", "Cost overflow: before=1, after=2, budget=1"])
async def test_a_batch_that_costs_more_than_a_block_is_too_large(world: World, words: str) -> None:
    world.simulates(f"Error processing transaction: {words}")
    answer = await world.executor.draft(work(JOB, 7, 8), world.index.receipt, nonce=3)
    assert isinstance(answer, Declined)
    assert answer.too_large
    assert {outcome.verdict for outcome in answer.outcomes} == {Verdict.AGAIN}
    alone = await world.executor.draft(work(JOB, 7), world.index.receipt, nonce=3)
    assert isinstance(alone, Declined)
    assert [outcome.verdict for outcome in alone.outcomes] == [Verdict.FAILED]


async def test_a_contract_that_nobody_knows_stops_the_job(world: World) -> None:
    answer = await world.executor.draft(work(Settle("bh-nothing"), 7), world.index.receipt, nonce=3)
    assert isinstance(answer, Declined)
    (outcome,) = answer.outcomes
    assert outcome.verdict is Verdict.FAILED
    assert "nobody knows where the contract bh-nothing is" in outcome.reason


async def test_a_cap_below_the_least_fee_says_so() -> None:
    world = World(Fixed(10, 100, 125))
    answer = await world.executor.draft(work(JOB, 7), world.index.receipt, nonce=3)
    assert isinstance(answer, Declined)
    (outcome,) = answer.outcomes
    assert outcome.verdict is Verdict.AGAIN
    assert "raise keeper.fee_cap" in outcome.reason
    stuck = outgoing(1, 3, attempt(1, 50), height=0)
    assert await world.executor.replacement(stuck, None, world.index.receipt, wanted=True) is None


class Broken(Settle):
    """A job whose author made mistakes."""

    def __init__(self, *, outcomes: int | None = None) -> None:
        super().__init__(LEDGER)
        self._outcomes = outcomes

    def call(self, items: Any) -> Any:
        if self._outcomes is None:
            raise KeyError("no such member")
        return super().call(items)

    def outcomes(self, items: Any, result: Any) -> Any:
        if self._outcomes == 0:
            raise ZeroDivisionError("oops")
        return [*super().outcomes(items, result)] * (self._outcomes or 0)


@pytest.mark.parametrize(
    ("outcomes", "reason"), [(None, "cannot make its call"), (0, "ZeroDivisionError"), (2, "tells of 2 intents")]
)
async def test_a_broken_job_fails_by_itself_and_harms_no_other(world: World, outcomes: int | None, reason: str) -> None:
    world.simulates(Ok(UInt(1)))
    broken = work(Broken(outcomes=outcomes), 7)
    answer: Draft | Declined | Signed = await world.executor.draft(broken, world.index.receipt, nonce=3)
    if isinstance(answer, Draft):
        # with a made-up sender a job might be at a loss; its own transaction shows it for sure
        answer = await world.executor.sign(answer, broken, nonce=3)
    assert isinstance(answer, Declined)
    assert [outcome.verdict for outcome in answer.outcomes] == [Verdict.FAILED]
    assert reason in answer.outcomes[0].reason


# what is no longer due


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (Err(UInt(DONE_BEFORE)), "settled already"),
        (Err(UInt(NOT_YET)), None),
        (Err(UInt(FORBIDDEN)), None),
        (Ok(UInt(1)), None),
        ("Error processing transaction: Too much data in transaction", None),
        (None, None),
    ],
)
async def test_somebody_else_did_what_a_simulation_is_sure_of(
    world: World, says: Value | str | None, reason: str | None
) -> None:
    if says is not None:
        world.simulates(says)
    found = await world.executor.over(work(JOB, 7, 8))
    assert [outcome and (outcome.reason, outcome.benign) for outcome in found] == [reason and (reason, True)] * 2
    assert world.signer.signed == []


async def test_what_depends_on_the_account_or_cannot_be_asked_is_not_known(world: World) -> None:
    class Claim(Settle):
        needs_account = True

    world.simulates(Err(UInt(DONE_BEFORE)))
    for job in (Claim(LEDGER), Settle("bh-nothing"), Broken()):
        assert await world.executor.over(work(job, 7)) == [None]


def test_short_names_are_those_of_a_protocol() -> None:
    contracts = Contracts({"bithedge": signing.DEPLOYER})
    assert str(contracts.resolve("bh-policy")) == f"{signing.DEPLOYER}.bh-policy"
    assert str(contracts.resolve(LEDGER)) == LEDGER


# signing


async def test_what_is_signed_is_the_call_and_nothing_may_be_sent_with_it(world: World) -> None:
    draft = await world.draft(7)
    signed = await world.signed(draft, work(JOB, 7), nonce=4)
    transaction = decode_transaction(signed.raw)
    verify(transaction)
    assert (transaction.nonce, transaction.fee, signed.fee) == (4, 1000, 1000)
    assert transaction.txid == signed.tx_id
    assert transaction.post_condition_mode is PostConditionMode.ORIGINATOR
    assert transaction.post_conditions == ()
    ((_, purpose),) = world.signer.signed
    assert (purpose.job, purpose.lane, purpose.intents) == ("settle", "settle", ("settle:7",))


async def test_a_role_that_only_the_account_has_is_simulated_as_it_was_signed(world: World) -> None:
    world.simulates(Err(UInt(FORBIDDEN)), own=Ok(UInt(1)))
    draft = await world.draft(7)
    assert draft.outcomes == ()
    signed = await world.signed(draft, work(JOB, 7), nonce=3)
    assert decode_transaction(signed.raw).nonce == 3


@pytest.mark.parametrize("code", [DONE_BEFORE, NOT_YET])
async def test_what_depends_on_the_account_no_stranger_can_foretell(world: World, code: int) -> None:
    class Claim(Settle):
        needs_account = True

    class Name(Settle):
        def call(self, items: Any) -> Call:
            return Call(LEDGER, "take-over", (Some(principal(world.signer.address)),))

    for job in (Claim(LEDGER), Name(LEDGER)):
        world.simulates(Err(UInt(code)), own=Ok(UInt(1)))
        draft = await world.executor.draft(work(job, 7), world.index.receipt, nonce=3)
        assert isinstance(draft, Draft)
        await world.executor.sign(draft, work(job, 7), nonce=3)
        world.simulates(Ok(UInt(1)), own=Err(UInt(code)))
        answer = await world.executor.sign(draft, work(job, 7), nonce=3)
        assert isinstance(answer, Declined)
        assert [outcome.benign for outcome in answer.outcomes] == [code == DONE_BEFORE]


async def test_what_was_signed_and_would_abort_is_not_given_out(world: World) -> None:
    world.simulates(Err(UInt(FORBIDDEN)), own=Err(UInt(FORBIDDEN)))
    draft = await world.draft(7)
    answer = await world.executor.sign(draft, work(JOB, 7), nonce=3)
    assert isinstance(answer, Declined)
    assert [outcome.verdict for outcome in answer.outcomes] == [Verdict.FAILED]


@pytest.mark.parametrize(("blocks", "is_signed"), [(0, True), (1, False)])
async def test_what_a_rival_did_in_a_block_since_the_simulation_is_not_given_out(
    world: World, blocks: int, is_signed: bool
) -> None:
    world.simulates(Ok(UInt(1)))
    draft = await world.draft(7)
    world.simulates(Err(UInt(DONE_BEFORE)))
    world.node.height += blocks
    answer = await world.executor.sign(draft, work(JOB, 7), nonce=4)
    assert isinstance(answer, Signed) == is_signed
    if isinstance(answer, Declined):
        assert [outcome.benign for outcome in answer.outcomes] == [True]


async def test_behind_other_transactions_of_the_account_nobody_can_simulate_it(world: World) -> None:
    world.simulates(Err(UInt(FORBIDDEN)), own=Err(UInt(FORBIDDEN)))
    signed = await world.signed(await world.draft(7), work(JOB, 7), nonce=4)
    assert decode_transaction(signed.raw).nonce == 4


async def test_a_signer_that_does_not_answer_is_a_passing_fault(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(unsigned: bytes, *, purpose: Any) -> bytes:
        raise SignerUnavailableError("no answer")

    monkeypatch.setattr(world.signer, "sign_stacks", silent)
    with pytest.raises(ExecutorError, match="no answer"):
        await world.executor.sign(await world.draft(7), work(JOB, 7), nonce=3)


# following


async def test_it_is_followed_to_its_block_whichever_attempt_was_mined(world: World) -> None:
    first, second = attempt(1), attempt(2, 2000)
    world.index.mine(first.tx_id, result=b"\x07\x01" + bytes(15) + b"\x05", final=True)
    seen, receipt = await world.executor.follow([outgoing(9, 3, first, second)])
    assert (seen[9].fate, seen[9].tx_id, seen[9].fee, seen[9].final) == (Fate.MINED, first.tx_id, 700, True)
    assert seen[9].result == Ok(UInt(5))
    assert receipt == world.index.receipt


async def test_a_result_that_cannot_be_read_is_none(world: World) -> None:
    world.index.mine(attempt(1).tx_id, result=b"\xff")
    seen, _ = await world.executor.follow([outgoing(9, 3, attempt(1))])
    assert (seen[9].fate, seen[9].result) == (Fate.MINED, None)


async def test_what_waits_and_what_was_dropped(world: World) -> None:
    world.node.mempool.add(attempt(1).tx_id)
    seen, _ = await world.executor.follow(
        [
            outgoing(1, 3, attempt(1)),
            outgoing(2, 4, attempt(2)),
            outgoing(3, 5, attempt(3, state="signed"), state="signed"),
        ]
    )
    assert [seen[id_].fate for id_ in (1, 2, 3)] == [Fate.PENDING, Fate.DROPPED, Fate.DROPPED]
    assert "mempool" in seen[2].reason
    assert "no node has taken it yet" in seen[3].reason


async def test_a_nonce_that_is_used_up_is_displaced_only_once_the_index_has_seen_it(world: World) -> None:
    world.node.nonce, world.node.height = 4, 11
    seen, _ = await world.executor.follow([outgoing(1, 3, attempt(1))])
    assert seen[1].fate is Fate.UNKNOWN
    world.index.height = 11
    seen, _ = await world.executor.follow([outgoing(1, 3, attempt(1))])
    assert (seen[1].fate, seen[1].benign) == (Fate.DISPLACED, False)
    world.index.mine(attempt(1).tx_id)
    seen, _ = await world.executor.follow([outgoing(1, 3, attempt(1))])
    assert seen[1].fate is Fate.MINED


async def test_a_displaced_nonce_is_followed_until_that_is_final(world: World) -> None:
    one = outgoing(1, 3, attempt(1), state="displaced", height=10)

    async def fate(followed: Outgoing = one) -> tuple[Fate, bool]:
        seen, _ = await world.executor.follow([followed])
        return seen[1].fate, seen[1].final

    world.node.nonce, world.index.final_height = 4, 9
    assert await fate() == (Fate.DISPLACED, False)
    world.index.final_height = 10
    assert await fate() == (Fate.DISPLACED, True)
    assert await fate(replace(one, state="broadcast")) == (Fate.DISPLACED, False), "it has not been so until now"
    world.node.nonce = 3
    assert await fate() == (Fate.DROPPED, False), "what took the nonce is in no block any more"
    world.index.height = 11
    assert await fate() == (Fate.UNKNOWN, False), "or the nodes have yet to come that far"
    world.index.mine(attempt(1).tx_id)
    assert await fate() == (Fate.MINED, False)


async def test_the_node_is_asked_before_the_index(world: World) -> None:
    """Else a block in between would make a mined transaction look displaced."""
    tx_id = attempt(1).tx_id

    async def transactions(ids: list[bytes]) -> Any:
        assert "/v2/info" in world.node.asked
        assert any(path.startswith("/v2/accounts/") for path in world.node.asked)
        world.node.nonce, world.node.height, world.index.height = 4, 11, 11
        world.index.mine(tx_id)
        return {tx_id: world.index.mined[tx_id]}, world.index.receipt

    world.index.transactions = transactions  # type: ignore[method-assign]
    seen, _ = await world.executor.follow([outgoing(1, 3, attempt(1))])
    assert seen[1].fate is Fate.MINED


# replacing


async def test_only_what_waits_for_long_or_is_wanted_is_replaced(world: World) -> None:
    stuck = outgoing(1, 3, attempt(1, 1000), height=8)
    assert await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=False) is None
    wanted = await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=True)
    assert isinstance(wanted, Draft)
    world.index.height = 11
    draft = await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=False)
    assert isinstance(draft, Draft)
    assert draft.fee == 5000, "the nodes' highest estimate"
    signed = await world.signed(draft, work(JOB, 7), nonce=3)
    assert decode_transaction(signed.raw).fee == 5000


async def test_a_replacement_pays_more_than_every_attempt_before_it(world: World) -> None:
    stuck = outgoing(1, 3, attempt(1, 90_000), attempt(2, 80_000), height=0)
    draft = await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=False)
    assert isinstance(draft, Draft)
    assert draft.fee == 112_500


async def test_at_the_cap_it_waits_as_it_is(world: World) -> None:
    stuck = outgoing(1, 3, attempt(1, 1_000_000), height=0)
    assert await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=True) is None
    assert await world.executor.replacement(stuck, None, world.index.receipt, wanted=True) is None


async def test_what_is_no_longer_worth_it_frees_its_nonce_as_cheaply_as_can_be(world: World) -> None:
    world.simulates(Err(UInt(DONE_BEFORE)))
    stuck = outgoing(1, 3, attempt(1, 1000), height=0)
    declined = await world.executor.replacement(stuck, work(JOB, 7), world.index.receipt, wanted=False)
    assert isinstance(declined, Declined)
    draft = await world.executor.replacement(stuck, None, world.index.receipt, wanted=False)
    assert isinstance(draft, Draft)
    signed = await world.executor.sign_release(draft, stuck)
    transaction = decode_transaction(signed.raw)
    assert isinstance(transaction.payload, TokenTransfer)
    assert (transaction.payload.amount, transaction.nonce, transaction.fee) == (1, 3, 1250)
    assert str(transaction.payload.recipient) == "ST000000000000000000002AMW42H"
    assert (await world.executor.broadcast(signed)).taken is Taken.SENT


async def test_stored_bytes_are_sent_as_they_are(world: World) -> None:
    signed = await world.signed(await world.draft(7), work(JOB, 7), nonce=3)
    stored = replace(attempt(1), tx_id=signed.tx_id, raw=signed.raw)
    assert (await world.executor.broadcast(stored)).nodes == (world.node.url,)
    assert world.node.mempool == {signed.tx_id}
