"""The client against an API of version 9's shapes: routes, cursors, tags, rate limits and faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from support import toy
from support.hiro_api import HiroApi, rate_limited
from support.node_posts import (
    block_payload,
    body,
    hex_of,
    moves_payload,
    print_event,
    signed_call,
    transaction_entry,
)

from clarion.chains.model import Block
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.payloads import SmartContract
from hiro_api_client import (
    CursorLostError,
    HiroApiClient,
    HiroApiError,
    InvalidAnswerError,
    NotFoundError,
    RateLimitedError,
    RawTransaction,
    RawUnavailable,
    RequestRejectedError,
    RouteMissingError,
    ServerError,
    TransactionRejectedError,
    UnauthorizedError,
    UnreachableError,
    pages,
)

LENGTH = 75
CONTRACT = f"{toy.DEPLOYER}.shop"


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def chain() -> list[Block]:
    blocks = [toy.block(None)]
    while len(blocks) < LENGTH:
        blocks.append(toy.block(blocks[-1]))
    return blocks


@pytest.fixture(scope="module")
def blocks() -> list[Block]:
    return chain()


@pytest.fixture
def api(blocks: list[Block]) -> HiroApi:
    """An API with 75 blocks: moves in each, and in the second a deployment."""
    payloads = [moves_payload(block, [toy.move("anna", block.height)]) for block in blocks]
    deployment = signed_call(1, SmartContract("shop", "(print 1)", 3))
    interface: dict[str, list[Any]] = {"functions": [], "variables": [], "maps": []}
    payloads[1] = block_payload(
        blocks[1],
        [transaction_entry(deployment, contract_interface=interface)],
        [print_event(hex_of(deployment.txid), index, cl.UInt(index), contract=CONTRACT) for index in range(45)],
    )
    return HiroApi(("/new_block", body(payload)) for payload in payloads)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(api: HiroApi, clock: Clock) -> AsyncIterator[HiroApiClient]:
    async with connected(api, clock) as opened:
        yield opened


def connected(api: HiroApi, clock: Clock, **options: Any) -> HiroApiClient:
    return HiroApiClient(
        "http://api/",
        transport=httpx.ASGITransport(app=api.app),
        clock=clock,
        sleep=clock.sleep,
        **{"attempts": 3, "retry_seconds": 0.001} | options,
    )


def broken(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused", request=request)


async def test_status_and_its_tag(client: HiroApiClient, api: HiroApi, blocks: list[Block]) -> None:
    status = await client.status()
    assert status.server_version is not None
    assert status.chain_tip is not None
    assert status.chain_tip.block_height == LENGTH
    assert status.chain_tip.index_block_hash == hex_of(blocks[-1].hash)
    changed = await client.changed_status(None)
    assert changed is not None
    assert await client.changed_status(changed.etag) is None
    sibling = toy.block(blocks[-2], branch="other")
    api.post("/new_block", body(moves_payload(sibling)))
    assert await client.changed_status(changed.etag) is None, "a sibling is not canonical"
    api.post("/new_block", body(moves_payload(toy.block(sibling, branch="other"))))
    again = await client.changed_status(changed.etag)
    assert again is not None
    assert again.value.chain_tip is not None
    assert again.value.chain_tip.block_height == LENGTH + 1


async def test_an_api_without_blocks(clock: Clock) -> None:
    async with connected(HiroApi(), clock) as client:
        assert (await client.status()).chain_tip is None
        assert (await client.blocks()).results == []
        for _ in range(2):
            changed = await client.changed_status(None)
            assert changed is not None
            assert (changed.value.chain_tip, changed.etag) == (None, None), "without a block there is no tag"
        assert (await client.transactions()).results == []


@pytest.mark.parametrize("tip", [{}, {"chain_tip": None}])
async def test_a_status_without_a_tip(clock: Clock, tip: dict[str, Any]) -> None:
    status = {"server_version": "stacks-blockchain-api v9.0.2 (master:1164d9e)", "status": "ready"}
    async with await answered(status | tip, clock) as client:
        assert (await client.status()).chain_tip is None


async def test_a_page_that_is_too_long_is_refused(client: HiroApiClient) -> None:
    for listing, most in (
        (client.blocks, 30),
        (client.transactions, 50),
        (partial(client.contract_logs, CONTRACT), 50),
    ):
        await listing(limit=most)
        with pytest.raises(RequestRejectedError, match=f"limit must be <= {most}"):
            await listing(limit=most + 1)


async def test_blocks_by_height_hash_and_latest(client: HiroApiClient, blocks: list[Block]) -> None:
    by_height = await client.block(12)
    assert by_height.index_block_hash == hex_of(blocks[11].hash)
    assert await client.block(by_height.index_block_hash) == by_height
    assert await client.block(by_height.hash) == by_height
    assert (await client.block("latest")).height == LENGTH
    with pytest.raises(NotFoundError, match=r"/extended/v2/blocks/99: http://api answered 404: .*Block not found"):
        await client.block(99)


async def test_pages_of_the_second_version_go_both_ways(client: HiroApiClient) -> None:
    older = [page async for page in pages(client.blocks, limit=30)]
    assert [header.height for page in older for header in page.results] == [*range(LENGTH, 0, -1)]
    assert older[0].newer is None
    assert older[-1].older is None
    assert older[0].total == LENGTH
    start = older[1].results[0].index_block_hash
    newer = [page async for page in pages(client.blocks, towards="newer", limit=30, cursor=start)]
    assert [page.results[0].height for page in newer] == [45, 75]


async def test_pages_of_the_third_version_go_both_ways(client: HiroApiClient) -> None:
    older = [page async for page in pages(client.transactions, limit=50)]
    heights = [tx.block.height for page in older for tx in page.results if tx.block is not None]
    assert heights == [*range(LENGTH, 0, -1)]
    assert older[0].newer is None
    newer = [page async for page in pages(client.transactions, towards="newer", limit=50, cursor=older[0].older)]
    assert [page.results[0].block.height for page in newer if page.results[0].block] == [25, 75]


async def test_a_lost_cursor_is_told_from_a_missing_thing(
    client: HiroApiClient, api: HiroApi, blocks: list[Block]
) -> None:
    cursor = (await client.blocks(limit=1)).results[0].index_block_hash
    fork = toy.block(blocks[-2], branch="other")
    for block in (fork, toy.block(fork, branch="other")):
        api.post("/new_block", body(moves_payload(block)))
    with pytest.raises(CursorLostError, match="begin again at the newest page"):
        await client.blocks(cursor=cursor)


async def test_a_transaction_and_its_events(client: HiroApiClient, api: HiroApi) -> None:
    tx = api.canonical[1].transactions[0]
    lean = await client.transaction(tx.id[2:])
    assert (lean.type, lean.event_count, lean.result) == ("smart_contract", 45, None)
    assert lean.smart_contract is not None
    assert lean.smart_contract.source_code is None
    whole = await client.transaction(tx.id, include=("source_code", "result"))
    assert whole.smart_contract is not None
    assert whole.smart_contract.source_code == "(print 1)"
    assert whole.result is not None
    assert whole.result.hex == "0x0703"
    listed = pages(partial(client.transaction_events, tx.id), towards="newer", limit=20)
    events = [event async for page in listed for event in page.results]
    assert [event.event_index for event in events] == [*range(45)]
    assert {event.contract_log.contract_id for event in events if event.contract_log} == {CONTRACT}
    newest = await client.transaction_event_details(tx.id[2:], limit=40)
    rest = await client.transaction_event_details(tx.id, limit=40, offset=40)
    assert [event.event_index for event in (*newest, *rest)] == [*range(44, -1, -1)]
    in_block = await client.block_transactions(2)
    assert [summary.tx_id for summary in in_block.results] == [tx.id]


async def test_many_transactions_at_once(client: HiroApiClient, api: HiroApi) -> None:
    ids = [block.transactions[0].id for block in api.canonical[:50]]
    missing = hex_of(bytes(32))
    found = await client.transaction_details([*ids[:49], missing], event_limit=30)
    assert [*found] == ids[:49]
    assert len(found[ids[1]].events or ()) == 30
    assert found[ids[1]].event_count == 45
    rest = await client.transaction_details([ids[1]], event_limit=30, event_offset=30)
    assert [event.event_index for event in rest[ids[1]].events or ()] == [*range(30, 45)]
    assert await client.transaction_details([]) == {}
    with pytest.raises(ValueError, match="at most 50"):
        await client.transaction_details(ids + ids)


async def test_bytes_or_why_there_are_none(client: HiroApiClient, api: HiroApi) -> None:
    tx = api.canonical[3].transactions[0]
    assert await client.raw_transaction(tx.id) == RawTransaction(raw_tx=tx.post["raw_tx"])
    unknown = await client.raw_transaction(hex_of(bytes(32)))
    assert isinstance(unknown, RawUnavailable)
    assert unknown.reason == "no_transaction"
    api.serves_deprecated = False
    gone = await client.raw_transaction(tx.id)
    assert isinstance(gone, RawUnavailable)
    assert gone.reason == "not_served"
    api.answers.append(JSONResponse({"message": "Route GET:/extended/v1/tx/0x/raw not found"}, status_code=404))
    removed = await client.raw_transaction(tx.id)
    assert isinstance(removed, RawUnavailable)
    assert removed.reason == "not_served"


async def test_contracts_logs_and_principals(client: HiroApiClient) -> None:
    contract = await client.contract(CONTRACT)
    assert (contract.source_code, contract.clarity_version) == ("(print 1)", 3)
    assert contract.interface == {"functions": [], "variables": [], "maps": []}
    logs = [log async for page in pages(partial(client.contract_logs, CONTRACT), limit=20) for log in page.results]
    assert [log.event_index for log in logs] == [*range(44, -1, -1)]
    touched = await client.principal_transactions(toy.DEPLOYER, limit=50)
    assert touched.total == LENGTH
    assert {row.involvement for row in touched.results} == {"sender"}
    nonces = await client.principal_nonces("ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG")
    assert (nonces.next_nonce, nonces.last_confirmed_nonce) == (0, None)


async def test_burn_blocks(client: HiroApiClient, blocks: list[Block]) -> None:
    first = await client.burn_blocks(limit=30)
    assert first.total == LENGTH
    newest = first.results[0]
    assert blocks[-1].burn is not None
    assert newest.burn_block_hash == hex_of(blocks[-1].burn.hash)
    rest = await client.burn_blocks(limit=30, offset=60)
    assert len(rest.results) == LENGTH - 60
    (anchored,) = (await client.burn_block_blocks(newest.burn_block_height)).results
    assert anchored.index_block_hash == hex_of(blocks[-1].hash)


async def test_the_mempool(client: HiroApiClient, api: HiroApi) -> None:
    calls = [signed_call(nonce) for nonce in range(1000, 1003)]
    api.post("/new_mempool_tx", body([hex_of(call.encode()) for call in calls]))
    pending = [tx async for page in pages(client.mempool_transactions, limit=2) for tx in page.results]
    assert [tx.tx_id for tx in pending] == [hex_of(call.txid) for call in reversed(calls)]
    assert {tx.status for tx in pending} == {"pending"}


async def answered(content: Any, clock: Clock, *, status: int = 200) -> HiroApiClient:
    """A client of something that answers everything with ``content``."""
    encoded = content if isinstance(content, bytes) else json.dumps(content).encode()
    transport = httpx.MockTransport(lambda request: httpx.Response(status, content=encoded))
    return HiroApiClient("http://api", transport=transport, clock=clock, sleep=clock.sleep, retry_seconds=0.001)


async def test_the_shapes_of_routes_that_need_a_node(clock: Clock) -> None:
    fees = {"no_priority": 1, "low_priority": 2, "medium_priority": 3, "high_priority": 4}
    async with await answered({"all": fees, "token_transfer": fees}, clock) as client:
        assert (await client.mempool_fees()).all.high_priority == 4
    balance = {"balance": "5", "available": "5", "locked": None, "mempool": None}
    async with await answered(balance, clock) as client:
        assert (await client.stx_balance(toy.DEPLOYER)).available == "5"
    token = {"asset_identifier": f"{CONTRACT}::coin", "balance": "340282366920938463463374607431768211455"}
    cursors = {"next": "5:x", "previous": None, "current": "6:x"}
    async with await answered({"total": 2, "limit": 1, "cursor": cursors, "results": [token]}, clock) as client:
        page = await client.ft_balances(toy.DEPLOYER)
        assert (page.results[0].balance, page.older) == (token["balance"], "5:x")
    info = {"stacks_tip_height": 7, "stacks_tip": "aa", "stacks_tip_consensus_hash": "bb", "burn_block_height": 9}
    async with await answered(info | {"pox_consensus": "cc", "unanchored_tip": None}, clock) as client:
        assert (await client.node_info()).burn_block_height == 9
    account = {"balance": "0x10", "locked": "0x00", "unlock_height": 0, "nonce": 3}
    async with await answered(account, clock) as client:
        assert (await client.node_account(toy.DEPLOYER)).nonce == 3


async def test_the_shapes_of_one_transaction_in_every_release_of_version_nine(clock: Clock) -> None:
    """``src/api/schemas/v3/entities``: mined and pending, with a memo as text and as an object, with ISO times."""
    mined = {
        "tx_id": hex_of(bytes(32)),
        "sender": {"address": toy.DEPLOYER, "nonce": 0},
        "sponsor": None,
        "fee_rate": "180",
        "block": {
            "height": 2,
            "hash": hex_of(bytes(32)),
            "index_hash": hex_of(bytes(32)),
            "time": 94869287,
            "time_iso": "1973-01-03T00:14:47.000Z",
            "tx_index": 0,
        },
        "bitcoin_block": {"height": 2, "time": 94869286, "time_iso": "1973-01-03T00:14:46.000Z"},
        "status": "problematic_skipped",
        "parent_block": {"hash": hex_of(bytes(32)), "index_hash": hex_of(bytes(32))},
        "event_count": 0,
        "execution_cost": {"read_count": 0, "read_length": 0, "runtime": 0, "write_count": 0, "write_length": 0},
        "vm_error": None,
        "type": "token_transfer",
    }
    memos = [None, "0x6869", {"hex": "0x6869", "repr": "hi"}]
    for memo in memos:
        transfer = {"recipient": toy.DEPLOYER, "amount": "1", "memo": memo}
        async with await answered(mined | {"token_transfer": transfer}, clock) as client:
            told = await client.transaction(hex_of(bytes(32)))
            assert told.block is not None
            assert (told.block.time, told.status, told.vm_error) == (94869287, "problematic_skipped", None)
    pending = {name: mined[name] for name in ("tx_id", "sender", "sponsor", "fee_rate", "type")} | {
        "status": "pending",
        "receipt_time": 1,
        "receipt_block_height": 1,
        "replaced_by_tx_id": None,
        "token_transfer": {"recipient": toy.DEPLOYER, "amount": "1", "memo": None},
    }
    async with await answered(pending, clock) as client:
        assert (await client.transaction(hex_of(bytes(32)))).block is None


async def test_sending_a_transaction(clock: Clock) -> None:
    call = signed_call(1)
    async with await answered(call.txid.hex(), clock) as client:
        assert await client.send_transaction(call.encode()) == hex_of(call.txid)
    refusal = {"error": "transaction rejected", "reason": "BadNonce", "reason_data": {"expected": 2}, "txid": "ab"}
    async with await answered(refusal, clock, status=400) as client:
        with pytest.raises(TransactionRejectedError, match=r"refused transaction ab: BadNonce") as refused:
            await client.send_transaction(call.encode())
        assert (refused.value.reason, refused.value.data) == ("BadNonce", {"expected": 2})
    async with await answered(b"Failed to decode", clock, status=400) as client:
        with pytest.raises(TransactionRejectedError, match="undecodable"):
            await client.send_transaction(b"\x00")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (PlainTextResponse("no", status_code=400), RequestRejectedError, "check the arguments"),
        (PlainTextResponse("no", status_code=401), UnauthorizedError, "check the API key"),
        (PlainTextResponse("no", status_code=410), RouteMissingError, "does not serve the route"),
        (PlainTextResponse("<html>"), InvalidAnswerError, "not of the documented shape"),
        (JSONResponse({"height": 1}), InvalidAnswerError, "missing required field"),
    ],
)
async def test_each_fault_has_its_error(
    client: HiroApiClient, api: HiroApi, answer: Response, error: type[HiroApiError], message: str
) -> None:
    api.answers.append(answer)
    with pytest.raises(error, match=rf"^/extended/v2/blocks/1: .*{message}"):
        await client.block(1)
    assert (await client.block(1)).height == 1


async def test_passing_faults_are_tried_again(client: HiroApiClient, api: HiroApi) -> None:
    api.answers.extend([PlainTextResponse("busy", status_code=503), PlainTextResponse("slow", status_code=408)])
    assert (await client.block(1)).height == 1
    api.answers.extend(PlainTextResponse("broken", status_code=500) for _ in range(3))
    with pytest.raises(ServerError, match=r"answered 500: broken; tried 3 times"):
        await client.block(1)


async def test_an_api_that_cannot_be_reached(clock: Clock) -> None:
    client = HiroApiClient("http://api", transport=httpx.MockTransport(broken), attempts=2, retry_seconds=0.001)
    async with client:
        with pytest.raises(UnreachableError, match=r"^/extended: http://api gave no answer in 2 attempts"):
            await client.status()


async def test_a_refusal_for_the_rate_is_waited_out(client: HiroApiClient, api: HiroApi, clock: Clock) -> None:
    api.answers.append(rate_limited(retry_after="7"))
    assert (await client.block(1)).height == 1
    assert clock.slept == [7.0]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "Fri, 15 Jan 2027 08:00:20 GMT"}, 20.0),
        ({"ratelimit_limit": "50", "ratelimit_remaining": "0", "ratelimit_reset": "31"}, 31.0),
        ({"x_ratelimit_reset": "1800000012"}, 12.0),
        ({"x_ratelimit_remaining_stacks_minute": "0"}, 60.0),
        ({}, 5.0),
    ],
)
async def test_every_way_of_telling_how_long_to_wait(
    client: HiroApiClient, api: HiroApi, clock: Clock, headers: dict[str, str], seconds: float
) -> None:
    api.answers.append(rate_limited(**headers))
    assert (await client.block(1)).height == 1
    assert clock.slept == [seconds]


async def test_it_waits_before_it_is_refused(client: HiroApiClient, api: HiroApi, clock: Clock) -> None:
    header = JSONResponse(api.canonical[0].header(), headers={"ratelimit-remaining": "0", "ratelimit-reset": "9"})
    api.answers.append(header)
    await client.block(1)
    assert clock.slept == []
    await client.block(1)
    assert clock.slept == [9.0]


async def test_a_wait_that_is_too_long_is_an_error(api: HiroApi, clock: Clock) -> None:
    async with connected(api, clock, max_pause_seconds=60) as client:
        api.answers.append(rate_limited(retry_after="3600"))
        with pytest.raises(RateLimitedError, match="in 3600 s; ask less often, or use an API key") as limited:
            await client.status()
        assert limited.value.retry_after == 3600
        asked = api.asked.total()
        with pytest.raises(RateLimitedError):
            await client.status()
        assert api.asked.total() == asked
        clock.now += 3600
        assert (await client.status()).chain_tip is not None


async def test_refusals_without_end_are_an_error(client: HiroApiClient, api: HiroApi, clock: Clock) -> None:
    api.answers.extend(rate_limited(retry_after="1") for _ in range(3))
    with pytest.raises(RateLimitedError):
        await client.status()
    assert clock.slept == [1.0, 1.0]


async def test_the_key_goes_with_every_request(api: HiroApi, clock: Clock) -> None:
    async with connected(api, clock, api_key="secret") as client:
        await client.status()
    async with connected(api, clock) as client:
        await client.status()
    assert [headers.get("x-api-key") for headers in api.headers_seen] == ["secret", None]


async def test_unknown_fields_and_nulls_are_no_fault(client: HiroApiClient, api: HiroApi) -> None:
    header = api.canonical[0].header()
    optional = dict.fromkeys(
        ["parent_block_hash", "block_time", "tenure_height", "burn_block_time", "miner_txid", "tx_count"]
    )
    api.answers.append(JSONResponse(header | optional | {"something_new": [1, {"a": None}]}))
    block = await client.block(1)
    assert (block.height, block.tx_count, block.block_time) == (1, None, None)


async def test_it_works_inside_its_context_only() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await HiroApiClient("http://api").status()


def test_it_stands_alone_and_imports_little() -> None:
    program = (
        "import sys, hiro_api_client; "
        "print([name for name in sys.modules if name.split('.')[0] in ('clarion', 'httpx', 'websockets', 'pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
