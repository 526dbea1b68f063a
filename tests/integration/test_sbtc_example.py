"""The example package on what sBTC's own contracts say: the simnet brings the main network's token and registry.

The contracts that drive those two (deposit, withdrawal, governance) are stand-ins that call them as the real ones do.
"""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from support import node_posts, toy
from support.bithedge_simnet import ADDRESSES, REPOSITORY, Simnet
from support.graphql import NO_CACHE, answering

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.node_payloads import NEW_BLOCK, decode_post
from clarion.follower import Follower
from clarion.protocol import DeployedProtocol, Protocol
from clarion.store.database import connect
from clarion.store.generation import Filling, require_tables, switch
from clarion.store.store import Store
from clarion_graphql.app import make_app

PACKAGE = REPOSITORY / "examples" / "sbtc"
SBTC = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4"
SIGNER, ALICE, BOB, CAROL = ADDRESSES[:4]

WITHDRAWAL = """
(define-public (request (amount uint) (recipient { version: (buff 1), hashbytes: (buff 32) }) (max-fee uint))
  (begin
    (try! (contract-call? .sbtc-token protocol-lock (+ amount max-fee) tx-sender 0x02))
    (contract-call? .sbtc-registry create-withdrawal-request amount max-fee tx-sender recipient burn-block-height)))
(define-public (accept (id uint) (owner principal) (amount uint) (max-fee uint) (fee uint) (txid (buff 32)))
  (begin
    (try! (contract-call? .sbtc-token protocol-burn-locked (+ amount max-fee) owner 0x02))
    (if (> max-fee fee) (try! (contract-call? .sbtc-token protocol-mint (- max-fee fee) owner 0x02)) true)
    (contract-call? .sbtc-registry complete-withdrawal-accept id txid u1 u5 fee txid burn-block-height txid)))
(define-public (reject (id uint) (owner principal) (locked uint))
  (begin
    (try! (contract-call? .sbtc-token protocol-unlock locked owner 0x02))
    (contract-call? .sbtc-registry complete-withdrawal-reject id u3)))
"""
GOVERNANCE = """
(define-public (rotate (keys (list 128 (buff 33))) (address principal) (aggregate (buff 33)) (threshold uint))
  (contract-call? .sbtc-registry rotate-keys keys address aggregate threshold))
(define-public (give-role (role (buff 1)) (contract principal))
  (contract-call? .sbtc-registry update-protocol-contract role contract))
"""


@pytest.fixture(scope="module")
def protocol() -> Protocol:
    """What the package's entry point names."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    module, _, attribute = project["entry-points"]["clarion.protocols"]["sbtc"].partition(":")
    sys.path.insert(0, str(PACKAGE))
    try:
        found = getattr(importlib.import_module(module), attribute)
    finally:
        sys.path.remove(str(PACKAGE))
    assert isinstance(found, Protocol)
    assert found.name == "sbtc"
    return found


@dataclass
class Chain:
    """What the contracts say, one block per call, as a node posts it."""

    simnet: Simnet
    blocks: list[Block] = field(default_factory=list)

    def call(self, contract: str, function: str, *arguments: cl.Value, sender: str = SIGNER) -> None:
        answer = self.simnet.ask(
            op="call",
            contract=f"{SBTC}.{contract}",
            function=function,
            arguments=[cl.encode_hex(argument) for argument in arguments],
            sender=sender,
        )
        result: Any = decode_json(cl.bytes_from_hex(answer["result"]))
        assert "ok" in result, f"{contract}.{function} gave {result}"
        self._post(answer["events"])

    def _post(self, events: Sequence[dict[str, Any]]) -> None:
        place = toy.block(self.blocks[-1] if self.blocks else None)
        call = node_posts.signed_call(place.height)
        txid = node_posts.hex_of(call.txid)
        said = [_node_event(txid, index, event) for index, event in enumerate(events)]
        payload = node_posts.block_payload(place, [node_posts.transaction_entry(call)], said)
        (block,) = decode_post(NEW_BLOCK, node_posts.body(payload))
        assert isinstance(block, Block)
        self.blocks.append(block)

    def items(self) -> Iterator[Block | BurnBlock]:
        for block in self.blocks:
            assert block.burn is not None
            yield block.burn
            yield block

    def balances(self, holder: str) -> tuple[int, int]:
        available, locked = (
            self.simnet.ask(
                op="read",
                contract=f"{SBTC}.sbtc-token",
                function=f"get-balance-{what}",
                arguments=[cl.encode_hex(cl.principal(holder))],
                sender=SIGNER,
            )["result"]
            for what in ("available", "locked")
        )
        return _ok(available), _ok(locked)


def _ok(result: str) -> int:
    value: Any = decode_json(cl.bytes_from_hex(result))
    return int(value["ok"])


def _node_event(txid: str, index: int, event: dict[str, Any]) -> dict[str, Any]:
    if event["kind"] == "print":
        value = cl.decode(cl.bytes_from_hex(event["value"]))
        return node_posts.print_event(txid, index, value, event["contract"])
    name = f"{event['kind']}_event"
    said = {"asset_identifier": event["asset"], "amount": event["amount"]}
    said |= {role: event[role] for role in ("sender", "recipient") if event.get(role)}
    return {"txid": txid, "event_index": index, "committed": True, "type": name, name: said}


def buffer(text: str, length: int = 32) -> cl.Value:
    return cl.Buffer(text.encode().ljust(length, b"\0"))


def bitcoin_address() -> cl.Value:
    return cl.Tuple({"version": cl.Buffer(b"\x04"), "hashbytes": cl.Buffer(bytes(range(20)))})


def deposit(chain: Chain, txid: str, amount: int, recipient: str) -> None:
    chain.call(
        "sbtc-deposit",
        "complete-deposit-wrapper",
        *(buffer(txid), cl.UInt(0), cl.UInt(amount), cl.principal(recipient)),
        *(buffer("burn"), cl.UInt(900), buffer("sweep")),
    )


def transfer(chain: Chain, amount: int, sender: str, recipient: str, memo: bytes | None = None) -> None:
    note = cl.NONE if memo is None else cl.Some(cl.Buffer(memo))
    arguments = (cl.UInt(amount), cl.principal(sender), cl.principal(recipient), note)
    chain.call("sbtc-token", "transfer", *arguments, sender=sender)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """A life of sBTC: signers, deposits, transfers, and withdrawals that end in every way."""
    with Simnet.start() as simnet:
        played = Chain(simnet)
        source = (REPOSITORY / "contracts" / "devnet" / "sbtc-deposit.clar").read_text().replace("{{signer}}", SIGNER)
        for name, code in (
            ("sbtc-deposit", source),
            ("sbtc-withdrawal", WITHDRAWAL),
            ("sbtc-bootstrap-signers", GOVERNANCE),
        ):
            simnet.ask(op="deploy", name=name, source=code, sender=SBTC)
        keys = cl.List([buffer(f"key {number}", 33) for number in range(3)])
        played.call(
            *("sbtc-bootstrap-signers", "rotate"),
            *(keys, cl.principal(SIGNER), buffer("aggregate", 33), cl.UInt(2)),
        )
        role = (cl.Buffer(b"\x02"), cl.principal(f"{SBTC}.sbtc-withdrawal"))
        played.call("sbtc-bootstrap-signers", "give-role", *role)
        deposit(played, "first", 100_000, ALICE)
        deposit(played, "second", 2**53 + 1, BOB)
        transfer(played, 30_000, ALICE, BOB, b"rent")
        transfer(played, 2**53 + 1 + 30_000, BOB, CAROL)
        for owner, amount, fee in ((ALICE, 10_000, 500), (ALICE, 20_000, 500), (CAROL, 5_000, 0)):
            arguments = (cl.UInt(amount), bitcoin_address(), cl.UInt(fee))
            played.call("sbtc-withdrawal", "request", *arguments, sender=owner)
        played.call(
            *("sbtc-withdrawal", "accept"),
            *(cl.UInt(1), cl.principal(ALICE), cl.UInt(10_000), cl.UInt(500), cl.UInt(380), buffer("paid")),
        )
        played.call("sbtc-withdrawal", "reject", cl.UInt(2), cl.principal(ALICE), cl.UInt(20_500))
        deposit(played, "third", 7, f"{SBTC}.sbtc-withdrawal")
        yield played


def opened(connection: psycopg.Connection[Any], *protocols: DeployedProtocol) -> Store:
    require_tables(connection, "stacks", protocols)
    store = Store(connection, "stacks", protocols)
    store.open()
    return store


def ingest(store: Store, items: Sequence[Block | BurnBlock]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


def rows(connection: psycopg.Connection[Any], query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode()).fetchall()


def everything(connection: psycopg.Connection[Any], protocol: Protocol) -> dict[str, Any]:
    return {table.name: rows(connection, f"SELECT * FROM {table.name} ORDER BY 1, 2") for table in protocol.row_types}


def test_balances_and_totals_are_the_tokens_own(
    connection: psycopg.Connection[Any], protocol: Protocol, chain: Chain
) -> None:
    ingest(opened(connection, protocol.deployed_on("mainnet")), list(chain.items()))

    found = {
        holder: (available, locked)
        for holder, available, locked in rows(connection, "SELECT holder, available, locked FROM sbtc.balance")
    }
    holders = (ALICE, BOB, CAROL, f"{SBTC}.sbtc-withdrawal")
    theirs = {holder: chain.balances(holder) for holder in holders}
    assert found == {holder: balance for holder, balance in theirs.items() if any(balance)}
    assert BOB not in found
    assert theirs[ALICE] == (100_000 - 30_000 - 10_000 - 380, 0)
    assert theirs[CAROL] == (2**53 + 1 + 30_000 - 5_000, 5_000)
    available, locked = (sum(balance[index] for balance in theirs.values()) for index in (0, 1))
    assert rows(connection, "SELECT available, locked, holders, deposits, pending_withdrawals FROM sbtc.supply") == [
        (available, locked, len(found), 3, 1)
    ]
    assert rows(connection, "SELECT * FROM clarion.anomaly") == []


def test_deposits_and_withdrawals_say_what_became_of_them(
    connection: psycopg.Connection[Any], protocol: Protocol, chain: Chain
) -> None:
    ingest(opened(connection, protocol.deployed_on("mainnet")), list(chain.items()))

    assert rows(connection, "SELECT recipient, amount, bitcoin_height FROM sbtc.deposit ORDER BY completed_height") == [
        (ALICE, 100_000, 900),
        (BOB, 2**53 + 1, 900),
        (f"{SBTC}.sbtc-withdrawal", 7, 900),
    ]
    paid = f"0x{b'paid'.ljust(32, bytes(1)).hex()}"
    assert rows(
        connection,
        "SELECT request_id, sender, amount, max_fee, status, fee, bitcoin_txid, address_version, address_hash, "
        "settled_height - requested_height FROM sbtc.withdrawal ORDER BY 1",
    ) == [
        (1, ALICE, 10_000, 500, "accepted", 380, paid, "0x04", f"0x{bytes(range(20)).hex()}", 3),
        (2, ALICE, 20_000, 500, "rejected", None, None, "0x04", f"0x{bytes(range(20)).hex()}", 3),
        (3, CAROL, 5_000, 0, "pending", None, None, "0x04", f"0x{bytes(range(20)).hex()}", None),
    ]
    ((keys, threshold, address),) = rows(connection, "SELECT keys, threshold, address FROM sbtc.signer_set")
    assert (len(keys), threshold, address) == (3, 2, SIGNER)
    assert rows(connection, "SELECT role, contract FROM sbtc.role") == [("withdrawal", f"{SBTC}.sbtc-withdrawal")]


def test_added_to_a_running_index_it_has_the_same_rows(
    connection: psycopg.Connection[Any], database_url: str, protocol: Protocol, chain: Chain
) -> None:
    deployed = protocol.deployed_on("mainnet")
    items = list(chain.items())
    ingest(opened(connection, toy.deployed()), items[:-4])
    store = opened(connection, toy.deployed(), deployed)
    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "stacks", deployed, chunk_blocks=2)
        while filling.step():
            pass
        assert filling.progress.height is not None
    assert switch(store, deployed)
    ingest(store, items[-4:])
    added = everything(connection, protocol)
    assert len(added["sbtc.balance"]) == 3

    connection.execute("DROP SCHEMA sbtc CASCADE")
    connection.execute("TRUNCATE clarion.block, clarion.transaction, clarion.event, clarion.canonical_block")
    connection.execute("TRUNCATE clarion.cursor, clarion.step, clarion.change, clarion.protocol, clarion.digest")
    connection.execute("TRUNCATE clarion.burn_block, clarion.canonical_burn_block")
    ingest(opened(connection, toy.deployed(), deployed), items)
    assert everything(connection, protocol) == added


async def test_the_documented_questions_are_answered(
    connection: psycopg.Connection[Any], database_url: str, protocol: Protocol, chain: Chain
) -> None:
    ingest(opened(connection, protocol.deployed_on("mainnet")), list(chain.items()))
    page = (REPOSITORY / "docs" / "protocols.md").read_text(encoding="utf-8")
    (document,) = [text for text in re.findall(r"```graphql\n(.*?)```", page, re.DOTALL) if "sbtc" in text]
    app = make_app(database_url, protocols=[protocol], deployed={}, graphql=NO_CACHE)
    async with answering(app) as server:
        answer = await server.query(document)
    assert "errors" not in answer
    assert answer["data"]["sbtcSupply"]["deposits"] == 3
    assert [row["sender"] for row in answer["data"]["sbtcWithdrawals"]["nodes"]] == [CAROL]
    assert next(row["holder"] for row in answer["data"]["sbtcBalances"]["nodes"]) == CAROL
    assert {row["recipient"] for row in answer["data"]["sbtcDeposits"]["nodes"]} >= {ALICE, BOB}
