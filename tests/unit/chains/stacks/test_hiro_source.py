"""Blocks out of the API's answers: equal to what the node's own payload gives."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from msgspec import structs
from msgspec.structs import replace
from starlette.responses import JSONResponse
from support import toy
from support.hiro_api import HiroApi
from support.node_posts import (
    block_payload,
    body,
    hex_of,
    moves_payload,
    print_event,
    signed_call,
    transaction_entry,
)

from clarion.chains.model import Block, EventKind, JsonValue
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks import hiro_source
from clarion.chains.stacks.hiro_source import HiroSource, HiroSourceError
from clarion.chains.stacks.node_payloads import NEW_BLOCK, decode_new_block
from clarion.chains.stacks.recording import read_recording
from hiro_api_client import BlockHeader, HiroApiClient, RouteMissingError

REPOSITORY = Path(__file__).parents[4]
BOOT = "SP000000000000000000002Q6VF78"
OTHER = "ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG"
DEVNET = REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst"


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hiro_source, "RETRY_SECONDS", 0.0)


def posted(path: Path) -> list[bytes]:
    return [post.body for post in read_recording(path) if post.path == NEW_BLOCK]


def client_of(api: HiroApi) -> HiroApiClient:
    return HiroApiClient("http://api", transport=httpx.ASGITransport(app=api.app), retry_seconds=0.001)


def as_the_api_tells(block: Block) -> Block:
    """A posted block without what the API does not tell, and with what it adds to the oldest payloads."""
    extra: dict[str, JsonValue] = dict(block.extra)
    extra["consensus_hash"] = None
    if extra["tenure_height"] is None:
        extra["tenure_height"] = block.height
    events = []
    for event in block.events:
        if event.kind is EventKind.STX_LOCK and isinstance(event.value, dict):
            value = event.value | {"contract_identifier": f"{BOOT}.pox"}
            event = structs.replace(event, stored_value=value)
        events.append(event)
    return replace(block, extra=extra, events=tuple(events))


def without_raw(block: Block) -> Block:
    transactions = [structs.replace(tx, raw=b"", stored_payload=tx.payload) for tx in block.transactions]
    return replace(block, transactions=tuple(transactions))


def without_poison(block: Block) -> Block:
    """A block without the headers of poisoned microblocks, which the v3 routes leave out."""
    transactions = [
        structs.replace(tx, stored_payload=None) if tx.kind == "poison_microblock" else tx for tx in block.transactions
    ]
    return replace(block, transactions=tuple(transactions))


async def equal_blocks(
    bodies: list[bytes], *, serves_many: bool = True, others: Sequence[tuple[str, bytes]] = ()
) -> list[Block]:
    """Ask for each block, with and without its transactions' bytes, and compare those that are canonical."""
    api = HiroApi([*others, *((NEW_BLOCK, post) for post in bodies)])
    api.serves_many = serves_many
    canonical = {block.hash for block in api.canonical}
    compared = []
    async with client_of(api) as client:
        source, whole = HiroSource(client), HiroSource(client, with_raw=True)
        for post in bodies:
            expected = as_the_api_tells(decode_new_block(post))
            got = await source.block(expected.hash)
            if hex_of(expected.hash) not in canonical:
                assert got is None
                continue
            assert got == (without_raw(expected) if serves_many else without_poison(without_raw(expected)))
            assert await whole.block(expected.hash) == expected
            compared.append(expected)
    in_two_branches = (
        Counter(tx.id for block in api.blocks.values() for tx in block.transactions).most_common(1)[0][1] > 1
    )
    assert (api.asked["/extended/v3/transactions/{tx_id}"] == 0) is (serves_many and not in_two_branches)
    return compared


@pytest.mark.parametrize("serves_many", [True, False])
async def test_a_mainnet_block_of_585_events(chain_data: Path, serves_many: bool) -> None:
    bodies = posted(chain_data / "stacks" / "mainnet-2023-585-events.tsv")
    (block,) = await equal_blocks(bodies[:1], serves_many=serves_many)
    assert (len(block.transactions), len(block.events)) == (63, 585)
    assert {event.kind for event in block.events} >= {EventKind.PRINT, EventKind.NFT_TRANSFER, EventKind.STX_BURN}
    assert "poison_microblock" in {tx.kind for tx in block.transactions}


@pytest.mark.parametrize("serves_many", [True, False])
async def test_nakamoto_blocks(chain_data: Path, serves_many: bool) -> None:
    blocks = await equal_blocks(posted(chain_data / "stacks" / "nakamoto-2025.tsv"), serves_many=serves_many)
    assert [block.height for block in blocks] == list(range(1, 13))
    assert {"tenure_change", "nakamoto_coinbase"} <= {tx.kind for block in blocks for tx in block.transactions}


@pytest.mark.parametrize("serves_many", [True, False])
async def test_old_mainnet_blocks_with_forks_locks_and_microblocks(chain_data: Path, serves_many: bool) -> None:
    file = chain_data / "stacks" / "mainnet-2021-four-forks.tsv"
    microblocks = [(post.path, post.body) for post in read_recording(file) if post.path == "/new_microblocks"]
    assert len(microblocks) == 3
    blocks = await equal_blocks(posted(file), serves_many=serves_many, others=microblocks)
    assert [block.height for block in blocks] == [*range(1, 48)]
    assert {"smart_contract", "coinbase", "contract_call"} <= {tx.kind for b in blocks for tx in b.transactions}
    assert EventKind.STX_LOCK in {event.kind for block in blocks for event in block.events}


async def test_the_devnet_with_prints_failures_and_a_fork() -> None:
    bodies = posted(DEVNET)[:90]
    heights = [json.loads(post)["block_height"] for post in bodies]
    assert any(later <= earlier for earlier, later in itertools.pairwise(heights))
    blocks = await equal_blocks(bodies)
    assert len(blocks) > 80
    assert {tx.status.value for block in blocks for tx in block.transactions} >= {"success", "abort_by_response"}
    assert {event.kind for block in blocks for event in block.events} >= {EventKind.PRINT, EventKind.FT_MINT}


def made(payload: dict[str, Any]) -> tuple[HiroApi, Block]:
    """An API with one block, and that block as the node says it."""
    return HiroApi([(NEW_BLOCK, body(payload))]), decode_new_block(body(payload))


@pytest.mark.parametrize("serves_many", [True, False])
async def test_a_transaction_of_more_events_than_a_page_has(serves_many: bool) -> None:
    call = signed_call(7)
    events = [print_event(hex_of(call.txid), index, cl.UInt(index)) for index in range(250)]
    api, expected = made(block_payload(toy.block(None), [transaction_entry(call)], events[::-1]))
    api.serves_many = serves_many
    async with client_of(api) as client:
        block = await HiroSource(client, with_raw=True).block(expected.hash)
    assert block is not None
    assert block.events == expected.events
    assert len(block.events) == 250
    assert block.transactions == expected.transactions


async def test_transactions_out_of_order_do_not_make_a_block() -> None:
    entries = [transaction_entry(signed_call(nonce), nonce) for nonce in range(3)]
    api, expected = made(block_payload(toy.block(None), entries))
    api.tip.transactions[1].index = 2
    async with client_of(api) as client:
        with pytest.raises(HiroSourceError, match="transactions of block 1 are not listed in their order"):
            await HiroSource(client).block(expected.hash)


async def test_what_was_done_on_bitcoin_is_told_from_transfers_and_keeps_its_place() -> None:
    moved = {"sender": toy.DEPLOYER, "recipient": OTHER, "amount": "5", "memo": ""}
    on_bitcoin = {"raw_tx": "0x00", "burnchain_op": {"transfer_stx": {"sender": {"address": toy.DEPLOYER}}}}
    left_out, kept, after = (transaction_entry(signed_call(nonce), nonce) for nonce in range(3))
    left_out |= on_bitcoin
    kept |= on_bitcoin
    transfer = {
        "txid": kept["txid"],
        "event_index": 0,
        "committed": True,
        "type": "stx_transfer_event",
        "stx_transfer_event": moved,
    }
    events = [transfer, print_event(after["txid"], 1, cl.UInt(1))]
    api, expected = made(block_payload(toy.block(None), [left_out, kept, after], events))
    async with client_of(api) as client:
        block = await HiroSource(client).block(expected.hash)
    assert block is not None
    assert block.events == expected.events
    assert [event.tx_index for event in block.events] == [1, 2]
    assert block.transactions[0] == structs.replace(expected.transactions[1], stored_payload=None)
    assert (block.transactions[0].kind, block.transactions[0].sender) == ("burn_operation", toy.DEPLOYER)
    assert block.transactions[1].index == 2


async def test_a_lock_names_the_contract_only_where_one_stacking_contract_was_at_work() -> None:
    call, plain = signed_call(1), signed_call(2)
    lock = {
        "locked_amount": "9",
        "unlock_height": "100",
        "locked_address": OTHER,
        "contract_identifier": f"{BOOT}.pox-4",
    }

    def locked(txid: str, index: int) -> dict[str, Any]:
        return {"txid": txid, "event_index": index, "committed": True, "type": "stx_lock_event", "stx_lock_event": lock}

    events = [
        locked(hex_of(call.txid), 0),
        print_event(hex_of(call.txid), 1, cl.UInt(1), contract=f"{BOOT}.pox-4"),
        locked(hex_of(plain.txid), 2),
    ]
    entries = [transaction_entry(call), transaction_entry(plain, 1)]
    api, expected = made(block_payload(toy.block(None), entries, events))
    async with client_of(api) as client:
        block = await HiroSource(client).block(expected.hash)
    assert block is not None
    assert block.events[:2] == expected.events[:2]
    told = block.events[2].value
    assert isinstance(told, dict)
    assert told["contract_identifier"] is None


def forked() -> tuple[HiroApi, Block, list[bytes]]:
    """An API with a block at its tip, that block, and the posts of a branch that takes its place."""
    first = toy.block(None)
    second = toy.block(first)
    branch = [toy.block(first, branch="other")]
    branch.append(toy.block(branch[0], branch="other"))
    posts = [(NEW_BLOCK, body(moves_payload(block, [toy.move("anna", 1)]))) for block in (first, second)]
    return HiroApi(posts), second, [body(moves_payload(block, [toy.move("ben", 2)])) for block in branch]


@pytest.mark.parametrize(
    "route", ["/extended/v3/blocks/", "/extended/v1/tx/multiple", "/raw"], ids=["transactions", "details", "bytes"]
)
async def test_a_fork_between_two_requests_is_noticed(route: str) -> None:
    api, lost, branch = forked()

    def fork(path: str) -> None:
        if route in path:
            api.before = lambda path: None
            for post in branch:
                api.post(NEW_BLOCK, post)

    async with client_of(api) as client:
        source = HiroSource(client, with_raw=True)
        assert await source.block(lost.hash) is not None
        header = await source.header(lost.hash)
        api.before = fork
        assert header is not None
        assert await source.block_of(header) is None
        winner = decode_new_block(branch[1])
        assert await source.block(winner.hash) == as_the_api_tells(winner)


async def test_a_transaction_that_is_in_both_branches_is_read_from_the_canonical_one() -> None:
    first = toy.block(None)
    lost, won = toy.block(first), toy.block(first, branch="other")
    top = toy.block(won, branch="other")
    call = signed_call(3)

    def post(block: Block, value: int) -> bytes:
        event = print_event(hex_of(call.txid), 0, cl.UInt(value))
        return body(block_payload(block, [transaction_entry(call)], [event]))

    posts = [body(block_payload(first)), post(lost, 1), post(won, 2), body(block_payload(top))]
    api = HiroApi((NEW_BLOCK, post) for post in posts)
    async with client_of(api) as client:
        source = HiroSource(client)
        assert await source.block(lost.hash) is None
        block = await source.block(won.hash)
    assert block is not None
    assert block.events == decode_new_block(posts[2]).events


async def test_blocks_on_top_of_each_other_share_requests(chain_data: Path) -> None:
    bodies = posted(chain_data / "stacks" / "nakamoto-2025.tsv")
    api = HiroApi((NEW_BLOCK, post) for post in bodies)
    expected = [as_the_api_tells(decode_new_block(post)) for post in bodies[1:]]
    async with client_of(api) as client:
        headers = (await client.blocks(limit=30)).results[::-1]
        assert await HiroSource(client).blocks_of(headers) == [without_raw(block) for block in expected]
        assert (api.asked["/extended/v3/transactions"], api.asked["/extended/v1/tx/multiple"]) == (1, 1)
        assert api.asked["/extended/v3/blocks/{block}/transactions"] == 0
        assert await HiroSource(client, with_raw=True).blocks_of(headers) == expected
        assert await HiroSource(client).blocks_of([]) == []


async def test_blocks_are_read_alone_where_they_cannot_be_read_together(chain_data: Path) -> None:
    file = chain_data / "stacks" / "mainnet-2021-four-forks.tsv"
    others = [(post.path, post.body) for post in read_recording(file) if post.path == "/new_microblocks"]
    bodies = posted(file)
    api = HiroApi([*others, *((NEW_BLOCK, post) for post in bodies)])
    by_hash = {block.hash: block for block in (as_the_api_tells(decode_new_block(post)) for post in bodies)}
    headers = [block.header() for block in api.canonical[:30]]
    headers[3]["tx_count"] = 999  # more than are listed: some could have been left out
    headers[4]["tx_count"] = None
    headers[5]["tx_count"] = 0
    async with client_of(api) as client:
        blocks = await HiroSource(client).blocks_of(msgspec.convert(headers, list[BlockHeader], strict=False))
    assert [block and block.height for block in blocks] == [*range(1, 31)]
    assert all(block == without_raw(by_hash[block.hash]) for block in blocks if block is not None)
    assert api.asked["/extended/v3/blocks/{block}/transactions"] == 3


async def test_a_fork_takes_away_the_upper_blocks_of_several() -> None:
    api, lost, branch = forked()
    async with client_of(api) as client:
        headers = (await client.blocks()).results[::-1]
        for post in branch:
            api.post(NEW_BLOCK, post)
        first, second = await HiroSource(client).blocks_of(headers)
    assert first is not None
    assert first.hash == lost.ref.parent_hash
    assert second is None


async def test_pieces_that_never_fit_are_an_error() -> None:
    api, block, _ = forked()
    api.blocks[hex_of(block.hash)].transactions[0].event_count_told = 2
    async with client_of(api) as client:
        with pytest.raises(HiroSourceError, match=r"block 2 \(0x[0-9a-f]+\) does not fit together .* has 2 events"):
            await HiroSource(client).block(block.hash)


async def test_an_api_that_no_longer_serves_bytes_is_asked_once() -> None:
    api, block, _ = forked()
    api.serves_deprecated = False
    async with client_of(api) as client:
        source = HiroSource(client, with_raw=True)
        first = await source.block(block.hash)
        second = await source.block(block.ref.parent_hash)
    assert first is not None
    assert second is not None
    assert [tx.raw for tx in (*first.transactions, *second.transactions)] == [b"", b""]
    assert [tx.sender for tx in first.transactions] == [toy.DEPLOYER]
    assert api.asked["/extended/v1/tx/{tx_id}/raw"] == 1


def mint_events(tx_id: str, asset: str, count: int) -> list[dict[str, Any]]:
    minted = {"asset_identifier": f"{toy.CONTRACT}::{asset}", "recipient": toy.DEPLOYER, "amount": "7"}
    return [
        {"txid": tx_id, "event_index": index, "committed": True, "type": "ft_mint_event", "ft_mint_event": minted}
        for index in range(count)
    ]


async def test_a_call_of_a_function_that_its_contract_lacks() -> None:
    """The API looks the function up in the contract's interface, and fails for all the transactions asked for."""
    first = toy.block(None)
    call, wrong, later = signed_call(1), signed_call(2), signed_call(3)
    posts = [
        body(
            block_payload(
                first,
                [transaction_entry(call), transaction_entry(wrong, 1)],
                [print_event(hex_of(call.txid), 0, cl.UInt(1))],
            )
        ),
        body(block_payload(toy.block(first), [transaction_entry(later)])),
    ]
    api = HiroApi((NEW_BLOCK, post) for post in posts)
    api.unknown_functions = {hex_of(wrong.txid)}
    expected = [without_raw(as_the_api_tells(decode_new_block(post))) for post in posts]
    async with client_of(api) as client:
        source = HiroSource(client)
        assert await source.blocks_of((await client.blocks()).results[::-1]) == expected
        api.asked.clear()
        assert await source.block(expected[1].hash) == expected[1]
    assert api.asked["/extended/v1/tx/multiple"] == 1, "the route is not given up for one call"
    assert api.asked["/extended/v3/transactions/{tx_id}"] == 0


@pytest.mark.parametrize("asset", ["coin", "coin_2"])
async def test_a_token_with_a_name_the_event_route_fails_for(asset: str) -> None:
    call = signed_call(1)
    api, expected = made(
        block_payload(toy.block(None), [transaction_entry(call)], mint_events(hex_of(call.txid), asset, 200))
    )
    api.serves_many, api.strict_names = False, True
    async with client_of(api) as client:
        assert await HiroSource(client).block(expected.hash) == without_raw(as_the_api_tells(expected))
    assert api.asked["/extended/v1/tx/events"] == (0 if asset == "coin" else 3)


async def test_all_deprecated_routes_switched_off(chain_data: Path) -> None:
    bodies = posted(chain_data / "stacks" / "nakamoto-2025.tsv")
    api = HiroApi((NEW_BLOCK, post) for post in bodies)
    api.serves_many = api.serves_deprecated = False
    expected = [without_raw(as_the_api_tells(decode_new_block(post))) for post in bodies[1:]]
    async with client_of(api) as client:
        headers = (await client.blocks(limit=30)).results[::-1]
        assert await HiroSource(client, with_raw=True).blocks_of(headers) == expected
    assert api.asked["/extended/v1/tx/multiple"] == 1


@pytest.mark.parametrize("route", ["/extended/v3/transactions/{}", "/extended/v3/transactions/{}/events"])
async def test_a_transaction_that_went_back_to_the_mempool(route: str) -> None:
    """There the API tells of it without a block, and refuses to list its events."""
    first = toy.block(None)
    lost = toy.block(first)
    branch = [toy.block(first, branch="other")]
    branch.append(toy.block(branch[0], branch="other"))
    call = signed_call(3)
    entry = transaction_entry(call)
    posts = [block_payload(first), block_payload(lost, [entry], [print_event(entry["txid"], 0, cl.UInt(1))])]
    api = HiroApi((NEW_BLOCK, body(post)) for post in posts)
    api.serves_many = False

    def fork(path: str) -> None:
        if path == route.format(entry["txid"]):
            api.before = lambda path: None
            for block in branch:
                api.post(NEW_BLOCK, body(block_payload(block)))

    async with client_of(api) as client:
        source = HiroSource(client)
        header = await source.header(lost.hash)
        assert header is not None
        api.before = fork
        assert await source.block_of(header) is None
        assert (await client.transaction(entry["txid"])).block is None


async def test_a_missing_route_is_not_a_missing_block() -> None:
    api, block, _ = forked()
    gone = JSONResponse({"error": "Gone", "message": "This endpoint has been disabled."}, status_code=410)
    async with client_of(api) as client:
        source = HiroSource(client)
        header = await source.header(block.hash)
        assert header is not None
        api.answers.append(gone)
        with pytest.raises(RouteMissingError, match="does not serve the route"):
            await source.header(block.hash)
        api.answers.append(gone)
        with pytest.raises(RouteMissingError, match=r"^/extended/v3/blocks/0x[0-9a-f]+/transactions: "):
            await source.block_of(header)


async def test_another_hash_of_a_block_does_not_name_it() -> None:
    api, block, _ = forked()
    header_hash = bytes.fromhex(api.blocks[hex_of(block.hash)].post["block_hash"][2:])
    async with client_of(api) as client:
        assert await HiroSource(client).block(header_hash) is None
        assert await HiroSource(client).block(bytes(32)) is None


async def test_an_empty_block() -> None:
    api, expected = made(block_payload(toy.block(None)))
    async with client_of(api) as client:
        block = await HiroSource(client).block(expected.hash)
    assert block == as_the_api_tells(expected)
    assert api.asked["/extended/v1/tx/multiple"] == 0
