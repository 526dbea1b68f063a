from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from clarion.chains.stacks.clarity_forms import to_json
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.units import Usd8

REPOSITORY = Path(__file__).parents[4]
GUARDIAN = "ST1SJ3DTE5DN7X54YDH5D64R3BCB6A2AG2ZQ8YPD5"
SBTC = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token"
FEEDS = [deployment.FeedRow("BTC", Usd8(10**13), True), deployment.FeedRow("STX", Usd8(2 * 10**8), False)]


def test_contracts_and_order_are_those_of_the_manifest() -> None:
    manifest = tomllib.loads((REPOSITORY / "contracts" / "Clarinet.toml").read_text(encoding="utf-8"))["contracts"]
    assert tuple(manifest) == deployment.CONTRACTS
    assert {contract["clarity_version"] for contract in manifest.values()} == {deployment.CLARITY_VERSION}


def test_each_contract_names_only_those_before_it() -> None:
    known: set[str] = set()
    for step in deployment.publish(deployment.sources_folder()):
        code = re.sub(r";;.*", "", step.source)
        named = set(re.findall(r"(?<=[\s(])\.(bh-[a-z]+)", code))
        if step.name != "bh-registry":  # it takes code hashes of contracts that come later
            assert named <= known, step.name
        known.add(step.name)


def test_the_genesis_calls_are_typed() -> None:
    steps = deployment.bootstrap(
        guardian=GUARDIAN,
        sbtc=SBTC,
        feeds=FEEDS,
        feeders=[deployment.FeederRow(GUARDIAN, 10)],
        stake=deployment.StakeToken(f"{GUARDIAN}.bh-stx", "stx"),
        parameters={"min-duration": 2},
    )
    assert [(step.contract, step.function, [to_json(value) for value in step.arguments]) for step in steps] == [
        ("bh-registry", "bootstrap", [GUARDIAN]),
        ("bh-params", "bootstrap", [SBTC]),
        (
            "bh-oracle",
            "bootstrap",
            [
                [
                    {"asset": "BTC", "insurable": True, "reference-usd8": 10**13},
                    {"asset": "STX", "insurable": False, "reference-usd8": 2 * 10**8},
                ],
                [{"provider": GUARDIAN, "weight": 10}],
            ],
        ),
        ("bh-gov", "bootstrap", [f"{GUARDIAN}.bh-stx", "stx"]),
        ("bh-params", "set-params", [[{"key": "min-duration", "value": 2}], None]),
    ]


def test_parameters_and_governance_are_left_alone_unless_named() -> None:
    steps = deployment.bootstrap(guardian=GUARDIAN, sbtc=SBTC, feeds=FEEDS, feeders=[])
    assert len(steps) == 3


def test_a_missing_price_feed_is_named() -> None:
    with pytest.raises(ValueError, match="needs a price feed for STX"):
        deployment.bootstrap(guardian=GUARDIAN, sbtc=SBTC, feeds=FEEDS[:1], feeders=[])


def test_missing_sources_are_named(tmp_path: Path) -> None:
    for name in deployment.CONTRACTS[1:]:
        (tmp_path / f"{name}.clar").touch()
    with pytest.raises(deployment.SourcesNotFoundError, match=r"lacks bh-traits\.clar"):
        deployment.sources_folder(tmp_path)
