"""Quotes, matches and what-ifs over a recorded run: SQL reads what the pure functions see in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from psycopg.rows import dict_row
from support.bithedge_twin import ROW_TYPES, RowsSource
from support.graphql import Server, answering

from clarion.dev.accounts import DEPLOYER
from clarion.dev.calls import SBTC_TOKEN
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.health import position_health, price_at_ratio
from clarion.protocols.bithedge.quoting import Quote, Terms, cover, expiry_for, quote
from clarion.protocols.bithedge.reference import black_scholes, risk_score_bp, yield_model
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Allocation, Policy, Position, Tier, Token
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, Sats, Usd8
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_graphql.bithedge.quotes import UNDER
from clarion_graphql.bithedge.reading import reading

REPOSITORY = Path(__file__).resolve().parents[2]
STX = f"{DEPLOYER.address}.bh-stx"


@pytest.fixture
async def server(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed={"bithedge": deployed})
    async with answering(app) as running:
        yield running


@pytest.fixture
def state(recorded_bithedge_url: str) -> State:
    """The whole of the rows in memory."""
    with connect(recorded_bithedge_url) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = {
            row_type.model: [
                row["image"] for row in cursor.execute(f"SELECT to_jsonb(t) AS image FROM {row_type.name} t").fetchall()
            ]
            for row_type in protocol.row_types
        }
        tip = cursor.execute(
            "SELECT b.height, b.burn_height FROM clarion.cursor c JOIN clarion.block b ON b.hash = c.hash"
        ).fetchone()
    assert tip is not None
    return State(RowsSource(rows), DEPLOYER.address, tip["height"], BurnHeight(tip["burn_height"]))


QUOTE = """
query($type: String!, $strike: BigInt!, $notional: BigInt!, $expiry: Int!, $token: String!) {
  quote(type: $type, strikeUsd8: $strike, notionalSat: $notional, expiryBurn: $expiry, token: $token) {
    refusal { code }
    quote { premium premiumUsd8 tier maxPayoutUsd8 match {
      found coverableUsd8 collateral allocations { provider liabilityUsd8 } } }
  }
}
"""


def quote_or_code(state: State, terms: Terms) -> Quote | int:
    """The quote, or the number of the error that the contract gives."""
    try:
        return quote(state, terms, "")
    except RefusedError as refused:
        return refused.code


async def test_a_quote_and_its_match_are_those_of_the_rows_in_memory(server: Server, state: State) -> None:
    spot = state.price("BTC").usd8
    found = 0
    for strike_bp in (7_500, 8_500, 9_300, 9_990, 10_300, 11_900):
        for token in (STX, SBTC_TOKEN):
            for notional in (30_000, 4_000_000, 900_000_000):
                kind: Any = "put" if strike_bp <= 10_000 else "call"
                strike, expiry = Usd8(spot * strike_bp // 10_000), expiry_for(state, 3)
                terms = Terms(kind, "BTC", strike, Sats(notional), expiry, token)
                answer = await server.data(
                    QUOTE,
                    {
                        "type": kind,
                        "strike": str(strike),
                        "notional": str(notional),
                        "expiry": expiry,
                        "token": token,
                    },
                )
                asked = answer["quote"]
                expected = quote_or_code(state, terms)
                if isinstance(expected, int):
                    assert asked["refusal"]["code"] == expected
                    continue
                quoted = asked["quote"]
                assert int(quoted["premium"]) == expected.premium
                try:
                    allocations = cover(state, expected)
                except ValueError:
                    assert not quoted["match"]["found"]
                    continue
                found += 1
                assert [(part["provider"], int(part["liabilityUsd8"])) for part in quoted["match"]["allocations"]] == [
                    (part.provider, part.liability) for part in allocations
                ]
    assert found >= 10


async def test_positions_under_a_price_are_found_by_their_leverage(server: Server, state: State) -> None:
    positions = [row for row in state.rows.all(Position) if row.liability_usd8]  # type: ignore[attr-defined]
    assert positions
    for token in (STX, SBTC_TOKEN):
        token_row = state.need(Token, token)
        prices = []
        for row in positions:
            if row.token == token:
                edge = price_at_ratio(
                    row.available + row.locked,
                    row.liability_usd8,
                    BasisPoints(10_000),
                    decimals=token_row.decimals,
                    haircut=token_row.haircut_bp,
                )
                assert edge is not None
                prices += [edge - 1, edge]
        for price in map(Usd8, sorted(set(prices))):
            expected = set()
            for row in positions:
                if row.token == token:
                    health = position_health(
                        row.available + row.locked,
                        row.liability_usd8,
                        state.need(Tier, row.tier),
                        decimals=token_row.decimals,
                        haircut=token_row.haircut_bp,
                        price=price,
                    )
                    if health.health is not None and health.health < 10_000:
                        expected.add((row.provider, row.tier))
            data = await server.data(
                "query($token: String!, $price: BigInt!) {"
                " liquidatablePositions(token: $token, priceUsd8: $price, first: 200)"
                " { provider tier margin liquidationPriceUsd8 }"
                " liquidationLadder(token: $token, fromUsd8: 1, toUsd8: $price, steps: 2) { priceUsd8 positions } }",
                {"token": token, "price": str(price)},
            )
            assert {(row["provider"], row["tier"]) for row in data["liquidatablePositions"]} == expected
            assert all(row["margin"] == "INSOLVENT" for row in data["liquidatablePositions"])
            assert data["liquidationLadder"][0]["positions"] == len(expected)


COMPARED = """
query($token: String!, $who: String!, $policy: Int!, $tier: String!) {
  quote(type: "put", strikeBp: 9500, notionalSat: "1000000", days: 1, token: $token) {
    quote { strikeUsd8 durationBurn premiumUsd8 bsReferenceUsd8 premium premiumBp premiumAnnualBp tokenPriceUsd8 }
  }
  withdrawable(address: $who) { tier token available locked requested withdrawable healthBp healthAfterBp }
  policyRisk(id: $policy) {
    policy blocksLeft payoffUsd8 bsValueUsd8 inTheMoneyBp coverBp scoreBp providers largestProviderBp
  }
  missing: policyRisk(id: 999999) { policy }
  yieldEstimate(token: $token, amount: "1000000000", tier: $tier, days: 90) {
    volatilityBp tierMultiplierBp durationBp yieldBp annualBp earned earnedUsd8 riskLevel realised { apyBp toBurn }
  }
  riskModel { version riskFreeBp }
}
"""


async def test_what_a_model_says_beside_the_contracts(server: Server, state: State) -> None:
    policies = [row for row in state.rows.all(Policy) if row.state == "active"]  # type: ignore[attr-defined]
    parts = [row for row in state.rows.all(Allocation) if row.state == "active"]  # type: ignore[attr-defined]
    owing = [row for row in state.rows.all(Position) if row.liability_usd8]  # type: ignore[attr-defined]
    assert policies
    assert owing
    policy, who = policies[-1], owing[0].provider
    spot = state.price("BTC").usd8
    data = await server.data(COMPARED, {"token": STX, "who": who, "policy": policy.id, "tier": "balanced"})

    quoted = {name: int(value) for name, value in data["quote"]["quote"].items()}
    duration = BurnBlocks(quoted["durationBurn"])
    model = black_scholes(
        "put", spot=spot, strike=Usd8(quoted["strikeUsd8"]), volatility=state.volatility("BTC"), duration=duration
    )
    assert quoted["bsReferenceUsd8"] == model.value * 1_000_000 // 10**8
    paid = quoted["premium"] * quoted["tokenPriceUsd8"] // 10**6
    assert quoted["premiumAnnualBp"] == -(-paid * 10_000 * 52_560 // (spot * 1_000_000 // 10**8 * duration))
    assert quoted["premiumAnnualBp"] >= quoted["premiumBp"]

    compared = 0
    for row in data["withdrawable"]:
        token, tier = state.need(Token, row["token"]), state.need(Tier, row["tier"])
        owed = state.need(Position, who, row["tier"], row["token"]).liability_usd8
        if owed == 0:
            assert (row["healthBp"], row["healthAfterBp"]) == (None, None)
            continue
        left = int(row["available"]) - int(row["requested"]) - int(row["withdrawable"]) + int(row["locked"])
        price = state.price(token.asset).usd8
        after = left * price * (10_000 - token.haircut_bp) // (10**token.decimals * owed)
        assert int(row["healthAfterBp"]) == after <= int(row["healthBp"])
        if int(row["withdrawable"]):
            assert after >= tier.ratio_warn_bp
        compared += 1
    assert compared

    risk, own = data["policyRisk"], [part for part in parts if part.policy == policy.id]
    token, tier = state.need(Token, policy.token), state.need(Tier, policy.tier)
    covered = sum(part.liability_usd8 for part in own)
    worth = sum(part.collateral for part in own) * state.price(token.asset).usd8 * (10_000 - token.haircut_bp)
    cover = worth // (10**token.decimals * covered)
    assert int(risk["coverBp"]) == cover
    assert int(risk["scoreBp"]) == risk_score_bp(BasisPoints(cover), tier.ratio_min_bp, tier.ratio_warn_bp)
    assert risk["providers"] == len(own)
    assert int(risk["largestProviderBp"]) == max(part.liability_usd8 for part in own) * 10_000 // covered
    left = BurnBlocks(max(0, policy.expiry_burn - state.burn_height))
    model = black_scholes(
        policy.type, spot=spot, strike=policy.strike_usd8, volatility=state.volatility("BTC"), duration=left
    )
    assert risk["blocksLeft"] == left
    assert int(risk["bsValueUsd8"]) == model.value * policy.notional_sat // 10**8
    assert int(risk["inTheMoneyBp"]) == model.in_the_money
    assert data["missing"] is None

    estimate, row = data["yieldEstimate"], state.need(Tier, "balanced")
    expected = yield_model(state.volatility("BTC"), row.premium_mult_bp, row.rank, 90)
    assert int(estimate["yieldBp"]) == expected.total
    assert int(estimate["earned"]) == 10**9 * expected.total // 10_000
    assert int(estimate["earnedUsd8"]) == int(estimate["earned"]) * state.price("STX").usd8 // 10**6
    assert int(estimate["annualBp"]) == -(-expected.total * 365 // 90)
    assert (estimate["durationBp"], estimate["riskLevel"]) == ("6321", expected.risk_level)
    assert estimate["realised"]["toBurn"] == state.burn_height
    assert data["riskModel"] == {"version": 1, "riskFreeBp": 200}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ('token: "nope", amount: "5", tier: "balanced", days: 5', "nope is no collateral token"),
        (f'token: "{STX}", amount: "5", tier: "calm", days: 5', "no tier calm"),
        (f'token: "{STX}", amount: "5", tier: "balanced", days: 5, asset: "NO"', "no price feed NO"),
        (f'token: "{STX}", amount: "0", tier: "balanced", days: 5', "amount is greater than 0"),
        (f'token: "{STX}", amount: "5", tier: "balanced", days: 0', "days is 1 to"),
    ],
)
async def test_a_yield_of_what_is_not_there_is_refused(server: Server, given: str, complaint: str) -> None:
    error = await server.error(f"{{ yieldEstimate({given}) {{ yieldBp }} }}")
    assert complaint in error["message"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"


MOVES = """
query($at: BigInt!, $token: String!) {
  quote(type: "put", strikeBp: 9500, notionalSat: "1000000", days: 1, token: $token, atPriceUsd8: $at) {
    quote { spotUsd8 scenarios { moveBp priceUsd8 } at { moveBp priceUsd8 } }
  }
}
"""


async def test_scenarios_say_the_move_that_was_asked_for(server: Server, state: State) -> None:
    spot = state.price("BTC").usd8
    # between two basis points, the nearer one
    for at, move in ((spot, 0), (spot * 9_999 // 10_000 - 1, -1), (spot * 5_500 // 10_000, -4_500)):
        quoted = (await server.data(MOVES, {"at": str(at), "token": STX}))["quote"]["quote"]
        assert quoted["at"] == {"moveBp": move, "priceUsd8": str(at)}
    assert [row["moveBp"] for row in quoted["scenarios"]] == [percent * 100 for percent in range(-50, 55, 5)]
    assert [int(row["priceUsd8"]) for row in quoted["scenarios"]] == [
        spot * (100 + percent) // 100 for percent in range(-50, 55, 5)
    ]


async def test_what_is_asked_wrongly_is_said(server: Server) -> None:
    terms = f'type: "put", notionalSat: "1000000", token: "{STX}"'
    for arguments, complaint in (
        (f"{terms}, days: 2", "strikeUsd8 or strikeBp"),
        (f"{terms}, strikeBp: 9000", "expiryBurn or days"),
        (f"{terms}, strikeBp: 9000, days: 0", "from 1 to"),
        (f"{terms}, strikeBp: -5, days: 2", "strikeBp is greater than 0"),
        (f'{terms}, strikeBp: 9000, strikeUsd8: "1", days: 2', "strikeUsd8 or strikeBp"),
    ):
        error = await server.error(f"{{ quote({arguments}) {{ refusal {{ code }} }} }}")
        assert complaint in error["message"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_checks_of_what_is_there(server: Server, state: State) -> None:
    policy = max(row.id for row in state.rows.all(Policy))  # type: ignore[attr-defined]
    provider = next(iter(state.rows.all(Position))).provider  # type: ignore[attr-defined]
    data = await server.data(
        "query($policy: Int!, $who: String!) {"
        " exerciseCheck(policy: $policy) { eligible reasons { code name } payout }"
        " missing: exerciseCheck(policy: 999999) { eligible }"
        " withdrawable(address: $who) { tier token requestable withdrawable healthBp requests { ready pays } }"
        " contractErrors(code: 6013) { name contract message } }",
        {"policy": policy, "who": provider},
    )
    assert data["missing"] is None
    assert data["exerciseCheck"]["eligible"] == (data["exerciseCheck"]["reasons"] == [])
    assert data["contractErrors"] == [
        {"name": "ERR-NOT-EXPIRED", "contract": "bh-policy", "message": "expiry not reached"}
    ]
    assert data["withdrawable"]


def test_the_positions_under_a_price_are_found_by_an_index(database_url: str) -> None:
    with connect(database_url, autocommit=True) as connection:
        columns = [name for name in ROW_TYPES[Position].columns if name not in ("provider", "tier", "token")]
        values = {"available": "1000", "liability_usd8": "n"}
        connection.execute(
            f"INSERT INTO bithedge.position (provider, tier, token, {', '.join(columns)}) "  # type: ignore[arg-type]
            f"SELECT 'provider-' || n, 'balanced', 'token', {', '.join(values.get(name, '0') for name in columns)} "
            "FROM generate_series(1, 20000) n"
        )
        connection.execute("ANALYZE bithedge.position")
        query = reading(UNDER, "token", "balanced", 19_990 * 10**9, 19_990, 1000, 50)
        plan = "\n".join(
            row[0] for row in connection.execute(sql.SQL("EXPLAIN ") + query.text, query.parameters).fetchall()
        )
        found = connection.execute(query.text, query.parameters).fetchall()

    assert "position_by_leverage" in plan
    assert [row[0] for row in found] == [f"provider-{number}" for number in range(20_000, 19_990, -1)]
