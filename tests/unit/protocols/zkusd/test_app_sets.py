"""Which apps belong together: what a deployment may say, and how their first states are known."""

import hashlib
from typing import Any

import pytest
from support.zkusd_chain import Chain, Out, Tx
from support.zkusd_world import SET, app, app_set, hexed, manager, oracle

from clarion.protocols.zkusd import protocol
from clarion.protocols.zkusd.app_sets import ROLES, packaged_sets, parameters
from clarion.protocols.zkusd.tables import Contract

NOWHERE = {"identity": hexed("a"), "vk": hexed("b"), "genesis": "x"}


def test_testnet4_is_known() -> None:
    [found] = packaged_sets("testnet4")
    assert found.name == "testnet4-v9"
    assert parameters("testnet4", {}).app_sets == (found,)
    assert parameters("testnet4", {}).named("testnet4-v9") is not None
    with pytest.raises(LookupError, match="v8"):
        parameters("testnet4", {}).named("testnet4-v8")


def test_what_a_deployment_says_counts_instead() -> None:
    found = parameters("testnet4", {"app_sets": [app_set(rules={"mcr_percent": 120})]})
    assert [one.name for one in found.app_sets] == [SET]
    assert found.app_sets[0].rules.mcr_percent == 120
    deployed = protocol.deployed_on("regtest", parameters={"app_sets": [app_set()]})
    assert deployed.binding["parameters"]["app_sets"][0]["name"] == SET


@pytest.mark.parametrize(
    ("network", "given", "wrong"),
    [
        ("mainnet", {}, "knows no apps on mainnet"),
        ("../testnet4", {}, "knows no apps"),
        ("regtest", {"sets": []}, "not sets"),
        ("regtest", {"app_sets": []}, "there is none"),
        ("regtest", {"app_sets": [{"name": "x"}]}, "missing required field"),
        ("regtest", {"app_sets": [app_set("No Name")]}, "cannot be a name"),
        ("regtest", {"app_sets": [app_set(), app_set()]}, "two are called first"),
        ("regtest", {"app_sets": [app_set(), app_set("b")]}, "another app has the same identity and vk"),
        ("regtest", {"app_sets": [app_set(oracle={"identity": "0x", "vk": "0" * 64})]}, "oracle of first"),
        (
            "regtest",
            {"app_sets": [app_set(oracle={"identity": hexed("a"), "vk": hexed("b"), "genesis": "x"})]},
            "outpoint",
        ),
        ("regtest", {"app_sets": [app_set(rules={"mcr": 5})]}, "unknown field"),
    ],
)
def test_what_is_wrong_is_said(network: str, given: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        parameters(network, given)


def test_a_first_state_is_known_by_the_outpoint_that_its_identity_is_of() -> None:
    coin = f"{hexed('funds')}:7"
    identity = hashlib.sha256(coin.encode()).hexdigest()
    vk = app("oracle").split("/")[2]
    said = app_set(oracle={"identity": identity, "vk": vk})
    name = f"s/{identity}/{vk}"
    chain = Chain({"app_sets": [said]})
    chain.block(Tx([f"{hexed('other')}:0"], [Out("eve", {name: oracle()})]))
    assert chain.kinds() == ["ImpostorState"]
    [deployed] = chain.block(Tx([coin], [Out("admin", {name: oracle()})]))
    row = chain.row(Contract, SET, "oracle")
    assert (row["genesis"], row["tag"]) == (f"{deployed}:0", "s")


def test_two_sets_with_the_same_program() -> None:
    other = app_set("second")
    for role in ROLES:
        other[role] = {**other[role], "identity": hexed(f"second {role}"), "genesis": f"{hexed(role)}:0"}
    chain = Chain({"app_sets": [app_set(), other]})
    vk = app("vault_manager").split("/")[2]
    zero = f"n/{'00' * 32}/{vk}"
    chain.block(Tx([f"{hexed('x')}:0"], [Out("admin", {zero: manager(5)})], id=hexed("vault_manager")))
    [row] = chain.rows(Contract)
    assert (row["app_set"], row["role"]) == ("second", "vault_manager")
    chain.block(Tx([row["outpoint"]], [Out("admin", {f"n/{hexed('second vault_manager')}/{vk}": manager(6)})]))
    [row] = chain.rows(Contract)
    assert (row["version"], row["state"]["total_collateral"]) == (2, 6)
    assert "ImpostorState" not in chain.kinds()
