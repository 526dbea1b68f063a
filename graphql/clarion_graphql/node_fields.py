"""The fields of ``Query`` that find rows of any type by their ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import Parameter
from types import MappingProxyType
from typing import Any, Final

import strawberry
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField

from clarion.chains.model import Chain
from clarion.config import Scope
from clarion_graphql.chains import CHAINS_OF_IDS
from clarion_graphql.context import Info
from clarion_graphql.entities import Entity
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.lengths import Length
from clarion_graphql.node_ids import chain_of_node, decode_node_id
from clarion_graphql.pages import fetch_by
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments

#: Most ids in one ``nodes``.
MAX_IDS: Final = 500


def node_fields(types: Types, scopes: Mapping[str, Scope]) -> list[StrawberryField]:
    """``node`` and ``nodes``. ``scopes``: what a caller must be allowed to see the rows of an entity, by its name."""

    def entity_and_key(info: Info, node_id: str) -> tuple[Entity, tuple[Any, ...]]:
        entity, key = decode_node_id(types.entities, node_id)
        if entity.name in scopes:
            info.context.caller.require(scopes[entity.name])
        return entity, key

    async def node(root: Any, info: Info, *, id: str) -> Any:  # noqa: A002
        entity, key = entity_and_key(info, id)
        return await _find(info.context.session, entity, key)

    async def nodes(root: Any, info: Info, *, ids: Sequence[str]) -> list[Any]:
        if len(ids) > MAX_IDS:
            raise ApiError(Code.LIMIT_EXCEEDED, f"nodes takes at most {MAX_IDS} ids, not {len(ids)}.")
        wanted = [entity_and_key(info, node_id) for node_id in ids]
        keys: dict[str, list[tuple[Any, ...]]] = {}
        for entity, key in wanted:
            keys.setdefault(entity.name, []).append(key)
        found = {
            name: await _find_all(info.context.session, types.entities[name], listed) for name, listed in keys.items()
        }
        return [found[entity.name].get(key) for entity, key in wanted]

    def chains_of_ids(ids: Sequence[Any]) -> frozenset[Chain] | None:
        if len(ids) > MAX_IDS:
            return None
        found = {chain_of_node(types.entities, node_id) for node_id in ids}
        return None if None in found else frozenset(chain for chain in found if chain is not None)

    described = StrawberryOptional(types.node)
    ids: Any = list[strawberry.ID]
    fields = [
        make_field(
            "node",
            described,
            "The row with this `nodeId`, of whatever type; null where there is none.",
            resolver=with_arguments(node, {"id": (strawberry.ID, Parameter.empty, "The row's `nodeId`.")}),
        ),
        make_field(
            "nodes",
            StrawberryList(described),
            "The rows with these ids, in their order; null for each that is not there.",
            resolver=with_arguments(nodes, {"ids": (ids, Parameter.empty, f"At most {MAX_IDS} values of `nodeId`.")}),
            length=Length(MAX_IDS, "ids"),
        ),
    ]
    for field in fields:
        field.metadata = MappingProxyType({CHAINS_OF_IDS: chains_of_ids, **field.metadata})
    return fields


async def _find(session: Session, entity: Entity, key: tuple[Any, ...]) -> Any | None:
    async def load(keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
        return await _find_all(session, entity, keys)

    return await session.loader((entity.name, entity.key), load).load(key)


async def _find_all(session: Session, entity: Entity, keys: Sequence[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
    return await fetch_by(session, entity, entity.key, list(dict.fromkeys(keys)))
