"""The keeper on zkUSD, from settings to blocks: signers, API, prover's stand-in and a node on a regtest."""

from __future__ import annotations

from pathlib import Path

from support.keeper_regtest import ANNA, BERT, UNIT, Town, keeping, town_of


async def falling(town: Town) -> None:
    """Two vaults, one of them at the edge, and a pool that can pay for it."""
    await town.open_vault(ANNA, collateral=30_000_000, borrow=10_000 * UNIT)
    await town.open_vault(BERT, collateral=3_600_000, borrow=2_000 * UNIT)
    await town.deposit(ANNA, 8_000 * UNIT)
    await town.set_price(60_000)


async def test_a_falling_price_is_liquidated_into_the_pool(database_url: str, tmp_path: Path) -> None:
    async with town_of(database_url, tmp_path) as (town, settings), keeping(settings) as keeper:
        await falling(town)
        await keeper.turn()
        (tx_id,) = town.waiting()
        assert len(town.zkusd.vaults()) == 2
        await town.mine()
        assert [vault["owner"] for vault in town.zkusd.vaults()] != []
        await keeper.turn()
        print(town.rows("SELECT key, state, outcome, cause FROM keeper.intent"))
