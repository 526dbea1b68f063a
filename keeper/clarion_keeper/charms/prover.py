"""Client of the Charms prover's API: ``POST /spells/prove``.

The forms are those of charms 15.1 (``charms-client/src/request.rs``, ``src/cli/server.rs``): a request as JSON with the
spell as the hexadecimal text of its CBOR, an answer of one unsigned transaction. HTTP 400 is for good, 500 passes. What
is answered is not believed: see `clarion_keeper.charms.answer`.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
import stamina
import structlog

from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.credentials import split_credentials
from clarion_keeper.charms.answer import CharmsFee, Proven, checked
from clarion_keeper.charms.preflight import preflight
from clarion_keeper.charms.proof_order import ProofOrder, request_form
from clarion_keeper.executor import ExecutorError

MAX_REQUEST_BYTES: Final = 32 << 20
"""Most that a prover takes (charms 15.1)."""
MAX_ANSWER_BYTES: Final = 2 << 20
"""More than any transaction that nodes relay, as hexadecimal."""
PROVING_SECONDS: Final = 300.0

_PROVE_PATH: Final = "/spells/prove"
_MOST_REASON: Final = 500
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

log: Final = structlog.get_logger(__name__)


class ProverUnavailableError(ExecutorError):
    """The prover did not answer, or could not for now. Asking again later may help."""


class ProverRefusedError(ValueError):
    """The prover says that it will never prove this. The message is the prover's own word."""


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
        accept_mock: take proofs that mean nothing; on regtest alone.
        fee: what it may charge; None for nothing.
        version: of the spells that it proves; it takes no others.
        timeout_seconds: how long one answer may take: proving takes minutes.
        attempts: how often it is asked while it says that it cannot for now.
    """

    def __init__(
        self,
        url: str,
        *,
        network: BitcoinNetwork,
        accept_mock: bool = False,
        fee: CharmsFee | None = None,
        version: int = LATEST_VERSION,
        timeout_seconds: float = PROVING_SECONDS,
        attempts: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.version = version
        self.url, credentials = split_credentials(url)
        self._network = network
        self._accept_mock = accept_mock
        self._fee = fee
        self._attempts = attempts
        self._timeout = timeout_seconds
        self._client = httpx.AsyncClient(auth=credentials, timeout=timeout_seconds, transport=transport)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def prove(self, order: ProofOrder) -> Proven:
        """A spell with its proof: the contracts are asked first, and the answer is checked.

        Raises:
            OrderError, PreflightError: it would be refused.
            ProverRefusedError: it will never prove this, or is of another version.
            ProverUnavailableError: it does not answer, or says that it cannot for now.
            AnswerError: it answers something else than it was asked for.
        """
        preflight(order, self._network, accept_mock=self._accept_mock)
        answer = await self.answer(order)
        proven = checked(order.asked, answer, network=self._network, accept_mock=self._accept_mock, fee=self._fee)
        if proven.earlier_answer:
            log.info("the prover remembers an earlier request for this spell; the fee is set here", prover=self.url)
        return proven

    async def answer(self, order: ProofOrder) -> bytes:
        """The transaction that the prover answers, not checked.

        Raises:
            OrderError: something that it needs is not there.
            ProverRefusedError: it will never prove this, or is of another version.
            ProverUnavailableError: it does not answer, or says that it cannot for now.
        """
        version = order.asked.draft.version
        if version != self.version:
            raise ProverRefusedError(
                f"the spell is of version {version}, and the prover at {self.url} proves version {self.version}: "
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
        headers = {"content-type": "application/json", "accept-encoding": "identity"}
        found = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", self.url + _PROVE_PATH, content=body, headers=headers) as response,
            ):
                if "content-encoding" in response.headers:  # what is packed may be of any size
                    raise ProverRefusedError(f"the prover at {self.url} packs its answer, which nobody asked for")
                async for piece in response.aiter_bytes():
                    found += piece
                    if len(found) > MAX_ANSWER_BYTES:
                        raise ProverRefusedError(f"the prover at {self.url} answers more than {MAX_ANSWER_BYTES} bytes")
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
        raise ProverRefusedError(f"the prover at {self.url} refuses (HTTP {status}): {said}")

    def _transaction(self, content: bytes) -> bytes:
        try:
            answer = msgspec.json.decode(content, type=list[dict[str, Any]])
            (transaction,) = answer
            return bytes.fromhex(transaction["bitcoin"])
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise ProverRefusedError(
                f"the prover at {self.url} answers what is not one transaction of Bitcoin: {content[:80]!r}"
            ) from error

    def _unavailable(self, why: str) -> ProverUnavailableError:
        return ProverUnavailableError(f"the prover at {self.url} does not answer: {why}")
