"""An outlet for tests."""

from __future__ import annotations

import asyncio

from clarion_graphql.live.outlets import Outlet


class Written(Outlet):
    """Keeps what it is given, for as long as it is ready. ``some``: whether it was given anything."""

    closed = False
    ready = True

    def __init__(self, *, direct: bool = True) -> None:
        self.direct = direct
        self.written: list[bytes] = []
        self.some = asyncio.Event()

    def write(self, data: bytes) -> None:
        """Keep it."""
        self.written.append(data)
        self.some.set()

    async def drained(self) -> None:
        """Always."""

    def abort(self) -> None:
        """Nothing to end."""
