"""Where assets are quoted: what settings may say, and what is said back."""

from __future__ import annotations

from typing import Any

import pytest

from clarion.config import ConfigurationError, KeeperFeed
from clarion_keeper.feed.feed import markets_of


def names(**given: Any) -> dict[str, list[str]]:
    return {asset: [str(market) for market in found] for asset, found in markets_of(KeeperFeed(**given)).items()}


def test_rates_are_asked_for_where_quotes_need_them() -> None:
    assert list(names()) == ["BTC", "STX", "USDT"]
    assert names(assets=["STX"], markets={"STX": {"kraken": "STX/USD"}}) == {"STX": ["kraken STX/USD"]}
    asked = names(assets=["STX"], markets={"STX": {"okx": "STX/USDC"}, "USDC": {"kraken": "USDC/USD"}})
    assert asked == {"STX": ["okx STX/USDC"], "USDC": ["kraken USDC/USD"]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"assets": ["DOGE"]}, "does not say where DOGE is quoted"),
        ({"markets": {"BTC": {"mtgox": "BTC/USD"}}}, "BTC names mtgox, which is no exchange: there are binance"),
        ({"markets": {"BTC": {"kraken": "BTC/EUR"}}}, "BTC.kraken: 'BTC/EUR' is no pair"),
        ({"markets": {"USDT": {"kraken": "USDT/USDC"}}}, "a stablecoin's rate is asked in USD"),
        ({"urls": {"mtgox": "http://127.0.0.1"}}, "names mtgox"),
        ({"keys": {"mtgox": "secret"}}, "names mtgox"),
    ],
)
def test_what_is_unknown_is_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        names(**given)
