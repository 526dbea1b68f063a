"""The poller: what the index lacks, parents first, over forks, outages and a source that lies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest
from support.bitcoin_chain import ChainSource, Made, random_chain, read_mock_spells

from clarion.chains.bitcoin import poller as poller_module
from clarion.chains.bitcoin.poller import BitcoinPoller, ReadBlock
from clarion.chains.bitcoin.source import BitcoinSourceError, SourceTip

DEADLINE_SECONDS = 120


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller_module, "RETRY_SECONDS", (0.01, 0.02))


class Known:
    """The index that a poller feeds: what it knows, and what it was given."""

    def __init__(self, known: list[Made] | None = None) -> None:
        self.hashes = {made.hash for made in known or []}
        self.given: list[int] = []
        self.said: list[SourceTip | BitcoinSourceError] = []
        self.told = asyncio.Event()

    async def knows(self, block_hash: bytes) -> bool:
        return block_hash in self.hashes

    async def report(self, said: SourceTip | BitcoinSourceError) -> None:
        self.said.append(said)
        self.told.set()

    async def until_told(self, what: type[object], times: int = 1) -> None:
        while sum(isinstance(said, what) for said in self.said) < times:
            self.told.clear()
            await self.told.wait()

    def take(self, blocks: list[ReadBlock]) -> None:
        for block in blocks:
            header = block.scanned.header
            assert not self.hashes or header.parent_hash in self.hashes
            self.hashes.add(header.hash)
            self.given.append(block.height)


@asynccontextmanager
async def following(
    source: ChainSource, known: Known, *, start_height: int = 0, processes: int = 0
) -> AsyncIterator[AsyncIterator[list[ReadBlock]]]:
    poller = BitcoinPoller(
        source, known, read_mock_spells, start_height=start_height, report=known.report, processes=processes
    )
    async with asyncio.timeout(DEADLINE_SECONDS), aclosing(poller.follow()) as followed:
        yield followed


async def take_until(followed: AsyncIterator[list[ReadBlock]], known: Known, block_hash: bytes) -> None:
    while block_hash not in known.hashes:
        known.take(await anext(followed))


async def test_an_empty_index_is_filled_from_the_start_height_on() -> None:
    chain = random_chain(30, seed=1)
    known = Known()
    async with following(ChainSource(chain), known, start_height=4) as followed:
        await take_until(followed, known, chain[-1].hash)
    assert known.given == list(range(4, 30))
    assert known.said == [SourceTip(29, chain[-1].hash)]


@pytest.mark.parametrize("depth", [0, 1, 2, 5, 17, 64, 99])
async def test_a_fork_is_found_by_hash(depth: int) -> None:
    main = random_chain(100, seed=2)
    fork = 99 - depth
    branch = random_chain(depth + 2, on=main[fork], seed=3)
    known, source = Known(main), ChainSource(main)
    source.switch(main[: fork + 1] + branch)
    async with following(source, known) as followed:
        await take_until(followed, known, branch[-1].hash)
    assert known.given == list(range(fork + 1, fork + depth + 3))


async def test_a_source_that_is_behind_gives_nothing_and_then_goes_on() -> None:
    main = random_chain(20, seed=4)
    known, source = Known(main[:15]), ChainSource(main[:10])
    async with following(source, known) as followed:
        waiting = asyncio.ensure_future(anext(followed))
        await known.until_told(SourceTip)
        source.switch(main)
        known.take(await waiting)
        await take_until(followed, known, main[-1].hash)
    assert known.given == list(range(15, 20))


async def test_an_outage_is_told_and_waited_out() -> None:
    main = random_chain(12, seed=5)
    known, source = Known(), ChainSource(main)
    source.down = "it does not answer"
    async with following(source, known) as followed:
        waiting = asyncio.ensure_future(anext(followed))
        await known.until_told(BitcoinSourceError, 3)
        assert {str(said) for said in known.said} == {"it does not answer"}
        source.down = None
        known.take(await waiting)
        await take_until(followed, known, main[-1].hash)
    assert known.given == list(range(12))


async def test_a_reorg_while_it_is_read_begins_again() -> None:
    main = random_chain(40, seed=6)
    branch = main[:20] + random_chain(30, on=main[19], seed=7)

    class Moving(ChainSource):
        async def block(self, block_hash: bytes) -> bytes:
            data = await super().block(block_hash)
            if len(self.asked) == 25 and self.chain is main:
                # another hash at a height that was not asked for yet
                self.switch(branch)
            return data

    known = Known()
    known_hashes = known.hashes
    source = Moving(main)
    async with following(source, known) as followed:
        await take_until(followed, known, branch[-1].hash)
    assert {made.hash for made in branch} <= known_hashes


async def test_a_block_that_is_none_is_told() -> None:
    main = random_chain(3, seed=8)

    class Lying(ChainSource):
        cut = True

        async def block(self, block_hash: bytes) -> bytes:
            data = await super().block(block_hash)
            return data[:-1] if self.cut else data

    known, source = Known(), Lying(main)
    async with following(source, known) as followed:
        waiting = asyncio.ensure_future(anext(followed))
        await known.until_told(BitcoinSourceError)
        (error, *_) = [said for said in known.said if isinstance(said, BitcoinSourceError)]
        assert "block 0" in str(error)
        assert "is none" in str(error)
        source.cut = False
        known.take(await waiting)


async def test_many_blocks_are_gone_through_in_processes() -> None:
    main = random_chain(poller_module.PROCESSES_FROM, seed=9)
    known = Known()
    async with following(ChainSource(main), known, processes=2) as followed:
        await take_until(followed, known, main[-1].hash)
    assert known.given == list(range(len(main)))
