"""The keeper on zkUSD, from settings to blocks: signers, API, prover's stand-in and a node on a regtest."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.graphql import NO_CACHE, answering
from support.keeper_regtest import (
    ANNA,
    BERT,
    BONUS,
    CHARMED,
    COLLATERAL,
    InProcessSigner,
    Town,
    in_process_parts,
    keeping,
    town_of,
)
from support.regtest import DEEPEST, PROTOCOLS
from support.secret_search import dump, found_in
from support.turning_keeper import TurningKeeper

from clarion.chains.bitcoin.transactions import write_transaction
from clarion.chains.bitcoin.units import SATS_PER_BITCOIN
from clarion.config import Accounts, Lane, Scope
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.mempool import Policy
from clarion.dev.bitcoin.premine import MINER
from clarion.dev.bitcoin.sender import FEERATE
from clarion.dev.bitcoin.signing import keys_by_script, sign
from clarion.dev.bitcoin.spell_builder import spell_transaction
from clarion.dev.bitcoin.zkusd_apps import ORACLE, SCROLLS, UNIT
from clarion.dev.bitcoin.zkusd_scenario import KEEPER, REDEEMER
from clarion_graphql.app import make_app
from clarion_keeper.charms.psbt import read_psbt
from clarion_keeper.command.planning import preview_with
from clarion_keeper.command.records import explain, psbt_of
from clarion_keeper.command.replaying import replay_block, replay_json
from clarion_keeper.signers import Purpose
from clarion_keeper.store import lease
from clarion_keeper.zkusd.costs import VIRTUAL_SIZE
from clarion_keeper.zkusd.orders import Operation

DEBT = 2_012 * UNIT
OPEN_TO_ALL = Accounts(anonymous=list(Scope))
HANDED_OUT = '{ keeperIntents(filter: {job: {eq: "zkusd-liquidate"}}) { nodes { waiting handedOut } } }'


@contextlib.asynccontextmanager
async def scene(
    database_url: str, folder: Path, *cosigners: Key, **settings: Any
) -> AsyncIterator[tuple[Town, TurningKeeper]]:
    """A town after the fall, with a keeper that has not looked yet."""
    async with (
        town_of(database_url, folder, cosigned=False, **settings) as (town, given),
        keeping(given, in_process_parts(given, *cosigners)) as keeper,
    ):
        await town.let_fall()
        yield town, keeper


def intents(town: Town, job: str = "zkusd-liquidate") -> list[tuple[Any, ...]]:
    return town.rows("SELECT state, outcome FROM keeper.intent WHERE job = %s ORDER BY id", job)


def outcome_of(town: Town) -> str:
    """What became of the first liquidation."""
    return str(intents(town)[0][1])


def states(town: Town) -> list[str]:
    """Of what the keeper signed, in order."""
    return [state for (state,) in town.rows("SELECT state FROM keeper.outgoing ORDER BY id")]


def attempts(town: Town) -> list[tuple[Any, ...]]:
    return town.rows("SELECT state, fee, encode(tx_id, 'hex') FROM keeper.attempt ORDER BY number")


def size_of(town: Town, job: str = "%") -> int:
    """Virtual bytes of the only spell that the keeper made."""
    query = (
        "SELECT (s.detail->>'virtual_size')::int FROM keeper.step s JOIN keeper.intent i ON i.id = s.intent_id "
        "WHERE s.what = 'simulated' AND s.detail ? 'virtual_size' AND i.job LIKE %s"
    )
    return int(town.rows(query, job)[0][0])


def near(size: int, operation: Operation) -> bool:
    """Whether a size is what profits are worked out with, less what a real proof has more than a mock one."""
    return VIRTUAL_SIZE[operation] - 500 <= size + 310 <= VIRTUAL_SIZE[operation]


async def test_a_falling_price_is_liquidated_into_the_pool(
    database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with town_of(database_url, tmp_path) as (town, settings), keeping(settings) as keeper:
        await town.let_fall()
        before, pool = town.funds(), town.zkusd.pool()
        await keeper.turn()
        (tx_id,) = town.waiting()
        await keeper.turn()
        assert town.waiting() == [tx_id], "our own transaction waits, and blocks a second one"
        fee = town.node.mempool.entries[tx_id].fee
        await town.mine()
        await keeper.turn()
        assert intents(town) == [("done", "the spell is mined")]
        (left,) = town.zkusd.vaults()
        assert left["collateral"] == 30_000_000
        after = town.zkusd.pool()
        assert pool["total_zkusd"] - after["total_zkusd"] == DEBT
        assert after["total_btc"] - pool["total_btc"] == COLLATERAL - BONUS
        assert town.zkusd.balance(KEEPER) == 2 * UNIT
        assert town.funds() == before + BONUS - fee - CHARMED
        assert town.rows("SELECT fee_paid FROM keeper.outgoing") == [(fee,)]
        await keeper.turn()
        assert town.waiting() == []
        assert len(attempts(town)) == 1
        assert near(size_of(town), Operation.LIQUIDATE)
        earned = "SELECT earned_token, earned_amount::bigint FROM keeper.intent WHERE job = 'zkusd-liquidate'"
        reserve = 2 * UNIT * SATS_PER_BITCOIN // (60_000 * UNIT)
        assert town.rows(earned) == [("BTC", BONUS + reserve)]
    said, told = capfd.readouterr()
    assert "btc signed; asked by zkusd-liquidate (rescue)" in told, "what the agents say is here too"
    dumped = dump(database_url)
    for key in (KEEPER, SCROLLS):
        assert found_in(f"{said}{told}".encode() + dumped, key.secret) == []
        for path in (tmp_path / "signers").iterdir():
            assert found_in(path.read_bytes(), key.secret) == []


async def test_a_rival_that_is_mined_first_costs_nothing(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        before = town.funds()
        (vault,) = town.zkusd.vaults(BERT)
        rival = town.zkusd.liquidate(REDEEMER, vault, BERT)
        await keeper.turn()
        (ours,) = town.waiting()
        unsigned = spell_transaction(rival, change=REDEEMER.taproot_script, feerate=FEERATE)
        theirs = sign(unsigned, rival.coins, keys_by_script((REDEEMER, SCROLLS)))
        await town.mine_without_the_mempool(1, write_transaction(theirs).hex())
        assert town.waiting() == []
        await keeper.turn()
        ((state, outcome),) = intents(town)
        assert state == "done"
        assert theirs.id.hex() in outcome
        await keeper.turn()
        assert (len(attempts(town)), town.waiting(), town.funds()) == (1, [], before)
        assert states(town) == ["displaced"]
        # the rival's block goes, and the rival with it
        await town.fork(1, keep=False)
        await keeper.turn()
        assert town.waiting() == [ours], "the same bytes"
        await town.mine()
        await keeper.turn()
        assert [end for end in intents(town) if end[0] != "cancelled"] == [("done", "the spell is mined")]
        assert (len(attempts(town)), states(town)) == (1, ["mined"])


@pytest.mark.slow
async def test_a_price_that_is_mined_first_makes_it_again(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        update = town.zkusd.update_price(59_000 * UNIT)
        await keeper.turn()
        (first,) = town.waiting()
        unsigned = spell_transaction(update, change=ORACLE.taproot_script, feerate=FEERATE)
        theirs = sign(unsigned, update.coins, keys_by_script((ORACLE, SCROLLS)))
        await town.mine_without_the_mempool(1, write_transaction(theirs).hex())
        await keeper.turn()
        assert theirs.id.hex() in str(town.rows("SELECT detail FROM keeper.step WHERE what = 'displaced'"))
        await keeper.turn()
        (second,) = town.waiting()
        assert second != first
        await town.mine()
        await keeper.turn()
        assert [state for state, _ in intents(town)] == ["cancelled", "done"]
        assert len(town.zkusd.vaults()) == 1
        assert states(town) == ["displaced", "mined"]
        await town.mine(DEEPEST)
        await keeper.turn()
        assert states(town) == ["rejected", "final"]


async def test_a_rival_that_waits_in_the_mempool_keeps_the_keeper_from_signing(
    database_url: str, tmp_path: Path
) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        (vault,) = town.zkusd.vaults(BERT)
        rival = await town.sender.cast(town.zkusd.liquidate(REDEEMER, vault, BERT), REDEEMER)
        await keeper.turn()
        assert town.waiting() == [rival.id]
        assert intents(town) == []
        held = town.rows("SELECT cause FROM keeper.intent WHERE job = 'zkusd-held-back'")
        assert f"the mempool's transaction {rival.id.hex()} spends the vault manager" in held[0][0]
        assert len(intents(town, "zkusd-contention")) == 4, "each of the four states"
        await town.mine()
        await keeper.turn()
        assert {state for state, _ in intents(town, "zkusd-contention")} == {"done"}
        assert (attempts(town), town.waiting()) == ([], [])


async def test_a_reorganization_takes_the_spell_back_and_it_is_sent_again(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        await keeper.turn()
        (tx_id,) = town.waiting()
        await town.mine()
        await keeper.turn()
        assert intents(town) == [("done", "the spell is mined")]
        await town.fork(1, keep=False)
        assert town.waiting() == []
        await keeper.turn()
        assert town.waiting() == [tx_id], "the same bytes"
        # what was decided anew before it was known that the spell is back is not sent beside it
        assert [state for state, _ in intents(town)] == ["sent", "cancelled"]
        await town.mine()
        await keeper.turn()
        assert [state for state, _ in intents(town)] == ["done", "cancelled"]
        assert len(attempts(town)) == 1


async def test_a_spell_that_waits_for_long_pays_more_out_of_its_change(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS, replace_after_blocks=2) as (town, keeper):
        # a keeper without coins: the bonus pays for all of it
        coins = [one for one in town.view.of_script(KEEPER.taproot_script) if not one.charms]
        await town.sender.pay(coins, [], MINER)
        await town.mine()
        assert town.funds() == 0
        await keeper.turn()
        (first,) = town.waiting()
        before = town.node.mempool.entries[first].transaction
        await town.mine_without_the_mempool(1)
        await keeper.turn()
        assert town.waiting() == [first]
        await town.mine_without_the_mempool(1)
        await keeper.turn()
        (second,) = town.waiting()
        after = town.node.mempool.entries[second].transaction
        assert second != first
        assert after.outputs[:-1] == before.outputs[:-1], "the spell and its proof are the same"
        assert after.outputs[-1].amount < before.outputs[-1].amount
        (one, two) = attempts(town)
        assert (one[0], two[0]) == ("replaced", "broadcast")
        assert two[1] * 100 >= one[1] * 125
        await town.mine()
        await keeper.turn()
        assert intents(town) == [("done", "the spell is mined")]
        assert town.rows("SELECT fee_paid FROM keeper.outgoing") == [(two[1],)]
        assert town.funds() == BONUS - two[1] - CHARMED
        await keeper.turn()
        assert town.rows("SELECT balance::bigint FROM keeper.account") == [(town.funds(),)]


async def test_a_reorganization_takes_the_cause_back(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        await keeper.turn()
        assert len(town.waiting()) == 1
        # the last prices are of the blocks that go: what the spell spends is on no chain any more
        await town.fork(6, keep=False)
        assert town.zkusd.price() > 60_000 * UNIT
        assert town.waiting() == []
        await keeper.turn()
        assert intents(town) == [("cancelled", outcome_of(town))]
        assert "reorganization" in outcome_of(town)
        await keeper.turn()
        assert town.waiting() == []
        await town.set_price(60_000)
        await keeper.turn()
        await town.mine()
        await keeper.turn()
        assert [state for state, _ in intents(town)] == ["cancelled", "done"]
        assert len(town.zkusd.vaults()) == 1


@pytest.mark.slow
async def test_a_spell_that_a_full_mempool_drops_comes_back_with_a_higher_fee(
    database_url: str, tmp_path: Path
) -> None:
    async with scene(database_url, tmp_path, SCROLLS) as (town, keeper):
        await keeper.turn()
        (first,) = town.waiting()
        mempool = town.node.mempool
        mempool.policy = Policy(min_relay=4_000)
        mempool.remove(mempool.entries[first])
        await keeper.turn()
        (second,) = town.waiting()
        assert second != first
        entry = mempool.entries[second]
        assert entry.fee * 1_000 >= 4_000 * entry.size
        assert [state for state, *_ in attempts(town)] == ["replaced", "broadcast"]
        await town.mine()
        await keeper.turn()
        assert intents(town) == [("done", "the spell is mined")]


async def test_without_all_keys_a_spell_is_handed_out_unsigned(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, keeper):
        await keeper.turn()
        await keeper.turn()
        assert (town.waiting(), attempts(town)) == ([], [])
        ((handed_out,),) = town.rows("SELECT detail FROM keeper.step WHERE what = 'handed-out'")
        assert set(handed_out["signers"].values()) == {SCROLLS.segwit_address}
        assert len(handed_out["signers"]) == 5, "the vault, and four states"
        # it is what `explain` and the API show
        ((key,),) = town.rows("SELECT key FROM keeper.intent WHERE job = 'zkusd-liquidate'")
        assert psbt_of(explain(town.connection, key)) == handed_out["psbt"]
        app = make_app(database_url, protocols=PROTOCOLS, deployed={}, graphql=NO_CACHE, accounts=OPEN_TO_ALL)
        async with answering(app) as server:
            ((shown,),) = [one["nodes"] for one in (await server.data(HANDED_OUT)).values()]
        assert shown["handedOut"]["psbt"] == handed_out["psbt"]
        assert handed_out["tx"] in shown["waiting"], "who subscribes is told of another one"
        # whoever has the keys signs and sends
        data = base64.b64decode(handed_out["psbt"])
        for key in (SCROLLS, KEEPER):
            data = await InProcessSigner(key).sign_bitcoin(data, purpose=Purpose("", "", ()))
        complete = read_psbt(data).signed_transaction()
        assert complete.id.hex() == handed_out["tx"]
        await town.call("sendrawtransaction", write_transaction(complete).hex())
        await town.mine()
        assert len(town.zkusd.vaults()) == 1
        await keeper.turn()
        ((state, _),) = intents(town)
        assert state in ("done", "cancelled")


@pytest.mark.slow
async def test_cheap_zkusd_is_redeemed(database_url: str, tmp_path: Path) -> None:
    cheap = {"redeem_at_price8": 97 * UNIT // 100, "redeem_most": 500 * UNIT}
    async with scene(database_url, tmp_path, SCROLLS, lane=Lane.UPKEEP, zkusd=cheap) as (town, keeper):
        await town.sender.cast(town.zkusd.transfer(ANNA, KEEPER.taproot_script, 900 * UNIT), ANNA)
        await town.mine()
        before = town.funds()
        await keeper.turn()
        (tx_id,) = town.waiting()
        fee = town.node.mempool.entries[tx_id].fee
        await town.mine()
        await keeper.turn()
        assert intents(town, "zkusd-redeem")[0] == ("done", "the spell is mined")
        assert town.zkusd.balance(KEEPER) == 400 * UNIT
        worth = 500 * UNIT * UNIT // (60_000 * UNIT)
        assert town.funds() == before + worth - -(-worth * 75 // 10_000) - fee
        assert near(size_of(town), Operation.REDEEM)
        assert intents(town) == [("planned", None)], "the lane of liquidations has no account here"


@pytest.mark.slow
async def test_an_own_vault_is_rescued(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path, SCROLLS, zkusd={"rescue_most": 50_000_000}) as (town, keeper):
        # nothing is to be liquidated any more
        await town.set_price(66_000)
        await town.open_vault(KEEPER, collateral=4_000_000, borrow=1_500 * UNIT)
        await town.set_price(48_000)
        (vault,) = town.zkusd.vaults(KEEPER)
        assert town.zkusd.ratio(vault) == 127
        await keeper.turn()
        await town.mine()
        await keeper.turn()
        (vault,) = town.zkusd.vaults(KEEPER)
        assert town.zkusd.ratio(vault) == 160
        assert intents(town, "zkusd-rescue")[0] == ("done", "the spell is mined")
        assert near(size_of(town, "zkusd-rescue"), Operation.RESCUE)


@pytest.mark.slow
async def test_what_would_be_sent_and_what_was_due_at_a_block(database_url: str, tmp_path: Path) -> None:
    async with (
        town_of(database_url, tmp_path, cosigned=False) as (town, settings),
        in_process_parts(settings, SCROLLS) as parts,
    ):
        await town.let_fall()
        connection = await lease.connect(database_url, idle_seconds=60)
        try:
            found = await preview_with(settings, parts, connection)
        finally:
            await connection.close()
        (send,) = found.sends
        assert (send.account, send.nonce, send.function) == ("btc", None, "liquidate")
        (intent,) = send.intents
        assert (town.waiting(), attempts(town), intents(town)) == ([], [], []), "a plan does nothing"
        height = town.node.chain.height
        await town.set_price(66_000)
        then, again, now = [
            await asyncio.to_thread(replay_block, settings, "bitcoin", at)
            for at in (height, height, town.node.chain.height)
        ]
        assert replay_json(then) == replay_json(again)
        due = [[one.key for one in jobs.due] for jobs in then.jobs if jobs.job == "zkusd-liquidate"]
        assert due == [[intent.key]]
        assert [one for jobs in now.jobs for one in jobs.due] == []
        assert [jobs.skipped for jobs in now.jobs if jobs.skipped] == []
