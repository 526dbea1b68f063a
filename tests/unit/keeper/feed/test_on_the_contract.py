"""The rules against bh-oracle itself: what is submitted is taken, and what waits would be refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet

from clarion.chains.stacks.clarity import Bool, Err, List, OptionalNone, StringAscii, Tuple, UInt, principal
from clarion.config import Settings
from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.feed import PriceFeed
from clarion_keeper.feed.job import Desk, FeedState, SubmitPrice
from clarion_keeper.feed.oracle import OracleState
from clarion_keeper.feed.rules import AssetState, Clocks, OpenRound, OracleRules, Say, SubmitRules
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Intent, Verdict

E8 = 10**8
FIRST = 100_000 * E8
ASSET = StringAscii("BTC")
GUARDIAN = ADDRESSES[1]
FEEDERS = ADDRESSES[6:9]
MAX_AGE, TIMEOUT = 12, 6


class Oracle:
    """bh-oracle with three providers, and the job of each."""

    def __init__(self, simnet: Simnet) -> None:
        self.simnet = simnet
        self.job = SubmitPrice(Desk(Settings(), PriceFeed.from_settings(Settings()), FEEDERS[0]))
        simnet.publish()
        simnet.must("bh-registry", "bootstrap", principal(GUARDIAN))
        simnet.must("bh-params", "bootstrap", principal(SBTC))
        feed = Tuple({"asset": ASSET, "insurable": Bool(True), "reference-usd8": UInt(FIRST)})
        weights = tuple(Tuple({"provider": principal(who), "weight": UInt(1)}) for who in FEEDERS)
        simnet.must("bh-oracle", "bootstrap", List((feed,)), List(weights))
        changes = {"price-max-age": MAX_AGE, "round-timeout": TIMEOUT}
        rows = tuple(Tuple({"key": StringAscii(key), "value": UInt(value)}) for key, value in changes.items())
        simnet.must("bh-params", "set-params", List(rows), OptionalNone())

    def state(self, who: str, usd8: int) -> FeedState:
        """What the job of ``who`` would read, with this price."""
        row = self.simnet.read("bh-oracle", "get-asset", ASSET)
        number = row["next-round"]
        opened = self.simnet.read("bh-oracle", "get-round", ASSET, UInt(number))
        given = self.simnet.read("bh-oracle", "get-submissions", ASSET, UInt(number))
        asset = AssetState(
            asset="BTC",
            active=row["active"],
            next_round=number,
            price_usd8=row["price-usd8"] if row["last-round"] else None,
            opened_burn=row["opened-burn"],
            candidate_usd8=row["candidate-usd8"],
            open_round=opened
            and OpenRound(opened_burn=opened["opened-burn"], has_own=who in [one["provider"] for one in given]),
        )
        receipt = Receipt(self.simnet.height, "0x00", self.simnet.burn, 0)
        rules = OracleRules(is_open=True, weight=1, max_age_burn=MAX_AGE, timeout_burn=TIMEOUT)
        return FeedState(
            receipt=receipt,
            provider=who,
            oracle=OracleState(receipt, None, rules, (asset,)),
            prices={"BTC": Aggregate("BTC", 0, usd8, (), 0, None, 95, "")},
            clocks=Clocks(sources_offset_ms=0, max_offset_ms=1, tip_offset_ms=None, max_tip_offset_ms=0),
            rules=SubmitRules(deviation_bp=100, heartbeat_burn=None, min_gap_burn=0),
        )

    def submit(self, who: str, intent: Intent) -> int | None:
        """The error of the job's call; None where it is taken."""
        call = self.job.call([intent.item])
        return self.simnet.call(call.contract, call.function, *call.arguments, sender=who).code

    def say(self, who: str, usd8: int) -> Say:
        """What the rules say."""
        state = self.state(who, usd8)
        return state.decide(state.oracle.assets[0]).say

    def close(self) -> bool:
        """Close the round; False where it was rejected."""
        number = UInt(self.simnet.read("bh-oracle", "get-asset", ASSET)["next-round"])
        return bool(self.simnet.must("bh-oracle", "close-round", ASSET, number))

    def wait(self, blocks: int) -> None:
        """Let Bitcoin blocks go by."""
        self.simnet.mine(burn_blocks=blocks)


@pytest.fixture
def oracle() -> Iterator[Oracle]:
    with Simnet.start() as simnet:
        yield Oracle(simnet)


def test_what_is_submitted_is_taken_and_what_waits_would_be_refused(oracle: Oracle) -> None:
    first = None
    for who in FEEDERS:
        (intent,) = oracle.job.check(oracle.state(who, FIRST))
        first = first or intent
        assert oracle.submit(who, intent) is None
        assert oracle.say(who, FIRST * 2) is Say.WAIT
        code = oracle.submit(who, intent)
        assert code == 3012
        (again,) = oracle.job.outcomes([intent.item], Err(UInt(code)))
        assert (again.verdict, again.benign) == (Verdict.DONE, True)
    assert oracle.close()
    assert first is not None
    assert oracle.submit(FEEDERS[0], first) == 3008
    assert oracle.say(FEEDERS[0], FIRST) is Say.WAIT

    oracle.wait(MAX_AGE // 2)
    assert oracle.say(FEEDERS[0], FIRST) is Say.SUBMIT
    (opening,) = oracle.job.check(oracle.state(FEEDERS[0], FIRST))
    assert oracle.submit(FEEDERS[0], opening) is None
    oracle.wait(TIMEOUT)
    assert oracle.say(FEEDERS[1], FIRST) is Say.SUBMIT
    (late,) = oracle.job.check(oracle.state(FEEDERS[1], FIRST))
    oracle.wait(1)
    assert oracle.say(FEEDERS[1], FIRST * 2) is Say.WAIT
    assert oracle.submit(FEEDERS[1], late) == 3013


def test_a_crash_is_confirmed_by_a_second_round(oracle: Oracle) -> None:
    for who in FEEDERS:
        (intent,) = oracle.job.check(oracle.state(who, FIRST))
        assert oracle.submit(who, intent) is None
    assert oracle.close()
    crashed = FIRST // 2
    for rejected in (True, False):
        for who in FEEDERS:
            (intent,) = oracle.job.check(oracle.state(who, crashed))
            assert oracle.submit(who, intent) is None
        assert oracle.close() is not rejected
    assert oracle.simnet.read("bh-oracle", "get-asset", ASSET)["price-usd8"] == crashed
