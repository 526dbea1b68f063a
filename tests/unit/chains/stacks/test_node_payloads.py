from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import toy
from support.node_posts import (
    block_payload,
    body,
    burn_payload,
    hex_of,
    moves_payload,
    print_event,
    signed_call,
    transaction_entry,
)

from clarion.chains.model import Block, BurnBlock, Event, EventKind, TransactionStatus
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.node_payloads import (
    MempoolDrop,
    PayloadError,
    decode_drop_mempool_tx,
    decode_new_block,
    decode_new_burn_block,
    decode_new_mempool_tx,
    decode_post,
    decode_replayed_block,
    decode_sortition,
    replayed_consensus_hash,
)
from clarion.chains.stacks.payloads import SmartContract, TokenTransfer
from clarion.chains.stacks.recording import read_recording
from clarion.chains.stacks.structure import MAX_TOPIC_CHARACTERS

PLACE = toy.block(None)
assert PLACE.burn is not None
CONSENSUS_HASH = toy.consensus_hash(PLACE.burn).hex()
CALL = signed_call(7)
TXID = hex_of(CALL.txid)
TOKEN = f"{toy.DEPLOYER}.token"
ASSET = f"{TOKEN}::coin"
OTHER = "ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG"


def block_of(*events: dict[str, Any], **fields: Any) -> Block:
    return decode_new_block(body(block_payload(PLACE, [transaction_entry(CALL)], events, **fields)))


def asset_event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"txid": TXID, "event_index": 0, "committed": True, "type": kind, kind: fields}


def one_event(event: dict[str, Any]) -> Event:
    (decoded,) = block_of(event).events
    return decoded


def recorded(path: Path) -> Counter[str]:
    counts: Counter[str] = Counter()
    for post in read_recording(path):
        for item in decode_post(post.path, post.body):
            counts[type(item).__name__] += 1
            if isinstance(item, Block):
                counts["transactions"] += len(item.transactions)
                counts["events"] += len(item.events)
                counts.update(event.kind.value for event in item.events)
                counts.update(tx.status.value for tx in item.transactions)
                counts["undecodable"] += sum(tx.decode_error is not None for tx in item.transactions)
    return counts


def test_a_block_of_2021_to_2023_and_of_nakamoto_is_read_whole(chain_data: Path) -> None:
    four_forks = recorded(chain_data / "stacks/mainnet-2021-four-forks.tsv")
    assert (four_forks["Block"], four_forks["BurnBlock"]) == (50, 96)
    assert (four_forks["transactions"], four_forks["events"], four_forks["print"]) == (107, 58, 1)
    assert (four_forks["stx_transfer"], four_forks["stx_lock"]) == (49, 8)

    many_events = recorded(chain_data / "stacks/mainnet-2023-585-events.tsv")
    assert (many_events["Block"], many_events["transactions"], many_events["events"]) == (2, 126, 1170)
    assert (many_events["print"], many_events["abort_by_post_condition"]) == (74, 4)
    assert (many_events["ft_transfer"], many_events["nft_mint"], many_events["stx_burn"]) == (326, 4, 10)

    nakamoto = recorded(chain_data / "stacks/nakamoto-2025.tsv")
    assert (nakamoto["Block"], nakamoto["BurnBlock"]) == (13, 4)
    assert (nakamoto["MempoolEntry"], nakamoto["MempoolDrop"]) == (11, 1)
    assert (nakamoto["transactions"], nakamoto["events"], nakamoto["stx_transfer"]) == (16, 9, 9)
    for counts in (four_forks, many_events, nakamoto):
        assert counts["undecodable"] == counts["unknown"] == 0


def test_what_a_real_node_decoded_itself_is_what_is_decoded_here(chain_data: Path) -> None:
    """Nodes of 2021 to 2023 also sent each printed value in JSON, with the type at every value."""
    compared = 0
    for name in ("mainnet-2021-four-forks.tsv", "mainnet-2023-585-events.tsv"):
        for post in read_recording(chain_data / "stacks" / name):
            if post.path != "/new_block":
                continue
            block = decode_new_block(post.body)
            prints = [event.value for event in block.events if event.kind is EventKind.PRINT]
            told = [
                event["contract_event"]["value"]
                for event in sorted(json.loads(post.body)["events"], key=lambda event: event["event_index"])
                if event["type"] == "contract_event"
            ]
            for value, by_node in zip(prints, told, strict=True):
                assert_same(value, by_node)
                compared += 1
    assert compared == 75


def assert_same(ours: Any, by_node: Any) -> None:
    """Compare with the node's own JSON: ``{"UInt": 5}``, ``{"Tuple": {"data_map": {..}}}`` and so on."""
    if by_node == {"Optional": {"data": None}}:
        assert ours is None
        return
    ((kind, inside),) = by_node.items() if isinstance(by_node, dict) else ((type(by_node).__name__, by_node),)
    match kind:
        case "Tuple":
            assert ours.keys() == inside["data_map"].keys()
            for name, field in inside["data_map"].items():
                assert_same(ours[name], field)
        case "UInt" | "Int":
            # What recorded these files went through JavaScript, whose large numbers are rounded.
            assert float(ours) == float(inside)
        case "bool" | "Bool":
            assert ours is inside
        case "Sequence":
            ((form, held),) = inside.items()
            if form == "Buffer":
                assert ours == "0x" + bytes(held["data"]).hex()
            elif form == "String":
                ((encoding, characters),) = held.items()
                data = characters["data"]
                expected = (
                    bytes(data).decode("ascii") if encoding == "ASCII" else "".join(bytes(c).decode() for c in data)
                )
                assert ours == expected
            else:
                assert form == "List"
                for one, other in zip(ours, held["data"], strict=True):
                    assert_same(one, other)
        case "Optional":
            assert_same(ours, inside["data"])
        case "Response":
            assert_same(ours["ok" if inside["committed"] else "err"], inside["data"])
        case "Principal":
            ((form, held),) = inside.items()
            version, raw = held["issuer"] if form == "Contract" else held
            address = str(cl.StandardPrincipal(version, bytes(raw)))
            assert ours == (f"{address}.{held['name']}" if form == "Contract" else address)
        case _:
            raise AssertionError(f"the node said {by_node!r}")


def test_events_are_ordered_and_numbered_within_their_transaction() -> None:
    second = signed_call(8)
    transactions = [transaction_entry(second, 1), transaction_entry(CALL, 0)]
    numbers = {5: CALL, 2: CALL, 9: second, 7: second, 3: CALL}
    events = [print_event(hex_of(by.txid), event_index, cl.UInt(event_index)) for event_index, by in numbers.items()]
    block = decode_new_block(body(block_payload(PLACE, transactions, events)))
    assert [tx.id for tx in block.transactions] == [CALL.txid, second.txid]
    assert [(event.tx_index, event.index, event.value) for event in block.events] == [
        (0, 0, 2),
        (0, 1, 3),
        (0, 2, 5),
        (1, 0, 7),
        (1, 1, 9),
    ]


@pytest.mark.parametrize(
    ("printed", "topic"),
    [
        ({"topic": "a", "event": "b", "action": "c", "notification": "d"}, "a"),
        ({"event": "b", "action": "c", "notification": "d"}, "b"),
        ({"action": "c", "notification": "d"}, "c"),
        ({"notification": "d"}, "d"),
        ({"other": "e"}, "print"),
        ({"topic": 5, "event": "b"}, "b"),
        ({"topic": "t" * MAX_TOPIC_CHARACTERS}, "t" * MAX_TOPIC_CHARACTERS),
        ({"topic": "t" * (MAX_TOPIC_CHARACTERS + 1)}, "print"),
        ({"topic": "nul \x00", "event": "b"}, "b"),
    ],
)
def test_a_printed_tuple_names_its_topic(printed: dict[str, Any], topic: str) -> None:
    fields = {
        name: cl.StringUtf8(value) if isinstance(value, str) else cl.UInt(value) for name, value in printed.items()
    }
    event = one_event(print_event(TXID, 0, cl.Tuple(fields)))
    assert (event.kind, event.topic, event.contract) == (EventKind.PRINT, topic, toy.CONTRACT)
    assert event.raw == cl.encode(cl.Tuple(fields))


def test_what_is_no_tuple_has_the_topic_print() -> None:
    event = one_event(print_event(TXID, 0, cl.Some(cl.UInt(5))))
    assert (event.topic, event.value) == ("print", 5)


@pytest.mark.parametrize(
    ("posted", "kind", "contract", "value"),
    [
        (
            asset_event("stx_transfer_event", sender=toy.DEPLOYER, recipient=OTHER, amount="5", memo="6869"),
            EventKind.STX_TRANSFER,
            None,
            {"sender": toy.DEPLOYER, "recipient": OTHER, "amount": 5, "memo": "0x6869"},
        ),
        (
            asset_event("stx_transfer_event", sender=toy.DEPLOYER, recipient=OTHER, amount="5"),
            EventKind.STX_TRANSFER,
            None,
            {"sender": toy.DEPLOYER, "recipient": OTHER, "amount": 5, "memo": None},
        ),
        (
            asset_event("stx_mint_event", recipient=OTHER, amount="5"),
            EventKind.STX_MINT,
            None,
            {"recipient": OTHER, "amount": 5},
        ),
        (
            asset_event("stx_burn_event", sender=OTHER, amount="5"),
            EventKind.STX_BURN,
            None,
            {"sender": OTHER, "amount": 5},
        ),
        (
            asset_event("stx_lock_event", locked_amount="5", unlock_height="9", locked_address=OTHER),
            EventKind.STX_LOCK,
            None,
            {"locked_address": OTHER, "locked_amount": 5, "unlock_height": 9, "contract_identifier": None},
        ),
        (
            asset_event("ft_transfer_event", asset_identifier=ASSET, sender=toy.DEPLOYER, recipient=OTHER, amount="5"),
            EventKind.FT_TRANSFER,
            TOKEN,
            {"asset": ASSET, "sender": toy.DEPLOYER, "recipient": OTHER, "amount": 5},
        ),
        (
            asset_event("ft_mint_event", asset_identifier=ASSET, recipient=OTHER, amount=str(2**128 - 1)),
            EventKind.FT_MINT,
            TOKEN,
            {"asset": ASSET, "sender": None, "recipient": OTHER, "amount": 2**128 - 1},
        ),
        (
            asset_event("ft_burn_event", asset_identifier=ASSET, sender=OTHER, amount="0"),
            EventKind.FT_BURN,
            TOKEN,
            {"asset": ASSET, "sender": OTHER, "recipient": None, "amount": 0},
        ),
        (
            asset_event("nft_mint_event", asset_identifier=ASSET, recipient=OTHER, raw_value="0x0d0000000161"),
            EventKind.NFT_MINT,
            TOKEN,
            {"asset": ASSET, "sender": None, "recipient": OTHER, "value": "a"},
        ),
    ],
)
def test_asset_events(posted: dict[str, Any], kind: EventKind, contract: str | None, value: dict[str, Any]) -> None:
    event = one_event(posted)
    assert (event.kind, event.topic, event.contract, event.value) == (kind, kind.value, contract, value)


def test_an_event_of_a_type_that_did_not_exist_is_kept_as_it_came() -> None:
    new = asset_event("stx_teleport_event", amount="5", ratio=0.5, note="nul \x00")
    known = asset_event("stx_burn_event", sender=OTHER, amount="5") | {"event_index": 1}
    unknown, burn = block_of(new, known).events
    assert (unknown.kind, unknown.topic) == (EventKind.UNKNOWN, "stx_teleport_event")
    assert unknown.value == {"amount": "5", "ratio": "0.5", "note": "nul \\0"}
    assert (burn.kind, burn.index) == (EventKind.STX_BURN, 1)


@pytest.mark.parametrize("kind", ["contract_event", "nft_mint_event"])
def test_a_value_that_cannot_be_decoded_is_kept_as_it_came(kind: str) -> None:
    fields = (
        {"contract_identifier": TOKEN, "topic": "print"} if kind == "contract_event" else {"asset_identifier": ASSET}
    )
    event = one_event(asset_event(kind, raw_value="0xff00", **fields))
    assert (event.kind, event.topic, event.contract, event.raw) == (EventKind.UNKNOWN, kind, TOKEN, b"\xff\x00")
    assert isinstance(event.value, dict)
    assert "at byte 0" in str(event.value["undecodable"])


def test_events_that_were_not_committed_are_left_out() -> None:
    assert block_of(print_event(TXID, 0, cl.UInt(5)) | {"committed": False}).events == ()


def test_a_transaction_says_who_called_what() -> None:
    (tx,) = block_of().transactions
    assert (tx.id, tx.index, tx.kind, tx.status) == (CALL.txid, 0, "contract_call", TransactionStatus.SUCCESS)
    assert (tx.sender, tx.sponsor, tx.nonce, tx.fee) == (toy.DEPLOYER, None, 7, 300)
    assert (tx.contract, tx.function) == (toy.CONTRACT, "move")
    assert tx.payload == {"contract": toy.CONTRACT, "function": "move", "arguments": [7]}
    assert (tx.raw, tx.result, tx.decode_error) == (CALL.encode(), bytes.fromhex("0703"), None)


def test_a_deployment_names_the_contract_it_makes() -> None:
    deployment = signed_call(1, SmartContract("bank", "(print u1)", 4))
    block = decode_new_block(body(block_payload(PLACE, [transaction_entry(deployment)])))
    (tx,) = block.transactions
    assert (tx.kind, tx.contract, tx.function) == ("smart_contract", toy.CONTRACT, None)
    assert tx.payload == {"name": "bank", "clarity_version": 4, "source": "(print u1)"}


def test_a_transfer_says_to_whom_and_how_much() -> None:
    transfer = signed_call(1, TokenTransfer(cl.principal(OTHER), 5))
    (tx,) = decode_new_block(body(block_payload(PLACE, [transaction_entry(transfer)]))).transactions
    assert tx.payload == {"recipient": OTHER, "amount": 5, "memo": "0x" + "00" * 34}


def test_every_status_of_a_node_is_known() -> None:
    for status in ("success", "abort_by_response", "abort_by_post_condition", "problematic_skipped"):
        payload = block_payload(PLACE, [transaction_entry(CALL, status=status)])
        assert decode_new_block(body(payload)).transactions[0].status == status


@pytest.mark.parametrize("cut", [1, 10, 60, -1])
def test_a_transaction_that_cannot_be_decoded_is_kept_as_it_came(cut: int) -> None:
    raw = CALL.encode()[:cut]
    (tx,) = decode_new_block(body(block_payload(PLACE, [transaction_entry(CALL, raw_tx=hex_of(raw))]))).transactions
    assert (tx.kind, tx.raw, tx.sender, tx.nonce, tx.payload) == ("undecodable", raw, None, None, None)
    assert tx.decode_error is not None
    assert tx.decode_error.startswith("at byte ")


def test_an_operation_made_on_bitcoin() -> None:
    operation = {"transfer_stx": {"sender": {"address": OTHER}, "recipient": {"address": OTHER}, "transfered_ustx": 5}}
    payload = block_payload(PLACE, [transaction_entry(CALL, raw_tx="0x00", burnchain_op=operation)])
    (tx,) = decode_new_block(body(payload)).transactions
    assert (tx.kind, tx.sender, tx.payload, tx.decode_error) == ("burn_operation", OTHER, operation, None)


@pytest.mark.parametrize("field", ["block_hash", "consensus_hash"])
def test_a_header_of_another_block_is_refused(chain_data: Path, field: str) -> None:
    """With blocks of a real node: a block's id is made of its header's hash and its consensus hash."""
    posts = [post for post in read_recording(chain_data / "stacks/nakamoto-2025.tsv") if post.path == "/new_block"]
    first, *_, last = [json.loads(post.body) for post in posts]
    assert decode_new_block(body(last)).hash == bytes.fromhex(last["index_block_hash"][2:])
    with pytest.raises(PayloadError, match=f"block {last['block_height']} .* those of another block, 0x"):
        decode_new_block(body(last | {field: first[field]}))
    # Where one of them is not told there is nothing to compare.
    assert decode_new_block(body(last | {field: None})).height == last["block_height"]


def test_a_replayed_header_of_another_block_is_refused() -> None:
    answer = replayed() | {"block_hash": "ab" * 32}
    with pytest.raises(PayloadError, match="those of another block, 0x"):
        decode_replayed_block(body(answer), PLACE.burn)


def test_a_block_before_nakamoto_has_its_bitcoin_blocks_time() -> None:
    payload = block_payload(PLACE)
    for name in ("block_time", "tenure_height", "consensus_hash"):
        del payload[name]
    block = decode_new_block(body(payload))
    assert PLACE.burn is not None
    assert block.time == PLACE.burn.time
    assert block.extra["tenure_height"] is None


def test_a_block_says_where_it_is() -> None:
    block = block_of(block_time=5)
    assert (block.ref, block.time) == (PLACE.ref, 5)
    assert PLACE.burn is not None
    assert block.burn == BurnBlock(PLACE.burn.height, PLACE.burn.hash, None, PLACE.burn.time)
    assert block.extra["tenure_height"] == 1


def broken(**fields: Any) -> bytes:
    return body(block_payload(PLACE, [transaction_entry(CALL)], [print_event(TXID, 0, cl.UInt(5))]) | fields)


@pytest.mark.parametrize(
    ("posted", "complaint"),
    [
        (b"", "not JSON"),
        (b'{"block_height": 5', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"block_height": 5, "new": ' + b"[" * 100_000, "not JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "block_height"),
        (broken(block_height="5"), r"block 5 .* at `\$\.block_height`"),
        (broken(block_height=-1), r"\$\.block_height"),
        (broken(block_height=1 << 63), r"\$\.block_height"),
        (broken(index_block_hash="0x00"), "block 1 .*index_block_hash: expected 32 bytes"),
        (broken(index_block_hash="0x" + "zz" * 32), "block 1 .*index_block_hash: .*hexadecimal"),
        (broken(parent_index_block_hash="0x" + "0 " * 32), "parent_index_block_hash"),
        (broken(parent_index_block_hash=hex_of(PLACE.hash)), "its own parent"),
        (broken(transactions=[transaction_entry(CALL, status="lost")]), f"block 1 .*{TXID}: status: .*'lost'"),
        (broken(transactions=[transaction_entry(CALL, tx_index="0")]), f"block 1 .*{TXID}.*tx_index"),
        (broken(transactions=[transaction_entry(CALL, raw_tx="0x0")]), f"{TXID}: raw_tx"),
        (broken(transactions=[transaction_entry(CALL), transaction_entry(CALL, 1)]), "twice"),
        (broken(transactions=[]), f"the block has no transaction {TXID}"),
        (broken(events=[{"txid": TXID}]), rf"{TXID}.*event_index"),
        (broken(events=[asset_event("stx_burn_event", sender=OTHER, amount="-5")]), f"{TXID}, event 0 .*'-5'"),
        (broken(events=[asset_event("stx_burn_event", sender=OTHER, amount="٣")]), "decimal digits"),
        (broken(events=[asset_event("stx_burn_event", sender=OTHER, amount=str(2**128))]), "128 bits"),
        (broken(events=[asset_event("stx_burn_event", amount="5")]), "sender"),
        (broken(events=[asset_event("stx_burn_event") | {"stx_burn_event": None}]), "stx_burn_event is missing"),
        (broken(events=[print_event(TXID, 4, cl.UInt(5)), print_event(TXID, 4, cl.UInt(6))]), "event_index 4"),
    ],
)
def test_a_payload_no_node_sends_is_refused_with_its_place(posted: bytes, complaint: str) -> None:
    with pytest.raises(PayloadError, match=complaint):
        decode_new_block(posted)


def test_every_cut_of_a_block_is_refused() -> None:
    whole = body(moves_payload(PLACE, [toy.move("alice", 5)]))
    decode_new_block(whole)
    for cut in range(len(whole)):
        with pytest.raises(PayloadError):
            decode_new_block(whole[:cut])


@given(
    st.binary(max_size=200)
    | st.text().map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    ).map(lambda value: json.dumps(value).encode())
)
def test_rubbish_is_refused_by_every_path(rubbish: bytes) -> None:
    for path in ("/new_block", "/new_burn_block", "/drop_mempool_tx"):
        with pytest.raises(PayloadError, match=f"^{path}"):
            decode_post(path, rubbish)


@given(st.lists(st.binary(max_size=400)))
def test_a_mempool_entry_is_whatever_bytes_the_node_holds(raws: list[bytes]) -> None:
    entries = decode_new_mempool_tx(body([hex_of(raw) for raw in raws]))
    assert [entry.raw for entry in entries] == raws


def test_paths_that_say_nothing_about_the_chain_give_nothing() -> None:
    for path in ("/new_microblocks", "/attachments/new", "/stackerdb_chunks", "/"):
        assert decode_post(path, b"rubbish") == []


def test_a_burn_block_with_and_without_its_parent() -> None:
    burn = toy.burn_block(5)
    assert decode_new_burn_block(body(burn_payload(burn))) == BurnBlock(5, burn.hash, burn.parent_hash)
    assert decode_new_burn_block(body(burn_payload(BurnBlock(5, burn.hash)))) == BurnBlock(5, burn.hash)


def test_mempool_entries_and_drops() -> None:
    entry, rubbish = decode_new_mempool_tx(body([hex_of(CALL.encode()), "0xff"]))
    assert (entry.tx_id, entry.raw, entry.sender, entry.nonce, entry.fee) == (
        CALL.txid,
        CALL.encode(),
        toy.DEPLOYER,
        7,
        300,
    )
    assert (rubbish.raw, rubbish.sender) == (b"\xff", None)
    drop = {"dropped_txids": [TXID], "reason": "ReplaceByFee", "new_txid": hex_of(signed_call(8).txid)}
    assert decode_drop_mempool_tx(body(drop)) == MempoolDrop((CALL.txid,), "ReplaceByFee", signed_call(8).txid)
    assert decode_drop_mempool_tx(body({"dropped_txids": [], "reason": "Problematic"})) == MempoolDrop(
        (), "Problematic", None
    )


def replayed(**fields: Any) -> dict[str, Any]:
    """The replay route's answer; a node writes its hashes without 0x, those inside events with it."""
    return {
        "block_id": PLACE.hash.hex(),
        "block_hash": str(PLACE.extra["block_hash"]).removeprefix("0x"),
        "block_height": PLACE.height,
        "parent_block_id": PLACE.ref.parent_hash.hex(),
        "consensus_hash": CONSENSUS_HASH,
        "timestamp": PLACE.time,
        "fees": 300,
        "transactions": [
            {
                "txid": CALL.txid.hex(),
                "tx_index": 0,
                "hex": CALL.encode().hex(),
                "result_hex": "0x0703",
                "post_condition_aborted": False,
                "vm_error": None,
                "events": [print_event(TXID, 1, cl.UInt(6)), print_event(TXID, 0, cl.UInt(5))],
                **fields,
            }
        ],
    }


def test_a_replayed_block_is_the_posted_one() -> None:
    posted = block_of(print_event(TXID, 8, cl.UInt(6)), print_event(TXID, 3, cl.UInt(5)))
    fetched = decode_replayed_block(body(replayed()), posted.burn)
    assert (fetched.ref, fetched.time, fetched.burn) == (posted.ref, posted.time, posted.burn)
    assert (fetched.transactions, fetched.events) == (posted.transactions, posted.events)
    assert fetched.extra["block_hash"] == posted.extra["block_hash"]
    assert fetched.extra.keys() == posted.extra.keys()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "success"),
        ({"result_hex": "0x0803"}, "abort_by_response"),
        ({"result_hex": "0x0703", "post_condition_aborted": True}, "abort_by_post_condition"),
        ({"result_hex": "0x03"}, "success"),
    ],
)
def test_a_replayed_transaction_ended_as_its_result_says(fields: dict[str, Any], status: str) -> None:
    (tx,) = decode_replayed_block(body(replayed(**fields)), None).transactions
    assert tx.status == status


def test_the_bitcoin_block_of_a_consensus_hash() -> None:
    assert replayed_consensus_hash(body(replayed())) == CONSENSUS_HASH
    burn = toy.burn_block(5)
    answer = [{"burn_block_hash": hex_of(burn.hash), "burn_block_height": 5, "was_sortition": True}]
    assert decode_sortition(body(answer), "ab" * 20) == BurnBlock(5, burn.hash)
    answer[0]["burn_header_timestamp"] = 1_700_000_000
    assert decode_sortition(body(answer), "ab" * 20) == BurnBlock(5, burn.hash, time=1_700_000_000)
    with pytest.raises(PayloadError, match="no sortition"):
        decode_sortition(b"[]", "ab" * 20)
    answer[0]["consensus_hash"] = "0x" + "ab" * 20
    assert decode_sortition(body(answer), "ab" * 20).hash == burn.hash
    with pytest.raises(PayloadError, match="is about 0xabab"):
        decode_sortition(body(answer), "cd" * 20)
