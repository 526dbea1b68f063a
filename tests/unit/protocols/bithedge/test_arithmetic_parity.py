"""The arithmetic in Python against the contract's own functions, on the machine that runs them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import RefusedError, Simnet

from clarion.protocols.bithedge import payoff, pricing
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, PolicyType, Sats, TokenAmount, Usd8

SEED = 20_251_121
CASES = 600
CALLS_PER_EXPRESSION = 100
REFERENCE = Path(__file__).parents[4] / "docs" / "contracts.md"

Case = tuple[str, Any]
"""A call of bh-math in Clarity source, and what Python says it gives."""


@pytest.fixture(scope="module")
def math() -> Iterator[Simnet]:
    with Simnet.start() as machine:
        machine.deploy("bh-math")
        yield machine


def call(function: str, *arguments: object) -> str:
    return f"(contract-call? '{DEPLOYER}.bh-math {function} {' '.join(clarity(argument) for argument in arguments)})"


def clarity(value: object) -> str:
    if isinstance(value, int):
        return f"u{value}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {clarity(inside)}" for name, inside in value.items()) + "}"
    return f'"{value}"'


def usd(random: Random) -> Usd8:
    """A price from a hundredth of a cent to ten million dollars, small and round ones included."""
    return Usd8(random.choice([1, 10**8, random.randint(1, 10**8), random.randint(10**8, 10**15)]))


def near(price: Usd8, random: Random) -> Usd8:
    """A price around another."""
    return Usd8(random.choice([int(price), max(1, price * random.randint(5_000, 15_000) // 10_000), usd(random)]))


def sats(random: Random) -> Sats:
    return Sats(random.choice([1, 10_000, 10**8, random.randint(1, 10**11)]))


def kind(random: Random) -> PolicyType:
    return "put" if random.random() < 0.5 else "call"


def quotient(random: Random) -> Case:
    arguments = (random.randint(0, 10**30), random.randint(1, 10**15))
    return call("div-up", *arguments), payoff.ceil_div(*arguments)


def intrinsic(random: Random) -> Case:
    strike = usd(random)
    arguments = (kind(random), strike, near(strike, random))
    return call("intrinsic-usd8", *arguments), payoff.intrinsic_usd8(*arguments)


def density(random: Random) -> Case:
    m = random.choice([0, 2_499, 2_500, 29_999, 30_000, random.randint(0, 40_000), random.randint(0, 2**100)])
    return call("density-bp", m), pricing.density_bp(m)


def time_value(random: Random) -> Case:
    spot = usd(random)
    strike = near(spot, random)
    volatility, duration = random.choice([0, 1, random.randint(0, 60_000)]), random.randint(0, 60_000)
    expected = pricing.time_value_usd8(spot, strike, BasisPoints(volatility), BurnBlocks(duration))
    return call("time-value-usd8", spot, strike, volatility, duration), expected


def premium(random: Random) -> Case:
    spot = usd(random)
    terms: dict[str, Any] = {
        "type": kind(random),
        "spot-usd8": spot,
        "strike-usd8": near(spot, random),
        "notional-sat": sats(random),
        "vol-bp": random.randint(0, 50_000),
        "duration-burn": random.randint(0, 52_560),
        "type-mult-bp": random.randint(5_000, 30_000),
        "tier-mult-bp": random.randint(5_000, 20_000),
        "util-mult-bp": random.randint(10_000, 40_000),
        "floor-bp": random.choice([0, 10, random.randint(0, 1_000)]),
    }
    expected = pricing.premium_usd8(
        terms["type"],
        spot=spot,
        strike=terms["strike-usd8"],
        notional=terms["notional-sat"],
        volatility=terms["vol-bp"],
        duration=terms["duration-burn"],
        type_multiplier=terms["type-mult-bp"],
        tier_multiplier=terms["tier-mult-bp"],
        utilisation_multiplier=terms["util-mult-bp"],
        floor=terms["floor-bp"],
    )
    return call("premium-usd8", terms), expected


def take_over(random: Random) -> Case:
    spot = usd(random)
    strike, notional, which = near(spot, random), Sats(random.randint(1, 10**11)), kind(random)
    most = max(1, payoff.max_payout_usd8(which, strike, notional, BasisPoints(random.randint(1_000, 50_000))))
    terms: dict[str, Any] = {
        "type": which,
        "spot-usd8": spot,
        "strike-usd8": strike,
        "notional-sat": notional,
        "vol-bp": random.choice([0, random.randint(1_000, 50_000)]),
        "duration-burn": random.choice([0, 1, random.randint(0, 52_560)]),
        "max-payout-usd8": most,
        "liability-usd8": random.choice([0, 1, most, random.randint(1, most)]),
    }
    expected = pricing.take_over_usd8(
        which,
        spot=spot,
        strike=strike,
        notional=notional,
        volatility=terms["vol-bp"],
        duration=terms["duration-burn"],
        max_payout=Usd8(most),
        liability=terms["liability-usd8"],
    )
    return call("take-over-usd8", terms), expected


def max_payout(random: Random) -> Case:
    arguments = (kind(random), usd(random), sats(random), BasisPoints(random.randint(1_000, 50_000)))
    return call("max-payout-usd8", *arguments), payoff.max_payout_usd8(*arguments)


def paid_off(random: Random) -> Case:
    strike = usd(random)
    most = Usd8(random.choice([0, 10**25, random.randint(0, 10**16)]))
    arguments = (kind(random), strike, near(strike, random), sats(random), most)
    return call("payoff-usd8", *arguments), payoff.payoff_usd8(*arguments)


def tokens(random: Random) -> Case:
    up = random.random() < 0.5
    arguments = (Usd8(random.randint(0, 10**18)), random.choice([0, 6, 8, 18]), usd(random))
    if up:
        return call("tokens-up", *arguments), payoff.tokens_up(*arguments)
    return call("tokens-down", *arguments), payoff.tokens_down(*arguments)


def value(random: Random) -> Case:
    arguments = (TokenAmount(random.randint(0, 10**18)), random.choice([0, 6, 8, 18]), usd(random))
    return call("value-usd8", *arguments), payoff.value_usd8(*arguments)


def collateral(random: Random) -> Case:
    arguments = (
        Usd8(random.choice([0, 1, 10**16, random.randint(0, 10**16)])),
        random.choice([0, 6, 8, 10]),
        usd(random),
        BasisPoints(random.choice([10_000, 50_000, random.randint(10_000, 50_000)])),
        BasisPoints(random.choice([0, 5_000, 9_999, random.randint(0, 9_999)])),
    )
    return call("required-collateral", *arguments), payoff.required_collateral(*arguments)


def health(random: Random) -> Case:
    arguments = (
        TokenAmount(random.choice([0, 1, 10**16, random.randint(0, 10**16)])),
        random.choice([0, 6, 8, 10]),
        usd(random),
        BasisPoints(random.choice([0, 5_000, 9_999, random.randint(0, 9_999)])),
        Usd8(random.choice([0, 1, 10**16, random.randint(0, 10**16)])),
    )
    return call("health-bp", *arguments), payoff.health_bp(*arguments)


def part(random: Random) -> Case:
    total = random.randint(1, 10**16)
    start = random.randint(0, total)
    stop = random.randint(start, total)
    arguments = (random.randint(0, 10**16), start, stop, total)
    return call("slice", *arguments), payoff.slice_of(*arguments)


CASES_OF = (
    quotient,
    intrinsic,
    density,
    time_value,
    premium,
    take_over,
    max_payout,
    paid_off,
    tokens,
    value,
    collateral,
    health,
    part,
)


@pytest.mark.parametrize("case", CASES_OF, ids=lambda case: case.__name__)
def test_python_gives_what_the_contract_gives(math: Simnet, case: Callable[[Random], Case]) -> None:
    random = Random(f"{SEED} {case.__name__}")
    cases = [case(random) for _ in range(CASES)]
    for start in range(0, CASES, CALLS_PER_EXPRESSION):
        batch = cases[start : start + CALLS_PER_EXPRESSION]
        given = math.evaluate(f"(list {' '.join(source for source, _ in batch)})")
        for (source, expected), actual in zip(batch, given, strict=True):
            assert actual == expected, source


@pytest.mark.parametrize("function", ["tokens-up", "tokens-down"])
def test_a_price_of_zero_is_an_error_on_both_sides(math: Simnet, function: str) -> None:
    with pytest.raises(RefusedError):
        math.evaluate(call(function, 1, 6, 0))
    with pytest.raises(ZeroDivisionError):
        (payoff.tokens_up if function == "tokens-up" else payoff.tokens_down)(Usd8(1), 6, Usd8(0))


def test_every_function_of_the_contract_is_held_against_python() -> None:
    section = REFERENCE.read_text(encoding="utf-8").partition("### bh-math\n")[2].partition("\n### ")[0]
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \(read-only\)", section, re.MULTILINE))
    random = Random(SEED)
    tried = {case(random)[0].split()[2] for case in CASES_OF for _ in range(20)}
    assert tried == documented
