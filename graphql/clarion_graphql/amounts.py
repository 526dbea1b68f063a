"""Fields of types that views make: figures of plain objects, amounts with whole units beside."""

from __future__ import annotations

from typing import Any, Final

from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField

from clarion_graphql.context import Info
from clarion_graphql.decimals import Scale, decimal_text
from clarion_graphql.entities import Entity, camel
from clarion_graphql.pages import fetch_by
from clarion_graphql.scalars import BigInt, Decimal
from clarion_graphql.types import Types, make_field, with_arguments


def figure(name: str, annotation: Any, description: str) -> StrawberryField:
    """A field that reads the attribute ``name``."""
    return make_field(camel(name), annotation, description, attribute=name)


def amount(name: str, scale: Scale, description: str, *, nullable: bool = False) -> list[StrawberryField]:
    """A field that reads the amount in the attribute ``name``, and one that shows it in whole units."""
    places = scale.places
    assert isinstance(places, int)

    def shown(root: Any, info: Info) -> str | None:
        value = getattr(root, name)
        return None if value is None else decimal_text(int(value), places)

    shown_as = scale.name_of(name)
    return [
        figure(name, BigInt | None if nullable else BigInt, f"{description} Unit: {scale.unit} x 10^{places}."),
        make_field(
            camel(shown_as),
            Decimal | None if nullable else Decimal,
            f"`{camel(name)}` in {scale.unit}.",
            resolver=with_arguments(shown, {}),
            attribute=f"shown_{shown_as}",
        ),
    ]


def row_of(name: str, types: Types, entity: str, keys: dict[str, str], description: str) -> StrawberryField:
    """A field that leads to an entity's row: ``keys`` says of its key's columns which attributes hold them."""
    found: Final[Entity] = types.entities[entity]
    columns = tuple(keys)

    async def resolve(root: Any, info: Info) -> Any:
        session = info.context.session

        async def load(wanted: Any) -> dict[tuple[Any, ...], Any]:
            return await fetch_by(session, found, columns, wanted)

        key = tuple(getattr(root, attribute) for attribute in keys.values())
        return await session.loader((entity, columns), load).load(key)

    return make_field(
        name,
        StrawberryOptional(types.named[entity]),
        description,
        resolver=with_arguments(resolve, {}),
        attribute=f"row_{name}",
    )
