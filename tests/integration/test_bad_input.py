"""Every kind of bad input, and what happens to it.

A node is answered 200 whatever it posts, because it would repeat the post for ever. What cannot be read, or
contradicts itself, is *parked*: it stays in the inbox with the reason. What senders and contracts alone decide about is
*noted*: the block counts, the thing is kept as it came, and an anomaly says what is wrong. What is *left* is kept or
dropped without becoming canonical, with an anomaly where somebody has to look. After each of them the next good block
is indexed.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support import index_process, toy
from support.node_posts import (
    body,
    burn_payload,
    clarity_tuple,
    hex_of,
    moves_payload,
    print_event,
    signed_call,
    transaction_entry,
)

from clarion.chains.model import Block
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.node_payloads import PayloadError
from clarion.replay import replay
from clarion.store.database import connect, create_database, drop_database, with_database

DEADLINE_SECONDS = 120
DEEP = 100_000

Payload = dict[str, Any]
Posts = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Parked:
    """Nothing changes; the post stays in the inbox with a reason that holds all of these (regular expressions)."""

    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Noted:
    """The block counts, and there is an anomaly of this kind with this detail (a regular expression)."""

    kind: str
    detail: str


@dataclass(frozen=True)
class Left:
    """Nothing becomes canonical; there is an anomaly of this kind, or none."""

    kind: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Taken:
    """The block counts, as if nothing were odd about it."""


Outcome = Parked | Noted | Left | Taken


@dataclass(frozen=True)
class Case:
    name: str
    posts: Callable[[Block], Posts]
    """What is posted, made of a block on top of the tip."""
    outcome: Outcome


CASES: list[Case] = []


def parked(name: str, *reasons: str) -> Callable[[Callable[[Block], Posts]], None]:
    return case(name, Parked(reasons))


def case(name: str, outcome: Outcome) -> Callable[[Callable[[Block], Posts]], None]:
    def add(posts: Callable[[Block], Posts]) -> None:
        CASES.append(Case(name, posts, outcome))

    return add


def posted(block: Block) -> Payload:
    """A good ``/new_block`` with one transaction and one event."""
    return moves_payload(block, [toy.move("alice", block.height)])


def new_block(payload: Any) -> Posts:
    return [("/new_block", payload if isinstance(payload, bytes) else body(payload))]


def with_field(outcome: Outcome, field: str, value: Any) -> None:
    case(f"{field} {value!r:.40}", outcome)(lambda block: new_block(posted(block) | {field: value}))


def in_transaction(outcome: Outcome, field: str, value: Any) -> None:
    def posts(block: Block) -> Posts:
        payload = posted(block)
        payload["transactions"][0][field] = value
        return new_block(payload)

    case(f"transaction's {field} {value!r:.40}", outcome)(posts)


def with_events(block: Block, *events: Payload) -> Posts:
    payload = posted(block)
    payload["events"] = [event | {"txid": payload["transactions"][0]["txid"]} for event in events]
    return new_block(payload)


def in_event(outcome: Outcome, field: str, value: Any) -> None:
    def posts(block: Block) -> Posts:
        payload = posted(block)
        payload["events"][0][field] = value
        return new_block(payload)

    case(f"event's {field} {value!r:.40}", outcome)(posts)


def printed(outcome: Outcome, name: str, raw: bytes) -> None:
    def posts(block: Block) -> Posts:
        event = print_event("", 0, cl.UInt(0))
        event["contract_event"]["raw_value"] = hex_of(raw)
        return with_events(block, event)

    case(f"prints {name}", outcome)(posts)


def transferred(outcome: Outcome, amount: Any) -> None:
    event = {
        "event_index": 0,
        "committed": True,
        "type": "stx_transfer_event",
        "stx_transfer_event": {"sender": toy.DEPLOYER, "recipient": toy.DEPLOYER, "amount": amount, "memo": ""},
    }
    case(f"an amount of {amount!r:.45}", outcome)(lambda block: with_events(block, event))


# No JSON, or not of this shape

for name, content in {
    "nothing": b"",
    "zeros": bytes(100),
    "invalid UTF-8": b"\xff\xfe{}",
    "half a number": b"-",
    "no end of objects": b'{"a":' * DEEP,
}.items():
    parked(name, "/new_block: not JSON")(lambda block, content=content: new_block(content))
for name, content in {
    "null": b"null",
    "a number": b"7",
    "no end of brackets": b"[" * DEEP,
    "a text": b'"block"',
    "true": b"true",
}.items():
    parked(name, "/new_block.*Expected `object`")(lambda block, content=content: new_block(content))
parked("an empty object", "/new_block.*missing required field")(lambda block: new_block(b"{}"))
parked("half a block", "not JSON")(lambda block: new_block(body(posted(block))[:-40]))
parked("two blocks in one", "not JSON")(lambda block: new_block(body(posted(block)) * 2))
parked("a trailing comma", "not JSON")(lambda block: new_block(body(posted(block))[:-1] + b",}"))
parked("invalid UTF-8 in a text", "not JSON|UTF-8")(
    lambda block: new_block(body(posted(block)).replace(b'"success"', b'"succ\xffess"'))
)
parked("a surrogate alone in a text", "not JSON|surrogate")(
    lambda block: new_block(body(posted(block)).replace(b'"success"', b'"\\ud800"'))
)
for missing in ("block_height", "index_block_hash", "parent_index_block_hash", "transactions", "events"):
    parked(f"{missing} missing", f"missing required field `{missing}`")(
        lambda block, missing=missing: new_block({k: v for k, v in posted(block).items() if k != missing})
    )
parked("deep nesting where an operation belongs", "not JSON|recursion")(
    lambda block: new_block(
        body(posted(block)).replace(b'"burnchain_op": null', b'"burnchain_op": ' + b"[" * DEEP + b"]" * DEEP)
    )
)

# Fields that nobody here knows, and fields that are there twice

case("a field of a newer node", Taken())(
    lambda block: new_block(posted(block) | {"signer_weights": {"a": [1.5, None]}})
)
parked("deep nesting in a field nobody reads", "not JSON|recursion")(
    lambda block: new_block(body(posted(block))[:-1] + b', "new": ' + b"[" * DEEP + b"]" * DEEP + b"}")
)
case("deep nesting that can be read, in a field nobody reads", Taken())(
    lambda block: new_block(body(posted(block))[:-1] + b', "new": ' + b"[" * 200 + b"]" * 200 + b"}")
)
case("a number without end in a field nobody reads", Taken())(
    lambda block: new_block(body(posted(block))[:-1] + b', "new": ' + b"9" * DEEP + b"}")
)
case("a field that is there twice: the last counts", Taken())(
    lambda block: new_block(b'{"block_height": 1, ' + body(posted(block))[1:])
)

# Heights, times and hashes

for height in ("1", 1.5, -1, 1 << 63, 10**400, True, None, [], {}):
    with_field(Parked(("block_height|not JSON",)), "block_height", height)
for time in (-1, 1 << 63, "now"):
    with_field(Parked((r"/new_block block \d+ \(0x", "block_time")), "block_time", time)
with_field(Parked(("burn_block_height",)), "burn_block_height", -5)
for text in (
    "",
    "0x",
    "0x" + "ab" * 31,
    "0x" + "ab" * 33,
    "0x" + "a" * 63,
    "0x" + "xy" * 32,
    "0x" + "\u0661" * 64,
    "\x00" * 64,
):
    with_field(Parked((r"block \d+", "index_block_hash")), "index_block_hash", text)
    with_field(Parked((r"block \d+ \(0x", "burn_block_hash")), "burn_block_hash", text)
with_field(Parked(("index_block_hash",)), "index_block_hash", 7)


@parked("a block that is its own parent", r"block \d+ \(0x", "own parent")
def _(block: Block) -> Posts:
    return new_block(posted(block) | {"parent_index_block_hash": hex_of(block.hash)})


for height in (0, 1, 10**6, (1 << 63) - 1):
    with_field(Left("wrong_height", r"height"), "block_height", height)


@case("blocks that are each other's parent", Left("wrong_height", "height"))
def _(block: Block) -> Posts:
    first, second = toy.block(block, branch="first"), toy.block(block, branch="second")
    low = posted(first) | {"parent_index_block_hash": hex_of(second.hash)}
    high = posted(second) | {"parent_index_block_hash": hex_of(first.hash), "block_height": first.height + 1}
    return [*new_block(low), *new_block(high)]


@case("a block that comes again", Taken())
def _(block: Block) -> Posts:
    return new_block(posted(block)) * 3


@case("the hash of another block: the first that came counts", Noted("contradiction", "parent"))
def _(block: Block) -> Posts:
    lie = posted(block) | {"parent_index_block_hash": hex_of(bytes(32)), "block_height": block.height + 5}
    return [*new_block(posted(block)), *new_block(lie)]


# Transactions

in_transaction(Parked((r"block \d+", "transaction 0x", "status")), "status", "maybe")
in_transaction(Parked(("txid",)), "txid", "0x12")
in_transaction(Parked((r"block \d+", "transaction 0x", "raw_tx")), "raw_tx", "0xzz")
in_transaction(Parked(("raw_tx",)), "raw_tx", None)
in_transaction(Parked((r"block \d+", "transaction 0x", "raw_result")), "raw_result", "0x1")
for index in (-1, 1 << 31, "0", 0.5):
    in_transaction(Parked((r"block \d+", "tx_index")), "tx_index", index)
for raw in ("0x", "0x" + "ff" * 200, hex_of(signed_call(1).encode()[:-1]), hex_of(signed_call(1).encode() + b"\x00")):
    in_transaction(Noted("undecodable_transaction", ""), "raw_tx", raw)
in_transaction(Taken(), "vm_error", "Runtime \x00 error")


@parked("a transaction that is there twice", r"block \d+", "tx_index 0")
def _(block: Block) -> Posts:
    payload = posted(block)
    return new_block(payload | {"transactions": payload["transactions"] * 2})


@parked("two transactions in one place", r"block \d+", "tx_index 0")
def _(block: Block) -> Posts:
    payload = posted(block)
    return new_block(payload | {"transactions": [*payload["transactions"], transaction_entry(signed_call(10**9))]})


# Events

in_event(Parked(("event", "no transaction")), "txid", hex_of(bytes(32)))
in_event(Parked(("event", "no transaction")), "txid", "")
for index in (-1, 1 << 31, "0", None):
    in_event(Parked((r"block \d+", "event_index")), "event_index", index)
in_event(Parked(("contract_event is missing",)), "contract_event", None)
in_event(Parked(("contract_event",)), "contract_event", [])
in_event(Noted("unknown_event", "quantum_event"), "type", "quantum_event")
in_event(Parked(("type",)), "type", 5)
in_event(Taken(), "committed", False)


@case("gaps between the events", Taken())
def _(block: Block) -> Posts:
    return with_events(block, *(print_event("", index, clarity_tuple(toy.move("bob", 1))) for index in (3, 900)))


@parked("two events in one place", "transaction 0x", "event_index 1")
def _(block: Block) -> Posts:
    return with_events(block, *(print_event("", index, cl.UInt(1)) for index in (0, 1, 1)))


@parked("two events in one place with another's between them", "transaction 0x", "event_index 1")
def _(block: Block) -> Posts:
    payload = posted(block)
    other = transaction_entry(signed_call(10**9), tx_index=1)
    ids = payload["transactions"][0]["txid"], other["txid"], payload["transactions"][0]["txid"]
    payload["transactions"].append(other)
    return new_block(payload | {"events": [print_event(tx_id, 1, cl.UInt(0)) for tx_id in ids]})


def print_of(contract: str) -> Callable[[Block], Posts]:
    return lambda block: with_events(block, print_event("", 0, cl.UInt(1), contract=contract))


case("a contract named with a zero byte", Parked((r"/new_block stacks block \d+ \(0x", "0x00")))(
    print_of("SP000\x00.nul")
)
case("a contract with a long name", Parked((r"/new_block block \d+ \(0x", "length <= 512")))(print_of("a" * 1_000_000))

for amount in (-1, 5, None):
    transferred(Parked(("amount",)), amount)
for amount in ("", "-1", "+1", " 1", "1e3", "0x10", "1.0", "\u0661", str(1 << 128), "9" * 40, "9" * 10_000):
    transferred(Parked((r"block \d+", "transaction 0x", "stx_transfer_event", "128 bits")), amount)
transferred(Taken(), str((1 << 128) - 1))

# Clarity values: senders and contracts decide about them, so they stop nothing

UNDECODABLE = Noted("unknown_event", "")
LIST, TUPLE, ASCII, UTF8, PRINCIPAL = b"\x0b", b"\x0c", b"\x0d", b"\x0e", b"\x05"
printed(UNDECODABLE, "nothing", b"")
printed(UNDECODABLE, "an unknown type", b"\xff")
printed(UNDECODABLE, "half an integer", b"\x01" + bytes(15))
printed(UNDECODABLE, "more than a value", cl.encode(cl.UInt(1)) + b"\x00")
printed(UNDECODABLE, "a list of four billion", LIST + b"\xff\xff\xff\xff")
printed(UNDECODABLE, "a list of a million nothings", LIST + (10**6).to_bytes(4, "big"))
printed(UNDECODABLE, "a buffer of four gigabytes", b"\x02\xff\xff\xff\xff")
printed(UNDECODABLE, "a tuple of four billion", TUPLE + b"\xff\xff\xff\xff")
printed(UNDECODABLE, "300 lists in each other", (LIST + b"\x00\x00\x00\x01") * 300 + b"\x03")
printed(UNDECODABLE, "100 000 lists in each other", (LIST + b"\x00\x00\x00\x01") * DEEP + b"\x03")
printed(UNDECODABLE, "100 000 optionals in each other", b"\x0a" * DEEP + b"\x03")
printed(UNDECODABLE, "an address of no version", PRINCIPAL + b"\xff" + bytes(20))
printed(UNDECODABLE, "a name in a tuple twice", TUPLE + b"\x00\x00\x00\x02" + b"\x01a\x03" * 2)
printed(UNDECODABLE, "a name that is none", TUPLE + b"\x00\x00\x00\x01" + b"\x01\x00\x03")

# Of texts only their length is looked at when they are stored; whoever wants to know what they say finds out.
printed(Noted("unknown_topic", ""), "a text of other letters", ASCII + b"\x00\x00\x00\x01\xe4")
printed(Noted("unknown_topic", ""), "invalid UTF-8", UTF8 + b"\x00\x00\x00\x02\xff\xfe")
printed(Noted("unknown_topic", ""), "a surrogate in UTF-8", UTF8 + b"\x00\x00\x00\x03\xed\xa0\x80")
printed(Noted("unknown_topic", ""), "a NUL in a text", cl.encode(cl.StringUtf8("a\x00b")))
printed(
    Noted("undecodable_event", "account.moved"),
    "invalid UTF-8 in a field",
    cl.encode(
        cl.Tuple(
            {
                "topic": cl.StringAscii("account.moved"),
                "owner": cl.StringUtf8("owner"),
                "balance-after": cl.UInt(1),
            }
        )
    ).replace(b"\x05owner\x0e\0\0\0\x05owner", b"\x05owner\x0e\0\0\0\x05own\xffr"),
)
printed(
    Noted("undecodable_event", "account.moved"),
    "a field of another type",
    cl.encode(cl.Tuple({"topic": cl.StringAscii("account.moved"), "owner": cl.UInt(1), "balance-after": cl.UInt(1)})),
)
printed(
    Noted("undecodable_event", "account.moved"),
    "a field that is not known",
    cl.encode(
        cl.Tuple(
            {
                "topic": cl.StringAscii("account.moved"),
                "owner": cl.StringAscii("a"),
                "balance-after": cl.UInt(1),
                "more": cl.UInt(1),
            }
        )
    ),
)

# Other posts


def at(path: str, name: str, outcome: Outcome, content: Any) -> None:
    sent = content if isinstance(content, bytes) else body(content)
    case(f"{path} {name}", outcome)(lambda block: [(path, sent)])


def burn(**fields: Any) -> Payload:
    return burn_payload(toy.burn_block(1)) | fields


for path in ("/new_burn_block", "/new_mempool_tx", "/drop_mempool_tx"):
    at(path, "nothing", Parked((f"{path}: not JSON",)), b"")
    at(path, "no end of brackets", Parked((f"{path}: .*Expected|not JSON",)), b"[" * DEEP)
at("/new_burn_block", "a list", Parked(("Expected `object`",)), [])
at("/new_burn_block", "a height below zero", Parked(("burn_block_height",)), burn(burn_block_height=-1))
at("/new_burn_block", "a height without end", Parked(("burn_block_height",)), burn(burn_block_height=1 << 63))
at(
    "/new_burn_block",
    "half a hash",
    Parked(("block 1", "burn_block_hash", "16")),
    burn(burn_block_hash="0x" + "ab" * 16),
)
at("/new_burn_block", "half a parent", Parked(("parent_burn_block_hash",)), burn(parent_burn_block_hash="0xab"))
at("/new_burn_block", "its own parent", Parked(("own parent",)), burn(parent_burn_block_hash=burn()["burn_block_hash"]))
at("/new_mempool_tx", "an object", Parked(("Expected `array`",)), {})
at("/new_mempool_tx", "numbers", Parked(("Expected `str`",)), [1])
at("/new_mempool_tx", "no hexadecimal", Parked((r"\[1\]",)), ["0x00", "0xgg"])
at("/new_mempool_tx", "rubbish", Left(), ["0xdeadbeef"])
at("/drop_mempool_tx", "half an id", Parked((r"dropped_txids\[0\]",)), {"dropped_txids": ["0x12"], "reason": "stale"})
at("/drop_mempool_tx", "no reason", Parked(("reason",)), {"dropped_txids": []})
at("/drop_mempool_tx", "of what nobody has", Left(), {"dropped_txids": [hex_of(bytes(32))], "reason": "stale"})
at("/drop_mempool_tx", "a NUL", Parked(("NUL",)), {"dropped_txids": [hex_of(bytes(32))], "reason": "a\x00"})
at("/nowhere", "rubbish", Left(), b"\xff" * 1000)


class Index:
    """An index service in a process of its own, and the chain it was told."""

    def __init__(self, url: str, connection: psycopg.Connection[Any], client: httpx.Client) -> None:
        self.url = url
        self.connection = connection
        self.client = client
        self.tip: Block | None = None
        self.names = 0
        self.known: dict[bytes, Block] = {}
        self.good()

    def post(self, path: str, content: bytes) -> None:
        answer = self.client.post(f"{self.url}{path}", content=content)
        assert answer.status_code == 200, answer.text

    def next(self) -> Block:
        """A block on the tip that nobody has heard of."""
        self.names += 1
        block = toy.block(self.tip, branch=f"block {self.names}")
        self.known[block.hash] = block
        return block

    def good(self) -> None:
        """The next good block comes and is indexed."""
        self.tip = self.next()
        self.post("/new_block", body(posted(self.tip)))
        self.wait_for_tip()

    def wait_for_tip(self) -> None:
        assert self.tip is not None
        self.connection.execute("LISTEN clarion")
        while self.connection.execute("SELECT hash FROM clarion.cursor").fetchone() != (self.tip.hash,):
            assert list(self.connection.notifies(timeout=DEADLINE_SECONDS, stop_after=1)), (
                "the good block is not indexed"
            )

    def failed(self) -> list[tuple[bytes, str]]:
        return self.connection.execute("SELECT body, coalesce(error, '') FROM clarion.inbox ORDER BY id").fetchall()

    def anomalies(self) -> list[tuple[str, str]]:
        return self.connection.execute("SELECT kind, detail FROM clarion.anomaly ORDER BY kind, detail").fetchall()

    def canonical(self) -> list[tuple[int, bytes]]:
        return self.connection.execute("SELECT height, hash FROM clarion.canonical_block ORDER BY height").fetchall()

    def begin(self) -> None:
        """Clear what was put aside, and go on from the tip: one case that fails does not take others with it."""
        ((tip,),) = self.connection.execute("SELECT hash FROM clarion.cursor")
        self.tip = self.known[tip]
        self.connection.execute("DELETE FROM clarion.inbox")
        self.connection.execute("DELETE FROM clarion.anomaly")


@pytest.fixture(scope="module")
def index(postgres_url: str, template_database: str) -> Iterator[Index]:
    database_url = with_database(postgres_url, f"{template_database}_bad_input")
    create_database(database_url, template=template_database)
    with connect(database_url, autocommit=True) as connection, httpx.Client(timeout=DEADLINE_SECONDS) as client:
        toy.create_tables(connection)
        process = subprocess.Popen(
            [sys.executable, index_process.__file__, database_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield Index(process.stdout.readline().strip(), connection, client)
        finally:
            process.kill()
            process.communicate()
    drop_database(database_url)


@pytest.mark.parametrize("case", CASES, ids=lambda case: re.sub(r"[^\w,.'() -]", "?", case.name, flags=re.ASCII))
def test_bad_input(case: Case, index: Index) -> None:
    index.begin()
    before = index.canonical()
    block = index.next()
    posts = case.posts(block)
    for path, content in posts:
        index.post(path, content)
    counts = isinstance(case.outcome, Taken | Noted)
    if counts:
        index.tip = block
    index.good()

    assert index.tip is not None
    added = [(block.height, block.hash)] if counts else []
    assert index.canonical() == [*before, *added, (index.tip.height, index.tip.hash)]
    failed, anomalies = index.failed(), index.anomalies()
    if isinstance(case.outcome, Parked):
        ((content, error),) = failed
        assert content == posts[-1][1]
        for reason in case.outcome.reasons:
            assert re.search(reason, error), error
    else:
        assert failed == []
    if isinstance(case.outcome, Noted | Left) and case.outcome.kind is not None:
        (kind, detail), *_ = anomalies
        assert kind == case.outcome.kind
        assert re.search(case.outcome.detail, detail), detail
    else:
        assert anomalies == []


# What a node answers when it is asked for a block


def replayed(block: Block) -> Payload:
    """What ``/v3/blocks/replay`` answers for a block without transactions."""
    assert block.burn is not None
    return {
        "block_id": block.hash.hex(),
        "block_hash": str(block.extra["block_hash"]).removeprefix("0x"),
        "block_height": block.height,
        "parent_block_id": block.ref.parent_hash.hex(),
        "consensus_hash": toy.consensus_hash(block.burn).hex(),
        "timestamp": block.time,
        "transactions": [],
    }


ASKED = toy.block(None)
SORTITION = [{"burn_block_hash": hex_of(bytes(32)), "burn_block_height": 1}]
GOOD = replayed(ASKED)
ANOTHER = replayed(toy.block(None, branch="another"))
TRANSACTION = {
    "txid": signed_call(1).txid.hex(),
    "tx_index": 0,
    "hex": signed_call(1).encode().hex(),
    "result_hex": "0x0703",
    "post_condition_aborted": False,
    "events": [],
}


@pytest.mark.parametrize(
    ("answer", "sortition", "complaint"),
    [
        pytest.param(b"", SORTITION, "/v3/blocks/replay: not JSON", id="nothing"),
        pytest.param(b"<html>busy</html>", SORTITION, "/v3/blocks/replay: not JSON", id="a page"),
        pytest.param(body(GOOD)[:-20], SORTITION, "/v3/blocks/replay", id="half an answer"),
        pytest.param(b"[" * DEEP, SORTITION, "/v3/blocks/replay", id="no end of brackets"),
        pytest.param(
            body(GOOD)[:-1] + b', "new": ' + b"[" * DEEP + b"]" * DEEP + b"}", SORTITION, "recursion", id="deep nesting"
        ),
        pytest.param(GOOD | {"block_height": -1}, SORTITION, "block_height", id="a height below zero"),
        pytest.param(GOOD | {"block_height": "1"}, SORTITION, "block_height", id="a height that is a text"),
        pytest.param(GOOD | {"block_id": "ab" * 31}, SORTITION, "31", id="half a hash"),
        pytest.param(ANOTHER, SORTITION, "was asked for block 0x.* and gave", id="another block"),
        pytest.param(GOOD | {"block_id": "ab" * 32}, SORTITION, "those of another block", id="another block's header"),
        pytest.param(GOOD | {"parent_block_id": GOOD["block_id"]}, SORTITION, "own parent", id="its own parent"),
        pytest.param(GOOD | {"transactions": {}}, SORTITION, "transactions", id="transactions of another type"),
        pytest.param(
            GOOD | {"transactions": [TRANSACTION | {"hex": "0xz"}]}, SORTITION, "block 1 .*raw_tx", id="no hexadecimal"
        ),
        pytest.param(
            GOOD | {"transactions": [TRANSACTION, TRANSACTION]}, SORTITION, "block 1 .*tx_index 0", id="twice"
        ),
        pytest.param(GOOD, [], "/v3/sortitions", id="no sortition"),
        pytest.param(GOOD, {}, "/v3/sortitions.*Expected `array`", id="a sortition of another shape"),
        pytest.param(GOOD, b"[{", "/v3/sortitions/.*: not JSON", id="half a sortition"),
        pytest.param(
            GOOD, [SORTITION[0] | {"burn_block_hash": "0x00"}], "/v3/sortitions.*32 bytes", id="a sortition's hash"
        ),
    ],
)
async def test_a_bad_answer_of_a_node_is_an_error_that_says_what_is_wrong(
    answer: Any, sortition: Any, complaint: str
) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        said = sortition if request.url.path.startswith("/v3/sortitions") else answer
        return httpx.Response(200, content=said if isinstance(said, bytes) else body(said))

    async with NodeClient("http://node", transport=httpx.MockTransport(respond)) as node:
        with pytest.raises((NodeError, PayloadError)) as raised:
            await node.block(ASKED.hash)
    assert re.search(complaint, str(raised.value)), raised.value


async def test_a_good_answer_of_a_node_is_a_block() -> None:
    """Otherwise the test above could not fail."""

    def respond(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body(SORTITION if "sortitions" in request.url.path else GOOD))

    async with NodeClient("http://node", transport=httpx.MockTransport(respond)) as node:
        block = await node.block(ASKED.hash)
    assert block is not None
    assert block.ref == ASKED.ref


# Recorded files


def test_a_recording_with_every_kind_of_bad_post(tmp_path: Path, database_url: str) -> None:
    """What cannot be read is counted with its line, and the good blocks around it are indexed."""
    first = toy.block(None)
    second = toy.block(first)
    lines = [("/new_block", body(posted(first)))]
    of = []
    for case in CASES:
        for path, content in case.posts(toy.block(first, branch=case.name)):
            if not {b"\n", b"\t", b"\r"} & {content[at : at + 1] for at in range(min(len(content), 1000))}:
                lines.append((path, content.replace(b"\\", b"\\\\")))
                of.append((len(lines), case))
    third = toy.block(second, branch="after")
    lines += [("/new_block", body(posted(second))), ("/new_block", body(posted(third)))]
    file = tmp_path / "recording.tsv"
    file.write_bytes(
        b"".join(b"%d\tnow\t%s\t%s\n" % (number, path.encode(), said) for number, (path, said) in enumerate(lines))
    )
    with connect(database_url, autocommit=True) as connection:
        toy.create_tables(connection)
        found = replay(file, database_url, [toy.deployed()])
        tip = connection.execute("SELECT hash FROM clarion.cursor").fetchone()
        assert tip == (third.hash,)
    assert found.posts == len(lines)
    told = {int(complaint.partition("line ")[2].partition(":")[0]) for complaint in found.undecodable}
    assert told >= {line for line, case in of if isinstance(case.outcome, Parked)}
