"""Sessions and API keys in the database."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import psycopg
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool

from clarion.config import Scope
from clarion.store.database import make_pool
from clarion_graphql.accounts.caller import EVERY_SCOPE, CallerKind
from clarion_graphql.accounts.message import VALID_FOR, SignInMessage
from clarion_graphql.accounts.tokens import Token

POOL_SIZE: Final = 4
#: Longest that a write waits for a connection, in seconds.
CONNECTION_TIMEOUT_S: Final = 5.0
STATEMENT_TIMEOUT_MS: Final = 5_000
SECRET_BYTES: Final = 32
#: How many sessions of an address are good at once; the oldest is revoked by one more.
MOST_SESSIONS: Final = 100
#: How many keys of an address are good at once.
MOST_API_KEYS: Final = 100

_SESSION: Final = "id, address, host, created_at, expires_at, last_used_at, revoked_at"
_API_KEY: Final = "id, address, name, scopes, created_at, expires_at, last_used_at, revoked_at"

_FIND_SESSION: Final = """
SELECT secret_hash, address, host, NULL::text[], expires_at, revoked_at FROM clarion_account.session WHERE id = %s
"""
_FIND_API_KEY: Final = """
SELECT secret_hash, address, NULL::text, scopes, expires_at, revoked_at FROM clarion_account.api_key WHERE id = %s
"""
_FIND: Final = {CallerKind.SESSION: _FIND_SESSION, CallerKind.API_KEY: _FIND_API_KEY}
_GOOD: Final = {
    kind: f"SELECT id FROM clarion_account.{table} WHERE id = ANY(%s) AND revoked_at IS NULL "
    "AND (expires_at IS NULL OR expires_at > %s)"
    for kind, table in ((CallerKind.SESSION, "session"), (CallerKind.API_KEY, "api_key"))
}
_ADD_SESSION: Final = f"""
INSERT INTO clarion_account.session (id, secret_hash, address, host, nonce, created_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_SESSION}
"""
_FORGET_SESSIONS: Final = "DELETE FROM clarion_account.session WHERE expires_at < %s"
_REVOKE_OLDEST: Final = """
UPDATE clarion_account.session SET revoked_at = %(now)s WHERE id IN (
    SELECT id FROM clarion_account.session WHERE address = %(address)s AND revoked_at IS NULL AND expires_at > %(now)s
    ORDER BY created_at DESC, id OFFSET %(most)s
) RETURNING id
"""
_REVOKE_SESSION: Final = f"""
UPDATE clarion_account.session SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s AND address = %s
RETURNING {_SESSION}
"""
_SESSIONS: Final = f"""
SELECT {_SESSION} FROM clarion_account.session WHERE address = %s AND revoked_at IS NULL AND expires_at > %s
ORDER BY created_at DESC, id LIMIT {MOST_SESSIONS}
"""
_GOOD_API_KEYS: Final = """
SELECT count(*) FROM clarion_account.api_key
WHERE address = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s)
"""
_ADD_API_KEY: Final = f"""
INSERT INTO clarion_account.api_key (id, secret_hash, address, name, scopes, created_at, expires_at)
VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING {_API_KEY}
"""
_REVOKE_API_KEY: Final = f"""
UPDATE clarion_account.api_key SET revoked_at = coalesce(revoked_at, %s) WHERE id = %s AND address = %s
RETURNING {_API_KEY}
"""
_API_KEYS: Final = f"""
SELECT {_API_KEY} FROM clarion_account.api_key WHERE address = %s ORDER BY created_at DESC, id LIMIT 1000
"""
_USED: Final = {
    CallerKind.SESSION: """
        UPDATE clarion_account.session s SET last_used_at = u.at
        FROM unnest(%s::text[], %s::timestamptz[]) u (id, at) WHERE s.id = u.id
    """,
    CallerKind.API_KEY: """
        UPDATE clarion_account.api_key s SET last_used_at = u.at
        FROM unnest(%s::text[], %s::timestamptz[]) u (id, at) WHERE s.id = u.id
    """,
}


R = TypeVar("R")


class AlreadyUsedError(Exception):
    """The text was signed in with before."""


class TooManyKeysError(Exception):
    """The address has as many keys as it may."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What is kept of a session or an API key, for finding out who asks."""

    secret_hash: bytes
    address: str
    host: str | None
    """Where the session was signed in; None for a key."""
    scopes: frozenset[Scope]
    expires_at: datetime | None
    revoked_at: datetime | None

    def holds(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A sign-in."""

    id: str
    address: str
    host: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApiKeyRecord:
    """An API key without its secret."""

    id: str
    address: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


def write_pool(url: str, role: str | None = None) -> AsyncConnectionPool:
    """A closed pool for what is kept beside the chain's data, as ``role`` where given."""
    options = f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c timezone=UTC" + (f" -c role={role}" if role else "")
    pool = make_pool(url, min_size=0, max_size=POOL_SIZE, options=options, application_name="clarion graphql accounts")
    pool.timeout = CONNECTION_TIMEOUT_S
    return pool


class AccountStore:
    """Reads and writes sessions and keys. Every method raises psycopg.OperationalError without a database."""

    def __init__(self, pool: AsyncConnectionPool) -> None:
        self._pool = pool
        self._secret: bytes | None = None

    async def secret(self) -> bytes:
        """What all servers on this database know texts to be signed by; made by the first of them."""
        if self._secret is None:
            async with self._pool.connection() as connection:
                await connection.execute(
                    "INSERT INTO clarion_account.secret VALUES ('sign-in', %s) ON CONFLICT DO NOTHING",
                    (secrets.token_bytes(SECRET_BYTES),),
                )
                cursor = await connection.execute("SELECT value FROM clarion_account.secret WHERE name = 'sign-in'")
                row = await cursor.fetchone()
            assert row is not None
            self._secret = bytes(row[0])
        return self._secret

    async def find(self, kind: CallerKind, identifier: str) -> Credential | None:
        """A session or a key by its id, good or not."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_FIND[kind], (identifier,))).fetchone()
        if row is None:
            return None
        secret_hash, address, host, scopes, expires_at, revoked_at = row
        allowed = EVERY_SCOPE if scopes is None else frozenset(map(Scope, scopes))
        return Credential(bytes(secret_hash), address, host, allowed, expires_at, revoked_at)

    async def good(self, kind: CallerKind, identifiers: Collection[str], now: datetime) -> set[str]:
        """Those of some sessions or keys that are neither revoked nor expired, by id."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_GOOD[kind].encode(), (list(identifiers), now))
            return {identifier for (identifier,) in await cursor.fetchall()}

    async def add_session(
        self, token: Token, message: SignInMessage, now: datetime, expires_at: datetime
    ) -> tuple[SessionRecord, list[str]]:
        """A new session of the text's address, and the ids of those that it made one too many.

        Raises AlreadyUsedError where the text was signed in with before.
        """
        values = (token.id, token.secret_hash, message.address, message.host, message.nonce, now, expires_at)
        async with self._pool.connection() as connection, connection.transaction():
            # a text that may still be signed in with is known by its session's row, whether that is expired or not
            await connection.execute(_FORGET_SESSIONS, (now - VALID_FOR,))
            try:
                record = await _one(connection, SessionRecord, _ADD_SESSION, values)
            except psycopg.errors.UniqueViolation:
                raise AlreadyUsedError from None
            cursor = await connection.execute(
                _REVOKE_OLDEST, {"now": now, "address": message.address, "most": MOST_SESSIONS}
            )
            revoked = [identifier for (identifier,) in await cursor.fetchall()]
        assert record is not None
        return record, revoked

    async def sessions(self, address: str, now: datetime) -> Sequence[SessionRecord]:
        """The good sessions of an address, the newest first."""
        return await self._all(SessionRecord, _SESSIONS, (address, now))

    async def revoke_session(self, address: str, identifier: str, now: datetime) -> SessionRecord | None:
        """Revoke a session of an address; None where it has none of that id."""
        async with self._pool.connection() as connection:
            return await _one(connection, SessionRecord, _REVOKE_SESSION, (now, identifier, address))

    async def add_api_key(
        self,
        token: Token,
        address: str,
        name: str,
        scopes: Sequence[Scope],
        now: datetime,
        expires_at: datetime | None,
    ) -> ApiKeyRecord:
        """A new key. Raises TooManyKeysError where the address has as many as it may."""
        values = (token.id, token.secret_hash, address, name, [scope.value for scope in scopes], now, expires_at)
        async with self._pool.connection() as connection, connection.transaction():
            row = await (await connection.execute(_GOOD_API_KEYS, (address, now))).fetchone()
            if row is not None and row[0] >= MOST_API_KEYS:
                raise TooManyKeysError
            record = await _one(connection, ApiKeyRecord, _ADD_API_KEY, values)
        assert record is not None
        return record

    async def api_keys(self, address: str) -> Sequence[ApiKeyRecord]:
        """The keys of an address, the newest first, those that are revoked or expired too."""
        return await self._all(ApiKeyRecord, _API_KEYS, (address,))

    async def revoke_api_key(self, address: str, identifier: str, now: datetime) -> ApiKeyRecord | None:
        """Revoke a key of an address; None where it has none of that id."""
        async with self._pool.connection() as connection:
            return await _one(connection, ApiKeyRecord, _REVOKE_API_KEY, (now, identifier, address))

    async def note_used(self, kind: CallerKind, used: Mapping[str, datetime]) -> None:
        """When sessions or keys were last used, by id."""
        async with self._pool.connection() as connection:
            await connection.execute(_USED[kind], (list(used), list(used.values())))

    async def _all(self, kind: type[R], statement: str, values: Sequence[Any]) -> Sequence[R]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
            return await (await cursor.execute(statement.encode(), values)).fetchall()


async def _one(
    connection: psycopg.AsyncConnection[Any], kind: type[R], statement: str, values: Sequence[Any]
) -> R | None:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        return await (await cursor.execute(statement.encode(), values)).fetchone()
