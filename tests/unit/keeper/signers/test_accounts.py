"""What the settings make of an account's limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.signing import DEPLOYER

from clarion.config import ConfigurationError, Settings
from clarion_keeper.signers.accounts import agent_options, limits_of
from clarion_keeper.signers.limits import BitcoinLimits, StacksLimits


def settings(account: dict[str, Any], **more: Any) -> Settings:
    given = {"deployers": {"bithedge": DEPLOYER}, "keeper": {"accounts": {"keeper": account}}, **more}
    return Settings.model_validate(given)


def test_without_limits_the_caps_of_the_keeper_hold() -> None:
    limits = limits_of(settings({"signer": "file:/key"}), "keeper")
    assert limits == StacksLimits("testnet", 0x80000000, (f"{DEPLOYER}.*.*",), 1_000_000, 100_000_000)
    assert limits_of(settings({"signer": "file:/key"}, network="mainnet"), "keeper").network == "mainnet"


def test_the_account_s_own_limits_come_first() -> None:
    account = {
        "signer": "file:/key",
        "hourly_budget": 7_000,
        "limits": {
            "calls": ["bithedge.bh-oracle.submit*", "SP000000000000000000002Q6VF78.pox-4.*"],
            "tokens": {"STX": 5},
            "max_fee": 500,
        },
    }
    limits = limits_of(settings(account), "keeper")
    calls = (f"{DEPLOYER}.bh-oracle.submit*", "SP000000000000000000002Q6VF78.pox-4.*")
    assert limits == StacksLimits("testnet", 0x80000000, calls, 500, 7_000, {"STX": 5})
    account["limits"]["max_hourly"] = 900  # type: ignore[index]
    assert limits_of(settings(account), "keeper").max_hourly == 900


def test_an_account_on_bitcoin_is_limited_in_satoshis() -> None:
    account = {"signer": "file:/key", "chain": "bitcoin"}
    assert limits_of(settings(account), "keeper") == BitcoinLimits("regtest", 1_000_000, 2_000_000, 200_000_000)
    account["limits"] = {"max_fee": 10, "max_spent": 25, "max_hourly": 90}  # type: ignore[assignment]
    assert limits_of(settings(account), "keeper") == BitcoinLimits("regtest", 10, 25, 90)


@pytest.mark.parametrize("call", ["bh-policy.settle", "settle", "a.b.c.d", "bithedge..settle", ""])
def test_a_call_has_three_parts(call: str) -> None:
    wrong = settings({"signer": "file:/key", "limits": {"calls": [call]}})
    with pytest.raises(ConfigurationError, match=r"keeper\.accounts\.keeper\.limits\.calls"):
        limits_of(wrong, "keeper")


def test_agents_of_one_key_share_a_ledger_in_the_state_folder(tmp_path: Path) -> None:
    options = agent_options(settings({"signer": "env:KEY"}, state_dir=tmp_path), "keeper")
    assert (options.source, options.ledger) == ("env:KEY", str(tmp_path / "signers" / "{key}.sqlite"))
    with pytest.raises(ConfigurationError, match="There are: keeper"):
        agent_options(settings({"signer": "env:KEY"}), "other")
