"""The keeper's view of the chain: GraphQL queries over HTTP, and new blocks over a WebSocket as a wake-up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
import msgspec
import stamina
import structlog
import websockets
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from clarion_keeper.state import BitHedgeState, ClosedRound, DuePolicy, Receipt

log = structlog.get_logger()

#: Most rows that one page of a connection gives.
PAGE: Final = 500

_DUE: Final = """
query KeeperDue($burn: Int!, $first: Int!, $after: String) {
  policies(filter: {state: {eq: "active"}, expiryBurn: {lte: $burn}}, first: $first, after: $after) {
    nodes { id asset token expiryBurn }
    pageInfo { hasNextPage endCursor }
  }
  tokens(first: $first) { nodes { token asset } }
}
"""

_PRICES: Final = """
query KeeperPrices($assets: [String!]!, $from: Int!, $first: Int!) {
  priceRounds(
    filter: {asset: {in: $assets}, state: {eq: "closed"}, openedBurn: {gte: $from}}
    orderBy: [{field: ROUND, direction: ASC}]
    first: $first
  ) { nodes { asset round openedBurn } }
  expiryPrices(filter: {asset: {in: $assets}, expiryBurn: {gte: $from}}, first: $first) {
    nodes { asset expiryBurn }
    pageInfo { hasNextPage }
  }
}
"""

_STATUS: Final = "query KeeperStatus { status { chains { chain } } }"

_TRANSACTIONS: Final = """
query KeeperTransactions($ids: [Bytes!]!, $first: Int!) {
  transactions(filter: {txId: {in: $ids}}, first: $first) {
    nodes { txId status result height blockHash finality }
  }
}
"""

_BLOCKS: Final = "subscription KeeperBlocks { blocks { sequence op } }"


class GraphError(RuntimeError):
    """The GraphQL server answered with errors, or not at all."""


@dataclass(frozen=True, slots=True)
class MinedTransaction:
    """A transaction in a canonical block. ``result`` is its serialised Clarity value."""

    tx_id: bytes
    status: str
    result: bytes | None
    height: int
    block_hash: bytes
    final: bool


class Graph:
    """Clarion's GraphQL server. Use as an async context manager."""

    def __init__(self, url: str, *, timeout_seconds: float = 15) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=timeout_seconds)

    async def __aenter__(self) -> Graph:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def query(self, document: str, variables: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], Receipt]:
        """A query's data with the receipt it was read at. Raises GraphError."""
        try:
            async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=3, timeout=20.0):
                with attempt:
                    response = await self._client.post(
                        self._url, json={"query": document, "variables": dict(variables or {})}
                    )
        except httpx.TransportError as error:
            raise GraphError(f"{self._url} cannot be reached: {error!r}; does `clarion serve` run there?") from error
        try:
            answer = response.json()
        except ValueError as error:
            raise GraphError(f"{self._url} answered {response.status_code}: {response.text[:300]}") from error
        if answer.get("errors"):
            raise GraphError(f"{self._url}: {answer['errors'][0].get('message')}")
        receipt = (answer.get("extensions") or {}).get("receipt")
        if not receipt or receipt.get("height") is None:
            raise NothingIndexedError(f"{self._url} has no block yet")
        return answer["data"], Receipt(
            height=int(receipt["height"]),
            hash=receipt["hash"],
            burn_height=int(receipt["burnHeight"] or 0),
            sequence=int(receipt["sequence"]),
        )

    async def bithedge_state(self) -> BitHedgeState:
        """What the BitHedge jobs look at, all read at one block; read again where a block came in between."""
        while True:
            _, receipt = await self.query(_STATUS)
            due: list[DuePolicy] = []
            tokens: dict[str, str] = {}
            after: str | None = None
            receipts = {receipt.hash}
            while True:
                data, at = await self.query(_DUE, {"burn": receipt.burn_height, "first": PAGE, "after": after})
                receipts.add(at.hash)
                tokens.update({node["token"]: node["asset"] for node in data["tokens"]["nodes"]})
                due += [
                    DuePolicy(int(node["id"]), node["asset"], node["token"], int(node["expiryBurn"]))
                    for node in data["policies"]["nodes"]
                ]
                if not data["policies"]["pageInfo"]["hasNextPage"]:
                    break
                after = data["policies"]["pageInfo"]["endCursor"]
            rounds: list[ClosedRound] = []
            fixed: set[tuple[str, int]] = set()
            if due:
                assets = sorted({policy.asset for policy in due} | {tokens[p.token] for p in due if p.token in tokens})
                lowest = min(policy.expiry_burn for policy in due)
                data, at = await self.query(_PRICES, {"assets": assets, "from": lowest, "first": PAGE})
                receipts.add(at.hash)
                rounds = [
                    ClosedRound(node["asset"], int(node["round"]), int(node["openedBurn"]))
                    for node in data["priceRounds"]["nodes"]
                ]
                fixed = {(node["asset"], int(node["expiryBurn"])) for node in data["expiryPrices"]["nodes"]}
            if len(receipts) == 1:
                return BitHedgeState(receipt, tuple(due), tokens, tuple(rounds), frozenset(fixed))

    async def transactions(self, ids: Sequence[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        """Those of these transactions that are in a canonical block."""
        found: dict[bytes, MinedTransaction] = {}
        data, receipt = await self.query(_TRANSACTIONS, {"ids": [f"0x{tx_id.hex()}" for tx_id in ids], "first": PAGE})
        for node in data["transactions"]["nodes"]:
            tx_id = bytes.fromhex(node["txId"][2:])
            found[tx_id] = MinedTransaction(
                tx_id,
                node["status"],
                None if node["result"] is None else bytes.fromhex(node["result"][2:]),
                int(node["height"]),
                bytes.fromhex(node["blockHash"][2:]),
                node["finality"] == "FINAL",
            )
        return found, receipt

    async def new_blocks(self) -> AsyncIterator[None]:
        """Yields whenever a block was applied or retracted; connects again, for ever, where the server goes away."""
        url = self._url.replace("http", "ws", 1)
        while True:
            try:
                async with connect(url, subprotocols=[Subprotocol("graphql-transport-ws")]) as socket:
                    await socket.send(msgspec.json.encode({"type": "connection_init"}).decode())
                    await socket.recv()
                    subscribe = {"id": "blocks", "type": "subscribe", "payload": {"query": _BLOCKS}}
                    await socket.send(msgspec.json.encode(subscribe).decode())
                    async for text in socket:
                        message = msgspec.json.decode(text)
                        if message["type"] == "ping":
                            await socket.send('{"type":"pong"}')
                        elif message["type"] == "next":
                            yield
                        elif message["type"] in ("error", "complete"):
                            log.warning("new blocks: the server ended the subscription", answer=message)
                            break
            except (OSError, websockets.WebSocketException) as error:
                log.info("new blocks: connecting again", reason=repr(error))
            await asyncio.sleep(RECONNECT_SECONDS)


#: Pause before the WebSocket is opened again; meanwhile the timer wakes the keeper.
RECONNECT_SECONDS: Final = 1.0


class NothingIndexedError(GraphError):
    """The index is empty; there is nothing to do yet."""
