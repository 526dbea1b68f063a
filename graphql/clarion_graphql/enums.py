"""Enums of the API, and those of the core that it shows, with a description of each value."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

import strawberry

from clarion.chains.model import Chain, EventKind, Finality


def graphql_enum(enum: type[StrEnum], values: Mapping[str, str] | None = None, *, name: str | None = None) -> Any:
    """The enum, made known to GraphQL once; its docstring is the description, ``values`` describes members by name.

    ``name``: in the API, where that is not the enum's own.
    """
    if "__strawberry_definition__" not in vars(enum):
        strawberry.enum(enum, name=name, description=inspect.cleandoc(enum.__doc__ or "").partition("\n")[0])
        for value in enum.__strawberry_definition__.values:  # type: ignore[attr-defined]
            value.description = (values or {}).get(value.name)
    return enum


def named_enum(name: str, members: Mapping[str, str], description: str) -> Any:
    """A GraphQL enum of these members and values."""
    return strawberry.enum(StrEnum(name, dict(members)), description=description)  # type: ignore[call-overload]


class ChainName(StrEnum):
    """A chain."""

    STACKS = "stacks"
    BITCOIN = "bitcoin"


def chain_of(argument: Any) -> Chain:
    """The chain an argument names: written in the document it arrives as the value, from a variable as the member."""
    chain: Chain = ChainName(argument).value
    return chain


class Direction(StrEnum):
    """Which way a list is ordered."""

    ASC = "asc"
    DESC = "desc"


class BlockOp(StrEnum):
    """What happened to a block."""

    START = "start"
    APPLY = "apply"
    RETRACT = "retract"
    FINALIZE = "finalize"


class RowOp(StrEnum):
    """What happened to a row."""

    START = "start"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    FINALIZE = "finalize"


_START: Final = "Nothing yet: the subscription begins after this sequence."
_FINALIZE: Final = "What was told of it, and of every block below it, is final. It comes where `finalized` asks for it."

graphql_enum(ChainName)
graphql_enum(Direction, {"ASC": "Ascending, nulls last.", "DESC": "Descending, nulls first."})
graphql_enum(
    BlockOp,
    {
        "START": _START,
        "APPLY": "It became canonical.",
        "RETRACT": "It is no longer canonical: a reorganisation took it back.",
        "FINALIZE": _FINALIZE,
    },
)
graphql_enum(
    RowOp,
    {
        "START": _START,
        "INSERT": "It is new.",
        "UPDATE": "Some of its columns changed.",
        "DELETE": "It is gone.",
        "FINALIZE": "Nothing: what was told of the message's block, and of every block below it, is final. It comes "
        "where `finalized` asks for it.",
    },
)
graphql_enum(
    Finality,
    {
        "SOFT": "Seen.",
        "ANCHORED": "Its Bitcoin block is known and canonical; a Bitcoin block that counts is so at once.",
        "FINAL": "That Bitcoin block is deep enough to be irreversible in practice.",
    },
)
graphql_enum(
    EventKind,
    {
        "PRINT": "What a contract printed.",
        "SPELL": "A Bitcoin transaction's spell: what it says that its inputs and outputs hold of charms.",
        "SPEND": "A Bitcoin transaction without a spell that spends outputs which hold charms: these are gone.",
        "UNKNOWN": "A kind that this version does not know.",
    },
)
