"""Real transactions: what they are known to be, and that nothing of them can be changed."""

import json
from pathlib import Path

import pytest
from support.charms import genuine_spells

from clarion.chains.bitcoin.charms import keys
from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.pairings_py_ecc import PyEccPairings
from clarion.chains.bitcoin.charms.spells import read_payload, write_payload
from clarion.chains.bitcoin.charms.verify import read_spell, read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork

STATUSES = {True: "verified", False: "invalid", None: "invalid"}


def test_they_are_what_is_known_of_them(chain_data: Path) -> None:
    genuine = genuine_spells(chain_data)
    events = read_spells([tx for _, tx in genuine], BitcoinNetwork.TESTNET4, accept_mock=False)
    for (known, transaction), event in zip(genuine, events, strict=True):
        assert event is not None
        assert transaction.id.hex() == known["txid"]
        assert event.version == known["spell_version"]
        assert event.status == STATUSES[known["proof_verifies"]], event.failed_step
        assert event.acceptable == (known["proof_verifies"] is True)
        assert event.location == ("op_return" if known["spell_version"] >= 9 else "witness")


def test_one_by_one_they_are_the_same(chain_data: Path) -> None:
    genuine = genuine_spells(chain_data)
    together = read_spells([tx for _, tx in genuine], BitcoinNetwork.MAINNET, accept_mock=False)
    assert [read_spell(tx, BitcoinNetwork.MAINNET, accept_mock=False) for _, tx in genuine] == together


def test_what_they_say(chain_data: Path) -> None:
    genuine = genuine_spells(chain_data)
    events = read_spells([tx for _, tx in genuine], BitcoinNetwork.TESTNET4, accept_mock=False)
    by_transaction = {known["txid"][:8]: event for (known, _), event in zip(genuine, events, strict=True)}
    token, both, oracle = (by_transaction[tx_id] for tx_id in ("aea10a1e", "9c048eca", "68dd47f7"))
    assert token is not None
    assert [(use.tag, data) for use, data in token.charms(0)] == [("t", 69420)]
    assert token.refs == []
    assert both is not None
    assert [(use.tag, use.public_input) for use in both.apps] == [("n", None), ("t", None)]
    assert both.charms(0) == [(both.apps[1], 998)]
    assert both.charms(1) == [(both.apps[0], {"ticker": "CHARMS-19", "remaining": 99002})]
    assert oracle is not None
    assert oracle.outputs[0].address == "tb1qr25l2p34sv4wnz4q0cuh4g9jd9qh2eua6y5awq"
    assert oracle.outputs[0].amount == 547
    ((app, state),) = oracle.charms(0)
    assert app.identity == "00" * 32
    assert isinstance(state, dict)
    price = {"price": 100_000 * 10**8, "timestamp_block": 0, "source": "Mock", "confidence": 100}
    assert state["price"] == price
    assert state["operator"] == state["admin"]
    assert state["is_active"] is True


def test_those_that_are_refused_say_why(chain_data: Path) -> None:
    refused = {
        known["spell_version"]: read_spell(tx, BitcoinNetwork.TESTNET4, accept_mock=False)
        for known, tx in genuine_spells(chain_data)
        if not known["proof_verifies"]
    }
    mock, development = refused[6], refused[10]
    assert mock is not None
    assert mock.mock
    assert (mock.failed_step or "").startswith("mock:")
    assert development is not None
    assert (development.failed_step or "").startswith("proof_pairing:")


def test_a_mock_is_a_mock_where_mocks_are_accepted(chain_data: Path) -> None:
    for known, transaction in genuine_spells(chain_data):
        event = read_spell(transaction, BitcoinNetwork.REGTEST, accept_mock=True)
        assert event is not None
        expected = "mock" if known["proof_verifies"] is None else STATUSES[known["proof_verifies"]]
        assert event.status == expected


def test_their_payloads_are_written_as_they_were(chain_data: Path) -> None:
    for known, transaction in genuine_spells(chain_data):
        (envelope,) = envelopes(transaction)
        assert envelope.payload is not None
        assert write_payload(*read_payload(envelope.payload)) == envelope.payload, known["txid"]


def test_the_keys_are_those_on_record(chain_data: Path) -> None:
    record = json.loads((chain_data / "charms" / "verifying-keys.json").read_text())

    def pair(point: list[str]) -> tuple[int, int]:
        return int(point[0], 16), int(point[1], 16)

    seen = set()
    for known in record["groth16_keys"]:
        versions = known["spell_versions"]
        for version in range(versions["first"], versions["last"] + 1):
            seen.add(version)
            generation = keys.generation(version)
            assert generation.prefix.hex() == known["proof_prefix"]
            assert generation.key.alpha == pair(known["alpha_g1"])
            for name in ("beta", "gamma", "delta"):
                point = known[f"{name}_g2"]
                assert getattr(generation.key, name) == (pair(point["x"]), pair(point["y"]))
            assert generation.key.inputs == tuple(pair(point) for point in known["ic_g1"])
            assert len(generation.key.inputs) == known["public_inputs"] + 1
    assert seen == set(range(keys.LATEST_VERSION + 1))
    for version, key in record["spell_program_key_by_version"].items():
        assert keys.program_key(int(version)).hex() == key
    assert record["spell_program_key_by_version"].keys() == {str(version) for version in seen}
    for version, root in record["vk_root_by_version"].items():
        assert keys.vk_root(int(version)).hex() == root


@pytest.mark.slow
def test_python_alone_comes_to_the_same(chain_data: Path) -> None:
    transactions = [tx for _, tx in genuine_spells(chain_data)]
    fast = read_spells(transactions, BitcoinNetwork.MAINNET, accept_mock=False)
    assert read_spells(transactions, BitcoinNetwork.MAINNET, accept_mock=False, by=PyEccPairings()) == fast
