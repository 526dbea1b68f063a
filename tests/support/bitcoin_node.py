"""A Bitcoin node's JSON-RPC over generated blocks, as Bitcoin Core answers; what its best chain is a test decides."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clarion.chains.bitcoin.networks import BitcoinNetwork
from support.bitcoin_chain import Made


class Node:
    """Answers for one chain; ``fail`` answers first what is in it. ``waits``: whether it knows how to wait."""

    def __init__(self, chain: list[Made], *, waits: bool = True) -> None:
        self.chain = chain
        self.waits = waits
        self.fail: list[httpx.Response | Exception] = []
        self.authorizations: list[str | None] = []
        self.network = "regtest"
        self.down = False
        self._blocks = {made.hash.hex(): made for made in chain}
        self._changed = asyncio.Event()
        self._asked: set[str] = set()
        self.app = Starlette(routes=[Route("/", self._serve, methods=["POST"])])

    @property
    def esplora(self) -> Starlette:
        """The same chain as an Esplora API; its block 0 is taken for regtest's."""

        async def answer(request: Request) -> Response:
            first = self.chain[0].height
            match request.url.path.strip("/").split("/"):
                case ["blocks", "tip", "height"]:
                    return PlainTextResponse(str(self.chain[-1].height))
                case ["block-height", "0"] if "genesis" not in self._asked:
                    self._asked.add("genesis")
                    return PlainTextResponse(BitcoinNetwork.REGTEST.constants.genesis)
                case ["block-height", height] if int(height) <= self.chain[-1].height:
                    return PlainTextResponse(self.chain[int(height) - first].hash.hex())
                case ["block", block_hash, "raw"] if block_hash in self._blocks:
                    return Response(self._blocks[block_hash].data)
            return PlainTextResponse("Block not found", status_code=404)

        return Starlette(routes=[Route("/{path:path}", answer)])

    def switch(self, chain: list[Made]) -> None:
        """Another best chain."""
        self.chain = chain
        self._blocks |= {made.hash.hex(): made for made in chain}
        self._changed.set()
        self._changed = asyncio.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """For ``httpx.MockTransport``."""
        self.authorizations.append(request.headers.get("authorization"))
        if self.fail:
            failing = self.fail.pop(0)
            if isinstance(failing, Exception):
                raise failing
            return failing
        return self._answer(json.loads(request.content))

    async def _serve(self, request: Request) -> Response:
        body = json.loads(await request.body())
        if self.down:
            return Response(status_code=503)
        if self.waits and isinstance(body, dict) and body["method"] == "waitfornewblock":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), body["params"][0] / 1000)
        answer = self._answer(body)
        return Response(answer.content, status_code=answer.status_code, media_type="application/json")

    def _answer(self, body: Any) -> httpx.Response:
        if isinstance(body, list):
            return httpx.Response(200, json=[self._one(call) for call in reversed(body)])
        answer = self._one(body)
        return httpx.Response(500 if answer["error"] else 200, json=answer)

    def _one(self, call: dict[str, Any]) -> dict[str, Any]:
        result, error = None, None
        try:
            result = self._result(call["method"], call["params"])
        except LookupError as problem:
            code, message = problem.args
            error = {"code": code, "message": message}
        return {"id": call["id"], "result": result, "error": error}

    def _result(self, method: str, parameters: list[Any]) -> Any:
        tip = self.chain[-1]
        match method, parameters:
            case "getblockchaininfo", []:
                return {"chain": self.network, "blocks": tip.height, "bestblockhash": tip.hash.hex()}
            case "getblockhash", [height]:
                if height > tip.height:
                    raise LookupError(-8, "Block height out of range")
                return self.chain[height - self.chain[0].height].hash.hex()
            case "getblock", [block_hash, 0]:
                if block_hash not in self._blocks:
                    raise LookupError(-5, "Block not found")
                return self._blocks[block_hash].data.hex()
            case "waitfornewblock", [_] if self.waits:
                return {"hash": tip.hash.hex(), "height": tip.height}
        raise LookupError(-32601, "Method not found")
