"""Whatever transactions do to zkUSD's charms: indexing goes on, figures are sums of rows, and blocks can be undone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.zkusd_chain import Chain, Out, Tx
from support.zkusd_world import (
    D18,
    ONE,
    PRICE,
    SET,
    World,
    app,
    deploy_id,
    hexed,
    manager,
    nested,
    oracle,
    pool,
    price_input,
    token,
)
from support.zkusd_world import deposit as deposit_charm
from support.zkusd_world import vault as vault_charm

from clarion.protocols.zkusd.app_sets import ROLES, ZERO_IDENTITY, Role
from clarion.protocols.zkusd.ratios import is_below
from clarion.protocols.zkusd.tables import (
    Contract,
    Outpoint,
    ProtocolState,
    RiskBand,
    SpDeposit,
    StabilityPool,
    TokenBalance,
    TokenUtxo,
    Vault,
    VaultName,
    VaultVersion,
)
from clarion.protocols.zkusd.units import Base, Price8, Sats

U64 = st.integers(0, 2**64 - 1) | st.integers(0, 100) | st.sampled_from([2**64 - 1, 10 * ONE, 50_000 * ONE, ONE])
NAMES = st.sampled_from("abc")
PEOPLE = st.sampled_from(["alice", "bob", "carol"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**130) | st.text(alphabet="a0x", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["protocol", "state", "price", "debt", "snapshot_p", "bytes", "id"]), inner)
    ),
    max_leaves=6,
)


@st.composite
def vaults(draw: st.DrawFn) -> Any:
    more = draw(st.dictionaries(st.sampled_from(["accrued_interest", "insurance_balance", "redistributed_debt"]), U64))
    status = draw(st.sampled_from(["Active", "Active", "Active", "Closed", "Liquidated", 0, 3, "Open"]))
    return {**vault_charm(draw(NAMES), draw(U64), draw(U64), owner=draw(PEOPLE), status=status), **more}


@st.composite
def pools(draw: st.DrawFn) -> Any:
    p = draw(st.sampled_from([D18, D18 // 2, str(D18), 10**9, 0]) | st.integers(0, 2**128 - 1))
    made = pool(draw(U64), draw(U64), p, draw(st.integers(0, 10**40)), count=draw(st.integers(0, 5)))
    return nested(made) if draw(st.booleans()) else made


STATES: dict[Role, st.SearchStrategy[Any]] = {
    "oracle": st.builds(oracle, st.sampled_from([PRICE, PRICE // 2, PRICE // 3, 0]) | U64),
    "token": st.builds(token, U64),
    "vault_manager": st.builds(manager, U64, U64, U64, base_rate=U64, paused=st.booleans()),
    "stability_pool": pools(),
}
CHARMS = st.one_of(
    *(st.tuples(st.just(app(role)), states) for role, states in STATES.items()),
    *(st.tuples(st.just(app(role, identity=ZERO_IDENTITY)), states) for role, states in STATES.items()),
    st.tuples(st.just(app("vault_manager")), vaults()),
    st.tuples(st.just(app("vault_manager")), vaults()),
    st.tuples(
        st.just(app("stability_pool")),
        st.builds(deposit_charm, U64, owner=PEOPLE, p=st.integers(0, D18), s=st.integers(0, 10**30)),
    ),
    st.tuples(st.just(app("token", "t")), U64),
    st.tuples(st.just(app("token", "t")), U64),
    st.tuples(st.sampled_from([*map(app, ROLES), app("token", "t"), app("token", "t", identity="ab" * 32)]), JSON),
)
OUTPUTS = st.tuples(
    PEOPLE,
    st.lists(CHARMS, max_size=2).map(dict),
    st.integers(0, 10**10),
    st.sampled_from([None] * 12 + ["ab" * 32]),
)
TRANSACTIONS = st.tuples(
    st.lists(st.integers(0, 50), max_size=5),
    st.lists(OUTPUTS, max_size=5),
    st.sampled_from(
        [{}, {}, price_input(PRICE), price_input(5), *({app("vault_manager"): op} for op in ("redeem", "liquidate"))]
    ),
    st.sampled_from(["verified"] * 10 + ["mock", "invalid", "unsupported", None]),
)
BLOCKS = st.lists(st.lists(TRANSACTIONS, min_size=1, max_size=3), min_size=1, max_size=10)


def play(chain: Chain, blocks: list[Any]) -> Iterator[list[Tx]]:
    """Blocks of transactions that spend coins there are, each coin once."""
    coins: list[str] = [f"{deploy_id(role)}:0" for role in ROLES]
    for block in blocks:
        txs = []
        for spends, outputs, inputs, status in block:
            spent = [coins.pop(pick % len(coins)) for pick in spends[: len(coins)]]
            makes = [Out(who, charms, sats, beamed) for who, charms, sats, beamed in outputs]
            tx = Tx([*spent, f"{hexed(f'{chain.height} {len(txs)}')}:9"], makes, inputs=inputs, status=status)
            txs.append(tx)
        ids = chain.block(*txs)
        coins += [f"{tx_id}:{index}" for tx_id, tx in zip(ids, txs, strict=True) for index in range(len(tx.makes))]
        yield txs


def deployed() -> Chain:
    world = World()
    world.deploy()
    return world.chain


def check(chain: Chain) -> None:
    """Figures are the sums of rows."""
    found = chain.row(ProtocolState, SET)
    vaults = chain.rows(Vault)
    active = [row for row in vaults if row["active"]]
    for column, of in (
        ("computed_collateral", "collateral"),
        ("computed_debt", "debt"),
        ("entire_collateral", "entire_collateral"),
        ("entire_debt", "entire_debt"),
        ("backing_sats", "utxo_sats"),
    ):
        assert found[column] == sum(row[of] for row in active)
    genuine = [row for row in vaults if row["genuine"]]
    counted = sum(found[name] for name in ("active_vaults", "closed_vaults", "liquidated_vaults", "lost_vaults"))
    assert (found["active_vaults"], counted) == (len(active), len(genuine))

    coins = [row for row in chain.rows(TokenUtxo) if row["live"]]
    held: dict[str, int] = defaultdict(int)
    for coin in coins:
        held[coin["script"]] += coin["amount"]
    assert {row["script"]: row["amount"] for row in chain.rows(TokenBalance) if row["amount"]} == held
    assert found["token_supply"] == sum(held.values())
    assert found["holders"] == len(held)
    assert found["beamed_out"] == sum(coin["amount"] for coin in chain.rows(TokenUtxo) if coin["beamed"])
    if found["reported_supply"] is not None:
        assert found["drift_supply"] == found["reported_supply"] - found["token_supply"] - found["beamed_out"]
    if found["reported_debt"] is not None:
        assert found["drift_debt"] == found["reported_debt"] - found["computed_debt"]

    names: dict[str, int] = defaultdict(int)
    for row in active:
        names[row["vault_id"]] += 1
    assert {row["vault_id"]: row["live"] for row in chain.rows(VaultName) if row["live"]} == names
    banded = [genesis for row in chain.rows(RiskBand) for genesis in row["vaults"]]
    assert sorted(banded) == sorted(row["genesis"] for row in active if row["entire_debt"])
    for row in vaults:
        at_risk = (
            row["active"]
            and found["price8"] is not None
            and is_below(
                collateral=Sats(row["entire_collateral"]),
                debt=Base(row["entire_debt"]),
                price8=Price8(found["price8"]),
                percent=150 if found["recovery_mode"] else 110,
            )
        )
        assert (row["at_risk_since_height"] is not None) == at_risk
        versions = [v for v in chain.rows(VaultVersion) if v["genesis"] == row["genesis"]]
        assert [v["version"] for v in versions] == list(range(1, row["version"] + 1))

    unspent = {row["outpoint"] for row in chain.rows(Outpoint) if row["spent_by"] is None}
    for table in (Vault, SpDeposit, Contract):
        for row in chain.rows(table):
            if row["live"]:
                assert row["outpoint"] in unspent
    pools = chain.rows(StabilityPool)
    if pools:
        genuine_deposits = [row for row in chain.rows(SpDeposit) if row["genuine"] and row["live"]]
        assert pools[0]["deposits"] == len(genuine_deposits)


def live(blocks: list[Any], undone: int) -> None:
    """Check that it is so for these blocks, the last ones taken back."""
    chain = deployed()
    first = chain.state()
    for _ in play(chain, blocks):
        check(chain)
    for kind in set(chain.kinds()):
        event(kind)

    last, digest = chain.state(), chain.projector.digests["zkusd"]
    undone = min(undone, len(blocks))
    chain.roll_back(undone)
    again = deployed()
    for _ in play(again, blocks[: len(blocks) - undone]):
        pass
    assert chain.state() == again.state()
    # rows that are loaded anew are as good as those in memory
    replayed = deployed()
    for index, _ in enumerate(play(replayed, blocks)):
        if index % 2:
            replayed.projector.clear(dict(replayed.projector.digests))
    assert (replayed.state(), replayed.projector.digests["zkusd"]) == (last, digest)
    chain.roll_back(len(chain.blocks) - 1)
    assert chain.state() == first


@settings(max_examples=40)
@given(BLOCKS, st.integers(1, 10))
def test_nothing_stops_indexing_and_figures_are_sums(blocks: list[Any], undone: int) -> None:
    live(blocks, undone)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=2000)
@given(BLOCKS, st.integers(1, 10))
def test_nothing_stops_indexing_in_thousands_of_lives(blocks: list[Any], undone: int) -> None:
    live(blocks, undone)


FIGURES = st.tuples(
    st.integers(0, 300) | st.integers(10**6, 10**9), st.integers(0, 300) | st.integers(10 * ONE, 900_000 * ONE)
)
LIVES = st.lists(
    st.tuples(st.just("open"), FIGURES)
    | st.tuples(st.just("change"), FIGURES)
    | st.tuples(st.just("close"), FIGURES)
    | st.tuples(st.just("price"), st.integers(0, 2 * PRICE))
    | st.tuples(st.just("price"), st.integers(95, 105)),
    min_size=4,
    max_size=25,
)


@settings(max_examples=60)
@given(LIVES)
def test_vaults_at_risk_are_known_at_every_price(lives: list[Any]) -> None:
    world = World()
    world.deploy()
    coins: list[tuple[str, str, int, int]] = []
    manager_app, price = app("vault_manager"), PRICE
    for number, (kind, given_figures) in enumerate(lives):
        if kind == "price":
            price = given_figures if given_figures > 105 else price * given_figures // 100
            world.do({"oracle": oracle(price)})
        elif kind == "open":
            collateral, debt = given_figures
            made = vault_charm(f"v{number}", collateral, debt)
            state = world.totals(collateral, debt, 1)
            tx_id = world.do({"vault_manager": state}, makes=[Out("alice", {manager_app: made})])
            coins.append((f"{tx_id}:1", f"v{number}", collateral, debt))
        elif coins:
            collateral, debt = given_figures
            coin, name, old_collateral, old_debt = coins.pop(collateral % len(coins))
            if kind == "close":
                world.do({"vault_manager": world.totals(-old_collateral, -old_debt, -1)}, spends=[coin])
            else:
                state = world.totals(collateral - old_collateral, debt - old_debt, 0)
                made = vault_charm(name, collateral, debt)
                tx_id = world.do({"vault_manager": state}, spends=[coin], makes=[Out("alice", {manager_app: made})])
                coins.append((f"{tx_id}:1", name, collateral, debt))
        check(world.chain)
