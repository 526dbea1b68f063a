"""A Stacks node that says what a test wants, and a signer and a job to go with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from clarion.chains.stacks.clarity import Err, Ok, UInt, Value, encode
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient
from clarion.chains.stacks.signing import sign
from clarion.chains.stacks.transactions import Transaction, decode_transaction
from clarion_keeper.executor import Work
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Call, Intent, Item, Lane, Outcome, Verdict
from clarion_keeper.job import Job
from clarion_keeper.signers import Purpose

#: Errors of the contract that the job below calls.
DONE_BEFORE = 409
NOT_YET = 425
FORBIDDEN = 403


class KeySigner:
    """A signer that has its key in memory, and remembers what it was asked to sign."""

    def __init__(self, key: PrivateKey, network: Network = Network.TESTNET) -> None:
        self._key = key
        self.public_key = key.public_key
        self.address = str(key.address(network))
        self.signed: list[tuple[Transaction, Purpose]] = []

    async def sign_stacks(self, unsigned: bytes, *, purpose: Purpose) -> bytes:
        transaction = sign(decode_transaction(unsigned), self._key)
        self.signed.append((transaction, purpose))
        return transaction.encode()

    async def sign_bitcoin(self, psbt: bytes, *, purpose: Purpose) -> bytes:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Nothing is open."""


class Settle(Job[Any]):
    """Settles numbered items of the contract ``ledger``."""

    name = "settle"
    lane = Lane.SETTLE
    batch_size = 5

    def __init__(self, contract: str, function: str = "settle") -> None:
        self._contract, self._function = contract, function

    async def read(self, reader: Reader) -> Any:
        raise NotImplementedError

    def check(self, state: Any) -> Sequence[Intent]:
        raise NotImplementedError

    def call(self, items: Sequence[Item]) -> Call:
        return Call(self._contract, self._function, tuple(UInt(int(item["id"])) for item in items))

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        match result:
            case Ok():
                outcome = Outcome(Verdict.DONE, "settled")
            case Err(UInt(code)) if code == DONE_BEFORE:
                outcome = Outcome(Verdict.DONE, "settled already", benign=True)
            case Err(UInt(code)) if code == NOT_YET:
                outcome = Outcome(Verdict.AGAIN, "not due")
            case _:
                outcome = Outcome(Verdict.FAILED, f"unexpected {result!r}")
        return [outcome for _ in items]


def work(job: Job[Any], *ids: int, deadline_burn: int | None = None) -> Work:
    """These items of a job, as a planner gives them."""
    items = tuple({"id": number} for number in ids)
    return Work(job=job, items=items, keys=tuple(f"{job.name}:{number}" for number in ids), deadline_burn=deadline_burn)


@dataclass
class FakeNode:
    """A node behind a transport: its account, its mempool, its refusals, its simulations."""

    url: str = "http://node:20443"
    height: int = 10
    nonce: int = 3
    balance: int = 10**9
    estimate: tuple[int, int, int] | None = (300, 1000, 5000)
    #: Results of simulations by whether the sender is the account; None: the node does not simulate.
    simulates: Callable[[Transaction], Value | str] | None = None
    down: bool = False
    refusal: dict[str, Any] | None = None
    mempool: set[bytes] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    def client(self, **options: Any) -> NodeClient:
        """A client that asks this node."""
        return NodeClient(self.url, transport=httpx.MockTransport(self.answer), attempts=1, **options)

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.down:
            raise httpx.ConnectError("refused", request=request)
        if path == "/v2/info":
            body = {"stacks_tip_height": self.height, "stacks_tip": "00", "stacks_tip_consensus_hash": "00"}
            return httpx.Response(200, json={**body, "burn_block_height": 120, "network_id": 0x80000000})
        if path.startswith("/v2/accounts/"):
            return httpx.Response(200, json={"balance": hex(self.balance), "locked": "0x0", "nonce": self.nonce})
        if path == "/v2/fees/transaction":
            if self.estimate is None:
                return httpx.Response(400, json={"error": "Estimator", "reason": "NoEstimateAvailable"})
            return httpx.Response(200, json={"estimations": [{"fee": fee, "fee_rate": 1} for fee in self.estimate]})
        if path.startswith("/v2/transactions/unconfirmed/"):
            waits = bytes.fromhex(path.rsplit("/", 1)[1]) in self.mempool
            return httpx.Response(200, json={"tx": "", "status": "Mempool"}) if waits else httpx.Response(404)
        if path == "/v3/transactions/simulate":
            return self._simulation(decode_transaction(bytes.fromhex(json.loads(request.content)["transaction_hex"])))
        assert path == "/v2/transactions", path
        if self.refusal is not None:
            return httpx.Response(400, json={"error": "transaction rejected", **self.refusal})
        tx_id = decode_transaction(request.content).txid
        self.mempool.add(tx_id)
        return httpx.Response(200, json=tx_id.hex())

    def _simulation(self, transaction: Transaction) -> httpx.Response:
        if self.simulates is None:
            return httpx.Response(400, text="Bad Request.")
        result = self.simulates(transaction)
        if isinstance(result, str):
            return httpx.Response(400, text=f"Failed to simulate transaction: {result}\n")
        said = {"result_hex": f"0x{encode(result).hex()}", "vm_error": None, "post_condition_aborted": False}
        return httpx.Response(200, json={**said, "block_height": self.height + 1})
