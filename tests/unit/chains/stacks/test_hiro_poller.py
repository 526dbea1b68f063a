"""The poller for an index in memory: an API that is empty, starts again, or lacks what is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import httpx
from starlette.responses import JSONResponse, PlainTextResponse
from support import toy
from support.hiro_api import HiroApi
from support.node_posts import body, moves_payload

from clarion.chains.model import Block
from clarion.chains.stacks.hiro_poller import Health, HiroPoller, IndexTip, SourceState
from clarion.chains.stacks.node_payloads import NEW_BLOCK
from hiro_api_client import HiroApiClient


class Memory:
    """An index that takes every block it is given, and the poller that feeds it."""

    def __init__(self, api: HiroApi, **options: Any) -> None:
        self.blocks: list[Block] = []
        self.health: list[Health] = []
        self._changed = asyncio.Event()
        self._poller = HiroPoller(
            HiroApiClient("http://api", transport=httpx.ASGITransport(app=api.app), attempts=2, retry_seconds=0.001),
            self,
            listen=False,
            poll_seconds=0.01,
            backoff_seconds=(0.01, 0.02),
            report=self._note,
            **options,
        )

    def _note(self, health: Health) -> None:
        self.health.append(health)
        self._changed.set()

    async def tip(self) -> IndexTip | None:
        return None if not self.blocks else IndexTip(self.blocks[-1].height, self.blocks[-1].hash)

    async def knows(self, block_hash: bytes) -> bool:
        return any(block.hash == block_hash for block in self.blocks)

    async def follow_until(self, condition: Callable[[], bool]) -> None:
        async def follow() -> None:
            async with aclosing(self._poller.follow()) as lists:
                async for items in lists:
                    self.blocks += [item for item in items if isinstance(item, Block)]
                    self._changed.set()

        async with asyncio.timeout(30), self._poller:
            following = asyncio.create_task(follow())
            try:
                while not condition():
                    self._changed.clear()
                    await self._changed.wait()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)


def post(api: HiroApi, *blocks: Block) -> None:
    for block in blocks:
        api.post(NEW_BLOCK, body(moves_payload(block, [toy.move("anna", block.height)])))


async def test_an_api_that_gets_its_first_blocks_while_it_is_followed() -> None:
    api = HiroApi()
    index = Memory(api)
    genesis = toy.block(None)
    looks = 0

    def begin(path: str) -> None:
        nonlocal looks
        looks += path == "/extended"
        if looks == 3 and not api.blocks:
            post(api, genesis, toy.block(genesis))

    api.before = begin
    await index.follow_until(lambda: len(index.blocks) == 2)
    assert [block.height for block in index.blocks] == [1, 2]
    assert index.blocks[0].hash == genesis.hash
    assert (index.health[0].state, index.health[0].detail) == (SourceState.BEHIND, "it has no blocks yet")
    assert index.health[0].height is None
    assert index.health[-1].state is SourceState.HEALTHY


async def test_an_api_that_starts_again_while_it_is_followed() -> None:
    """Without its database it answers 503; behind a gateway 502; and then it goes on."""
    api = HiroApi()
    post(api, toy.block(None))
    index = Memory(api)
    api.answers.extend([JSONResponse({"error": "The database service is unavailable"}, status_code=503)] * 2)
    api.answers.extend([PlainTextResponse("bad gateway", status_code=502)] * 2)
    await index.follow_until(lambda: len(index.blocks) == 1)
    assert [health.state for health in index.health[:2]] == [SourceState.UNREACHABLE] * 2
    assert "answered 503" in (index.health[0].detail or "")
    assert index.health[-1].state is SourceState.HEALTHY


async def test_a_route_that_is_switched_off_is_told_and_no_fork() -> None:
    api = HiroApi()
    post(api, toy.block(None))
    index = Memory(api)
    gone = JSONResponse({"error": "Gone", "message": "This endpoint has been disabled."}, status_code=410)

    def switch_off(path: str) -> None:
        if path.startswith("/extended/v2/blocks"):
            api.answers.append(gone)

    api.before = switch_off
    await index.follow_until(lambda: bool(index.health))
    assert index.blocks == []
    assert index.health[0].state is SourceState.UNREACHABLE
    assert "this API does not serve the route" in (index.health[0].detail or "")
