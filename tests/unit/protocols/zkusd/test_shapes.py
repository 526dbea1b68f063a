"""Charms of every generation are read; anything else is refused with what is wrong."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.zkusd_chain import b32
from support.zkusd_world import D18, deposit, hexed, manager, nested, oracle, pool, token, vault

from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.app_sets import ROLES, Role
from clarion.protocols.zkusd.shapes import (
    ZERO,
    DepositCharm,
    OracleState,
    PoolState,
    ShapeError,
    TokenState,
    VaultCharm,
    VaultManagerState,
    read_amount,
    read_charm,
    read_price,
)


def read(role: Role, data: JsonValue) -> Any:
    return read_charm(role, data)


def test_each_kind_is_told_by_its_fields() -> None:
    kinds = {
        VaultManagerState: read("vault_manager", manager(5, 6, 7)),
        VaultCharm: read("vault_manager", vault("a", 5, 6)),
        OracleState: read("oracle", oracle(5)),
        TokenState: read("token", token(5)),
        PoolState: read("stability_pool", pool(5)),
        DepositCharm: read("stability_pool", deposit(5)),
    }
    assert all(type(charm) is kind for kind, charm in kinds.items())
    assert kinds[VaultManagerState].total_debt == 6
    assert kinds[VaultCharm].id == hexed("a")
    assert kinds[DepositCharm].initial_value == 5


def test_older_generations_lack_fields() -> None:
    assert read("token", {"authorized_minter": b32(ZERO), "total_supply": 7}) == TokenState(ZERO, ZERO, 7)  # type: ignore[arg-type]
    bare: JsonValue = {"protocol": {"total_collateral": 1, "total_debt": 2, "active_vault_count": 3}}
    assert (read("vault_manager", bare).is_paused, read("vault_manager", bare).admin) == (False, ZERO)
    small = {name: vault("a", 5, 6)[name] for name in ("id", "owner", "collateral", "debt", "status")}
    assert read("vault_manager", small).insurance_balance == 0


def test_newer_generations_have_more() -> None:
    state: JsonValue = {
        **manager(),
        "fee_receiver": b32(hexed("fees")),
        "min_debt": 9,
        "liquidation_reserve": 4,
        "more": 1,
    }
    found = read("vault_manager", state)
    assert (found.fee_receiver, found.min_debt, found.liquidation_reserve) == (hexed("fees"), 9, 4)


@pytest.mark.parametrize("p", [D18, str(D18)])
def test_the_pool_flat_and_nested_with_numbers_and_text(p: JsonValue) -> None:
    assert read("stability_pool", pool(5, 6, p)) == read("stability_pool", nested(pool(5, 6, D18)))


@pytest.mark.parametrize(
    ("names", "value"),
    [
        ({"owner": "depositor", "initial_value": "initial_deposit"}, 5),
        ({"owner": "depositor", "initial_value": "deposit", "last_updated": "deposit_time"}, 5),
    ],
)
def test_deposits_under_three_namings(names: dict[str, str], value: int) -> None:
    renamed: JsonValue = {names.get(name, name): said for name, said in deposit(value).items()}
    assert read("stability_pool", renamed) == read("stability_pool", deposit(value))


def test_a_deposit_of_the_client_library_has_no_snapshots() -> None:
    said: JsonValue = {"depositor": b32(ZERO), "deposit": 5, "snapshot_epoch": 1, "snapshot_scale": 2}
    found = read("stability_pool", said)
    assert (found.snapshot_p, found.snapshot_s, found.snapshot_epoch, found.snapshot_scale) == (None, None, 1, 2)


@pytest.mark.parametrize(("number", "name"), [(0, "Active"), (1, "Liquidating"), (2, "Closed"), (3, "Liquidated")])
def test_enumerations_by_number(number: int, name: str) -> None:
    assert read("vault_manager", vault("a", 5, 6, status=number)).status == name


@pytest.mark.parametrize("form", [b32, lambda text: {"bytes": f"0x{text}"}, lambda text: text])
def test_32_bytes_in_three_forms(form: Any) -> None:
    assert read("vault_manager", {**vault("a", 5, 6), "id": form(hexed("b"))}).id == hexed("b")


@pytest.mark.parametrize(
    ("role", "data", "wrong"),
    [
        ("vault_manager", 5, "no map with names"),
        ("vault_manager", {"map": [[1, 2]]}, "no known charm of the vault_manager"),
        ("vault_manager", {}, "no known charm"),
        ("vault_manager", {**vault("a", 5, 6), "collateral": -1}, "collateral is no number"),
        ("vault_manager", {**vault("a", 5, 6), "collateral": 1 << 64}, "below 2\\^64"),
        ("vault_manager", {**vault("a", 5, 6), "collateral": True}, "collateral is no number"),
        ("vault_manager", {**vault("a", 5, 6), "status": "Open"}, "status is none of Active"),
        ("vault_manager", {**vault("a", 5, 6), "status": 4}, "status is none of Active"),
        ("vault_manager", {**vault("a", 5, 6), "status": True}, "status is none of Active"),
        ("vault_manager", {**vault("a", 5, 6), "id": [0] * 31}, "id is no 32 bytes"),
        ("vault_manager", {**vault("a", 5, 6), "id": [256] * 32}, "id is no 32 bytes"),
        ("vault_manager", {**vault("a", 5, 6), "id": "zz" * 32}, "id is no 32 bytes"),
        ("oracle", {**oracle(), "is_active": 1}, "is_active is neither"),
        ("oracle", {"price": {"price": 5, "timestamp_block": 5, "confidence": 256}}, "no 8-bit number"),
        ("stability_pool", pool(5, 6, 1 << 128), "below 2\\^128"),
        ("stability_pool", pool(5, 6, "1e18"), "product_p is no number"),
        ("stability_pool", pool(5, 6, "9" * 40), "product_p is no number"),
        ("token", {"total_supply": "5", "authorized_minter": b32(ZERO)}, "total_supply is no number"),
    ],
)
def test_anything_else_is_refused(role: Role, data: JsonValue, wrong: str) -> None:
    with pytest.raises(ShapeError, match=wrong):
        read(role, data)


def test_messages_hold_nothing_that_a_database_cannot() -> None:
    with pytest.raises(ShapeError) as caught:
        read("vault_manager", {"\x00" * 500: 1})
    assert "\x00" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_amounts() -> None:
    assert read_amount(5) == read_amount({"owner": b32(ZERO), "amount": 5}) == 5
    for wrong in (0, -1, 1 << 64, True, None, "5", [5], {"owner": 5}):
        with pytest.raises(ShapeError):
            read_amount(wrong)


def test_prices_in_public_inputs() -> None:
    said: JsonValue = {"price": 5, "timestamp_block": 6, "source": "DIA", "confidence": 7}
    found = read_price(said)
    assert found is not None
    assert (found.price, found.timestamp_block, found.source, found.confidence) == (5, 6, "DIA", 7)
    assert read_price({"price": said}) == found
    for other in (None, "open", {"price": 5}, {"price": "5", "timestamp_block": 6}, 7):
        assert read_price(other) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["protocol", "collateral", "debt", "state", "product_p", "snapshot_p", "price", "total_supply"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(st.sampled_from(ROLES), JSON)
def test_whatever_it_is_it_is_read_or_refused(role: Role, data: JsonValue) -> None:
    try:
        read(role, data)
        read_price(data)
        read_amount(data)
    except ShapeError:
        pass
