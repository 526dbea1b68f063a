from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from clarion.dev.market import BASIS, EPISODE, Market

FIRST = 100_000 * 10**8
LARGEST_DEVIATION_BP = 500
JUMP_BP = 800

seeds = st.integers(0, 1 << 32)


@given(seeds, st.integers(0, 300), st.integers(0, 300))
def test_a_price_depends_on_seed_and_height_alone(seed: int, early: int, late: int) -> None:
    asked_once, asked_twice = Market(seed, "BTC", FIRST), Market(seed, "BTC", FIRST)
    asked_twice.price(early)
    assert asked_once.price(late) == asked_twice.price(late)


@given(seeds)
def test_moves_fit_the_oracle_except_for_jumps(seed: int) -> None:
    market = Market(seed, "BTC", FIRST)
    for height in range(200):
        before, after = market.price(height), market.price(height + 1)
        moved_bp = abs(after - before) * BASIS // before
        assert moved_bp <= LARGEST_DEVIATION_BP or moved_bp == JUMP_BP
        assert height + 1 >= EPISODE or moved_bp < 200, "the beginning is calm"


@given(seeds)
def test_prices_stay_near_the_first(seed: int) -> None:
    market = Market(seed, "STX", FIRST)
    assert all(FIRST // 2 < market.price(height) < FIRST * 3 // 2 for height in range(600))


def test_seeds_and_assets_differ() -> None:
    prices = {Market(seed, asset, FIRST).price(50) for seed in range(5) for asset in ("BTC", "STX")}
    assert len(prices) == 10


def test_most_episodes_hold_a_drop() -> None:
    market = Market(1, "BTC", FIRST)
    falls = [height for height in range(EPISODE, 600) if market.price(height) * 100 < market.price(height - 1) * 99]
    dropped = {height // EPISODE for height in falls}
    assert 30 < len(dropped) < 59
