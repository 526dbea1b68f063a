"""Rounds, expiry prices and fallbacks: when a job finds something due, from rows made by hand."""

from __future__ import annotations

from typing import Any

import pytest
from support.bithedge_keeper import INDEX, KEEPER, PROVIDER, SBTC, STX, TIER, USD, row, rules, state

from clarion.chains.stacks.clarity import Err, Ok, StringAscii, UInt, Value
from clarion.protocols.bithedge.tables import Asset, ExpiryPrice, OracleProvider, Policy, Position, PriceRound
from clarion_keeper.bithedge.prices import ApplyFallback, CloseRound, FixExpiryPrice, PriceOverdue
from clarion_keeper.intents import Verdict

BURN = 120
FEEDERS = [row(OracleProvider, provider=f"ST{n}", weight=1) for n in range(4)]


def policy(number: int, expiry: int, *, token: str = STX, state: str = "active") -> Any:
    return row(Policy, id=number, asset="BTC", token=token, expiry_burn=expiry, max_payout_usd8=900 * USD, state=state)


def closed(asset: str, number: int, opened: int) -> Any:
    values = {"state": "closed", "mode": "normal", "opened_burn": opened, "closed_burn": opened, "price_usd8": 5 * USD}
    return row(PriceRound, asset=asset, round=number, **values)


def opened(count: int, *, weight: int | None = None, at: int = BURN) -> Any:
    weight = count if weight is None else weight
    return row(PriceRound, asset="BTC", round=8, state="open", mode="open", opened_burn=at, count=count, weight=weight)


class TestCloseRound:
    job = CloseRound(INDEX, KEEPER)

    def due(self, *rows: Any, burn: int = BURN, **more: Any) -> list[dict[str, Any]]:
        return [dict(i.item) for i in self.job.check(state(burn, *rules(burn, **more), *FEEDERS, *rows))]

    def test_a_round_with_its_quorum_is_closed(self) -> None:
        assert self.due(opened(3)) == [{"asset": "BTC", "round": 8}]

    @pytest.mark.parametrize("round_", [opened(2), opened(3, weight=2)])
    def test_too_few_prices_or_too_little_weight_wait_for_the_timeout(self, round_: Any) -> None:
        assert self.due(round_) == []
        assert self.due(round_, burn=BURN + 6) == []
        assert self.due(round_, burn=BURN + 7) == [{"asset": "BTC", "round": 8}]

    def test_without_an_open_round_or_with_the_oracle_stopped_there_is_nothing_to_close(self) -> None:
        assert self.due() == []
        assert self.due(opened(3), tripped=("oracle",)) == []

    def test_its_value_is_what_is_backed_at_the_price(self) -> None:
        rows = [
            row(Position, provider=PROVIDER, tier=TIER, token=token, liability_usd8=liability)
            for token, liability in ((SBTC, 700), (STX, 50))
        ]
        (intent,) = self.job.check(state(BURN, *rules(BURN), *FEEDERS, opened(3), *rows))
        assert (intent.value_usd8, intent.deadline_burn, intent.entity) == (700, BURN + 1, "asset:BTC")


class TestFixExpiryPrice:
    job = FixExpiryPrice(INDEX, KEEPER)

    def due(self, *rows: Any) -> list[tuple[Any, ...]]:
        return [tuple(i.item.values()) for i in self.job.check(state(BURN, *rules(BURN - 60), *rows))]

    def test_it_is_the_first_round_opened_at_or_after_the_expiry(self) -> None:
        rounds = [closed("BTC", 4, 99), closed("BTC", 6, 103), closed("BTC", 5, 100), closed("STX", 2, 101)]
        assert self.due(policy(1, 100), policy(2, 100), *rounds) == [("BTC", 100, 5), ("STX", 100, 2)]

    def test_nothing_is_fixed_twice_or_before_a_round_can_answer(self) -> None:
        due = policy(1, 100, token=SBTC)
        assert self.due(due, closed("BTC", 4, 99)) == []
        fixed = row(ExpiryPrice, asset="BTC", expiry_burn=100, round=5)
        assert self.due(due, closed("BTC", 5, 100), fixed) == []
        assert self.due(due, closed("BTC", 5, 100)) == [("BTC", 100, 5)]

    @pytest.mark.parametrize(
        "other", [policy(1, BURN + 1), policy(1, 100, state="cancelled"), policy(1, 100, token="x")]
    )
    def test_policies_that_wait_for_no_price_need_none(self, other: Any) -> None:
        assert self.due(other, closed("BTC", 5, BURN), closed("STX", 5, BURN)) == []

    def test_its_value_is_what_waits_for_it_and_its_deadline_follows_the_round(self) -> None:
        rows = [policy(1, 100, token=SBTC), policy(2, 100, token=SBTC), closed("BTC", 5, 110)]
        (intent,) = self.job.check(state(BURN, *rules(BURN - 60), *rows))
        assert (intent.value_usd8, intent.deadline_burn) == (1_800 * USD, 111)

    def test_the_call_has_the_contracts_arguments_in_order(self) -> None:
        call = self.job.call([{"round": 5, "expiry-burn": 100, "asset": "BTC"}])
        assert (call.contract, call.function) == ("bh-oracle", "fix-expiry-price")
        assert call.arguments == (StringAscii("BTC"), UInt(100), UInt(5))

    @pytest.mark.parametrize(
        ("result", "verdict", "benign"),
        [
            (Ok(UInt(1)), Verdict.DONE, False),
            (Err(UInt(3018)), Verdict.DONE, True),
            (Err(UInt(3019)), Verdict.AGAIN, False),
            (Err(UInt(1)), Verdict.FAILED, False),
            (UInt(1), Verdict.FAILED, False),
            (None, Verdict.FAILED, False),
        ],
    )
    def test_a_price_that_is_fixed_already_counts_as_done(
        self, result: Value | None, verdict: Verdict, benign: bool
    ) -> None:
        (outcome,) = self.job.outcomes([{"asset": "BTC", "expiry-burn": 100, "round": 5}], result)
        assert (outcome.verdict, outcome.benign) == (verdict, benign)


class TestApplyFallback:
    job = ApplyFallback(INDEX, KEEPER)
    announced = row(Asset, asset="BTC", active=True, fallback_usd8=9 * USD, fallback_from_burn=BURN, last_round=7)

    def due(self, burn: int, *tripped: str) -> list[str]:
        found = state(burn, *rules(burn, tripped=tripped), self.announced)
        return [intent.key for intent in self.job.check(found)]

    def test_it_waits_for_its_delay_and_for_a_stopped_oracle(self) -> None:
        assert self.due(BURN, "oracle") == [f"apply-fallback:BTC:{BURN}"]
        assert self.due(BURN - 1, "oracle") == []
        assert self.due(BURN) == []

    def test_without_an_announced_price_there_is_none_to_apply(self) -> None:
        assert self.job.check(state(BURN, *rules(BURN, tripped=("oracle",)))) == []


class TestPriceOverdue:
    job = PriceOverdue(INDEX)

    def due(self, burn: int, *rows: Any) -> list[str]:
        return [intent.key for intent in self.job.check(state(burn, *rules(50), policy(1, 100, token=SBTC), *rows))]

    def test_people_hear_of_it_when_no_round_has_come_for_a_while(self) -> None:
        assert self.due(105) == []
        assert self.due(106) == ["expiry-price-overdue:BTC:100"]
        assert self.due(106, closed("BTC", 9, 100)) == []
        assert self.due(106, row(ExpiryPrice, asset="BTC", expiry_burn=100, round=9)) == []

    def test_nothing_can_be_sent_for_it(self) -> None:
        assert self.job.chain == "none"
        with pytest.raises(NotImplementedError):
            self.job.call([{}])
