"""The keeper's side of signers: `open_signer` gives one, whoever holds the key and however it is reached."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shlex
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec
import structlog
from msgspec import Struct

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.key_scripts import taproot_script
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.stacks.authorization import EMPTY_SIGNATURE, SingleSig
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.keys import address_of_public_key
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.signing import verify
from clarion.chains.stacks.transactions import Transaction, decode_transaction
from clarion_keeper.signers.agent_options import AgentOptions
from clarion_keeper.signers.errors import SignerProtocolError, SignerUnavailableError, SigningRefusedError
from clarion_keeper.signers.key_sources import ENVIRONMENT, KEY_SOURCES
from clarion_keeper.signers.limits import Limits, StacksLimits
from clarion_keeper.signers.processes import ChildSigner, Links, OwnAgent, SocketSigner, inherited_agent
from clarion_keeper.signers.protocol import (
    VERSION,
    ErrorCode,
    Hello,
    Identity,
    Purpose,
    Request,
    Response,
    SignBitcoin,
    SignedBitcoin,
    SignedStacks,
    SignStacks,
    encode_line,
)

log = structlog.get_logger()

TIMEOUT_SECONDS: Final = 30.0
"""How long an answer may take. A signer that takes longer counts as hanging."""
REST_SECONDS: Final = 15.0
"""For how long a signer that hung is not asked again: whoever wants many signatures is not to wait for each."""
_ATTEMPTS: Final = 3
_R = TypeVar("_R", bound=Struct)
_responses: Final = msgspec.json.Decoder(Response)


class Signer(Protocol):
    """Whoever signs for one account. It can be asked from several tasks at once."""

    address: str
    """On Stacks the account; on Bitcoin the key's taproot address."""
    public_key: bytes
    """On Stacks as the address hashes it (33 or 65 bytes), on Bitcoin compressed."""

    async def sign_stacks(self, unsigned: bytes, *, purpose: Purpose) -> bytes:
        """The whole transaction, signed. Asking again for the same one is harmless.

        Raises:
            SigningRefusedError: a limit of the signer's forbids it.
            SignerUnavailableError: the signer does not answer; it may pass.
            SignerProtocolError: it signed something else, or does not keep to the protocol.
        """
        ...

    async def sign_bitcoin(self, psbt: bytes, *, purpose: Purpose) -> bytes:
        """The PSBT (version 0) with signatures on the key's inputs. It is for the caller to check what came back.

        Raises as `sign_stacks`.
        """
        ...

    async def aclose(self) -> None:
        """Hang up, and end the agent where this started it."""
        ...


async def open_signer(
    url: str,
    limits: Limits,
    *,
    account: str,
    ledger: Path,
    known: Path | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
    rest_seconds: float = REST_SECONDS,
) -> Signer:
    """The signer at a URL, once it has said who it is.

    Args:
        url: ``file:``, ``env:`` or ``keyring:`` for a key that an agent is started with; ``process:COMMAND`` or
            ``unix:PATH`` for a signer of somebody else's, which has limits of its own.
        limits: the agent's, and in any case the chain and network that the signer has to be on.
        account: its name, for messages.
        ledger: where an agent remembers what it spent within the hour; ``{key}`` stands for the key's address.
        known: a file that remembers who the signer is. With it, one that cannot be reached for now is no error: it is
            asked again whenever something is to be signed.
        timeout_seconds: how long an answer may take.
        rest_seconds: for how long a signer that took longer is not asked again.

    Raises:
        SignerUnavailableError: it cannot be reached or has no key, and nobody knows who it is.
        SignerProtocolError: it does not speak the protocol, or is on another chain or network.
    """
    signer = _RemoteSigner(_links(url, limits, account, ledger), account, limits, timeout_seconds, rest_seconds)
    try:
        await signer.greet(known)
    except BaseException:
        await signer.aclose()
        raise
    log.info("signer opened", account=account, address=signer.address, signer=url.partition(":")[0])
    return signer


def _links(url: str, limits: Limits, account: str, ledger: Path) -> Links:
    if url.startswith(ENVIRONMENT):
        return inherited_agent(account)
    if url.startswith(KEY_SOURCES):
        return OwnAgent(AgentOptions(account=account, source=url, limits=limits, ledger=str(ledger)))
    scheme, _, rest = url.partition(":")
    match scheme:
        case "process":
            return ChildSigner(shlex.split(rest))
        case "unix":
            return SocketSigner(Path(rest))
    raise SignerUnavailableError(f"{scheme}: is no kind of signer; there are {', '.join(KEY_SOURCES)} process:, unix:")


class _ConnectionLostError(Exception):
    """The connection ended before the answer came."""


class _Connection:
    """One connection: requests go out, and answers find theirs by the id."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[Response]] = {}
        self._reading = asyncio.create_task(self._read())
        self.lost = False

    async def ask(self, request: Request) -> Response:
        """The answer. Raises `_ConnectionLostError`."""
        if self.lost:
            raise _ConnectionLostError
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = answer
        try:
            self._writer.write(encode_line(request))
            await self._writer.drain()
            return await answer
        except ConnectionError:
            self.lost = True  # though what it said before may still be unread
            raise _ConnectionLostError from None
        finally:
            self._waiting.pop(request.id, None)

    async def close(self) -> None:
        """Hang up; whoever waits for an answer gets `_ConnectionLostError`."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        try:
            while True:
                response = _responses.decode(await self._reader.readuntil())
                waiting = self._waiting.get(response.id) if response.id is not None else None
                if waiting is None:
                    log.warning("a signer answered what nobody asked", error=response.error)
                elif not waiting.done():
                    waiting.set_result(response)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (asyncio.LimitOverrunError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("a signer sent a line that is no answer", reason=str(error))
        finally:
            self.lost = True
            self._writer.close()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(_ConnectionLostError())


class _RemoteSigner:
    """A signer over connections of the protocol; see `Signer`."""

    address: str
    public_key: bytes

    def __init__(self, links: Links, account: str, limits: Limits, timeout_seconds: float, rest_seconds: float) -> None:
        self._links = links
        self._account = account
        self._limits = limits
        self._timeout = timeout_seconds
        self._rest_seconds = rest_seconds
        self._ids = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._identity: Identity | None = None
        self._resting_until = 0.0

    async def greet(self, known: Path | None) -> None:
        """Connect for the first time; see `open_signer`."""
        try:
            await self._connected_at_first()
        except SignerUnavailableError as error:
            identity = None if known is None else _remembered(known)
            if identity is None:
                raise
            _check_is_of(identity, self._account, self._limits)
            self._know(identity)
            log.error("a signer does not answer; going on without it", account=self._account, reason=str(error))
            return
        if known is not None and self._identity is not None:
            await asyncio.to_thread(_remember, known, self._identity)

    async def sign_stacks(self, unsigned: bytes, *, purpose: Purpose) -> bytes:
        request = SignStacks(next(self._ids), unsigned.hex(), purpose)
        result = await self._ask(request, SignedStacks)
        try:
            signed = bytes.fromhex(result.transaction)
            _check_is_signed(unsigned, signed)
        except ValueError as error:
            raise SignerProtocolError(f"The signer of {self._account} gave no signature that holds: {error}") from error
        return signed

    async def sign_bitcoin(self, psbt: bytes, *, purpose: Purpose) -> bytes:
        return (await self._ask(SignBitcoin(next(self._ids), psbt, purpose), SignedBitcoin)).psbt

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        self._links.close()

    async def _ask(self, request: Request, result: type[_R]) -> _R:
        if asyncio.get_running_loop().time() < self._resting_until:
            raise SignerUnavailableError(f"The signer of {self._account} hung a moment ago; it is asked again soon")
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(_ConnectionLostError):
                connection = await self._connected()
                return self._result(await self._answer(connection, request), result)
        raise SignerUnavailableError(f"The signer of {self._account} hung up {_ATTEMPTS} times without an answer")

    async def _answer(self, connection: _Connection, request: Request) -> Response:
        try:
            async with asyncio.timeout(self._timeout):
                return await connection.ask(request)
        except TimeoutError:
            self._rest()
            async with self._connecting:
                if self._connection is connection:
                    self._connection = None
                    self._links.reset()
                await connection.close()
            raise SignerUnavailableError(
                f"The signer of {self._account} gave no answer within {self._timeout:g} seconds"
            ) from None

    async def _connected_at_first(self) -> None:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(_ConnectionLostError):
                await self._connected()
                return
        raise SignerUnavailableError(
            f"The signer of {self._account} hung up {_ATTEMPTS} times before it said who it is"
        )

    async def _connected(self) -> _Connection:
        """The connection, a new one where it was lost. Raises also `_ConnectionLostError`, for a new one."""
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return self._connection
            try:
                async with asyncio.timeout(self._timeout):
                    connection = _Connection(*await self._links.connect())
            except ConnectionResetError:  # it ended while it was starting
                raise _ConnectionLostError from None
            except (TimeoutError, OSError) as error:
                if isinstance(error, TimeoutError):
                    self._rest()
                reason = str(error) or type(error).__name__
                raise SignerUnavailableError(f"The signer of {self._account} cannot be reached: {reason}") from error
            try:
                await self._check_identity(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
            return connection

    async def _check_identity(self, connection: _Connection) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                response = await connection.ask(Hello(next(self._ids), VERSION))
        except _ConnectionLostError:
            self._links.reset()
            raise
        except TimeoutError:
            self._rest()
            self._links.reset()
            raise SignerUnavailableError(
                f"The signer of {self._account} did not say who it is within {self._timeout:g} seconds"
            ) from None
        identity = self._result(response, Identity)
        if self._identity is not None and identity.public_key != self._identity.public_key:
            raise SignerProtocolError(
                f"The signer of {self._account} was {self._identity.address} and is now {identity.address}"
            )
        _check_is_of(identity, self._account, self._limits)
        self._know(identity)

    def _rest(self) -> None:
        self._resting_until = asyncio.get_running_loop().time() + self._rest_seconds

    def _know(self, identity: Identity) -> None:
        self._identity = identity
        self.address, self.public_key = identity.address, bytes.fromhex(identity.public_key)

    def _result(self, response: Response, result: type[_R]) -> _R:
        failure = response.error
        if failure is not None:
            message = f"The signer of {self._account}: {failure.message}"
            if failure.code == ErrorCode.REFUSED:
                raise SigningRefusedError(failure.limit or "", message)
            if failure.code == ErrorCode.FAILED:
                raise SignerUnavailableError(message)
            raise SignerProtocolError(f"{message} ({failure.code})")
        try:
            return msgspec.json.decode(response.result, type=result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise SignerProtocolError(
                f"The signer of {self._account} gave an answer of a wrong form: {error}"
            ) from None


def _remember(path: Path, identity: Identity) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(msgspec.json.encode(identity))
    beside.replace(path)


def _remembered(path: Path) -> Identity | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _check_is_of(identity: Identity, account: str, limits: Limits) -> None:
    """That the signer is on the chain and network that the account is on. Raises SignerProtocolError."""
    chain = "stacks" if isinstance(limits, StacksLimits) else "bitcoin"
    if identity.version != VERSION or identity.chain != chain:
        raise SignerProtocolError(
            f"The signer of {account} speaks version {identity.version} for {identity.chain}; "
            f"version {VERSION} for {chain} is needed"
        )
    try:
        public_key = bytes.fromhex(identity.public_key)
        expected = (
            str(address_of_public_key(public_key, Network(limits.network)))
            if isinstance(limits, StacksLimits)
            else address_of(taproot_script(public_key), BitcoinNetwork(limits.network))
        )
    except ValueError as error:
        raise SignerProtocolError(f"The signer of {account} gave no public key: {error}") from error
    if identity.address != expected:
        raise SignerProtocolError(
            f"The signer of {account} says that its address is {identity.address}, but on {limits.network} its public "
            f"key makes {expected}: is it set up for another network?"
        )


def _check_is_signed(unsigned: bytes, signed: bytes) -> None:
    """That it is the same transaction, with a signature of its account's. Raises ValueError."""
    transaction = decode_transaction(signed)
    verify(transaction)
    if _without_signature(transaction) != _without_signature(decode_transaction(unsigned)):
        raise CodecError("it is not the transaction that was to be signed")


def _without_signature(transaction: Transaction) -> Transaction:
    origin = transaction.authorization.origin
    if not isinstance(origin, SingleSig):
        raise CodecError("its account has several keys")
    emptied = msgspec.structs.replace(origin, signature=EMPTY_SIGNATURE)
    authorization = msgspec.structs.replace(transaction.authorization, origin=emptied)
    return msgspec.structs.replace(transaction, authorization=authorization)
