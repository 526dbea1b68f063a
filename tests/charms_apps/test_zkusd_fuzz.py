"""Long random lives of zkUSD: the contracts allow exactly what the rules allow, and nothing breaks what must hold.

The rules are written here a second time, as what to expect of every operation.
"""

import random
from fractions import Fraction
from typing import Any

import pytest
from charms_apps.world import MIN_DEBT, ONE, RESERVE, SCALE, Draft, World, fee_of, holder, ratio
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clarion.chains.bitcoin.charms.apps import AppRefusedError

NAMES = ["ann", "bob", "cat"]
BITCOIN = 10**8

names = st.sampled_from(NAMES)
places = st.integers(0, 5)


class Life(RuleBasedStateMachine):
    """Everything that somebody can do, in any order, with figures around what is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.world.open_vault("rich", 20 * BITCOIN, 400_000 * ONE)
        for name in NAMES:
            self.world.apply(self.world.transfer("rich", [(name, 60_000 * ONE)]))

    # helpers

    def attempt(self, draft: Draft, allowed: bool) -> None:
        if allowed:
            self.world.apply(draft)
        else:
            before = dict(self.world.utxos)
            with pytest.raises(AppRefusedError):
                self.world.apply(draft)
            assert self.world.utxos == before

    def vault(self, place: int) -> tuple[bytes, Any, str]:
        vaults = self.world.all(self.world.vaults, "id")
        assume(vaults)
        outpoint = vaults[place % len(vaults)]
        data = self.world.vault(outpoint)
        owner = next(name for name in ["rich", *NAMES] if holder(name) == data["owner"])
        return outpoint, data, owner

    def ratio_with(self, collateral: int, debt: int) -> float | int:
        protocol = self.world.state["protocol"]
        return ratio(protocol["total_collateral"] + collateral, protocol["total_debt"] + debt, self.world.price)

    @property
    def paused(self) -> bool:
        return bool(self.world.state["protocol"]["is_paused"])

    def own(self, vault: Any) -> float | int:
        return ratio(vault["collateral"], vault["debt"], self.world.price)

    # operations

    @rule(percent=st.integers(-35, 45))
    def price(self, percent: int) -> None:
        target = self.world.price * (100 + percent) // 100
        self.world.move_price(min(max(target, 5_000 * ONE), 2_000_000 * ONE))

    @rule(name=names, percent=st.integers(100, 320), debt=st.integers(9 * ONE, 120_000 * ONE), slip=st.integers(-1, 1))
    def open(self, name: str, percent: int, debt: int, slip: int) -> None:
        wanted = max(debt - RESERVE, ONE)
        wanted -= fee_of(wanted)
        true_debt = wanted + -(-wanted * 50 // 10_000) + RESERVE
        collateral = -(-true_debt * percent * ONE // (100 * self.world.price)) + slip
        draft = self.world.open(name, collateral, wanted)
        own = ratio(collateral, true_debt, self.world.price)
        if self.world.total_ratio() < 150:
            safe = own >= 150
        else:
            safe = own >= 110 and self.ratio_with(collateral, true_debt) >= 150
        self.attempt(draft, not self.paused and true_debt >= MIN_DEBT and collateral >= 10_000 and safe)

    @rule(
        place=places,
        who=st.none() | names,
        collateral=st.sampled_from([0, 1, -1]) | st.integers(-BITCOIN, BITCOIN),
        debt=st.sampled_from([0, ONE, -ONE]) | st.integers(-20_000 * ONE, 20_000 * ONE),
    )
    def adjust(self, place: int, who: str | None, collateral: int, debt: int) -> None:
        outpoint, vault, owner = self.vault(place)
        by = who or owner
        assume(vault["collateral"] + collateral > 0 and vault["debt"] + debt > 0)
        assume(self.world.balance(by) + debt >= 0)
        after = vault["collateral"] + collateral, vault["debt"] + debt
        allowed = (collateral, debt) != (0, 0) and after[1] >= MIN_DEBT and after[0] >= 10_000
        if collateral < 0 or debt > 0:
            allowed = (
                allowed
                and by == owner
                and not self.paused
                and self.world.total_ratio() >= 150
                and ratio(*after, self.world.price) >= 110
                and self.ratio_with(collateral, debt) >= 150
            )
        self.attempt(self.world.adjust(outpoint, by, collateral, debt), allowed)

    @rule(place=places, who=st.none() | names)
    def close(self, place: int, who: str | None) -> None:
        outpoint, vault, owner = self.vault(place)
        by = who or owner
        assume(self.world.balance(by) >= vault["debt"] - RESERVE)
        self.attempt(self.world.close(outpoint, by), by == owner)

    @rule(place=places, who=names, share=st.integers(1, 100), whole=st.booleans())
    def redeem(self, place: int, who: str, share: int, whole: bool) -> None:
        outpoint, vault, owner = self.vault(place)
        assume(owner != "rich" or not whole)
        amount = (vault["debt"] - RESERVE) * (100 if whole else share) // 100
        worth = amount * ONE // self.world.price
        left = vault["collateral"] - (worth - -(-worth * 75 // 10_000))
        assume(0 < amount <= self.world.balance(who) and left >= 0)
        allowed = not self.paused and self.world.total_ratio() >= 110 and self.own(vault) >= 110
        if not whole:
            allowed = allowed and vault["debt"] - amount >= MIN_DEBT and left >= 10_000
        self.attempt(self.world.redeem(outpoint, who, amount, owner if whole else None), allowed)

    @rule(place=places, who=names)
    def liquidate(self, place: int, who: str) -> None:
        outpoint, vault, owner = self.vault(place)
        available = self.world.data(self.world.pool)["total_zkusd"] - ONE
        assume(available > 0)
        own, total = self.own(vault), self.world.total_ratio()
        if own >= 110:
            allowed = own < total < 150 and available >= vault["debt"]
        else:
            paid = min(available, vault["debt"] - MIN_DEBT)
            left = vault["collateral"] - vault["collateral"] * paid // vault["debt"]
            assume(available >= vault["debt"] or paid > 0)
            allowed = available >= vault["debt"] or (paid >= ONE and left >= 546)
        self.attempt(self.world.liquidate(outpoint, who, owner), allowed and not self.paused)

    @rule(who=names, value=st.integers(ONE - 1, 60_000 * ONE))
    def deposit(self, who: str, value: int) -> None:
        assume(value <= self.world.balance(who))
        self.attempt(self.world.position(who, None, value), value >= ONE)

    @precondition(lambda self: self.world.all(self.world.deposits))
    @rule(place=places, share=st.integers(0, 150))
    def change_deposit(self, place: int, share: int) -> None:
        deposits = self.world.all(self.world.deposits)
        outpoint = deposits[place % len(deposits)]
        owner = next(n for n in NAMES if holder(n) == self.world.utxos[outpoint].charms[self.world.deposits]["owner"])
        left, _ = self.world.worth(outpoint)
        value = left * share // 100
        assume(value - left <= self.world.balance(owner))
        self.attempt(self.world.position(owner, outpoint, value), value == 0 or value >= ONE)

    @rule(who=names, to=names, share=st.integers(1, 100))
    def transfer(self, who: str, to: str, share: int) -> None:
        amount = self.world.balance(who) * share // 100
        assume(amount > 0 and who != to)
        self.attempt(self.world.transfer(who, [(to, amount)]), True)

    @rule(paused=st.booleans(), who=st.sampled_from(["admin", "ann"]))
    def pause(self, paused: bool, who: str) -> None:
        self.attempt(self.world.govern(who, is_paused=paused), who == "admin")

    @invariant()
    def holds(self) -> None:
        self.world.check_invariants()


quick = settings(max_examples=4, stateful_step_count=25, suppress_health_check=list(HealthCheck), derandomize=True)
long = settings(max_examples=150, stateful_step_count=60, suppress_health_check=list(HealthCheck))


class TestLife(Life.TestCase):
    settings = quick


@pytest.mark.slow
@pytest.mark.timeout(3600)
class TestLongLife(Life.TestCase):
    settings = long


def integers_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where integers, truths and texts are in a charm."""
    if isinstance(data, dict):
        return [found for key, value in data.items() for found in integers_of(value, (*path, key))]
    if isinstance(data, list):
        return [found for key, value in enumerate(data) for found in integers_of(value, (*path, key))]
    return [path]


def changed(data: Any, path: tuple[Any, ...], change: int) -> Any:
    """A copy of a charm that differs in one place."""
    if not path:
        if isinstance(data, bool):
            return not data
        return data + change if isinstance(data, int) else f"{data}x"
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = changed(data[path[0]], path[1:], change)
    return copy


def grown_world() -> World:
    world = World()
    world.open_vault("bob", 10 * BITCOIN, 200_000 * ONE)
    world.open_vault("ann", BITCOIN, 80_000 * ONE)
    world.open_vault("cat", BITCOIN, 20_000 * ONE)
    world.deposit("bob", 100_000 * ONE)
    world.deposit("cat", 2 * ONE)
    world.move_price(84_000 * ONE)
    return world


OPERATIONS = {
    "open": lambda world: world.open("dan", BITCOIN, 5_000 * ONE),
    "add": lambda world: world.adjust(world.vault_of("bob"), "dan", collateral=700),
    "withdraw": lambda world: world.adjust(world.vault_of("bob"), "bob", collateral=-700, debt=5 * ONE),
    "repay": lambda world: world.adjust(world.vault_of("bob"), "bob", debt=-ONE),
    "redeem": lambda world: world.redeem(world.vault_of("cat"), "bob", 700 * ONE),
    "redeem whole": lambda world: world.redeem(world.vault_of("cat"), "bob", 20_100 * ONE, "cat"),
    "liquidate": lambda world: world.liquidate(world.vault_of("ann"), "dan", "ann"),
    "deposit": lambda world: world.position("bob", None, 700 * ONE),
    "withdraw deposit": lambda world: world.position("bob", world.all(world.deposits)[0], 5 * ONE),
    "use the oracle": lambda world: Draft(
        [world.where(world.oracle)],
        [world._scroll(world.oracle, world.data(world.oracle))],
        {world.oracle: "use"},
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_figure_of_every_charm_is_determined(operation: str) -> None:
    """Each integer, truth and text of each charm that an operation makes, one off: refused, whichever it is."""
    world = grown_world()
    world.check(OPERATIONS[operation](world))
    random_places = random.Random(operation)
    for place, out in enumerate(OPERATIONS[operation](world).outs):
        for app, data in out.charms.items():
            paths = integers_of(data)
            hashes = [path for path in paths if path and isinstance(path[-1], int)]
            # of the 32 bytes of a hash, a few
            skipped = set(random_places.sample(hashes, len(hashes) - len(hashes) // 16)) if hashes else set()
            for path in paths:
                if path in skipped:
                    continue
                for change in (-1, 1):
                    draft = OPERATIONS[operation](world)
                    draft.outs[place].charms[app] = changed(data, path, change)
                    with pytest.raises((AppRefusedError, ValueError)):
                        world.check(draft)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_charm_and_coin_that_counts_is_determined(operation: str) -> None:
    """Charms left out, put in twice, of other coins, with other fields: refused."""
    world = grown_world()
    for place, out in enumerate(OPERATIONS[operation](world).outs):
        for app, data in out.charms.items():
            draft = OPERATIONS[operation](world)
            del draft.outs[place].charms[app]
            with pytest.raises((AppRefusedError, ValueError)):
                world.check(draft)
            draft = OPERATIONS[operation](world)
            draft.outs.append(out)
            with pytest.raises((AppRefusedError, ValueError)):
                world.check(draft)
            if app.tag == "s":
                # addresses of other chains, and scripts of Bitcoin that Scrolls has none of
                for elsewhere in (b"\x61" + bytes(28), b"\x00" + bytes(56), bytes(20), b"\x51\x20" + bytes(32), b""):
                    draft = OPERATIONS[operation](world)
                    draft.outs[place].script = elsewhere
                    with pytest.raises(AppRefusedError, match="no output of Scrolls"):
                        world.check(draft)
            if isinstance(data, dict):
                reordered = dict(reversed(data.items()))
                for other in ({**data, "extra": 0}, dict(list(data.items())[:-1]), reordered, {}, 7, None):
                    draft = OPERATIONS[operation](world)
                    draft.outs[place].charms[app] = other
                    with pytest.raises((AppRefusedError, ValueError)):
                        world.check(draft)
            if app in (world.vaults, world.pool) and "protocol" not in data:
                for change in (-1, 1):
                    draft = OPERATIONS[operation](world)
                    draft.outs[place].sats += change
                    with pytest.raises(AppRefusedError):
                        world.check(draft)
    for app in OPERATIONS[operation](world).inputs:
        if app.tag == "s" and app != world.token_state:
            for wrong in (None, "deploy", "", 0, "adjust ", "governs"):
                draft = OPERATIONS[operation](world)
                draft.inputs[app] = wrong
                with pytest.raises(AppRefusedError):
                    world.check(draft)


events = st.lists(
    st.one_of(
        st.tuples(st.just("deposit"), st.integers(ONE, 10**6 * ONE), st.just(0)),
        st.tuples(st.just("change"), st.integers(0, 9), st.integers(0, 200)),
        st.tuples(st.just("offset"), st.integers(1, 10**6), st.integers(1, 10**9)),
        st.tuples(st.just("wipe"), st.just(0), st.integers(1, 10**9)),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=400)
@given(events)
def test_the_pools_shares_are_those_of_a_naive_simulation(steps: list[tuple[str, int, int]]) -> None:
    """Every depositor's share by fractions, one by one, against the product and the sums; offsets near to wipe-outs."""
    world = World.__new__(World)
    pool: dict[str, Any] = {
        "total_zkusd": 0,
        "total_btc": 0,
        "product_p": 10**18,
        "sum_s": 0,
        "current_scale": 0,
        "past_sums": [],
    }
    deposits: list[dict[str, Any]] = []
    exact: list[tuple[Fraction, Fraction]] = []

    def snapshot(value: int) -> dict[str, Any]:
        return {
            "initial_value": value,
            "snapshot_p": pool["product_p"],
            "snapshot_s": pool["sum_s"],
            "snapshot_scale": pool["current_scale"],
        }

    def check() -> list[tuple[int, int]]:
        worth = [world.share(deposit, pool) for deposit in deposits]
        for (left, gained), (true_left, true_gained), deposit in zip(worth, exact, deposits, strict=True):
            assert left <= true_left
            assert gained <= true_gained
            lost = Fraction(len(steps), SCALE)
            assert left >= true_left * (1 - lost) - 2 - Fraction(deposit["initial_value"], SCALE)
            assert gained >= true_gained * (1 - lost) - 2
        assert sum(left for left, _ in worth) <= pool["total_zkusd"]
        assert sum(gained for _, gained in worth) <= pool["total_btc"]
        return worth

    for kind, first, second in steps:
        if kind == "deposit":
            deposits.append(snapshot(first))
            exact.append((Fraction(first), Fraction(0)))
            pool["total_zkusd"] += first
        elif kind == "change" and deposits:
            place = first % len(deposits)
            left, gained = check()[place]
            value = left * second // 100
            pool["total_zkusd"] += value - left
            pool["total_btc"] -= gained
            deposits[place] = snapshot(value)
            exact[place] = (Fraction(value), Fraction(0))
        elif kind in ("offset", "wipe") and pool["total_zkusd"] > ONE:
            total = pool["total_zkusd"]
            most = total - ONE
            debt = most if kind == "wipe" else max(1, most * first // 10**6)
            pool = World.offset_pool(pool, debt, second)
            exact = [(left * (total - debt) / total, gained + second * left / total) for left, gained in exact]
        check()
