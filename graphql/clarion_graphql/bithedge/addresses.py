"""Addresses that clients ask about."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from clarion.chains.stacks.clarity import principal
from clarion.chains.stacks.codec_errors import CodecError
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError


def require_principal(address: str) -> None:
    """Raise InputError where a text is no address of an account or a contract."""
    try:
        principal(address)
    except CodecError:
        raise InputError(f"{address[:80]!r} is no address of an account or a contract.") from None


def about_principal(
    resolver: Callable[..., Awaitable[Any]], argument: str = "address"
) -> Callable[..., Awaitable[Any]]:
    """The resolver behind a check of its argument: of a text that is no address every answer would be empty."""

    async def resolve(root: Any, info: Info, **given: Any) -> Any:
        require_principal(given[argument])
        return await resolver(root, info, **given)

    return resolve
