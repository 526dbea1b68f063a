"""A Stacks node's HTTP interface, as far as Clarion uses it: tip, accounts, sending, read-only calls, blocks by id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import httpx
import stamina

from clarion.chains.model import Block, BurnBlock
from clarion.chains.stacks.clarity import Ok, Value, decode
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.chains.stacks.node_payloads import decode_replayed_block, decode_sortition, replayed_consensus_hash
from clarion.credentials import split_credentials

#: Passing faults that a further try may cure. An answer of the node, even a bad one, is not among them.
TRANSIENT: Final = (httpx.TransportError,)


class NodeError(RuntimeError):
    """The node did not give what was asked for. The message names the route, what came back and what to do."""


class NodeAnswerError(NodeError):
    """The node works and answered, but with a refusal."""


class TransactionRejectedError(NodeAnswerError):
    """The node refused a transaction. ``reason`` is the node's own word (``BadNonce``, ``FeeTooLow``, …)."""

    def __init__(self, reason: str, data: Any, tx_id: str | None, url: str) -> None:
        super().__init__(
            f"{url} rejected transaction {tx_id or '(undecodable)'}: {reason} {data if data else ''}".rstrip()
        )
        self.reason = reason
        self.data = data
        self.tx_id = tx_id


class SimulationRefusedError(NodeAnswerError):
    """A transaction could not be in a block at the tip: its nonce, signature or balance. The message is the node's."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """How a transaction would end in a block on top of a node's tip.

    ``status`` and ``result`` as that block would record them, ``height`` is its height. ``error``: the machine's own
    words, for people; None where it has none.
    """

    status: str
    result: Value
    error: str | None
    height: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Where a node stands (``GET /v2/info``)."""

    stacks_tip_height: int
    stacks_tip: bytes
    stacks_tip_consensus_hash: bytes
    burn_block_height: int
    chain_id: int


@dataclass(frozen=True, slots=True)
class Account:
    """An account at the node's tip. ``balance`` and ``locked`` in micro-STX; ``nonce`` is the next to be mined."""

    balance: int
    locked: int
    nonce: int


@dataclass(frozen=True, slots=True)
class FeeEstimate:
    """What a node estimates that a transaction has to pay, in micro-STX: to be mined late, soon, and first."""

    low: int
    middle: int
    high: int


class NodeClient:
    """One node. Use as an async context manager; transport faults are tried again a few times, answers are not.

    ``auth_token`` is the node's ``[connection_options] auth_token``, which its block replay route asks for. The user
    and the password of an address are not in :attr:`url`, which is shown.
    """

    def __init__(
        self,
        url: str,
        *,
        auth_token: str | None = None,
        timeout_seconds: float = 10,
        attempts: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url, credentials = split_credentials(url.rstrip("/"))
        self._auth_token = auth_token
        self._attempts = attempts
        self._client = httpx.AsyncClient(
            base_url=self.url, auth=credentials, timeout=timeout_seconds, transport=transport
        )

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def close(self) -> None:
        """End the connections of a client that was not entered."""
        await self._client.aclose()

    async def info(self) -> NodeInfo:
        """The node's tip."""
        answer = await self._json("GET", "/v2/info")
        return NodeInfo(
            stacks_tip_height=answer["stacks_tip_height"],
            stacks_tip=bytes.fromhex(answer["stacks_tip"].removeprefix("0x")),
            stacks_tip_consensus_hash=bytes.fromhex(answer["stacks_tip_consensus_hash"].removeprefix("0x")),
            burn_block_height=answer["burn_block_height"],
            chain_id=answer["network_id"],
        )

    async def account(self, address: str) -> Account:
        """Balance and next nonce of an address at the tip; the mempool does not count."""
        answer = await self._json("GET", f"/v2/accounts/{address}?proof=0")
        return Account(int(answer["balance"], 16), int(answer["locked"], 16), answer["nonce"])

    async def estimate_fees(self, payload: bytes, length: int) -> FeeEstimate:
        """What a transaction with this payload would pay; ``length`` is that of the signed transaction, in bytes.

        Raises NodeError, also where the node has seen too few transactions to estimate.
        """
        body = {"transaction_payload": payload.hex(), "estimated_len": length}
        answer = await self._json("POST", "/v2/fees/transaction", json=body)
        low, middle, high = (int(estimate["fee"]) for estimate in answer["estimations"])
        return FeeEstimate(low, middle, high)

    async def send(self, raw: bytes) -> bytes:
        """Put a signed transaction into the node's mempool and give its id. Sending the same bytes again is harmless.

        Raises TransactionRejectedError with the node's reason, NodeError where it answers anything else.
        """
        response = await self._request(
            "POST", "/v2/transactions", content=raw, headers={"content-type": "application/octet-stream"}
        )
        if response.status_code != httpx.codes.BAD_REQUEST:
            self._check("/v2/transactions", response)
            return bytes.fromhex(response.json().removeprefix("0x"))
        if response.headers.get("content-type", "").startswith("application/json"):
            body = response.json()
            if isinstance(body, dict) and "reason" in body:
                raise TransactionRejectedError(body["reason"], body.get("reason_data"), body.get("txid"), self.url)
        raise TransactionRejectedError("Undecodable", response.text[:500], None, self.url)

    async def has_transaction(self, tx_id: bytes) -> bool:
        """Whether the node has a transaction in its mempool, where it also stays for a while after it was mined."""
        return await self._get(f"/v2/transactions/unconfirmed/{tx_id.hex()}") is not None

    async def simulate(self, raw: bytes) -> Simulated:
        """How a signed transaction would end in a block on top of the tip; the node undoes it again.

        Nodes check signature, nonce and balance as for a block, but ask for no least fee, and answer only where they
        have an ``auth_token`` (stacks-core, ``stackslib/src/net/api/txsimulate.rs``). Raises SimulationRefusedError
        where no block could hold it, NodeError where the node does not simulate.
        """
        path = "/v3/transactions/simulate"
        headers = {"authorization": self._auth_token} if self._auth_token else {}
        response = await self._request("POST", path, json={"transaction_hex": raw.hex()}, headers=headers)
        if response.status_code == httpx.codes.BAD_REQUEST and response.text.startswith("Failed to simulate"):
            raise SimulationRefusedError(f"{self.url}: {response.text.strip()[:300]}")
        self._check(path, response)
        body = response.json()
        try:
            result = decode(bytes.fromhex(body["result_hex"].removeprefix("0x")))
            aborted = "abort_by_post_condition" if body["post_condition_aborted"] else "abort_by_response"
            status = "success" if isinstance(result, Ok) and not body["post_condition_aborted"] else aborted
            return Simulated(status, result, body["vm_error"], body["block_height"])
        except (KeyError, TypeError, ValueError, DecodeError) as error:
            raise NodeError(f"{self.url}{path} answered what is no simulation: {error!r}") from error

    async def call_read_only(self, contract: str, function: str, arguments: Sequence[bytes], *, sender: str) -> bytes:
        """A read-only call at the tip: serialised Clarity values in, one out. Raises NodeError with the cause."""
        address, name = contract.split(".")
        path = f"/v2/contracts/call-read/{address}/{name}/{function}"
        body = {"sender": sender, "arguments": [f"0x{argument.hex()}" for argument in arguments]}
        answer = await self._json("POST", path, json=body)
        if not answer["okay"]:
            raise NodeError(f"{self.url}: read-only call {contract} {function} failed: {answer.get('cause')}")
        return bytes.fromhex(answer["result"].removeprefix("0x"))

    async def contract_interface(self, contract: str) -> Any:
        """The contract's interface (functions, variables, maps, tokens), or None where there is no such contract."""
        address, name = contract.split(".")
        return await self._json("GET", f"/v2/contracts/interface/{address}/{name}", missing=True)

    async def block(self, block_hash: bytes) -> Block | None:
        """A whole block with its events by index block hash, or None where the node does not have it.

        Nodes give blocks since Nakamoto only, and only where they have an ``auth_token``. Raises NodeError where the
        node does not serve them, and PayloadError where it answers something else.
        """
        headers = {"authorization": self._auth_token} if self._auth_token else {}
        body = await self._get(f"/v3/blocks/replay/{block_hash.hex()}", headers=headers)
        if body is None:
            return None
        burn = await self.sortition(replayed_consensus_hash(body))
        block = decode_replayed_block(body, burn)
        if block.hash != block_hash:
            raise NodeError(f"{self.url} was asked for block 0x{block_hash.hex()} and gave {block.ref}")
        return block

    async def sortition(self, consensus_hash: str) -> BurnBlock | None:
        """The Bitcoin block that a consensus hash (40 hexadecimal digits) names, or None where it is unknown."""
        body = await self._get(f"/v3/sortitions/consensus/{consensus_hash}")
        return None if body is None else decode_sortition(body, consensus_hash)

    async def _get(self, path: str, **arguments: Any) -> bytes | None:
        response = await self._request("GET", path, **arguments)
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        self._check(path, response)
        return response.content

    async def _json(self, method: str, path: str, *, missing: bool = False, **arguments: Any) -> Any:
        response = await self._request(method, path, **arguments)
        if missing and response.status_code == httpx.codes.NOT_FOUND:
            return None
        self._check(path, response)
        return response.json()

    def _check(self, path: str, response: httpx.Response) -> None:
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise NodeAnswerError(
                f"{self.url}{path} asks for a token: set CLARION_NODE__AUTH_TOKEN to the node's auth_token"
            )
        if response.status_code != httpx.codes.OK:
            kind = NodeAnswerError if response.is_client_error else NodeError
            raise kind(f"{self.url}{path} answered {response.status_code}: {response.text[:300]}")

    async def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            async for attempt in stamina.retry_context(on=TRANSIENT, attempts=self._attempts, timeout=30.0):
                with attempt:
                    return await self._client.request(method, path, **arguments)
        except TRANSIENT as error:
            raise NodeError(f"{self.url}{path} cannot be reached: {error!r}; is the node running?") from error
        raise AssertionError("a retry ends with an answer or an error")
