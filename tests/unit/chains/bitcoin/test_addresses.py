"""Addresses against the vectors of BIP 173, BIP 350 and well-known ones, and round trips."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.bitcoin.addresses import AddressError, address_of, script_of
from clarion.chains.bitcoin.networks import BitcoinNetwork

MAINNET, TESTNET4, REGTEST = BitcoinNetwork.MAINNET, BitcoinNetwork.TESTNET4, BitcoinNetwork.REGTEST


@pytest.mark.parametrize(
    ("network", "address", "script"),
    [
        (MAINNET, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
        (
            TESTNET4,
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
        ),
        (
            MAINNET,
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
        ),
        (MAINNET, "bc1sw50qgdz25j", "6002751e"),
        (MAINNET, "bc1pfeessrawgf", "51024e73"),
        (MAINNET, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
        (MAINNET, "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
    ],
)
def test_vectors(network: BitcoinNetwork, address: str, script: str) -> None:
    assert address_of(bytes.fromhex(script), network) == address
    assert script_of(address, network).hex() == script


@pytest.mark.parametrize(
    "script", ["", "6a0548656c6c6f", "0013" + "00" * 19, "21" + "02" * 33 + "ac", "5101", "61020000"]
)
def test_scripts_without_an_address(script: str) -> None:
    assert address_of(bytes.fromhex(script), MAINNET) is None


def test_long_scripts_are_not_kept() -> None:
    script = bytes(100_000)
    before = sys.getrefcount(script)
    assert address_of(script, MAINNET) is None
    assert sys.getrefcount(script) == before


@pytest.mark.parametrize(
    "address",
    [
        "",
        "bc1",
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5",  # checksum
        "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd",  # bech32 where bech32m is due
        "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7KV8F3T4",  # mixed case
        "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx",  # another network
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0a",
        "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn",
        "1" * 80,
        "z" * 80,
    ],
)
def test_what_is_no_address_of_mainnet(address: str) -> None:
    with pytest.raises(AddressError):
        script_of(address, MAINNET)


@given(st.sampled_from(list(BitcoinNetwork)), st.integers(0, 16), st.binary(min_size=2, max_size=40))
def test_witness_programs_come_back(network: BitcoinNetwork, version: int, program: bytes) -> None:
    script = bytes((version + 0x50 if version else 0, len(program))) + program
    address = address_of(script, network)
    if version == 0 and len(program) not in (20, 32):
        assert address is None
    else:
        assert address is not None
        assert script_of(address, network) == script
        assert script_of(address.upper(), network) == script


@given(st.sampled_from([MAINNET, REGTEST]), st.booleans(), st.binary(min_size=20, max_size=20))
def test_hashes_come_back(network: BitcoinNetwork, of_script: bool, payload: bytes) -> None:
    script = b"\xa9\x14" + payload + b"\x87" if of_script else b"\x76\xa9\x14" + payload + b"\x88\xac"
    address = address_of(script, network)
    assert address is not None
    assert script_of(address, network) == script
