"""Values that follow from bytes: the same in SQL as in Python, stored nowhere, and told of where they are not valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec import structs
from support import toy
from support.graphql import Server

from clarion.chains.model import Block, EventKind, JsonValue
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import (
    Authorization,
    HashMode,
    KeyEncoding,
    MultiSig,
    PublicKeyField,
    SignatureField,
    SingleSig,
)
from clarion.chains.stacks.derived import DERIVED_PAYLOADS, event_value, transaction_payload
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_payloads import decode_post
from clarion.chains.stacks.payloads import ContractCall, Payload, SmartContract, TokenTransfer
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    Asset,
    FtPostCondition,
    NftCode,
    NftPostCondition,
    PoxCode,
    PoxPostCondition,
    StakingPostCondition,
    StxPostCondition,
)
from clarion.chains.stacks.recording import read_recording
from clarion.chains.stacks.transactions import Transaction
from clarion.store import chain_log
from clarion.store.store import Store

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "bithedge-devnet.tsv.zst"

ACCOUNT = cl.StandardPrincipal(26, bytes(range(20)))
CONTRACT = cl.ContractPrincipal(ACCOUNT, "bank_2")
VALUES = [
    cl.Int(cl.INT_MIN),
    cl.Int(-1),
    cl.Int(cl.INT_MAX),
    cl.UInt(0),
    cl.UInt(cl.UINT_MAX),
    cl.UInt(2**64),
    cl.TRUE,
    cl.FALSE,
    cl.Buffer(b""),
    cl.Buffer(b"\x00\xff\\"),
    cl.StringAscii(""),
    cl.StringAscii('a "quoted"\t\\text\r\n~'),
    cl.StringUtf8("caf\u00e9 \u20ac \ud7ff \ue000 \U0001f600 \U0010ffff"),
    cl.StringUtf8("nul \x00 within"),
    cl.StandardPrincipal(0, bytes(20)),
    cl.StandardPrincipal(31, b"\xff" * 20),
    cl.StandardPrincipal(22, bytes(3) + b"\x01" + bytes(16)),
    ACCOUNT,
    CONTRACT,
    cl.NONE,
    cl.Some(cl.NONE),
    cl.Some(cl.Some(cl.UInt(1))),
    cl.Some(cl.StringAscii("one")),
    cl.Ok(cl.Some(cl.TRUE)),
    cl.Err(cl.Tuple({"code": cl.UInt(4)})),
    cl.List([]),
    cl.List([cl.UInt(number) for number in range(20)]),
    cl.List([cl.List([cl.NONE]), cl.List([])]),
    cl.Tuple({"a-b?": cl.Tuple({"z": cl.List([CONTRACT])}), "B": cl.Buffer(b"x"), "c!": cl.Some(ACCOUNT)}),
]
UNDECODABLE = b"\x0e\x00\x00\x00\x02a\xff"
"""A string-utf8 that is no UTF-8: its structure is valid."""


def in_sql(connection: psycopg.Connection[Any], kind: str, stored: str, raws: list[bytes]) -> list[Any]:
    rows = connection.execute(
        f"SELECT clarion.event_value(%s, {stored}, raw) FROM unnest(%s::bytea[]) WITH ORDINALITY u(raw, place) "
        "ORDER BY place",
        (kind, raws),
    )
    return [value for (value,) in rows]


def test_sql_decodes_values_as_python_does(connection: psycopg.Connection[Any]) -> None:
    raws = [cl.encode(value) for value in VALUES]
    assert in_sql(connection, "print", "NULL", raws) == [event_value("print", None, raw) for raw in raws]
    moved: JsonValue = {"asset": "a::b", "sender": "c"}
    stored = """'{"asset": "a::b", "sender": "c"}'"""
    assert in_sql(connection, "nft_burn", stored, raws) == [event_value("nft_burn", moved, raw) for raw in raws]


def test_sql_tells_of_texts_that_are_none(connection: psycopg.Connection[Any]) -> None:
    texts = [b"a\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xe0\x80\x80"]
    raws = [b"\x0e" + len(text).to_bytes(4, "big") + text for text in texts]
    raws.append(b"\x0d\x00\x00\x00\x01\x07")
    assert in_sql(connection, "print", "NULL", raws) == [{"undecodable": f"0x{raw[5:].hex()}"} for raw in raws]


def test_what_is_stored_goes_before_what_the_bytes_say(connection: psycopg.Connection[Any]) -> None:
    raw = cl.encode(cl.UInt(1))
    stored: list[tuple[str, str | None, Any]] = [
        ("print", "2", 2),
        ("nft_mint", '{"asset": "a", "value": 2}', {"asset": "a", "value": 2}),
        ("stx_mint", '{"amount": 3}', {"amount": 3}),
        ("unknown", None, None),
    ]
    for kind, text, value in stored:
        assert event_value(kind, value, raw) == value
        found = connection.execute("SELECT clarion.event_value(%s, %s::jsonb, %s)", (kind, text, raw)).fetchone()
        assert found == (value,)
    assert connection.execute("SELECT clarion.event_value('print', NULL, NULL)").fetchone() == (None,)


def transactions() -> list[tuple[str, bytes]]:
    """Every form of authorization and post-condition before every payload that is derived."""
    key = PublicKeyField(KeyEncoding.COMPRESSED, b"\x03" + bytes(32))
    signature = SignatureField(KeyEncoding.UNCOMPRESSED, b"\x07" * 65)
    single = SingleSig(HashMode.P2PKH, bytes(20), 7, 300)
    several = MultiSig(HashMode.P2SH, bytes(20), 8, 301, (key, signature, key), 1)
    nobody = MultiSig(HashMode.P2SH, bytes(20), 9, 302, (), 0)
    asset = Asset(CONTRACT, "coin")
    amount = AmountCode.LESS_OR_EQUAL
    conditions = (
        StxPostCondition(ORIGIN, amount, 1),
        StxPostCondition(CONTRACT, amount, 2),
        FtPostCondition(ACCOUNT, asset, amount, 3),
        NftPostCondition(CONTRACT, asset, cl.Tuple({"id": cl.UInt(4)}), NftCode.SENT),
        StakingPostCondition(ORIGIN, amount, 5),
        PoxPostCondition(ACCOUNT, PoxCode.MAY_PERFORM),
    )
    payloads: tuple[Payload, ...] = (
        TokenTransfer(CONTRACT, 2**64 - 1, b"m".ljust(34, b"\0")),
        TokenTransfer(ACCOUNT, 0),
        ContractCall(CONTRACT, "move!", tuple(VALUES)),
        ContractCall(CONTRACT, "nothing", ()),
        SmartContract("bank", '(print "\\")\n', 3),
        SmartContract("bank", ""),
    )
    authorizations = (
        Authorization(single),
        Authorization(several),
        Authorization(several, nobody),
        Authorization(single, single),
    )
    made = []
    for authorization, count in zip(authorizations, (0, 6, 3, 4), strict=True):
        for payload in payloads:
            network = Network.TESTNET
            transaction = Transaction(network, network.chain_id, authorization, payload, conditions[:count])
            made.append((payload.kind, transaction.encode()))
    return made


def test_sql_decodes_payloads_as_python_does(connection: psycopg.Connection[Any]) -> None:
    query = "SELECT clarion.transaction_payload(%s, %s::jsonb, %s)"
    for kind, raw in transactions():
        expected = transaction_payload(kind, None, raw)
        assert isinstance(expected, dict)
        assert connection.execute(query, (kind, None, raw)).fetchone() == (expected,)
    assert connection.execute(query, ("contract_call", '{"a": 1}', b"\0")).fetchone() == ({"a": 1},)
    assert connection.execute(query, ("coinbase", None, b"\0")).fetchone() == (None,)
    assert connection.execute(query, ("smart_contract", None, b"")).fetchone() == (None,)


def test_a_recorded_chain_stores_nothing_twice(store: Store) -> None:
    posts = list(read_recording(FIXTURE))[:120]
    blocks = [item for post in posts for item in decode_post(post.path, post.body) if isinstance(item, Block)]
    with store.batch() as batch:
        for block in blocks:
            batch.append(block)
    connection = store.connection
    stored = connection.execute(
        "SELECT kind, count(*) FILTER (WHERE value IS NOT NULL) > 0 FROM clarion.event GROUP BY kind"
    ).fetchall()
    assert dict(stored)["print"] is False
    payloads = connection.execute(
        "SELECT kind, count(*) FILTER (WHERE payload IS NOT NULL) > 0 FROM clarion.transaction GROUP BY kind"
    ).fetchall()
    assert {kind for kind, some in payloads if not some} == DERIVED_PAYLOADS
    loaded = chain_log.load(connection, "stacks", [block.hash for block in blocks])
    assert [block.transactions for block in loaded] == [block.transactions for block in blocks]
    assert [block.events for block in loaded] == [block.events for block in blocks]
    derived = connection.execute(
        "SELECT clarion.event_value(kind, value, raw) FROM clarion.event ORDER BY height, tx_index, event_index"
    ).fetchall()
    assert [value for (value,) in derived] == [event.value for block in blocks for event in block.events]
    asked = connection.execute(
        "SELECT clarion.transaction_payload(kind, payload, raw) FROM clarion.transaction ORDER BY height, tx_index"
    ).fetchall()
    assert [payload for (payload,) in asked] == [tx.payload for block in blocks for tx in block.transactions]


@pytest.mark.usefixtures("toy_tables")
async def test_what_only_decoding_refuses_is_an_anomaly_and_the_api_tells(store: Store, server: Server) -> None:
    block = toy.block(None, [toy.move("a", 1), toy.move("b", 2)])
    broken = structs.replace(block.events[0], stored_value=None, raw=UNDECODABLE)
    assert (broken.kind, broken.topic) == (EventKind.PRINT, "account.moved")
    block = Block(block.ref, block.time, block.burn, block.transactions, (broken, *block.events[1:]), block.extra)
    with store.batch() as batch:
        batch.append(block)
        batch.apply(block)
    anomalies = store.connection.execute("SELECT event_index, kind, detail FROM clarion.anomaly").fetchall()
    assert [(index, kind) for index, kind, _ in anomalies] == [(0, "undecodable_event")]
    assert "expected UTF-8, found ff" in anomalies[0][2]
    assert store.connection.execute("SELECT owner FROM toy.account").fetchall() == [("b",)]
    data = await server.data("{ events { nodes { eventIndex value } } }")
    told = {node["eventIndex"]: node["value"] for node in data["events"]["nodes"]}
    assert told == {
        0: {"undecodable": "at byte 6: expected UTF-8, found ff"},
        1: toy.move("b", 2) | {"balance-after": "2"},
    }
