"""The API over zkUSD: what follows from its rows, by the package's arithmetic, at the oracle's price or another."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import msgspec
import pytest
from support import coins
from support.graphql import NO_CACHE, Server, serving
from support.table_rows import insert

from clarion.protocols.zkusd import pool, protocol, queues, ratios
from clarion.protocols.zkusd.app_sets import Rules
from clarion.protocols.zkusd.events import KINDS
from clarion.protocols.zkusd.queues import VaultFigures
from clarion.protocols.zkusd.units import Base, Bps, Price8, Sats
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.home import examples
from clarion_graphql.schema import build_schema

SET = "one"
APP_SETS = {
    "app_sets": [
        {
            "name": SET,
            **{
                role: {"identity": f"{number:064x}", "vk": f"{number + 9:064x}"}
                for number, role in enumerate(("oracle", "token", "vault_manager", "stability_pool"), 1)
            },
        }
    ]
}
RULES = Rules()
PRICE = Price8(6_000_000_000_000)
ONE = 10**8


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of the protocol, open, with two blocks."""
    with connect(database_url, autocommit=True) as connection:
        opened = Store(connection, "bitcoin", [protocol.deployed_on("regtest", parameters=APP_SETS)])
        opened.open()
        first = coins.block(None)
        with opened.batch() as batch:
            for block in (first, coins.block(first)):
                batch.append(block)
                batch.apply(block)
        yield opened


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(make_app(database_url, protocols=[protocol], deployed={}, graphql=NO_CACHE)) as running:
        yield running


def vaults(count: int, seed: int = 1) -> list[VaultFigures]:
    """Vaults of all kinds of ratios."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        debt = draw.choice([0, draw.randrange(12 * ONE, 100_000 * ONE)])
        collateral = int(debt * ONE // PRICE * draw.uniform(0.9, 4)) if debt else draw.randrange(10**8)
        made.append(
            VaultFigures(
                genesis=f"{number:064x}:0",
                vault_id=f"{number:064x}",
                owner=f"{number:064x}",
                script=f"0x{number:04x}",
                address=f"address-{number}",
                collateral=Sats(collateral),
                debt=Base(debt),
                rate_bps=Bps(draw.randrange(500)),
                at_risk_since_height=None,
            )
        )
    return made


def put(
    store: Store, listed: list[VaultFigures], *, price8: int | None = PRICE, pool_total: int = 40_000 * ONE
) -> None:
    """A set of apps with these vaults, at a price."""
    row = partial(insert, store.connection, protocol)
    rules = {name: getattr(RULES, name) for name in Rules.__struct_fields__}
    row("app_set", app_set=SET, title="One", **rules, updated_height=100)
    collateral, debt = sum(v.collateral for v in listed), sum(v.debt for v in listed)
    row(
        "protocol",
        app_set=SET,
        price8=price8,
        claimed_price_height=99,
        price_height=100,
        price_time=1_700_000_000 + 60_000,
        reported_collateral=collateral,
        reported_debt=debt,
        computed_collateral=collateral,
        computed_debt=debt,
        entire_collateral=collateral,
        entire_debt=debt,
        active_vaults=len(listed),
        reserves=len(listed) * RULES.liquidation_reserve,
        token_supply=debt - len(listed) * RULES.liquidation_reserve - 7,
        backing_sats=547,
        beamed_out=0,
        updated_height=101,
    )
    row(
        "stability_pool",
        app_set=SET,
        total=pool_total,
        replayed=True,
        replayed_p=pool.ONE,
        replayed_epoch=0,
        replayed_scale=0,
        updated_height=101,
    )
    for vault in listed:
        row(
            "vault",
            app_set=SET,
            genesis=vault.genesis,
            vault_id=vault.vault_id,
            owner=vault.owner,
            script=vault.script,
            address=vault.address,
            collateral=vault.collateral,
            debt=vault.debt,
            accrued_interest=0,
            redistributed_debt=0,
            redistributed_collateral=0,
            insurance_balance=0,
            entire_collateral=vault.collateral,
            entire_debt=vault.debt,
            interest_rate_bps=vault.rate_bps,
            status="Active",
            live=True,
            genuine=True,
            active=True,
            changed_height=100,
            updated_height=101,
        )


VAULTS = """query($after: String) { zkusdVaults(first: 500, after: $after, orderBy: [{field: GENESIS}]) { nodes {
  genesis icrPercent icrBps health netDebt netDebtZkusd maxMintable withdrawable withdrawableBtc accruedEstimate
  confirmations utxoSats liquidatable appSet { name mcrPercent }
} } }"""


async def test_what_follows_for_vaults_is_what_the_package_says(server: Server, store: Store) -> None:
    listed = vaults(200)
    put(store, listed)
    nodes = (await server.data(VAULTS))["zkusdVaults"]["nodes"]
    assert len(nodes) == len(listed)
    for node, vault in zip(nodes, sorted(listed, key=lambda v: v.genesis), strict=True):
        figures: dict[str, Any] = {"collateral": vault.collateral, "debt": vault.debt, "price8": PRICE}
        percent = ratios.ratio_percent(**figures)
        assert node["icrPercent"] == (None if percent is None else str(percent))
        bps = ratios.ratio_bps(**figures)
        assert node["icrBps"] == (None if bps is None else str(bps))
        expected = None if percent is None else "SAFE" if percent >= 150 else "WARNING" if percent >= 110 else "DANGER"
        assert node["health"] == expected
        assert node["netDebt"] == str(max(vault.debt - RULES.liquidation_reserve, 0))
        assert node["maxMintable"] == str(ratios.max_mintable(**figures, percent=RULES.mcr_percent))
        assert node["withdrawable"] == str(ratios.withdrawable(**figures, percent=RULES.mcr_percent))
        interest = ratios.accrued_interest(debt=vault.debt, rate_bps=vault.rate_bps, blocks=1)
        assert node["accruedEstimate"] == str(interest)
        assert (node["confirmations"], node["utxoSats"], node["liquidatable"]) == (2, "1", False)
        assert node["appSet"] == {"name": SET, "mcrPercent": 110}


async def test_without_a_price_nothing_is_made_up(server: Server, store: Store) -> None:
    put(store, vaults(3), price8=None)
    for node in (await server.data(VAULTS))["zkusdVaults"]["nodes"]:
        assert [node[name] for name in ("icrPercent", "icrBps", "health", "maxMintable", "withdrawable")] == [None] * 5
    found = await server.data('{ zkusdProtocol(appSetName: "one") { price8 priceStale priceUsd } }')
    assert found["zkusdProtocol"] == {"price8": None, "priceStale": None, "priceUsd": None}
    error = await server.error("{ zkusdLiquidationQueue { count } }")
    assert (error["extensions"]["code"], error["message"]) == (
        "UNAVAILABLE",
        "The oracle of one has told no price yet: suppose one with price8.",
    )
    assert (await server.data(f'{{ zkusdLiquidationQueue(price8: "{PRICE}") {{ isSupposed }} }}')) == {
        "zkusdLiquidationQueue": {"isSupposed": True}
    }


async def test_vaults_are_found_and_ordered_by_their_ratio(server: Server, store: Store) -> None:
    listed = vaults(60)
    put(store, listed)
    found = await server.data(
        """{ zkusdVaults(filter: {icrBps: {lt: "15000"}}, orderBy: [{field: ICR_BPS}]) { nodes { genesis icrBps } } }"""
    )
    expected = []
    for vault in listed:
        bps = ratios.ratio_bps(collateral=vault.collateral, debt=vault.debt, price8=PRICE)
        if bps is not None and bps < 15_000:
            expected.append((bps, vault.genesis))
    assert [(int(node["icrBps"]), node["genesis"]) for node in found["zkusdVaults"]["nodes"]] == sorted(expected)


async def test_the_protocol_with_what_its_price_and_totals_mean(server: Server, store: Store) -> None:
    put(store, vaults(5))
    found = await server.data(
        """{ zkusdProtocol(appSetName: "one") {
          priceUsd priceAgeBlocks priceAgeSeconds priceStale debtGap collateralGap poolCoverageBps computedDebt
          computedCollateral stabilityPool { totalZkusd } appSet { minDebtZkusd liquidationReserveZkusd }
        } }"""
    )
    state = found["zkusdProtocol"]
    assert (state["priceUsd"], state["priceAgeBlocks"], state["priceAgeSeconds"]) == ("60000", 2, 600)
    assert (state["priceStale"], state["debtGap"]) == (False, "7")
    assert int(state["collateralGap"]) == int(state["computedCollateral"]) - 547
    assert int(state["poolCoverageBps"]) == 40_000 * ONE * 10_000 // int(state["computedDebt"])
    assert state["stabilityPool"] == {"totalZkusd": "40000"}
    assert state["appSet"] == {"minDebtZkusd": "10", "liquidationReserveZkusd": "2"}


@pytest.mark.parametrize(
    ("claimed", "stale", "age"), [(0, True, None), (200, True, None), (90, True, 11), (95, False, 6)]
)
async def test_a_price_is_stale_by_blocks(
    server: Server, store: Store, claimed: int, stale: bool, age: int | None
) -> None:
    put(store, [])
    store.connection.execute("UPDATE zkusd.protocol SET claimed_price_height = %s", (claimed,))
    found = await server.data("{ zkusdProtocols { nodes { priceStale priceAgeBlocks } } }")
    assert found["zkusdProtocols"]["nodes"] == [{"priceStale": stale, "priceAgeBlocks": age}]


class TestQueues:
    """What can be done with vaults, at which price."""

    async def test_liquidations(self, server: Server, store: Store) -> None:
        listed = vaults(150)
        put(store, listed)
        document = """query($price8: BigInt, $least: BigInt) {
          zkusdLiquidationQueue(price8: $price8, minNetSats: $least, feeRate: 2, virtualSize: 900, first: 1000) {
            appSetName price8 isSupposed recoveryMode thresholdPercent count debt collateral poolTotal
            candidates {
              rank icrPercent icrBps collateral debt cumulativeDebt poolCovers reserveSats gross cost net netBtc
              split { kind bonus surplus poolDebt poolCollateral redistributedDebt redistributedCollateral }
              vault { genesis address health }
            }
          } }"""
        for price8, least in ((None, None), (str(PRICE // 2), None), (None, "400000")):
            found = (await server.data(document, {"price8": price8, "least": least}))["zkusdLiquidationQueue"]
            price = Price8(PRICE if price8 is None else int(price8))
            recovery = ratios.is_below(
                collateral=Sats(sum(v.collateral for v in listed)),
                debt=Base(sum(v.debt for v in listed)),
                price8=price,
                percent=RULES.ccr_percent,
            )
            expected = list(
                queues.liquidation_queue(
                    listed,
                    price8=price,
                    recovery=recovery,
                    pool_total=Base(40_000 * ONE),
                    rules=RULES,
                    costs=queues.Costs(fee_rate=2, virtual_size=900),
                    min_net=None if least is None else int(least),
                )
            )
            assert (found["price8"], found["isSupposed"]) == (str(price), price8 is not None)
            assert (found["recoveryMode"], found["thresholdPercent"]) == (recovery, 150 if recovery else 110)
            assert (found["count"], len(found["candidates"])) == (len(expected), len(expected))
            assert found["debt"] == str(sum(one.vault.debt for one in expected))
            for candidate, one in zip(found["candidates"], expected, strict=True):
                assert candidate["vault"]["genesis"] == one.vault.genesis
                assert candidate["vault"]["address"] == one.vault.address
                assert (candidate["rank"], candidate["poolCovers"]) == (one.rank, one.pool_covers)
                for name in ("icr_percent", "icr_bps", "cumulative_debt", "reserve_sats", "gross", "cost", "net"):
                    assert candidate[_camel(name)] == str(getattr(one, name))
                for name in one.split.__struct_fields__:
                    shown, value = candidate["split"][_camel(name)], getattr(one.split, name)
                    assert shown == (value.name if name == "kind" else str(value))
            assert expected

    async def test_redemptions(self, server: Server, store: Store) -> None:
        listed = vaults(80)
        put(store, listed)
        amount = 60_000 * ONE
        document = """query($amount: BigInt!, $order: ZkusdRedemptionPreference!) {
          zkusdRedemptionQueue(amount: $amount, order: $order, tokenPrice8: "97000000", first: 1000) {
            asked redeemed redeemedZkusd fee collateral effectivePrice8 arbitrage
            candidates { rank takeDebt fee takeCollateral leftDebt leavesTooLittle cumulativeDebt vault { genesis } }
          } }"""
        for order in ("ratio", "rate"):
            found = (await server.data(document, {"amount": str(amount), "order": order.upper()}))[
                "zkusdRedemptionQueue"
            ]
            plan = queues.redemption_queue(
                listed,
                price8=PRICE,
                amount=Base(amount),
                rules=RULES,
                order="ratio" if order == "ratio" else "rate",
            )
            for name in ("asked", "redeemed", "fee", "collateral", "effective_price8"):
                assert found[_camel(name)] == str(getattr(plan, name))
            assert found["arbitrage"] == str(plan.arbitrage(price8=PRICE, token_price8=Price8(97_000_000)))
            assert [c["vault"]["genesis"] for c in found["candidates"]] == [c.vault.genesis for c in plan.candidates]
            assert [c["takeDebt"] for c in found["candidates"]] == [str(c.take_debt) for c in plan.candidates]

    async def test_rescues(self, server: Server, store: Store) -> None:
        listed = vaults(80)
        put(store, listed)
        found = (
            await server.data("{ zkusdRescueQueue { count belowPercent candidates { addCollateral repayDebt debt } } }")
        )["zkusdRescueQueue"]
        expected = list(queues.rescue_queue(listed, price8=PRICE, rules=RULES))
        assert (found["count"], found["belowPercent"]) == (len(expected), 130)
        assert [(c["addCollateral"], c["repayDebt"]) for c in found["candidates"]] == [
            (str(one.add_collateral), str(one.repay_debt)) for one in expected
        ]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ('zkusdLiquidationQueue(price8: "0") { count }', "price8 is above 0."),
            ("zkusdLiquidationQueue(feeRate: -1) { count }", "Costs are 0 or more."),
            ('zkusdRedemptionQueue(amount: "0") { asked }', "amount is above 0."),
            ("zkusdRescueQueue(belowPercent: 0) { count }", "belowPercent is from 1 to 1000."),
            (
                'zkusdRescueQueue(appSetName: "two") { count }',
                "There is no set of apps 'two'. zkusdAppSets lists them.",
            ),
        ],
    )
    async def test_bad_input(self, server: Server, store: Store, asked: str, expected: str) -> None:
        put(store, [])
        error = await server.error(f"{{ {asked} }}")
        assert (error["extensions"]["code"], error["message"]) == ("BAD_USER_INPUT", expected)

    async def test_of_several_sets_one_has_to_be_named(self, server: Server, store: Store) -> None:
        put(store, [])
        insert(store.connection, protocol, "app_set", app_set="two")
        error = await server.error("{ zkusdRescueQueue { count } }")
        assert error["message"] == "Say which with appSetName: one, two."
        assert (await server.data('{ zkusdRescueQueue(appSetName: "one") { count } }'))["zkusdRescueQueue"][
            "count"
        ] == 0


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


async def test_deposits_are_worth_what_the_pool_says(server: Server, store: Store) -> None:
    """Through a scale, an epoch, and deposits of all of them."""
    put(store, [])
    draw = random.Random(5)
    state = pool.Pool()
    sums: dict[tuple[int, int], int] = {}
    deposits: dict[str, pool.Deposit] = {}

    def sum_of(epoch: int, scale: int) -> int:
        return sums.get((epoch, scale), 0)

    for number in range(40):
        done = pool.operate(state, None, sum_of, change=draw.randrange(ONE, 5_000 * ONE))
        state = done.pool
        assert done.deposit is not None
        deposits[f"{number:064x}:1"] = done.deposit
        share = draw.choice([0.3, 0.9999999, 1]) if number % 7 == 0 else 0.2
        taken = pool.offset(state, debt=Base(int(state.total * share)), collateral=Sats(draw.randrange(10**8)))
        state = taken.pool
        sums[taken.epoch, taken.scale] = sum_of(taken.epoch, taken.scale) + taken.grows_by
    store.connection.execute(
        "UPDATE zkusd.stability_pool SET replayed_p = %s, replayed_epoch = %s, replayed_scale = %s",
        (state.p, state.epoch, state.scale),
    )
    row = partial(insert, store.connection, protocol)
    for (epoch, scale), total in sums.items():
        row("pool_sum", app_set=SET, epoch=epoch, scale=scale, total=total)
    for genesis, deposit in deposits.items():
        row(
            "sp_deposit",
            app_set=SET,
            genesis=genesis,
            live=True,
            replayed_initial=deposit.initial,
            replayed_p=deposit.p,
            replayed_s=deposit.s,
            replayed_epoch=deposit.epoch,
            replayed_scale=deposit.scale,
        )
    document = "{ zkusdSpDeposits(first: 500) { nodes { genesis compounded compoundedZkusd gain gainBtc } } }"
    nodes = (await server.data(document))["zkusdSpDeposits"]["nodes"]
    assert {node["genesis"]: (int(node["compounded"]), int(node["gain"])) for node in nodes} == {
        genesis: (pool.value_of(deposit, state), pool.gain_of(deposit, sum_of)) for genesis, deposit in deposits.items()
    }
    assert any(int(node["compounded"]) for node in nodes)
    assert len({deposit.epoch for deposit in deposits.values()}) > 1
    assert any(scale for _, scale in sums)

    store.connection.execute("UPDATE zkusd.stability_pool SET replayed = false")
    (node, *_) = (await server.data(document))["zkusdSpDeposits"]["nodes"]
    assert (node["compounded"], node["gain"]) == (None, None)


async def test_the_histogram_counts_every_vault_with_debt(server: Server, store: Store) -> None:
    listed = vaults(100)
    put(store, listed)
    document = """{ zkusdIcrHistogram(stepBps: 2500, topBps: 30000) {
      tcrBps buckets { fromBps toBps vaults collateral debt debtZkusd } } }"""
    found = (await server.data(document))["zkusdIcrHistogram"]
    expected = queues.icr_histogram(listed, price8=PRICE, step_bps=Bps(2_500), top_bps=Bps(30_000))
    assert [
        (b["fromBps"], b["toBps"], b["vaults"], int(b["collateral"]), int(b["debt"])) for b in found["buckets"]
    ] == [(b.from_bps, b.to_bps, b.vaults, b.collateral, b.debt) for b in expected]
    assert sum(bucket["vaults"] for bucket in found["buckets"]) == sum(1 for vault in listed if vault.debt)
    error = await server.error("{ zkusdIcrHistogram(stepBps: 0) { tcrBps } }")
    assert error["message"].startswith("stepBps, topBps: cannot count ratios")


async def test_the_ladder_at_the_oracle_s_price_and_at_another(server: Server, store: Store) -> None:
    listed = vaults(60)
    put(store, listed)
    document = """query($price8: BigInt, $changes: [Int!]) {
      zkusdPriceLadder(price8: $price8, changesBps: $changes) {
        rungs { changeBps price8 priceUsd tcrBps recovery vaults collateral debt poolLeft } } }"""
    for price, changes in ((None, None), (PRICE * 2, [-5_000, 0, 5_000])):
        given = {"price8": None if price is None else str(price), "changes": changes}
        rungs = (await server.data(document, given))["zkusdPriceLadder"]["rungs"]
        expected = queues.price_ladder(
            listed,
            price8=Price8(price or PRICE),
            pool_total=Base(40_000 * ONE),
            rules=RULES,
            changes_bps=queues.FALLS if changes is None else [Bps(change) for change in changes],
        )
        assert len(rungs) == len(expected)
        for shown, rung in zip(rungs, expected, strict=True):
            assert (shown["changeBps"], shown["recovery"], shown["vaults"]) == (
                rung.change_bps,
                rung.recovery,
                rung.vaults,
            )
            for name in ("price8", "tcr_bps", "collateral", "debt", "pool_left"):
                assert shown[_camel(name)] == str(getattr(rung, name))
    error = await server.error("{ zkusdPriceLadder(changesBps: [-10001]) { tcrBps } }")
    assert error["message"] == "changesBps: a price cannot fall by more than 100 %."


async def test_an_account_with_all_it_has(server: Server, store: Store) -> None:
    listed = vaults(4)
    put(store, listed)
    row = partial(insert, store.connection, protocol)
    mine = listed[2]
    row("token_balance", app_set=SET, script=mine.script, address=mine.address, amount=5 * ONE, utxos=1)
    row(
        "contract",
        app_set=SET,
        role="oracle",
        identity="aa",
        vk="bb",
        tag="n",
        script=mine.script,
        address=mine.address,
        live=True,
    )
    document = """query($holder: String!) { zkusdAccount(holder: $holder) {
      holder collateral debt debtZkusd balanceZkusd deposited gains vaults { genesis icrPercent }
      balances { appSetName amountZkusd shareBps } deposits { genesis } contracts { role app confirmations }
    } }"""
    for holder in (mine.script, mine.address):
        found = (await server.data(document, {"holder": holder}))["zkusdAccount"]
        assert (found["collateral"], found["debt"]) == (str(mine.collateral), str(mine.debt))
        assert found["vaults"][0]["genesis"] == mine.genesis
        assert found["balanceZkusd"] == "5"
        assert (found["deposited"], found["gains"], found["deposits"]) == ("0", "0", [])
        assert found["contracts"] == [{"role": "oracle", "app": "n/aa/bb", "confirmations": 101}]
    nothing = (await server.data(document, {"holder": "nobody"}))["zkusdAccount"]
    assert (nothing["collateral"], nothing["vaults"], nothing["balances"]) == ("0", [], [])
    other = 'query { zkusdAccount(holder: "0x0002", appSetName: "two") { vaults { genesis } } }'
    assert (await server.data(other))["zkusdAccount"] == {"vaults": []}


async def test_prices_by_interval(server: Server, store: Store) -> None:
    put(store, [])
    row = partial(insert, store.connection, protocol)
    midnight = 1_700_006_400  # 2023-11-15
    for number, (time, price) in enumerate([(-10, 7), (0, 5), (3_599, 9), (3_600, 4), (86_399, 6), (86_400, 8)], 1):
        row("oracle_price", app_set=SET, number=number, time=midnight + time, price8=price * ONE)
    document = """query($every: ZkusdCandleInterval!, $from: DateTime) {
      zkusdCandles(every: $every, fromTime: $from) {
        start openPriceUsd highPriceUsd lowPriceUsd closePriceUsd updates } }"""
    days = (await server.data(document, {"every": "DAY", "from": "2023-11-15T00:00:00Z"}))["zkusdCandles"]
    assert [tuple(day.values()) for day in days] == [
        ("2023-11-16T00:00:00+00:00", "8", "8", "8", "8", 1),
        ("2023-11-15T00:00:00+00:00", "5", "9", "4", "6", 4),
    ]
    hours = (await server.data(document, {"every": "HOUR"}))["zkusdCandles"]
    assert [hour["updates"] for hour in hours] == [1, 1, 1, 2, 1]
    (week,) = (await server.data(document, {"every": "WEEK"}))["zkusdCandles"]
    assert (week["start"], week["updates"]) == ("2023-11-13T00:00:00+00:00", 6)


async def test_kinds_of_events_are_told(server: Server, store: Store) -> None:
    found = (await server.data("{ zkusdEventKinds { kind severity anomaly description fields } }"))["zkusdEventKinds"]
    assert {kind["kind"] for kind in found} == set(KINDS)
    assert all(kind["description"] for kind in found)
    anomalies = (await server.data("{ zkusdEventKinds(anomaly: true) { kind anomaly } }"))["zkusdEventKinds"]
    assert {kind["kind"] for kind in anomalies} == {name for name, kind in KINDS.items() if kind.anomaly}


HEALTH = """{ zkusdHealth { score level components { name weight score factors { name score } }
  alerts { kind severity detail } } }"""


async def test_health_of_a_set_without_faults(server: Server, store: Store) -> None:
    put(store, [], pool_total=0)
    found = (await server.data(HEALTH))["zkusdHealth"]
    scores = {component["name"]: component["score"] for component in found["components"]}
    assert scores == {"collateralization": None, "oracle": 100, "stability_pool": None, "liquidation": 100}
    assert (found["score"], found["level"], found["alerts"]) == (100, "HEALTHY", [])


async def test_health_of_a_set_with_faults(server: Server, store: Store) -> None:
    put(store, vaults(50))
    store.connection.execute(
        "UPDATE zkusd.protocol SET drift_supply = 5, claimed_price_height = 1, recovery_mode = true, "
        "computed_tcr_bps = 12000"
    )
    insert(store.connection, protocol, "contract", app_set=SET, role="oracle", live=False, forks=0)
    found = (await server.data(HEALTH))["zkusdHealth"]
    kinds = [(alert["kind"], alert["severity"]) for alert in found["alerts"]]
    assert kinds == [
        ("RecoveryMode", "critical"),
        ("DangerousVault", "critical"),
        ("StalePrice", "critical"),
        ("SupplyMismatch", "critical"),
        ("UnbackedCollateral", "critical"),
        ("StateEnded", "critical"),
        ("LowCollateralization", "warning"),
    ]
    factors = {factor["name"]: factor["score"] for component in found["components"] for factor in component["factors"]}
    assert (factors["total_ratio"], factors["freshness"]) == (60, 0)
    assert found["score"] < 50
    assert found["level"] in ("CRITICAL", "EMERGENCY")


async def test_health_before_anything_was_seen(server: Server, store: Store) -> None:
    assert (await server.error(HEALTH))["message"] == "No set of apps was seen yet. zkusdAppSets lists them."
    insert(store.connection, protocol, "app_set", app_set=SET)
    error = await server.error(HEALTH)
    assert (error["extensions"]["code"], error["message"]) == ("UNAVAILABLE", "Nothing of one was seen yet.")


async def test_a_view_as_of_a_block(server: Server, store: Store) -> None:
    put(store, vaults(2))
    answer = await server.query("query @asOf(height: 101) { zkusdHealth { level } zkusdRescueQueue { count } }")
    assert "errors" not in answer
    receipt = answer["extensions"]["receipt"]
    assert (receipt["chain"], receipt["height"]) == ("bitcoin", 101)


async def test_the_examples_are_answered_alike_with_plans_and_without(server: Server, store: Store) -> None:
    put(store, vaults(10))
    resolvers = Executor(build_schema([protocol]), server.app.state.service, plans=False)
    for example in examples(["zkusd"]):
        if example.name.startswith("zkusd/") and "\nquery" in example.document:
            answer = await server.query(example.document)
            assert "errors" not in answer, (example.name, answer["errors"])
            reference = await resolvers.execute(GraphQLRequest(example.document))
            assert msgspec.json.decode(reference.body)["data"] == answer["data"], example.name


REQUEST = """{
  operation problems signers
  inputs { role app outpoint sats address }
  changes { role figure before after }
  payments { to script asset amount }
}"""


class TestRequests:
    """What a spell has to do, for whoever builds it."""

    @pytest.fixture
    def listed(self, store: Store) -> list[VaultFigures]:
        """Three vaults, the riskiest first, and the apps' coins."""
        made = [
            VaultFigures(
                genesis=f"{number:064x}:0",
                vault_id=f"{number:064x}",
                owner="aa",
                script=f"0x{number:04x}",
                address=None,
                collateral=Sats(collateral),
                debt=Base(1_000 * ONE),
            )
            # 108 %, 180 % and 300 % at 60000
            for number, collateral in enumerate((1_800_000, 3_000_000, 5_000_000), 1)
        ]
        put(store, made)
        for role in ("oracle", "token", "vault_manager", "stability_pool"):
            insert(
                store.connection,
                protocol,
                "contract",
                app_set=SET,
                role=role,
                tag="n",
                identity="1d",
                vk=role,
                outpoint=f"{role}:0",
                script="0xadd",
                live=True,
            )
        store.connection.execute("UPDATE zkusd.protocol SET reported_supply = 1, reported_vaults = 3")
        return made

    async def test_a_liquidation(self, server: Server, listed: list[VaultFigures]) -> None:
        document = f'{{ zkusdLiquidationRequest(vault: "{listed[0].genesis}") {REQUEST} }}'
        found = (await server.data(document))["zkusdLiquidationRequest"]
        assert (found["operation"], found["problems"]) == ("LIQUIDATE", [])
        assert {(one["role"], one["app"], one["outpoint"]) for one in found["inputs"]} == {
            ("vault", "n/1d/vault_manager", "x"),
            *((role, f"n/1d/{role}", f"{role}:0") for role in ("oracle", "token", "vault_manager", "stability_pool")),
        }
        assert found["signers"] == [listed[0].script, "0xadd"]
        changes = {(c["role"], c["figure"]): (int(c["before"]), int(c["after"])) for c in found["changes"]}
        bonus = 1_800_000 // 200
        assert changes == {
            ("vault", "collateral"): (1_800_000, 0),
            ("vault", "debt"): (1_000 * ONE, 0),
            ("vault_manager", "collateral"): (9_800_000, 8_000_000),
            ("vault_manager", "debt"): (3_000 * ONE, 2_000 * ONE),
            ("vault_manager", "vaults"): (3, 2),
            ("token", "supply"): (1, 1 + 2 * ONE - 1_000 * ONE),
            ("stability_pool", "total"): (40_000 * ONE, 39_000 * ONE),
            ("stability_pool", "collateral"): (1, 1 + 1_800_000 - bonus),
        }
        assert found["payments"] == [
            {"to": "sender", "script": None, "asset": "BTC", "amount": str(bonus)},
            {"to": "sender", "script": None, "asset": "zkUSD", "amount": str(2 * ONE)},
        ]

    async def test_a_redemption(self, server: Server, listed: list[VaultFigures]) -> None:
        """Of the riskiest that is not to be liquidated, all that can be; of the next the rest."""
        document = f'{{ zkusdRedemptionRequest(amount: "{1_200 * ONE}") {REQUEST} }}'
        found = (await server.data(document))["zkusdRedemptionRequest"]
        plan = queues.redemption_queue(listed, price8=PRICE, amount=Base(1_200 * ONE), rules=RULES)
        assert [one.vault.genesis for one in plan.candidates] == [listed[1].genesis, listed[2].genesis]
        assert [one["role"] for one in found["inputs"]].count("vault") == 2
        assert "stability_pool" not in {one["role"] for one in found["inputs"]}
        assert found["signers"] == [listed[1].script, listed[2].script, "0xadd"]
        assert found["payments"] == [
            {"to": "sender", "script": None, "asset": "zkUSD", "amount": str(-1_200 * ONE)},
            {"to": "sender", "script": None, "asset": "BTC", "amount": str(plan.collateral)},
        ]
        changes = [(c["role"], c["figure"], int(c["before"]) - int(c["after"])) for c in found["changes"]]
        assert [by for role, figure, by in changes if (role, figure) == ("vault", "debt")] == [998 * ONE, 202 * ONE]
        assert sum(by for role, figure, by in changes if (role, figure) == ("vault", "collateral")) == plan.collateral
        assert ("vault_manager", "collateral", plan.collateral) in changes
        assert ("vault_manager", "debt", 1_200 * ONE) in changes
        assert ("vault_manager", "vaults", 1) in changes
        assert ("token", "supply", 1_200 * ONE) in changes

    async def test_what_stands_against_it(self, server: Server, store: Store, listed: list[VaultFigures]) -> None:
        store.connection.execute("UPDATE zkusd.contract SET live = false WHERE role = 'token'")
        store.connection.execute("UPDATE zkusd.protocol SET claimed_price_height = 0")
        store.connection.execute("UPDATE zkusd.stability_pool SET total = %s", (300 * ONE,))
        document = f'{{ zkusdLiquidationRequest(vault: "{listed[0].genesis}") {{ problems }} }}'
        assert (await server.data(document))["zkusdLiquidationRequest"]["problems"] == [
            "The token has no state.",
            "The oracle's price is too old to rely on, or says no true block.",
            "The pool does not take all of the debt: other vaults would have to take over the rest.",
        ]
        more = '{ zkusdRedemptionRequest(amount: "100000000000000") { problems } }'
        assert (
            "The vaults have less debt to redeem than was asked for."
            in (await server.data(more))["zkusdRedemptionRequest"]["problems"]
        )

    async def test_what_cannot_be_done_at_all(self, server: Server, listed: list[VaultFigures]) -> None:
        for asked, message in (
            (
                f'zkusdLiquidationRequest(vault: "{listed[1].genesis}")',
                "The vault cannot be liquidated at this price: its ratio is 180 %; it could be below 110 %.",
            ),
            (
                'zkusdLiquidationRequest(vault: "nowhere:0")',
                "one has no active vault 'nowhere:0': `vault` is its `genesis`.",
            ),
            (
                'zkusdRedemptionRequest(amount: "5", price8: "1")',
                "No vault can be redeemed against at this price.",
            ),
            ('zkusdRedemptionRequest(amount: "-5")', "amount is above 0."),
        ):
            error = await server.error(f"{{ {asked} {{ problems }} }}")
            assert (error["extensions"]["code"], error["message"]) == ("BAD_USER_INPUT", message)


QUOTE = """query($collateral: BigInt!, $borrow: BigInt!, $price8: BigInt) {
  zkusdVaultQuote(collateral: $collateral, borrow: $borrow, price8: $price8) {
    fee reserve debt icrPercent icrBps liquidationPrice8 maxDebt minCollateral requiredPercent tcrAfterBps problems
  } }"""


async def test_a_vault_before_it_is_opened(server: Server, store: Store) -> None:
    put(store, [])
    store.connection.execute("UPDATE zkusd.protocol SET base_rate_bps = 30")
    asked = {"collateral": str(10**7), "borrow": str(3_000 * ONE)}
    found = (await server.data(QUOTE, asked))["zkusdVaultQuote"]
    fee = 3_000 * ONE * 80 // 10_000
    debt = Base(3_000 * ONE + fee + 2 * ONE)
    figures: dict[str, Any] = {"collateral": Sats(10**7), "price8": PRICE}
    assert (found["fee"], found["reserve"], found["debt"]) == (str(fee), str(2 * ONE), str(debt))
    assert found["icrPercent"] == str(ratios.ratio_percent(**figures, debt=debt))
    assert found["tcrAfterBps"] == found["icrBps"] == str(ratios.ratio_bps(**figures, debt=debt))
    assert found["maxDebt"] == str(ratios.max_debt(**figures, percent=RULES.mcr_percent))
    assert (found["requiredPercent"], found["problems"]) == (110, [])
    state = await server.data('{ zkusdProtocol(appSetName: "one") { borrowFeeBps } }')
    assert state["zkusdProtocol"]["borrowFeeBps"] == "80"


async def test_a_vault_that_cannot_be_opened(server: Server, store: Store) -> None:
    put(store, [])
    store.connection.execute("UPDATE zkusd.protocol SET paused = true")
    small = (await server.data(QUOTE, {"collateral": "9000", "borrow": str(5 * ONE)}))["zkusdVaultQuote"]
    assert small["problems"] == [
        "The vault manager says that it is paused.",
        "The debt is 702500000 base units, and at least 1000000000 is asked for.",
        "The ratio is 76 %, and at least 110 % is asked for.",
        "It would bring about recovery mode.",
    ]
    error = await server.error(QUOTE, {"collateral": "0", "borrow": "1"})
    assert error["message"] == "collateral and borrow are above 0."
