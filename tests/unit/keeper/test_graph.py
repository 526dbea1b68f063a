from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import msgspec
import pytest
import stamina
from structlog.testing import capture_logs

from clarion_keeper.graph import GraphError, MovedError, NothingIndexedError, Reader, Receipt

DOCUMENT = "query Q($first: Int!, $after: String) { things(first: $first, after: $after) { nodes { id } } }"


def receipt(height: int, chain: str = "stacks") -> dict[str, Any]:
    burn = {"burnHeight": height * 10} if chain == "stacks" else {"burnHeight": None}
    return {"chain": chain, "height": height, "hash": f"0x{height:02x}", "sequence": str(height + 100), **burn}


class Server:
    """Answers requests and keeps them."""

    def __init__(self, answer: Callable[[dict[str, Any]], Any]) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(msgspec.json.decode(request.content))
        return httpx.Response(200, json=self._answer(self.asked[-1]))


def reader(server: Callable[[httpx.Request], httpx.Response], **options: Any) -> Reader:
    return Reader("http://graphql.test/graphql", transport=httpx.MockTransport(server), **options)


async def test_a_snapshot_tells_its_block() -> None:
    server = Server(lambda _: {"data": {"blocks": {"nodes": []}}, "extensions": {"receipt": receipt(5)}})
    async with reader(server) as read:
        assert (await read.snapshot()).receipt == Receipt(5, "0x05", 50, 105)


async def test_of_two_chains_the_readers_own_receipt_counts() -> None:
    both = {"receipt": receipt(5), "receipts": [receipt(5), receipt(900, "bitcoin")]}
    server = Server(lambda _: {"data": {}, "extensions": both})
    async with reader(server, chain="bitcoin") as read:
        assert await read.tip() == Receipt(900, "0x384", 900, 1000)
    assert server.asked[0]["variables"] == {"chain": "BITCOIN"}


@pytest.mark.parametrize(
    "extensions", [{}, {"receipt": {**receipt(0), "height": None}}, {"receipt": receipt(1, "bitcoin")}]
)
async def test_an_empty_index_is_said(extensions: dict[str, Any]) -> None:
    async with reader(Server(lambda _: {"data": {}, "extensions": extensions})) as read:
        with pytest.raises(NothingIndexedError, match="no block of stacks yet"):
            await read.tip()


async def test_pages_are_followed_to_the_end() -> None:
    def answer(asked: dict[str, Any]) -> Any:
        after = asked["variables"].get("after")
        more = {None: ("a", True), "a": ("b", True), "b": ("c", False)}[after]
        page = {"nodes": [{"id": more[0]}], "pageInfo": {"hasNextPage": more[1], "endCursor": more[0]}}
        return {"data": {"outer": {"things": page}}, "extensions": {"receipt": receipt(5)}}

    async with reader(Server(answer)) as read:
        found = await (await read.snapshot()).pages(DOCUMENT, "outer.things")
    assert [node["id"] for node in found] == ["a", "b", "c"]


async def test_a_snapshot_holds_to_its_block_while_others_come() -> None:
    heights = iter([5, 6])

    def answer(asked: dict[str, Any]) -> Any:
        height = 5 if "keeperAsOf" in asked["variables"] else next(heights)
        return {"data": {"height": height}, "extensions": {"receipt": receipt(height)}}

    server = Server(answer)
    async with reader(server) as read:
        snapshot = await read.snapshot()
        assert await snapshot.ask(DOCUMENT) == {"height": 5}
        assert await snapshot.ask(DOCUMENT) == {"height": 5}
    assert len(server.asked) == 4
    assert server.asked[-1]["variables"] == {"keeperAsOf": "0x05"}
    assert "@asOf(hash: $keeperAsOf, chain: STACKS)" in server.asked[-1]["query"]


async def test_a_snapshot_of_a_block_that_is_gone_has_to_be_read_again() -> None:
    heights = iter([5, 6])

    def answer(asked: dict[str, Any]) -> Any:
        if "keeperAsOf" in asked["variables"]:
            return {"errors": [{"message": "no canonical block 0x05"}]}
        return {"data": {}, "extensions": {"receipt": receipt(next(heights))}}

    async with reader(Server(answer)) as read:
        snapshot = await read.snapshot()
        with pytest.raises(MovedError, match="cannot be read any more"):
            await snapshot.ask(DOCUMENT)


@pytest.mark.parametrize(
    ("nodes", "is_final"), [([{"finality": "FINAL"}], True), ([{"finality": "ANCHORED"}], False), ([], False)]
)
async def test_whether_a_block_can_be_taken_back(nodes: list[dict[str, str]], is_final: bool) -> None:
    server = Server(lambda _: {"data": {"blocks": {"nodes": nodes}}, "extensions": {"receipt": receipt(9)}})
    async with reader(server) as read:
        assert await read.is_final(7) is is_final
    assert server.asked[0]["variables"] == {"height": 7, "chain": "STACKS"}


async def test_a_reader_of_the_past_reads_all_as_of_its_height() -> None:
    server = Server(lambda _: {"data": {}, "extensions": {"receipt": receipt(3)}})
    async with reader(server, as_of=3) as read:
        await (await read.snapshot()).ask(DOCUMENT, {"first": 1})
    assert all("@asOf(height: $keeperAsOf, chain: STACKS)" in asked["query"] for asked in server.asked)
    assert server.asked[1]["variables"] == {"first": 1, "keeperAsOf": 3}


async def test_what_is_asked_twice_at_once_is_asked_once() -> None:
    server = Server(lambda _: {"data": {}, "extensions": {"receipt": receipt(5)}})
    async with reader(server) as read:
        first = await asyncio.gather(*(read.tip() for _ in range(10)))
        assert len(server.asked) == 1
        assert first == [await read.tip()] * 10
    assert len(server.asked) == 2


async def test_who_stops_waiting_does_not_stop_the_others() -> None:
    server = Server(lambda _: {"data": {}, "extensions": {"receipt": receipt(5)}})
    async with reader(server) as read:
        hasty, patient = asyncio.create_task(read.tip()), asyncio.create_task(read.tip())
        await asyncio.sleep(0)
        hasty.cancel()
        assert (await patient).height == 5


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda _: httpx.Response(502, text="bad gateway"), "answered 502: bad gateway"),
        (lambda _: httpx.Response(200, json={"errors": [{"message": "no field x"}]}), "no field x"),
    ],
)
async def test_errors_say_where_and_what(answer: Callable[[httpx.Request], httpx.Response], message: str) -> None:
    async with reader(answer) as read:
        with pytest.raises(GraphError, match=message):
            await read.tip()


async def test_mined_transactions_are_found_by_id() -> None:
    node = {
        "txId": "0xaa",
        "status": "success",
        "result": "0x03",
        "fee": "250",
        "height": 4,
        "blockHash": "0x04",
        "finality": "FINAL",
    }
    server = Server(lambda _: {"data": {"transactions": {"nodes": [node]}}, "extensions": {"receipt": receipt(5)}})
    async with reader(server) as read:
        found, at = await read.transactions([b"\xaa", b"\xbb"])
    assert at.height == 5
    (mined,) = found.values()
    assert (mined.tx_id, mined.status, mined.result, mined.fee, mined.final) == (b"\xaa", "success", b"\x03", 250, True)
    assert server.asked[0]["variables"]["ids"] == ["0xaa", "0xbb"]


async def test_an_outage_is_told_of_once_and_its_end() -> None:
    away = True

    def answer(asked: dict[str, Any]) -> Any:
        if away:
            raise httpx.ConnectError("refused")
        return {"data": {}, "extensions": {"receipt": receipt(5)}}

    with capture_logs() as lines, stamina.set_testing(True, attempts=2):
        async with reader(Server(answer)) as read:
            for _ in range(3):
                with pytest.raises(GraphError, match="cannot be reached"):
                    await read.tip()
            away = False
            await read.tip()
            await read.tip()
    told = [line["event"] for line in lines if not line["event"].startswith("stamina")]
    assert told == ["the index does not answer; it is asked on", "the index answers again"]
