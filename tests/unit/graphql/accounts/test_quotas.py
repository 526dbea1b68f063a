"""Quotas: what is let through, what is not, and from when on again."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.config import Quota
from clarion_graphql.accounts.caller import ANYONE, Caller, CallerKind
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.accounts.quotas import BoundedMemory, Quotas

STRANGER = Caller(quota_key="address 198.51.100.1")
OTHER = Caller(quota_key="address 198.51.100.2")


def refused(quotas: Quotas, caller: Caller, cost: int = 1) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        quotas.charge(caller, cost)
    assert caught.value.status == 429
    return caught.value


class Clock:
    """A clock that stands still, in Unix seconds."""

    def __init__(self) -> None:
        self.now = 1_767_225_600.0  # a minute begins

    def __call__(self) -> float:
        return self.now

    def tick(self, seconds: int) -> None:
        self.now += seconds


def test_cost_adds_up_to_the_rate_and_no_further() -> None:
    quotas = Quotas(Quota(anonymous="10/minute"), Clock())
    quotas.charge(STRANGER, 4)
    quotas.charge(STRANGER, 6)
    refusal = refused(quotas, STRANGER)
    quotas.charge(OTHER, 10)
    assert refusal.headers["Retry-After"] == str(refusal.retry_after_s)
    assert refusal.error.extensions == {"code": "RATE_LIMITED", "retryAfter": refusal.retry_after_s}


def test_what_is_refused_costs_nothing() -> None:
    quotas = Quotas(Quota(anonymous="10/minute"), Clock())
    quotas.charge(STRANGER, 8)
    refused(quotas, STRANGER, 3)
    quotas.charge(STRANGER, 2)


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 50)), min_size=1, max_size=20),
)
def test_after_retry_after_it_fits_and_a_second_before_it_does_not(amount: int, charges: list[tuple[int, int]]) -> None:
    clock = Clock()
    quotas = Quotas(Quota(anonymous=f"{amount}/minute"), clock)
    for seconds, cost in charges:
        clock.tick(seconds)
        try:
            quotas.charge(STRANGER, min(cost, amount))
        except RefusedError as refusal:
            wait = refusal.retry_after_s or 0
        else:
            continue
        assert wait >= 1
        clock.tick(wait - 1)
        refused(quotas, STRANGER, min(cost, amount))
        clock.tick(1)
        quotas.charge(STRANGER, min(cost, amount))


def test_an_operation_that_never_fits_says_so() -> None:
    refusal = refused(Quotas(Quota(anonymous="10/minute")), STRANGER, 11)
    assert "The operation costs 11, more than the quota of 10 per 1 minute ever has" in refusal.error.message
    assert "Retry-After" not in refusal.headers


def test_several_rates_hold_at_once_and_what_one_refuses_costs_nothing_of_the_other() -> None:
    clock = Clock()
    quotas = Quotas(Quota(anonymous="3/minute;2/second"), clock)
    quotas.charge(STRANGER, 2)
    assert refused(quotas, STRANGER).retry_after_s == 2
    clock.tick(2)
    quotas.charge(STRANGER, 1)
    clock.tick(2)
    assert "3 per 1 minute" in refused(quotas, STRANGER).error.message


def test_each_kind_of_caller_has_its_own() -> None:
    quotas = Quotas(Quota(anonymous="1/minute", signed_in="2/minute", api_key="3/minute"))
    session = Caller(kind=CallerKind.SESSION, quota_key="account ST1")
    key = Caller(kind=CallerKind.API_KEY, quota_key="key 1")
    for caller, amount in ((STRANGER, 1), (session, 2), (key, 3)):
        quotas.charge(caller, amount)
        refused(quotas, caller)


def test_without_a_rate_and_without_a_network_nothing_is_counted() -> None:
    Quotas(Quota()).charge(STRANGER, 10**9)
    Quotas(Quota(anonymous="1/minute")).charge(ANYONE, 10**9)


def test_memory_is_bounded() -> None:
    storage = BoundedMemory(Clock(), most_keys=3)
    for number in range(10):
        assert storage.acquire_sliding_window_entry(str(number), limit=1, expiry=60)
    assert storage.get("0") == 0
    assert storage.get("9") == 1
    assert storage.reset() == 3


def test_connections_are_counted_while_they_last() -> None:
    quotas = Quotas(Quota(connections=2))
    with contextlib.ExitStack() as open_connections:
        for _ in range(2):
            open_connections.enter_context(quotas.connection(STRANGER))
        with pytest.raises(RefusedError, match="There are 2 connections of this caller already"):
            open_connections.enter_context(quotas.connection(STRANGER))
        open_connections.enter_context(quotas.connection(OTHER))
        for _ in range(5):
            open_connections.enter_context(quotas.connection(ANYONE))
    with quotas.connection(STRANGER), quotas.connection(STRANGER):
        pass
    assert quotas._connections == {}
