"""Global ids: one opaque text that names a row of any entity, for Relay's ``node``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clarion.chains.model import Chain
from clarion_graphql import opaque
from clarion_graphql.entities import Entity
from clarion_graphql.enums import ChainName
from clarion_graphql.errors import InputError


def encode_node_id(entity: Entity, row: Any) -> str:
    """The id of a row: its entity's name and its key's values."""
    return opaque.encode(entity.name, [getattr(row, name) for name in entity.key])


def decode_node_id(entities: Mapping[str, Entity], node_id: str) -> tuple[Entity, tuple[Any, ...]]:
    """The entity and the key that an id names. Raises InputError where it is none."""
    try:
        name, values = opaque.decode(node_id)
        entity = entities[name]
        key = [entity.by_name[column] for column in entity.key]
        return entity, tuple(opaque.value_of(column, value) for column, value in zip(key, values, strict=True))
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{node_id[:80]!r} is no id of a row: take it from a field nodeId.") from None


def chain_of_node(entities: Mapping[str, Entity], node_id: Any) -> Chain | None:
    """The chain of the row that an id names, as it was sent; None where it is no id of a row."""
    if not isinstance(node_id, str):
        return None
    try:
        entity, key = decode_node_id(entities, node_id)
    except InputError:
        return None
    if entity.chain is not None:
        return entity.chain
    named = dict(zip(entity.key, key, strict=True)).get("chain")
    return next((chain.value for chain in ChainName if chain.value == named), None)
