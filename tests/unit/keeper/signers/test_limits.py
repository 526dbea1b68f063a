"""What an agent signs on Stacks, and what it refuses by which limit."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.signing import ADDRESS, DEPLOYER, KEY, LIMITS, call, freeing_transfer, unsigned

from clarion.chains.stacks.clarity import UInt, contract_principal
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import Payload, SmartContract
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    Asset,
    FtPostCondition,
    NftCode,
    NftPostCondition,
    PostCondition,
    PostConditionMode,
    PoxCode,
    PoxPostCondition,
    StakingPostCondition,
    StxPostCondition,
)
from clarion.chains.stacks.signing import multi_sig, unsigned_transaction
from clarion.chains.stacks.transactions import Transaction
from clarion_keeper.signers.errors import SigningRefusedError
from clarion_keeper.signers.limits import Spending, StacksLimits, check_stacks

TOKEN = f"{DEPLOYER}.token"
ASSET = Asset(contract_principal(TOKEN), "token")
OTHERS = contract_principal(f"{DEPLOYER}.bh-vault")


def refused(transaction: Transaction, limits: StacksLimits = LIMITS) -> str:
    with pytest.raises(SigningRefusedError) as caught:
        check_stacks(transaction, ADDRESS, limits)
    return caught.value.limit


def test_a_call_within_the_limits_costs_its_fee() -> None:
    transaction = unsigned(nonce=9, fee=20_000)
    assert check_stacks(transaction, ADDRESS, LIMITS) == Spending("nonce 9", 20_000)


def test_a_fee_over_the_most_is_refused() -> None:
    assert refused(unsigned(fee=20_001)) == "max_fee"


@pytest.mark.parametrize(
    "payload",
    [
        call(f"{DEPLOYER}.bh-policy", "cancel"),
        call(f"{DEPLOYER}.bh-policy-2", "settle-many"),
        call(f"{ADDRESS}.bh-policy", "settle-many"),
        SmartContract("bh-policy", "(define-public (settle-many) (ok true))"),
        freeing_transfer(2),
    ],
)
def test_what_no_pattern_names_is_refused(payload: Payload) -> None:
    assert refused(unsigned(payload)) == "calls"


def test_a_star_does_not_reach_beyond_its_part() -> None:
    limits = msgspec.structs.replace(LIMITS, calls=(f"{DEPLOYER}.*",))
    assert refused(unsigned(), limits) == "calls"
    everything = msgspec.structs.replace(LIMITS, calls=(f"{DEPLOYER}.*.*",))
    assert check_stacks(unsigned(), ADDRESS, everything).amount == 1_000


def test_without_patterns_nothing_is_called() -> None:
    assert refused(unsigned(), msgspec.structs.replace(LIMITS, calls=())) == "calls"


def test_a_transfer_that_frees_a_nonce_costs_what_it_sends_too() -> None:
    assert check_stacks(unsigned(freeing_transfer(), nonce=4), ADDRESS, LIMITS) == Spending("nonce 4", 1_001)


def test_another_network_is_refused() -> None:
    assert refused(unsigned(network=Network.MAINNET)) == "network"
    assert refused(unsigned(chain_id=7)) == "network"


def test_other_accounts_are_refused() -> None:
    assert refused(unsigned(key=PrivateKey(bytes(31) + b"\x07"))) == "account"
    assert refused(unsigned(sponsored=True)) == "account"
    several = multi_sig((KEY.public_key, KEY.public_key), 1, nonce=1, fee=1)
    assert refused(unsigned_transaction(call(), several, network=Network.TESTNET)) == "account"


def test_the_same_key_hashed_in_another_way_is_another_account() -> None:
    transaction = unsigned(
        key=PrivateKey(bytes.fromhex("7287ba251d44a4d3fd9276c88ce34c5c52a038955511cccaf77e61068649c178"))
    )
    assert refused(transaction) == "account"


def test_only_modes_that_keep_what_the_account_has_are_signed() -> None:
    assert refused(unsigned(mode=PostConditionMode.ALLOW)) == "post_conditions"
    for mode in (PostConditionMode.DENY, PostConditionMode.ORIGINATOR):
        check_stacks(unsigned(mode=mode), ADDRESS, LIMITS)


@pytest.mark.parametrize(
    "condition",
    [
        StxPostCondition(ORIGIN, AmountCode.EQUAL, 1),
        StxPostCondition(ADDRESS, AmountCode.LESS_OR_EQUAL, 1),
        StxPostCondition(ORIGIN, AmountCode.GREATER_OR_EQUAL, 0),
        StxPostCondition(ORIGIN, AmountCode.GREATER, 0),
        StxPostCondition(ORIGIN, AmountCode.LESS, 2),
        FtPostCondition(ORIGIN, ASSET, AmountCode.EQUAL, 1),
        NftPostCondition(ORIGIN, ASSET, UInt(1), NftCode.SENT),
        NftPostCondition(ADDRESS, ASSET, UInt(1), NftCode.MAYBE_SENT),
        StakingPostCondition(ORIGIN, AmountCode.EQUAL, 1),
        PoxPostCondition(ORIGIN, PoxCode.MAY_PERFORM),
        PoxPostCondition(ORIGIN, PoxCode.WILL_PERFORM),
    ],
)
def test_what_may_be_sent_has_to_be_allowed(condition: PostCondition) -> None:
    assert refused(unsigned(post_conditions=[condition])) == "tokens"


@pytest.mark.parametrize(
    "condition",
    [
        StxPostCondition(ORIGIN, AmountCode.EQUAL, 0),
        StxPostCondition(ORIGIN, AmountCode.LESS, 1),
        NftPostCondition(ORIGIN, ASSET, UInt(1), NftCode.NOT_SENT),
        PoxPostCondition(ORIGIN, PoxCode.WILL_NOT_PERFORM),
        StxPostCondition(OTHERS, AmountCode.GREATER, 5),
        FtPostCondition(OTHERS, ASSET, AmountCode.EQUAL, 5),
    ],
)
def test_what_sends_nothing_of_the_account_is_signed(condition: PostCondition) -> None:
    check_stacks(unsigned(post_conditions=[condition]), ADDRESS, LIMITS)


def test_conditions_of_one_token_count_together() -> None:
    limits = msgspec.structs.replace(LIMITS, tokens={TOKEN: 10})
    six = FtPostCondition(ORIGIN, ASSET, AmountCode.LESS_OR_EQUAL, 6)
    four = FtPostCondition(ADDRESS, ASSET, AmountCode.EQUAL, 4)
    check_stacks(unsigned(post_conditions=[six, four]), ADDRESS, limits)
    assert refused(unsigned(post_conditions=[six, six]), limits) == "tokens"
    unbounded = FtPostCondition(ORIGIN, ASSET, AmountCode.GREATER_OR_EQUAL, 1)
    assert refused(unsigned(post_conditions=[unbounded]), limits) == "tokens"


@given(fee=st.integers(0, 2**64 - 1), nonce=st.integers(0, 2**64 - 1), most=st.integers(0, 2**62))
def test_no_fee_over_the_most_is_ever_signed(fee: int, nonce: int, most: int) -> None:
    limits = msgspec.structs.replace(LIMITS, max_fee=most)
    transaction = unsigned(fee=fee, nonce=nonce)
    if fee > most:
        assert refused(transaction, limits) == "max_fee"
    else:
        assert check_stacks(transaction, ADDRESS, limits) == Spending(f"nonce {nonce}", fee)
