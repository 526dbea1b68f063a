"""Bitcoin Core's JSON-RPC: the calls that reading blocks takes, with its ways to sign in and to fail.

Names of methods, results and error codes are Bitcoin Core's (``src/rpc/protocol.h``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
import msgspec
import stamina

from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockGoneError, SourceTip
from clarion.credentials import split_credentials

METHOD_NOT_FOUND: Final = -32601
INVALID_ADDRESS_OR_KEY: Final = -5
INVALID_PARAMETER: Final = -8
MISC_ERROR: Final = -1
IN_WARMUP: Final = -28

_MOST_SHOWN: Final = 200
"""Characters of a call's parameters that an error repeats: a transaction has thousands."""
CONNECTIONS: Final = 4
"""As many as a node answers at once unless told otherwise (``-rpcthreads``)."""


class RpcError(BitcoinSourceError):
    """The node answered a call with an error. ``said`` is its own word."""

    def __init__(self, message: str, code: int, said: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.said = message if said is None else said


class _PassingError(Exception):
    """What another try may turn into an answer; its text says why."""


class _Answer(msgspec.Struct):
    id: int | str | None
    result: Any = None
    error: Any = None


# amounts are bitcoins with eight places: exact as decimals, not as floats
_answer: Final = msgspec.json.Decoder(_Answer, float_hook=Decimal)
_answers: Final = msgspec.json.Decoder(list[_Answer], float_hook=Decimal)


class BitcoinRpc:
    """One node. Use as an async context manager.

    Signs in with the user and password of its address, with ``user`` and ``password``, or with what is in
    ``cookie_file``, which a node writes anew at each start.
    ``poll_seconds`` must be less than ``timeout_seconds``.
    """

    def __init__(
        self,
        url: str,
        *,
        network: BitcoinNetwork,
        user: str | None = None,
        password: str | None = None,
        cookie_file: Path | None = None,
        poll_seconds: float = 5.0,
        timeout_seconds: float = 120.0,
        attempts: int = 5,
        name: str = "bitcoin-rpc",
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._url, in_url = split_credentials(url)
        self._network = network
        self._credentials = in_url or (None if user is None else (user, password or ""))
        self._cookie_file = cookie_file
        self._poll_seconds = poll_seconds
        self._attempts = attempts
        self._long_polls = True
        self._id = 0
        self._client = httpx.AsyncClient(
            timeout=timeout_seconds,
            limits=httpx.Limits(max_connections=CONNECTIONS + 1, max_keepalive_connections=CONNECTIONS + 1),
            transport=transport,
        )
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def check(self) -> None:
        """Raise BitcoinSourceError where the node is of another network."""
        found = (await self.call("getblockchaininfo"))["chain"]
        if found != self._network.constants.core_name:
            raise BitcoinSourceError(
                f"the Bitcoin node at {self._url} is of the network {found}, not of {self._network}: set "
                "CLARION_BITCOIN__NETWORK, or the address of another node"
            )

    async def tip(self) -> SourceTip:
        """The node's best block."""
        info = await self.call("getblockchaininfo")
        return SourceTip(int(info["blocks"]), bytes.fromhex(info["bestblockhash"]))

    async def hashes(self, heights: Sequence[int]) -> list[bytes]:
        """Hashes of the best chain's blocks at these heights. Raises BlockGoneError."""
        try:
            found = await self.batch([("getblockhash", [height]) for height in heights])
        except RpcError as error:
            if error.code == INVALID_PARAMETER:
                raise BlockGoneError(str(error)) from error
            raise
        return [bytes.fromhex(block_hash) for block_hash in found]

    async def block(self, block_hash: bytes) -> bytes:
        """A block's bytes. Raises BlockGoneError, and BitcoinSourceError where the node has pruned it away."""
        try:
            return bytes.fromhex(await self.call("getblock", block_hash.hex(), 0))
        except RpcError as error:
            if error.code == INVALID_ADDRESS_OR_KEY:
                raise BlockGoneError(str(error)) from error
            if error.code == MISC_ERROR and "pruned" in str(error):
                raise BitcoinSourceError(
                    f"{error}: begin at a block that the node still has (CLARION_BITCOIN__START_HEIGHT), or read from "
                    "a node that does not prune"
                ) from error
            raise

    async def wait(self, tip: SourceTip) -> None:
        """Wait for a new block, told by the node where it can (``waitfornewblock``); at most ``poll_seconds``."""
        if self._long_polls:
            try:
                await self._once("waitfornewblock", [int(self._poll_seconds * 1000)])
            except RpcError as error:
                if error.code != METHOD_NOT_FOUND:
                    raise
                self._long_polls = False
            except _PassingError as error:
                raise self._unreachable(error) from error
            else:
                return
        await asyncio.sleep(self._poll_seconds)

    async def call(self, method: str, *parameters: Any) -> Any:
        """What a method gives. Raises RpcError, or BitcoinSourceError where the node does not answer."""
        return await self._retried(lambda: self._once(method, list(parameters)))

    async def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """What several calls give, sent as one. Raises as :meth:`call` does, at the first that failed."""
        found: list[Any] = await self._retried(lambda: self._batch_once(calls)) if calls else []
        return found

    async def _retried(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        try:
            async for attempt in stamina.retry_context(on=_PassingError, attempts=self._attempts, timeout=None):
                with attempt:
                    async with self._free:
                        return await ask()
        except _PassingError as error:
            raise self._unreachable(error) from error
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: _PassingError) -> BitcoinSourceError:
        return BitcoinSourceError(f"the Bitcoin node at {self._url} does not answer: {error}; does it run?")

    async def _once(self, method: str, parameters: list[Any]) -> Any:
        self._id += 1
        body = {"jsonrpc": "2.0", "id": self._id, "method": method, "params": parameters}
        answer = _decoded(_answer, await self._post(body))
        return self._result(answer, method, parameters)

    async def _batch_once(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        body = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": parameters}
            for number, (method, parameters) in enumerate(calls)
        ]
        answers = {answer.id: answer for answer in _decoded(_answers, await self._post(body))}
        results = []
        for number, (method, parameters) in enumerate(calls):
            if number not in answers:
                raise BitcoinSourceError(f"the Bitcoin node at {self._url} left {method} of a batch unanswered")
            results.append(self._result(answers[number], method, parameters))
        return results

    def _result(self, answer: _Answer, method: str, parameters: Iterable[Any]) -> Any:
        if answer.error is None:
            return answer.result
        said = answer.error if isinstance(answer.error, dict) else {}
        code, message = int(said.get("code", MISC_ERROR)), str(said.get("message", answer.error))
        if code == IN_WARMUP:
            raise _PassingError(f"it is starting: {message}")
        given = " ".join(map(str, parameters))
        if len(given) > _MOST_SHOWN:
            given = f"{given[:_MOST_SHOWN]}.."
        told = f"the Bitcoin node at {self._url} answers {method} {given}: {message} (error {code})"
        raise RpcError(told, code, message)

    async def _post(self, body: Any) -> bytes:
        try:
            response = await self._client.request(
                "POST",
                self._url,
                content=msgspec.json.encode(body),
                headers={"content-type": "application/json"},
                auth=self._auth(),
            )
        except httpx.TransportError as error:
            raise _PassingError(str(error) or type(error).__name__) from error
        if response.status_code in (401, 403):
            raise BitcoinSourceError(
                f"the Bitcoin node at {self._url} refuses to be asked (HTTP {response.status_code}): set "
                "CLARION_BITCOIN__RPC_USER and CLARION_BITCOIN__RPC_PASSWORD, or CLARION_BITCOIN__RPC_COOKIE_FILE, "
                "and check the node's rpcallowip"
            )
        # errors of calls come with 500 and 404 and a body; 503 says that too much waits already
        if response.status_code == 503 or not response.content:
            raise _PassingError(f"it answers with HTTP {response.status_code}")
        return response.content

    def _auth(self) -> tuple[str, str] | None:
        if self._credentials is not None or self._cookie_file is None:
            return self._credentials
        try:
            user, separator, password = self._cookie_file.read_text(encoding="ascii").strip().partition(":")
        except FileNotFoundError:
            raise _PassingError(f"{self._cookie_file}, which it writes when it starts, is not there") from None
        except (OSError, UnicodeDecodeError) as error:
            raise BitcoinSourceError(f"the cookie file {self._cookie_file} cannot be read: {error}") from error
        if not separator:
            raise BitcoinSourceError(f"{self._cookie_file} is no cookie file of a Bitcoin node: it has no colon")
        return user, password


def _decoded(decoder: msgspec.json.Decoder[Any], content: bytes) -> Any:
    try:
        return decoder.decode(content)
    except msgspec.DecodeError as error:
        raise BitcoinSourceError(f"what answers is no Bitcoin node: {error}: {content[:80]!r}") from error
