"""Real transactions in a block, from its bytes to the tables."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from support.bitcoin_chain import block_of, payment
from support.charms import genuine_spells
from support.charms_world import Rows

from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.protocols.charms.tables import Balance, Charm, Nft, Spell, Token, Transfer

READ = partial(read_spells, network=BitcoinNetwork.TESTNET4, accept_mock=False)


def test_they_are_followed(chain_data: Path) -> None:
    genuine = genuine_spells(chain_data)
    described = {known["txid"]: known for known, _ in genuine}
    made = block_of(None, [transaction for _, transaction in genuine], (), 0)
    lost = next(transaction for known, transaction in genuine if known["txid"].startswith("aea10a1e"))
    later = block_of(made, [payment([(lost.id, 0)], salt=1)], (), 1)
    scanner = Scanner(BitcoinNetwork.TESTNET4, Tracked())
    rows = Rows([scanner.block(one.data, scan(one.data, READ), one.height) for one in (made, later)])

    spells = {row["tx_id"]: row for row in rows.of(Spell)}
    assert spells.keys() == described.keys()
    for tx_id, row in spells.items():
        assert (row["status"] == "verified") == (described[tx_id]["proof_verifies"] is True)
        assert row["version"] == described[tx_id]["spell_version"]
    accepted = {tx_id for tx_id, row in spells.items() if row["status"] == "verified"}
    charms = rows.of(Charm)
    assert {row["tx_id"] for row in charms} == accepted

    tokens = {row["app"]: row for row in rows.of(Token)}
    held = {row["app"]: 0 for row in tokens.values()}
    for row in rows.of(Balance):
        held[row["app"]] += row["amount"]
    assert {app: row["held"] for app, row in tokens.items()} == held
    named = [row for row in tokens.values() if row["ticker"]]
    assert [(row["ticker"], row["held"]) for row in named] == [("CHARMS-19", 998)]
    (destroyed,) = (row for row in rows.of(Transfer) if row["kind"] == "destroy")
    assert destroyed["amount"] == 69420
    assert next(row for row in charms if row["tx_id"] == lost.id.hex())["state"] == "destroyed"
    oracles = [row for row in rows.of(Nft) if isinstance(row["data"], dict) and "last_valid_price" in row["data"]]
    assert {row["outpoint"][:8] for row in oracles} == {"f436e296", "68dd47f7"}
    assert all((row["address"] or "").startswith("tb1") for row in charms)
