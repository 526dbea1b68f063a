"""The keeper's view of the chain: GraphQL queries over HTTP, and new blocks over a WebSocket as a wake-up."""

from __future__ import annotations

import asyncio
import base64
import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import graphql
import httpx
import msgspec
import stamina
import structlog
import websockets
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from clarion.chains.model import Chain
from clarion.config import Settings
from clarion.credentials import Credentials, split_credentials

log = structlog.get_logger()

#: Most rows that one page of a connection gives.
PAGE: Final = 500
#: Variable that holds the block which a document is read as of.
AS_OF: Final = "keeperAsOf"
#: Pause before the WebSocket is opened again; meanwhile the timer wakes the keeper.
RECONNECT_SECONDS: Final = 1.0


_FINAL: Final = "FINAL"

_TIP: Final = """
query KeeperTip($chain: ChainName!) {
  blocks(chain: $chain, orderBy: [{field: HEIGHT, direction: DESC}], first: 1) { nodes { height } }
}
"""

_TRANSACTIONS: Final = """
query KeeperTransactions($ids: [Bytes!]!, $first: Int!, $chain: ChainName!) {
  transactions(chain: $chain, filter: {txId: {in: $ids}}, first: $first) {
    nodes { txId status result fee height blockHash finality }
  }
}
"""

_FINALITY: Final = """
query KeeperFinality($height: Int!, $chain: ChainName!) {
  blocks(chain: $chain, filter: {height: {eq: $height}}, first: 1) { nodes { finality } }
}
"""

_BLOCKS: Final = "subscription KeeperBlocks($chain: ChainName!) { blocks(chain: $chain) { sequence op } }"


class GraphError(RuntimeError):
    """The GraphQL server answered with errors, or not at all."""


class NothingIndexedError(GraphError):
    """The index is empty; there is nothing to do yet."""


class RefusedError(GraphError):
    """The server answered that it does not answer this."""


class MovedError(GraphError):
    """A block was taken back while a snapshot was read: read it again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The block that an answer was read at.

    ``burn_height`` is its Bitcoin height, what contracts compare with; of a block of Bitcoin it is its own.
    """

    height: int
    hash: str
    burn_height: int
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MinedTransaction:
    """A transaction in a canonical block. ``result`` is its serialised Clarity value, ``fee`` in micro-STX."""

    tx_id: bytes
    status: str
    result: bytes | None
    height: int
    block_hash: bytes
    final: bool
    fee: int = 0


class _Message(msgspec.Struct):
    """What a server says over graphql-transport-ws, as far as it matters here."""

    type: str
    payload: Any = None


class Snapshot:
    """Answers that are all of one block, also where others come while it is read.

    What the server answers of a later block is asked again as of the snapshot's. Only where that block was taken back
    is a MovedError raised.
    """

    def __init__(self, reader: Reader, receipt: Receipt) -> None:
        self.receipt: Final = receipt
        self._reader = reader
        self._moved = False

    async def ask(self, document: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A query's data. Raises GraphError, MovedError."""
        if not self._moved:
            data, receipt = await self._reader.query(document, variables)
            if receipt.hash == self.receipt.hash:
                return data
            self._moved = True
        try:
            data, receipt = await self._reader.query(document, variables, as_of=self.receipt.hash)
        except RefusedError as error:
            raise MovedError(f"block {self.receipt.height} cannot be read any more: {error}") from error
        if receipt.hash != self.receipt.hash:
            raise MovedError(f"{self._reader.url} moved from {self.receipt.height} to {receipt.height}")
        return data

    async def pages(
        self, document: str, connection: str, variables: Mapping[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """All nodes of a connection, however many pages they take.

        ``document`` has the variables ``$first: Int!`` and ``$after: String`` and asks for
        ``nodes { … } pageInfo { hasNextPage endCursor }``; ``connection`` names the field, with dots where it lies
        within others.
        """
        nodes: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            page: Any = await self.ask(document, {**(variables or {}), "first": PAGE, "after": after})
            for name in connection.split("."):
                page = page[name]
            nodes += page["nodes"]
            if not page["pageInfo"]["hasNextPage"]:
                return nodes
            after = page["pageInfo"]["endCursor"]


def reader_of(settings: Settings, *, chain: Chain = "stacks", as_of: int | None = None) -> Reader:
    """The reader of a chain by the settings, not opened yet; ``as_of`` as for :class:`Reader`."""
    key = settings.keeper.graphql_api_key
    return Reader(
        settings.keeper.graphql_url,
        chain=chain,
        as_of=as_of,
        api_key=None if key is None else key.get_secret_value(),
    )


class Reader:
    """Clarion's GraphQL server, as one chain's keeper reads it. Use as an async context manager.

    ``as_of`` reads everything as of an earlier block of that height. ``api_key`` is what the server asks for, if it
    does. Several tasks may use one reader at once; those that ask the same at the same time share the answer, which
    none of them may change.
    """

    def __init__(
        self,
        url: str,
        *,
        chain: Chain = "stacks",
        as_of: int | None = None,
        api_key: str | None = None,
        timeout_seconds: float = 15,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        shown, credentials = split_credentials(url)
        self.url: Final = shown
        self.chain: Final = chain
        self._as_of = as_of
        headers = {"authorization": _authorization(api_key, credentials)} if api_key or credentials else {}
        self._headers = headers
        self._client = httpx.AsyncClient(timeout=timeout_seconds, headers=headers, transport=transport)
        self._asked: dict[bytes, asyncio.Task[tuple[dict[str, Any], Receipt]]] = {}
        self._is_away = False

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        for asked in list(self._asked.values()):
            asked.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        await self._client.aclose()

    async def query(
        self, document: str, variables: Mapping[str, Any] | None = None, *, as_of: str | None = None
    ) -> tuple[dict[str, Any], Receipt]:
        """A query's data with the receipt of this reader's chain that it was read at. Raises GraphError.

        ``as_of``: hash of the block to read it as of; None: the reader's own, or now.
        """
        given = dict(variables or {})
        if self._as_of is not None:
            document, given = _as_of(document, "height", "Int", self.chain), given | {AS_OF: self._as_of}
        elif as_of is not None:
            document, given = _as_of(document, "hash", "Bytes", self.chain), given | {AS_OF: as_of}
        body = msgspec.json.encode({"query": document, "variables": given})
        asked = self._asked.get(body)
        if asked is None:
            asked = self._asked[body] = asyncio.create_task(self._post(body))
            asked.add_done_callback(lambda done: self._answered(body, done))
        return await asyncio.shield(asked)

    def _answered(self, body: bytes, done: asyncio.Task[Any]) -> None:
        del self._asked[body]
        if not done.cancelled():
            done.exception()  # whoever asked has it; where all of them were cancelled, nobody needs it

    async def _post(self, body: bytes) -> tuple[dict[str, Any], Receipt]:
        try:
            async for attempt in stamina.retry_context(on=httpx.TransportError, attempts=3, timeout=20.0):
                with attempt:
                    response = await self._client.post(
                        self.url, content=body, headers={"content-type": "application/json"}
                    )
        except httpx.TransportError as error:
            self._away(repr(error))
            raise GraphError(f"{self.url} cannot be reached: {error!r}; does `clarion serve` run there?") from error
        self._away(None)
        try:
            answer = response.json()
        except ValueError as error:
            raise GraphError(f"{self.url} answered {response.status_code}: {response.text[:300]}") from error
        if answer.get("errors"):
            raise RefusedError(f"{self.url}: {answer['errors'][0].get('message')}")
        return answer["data"], self._receipt(answer.get("extensions") or {})

    def _away(self, reason: str | None) -> None:
        """Say once that the server cannot be reached, however many ask, and once that it can again."""
        if reason is not None and not self._is_away:
            log.warning("the index does not answer; it is asked on", url=self.url, reason=reason)
        elif reason is None and self._is_away:
            log.info("the index answers again", url=self.url)
        self._is_away = reason is not None

    def _receipt(self, extensions: Mapping[str, Any]) -> Receipt:
        given = extensions.get("receipts") or [extensions.get("receipt")]
        for receipt in given:
            if receipt and receipt["chain"].lower() == self.chain and receipt.get("height") is not None:
                height = int(receipt["height"])
                return Receipt(
                    height=height,
                    hash=receipt["hash"],
                    burn_height=height if self.chain == "bitcoin" else int(receipt["burnHeight"] or 0),
                    sequence=int(receipt["sequence"]),
                )
        raise NothingIndexedError(f"{self.url} has no block of {self.chain} yet")

    async def tip(self) -> Receipt:
        """Where the index stands, or the block that is read as of. Raises GraphError."""
        _, receipt = await self.query(_TIP, {"chain": self.chain.upper()})
        return receipt

    async def snapshot(self) -> Snapshot:
        """A look at the index as it is now. Raises GraphError."""
        return Snapshot(self, await self.tip())

    async def transactions(self, ids: Sequence[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        """Those of these transactions that are in a canonical block, and where the index stood. Raises GraphError."""
        found: dict[bytes, MinedTransaction] = {}
        receipts: set[str] = set()
        receipt: Receipt | None = None
        for start in range(0, max(len(ids), 1), PAGE):
            chunk = [f"0x{tx_id.hex()}" for tx_id in ids[start : start + PAGE]]
            data, receipt = await self.query(_TRANSACTIONS, {"ids": chunk, "first": PAGE, "chain": self.chain.upper()})
            receipts.add(receipt.hash)
            for node in data["transactions"]["nodes"]:
                tx_id = bytes.fromhex(node["txId"][2:])
                found[tx_id] = MinedTransaction(
                    tx_id=tx_id,
                    status=node["status"],
                    result=None if node["result"] is None else bytes.fromhex(node["result"][2:]),
                    height=int(node["height"]),
                    block_hash=bytes.fromhex(node["blockHash"][2:]),
                    final=node["finality"] == _FINAL,
                    fee=int(node["fee"] or 0),
                )
        if receipt is None or len(receipts) > 1:
            raise MovedError(f"{self.url} moved while transactions were read")
        return found, receipt

    async def is_final(self, height: int) -> bool:
        """Whether no reorganisation takes the canonical block of a height back any more. Raises GraphError."""
        data, _ = await self.query(_FINALITY, {"height": height, "chain": self.chain.upper()})
        return any(node["finality"] == _FINAL for node in data["blocks"]["nodes"])

    async def new_blocks(self) -> AsyncIterator[None]:
        """Yields whenever a block was applied or retracted; connects again, for ever, where the server goes away."""
        url = self.url.replace("http", "ws", 1)
        payload = {"query": _BLOCKS, "variables": {"chain": self.chain.upper()}}
        subscribe = msgspec.json.encode({"id": "blocks", "type": "subscribe", "payload": payload}).decode()
        said = False
        while True:
            try:
                async with connect(
                    url, subprotocols=[Subprotocol("graphql-transport-ws")], additional_headers=self._headers
                ) as socket:
                    await socket.send(msgspec.json.encode({"type": "connection_init"}).decode())
                    await socket.recv()
                    await socket.send(subscribe)
                    said = False
                    async for text in socket:
                        message = msgspec.json.decode(text, type=_Message)
                        if message.type == "ping":
                            await socket.send('{"type":"pong"}')
                        elif message.type == "next":
                            yield
                        elif message.type in ("error", "complete"):
                            log.warning("new blocks: the server ended the subscription", answer=message.payload)
                            break
            except (OSError, websockets.WebSocketException, msgspec.DecodeError) as error:
                if not said:
                    log.info("new blocks: connecting again and again", reason=repr(error))
                said = True
            await asyncio.sleep(RECONNECT_SECONDS)


def _authorization(api_key: str | None, credentials: Credentials | None) -> str:
    """A header for HTTP and WebSocket: the key, or else the user and password of the address (RFC 7617)."""
    if credentials is None or api_key:
        return f"Bearer {api_key}"
    return f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"


@functools.lru_cache(maxsize=256)
def _as_of(document: str, argument: str, type_: str, chain: Chain) -> str:
    """The document with ``@asOf`` on its operations, and the block in the variable `AS_OF`."""
    directive = f"@asOf({argument}: ${AS_OF}, chain: {chain.upper()})"
    (pattern,) = graphql.parse(f"query (${AS_OF}: {type_}) {directive} {{ _ }}").definitions
    assert isinstance(pattern, graphql.OperationDefinitionNode)
    parsed = graphql.parse(document)
    definitions = tuple(
        replace(
            definition,
            directives=(*(definition.directives or ()), *(pattern.directives or ())),
            variable_definitions=(*(definition.variable_definitions or ()), *(pattern.variable_definitions or ())),
        )
        if isinstance(definition, graphql.OperationDefinitionNode)
        else definition
        for definition in parsed.definitions
    )
    return graphql.print_ast(replace(parsed, definitions=definitions))
