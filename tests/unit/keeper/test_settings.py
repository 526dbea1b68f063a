"""On mainnet the keeper signs nothing unless somebody says so."""

from __future__ import annotations

import pytest

from clarion.config import Keeper, NetworkName, Settings


@pytest.mark.parametrize("network", NetworkName)
def test_it_is_a_dry_run_on_mainnet_alone_unless_settings_say_otherwise(network: NetworkName) -> None:
    assert Settings(network=network).keeper_dry_run == (network is NetworkName.MAINNET)
    assert [Settings(network=network, keeper=Keeper(dry_run=said)).keeper_dry_run for said in (True, False)] == [
        True,
        False,
    ]
