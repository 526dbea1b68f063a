"""The provider's job: intents, the call, and what its answers mean."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clarion.chains.stacks.clarity import Bool, Err, Ok, StringAscii, UInt
from clarion.chains.stacks.networks import Network
from clarion.config import KeeperFeed, Settings
from clarion.protocols.bithedge.actions import ACTIONS
from clarion_keeper.feed import jobs
from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.feed import PriceFeed
from clarion_keeper.feed.job import Desk, FeedState, PriceTrouble, SubmitPrice
from clarion_keeper.feed.oracle import OracleState
from clarion_keeper.feed.rules import AssetState, Clocks, OpenRound, OracleRules, SubmitRules
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Lane, Verdict
from clarion_keeper.job import JobContext

PROVIDER = "ST1SJ3DTE5DN7X54YDH5D64R3BCB6A2AG2ZQ8YPD5"
E8 = 10**8
RECEIPT = Receipt(height=40, hash="0x40", burn_height=100, sequence=7)
ORACLE = OracleRules(is_open=True, weight=1, max_age_burn=12, timeout_burn=6)
BTC = AssetState(asset="BTC", active=True, next_round=8, price_usd8=60_000 * E8, opened_burn=98)
STX = replace(BTC, asset="STX", next_round=3, price_usd8=E8)


def desk(settings: Settings | None = None) -> Desk:
    used = settings or Settings()
    return Desk(used, PriceFeed.from_settings(used), PROVIDER)


def price(asset: str, usd8: int | None, problem: str = "") -> Aggregate:
    return Aggregate(asset, 0, usd8, (), 0, None, 95, problem)


def state(*assets: AssetState, btc: Aggregate | None = None) -> FeedState:
    return FeedState(
        receipt=RECEIPT,
        provider=PROVIDER,
        oracle=OracleState(RECEIPT, None, ORACLE, assets),
        prices={"BTC": btc or price("BTC", 61_000 * E8), "STX": price("STX", E8)},
        clocks=Clocks(sources_offset_ms=0, max_offset_ms=30_000, tip_offset_ms=None, max_tip_offset_ms=0),
        rules=SubmitRules(deviation_bp=100, heartbeat_burn=None, min_gap_burn=1),
    )


def test_a_price_that_moved_is_one_intent_a_round() -> None:
    (intent,) = SubmitPrice(desk()).check(state(BTC, STX))
    assert intent.key == f"oracle-submit:{PROVIDER}:BTC:8"
    assert intent.item == {"asset": "BTC", "round": 8, "price": 61_000 * E8, "observed": 100}
    assert "moved by 166 bp" in intent.cause
    assert intent.deadline_burn == 110


@pytest.mark.parametrize(
    ("asset", "deadline"),
    [
        (BTC, 110),
        (replace(BTC, open_round=OpenRound(opened_burn=99, has_own=False)), 105),
        (replace(BTC, opened_burn=20), 101),
    ],
)
def test_the_deadline_is_when_the_price_goes_stale_or_the_round_ends(asset: AssetState, deadline: int) -> None:
    (intent,) = SubmitPrice(desk()).check(state(asset))
    assert intent.deadline_burn == deadline


def test_a_price_that_cannot_be_relied_on_is_shown_and_not_sent() -> None:
    refused = state(BTC, STX, btc=price("BTC", 61_000 * E8, "sources disagree"))
    assert SubmitPrice(desk()).check(refused) == []
    (intent,) = PriceTrouble(desk()).check(refused)
    assert (intent.key, intent.cause) == ("oracle-feed:BTC", "no price of BTC is submitted: sources disagree")
    assert PriceTrouble(desk()).check(state(BTC, STX)) == []
    assert PriceTrouble.chain == "none"


def test_the_call_is_the_declared_action_s() -> None:
    (intent,) = SubmitPrice(desk()).check(state(BTC))
    call = SubmitPrice(desk()).call([intent.item])
    action = ACTIONS["submit-price"]
    assert (call.contract, call.function) == (action.contract, action.function)
    assert call.arguments == (StringAscii("BTC"), UInt(8), UInt(61_000 * E8), UInt(100))
    assert len(call.arguments) == len(action.parameters)


@pytest.mark.parametrize(
    ("code", "verdict", "benign"),
    [
        (3012, Verdict.DONE, True),
        (3004, Verdict.AGAIN, False),
        (3007, Verdict.AGAIN, False),
        (3008, Verdict.AGAIN, False),
        (3010, Verdict.AGAIN, False),
        (3011, Verdict.AGAIN, False),
        (3013, Verdict.AGAIN, False),
        (3005, Verdict.FAILED, False),
        (3006, Verdict.FAILED, False),
        (3009, Verdict.FAILED, False),
        (1, Verdict.FAILED, False),
    ],
)
def test_what_the_contract_s_refusals_mean(code: int, verdict: Verdict, benign: bool) -> None:
    (outcome,) = SubmitPrice(desk()).outcomes([{}], Err(UInt(code)))
    assert (outcome.verdict, outcome.benign) == (verdict, benign)


def test_a_price_that_waits_for_long_is_another_one_by_then_for_the_same_round() -> None:
    (first,) = SubmitPrice(desk()).check(state(BTC))
    (later,) = SubmitPrice(desk()).check(state(BTC, btc=price("BTC", 62_000 * E8)))
    assert SubmitPrice.renews
    assert first.key == later.key
    assert (first.item["price"], later.item["price"]) == (61_000 * E8, 62_000 * E8)


def test_a_submission_is_done() -> None:
    (outcome,) = SubmitPrice(desk()).outcomes([{}], Ok(Bool(True)))
    assert outcome.verdict is Verdict.DONE


def test_there_are_jobs_where_an_account_serves_the_lane() -> None:
    settings = Settings()
    deployers = {"bithedge": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"}

    def names(settings: Settings = settings, **given: object) -> list[str]:
        context = JobContext(
            settings=settings,
            network=Network.TESTNET,
            **{"deployers": deployers, "addresses": {Lane.ORACLE: PROVIDER}, **given},  # type: ignore[arg-type]
        )
        return [job.name for job in jobs(context)]

    assert names() == ["oracle-submit", "oracle-feed"]
    assert names(addresses={Lane.RESCUE: PROVIDER}) == []
    assert names(deployers={}) == []
    none = settings.model_copy(update={"keeper": settings.keeper.model_copy(update={"feed": KeeperFeed(assets=[])})})
    assert names(none) == []
