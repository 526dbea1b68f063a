"""What the keeper remembers, on a real Postgres: the fence, decisions, attempts, coins, controls and money."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import psycopg
import pytest

from clarion_keeper.executor import Broadcast, Fate, Seen, Signed, Taken
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Amount, Intent, Lane, Outcome, Verdict
from clarion_keeper.store import accounts, controls, intents, lease, outgoing, retention
from clarion_keeper.store.lease import LeaseLostError, Store
from clarion_keeper.store.outgoing import OvertakenError, Slot

DONE = Outcome(Verdict.DONE, "settled", earned=Amount(token="STX", amount=7))


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await lease.connect(database_url, idle_seconds=60) as opened:
        yield opened


@pytest.fixture
async def store(connection: psycopg.AsyncConnection[Any]) -> Store:
    fence = await lease.acquire(connection, "one", 60)
    assert fence is not None
    return Store(connection, fence)


def at(height: int, *, sequence: int | None = None, burn: int | None = None) -> Receipt:
    return Receipt(height, f"0x{height:02x}", 100 + height if burn is None else burn, sequence or height)


def intent(number: int, **about: Any) -> Intent:
    return Intent(key=f"settle:{number}", job="settle", item={"policy": number}, cause="it expired", **about)


async def decide(store: Store, due: Sequence[Intent], receipt: Receipt) -> intents.Decided:
    async with store.writing() as connection:
        return await intents.decide(
            connection, job="settle", lane=Lane.SETTLE, chain="stacks", due=due, receipt=receipt
        )


async def planned(store: Store) -> dict[str, intents.Stored]:
    async with store.reading() as connection:
        return {stored.key: stored for stored in await intents.planned(connection, "stacks")}


async def states(store: Store) -> list[tuple[str, str, str | None]]:
    async with store.reading() as connection:
        cursor = await connection.execute("SELECT key, state, outcome FROM keeper.intent ORDER BY id")
        return await cursor.fetchall()


def slot(nonce: int | None) -> Slot:
    return Slot(
        chain="stacks",
        account="main",
        sender="ST1",
        nonce=nonce,
        lane=Lane.SETTLE,
        job="settle",
        contract="c",
        function="f",
        deadline_burn=None,
    )


async def sign(store: Store, keys: Sequence[str], *, nonce: int | None = 0, tag: int = 1, **about: Any) -> Any:
    waiting = await planned(store)
    signed = Signed(tx_id=bytes([tag]) * 32, raw=b"raw", fee=about.pop("fee", 100), **about)
    async with store.writing() as connection:
        id_ = await outgoing.store_signed(connection, slot(nonce), signed, [waiting[key].id for key in keys], at(10))
        (stored,) = await outgoing.by_ids(connection, [id_])
    return stored


async def mine(store: Store, one: Any, *, height: int = 11, sequence: int | None = None, tag: int = 1) -> None:
    seen = Seen(fate=Fate.MINED, tx_id=bytes([tag]) * 32, height=height, block_hash=b"h", status="success", fee=90)
    async with store.writing() as connection:
        ids = await outgoing.of_attempt(connection, bytes([tag]) * 32)
        left = [id_ for id_ in await outgoing.carried(connection, one.id) if id_ not in ids]
        await outgoing.mined(connection, one, seen, dict.fromkeys(ids, DONE), left, at(height, sequence=sequence))


async def test_one_keeper_leads_until_it_lets_go_or_its_time_is_over(connection: psycopg.AsyncConnection[Any]) -> None:
    first = await lease.acquire(connection, "one", 60)
    assert first == 1
    assert await lease.acquire(connection, "two", 60) is None
    assert await lease.renew(connection, first, 60)
    await lease.release(connection, first)
    second = await lease.acquire(connection, "two", 60)
    assert second == 2
    assert not await lease.renew(connection, first, 60)
    await lease.release(connection, first)
    assert await lease.acquire(connection, "three", 60) is None


async def test_who_lost_the_lease_writes_nothing(store: Store) -> None:
    await lease.release(store.connection, store.fence)
    await lease.acquire(store.connection, "two", 60)
    with pytest.raises(LeaseLostError):
        await decide(store, [intent(1)], at(10))
    assert await states(store) == []


async def test_nobody_takes_over_while_a_write_is_under_way(store: Store, database_url: str) -> None:
    async with await lease.connect(database_url, idle_seconds=60) as other, store.writing():
        await other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await other.execute("UPDATE keeper.lease SET fence = fence + 1")


async def test_a_write_that_is_not_gone_on_with_does_not_keep_the_fence(database_url: str) -> None:
    async with await lease.connect(database_url, idle_seconds=1) as stopped:
        fence = await lease.acquire(stopped, "one", 1)
        assert fence is not None
        with pytest.raises(psycopg.Error):
            await _write_while_another_takes_over(Store(stopped, fence), database_url)


async def _write_while_another_takes_over(store: Store, database_url: str) -> None:
    async with store.writing() as connection:
        async with await lease.connect(database_url, idle_seconds=1) as other, asyncio.timeout(30):
            # waits for the share of the row that the write holds, until the server ends it
            while await lease.acquire(other, "two", 60) is None:
                await other.execute("SELECT pg_sleep(0.05)")
        await connection.execute("SELECT")


async def test_what_is_due_is_open_once_and_cancelled_when_it_is_not(store: Store) -> None:
    assert await decide(store, [intent(1), intent(2)], at(10)) == intents.Decided(2, 0)
    assert await decide(store, [intent(1, value_usd8=5), intent(2)], at(11)) == intents.Decided(0, 0)
    assert (await planned(store))["settle:1"].value_usd8 == 5
    assert (await planned(store))["settle:1"].first_burn == 110
    assert await decide(store, [intent(2)], at(12)) == intents.Decided(0, 1)
    assert await decide(store, [intent(1), intent(2)], at(13)) == intents.Decided(1, 0)
    assert (await planned(store))["settle:1"].first_burn == 113
    assert [state for _, state, _ in await states(store)] == ["cancelled", "planned", "planned"]


async def test_what_has_been_due_since_follows_a_bitcoin_chain_that_gets_shorter(store: Store) -> None:
    await decide(store, [intent(1)], at(10, burn=110))
    await decide(store, [intent(1)], at(11, burn=105))
    assert (await planned(store))["settle:1"].first_burn == 105


async def test_a_look_that_was_too_early_does_not_decide_again_what_is_done(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await sign(store, ["settle:1"])
    await mine(store, one, sequence=20)
    assert await decide(store, [intent(1)], at(10, sequence=19)) == intents.Decided(0, 0)
    assert await states(store) == [("settle:1", "done", "settled")]
    assert await decide(store, [intent(1)], at(12, sequence=21)) == intents.Decided(1, 0)


async def test_after_a_reorg_the_transaction_carries_its_intents_again(store: Store) -> None:
    await decide(store, [intent(1), intent(2)], at(10))
    one = await sign(store, ["settle:1", "settle:2"])
    await mine(store, one, sequence=20)
    await decide(store, [intent(1)], at(9, sequence=21))
    async with store.writing() as connection:
        (mined,) = await outgoing.by_ids(connection, [one.id])
        assert (mined.state, mined.tx_id, mined.block_height) == ("mined", bytes([1]) * 32, 11)
        await outgoing.orphaned(connection, mined, at(9, sequence=22))
        (back,) = await outgoing.live(connection, "main")
    assert (back.state, back.tx_id, back.newest.state) == ("broadcast", None, "broadcast")
    assert await states(store) == [
        ("settle:1", "sent", None),
        ("settle:2", "sent", None),
        ("settle:1", "cancelled", "an earlier transaction carries it again"),
    ]


async def test_of_several_versions_the_mined_one_counts(store: Store) -> None:
    await decide(store, [intent(1), intent(2)], at(10))
    one = await sign(store, ["settle:1", "settle:2"])
    waiting = (await outgoing.carried(store.connection, one.id))[:1]
    async with store.writing() as connection:
        again = Signed(tx_id=bytes([2]) * 32, raw=b"again", fee=200)
        await outgoing.store_replacement(connection, one, again, waiting, at(12), "not mined for long")
        (replaced,) = await outgoing.by_ids(connection, [one.id])
    assert [(a.number, a.fee, a.state) for a in replaced.attempts] == [(1, 100, "replaced"), (2, 200, "signed")]
    await mine(store, replaced, tag=2)
    assert await states(store) == [
        ("settle:1", "done", "settled"),
        ("settle:2", "cancelled", "another version of its transaction was mined, which does not carry it"),
    ]


async def test_an_intent_is_carried_once_and_a_nonce_used_once(store: Store) -> None:
    await decide(store, [intent(1), intent(2)], at(10))
    first = await sign(store, ["settle:1"])
    with pytest.raises(psycopg.errors.UniqueViolation):
        await sign(store, ["settle:2"], tag=2)
    stale = (await outgoing.carried(store.connection, first.id))[0]
    taken = Signed(tx_id=bytes([3]) * 32, raw=b"raw", fee=1)
    with pytest.raises(OvertakenError, match="not waiting any more"):
        async with store.writing() as connection:
            await outgoing.store_signed(connection, slot(1), taken, [stale], at(10))
    assert [state for _, state, _ in await states(store)] == ["sent", "planned"]


async def test_a_coin_is_spent_by_one_live_transaction(store: Store) -> None:
    await decide(store, [intent(1), intent(2)], at(10))
    first = await sign(store, ["settle:1"], nonce=None, coins=("aa:0",))
    with pytest.raises(OvertakenError, match="the coin aa:0 is reserved"):
        await sign(store, ["settle:2"], nonce=None, tag=2, coins=("aa:0",))
    async with store.writing() as connection:
        await outgoing.rejected(connection, first, Outcome(Verdict.AGAIN, "its input was spent"))
    await sign(store, ["settle:2"], nonce=None, tag=2, coins=("aa:0",))


async def test_a_rejected_transaction_frees_its_nonce_and_ends_what_it_carried(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await sign(store, ["settle:1"])
    async with store.writing() as connection:
        await outgoing.rejected(connection, one, Outcome(Verdict.FAILED, "NoSuchContract"))
        assert await outgoing.live(connection, "main") == []
    assert await states(store) == [("settle:1", "failed", "NoSuchContract")]
    await decide(store, [intent(1)], at(11))
    await sign(store, ["settle:1"], tag=2)


GONE = Outcome(Verdict.AGAIN, "its nonce was used")


async def displace(store: Store, one: Any, height: int = 11) -> Any:
    async with store.writing() as connection:
        await outgoing.displaced(connection, one, GONE, at(height))
        (found,) = await outgoing.by_ids(connection, [one.id])
    return found


async def test_a_displaced_transaction_leaves_its_place_to_others_and_is_followed(store: Store) -> None:
    await decide(store, [intent(1), intent(2)], at(10))
    one = await displace(store, await sign(store, ["settle:1"], coins=("aa:0",)))
    assert (one.state, one.height, one.newest.state) == ("displaced", 11, "signed")
    assert await outgoing.live(store.connection, "main") == []
    assert await outgoing.followed(store.connection, "main") == [one]
    assert (await states(store))[0] == ("settle:1", "cancelled", "its nonce was used")
    other = await sign(store, ["settle:2"], tag=2, coins=("aa:0",))
    assert await outgoing.followed(store.connection, "main") == [one, other]
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with store.writing() as connection:
            await outgoing.orphaned(connection, one, at(12))
    for height, since in ((12, 12), (10, 12)):
        async with store.writing() as connection:
            await outgoing.not_displaced_before(connection, one, at(height))
        assert [found.height for found in await outgoing.by_ids(store.connection, [one.id])] == [since]
    async with store.writing() as connection:
        assert await retention.prune(connection, 0) == 0
        await outgoing.rejected(connection, one, GONE)
    assert await outgoing.followed(store.connection, "main") == [other]
    async with store.writing() as connection:
        assert await retention.prune(connection, 0) == 1


@pytest.mark.parametrize("by", ["nobody", "a look", "another transaction"])
async def test_a_displaced_transaction_that_is_mined_after_all_did_what_it_carries(store: Store, by: str) -> None:
    await decide(store, [intent(1)], at(10))
    one = await displace(store, await sign(store, ["settle:1"]))
    if by != "nobody":
        await decide(store, [intent(1)], at(11))
    if by == "another transaction":
        await sign(store, ["settle:1"], nonce=1, tag=2)
    await mine(store, one, sequence=20)
    async with store.reading() as connection:
        (mined,) = await outgoing.live(connection, "main") if by != "another transaction" else [one]
        cursor = await connection.execute("SELECT state, fee_paid::int FROM keeper.outgoing WHERE id = %s", (one.id,))
        assert await cursor.fetchall() == [("mined", 90)]
        cursor = await connection.execute("SELECT earned_amount::int FROM keeper.intent WHERE state = 'done'")
        assert await cursor.fetchall() == [(7,)]
    again: list[Any] = {
        "nobody": [],
        "a look": [("settle:1", "cancelled", "an earlier transaction carries it again")],
        "another transaction": [("settle:1", "sent", None)],
    }[by]
    assert await states(store) == [("settle:1", "done", "settled"), *again]
    if by != "another transaction":
        assert await decide(store, [intent(1)], at(11, sequence=19)) == intents.Decided(0, 0), "it looked too early"
        async with store.writing() as connection:
            await outgoing.orphaned(connection, mined, at(9, sequence=21))
        assert (await states(store))[0] == ("settle:1", "sent", None)


async def test_what_took_its_place_is_taken_back_and_it_waits_again(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await displace(store, await sign(store, ["settle:1"]))
    await decide(store, [intent(1)], at(11))
    async with store.writing() as connection:
        await outgoing.orphaned(connection, one, at(12))
        (back,) = await outgoing.live(connection, "main")
    assert (back.state, back.height, back.newest.state) == ("broadcast", 12, "signed")
    assert await states(store) == [
        ("settle:1", "sent", None),
        ("settle:1", "cancelled", "an earlier transaction carries it again"),
    ]


async def test_the_very_same_transaction_is_stored_again_only_where_the_first_was_rejected(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await displace(store, await sign(store, ["settle:1"]))
    await decide(store, [intent(1)], at(11))
    with pytest.raises(OvertakenError, match="the very same transaction"):
        await sign(store, ["settle:1"])
    async with store.writing() as connection:
        await outgoing.rejected(connection, one, GONE)
    again = await sign(store, ["settle:1"])
    assert (again.newest.number, again.newest.state) == (1, "signed")
    assert await outgoing.by_ids(store.connection, [one.id]) == []


async def test_what_has_the_nonce_now_has_to_make_room_first(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await displace(store, await sign(store, ["settle:1"]))
    await decide(store, [intent(1)], at(12))
    other = await sign(store, ["settle:1"], tag=2)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await mine(store, one)
    await displace(store, other)
    await mine(store, one)


async def test_what_the_nodes_say_is_kept(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    one = await sign(store, ["settle:1"])
    for answer, expected in (
        (Broadcast(taken=Taken.LATER, reason="TooMuchChaining"), ("signed", "signed")),
        (Broadcast(taken=Taken.LATER, reason="TooMuchChaining"), ("signed", "signed")),
        (Broadcast(taken=Taken.SENT, nodes=("a", "b")), ("broadcast", "broadcast")),
    ):
        async with store.writing() as connection:
            await outgoing.answered(connection, one, one.newest, answer)
            (now,) = await outgoing.by_ids(connection, [one.id])
        assert (now.state, now.newest.state) == expected
    cursor = await store.connection.execute("SELECT what FROM keeper.step ORDER BY id")
    assert [what for (what,) in await cursor.fetchall()] == ["decided", "signed", "refused", "sent"]


async def test_the_last_hours_fees_are_what_was_paid_or_may_be(store: Store) -> None:
    await decide(store, [intent(number) for number in range(4)], at(10))
    mined = await sign(store, ["settle:0"], nonce=0, tag=1)
    await mine(store, mined)
    await sign(store, ["settle:1"], nonce=1, tag=2, fee=1_000)
    gone = await sign(store, ["settle:2"], nonce=2, tag=3, fee=10_000)
    await sign(store, ["settle:3"], nonce=3, tag=4, fee=100_000)
    async with store.writing() as connection:
        await outgoing.rejected(connection, gone, Outcome(Verdict.AGAIN, "displaced"))
        await connection.execute(
            "UPDATE keeper.attempt SET signed_at = now() - interval '61 minutes' WHERE tx_id = %s", (bytes([4]) * 32,)
        )
        # what was mined may be mined anew, by its dearest version, until it is final
        assert await accounts.spent_last_hour(connection, "main") == 100 + 1_000
        assert await accounts.spent_last_hour(connection, "main", beside=mined.id) == 1_000
        await outgoing.final(connection, mined)
        assert await accounts.spent_last_hour(connection, "main") == 90 + 1_000
        assert await accounts.spent_last_hour(connection, "another") == 0


async def kept(store: Store) -> dict[str, set[Any]]:
    """What there is still: intents by key, outgoings by nonce, and whose steps and attempts."""
    async with store.reading() as connection:
        return {
            name: {value for (value,) in await (await connection.execute(query)).fetchall()}
            for name, query in {
                "intent": "SELECT key FROM keeper.intent",
                "step": "SELECT i.key FROM keeper.step s LEFT JOIN keeper.intent i ON i.id = s.intent_id",
                "outgoing": "SELECT nonce::int FROM keeper.outgoing",
                "attempt": "SELECT o.nonce::int FROM keeper.attempt LEFT JOIN keeper.outgoing o ON o.id = outgoing_id",
            }.items()
        }


async def age(store: Store, days: int) -> None:
    """Let everything have ended so long ago, if it has ended."""
    for table in ("intent", "outgoing"):
        await store.connection.execute(f"UPDATE keeper.{table} SET ended_at = ended_at - make_interval(days => {days})")


async def test_what_ended_long_ago_is_forgotten_and_nothing_else(store: Store) -> None:
    await decide(store, [intent(number) for number in range(5)], at(10))
    final = await sign(store, ["settle:0", "settle:1"], nonce=0, tag=1)
    await mine(store, final)
    mined = await sign(store, ["settle:2"], nonce=1, tag=2)
    await mine(store, mined, tag=2)
    await sign(store, ["settle:3"], nonce=2, tag=3)
    async with store.writing() as connection:
        await outgoing.final(connection, final)
    await decide(store, [intent(3)], at(12))  # the last of them is not due any more, and no transaction carries it
    await age(store, 30)
    async with store.writing() as connection:
        assert await retention.prune(connection, 31) == 0
        assert await retention.prune(connection, 30, most=1) == 1
    # its transaction stays until the other one goes too
    assert (await kept(store))["outgoing"] == {0, 1, 2}
    async with store.writing() as connection:
        assert await retention.prune(connection, 30) == 2
        assert await retention.prune(connection, 30) == 0
    left = {"settle:2", "settle:3"}
    assert await kept(store) == {"intent": left, "step": left, "outgoing": {1, 2}, "attempt": {1, 2}}
    async with store.writing() as connection:
        await outgoing.final(connection, mined)
        assert await retention.prune(connection, 30) == 0
    await age(store, 30)
    async with store.writing() as connection:
        assert await retention.prune(connection, 30) == 1
    assert await kept(store) == {"intent": {"settle:3"}, "step": {"settle:3"}, "outgoing": {2}, "attempt": {2}}


async def test_a_reason_is_a_step_when_it_is_another_one(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    (stored,) = (await planned(store)).values()
    for reason in ("paused", "paused", "no slot"):
        async with store.writing() as connection:
            await intents.wait(connection, {stored.id: reason})
    cursor = await store.connection.execute("SELECT detail->>'reason' FROM keeper.step WHERE what = 'waited'")
    assert [reason for (reason,) in await cursor.fetchall()] == ["paused", "no slot"]


async def test_what_somebody_else_did_counts_as_done_when_the_index_shows_it(store: Store) -> None:
    await decide(store, [intent(1)], at(10))
    (stored,) = (await planned(store)).values()
    async with store.writing() as connection:
        await intents.simulated(connection, {stored.id: Outcome(Verdict.DONE, "u6012", benign=True)})
    assert (await planned(store))["settle:1"].waiting == "somebody else did it, says the node: u6012"
    await decide(store, [], at(11))
    assert await states(store) == [("settle:1", "done", "somebody else did it")]


async def test_jobs_are_paused_and_resumed(connection: psycopg.AsyncConnection[Any]) -> None:
    await controls.pause(connection, "settle", "it met the unknown")
    await controls.pause(connection, controls.EVERYTHING, "a drill")
    assert await controls.paused(connection) == {"settle": "it met the unknown", "*": "a drill"}
    assert await controls.resume(connection, "settle")
    assert not await controls.resume(connection, "settle")
    assert await controls.paused(connection) == {"*": "a drill"}
