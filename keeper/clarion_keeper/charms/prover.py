"""Client of the Charms prover's API: ``POST /spells/prove`` and ``GET /ready``.

The forms are those of charms 15.1 (``charms-client/src/request.rs``, ``src/cli/server.rs``): a request as JSON with the
spell as the hexadecimal text of its CBOR, an answer of one unsigned transaction. HTTP 400 is for good, 500 passes. What
is answered is not believed: see `clarion_keeper.charms.answer`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
import stamina

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.charms.apps import app_text, is_simple_transfer
from clarion.chains.bitcoin.charms.cbor import Value, encode
from clarion.chains.bitcoin.charms.drafts import app_transaction, proposal
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.spells import App, write_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, write_transaction
from clarion_keeper.charms.answer import Asked
from clarion_keeper.executor import ExecutorError

MAX_REQUEST_BYTES: Final = 32 << 20
"""Most that a prover takes (charms 15.1)."""
MAX_ANSWER_BYTES: Final = 2 << 20
"""More than any transaction that nodes relay, as hexadecimal."""
PROVING_SECONDS: Final = 300.0

_PROVE_PATH, _READY_PATH = "/spells/prove", "/ready"
_MOST_REASON: Final = 500
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")


class ProverUnavailableError(ExecutorError):
    """The prover did not answer, or could not for now. Asking again later may help."""


class ProverRefusedError(ValueError):
    """The prover says that it will never prove this. The message is the prover's own word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofOrder:
    """What a prover needs besides the spell.

    Attributes:
        asked: the spell and where the change goes.
        previous: the transactions that made what the spell spends and refers to, by id (display order).
        contracts: modules of apps by their keys (``vk``); those that are not needed are not sent.
        private_inputs: of apps that have one.
    """

    asked: Asked
    previous: Mapping[bytes, BitcoinTransaction]
    contracts: Mapping[bytes, bytes]
    private_inputs: Mapping[App, Value] = field(default_factory=dict)


class _PassingError(Exception):
    """What another try may turn into an answer; its text says why."""


def public_url(version: int) -> str:
    """Where the public prover of a version of the protocol is."""
    return f"https://v{version}.charms.dev"


class Prover:
    """One prover, of one version of the protocol. Use as an async context manager.

    Args:
        url: up to and without ``/spells/prove``.
        network: where its transactions are to go.
        version: of the spells that it proves; it takes no others.
        timeout_seconds: how long one answer may take: proving takes minutes.
        attempts: how often it is asked while it says that it cannot for now.
    """

    def __init__(
        self,
        url: str,
        *,
        network: BitcoinNetwork,
        version: int = LATEST_VERSION,
        timeout_seconds: float = PROVING_SECONDS,
        attempts: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.version = version
        self._url = url
        self._network = network
        self._attempts = attempts
        self._timeout = timeout_seconds
        self._client = httpx.AsyncClient(timeout=timeout_seconds, transport=transport)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def check_ready(self) -> None:
        """Raise ProverUnavailableError where it does not say that it is ready."""
        try:
            response = await self._client.get(self._url + _READY_PATH)
        except httpx.TransportError as error:
            raise self._unavailable(str(error) or type(error).__name__) from error
        if response.status_code != httpx.codes.OK:
            raise self._unavailable(f"it answers with HTTP {response.status_code}")

    async def prove(self, order: ProofOrder) -> bytes:
        """The transaction that the prover answers, not checked.

        Raises:
            ProverRefusedError: it will never prove this, or is of another version.
            ProverUnavailableError: it does not answer, or says that it cannot for now.
        """
        version = order.asked.draft.version
        if version != self.version:
            raise ProverRefusedError(
                f"the spell is of version {version}, and the prover at {self._url} proves version {self.version}: "
                "keeper.prover_url names the prover"
            )
        body = _ENCODER.encode(request_form(order, self._network))
        if len(body) > MAX_REQUEST_BYTES:
            raise ProverRefusedError(f"the request has {len(body)} bytes, and provers take {MAX_REQUEST_BYTES}")
        try:
            async for attempt in stamina.retry_context(on=_PassingError, attempts=self._attempts, timeout=None):
                with attempt:
                    return self._transaction(await self._post(body))
        except _PassingError as error:
            raise self._unavailable(str(error)) from error
        raise AssertionError("the last attempt returns or raises")

    async def _post(self, body: bytes) -> bytes:
        headers = {"content-type": "application/json"}
        found = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self._url + _PROVE_PATH, content=body, headers=headers) as response,
            ):
                async for piece in response.aiter_bytes():
                    found += piece
                    if len(found) > MAX_ANSWER_BYTES:
                        raise ProverRefusedError(
                            f"the prover at {self._url} answers more than {MAX_ANSWER_BYTES} bytes"
                        )
        except (TimeoutError, httpx.TimeoutException) as error:
            raise _PassingError(f"it takes longer than {self._timeout:g} seconds") from error
        except httpx.TransportError as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        status = response.status_code
        if status == httpx.codes.OK:
            return bytes(found)
        said = bytes(found[:_MOST_REASON]).decode(errors="replace").strip()
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise _PassingError(f"it answers with HTTP {status}: {said}")
        raise ProverRefusedError(f"the prover at {self._url} refuses (HTTP {status}): {said}")

    def _transaction(self, content: bytes) -> bytes:
        try:
            answer = msgspec.json.decode(content, type=list[dict[str, Any]])
            (transaction,) = answer
            return bytes.fromhex(transaction["bitcoin"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise ProverRefusedError(
                f"the prover at {self._url} answers what is not one transaction of Bitcoin: {content[:80]!r}"
            ) from error

    def _unavailable(self, why: str) -> ProverUnavailableError:
        return ProverUnavailableError(f"the prover at {self._url} does not answer: {why}")


def request_form(order: ProofOrder, network: BitcoinNetwork) -> dict[str, Any]:
    """The request as JSON. Raises ProverRefusedError where a transaction, a contract or the change's address lacks."""
    asked = order.asked
    change = address_of(asked.change, network)
    if change is None:
        raise ProverRefusedError(f"the script {asked.change.hex()} that is to receive the change has no address")
    form: dict[str, Any] = {
        "spell": write_spell(proposal(asked.draft, mock=asked.mock)).hex(),
        "prev_txs": [{"bitcoin": write_transaction(one).hex()} for one in _previous(order)],
        "change_address": change,
        "fee_rate": Decimal(asked.fee_rate) / 1_000,
        "chain": "bitcoin",
    }
    if order.private_inputs:
        form["app_private_inputs"] = {
            app_text(app): encode(given).hex() for app, given in sorted(order.private_inputs.items())
        }
    if binaries := _binaries(order):
        form["binaries"] = {key.hex(): base64.b64encode(module).decode() for key, module in sorted(binaries.items())}
    return form


def request_key(order: ProofOrder) -> bytes:
    """What provers know a request by: SHA-256 of the spell's CBOR. Another fee rate or address is the same request."""
    return hashlib.sha256(write_spell(proposal(order.asked.draft, mock=order.asked.mock))).digest()


def _previous(order: ProofOrder) -> Sequence[BitcoinTransaction]:
    """Exactly those transactions that made what is spent and referred to."""
    draft = order.asked.draft
    outpoints = [*(spent.outpoint for spent in draft.inputs), *(draft.refs or ())]
    wanted = dict.fromkeys(outpoint.tx_id for outpoint in outpoints)
    missing = [tx_id.hex() for tx_id in wanted if tx_id not in order.previous]
    if missing:
        raise ProverRefusedError(f"the transactions {', '.join(missing)} are needed, which made what the spell spends")
    return [order.previous[tx_id] for tx_id in wanted]


def _binaries(order: ProofOrder) -> dict[bytes, bytes]:
    """Exactly those contracts whose consent the spell needs."""
    transaction = app_transaction(order.asked.draft)
    found = {}
    for app, public in transaction.public_inputs.items():
        if public is None and order.private_inputs.get(app) is None and is_simple_transfer(app, transaction):
            continue
        if app.vk not in order.contracts:
            raise ProverRefusedError(f"the contract of {app_text(app)} is needed")
        found[app.vk] = order.contracts[app.vk]
    return found
