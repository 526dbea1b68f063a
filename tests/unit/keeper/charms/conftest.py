"""A regtest with a mock prover, and retries without pauses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import stamina
from support.submission import World, world


@pytest_asyncio.fixture
async def regtest() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield
