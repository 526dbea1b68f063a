"""Going through lists page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from typing import Literal, Protocol, TypeVar

from hiro_api_client.types import Page

T = TypeVar("T")


class Lister(Protocol[T]):
    """A list of the client with all but the page fixed (``functools.partial``)."""

    def __call__(self, *, limit: int, cursor: str | None) -> Awaitable[Page[T]]:
        """One page."""
        ...


async def pages(
    lister: Lister[T],
    *,
    towards: Literal["older", "newer"] = "older",
    limit: int = 20,
    cursor: str | None = None,
) -> AsyncGenerator[Page[T], None]:
    """The pages of a list from ``cursor`` (otherwise its first page) towards older or newer ones.

    For instance ``pages(partial(client.contract_logs, contract))``. Ends where the list ends. In v2 lists it raises
    ``CursorLostError`` where a fork took the page away that comes next; v3 lists go on along the other branch.
    """
    while True:
        page = await lister(limit=limit, cursor=cursor)
        yield page
        following = page.older if towards == "older" else page.newer
        if following is None or following == cursor:
            return
        cursor = following
