"""A regtest with a mock prover, a request for a proof, and retries without pauses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import pytest_asyncio
import stamina
from support.submission import NETWORK, World, world

from clarion.dev.bitcoin.prover import MockProver
from clarion.dev.bitcoin.prover_server import prover_app
from clarion_keeper.charms.proof_order import ProofOrder
from clarion_keeper.charms.prover import Prover


@pytest.fixture(scope="session")
def order() -> ProofOrder:
    """A request for a proof of an update of the oracle's price, paid for with its operator's coins."""

    async def made() -> ProofOrder:
        async with world() as regtest:
            return await regtest.order()

    return asyncio.run(made())


@pytest_asyncio.fixture
async def prover() -> AsyncIterator[Prover]:
    """A client of a mock prover that knows nothing yet."""
    transport = httpx.ASGITransport(prover_app(MockProver()))
    async with Prover("http://prover", network=NETWORK, accept_mock=True, transport=transport) as client:
        yield client


@pytest_asyncio.fixture
async def regtest() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield
