"""What kinds of events zkUSD has."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.zkusd.events import KINDS
from clarion_graphql.context import Info
from clarion_graphql.lengths import Length
from clarion_graphql.types import Types, make_field, with_arguments


@strawberry.type(description="A kind of event of zkUSD.")
class ZkusdEventKind:
    """A kind of event."""

    kind: str = strawberry.field(description="Its name: `kind` of `zkusdEvents`.")
    severity: str = strawberry.field(description="info, warning or critical.")
    anomaly: bool = strawberry.field(
        description="Whether it is something that the protocol should not allow, and the chain did."
    )
    description: str = strawberry.field(description="What happened.")
    fields: list[str] = strawberry.field(description="What `data` of such an event holds, by name.")


_KINDS: Final = [
    ZkusdEventKind(
        kind=name,
        severity=kind.severity,
        anomaly=kind.anomaly,
        description=" ".join(inspect.cleandoc(kind.__doc__ or "").split()),
        fields=[field.name for field in msgspec.structs.fields(kind)],
    )
    for name, kind in KINDS.items()
]


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about kinds of events."""

    async def resolve(root: Any, info: Info, *, anomaly: bool | None) -> list[ZkusdEventKind]:
        return [kind for kind in _KINDS if anomaly in (None, kind.anomaly)]

    return [
        make_field(
            "zkusdEventKinds",
            list[ZkusdEventKind],
            "The kinds of events that there are.",
            resolver=with_arguments(resolve, {"anomaly": (bool | None, None, "Only anomalies, or only others.")}),
            length=Length(len(_KINDS)),
        )
    ]
