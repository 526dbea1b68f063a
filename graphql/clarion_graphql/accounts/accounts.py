"""Accounts: who asks, sign-in, API keys, and how much each may ask for."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool
from starlette.types import Scope as AsgiScope

from clarion.chains.stacks.c32 import decode_address
from clarion.chains.stacks.codec_errors import AddressError
from clarion.chains.stacks.messages import verify_message
from clarion.chains.stacks.networks import Network
from clarion.config import Accounts as AccountSettings
from clarion.config import Quota, Scope
from clarion_graphql.accounts.caller import EVERY_SCOPE, Caller, CallerKind
from clarion_graphql.accounts.client import Proxies, Request, network_key
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.accounts.message import SignInMessage, new_message, read_message
from clarion_graphql.accounts.quotas import Quotas
from clarion_graphql.accounts.store import (
    AccountStore,
    AlreadyUsedError,
    ApiKeyRecord,
    Credential,
    SessionRecord,
    TooManyKeysError,
)
from clarion_graphql.accounts.tokens import Token, new_token, parse_token
from clarion_graphql.errors import REQUEST_ID, ApiError, Code, InputError

log = structlog.get_logger(__name__)

#: How long a credential is believed without being looked up again: so late another server hears of a revocation.
BELIEVED_FOR: Final = timedelta(seconds=5)
#: How many credentials are remembered.
MOST_REMEMBERED: Final = 10_000
#: How often it is written down when credentials were last used, and looked whether those of open connections are still
#: good, in seconds.
ROUND_S: Final = 15.0
MOST_NAME_CHARACTERS: Final = 100

#: It has to fit into the frame that closes a WebSocket: 123 bytes.
_NOT_GOOD: Final = (
    "The credential is not known, revoked or expired: send a good one as `Authorization: Bearer …`, or none."
)

_Key = tuple[CallerKind, str]
"""A credential's kind and id."""


def now_utc() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class Accounts:
    """Knows callers by their credentials, signs them in, and counts what they ask for.

    Run :meth:`run` as a task beside the server.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool,
        *,
        network: Network,
        settings: AccountSettings,
        quota: Quota,
        proxies: Proxies,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        self._store = AccountStore(pool)
        self._network = network
        self._settings = settings
        self._anonymous_scopes = frozenset(settings.anonymous)
        self._operators = frozenset(settings.operators)
        self._quotas = Quotas(quota)
        self._proxies = proxies
        self._clock = clock
        self._remembered: OrderedDict[_Key, tuple[datetime, Credential]] = OrderedDict()
        self._used: dict[CallerKind, dict[str, datetime]] = {CallerKind.SESSION: {}, CallerKind.API_KEY: {}}
        self._connections: dict[_Key, list[Callable[[], None]]] = {}

    async def run(self) -> None:
        """Write down which credentials were used and end connections whose are not good any more, until cancelled."""
        try:
            while True:
                await asyncio.sleep(ROUND_S)
                await self.note_used()
                await self.end_connections()
        finally:
            await self.note_used()

    async def note_used(self) -> None:
        """Write down when credentials were last used. What cannot be written now is written next time."""
        for kind, used in self._used.items():
            noted = dict(used)
            if not noted:
                continue
            try:
                await self._store.note_used(kind, noted)
            except psycopg.Error as error:
                log.warning("accounts.use_not_noted", error=str(error).strip())
                return
            self._used[kind] = {key: at for key, at in self._used[kind].items() if noted.get(key) != at}

    async def end_connections(self) -> None:
        """End the connections whose credential was revoked, here or on another server, or has expired."""
        for kind in (CallerKind.SESSION, CallerKind.API_KEY):
            connected = {identifier for of_kind, identifier in self._connections if of_kind is kind}
            if not connected:
                continue
            try:
                good = await self._store.good(kind, connected, self._clock())
            except psycopg.OperationalError as error:
                log.warning("accounts.database_unavailable", error=str(error).strip())
                return
            for identifier in connected - good:
                self._forget(kind, identifier)

    def request_of(self, scope: AsgiScope) -> Request:
        """What a request or a WebSocket's handshake says of its sender. The log and errors say its id from here on."""
        request = self._proxies.read(scope)
        structlog.contextvars.bind_contextvars(request_id=request.request_id)
        REQUEST_ID.set(request.request_id)
        return request

    async def caller_of(self, request: Request, authorization: str | None = None) -> Caller:
        """Who sends a request.

        Args:
            request: what it says.
            authorization: in place of the header, which a browser cannot send with a WebSocket.

        Raises:
            RefusedError: the credential is not known, revoked, expired, or of another page.
        """
        caller = self._anonymous(request)
        given = request.authorization if authorization is None else authorization
        return caller if given is None else await self._known_caller(given, caller)

    def anonymous(self, scope: AsgiScope) -> Caller | None:
        """Who sends a request without a credential; None for one with."""
        request = self._proxies.read(scope)
        return self._anonymous(request) if request.authorization is None else None

    def _anonymous(self, request: Request) -> Caller:
        return Caller(
            scopes=self._anonymous_scopes,
            quota_key=f"address {network_key(request.client)}",
            client=request.client,
            origin=request.origin,
            request_id=request.request_id,
        )

    async def _known_caller(self, authorization: str, anonymous: Caller) -> Caller:
        scheme, _, text = authorization.partition(" ")
        token = parse_token(text.strip()) if scheme.lower() == "bearer" else None
        now = self._clock()
        credential = None if token is None else await self._credential(token, now)
        if token is None or credential is None or not credential.holds(now):
            self._quotas.charge(anonymous, 1)
            raise RefusedError(401, ApiError(Code.UNAUTHENTICATED, _NOT_GOOD))
        if credential.host is not None and anonymous.origin not in (None, credential.host):
            raise RefusedError(
                403,
                ApiError(Code.FORBIDDEN, f"The session was signed in on {credential.host} and is for no other page."),
            )
        self._used[token.kind][token.id] = now
        owner = f"account {credential.address}" if token.kind is CallerKind.SESSION else f"key {token.id}"
        return Caller(
            kind=token.kind,
            address=credential.address,
            scopes=credential.scopes & self._scopes_of(credential.address),
            credential=token.id,
            quota_key=owner,
            client=anonymous.client,
            origin=anonymous.origin,
            request_id=anonymous.request_id,
        )

    async def _credential(self, token: Token, now: datetime) -> Credential | None:
        key = (token.kind, token.id)
        read_at, credential = self._remembered.get(key, (None, None))
        if read_at is None or not timedelta(0) <= now - read_at < BELIEVED_FOR:
            try:
                credential = await self._store.find(token.kind, token.id)
            except psycopg.OperationalError as error:
                log.warning("accounts.database_unavailable", error=str(error).strip())
                raise RefusedError(
                    503,
                    ApiError(Code.UNAVAILABLE, "Credentials cannot be looked up at the moment. Try again."),
                    retry_after_s=1,
                ) from error
            if credential is None:
                self._remembered.pop(key, None)
                return None
            self._remembered[key] = now, credential
            self._remembered.move_to_end(key)
            if len(self._remembered) > MOST_REMEMBERED:
                self._remembered.popitem(last=False)
        return credential if credential is not None and token.fits(credential.secret_hash) else None

    def charge(self, caller: Caller, cost: int) -> None:
        """Take the cost of an operation off the caller's quota. Raises RefusedError (429) where that is used up."""
        self._quotas.charge(caller, cost)

    @contextlib.contextmanager
    def connection(self, caller: Caller, end: Callable[[], None]) -> Iterator[None]:
        """Count a connection while it lasts.

        Args:
            caller: who has it.
            end: called, perhaps more than once, when the caller's credential is not good any more.

        Raises:
            RefusedError: (429) the caller has too many.
        """
        with self._quotas.connection(caller):
            if caller.credential is None:
                yield
                return
            ends = self._connections.setdefault((caller.kind, caller.credential), [])
            ends.append(end)
            try:
                yield
            finally:
                ends.remove(end)
                if not ends:
                    self._connections.pop((caller.kind, caller.credential), None)

    async def sign_in_message(self, caller: Caller, address: str, host: str) -> tuple[str, SignInMessage]:
        """The text for a wallet to sign, and what it says. Raises ApiError."""
        host = host.lower()
        self._require_host(caller, host)
        self._require_address(address)
        message = new_message(host, address, self._network.chain_id, self._clock())
        return message.text(await self._store.secret()), message

    async def sign_in(self, caller: Caller, text: str, signature: bytes) -> tuple[Token, SessionRecord]:
        """A session of the address that signed a text of :meth:`sign_in_message`. Raises ApiError."""
        message = read_message(text, await self._store.secret())
        if message is None:
            raise InputError("The message is not one that createSignInMessage gave: sign that, unchanged.")
        self._require_host(caller, message.host)
        now = self._clock()
        if now >= message.expires_at:
            raise ApiError(Code.UNAUTHENTICATED, "The message has expired: ask for another one.")
        if not verify_message(text, signature, message.address):
            raise ApiError(
                Code.UNAUTHENTICATED,
                f"The signature is not one of {message.address} over the message (65 bytes: R, S, recovery id).",
            )
        token = new_token(CallerKind.SESSION)
        expires_at = now + timedelta(seconds=self._settings.session_seconds)
        try:
            session, revoked = await self._store.add_session(token, message, now, expires_at)
        except AlreadyUsedError:
            raise ApiError(
                Code.UNAUTHENTICATED, "The message was signed in with before: ask for another one."
            ) from None
        for identifier in revoked:
            self._forget(CallerKind.SESSION, identifier)
        log.info("accounts.signed_in", address=session.address, session=session.id, host=session.host)
        return token, session

    async def sessions(self, caller: Caller) -> Sequence[SessionRecord]:
        """The good sessions of who is signed in. Raises ApiError."""
        return await self._store.sessions(_signed_in(caller), self._clock())

    async def revoke_session(self, caller: Caller, identifier: str | None) -> SessionRecord:
        """Revoke a session of who is signed in: the one used now, unless another is named. Raises ApiError."""
        address = _signed_in(caller)
        named = identifier or caller.credential or ""
        revoked = await self._store.revoke_session(address, named, self._clock())
        if revoked is None:
            raise InputError(f"{address} has no session {named!r}.")
        self._forget(CallerKind.SESSION, named)
        return revoked

    async def create_api_key(
        self, caller: Caller, name: str, scopes: Sequence[Scope], expires_at: datetime | None
    ) -> tuple[Token, ApiKeyRecord]:
        """A new key of who is signed in. Raises ApiError."""
        address, now = _signed_in(caller), self._clock()
        if not name.strip() or len(name) > MOST_NAME_CHARACTERS or not name.isprintable():
            raise InputError(f"A key's name has 1 to {MOST_NAME_CHARACTERS} printable characters.")
        if not scopes:
            raise InputError("A key without a scope can do nothing: give at least one.")
        if refused := set(scopes) - self._scopes_of(address):
            names = ", ".join(sorted(scope.name for scope in refused))
            raise ApiError(Code.FORBIDDEN, f"{address} cannot give {names}: accounts.operators does not name it.")
        if expires_at is not None and expires_at.tzinfo is None:
            raise InputError("expiresAt needs a time zone, such as 2030-01-01T00:00:00Z.")
        if expires_at is not None and expires_at <= now:
            raise InputError(f"expiresAt is not in the future: it is {now:%Y-%m-%dT%H:%M:%SZ} here.")
        token = new_token(CallerKind.API_KEY)
        try:
            key = await self._store.add_api_key(token, address, name, sorted(set(scopes)), now, expires_at)
        except TooManyKeysError:
            raise ApiError(Code.LIMIT_EXCEEDED, f"{address} has too many keys: revoke one before the next.") from None
        log.info("accounts.key_created", address=address, key=key.id, scopes=key.scopes)
        return token, key

    async def api_keys(self, caller: Caller) -> Sequence[ApiKeyRecord]:
        """The keys of who is signed in. Raises ApiError."""
        return await self._store.api_keys(_signed_in(caller))

    async def revoke_api_key(self, caller: Caller, identifier: str) -> ApiKeyRecord:
        """Revoke a key of who is signed in. Raises ApiError."""
        address = _signed_in(caller)
        revoked = await self._store.revoke_api_key(address, identifier, self._clock())
        if revoked is None:
            raise InputError(f"{address} has no key {identifier!r}.")
        self._forget(CallerKind.API_KEY, identifier)
        log.info("accounts.key_revoked", address=address, key=identifier)
        return revoked

    def _scopes_of(self, address: str) -> frozenset[Scope]:
        """What an address may do, and its keys at most."""
        return EVERY_SCOPE if address in self._operators else EVERY_SCOPE - {Scope.KEEPER}

    def _forget(self, kind: CallerKind, identifier: str) -> None:
        self._remembered.pop((kind, identifier), None)
        for end in list(self._connections.get((kind, identifier), ())):
            end()

    def _require_host(self, caller: Caller, host: str) -> None:
        """The page is one that users may sign in on, and the one that the browser says it is."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if not {host, name} & {allowed.lower() for allowed in self._settings.hosts}:
            raise ApiError(
                Code.FORBIDDEN, f"Nobody can sign in on {host!r} here: the setting accounts.hosts names others."
            )
        if caller.origin is not None and caller.origin != host:
            raise ApiError(Code.FORBIDDEN, f"The page that asks is {caller.origin}, not {host}.")

    def _require_address(self, address: str) -> None:
        try:
            version, _ = decode_address(address)
        except AddressError as error:
            raise InputError(str(error)) from None
        if address != address.upper() or version != self._network.single_sig_version:
            raise InputError(
                f"{address} is no address of one key on {self._network.value}: only such an account signs messages."
            )


def _signed_in(caller: Caller) -> str:
    """The address of a caller with a session."""
    if caller.kind is CallerKind.SESSION and caller.address is not None:
        return caller.address
    if caller.kind is CallerKind.API_KEY:
        raise ApiError(Code.FORBIDDEN, "An API key cannot manage sessions and keys: sign in with a wallet.")
    raise ApiError(Code.UNAUTHENTICATED, "Sign in first: createSignInMessage, then signIn.")
