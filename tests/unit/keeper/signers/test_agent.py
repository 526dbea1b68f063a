"""What an agent answers to lines, good and bad."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.signing import ADDRESS, KEY, LIMITS, SECRET, freeing_transfer, unsigned

from clarion.chains.stacks.signing import verify
from clarion.chains.stacks.transactions import Transaction, decode_transaction_hex
from clarion_keeper.signers import exhaustion
from clarion_keeper.signers.agent import Agent, StacksKey
from clarion_keeper.signers.ledger import Ledger


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    yield Agent("keeper", StacksKey(KEY, LIMITS), LIMITS, ledger)
    ledger.close()


def asked(agent: Agent, request: object) -> dict[str, Any]:
    line = agent.answer(json.dumps(request).encode())
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    answer: dict[str, Any] = json.loads(line)
    return answer


def sign(agent: Agent, transaction: Transaction, number: int = 1) -> dict[str, Any]:
    return asked(agent, {"id": number, "method": "sign-stacks", "transaction": transaction.encode().hex()})


def test_it_says_who_it_is(agent: Agent) -> None:
    assert asked(agent, {"id": 5, "method": "hello", "version": 3, "more": 1}) == {
        "id": 5,
        "result": {
            "version": 1,
            "name": "clarion",
            "chain": "stacks",
            "address": str(ADDRESS),
            "public_key": KEY.public_key.hex(),
        },
    }


def test_it_signs_what_its_limits_allow(agent: Agent) -> None:
    signed = decode_transaction_hex(sign(agent, unsigned())["result"]["transaction"])
    assert verify(signed).origin == ADDRESS
    assert sign(agent, unsigned())["result"]["transaction"] == signed.encode().hex()


def test_it_refuses_what_they_do_not_allow(agent: Agent) -> None:
    error = sign(agent, unsigned(fee=20_001), 8)
    assert error["id"] == 8
    assert error["error"]["code"] == "refused"
    assert error["error"]["limit"] == "max_fee"
    assert sign(agent, unsigned(freeing_transfer(5)))["error"]["limit"] == "calls"


def test_the_hour_s_budget_holds_and_replacements_cost_the_difference(agent: Agent) -> None:
    for nonce in range(5):
        assert "result" in sign(agent, unsigned(nonce=nonce, fee=15_000))
    for _ in range(3):
        assert "result" in sign(agent, unsigned(nonce=0, fee=20_000))
    assert "result" in sign(agent, unsigned(nonce=5, fee=20_000))
    error = sign(agent, unsigned(nonce=6, fee=1))["error"]
    assert (error["code"], error["limit"]) == ("refused", "max_hourly")
    assert re.search(r"100000 are spent; some come free at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", error["message"])
    assert sign(agent, unsigned(nonce=6, fee=1))["error"] == error, "what is tried again is refused in the same words"


def test_an_hour_that_is_used_up_is_said_once_and_when_it_is_over(
    agent: Agent, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for nonce in range(5):
        sign(agent, unsigned(nonce=nonce, fee=20_000))
    with caplog.at_level("WARNING", "clarion.signer"):
        for nonce in range(5, 8):
            assert sign(agent, unsigned(nonce=nonce, fee=1))["error"]["limit"] == "max_hourly"
        sign(agent, unsigned(nonce=0, fee=20_000))  # what the hour has room for between two refusals is no end of it
        assert [line.split(":")[0] for line in caplog.messages] == ["keeper refused (max_hourly)"]
        for _ in range(2):
            assert sign(agent, unsigned(fee=20_001))["error"]["limit"] == "max_fee"
        monkeypatch.setattr(exhaustion, "QUIET_SECONDS", 0)
        for _ in range(2):
            sign(agent, unsigned(nonce=0, fee=20_000))
        assert [line.split(":")[0] for line in caplog.messages[1:]] == [
            "keeper refused (max_fee)",
            "keeper refused (max_fee)",
            "keeper signs again",
        ]


def test_a_limit_below_one_fee_names_no_time(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(LIMITS, max_hourly=10)
    ledger = Ledger(tmp_path / "ledger.sqlite")
    error = sign(Agent("keeper", StacksKey(KEY, limits), limits, ledger), unsigned(fee=11))["error"]
    assert error["message"] == "11 more would be over the 10 of an hour, of which 0 are spent"
    ledger.close()


def test_it_signs_nothing_where_its_ledger_is_gone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    agent = Agent("keeper", StacksKey(KEY, LIMITS), LIMITS, ledger)
    ledger.close()
    assert sign(agent, unsigned())["error"]["code"] == "failed"


@pytest.mark.parametrize(
    ("line", "number", "code"),
    [
        (b"\n", None, "bad_request"),
        (b"hello\n", None, "bad_request"),
        (b"\xff\xfe\n", None, "bad_request"),
        (b"[]\n", None, "bad_request"),
        (b'{"id": "7", "method": "hello", "version": 1}\n', None, "bad_request"),
        (b'{"id": 7}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "hello"}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "hello", "version": 0}\n', 7, "unsupported"),
        (b'{"id": 7, "method": "export-key"}\n', 7, "unsupported"),
        (b'{"id": 7, "method": "sign-stacks"}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "sign-stacks", "transaction": "zz"}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "sign-stacks", "transaction": "80"}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "sign-stacks", "transaction": "80", "purpose": {"job": 1}}\n', 7, "bad_request"),
        (b'{"id": 7, "method": "sign-bitcoin", "psbt": "cHNidP8="}\n', 7, "refused"),
        (b"[" * 100_000 + b"\n", None, "bad_request"),
    ],
)
def test_bad_lines_get_an_error_and_nothing_else(agent: Agent, line: bytes, number: int | None, code: str) -> None:
    answer = json.loads(agent.answer(line))
    assert (answer["id"], answer["error"]["code"]) == (number, code)
    assert "result" not in sign(agent, unsigned(fee=20_001))
    assert "result" in sign(agent, unsigned())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.builds(
            lambda method, more: json.dumps({"id": 1, "method": method, **more}).encode(),
            st.sampled_from(["hello", "sign-stacks", "sign-bitcoin", "other"]),
            st.dictionaries(
                st.sampled_from(["transaction", "psbt", "version", "purpose", "id"]),
                st.one_of(st.none(), st.text(max_size=20), st.integers(), st.lists(st.integers(), max_size=2)),
            ),
        ),
        st.builds(
            lambda at, byte: json.dumps(
                {"id": 1, "method": "sign-stacks", "transaction": _changed(unsigned().encode(), at, byte).hex()}
            ).encode(),
            st.integers(0, 400),
            st.integers(1, 255),
        ),
    )
)
def test_no_line_breaks_it_or_gets_the_key(agent: Agent, line: bytes) -> None:
    answer = agent.answer(line)
    msgspec.json.decode(answer)
    for form in (SECRET[:32].hex().encode(), SECRET[:32]):
        assert form not in answer


def _changed(raw: bytes, at: int, byte: int) -> bytes:
    at %= len(raw)
    return raw[:at] + bytes((raw[at] ^ byte,)) + raw[at + 1 :]


def test_an_error_of_its_own_says_its_kind_alone(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(SECRET.hex())

    monkeypatch.setattr("clarion_keeper.signers.agent.check_stacks", broken)
    error = sign(agent, unsigned())["error"]
    assert error == {"code": "failed", "message": "the agent failed with RuntimeError"}
