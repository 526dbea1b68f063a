"""The schema: the core's entities and those of the protocols. ``python -m clarion_graphql.schema`` prints its SDL."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from inspect import Parameter
from typing import Any, Final, cast

import strawberry
from graphql import GraphQLObjectType
from strawberry.schema.config import StrawberryConfig
from strawberry.types.field import StrawberryField

from clarion.config import Scope
from clarion.protocol import Protocol, installed_protocols
from clarion_graphql import stacks
from clarion_graphql.accounts import api as account_api
from clarion_graphql.aggregate_types import aggregate_field
from clarion_graphql.as_of import NAME as AS_OF
from clarion_graphql.as_of import as_of_directive
from clarion_graphql.bithedge import api as bithedge
from clarion_graphql.chains import of_chain
from clarion_graphql.charms import api as charms
from clarion_graphql.context import Info
from clarion_graphql.core import BLOCK, CHAIN, CORE, TRANSACTION, canonical
from clarion_graphql.enums import chain_of
from clarion_graphql.errors import InputError
from clarion_graphql.extensions import Extension, installed_extensions, of_extension
from clarion_graphql.filters import equal_to
from clarion_graphql.meta import meta_field
from clarion_graphql.node_fields import node_fields
from clarion_graphql.protocols import FieldMaker, ProtocolApi, entities_of
from clarion_graphql.scalars import SCALARS, Bytes
from clarion_graphql.sql import Sql, all_of
from clarion_graphql.status import Status, read_status
from clarion_graphql.subscriptions import Subscriptions
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.waiting import after_tx_directive, min_block_directive
from clarion_graphql.zkusd import api as zkusd

#: What the API says about protocols beyond their tables, by protocol name.
APIS: Final[Mapping[str, ProtocolApi]] = {
    "bithedge": bithedge.API,
    "charms": charms.API,
    "stacks": stacks.API,
    "zkusd": zkusd.API,
}

MUTATION: Final = (
    "What can be asked for besides reading. Nothing here moves money: what concerns the chain comes back as a "
    "transaction that its sender signs and sends."
)


def apis_of(protocols: Iterable[Protocol]) -> list[ProtocolApi]:
    """What the API says about those of these protocols that it says something about."""
    return [APIS[protocol.name] for protocol in protocols if protocol.name in APIS]


def _fields_of(protocols: Iterable[Protocol], types: Types, makers: Callable[[ProtocolApi], Any]) -> list[Any]:
    """The fields that protocols add to a root type, each marked with its protocol's chain."""
    return [
        of_chain(field, protocol.chain)
        for protocol in protocols
        if protocol.name in APIS
        for make_fields in makers(APIS[protocol.name])
        for field in make_fields(types)
    ]


def _extended(
    extensions: Iterable[Extension], types: Types, makers: Callable[[Extension], Sequence[FieldMaker]]
) -> list[StrawberryField]:
    """The fields that extensions add to a root type, each marked with its extension's scope and channels."""
    return [
        of_extension(field, extension)
        for extension in extensions
        for make_fields in makers(extension)
        for field in make_fields(types)
    ]


def build_schema(protocols: Iterable[Protocol], extensions: Iterable[Extension] | None = None) -> strawberry.Schema:
    """The schema that serves these protocols, made once for the same ones: that takes seconds.

    ``extensions``: what else is shown; None: what installed packages add.

    Raises ValueError where two of them take the same name.
    """
    return _build(tuple(protocols), installed_extensions() if extensions is None else tuple(extensions))


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: where nearly everything stays, that is a quarter of the time and finds nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@lru_cache(maxsize=8)
@_without_garbage_collection()
def _build(served: tuple[Protocol, ...], extensions: tuple[Extension, ...]) -> strawberry.Schema:
    entities = [*CORE, *(entity for protocol in served for entity in entities_of(protocol, APIS.get(protocol.name)))]
    apis = apis_of(served)
    _require_different_names([name for entity in entities for name in (entity.single, entity.plural)])
    scopes = {entity.name: extension.scope for extension in extensions for entity in extension.entities}
    _require_different_names([*(entity.name for entity in entities), *scopes])
    types = Types([*entities, *(entity for extension in extensions for entity in extension.entities)])
    log = [entity for entity in entities if not entity.projection]
    query = make_type(
        "Query",
        [
            _status(),
            meta_field(),
            _block(types),
            _transaction(types),
            *(types.list_field(entity) for entity in log),
            *(types.single_field(entity) for entity in log if len(entity.key) == 1),
            *(field for entity in entities if entity.projection for field in types.root_fields(entity)),
            *(aggregate_field(types, entity) for entity in entities),
            *node_fields(types, scopes),
            *_fields_of(served, types, lambda api: api.queries),
            *_extended(extensions, types, lambda extension: extension.queries),
            *account_api.queries([api.roles for api in apis if api.roles is not None]),
        ],
        "Everything that can be read. An operation is read in one snapshot; `extensions.receipt` says of which block.",
    )
    mutations = _fields_of(served, types, lambda api: api.mutations)
    for field in mutations:
        field.extensions.append(account_api.ScopeExtension(Scope.PREPARE))
    subscription = make_type(
        "Subscription",
        [
            *Subscriptions(types, entities, query).fields,
            *_extended(extensions, types, lambda extension: extension.subscriptions),
        ],
        "What happens, as it happens: over WebSocket (`graphql-transport-ws`) or as server-sent events.",
    )
    schema = strawberry.Schema(
        query=query,
        mutation=make_type("Mutation", [*account_api.mutations(), *mutations], MUTATION),
        subscription=subscription,
        directives=[as_of_directive, min_block_directive, after_tx_directive],
        config=StrawberryConfig(scalar_map=SCALARS),
    )
    as_of = schema._schema.get_directive(AS_OF)
    assert as_of is not None
    as_of.is_repeatable = True  # Strawberry has no word for it
    for entity in types.entities.values():
        # a field says of which type its rows are, and `Node` which it is: nothing has to be asked of every row
        cast("GraphQLObjectType", schema._schema.type_map[entity.name]).is_type_of = None
    return schema


def _require_different_names(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"two tables would both be {', '.join(twice)} in the API; give one protocol a prefix")


def _status() -> Any:
    async def resolve(root: Any, info: Info) -> Status:
        return await read_status(info)

    return make_field("status", Status, "Where this server and its index stand.", resolver=with_arguments(resolve, {}))


def _block(types: Types) -> Any:
    def condition(given: Mapping[str, Any]) -> Sql:
        height, block_hash = given["height"], given["hash"]
        if (height is None) == (block_hash is None):
            raise InputError("Give a block's height or its hash.")
        chain = {"chain": chain_of(given["chain"])}
        if block_hash is not None:
            return equal_to(BLOCK, {**chain, "hash": block_hash})
        return all_of([equal_to(BLOCK, {**chain, "height": height}), canonical(BLOCK)])

    return types.row_field(
        "block",
        BLOCK,
        "The canonical block at a height, or the block with a hash, orphaned ones too; null where there is none.",
        {
            "height": (int | None, None, "Height of a canonical block."),
            "hash": (Bytes | None, None, "Hash of any block; for Stacks the index block hash."),
            "chain": (CHAIN.annotation, CHAIN.default, CHAIN.description),
        },
        condition,
    )


def _transaction(types: Types) -> Any:
    def condition(given: Mapping[str, Any]) -> Sql:
        found = equal_to(TRANSACTION, {"chain": chain_of(given["chain"]), "tx_id": given["tx_id"]})
        return all_of([found, canonical(TRANSACTION)])

    return types.row_field(
        "transaction",
        TRANSACTION,
        "The transaction with this id in a canonical block; null where there is none.",
        {
            "tx_id": (Bytes, Parameter.empty, "Transaction id."),
            "chain": (CHAIN.annotation, CHAIN.default, CHAIN.description),
        },
        condition,
    )


@lru_cache(maxsize=8)
def sdl(schema: strawberry.Schema) -> str:
    """The schema in GraphQL's schema definition language, ending with a newline. Written once: that takes a while."""
    return schema.as_str().rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(sdl(build_schema(installed_protocols().values())))
