"""One read for all who ask for the same at the same time."""

from __future__ import annotations

import asyncio

import pytest

from clarion_graphql.shared_reads import SharedReads


class Loading:
    """A read that ends when it is told to."""

    def __init__(self) -> None:
        self.calls = 0
        self.end = asyncio.Event()

    async def load(self) -> int:
        self.calls += 1
        await self.end.wait()
        return self.calls


async def test_who_asks_meanwhile_gets_the_same() -> None:
    reads, loading = SharedReads(4), Loading()
    asking = [asyncio.create_task(reads.read("what", loading.load)) for _ in range(5)]
    await asyncio.sleep(0)
    loading.end.set()

    assert await asyncio.gather(*asking) == [1] * 5
    assert await reads.read("what", loading.load) == 2


async def test_who_goes_away_takes_nothing_from_the_others() -> None:
    reads, loading = SharedReads(4), Loading()
    first, second = (asyncio.create_task(reads.read("what", loading.load)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    loading.end.set()

    assert await second == 1


async def test_an_error_is_told_to_all_and_forgotten() -> None:
    reads = SharedReads(4)

    async def fail() -> None:
        await asyncio.sleep(0)
        raise OSError("no database")

    told = await asyncio.gather(*(reads.read("what", fail) for _ in range(3)), return_exceptions=True)

    assert [str(error) for error in told] == ["no database"] * 3
    assert await reads.read("what", lambda: asyncio.sleep(0, "again")) == "again"


async def test_a_read_that_would_wait_for_a_place_beside_its_own_is_a_defect() -> None:
    reads, others = SharedReads(1), SharedReads(1)

    with pytest.raises(RuntimeError, match="inner is read within another"):
        await reads.read("outer", lambda: reads.read("inner", lambda: asyncio.sleep(0)))

    assert await reads.read("outer", lambda: others.read("inner", lambda: asyncio.sleep(0, "it"))) == "it"


async def test_no_more_than_the_limit_run_at_once() -> None:
    reads = SharedReads(2)
    loadings = [Loading() for _ in range(3)]
    asking = [asyncio.create_task(reads.read(index, loading.load)) for index, loading in enumerate(loadings)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert [loading.calls for loading in loadings] == [1, 1, 0]

    for loading in loadings:
        loading.end.set()

    assert await asyncio.gather(*asking) == [1, 1, 1]
