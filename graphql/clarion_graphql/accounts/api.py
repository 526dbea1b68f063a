"""The fields of accounts: `me`, and the mutations that sign in and manage keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from inspect import Parameter
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.extensions.field_extension import AsyncExtensionResolver
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField

from clarion.config import Scope
from clarion_graphql.accounts.caller import Caller, CallerKind
from clarion_graphql.accounts.roles import RoleReader
from clarion_graphql.accounts.store import ApiKeyRecord, SessionRecord
from clarion_graphql.context import Info
from clarion_graphql.enums import graphql_enum
from clarion_graphql.scalars import Bytes
from clarion_graphql.types import make_field, with_arguments

graphql_enum(
    Scope,
    {
        "READ": "Queries.",
        "SUBSCRIBE": "Subscriptions.",
        "PREPARE": "Mutations of protocols, which prepare transactions to be signed and watch over them.",
        "KEEPER": "What the keeper plans and sends. Only for the operators that the server's settings name.",
    },
)
graphql_enum(
    CallerKind,
    {
        "ANONYMOUS": "It does not say.",
        "SESSION": "With the token of a sign-in.",
        "API_KEY": "With an API key.",
    },
)


@strawberry.type(description="A role that contracts give an address.")
class HeldRole:
    """A role that contracts give an address."""

    protocol: str = strawberry.field(description="The protocol whose contracts say so.")
    role: str = strawberry.field(description="Its name.")
    until_burn: int | None = strawberry.field(
        description="Height of the last Bitcoin block it is held in; null: without end."
    )


@strawberry.type(description="A sign-in with a wallet.")
class Session:
    """A sign-in with a wallet."""

    id: strawberry.ID = strawberry.field(description="Its id, which is no secret.")
    address: str = strawberry.field(description="Who signed in.")
    host: str = strawberry.field(description="The page it was signed in on, and the only one it is good for.")
    created_at: datetime = strawberry.field(description="When.")
    expires_at: datetime = strawberry.field(description="From when on it is not good any more.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to about half a minute.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked.")
    current: bool = strawberry.field(description="Whether it is the one that asks.")


@strawberry.type(description="An API key, without its secret.")
class ApiKey:
    """An API key, without its secret."""

    id: strawberry.ID = strawberry.field(description="Its id, which is no secret: the middle part of the key.")
    name: str = strawberry.field(description="What its owner calls it.")
    scopes: list[Scope] = strawberry.field(description="What it may do.")
    created_at: datetime = strawberry.field(description="When it was made.")
    expires_at: datetime | None = strawberry.field(description="From when on it is not good any more; null: never.")
    last_used_at: datetime | None = strawberry.field(description="When it was last used, to about half a minute.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked.")


@strawberry.type(description="A text for a wallet to sign.")
class SignInMessage:
    """A text for a wallet to sign."""

    message: str = strawberry.field(description="The text, to be signed as it is (`stx_signMessage`).")
    expires_at: datetime = strawberry.field(description="Until when it can be signed in with, once.")


@strawberry.type(description="What a sign-in gives.")
class SignedIn:
    """What a sign-in gives."""

    token: str = strawberry.field(
        description="To be sent as `Authorization: Bearer …`. It is shown here and never again."
    )
    session: Session = strawberry.field(description="The session it stands for.")


@strawberry.type(description="A key that was just made.")
class NewApiKey:
    """A key that was just made."""

    secret: str = strawberry.field(
        description="The key, to be sent as `Authorization: Bearer …`. It is shown here and never again."
    )
    api_key: ApiKey = strawberry.field(description="What is kept of it.")


async def _roles(root: Me, info: Info) -> list[HeldRole]:
    held = [role for read in root.readers for role in await read(info.context.session, root.address)]
    return [HeldRole(protocol=role.protocol, role=role.role, until_burn=role.until_burn) for role in held]


async def _sessions(root: Me, info: Info) -> list[Session]:
    found = await info.context.service.accounts.sessions(root.caller)
    return [_session(record, root.caller) for record in found]


async def _api_keys(root: Me, info: Info) -> list[ApiKey]:
    return [_api_key(record) for record in await info.context.service.accounts.api_keys(root.caller)]


@strawberry.type(description="Who asks.")
class Me:
    """Who asks."""

    caller: strawberry.Private[Caller]
    readers: strawberry.Private[Sequence[RoleReader]]
    address: str = strawberry.field(description="The Stacks address that signed in, or that made the key.")
    kind: CallerKind = strawberry.field(description="How the caller says who it is.")
    scopes: list[Scope] = strawberry.field(description="What the caller may do.")
    roles: list[HeldRole] = strawberry.field(
        resolver=_roles, description="The roles that contracts give the address, as of the receipt."
    )
    sessions: list[Session] = strawberry.field(
        resolver=_sessions, description="The sessions that are good, the newest first. Only for who is signed in."
    )
    api_keys: list[ApiKey] = strawberry.field(
        resolver=_api_keys,
        description="All keys, revoked and expired ones too, the newest first. Only for who is signed in.",
    )


class ScopeExtension(FieldExtension):
    """Lets only callers with a scope have a field."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def resolve_async(
        self, next_: AsyncExtensionResolver, source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        """The field's value. Raises ApiError where the caller lacks the scope."""
        info.context.caller.require(self._scope)
        return await next_(source, info, **kwargs)


def queries(readers: Sequence[RoleReader]) -> list[StrawberryField]:
    """The fields of `Query`; ``readers`` read the roles that the served protocols give."""

    async def me(root: Any, info: Info) -> Me | None:
        caller = info.context.caller
        if caller.address is None:
            return None
        return Me(
            caller=caller,
            readers=readers,
            address=caller.address,
            kind=caller.kind,
            scopes=[scope for scope in Scope if scope in caller.scopes],
        )

    return [
        make_field(
            "me",
            StrawberryOptional(Me),
            "Who asks, by the session or the API key that the request carries; null without one.",
            resolver=with_arguments(me, {}),
        )
    ]


def mutations() -> list[StrawberryField]:
    """The fields of `Mutation`."""

    async def create_sign_in_message(root: Any, info: Info, *, address: str, host: str) -> SignInMessage:
        operation = info.context
        text, message = await operation.service.accounts.sign_in_message(operation.caller, address, host)
        return SignInMessage(message=text, expires_at=message.expires_at)

    async def sign_in(root: Any, info: Info, *, message: str, signature: bytes) -> SignedIn:
        operation = info.context
        token, session = await operation.service.accounts.sign_in(operation.caller, message, signature)
        return SignedIn(token=token.text, session=_session(session, operation.caller))

    async def revoke_session(root: Any, info: Info, *, id: str | None) -> Session:  # noqa: A002
        operation = info.context
        revoked = await operation.service.accounts.revoke_session(operation.caller, id)
        return _session(revoked, operation.caller)

    async def create_api_key(
        root: Any, info: Info, *, name: str, scopes: Sequence[Scope], expires_at: datetime | None
    ) -> NewApiKey:
        operation = info.context
        token, key = await operation.service.accounts.create_api_key(
            operation.caller, name, [Scope(scope) for scope in scopes], expires_at
        )
        return NewApiKey(secret=token.text, api_key=_api_key(key))

    async def revoke_api_key(root: Any, info: Info, *, id: str) -> ApiKey:  # noqa: A002
        operation = info.context
        return _api_key(await operation.service.accounts.revoke_api_key(operation.caller, id))

    return [
        make_field(
            "createSignInMessage",
            SignInMessage,
            "A text for a wallet to sign, good for one sign-in within ten minutes.",
            resolver=with_arguments(
                create_sign_in_message,
                {
                    "address": (str, Parameter.empty, "The Stacks address that will sign: one of a single key."),
                    "host": (
                        str,
                        Parameter.empty,
                        "Host, and port if it has one, of the page that the user signs in on, as its address bar says. "
                        "The wallet shows it.",
                    ),
                },
            ),
        ),
        make_field(
            "signIn",
            SignedIn,
            "Sign in with a signed text of `createSignInMessage`.",
            resolver=with_arguments(
                sign_in,
                {
                    "message": (str, Parameter.empty, "The text, unchanged."),
                    "signature": (Bytes, Parameter.empty, "The wallet's signature: 65 bytes (R, S, recovery id)."),
                },
            ),
        ),
        make_field(
            "revokeSession",
            Session,
            "Sign out: the session is not good any more.",
            resolver=with_arguments(
                revoke_session,
                {"id": (strawberry.ID | None, None, "A session of yours; without it the one that asks.")},
            ),
        ),
        make_field(
            "createApiKey",
            NewApiKey,
            "A new API key for programs. Only for who is signed in.",
            resolver=with_arguments(
                create_api_key,
                {
                    "name": (str, Parameter.empty, "What you call it."),
                    "scopes": (StrawberryList(Scope), Parameter.empty, "What it may do."),
                    "expires_at": (datetime | None, None, "From when on it is not good any more; null: never."),
                },
            ),
        ),
        make_field(
            "revokeApiKey",
            ApiKey,
            "The key is not good any more, on other servers from five seconds later on.",
            resolver=with_arguments(revoke_api_key, {"id": (strawberry.ID, Parameter.empty, "A key of yours.")}),
        ),
    ]


def _session(record: SessionRecord, caller: Caller) -> Session:
    return Session(
        id=strawberry.ID(record.id),
        address=record.address,
        host=record.host,
        created_at=record.created_at,
        expires_at=record.expires_at,
        last_used_at=record.last_used_at,
        revoked_at=record.revoked_at,
        current=record.id == caller.credential,
    )


def _api_key(record: ApiKeyRecord) -> ApiKey:
    return ApiKey(
        id=strawberry.ID(record.id),
        name=record.name,
        scopes=[Scope(scope) for scope in record.scopes],
        created_at=record.created_at,
        expires_at=record.expires_at,
        last_used_at=record.last_used_at,
        revoked_at=record.revoked_at,
    )
