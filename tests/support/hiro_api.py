"""A Stacks Blockchain API for tests, over what a node posted: routes, shapes, cursors and tags as version 9 has them.

Its answers are made from the posts' own JSON. Shapes: stacks-blockchain-api, ``src/api/controllers/db-controller.ts``,
``src/api/serializers/v3``, ``src/api/routes/v2/helpers.ts``; SQL of ``src/datastore/pg-store-v2.ts`` and ``v3``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from clarion.chains.stacks import clarity, payloads
from clarion.chains.stacks.clarity_forms import to_json
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.transactions import decode_transaction_hex

ASSET_NAME = re.compile(r"::[a-zA-Z-]+$")
"""Names of tokens that the event route of version 9.0 answers for (``src/api/schemas/v3/entities/common.ts``)."""
NO_MICROBLOCK = 2147483647
"""The sequence number of transactions outside microblocks, in cursors."""
MAX_TX_INDEX = 0x7FFF
NUMBER = r"\d+"
HASH = r"(0x)?[a-fA-F0-9]{64}"
HASH_CURSOR = r"0x[a-fA-F0-9]{64}"
PLACE_CURSOR = r"\d+:\d+:\d+"
LIMITS = {"limit": NUMBER}
OFFSETS = {"limit": NUMBER, "offset": NUMBER}
"""Parameters of queries by name, with what their values must be (``src/api/schemas``)."""

Post = tuple[str, bytes]
Json = dict[str, Any]


def _repr(raw: str) -> str:
    return str(to_json(clarity.decode_hex(raw)))


def _value(raw: str) -> Json:
    return {"hex": raw, "repr": _repr(raw)}


def _prefixed(text: str) -> str:
    return text if text.startswith("0x") else f"0x{text}"


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _iso(seconds: int) -> str:
    return f"unix {seconds}"


def _sequence(transaction: Json) -> int:
    found = transaction.get("microblock_sequence")
    return NO_MICROBLOCK if found is None else int(found)


def _order(transaction: Json) -> tuple[int, int]:
    """The API's order within a block: what came in microblocks first."""
    return _sequence(transaction), transaction["tx_index"]


class ApiBlock:
    """One posted block in the API's shapes."""

    def __init__(self, post: Json, streamed: dict[str, int]) -> None:
        """``streamed``: index of transactions that came in a microblock before, which they keep."""
        self.post = post
        self.height: int = post["block_height"]
        self.hash: str = post["index_block_hash"]
        self.parent: str = post["parent_index_block_hash"]
        self.time: int = post.get("block_time") or post["burn_block_time"]
        events: dict[str, list[Json]] = {}
        for event in sorted(post["events"], key=lambda event: event["event_index"]):
            if event["committed"]:
                events.setdefault(event["txid"], []).append(event)
        self.transactions = [
            ApiTransaction(self, tx, events.get(tx["txid"], []), streamed.get(tx["txid"], tx["tx_index"]))
            for tx in sorted(post["transactions"], key=_order)
            # What was done on Bitcoin and left no event is not stored (src/event-stream/reader.ts).
            if tx["raw_tx"] != "0x00" or events.get(tx["txid"])
        ]

    def header(self) -> Json:
        post = self.post
        return {
            "canonical": True,
            "height": self.height,
            "hash": post["block_hash"],
            "block_time": self.time,
            "block_time_iso": _iso(self.time),
            "tenure_height": post.get("tenure_height") or (-1 if post.get("signer_bitvec") else self.height),
            "index_block_hash": self.hash,
            "parent_block_hash": post["parent_block_hash"],
            "parent_index_block_hash": self.parent,
            "burn_block_time": post["burn_block_time"],
            "burn_block_time_iso": _iso(post["burn_block_time"]),
            "burn_block_hash": post["burn_block_hash"],
            "burn_block_height": post["burn_block_height"],
            "miner_txid": post["miner_txid"],
            "tx_count": len(post["transactions"]),
            "execution_cost_read_count": 0,
            "execution_cost_read_length": 0,
            "execution_cost_runtime": 0,
            "execution_cost_write_count": 0,
            "execution_cost_write_length": 0,
        }


class ApiTransaction:
    """One posted transaction in the API's shapes."""

    def __init__(self, block: ApiBlock, post: Json, events: list[Json], index: int) -> None:
        self.block = block
        self.post = post
        self.events = events
        self.id: str = post["txid"]
        self.index = index
        self.microblock = _sequence(post)
        self.event_count_told = len(events)

    @property
    def cursor(self) -> str:
        return f"{self.block.height}:{self.microblock}:{self.index}"

    def _asked(self) -> tuple[Json, Json, Json]:
        """Sender fields, and what it asks for as v1 and as v3 name it."""
        raw = self.post["raw_tx"]
        if raw == "0x00":
            return self._on_bitcoin()
        tx = decode_transaction_hex(raw)
        who: Json = {"sender": str(tx.sender), "nonce": tx.nonce, "fee": str(tx.fee), "sponsor": None}
        if tx.sponsor is not None and tx.authorization.sponsor is not None:
            who["sponsor"] = {"address": str(tx.sponsor), "nonce": tx.authorization.sponsor.nonce}
        asked = tx.payload
        if isinstance(asked, payloads.TokenTransfer):
            recipient, amount, memo = str(asked.recipient), str(asked.amount), _hex(asked.memo)
            return (
                who,
                {
                    "tx_type": "token_transfer",
                    "token_transfer": {"recipient_address": recipient, "amount": amount, "memo": memo},
                },
                {
                    "type": "token_transfer",
                    "token_transfer": {"recipient": recipient, "amount": amount, "memo": memo},
                },
            )
        if isinstance(asked, payloads.ContractCall):
            arguments = [_value(clarity.encode_hex(argument)) for argument in asked.arguments]
            call = {"contract_id": str(asked.contract), "function_name": asked.function}
            details = [argument | {"name": "", "type": ""} for argument in arguments]
            return (
                who,
                {
                    "tx_type": "contract_call",
                    "contract_call": call | {"function_signature": "", "function_args": details},
                },
                {"type": "contract_call", "contract_call": call | {"function_args": arguments}},
            )
        if isinstance(asked, payloads.SmartContract):
            contract = {
                "clarity_version": asked.clarity_version,
                "contract_id": f"{who['sender']}.{asked.name}",
                "source_code": asked.source,
            }
            return (
                who,
                {"tx_type": "smart_contract", "smart_contract": contract},
                {"type": "smart_contract", "smart_contract": contract},
            )
        if isinstance(asked, payloads.TenureChange):
            change = {
                "tenure_consensus_hash": _hex(asked.tenure_consensus_hash),
                "prev_tenure_consensus_hash": _hex(asked.previous_tenure_consensus_hash),
                "burn_view_consensus_hash": _hex(asked.burn_view_consensus_hash),
                "previous_tenure_end": _hex(asked.previous_tenure_end),
                "previous_tenure_blocks": asked.previous_tenure_blocks,
                "cause": asked.cause.name.lower(),
                "pubkey_hash": _hex(asked.public_key_hash),
            }
            return (
                who,
                {"tx_type": "tenure_change", "tenure_change_payload": change},
                {"type": "tenure_change", "tenure_change": change},
            )
        if isinstance(asked, payloads.PoisonMicroblock):
            body = payloads.encode_payload(asked)[1:]
            headers = [_hex(body[: len(body) // 2]), _hex(body[len(body) // 2 :])]
            return (
                who,
                {
                    "tx_type": "poison_microblock",
                    "poison_microblock": {"microblock_header_1": headers[0], "microblock_header_2": headers[1]},
                },
                {"type": "poison_microblock"},
            )
        alternative = None if isinstance(asked, payloads.Coinbase) else asked.recipient
        proof = _hex(asked.vrf_proof) if isinstance(asked, payloads.NakamotoCoinbase) else None
        rewarded = None if alternative is None else str(alternative)
        return (
            who,
            {
                "tx_type": "coinbase",
                "coinbase_payload": {"data": _hex(asked.data), "alt_recipient": rewarded, "vrf_proof": proof},
            },
            {
                "type": "coinbase",
                "coinbase": {"payload": _hex(asked.data), "alt_recipient": rewarded, "vrf_proof": proof},
            },
        )

    def _on_bitcoin(self) -> tuple[Json, Json, Json]:
        """The transfer that the API makes up for one made on Bitcoin."""
        moved = next(event["stx_transfer_event"] for event in self.events if event["type"] == "stx_transfer_event")
        who = {"sender": moved["sender"], "nonce": 0, "fee": "0", "sponsor": None}
        recipient, amount, memo = moved["recipient"], moved["amount"], "0x"
        return (
            who,
            {
                "tx_type": "token_transfer",
                "token_transfer": {"recipient_address": recipient, "amount": amount, "memo": memo},
            },
            {"type": "token_transfer", "token_transfer": {"recipient": recipient, "amount": amount, "memo": memo}},
        )

    def details(self, event_limit: int, event_offset: int) -> Json:
        """As the v1 routes give it."""
        who, asked, _ = self._asked()
        block, post = self.block, self.block.post
        sponsor = who["sponsor"]
        return {
            "tx_id": self.id,
            "nonce": who["nonce"],
            "fee_rate": who["fee"],
            "sender_address": who["sender"],
            **({"sponsored": False} if sponsor is None else {"sponsored": True}),
            **({} if sponsor is None else {"sponsor_nonce": sponsor["nonce"], "sponsor_address": sponsor["address"]}),
            "post_condition_mode": "allow",
            "post_conditions": [],
            "anchor_mode": "any",
            "block_hash": post["block_hash"],
            "block_height": block.height,
            "block_time": block.time,
            "block_time_iso": _iso(block.time),
            "burn_block_height": post["burn_block_height"],
            "burn_block_time": post["burn_block_time"],
            "burn_block_time_iso": _iso(post["burn_block_time"]),
            "parent_burn_block_time": post["burn_block_time"],
            "parent_burn_block_time_iso": _iso(post["burn_block_time"]),
            "canonical": True,
            "tx_index": self.index,
            "tx_status": self.post["status"],
            "tx_result": _value(self.post["raw_result"]),
            "event_count": self.event_count_told,
            "parent_block_hash": post["parent_block_hash"],
            "is_unanchored": False,
            "microblock_hash": self.post.get("microblock_hash") or "",
            "microblock_sequence": self.microblock,
            "microblock_canonical": True,
            "execution_cost_read_count": 0,
            "execution_cost_read_length": 0,
            "execution_cost_runtime": 0,
            "execution_cost_write_count": 0,
            "execution_cost_write_length": 0,
            "vm_error": self.post.get("vm_error"),
            "events": [
                {"event_index": index, "tx_id": self.id} | _event_v1(event)
                for index, event in enumerate(self.events)
                if event_offset <= index < event_offset + event_limit
            ],
            **asked,
        }

    def pending(self) -> Json:
        """As the v3 route of one transaction gives it where it is in the mempool again."""
        told = self.summary()
        return {name: told[name] for name in told if name not in ("block", "bitcoin_block")} | {
            "status": "pending",
            "receipt_time": 1_700_000_000,
            "receipt_block_height": 1,
            "replaced_by_tx_id": None,
        }

    def summary(self) -> Json:
        """As the v3 lists give it."""
        who, _, asked = self._asked()
        block, post = self.block, self.block.post
        kind = asked["type"]
        body = asked.get(kind)
        kept = {
            "token_transfer": ("recipient", "amount", "memo"),
            "contract_call": ("contract_id", "function_name"),
            "smart_contract": ("clarity_version", "contract_id"),
            "coinbase": ("alt_recipient",),
            "tenure_change": ("cause",),
        }
        return {
            "tx_id": self.id,
            "sender": {"address": who["sender"], "nonce": who["nonce"]},
            "sponsor": who["sponsor"],
            "fee_rate": who["fee"],
            "block": {
                "height": block.height,
                "hash": post["block_hash"],
                "index_hash": block.hash,
                "time": block.time,
                "tx_index": self.index,
            },
            "bitcoin_block": {"height": post["burn_block_height"], "time": post["burn_block_time"]},
            "status": self.post["status"],
            "type": kind,
            **({} if body is None else {kind: {name: body[name] for name in kept[kind]}}),
        }

    def whole(self, include: set[str]) -> Json:
        """As the v3 route of one transaction gives it."""
        _, _, asked = self._asked()
        body = dict(asked.get(asked["type"]) or {})
        for name in ("function_args", "source_code"):
            if name not in include:
                body.pop(name, None)
        if isinstance(body.get("memo"), str):
            body["memo"] = {"hex": body["memo"], "repr": ""}
        answer = self.summary() | {
            "parent_block": {"hash": self.block.post["parent_block_hash"], "index_hash": self.block.parent},
            "event_count": self.event_count_told,
            "execution_cost": {"read_count": 0, "read_length": 0, "runtime": 0, "write_count": 0, "write_length": 0},
            "vm_error": self.post.get("vm_error"),
        }
        if body:
            answer[asked["type"]] = body
        if "result" in include:
            answer["result"] = _value(self.post["raw_result"])
        if "post_conditions" in include:
            answer |= {"post_condition_mode": "allow", "post_conditions": []}
        return answer


def _event_v1(event: Json) -> Json:
    kind = event["type"]
    body = event[kind]
    if kind == "contract_event":
        log = {"contract_id": body["contract_identifier"], "topic": body["topic"], "value": _value(body["raw_value"])}
        return {"event_type": "smart_contract_log", "contract_log": log}
    if kind == "stx_lock_event":
        lock = {
            "locked_amount": body["locked_amount"],
            "unlock_height": int(body["unlock_height"]),
            "locked_address": body["locked_address"],
        }
        return {"event_type": "stx_lock", "stx_lock_event": lock}
    token, what, _ = kind.split("_")
    asset = {
        "asset_event_type": what,
        **({} if token == "stx" else {"asset_id": body["asset_identifier"]}),
        "sender": body.get("sender") or "",
        "recipient": body.get("recipient") or "",
        **({"value": _value(body["raw_value"])} if token == "nft" else {"amount": body["amount"]}),
        **({"memo": f"0x{body['memo']}"} if body.get("memo") else {}),
    }
    names = {"stx": "stx_asset", "ft": "fungible_token_asset", "nft": "non_fungible_token_asset"}
    return {"event_type": names[token], "asset": asset}


def _event_v3(event: Json) -> Json:
    kind = event["type"]
    body = event[kind]
    if kind == "contract_event":
        log = {"contract_id": body["contract_identifier"], "topic": "print", "value": _value(body["raw_value"])}
        return {"type": "contract_log", "contract_log": log}
    if kind == "stx_lock_event":
        lock = {
            "amount": body["locked_amount"],
            "unlock_bitcoin_height": int(body["unlock_height"]),
            "address": body["locked_address"],
        }
        return {"type": "stx_lock", "stx_lock": lock}
    token, what, _ = kind.split("_")
    asset: Json = {"type": what}
    for name in ("sender", "recipient", "asset_identifier", "amount"):
        if name in body:
            asset[name] = body[name]
    if token == "nft":
        asset["value"] = _value(body["raw_value"])
    if kind == "stx_transfer_event":
        asset["memo"] = {"hex": f"0x{body['memo']}", "repr": ""} if body.get("memo") else None
    return {"type": f"{token}_asset", f"{token}_asset": asset}


class HiroApi:
    """The API's state and its app. It knows what was given to ``post``, in that order.

    For faults: ``answers`` holds answers that the next requests get instead of their own, ``cut`` how many of the next
    requests have their connection cut, ``before`` is called with the path of each request, and ``silent`` keeps the
    WebSockets open but says nothing. ``asked`` counts requests by route.

    ``unknown_functions`` are transactions that call what their contract does not have, for which the route of many
    transactions fails; with ``strict_names`` that of their events fails for most names of tokens, as it did in 9.0.
    """

    def __init__(self, posts: Iterable[Post] = ()) -> None:
        self.blocks: dict[str, ApiBlock] = {}
        self.canonical: list[ApiBlock] = []
        self.mempool: dict[str, Json] = {}
        self.answers: deque[Response] = deque()
        self.cut = 0
        self.before: Callable[[str], None] = lambda path: None
        self.silent = False
        self.serves_deprecated = True
        self.serves_many = True
        self.unknown_functions: set[str] = set()
        self.strict_names = False
        self.asked: Counter[str] = Counter()
        self.headers_seen: list[dict[str, str]] = []
        self.listeners: set[WebSocket] = set()
        self._streamed: dict[str, int] = {}
        self._notifications: set[asyncio.Task[None]] = set()
        self._names_of: list[ApiBlock] = []
        self._names: dict[str, ApiBlock] = {}
        self._by_id: dict[str, ApiTransaction] = {}
        self._everywhere: dict[str, list[ApiTransaction]] = {}
        self.app: ASGIApp = _Faults(self, Starlette(routes=self._routes()))
        for path, body in posts:
            self.post(path, body)

    def post(self, path: str, body: bytes) -> None:
        """What a node posts."""
        if path == "/new_block":
            self._add(ApiBlock(json.loads(body), self._streamed))
        elif path == "/new_microblocks":
            self._streamed |= {tx["txid"]: tx["tx_index"] for tx in json.loads(body)["transactions"]}
        elif path == "/new_mempool_tx":
            for number, raw in enumerate(json.loads(body)):
                with contextlib.suppress(CodecError):
                    tx = decode_transaction_hex(raw)
                    self.mempool[_hex(tx.txid)] = {"raw": raw, "receipt_time": 1_700_000_000 + number}

    def _add(self, block: ApiBlock) -> None:
        # The genesis block is never higher than the API's tip and therefore never canonical.
        if block.hash in self.blocks or block.height == 0:
            return
        self.blocks[block.hash] = block
        for tx in block.transactions:
            self._everywhere.setdefault(tx.id, []).append(tx)
        if self.canonical and block.height <= self.canonical[-1].height:
            return
        branch = [block]
        heights = {known.height: known for known in self.canonical}
        while (parent := self.blocks.get(branch[-1].parent)) is not None and heights.get(parent.height) is not parent:
            branch.append(parent)
        below = branch[-1].height
        self.canonical = [known for known in self.canonical if known.height < below] + branch[::-1]
        self._notify()

    def go_back_to(self, height: int) -> None:
        """Forget all blocks above: another, older instance answers."""
        self.blocks = {known: block for known, block in self.blocks.items() if block.height <= height}
        self.canonical = [block for block in self.canonical if block.height <= height]

    @property
    def tip(self) -> ApiBlock:
        return self.canonical[-1]

    def _tag(self) -> str | None:
        return f'"{self.tip.hash}"' if self.canonical else None

    def _notify(self) -> None:
        if self.silent or not self.listeners:
            return
        params = {"hash": self.tip.post["block_hash"], "height": self.tip.height, "canonical": True, "txs": []}
        text = json.dumps({"jsonrpc": "2.0", "method": "block", "params": params})
        for listener in self.listeners:
            task = asyncio.get_running_loop().create_task(_send(listener, text))
            self._notifications.add(task)
            task.add_done_callback(self._notifications.discard)

    def _routes(self) -> list[BaseRoute]:
        def route(path: str, endpoint: Callable[[Request], Json | Response], takes: Mapping[str, str]) -> Route:
            async def answer(request: Request) -> Response:
                self.asked[path] += 1
                try:
                    _check(request, takes)
                    given = endpoint(request)
                except _BadRequestError as error:
                    refused = {"statusCode": 400, "code": "FST_ERR_VALIDATION", "error": "Bad Request"}
                    return JSONResponse(refused | {"message": str(error)}, 400)
                return given if isinstance(given, Response) else JSONResponse(given)

            return Route(path, answer, methods=["GET"])

        def tagged(path: str, endpoint: Callable[[Request], Json | Response], takes: Mapping[str, str]) -> Route:
            def answer(request: Request) -> Response:
                tag = self._tag()
                if tag is None:
                    headers = {"cache-control": "no-store"}
                else:
                    headers = {"etag": tag, "cache-control": "public, no-cache, must-revalidate"}
                if tag is not None and request.headers.get("if-none-match") == tag:
                    return Response(status_code=304, headers=headers)
                given = endpoint(request)
                return given if isinstance(given, Response) else JSONResponse(given, headers=headers)

            return route(path, answer, takes)

        places = LIMITS | {"cursor": PLACE_CURSOR}
        many = {"tx_id": rf"{HASH}(,{HASH})*", "event_limit": NUMBER, "event_offset": NUMBER}
        logs = OFFSETS | {"cursor": r"\d+:\d+:\d+:\d+"}
        mempool = LIMITS | {"cursor": rf"\d+:{HASH}"}
        return [
            tagged("/extended", self._status, {}),
            tagged("/extended/v2/blocks", self._blocks, OFFSETS | {"cursor": HASH_CURSOR}),
            route("/extended/v2/blocks/{block}", self._block, {}),
            route("/extended/v3/blocks/{block}/transactions", self._block_transactions, places),
            tagged("/extended/v3/transactions", self._transactions, places),
            route("/extended/v3/transactions/{tx_id}", self._transaction, {"include": r"[a-z_,]*"}),
            route("/extended/v3/transactions/{tx_id}/events", self._transaction_events, LIMITS | {"cursor": NUMBER}),
            route("/extended/v1/tx/multiple", self._multiple, many),
            tagged("/extended/v1/tx/events", self._events, OFFSETS | {"tx_id": HASH}),
            route("/extended/v1/tx/{tx_id}/raw", self._raw, {}),
            tagged("/extended/v2/burn-blocks", self._burn_blocks, OFFSETS),
            tagged("/extended/v2/burn-blocks/{block}/blocks", self._burn_block_blocks, OFFSETS),
            tagged("/extended/v2/smart-contracts/{contract}/logs", self._logs, logs),
            route("/extended/v3/principals/{principal}/transactions", self._principal_transactions, places),
            route("/extended/v3/principals/{principal}/nonces", self._nonces, {}),
            route("/extended/v3/mempool/transactions", self._mempool, mempool),
            route("/extended/v1/contract/{contract}", self._contract, {}),
            WebSocketRoute("/extended/v1/ws", self._websocket),
        ]

    def _status(self, _request: Request) -> Json:
        status: Json = {"server_version": "stacks-blockchain-api v9.0.2 (master:0000000)", "status": "ready"}
        if self.canonical:
            tip = self.tip
            status["chain_tip"] = {
                "block_height": tip.height,
                "block_hash": tip.post["block_hash"],
                "index_block_hash": tip.hash,
                "microblock_hash": None,
                "microblock_sequence": None,
                "burn_block_height": tip.post["burn_block_height"],
            }
        return status

    def _find(self, name: str) -> ApiBlock | None:
        """A canonical block by what a path names it."""
        if name == "latest":
            return self.canonical[-1] if self.canonical else None
        return self._canonical_names().get(name if name.isdigit() and len(name) < 64 else _prefixed(name))

    def _canonical_names(self) -> dict[str, ApiBlock]:
        """Canonical blocks by height, block hash and index block hash."""
        if self._names_of is not self.canonical:
            self._names_of = self.canonical
            self._names = {}
            for block in self.canonical:
                for name in (str(block.height), block.post["block_hash"], block.hash):
                    self._names[name] = block
            self._by_id = {tx.id: tx for block in self.canonical for tx in block.transactions}
        return self._names

    def _blocks(self, request: Request) -> Json | Response:
        limit = _limit(request, 20, 30)
        newest = self.canonical[::-1]
        cursor = request.query_params.get("cursor")
        start = next((index for index, block in enumerate(newest) if cursor in (None, block.hash)), None)
        if start is None:
            return _not_found("Cursor not found") if cursor else self._no_blocks(limit)
        page = newest[start : start + limit]
        older = newest[start + limit].hash if start + limit < len(newest) else None
        newer = newest[start - limit].hash if start - limit >= 0 and page else None
        return {
            "limit": limit,
            "offset": 0,
            "total": len(newest),
            "next_cursor": newer,
            "prev_cursor": older,
            "cursor": page[0].hash if page else None,
            "results": [block.header() for block in page],
        }

    @staticmethod
    def _no_blocks(limit: int) -> Json:
        cursors = {"next_cursor": None, "prev_cursor": None, "cursor": None}
        return {"limit": limit, "offset": 0, "total": 0, "results": []} | cursors

    def _block(self, request: Request) -> Json | Response:
        block = self._find(request.path_params["block"])
        return _not_found("Block not found") if block is None else block.header()

    def _block_transactions(self, request: Request) -> Json | Response:
        block = self._find(request.path_params["block"])
        if block is None:
            return _not_found("Block not found")
        return _page_v3(request, [(tx.cursor, tx.summary) for tx in block.transactions[::-1]], 20, 50)

    def _newest_transactions(self) -> list[ApiTransaction]:
        return [tx for block in self.canonical[::-1] for tx in block.transactions[::-1]]

    def _transactions(self, request: Request) -> Json | Response:
        return _page_v3(request, [(tx.cursor, tx.summary) for tx in self._newest_transactions()], 20, 50)

    def _find_transaction(self, tx_id: str) -> ApiTransaction | None:
        self._canonical_names()
        return self._by_id.get(_prefixed(tx_id))

    def _transaction(self, request: Request) -> Json | Response:
        tx_id = _prefixed(request.path_params["tx_id"])
        found = self._find_transaction(tx_id)
        if found is None:
            lost = self._everywhere.get(tx_id)
            return _not_found("Transaction not found") if lost is None else lost[0].pending()
        include = ",".join(request.query_params.getlist("include"))
        return found.whole(set(include.split(",")))

    def _transaction_events(self, request: Request) -> Json | Response:
        found = self._find_transaction(request.path_params["tx_id"])
        if found is None:
            raise _BadRequestError("Transaction not found")
        named = [event[event["type"]].get("asset_identifier") for event in found.events]
        if self.strict_names and not all(name is None or ASSET_NAME.search(name) for name in named):
            message = "The value of '#/properties/results/items' does not match schema definition."
            return JSONResponse({"statusCode": 500, "error": "Internal Server Error", "message": message}, 500)

        def told(index: int, event: Json) -> Callable[[], Json]:
            return lambda: {"event_index": index} | _event_v3(event)

        return _page_v3(
            request, [(str(i), told(i, event)) for i, event in enumerate(found.events)], 20, 100, ascending=True
        )

    def _multiple(self, request: Request) -> Json | Response:
        if not self.serves_many and not self.serves_deprecated:
            return _gone("**Deprecated:** use `GET /extended/v3/transactions/batch` instead.")
        if not self.serves_many:
            message = f"Route GET:{request.url.path} not found"
            return JSONResponse({"message": message, "error": "Not Found", "statusCode": 404}, status_code=404)
        asked = [name for text in request.query_params.getlist("tx_id") for name in text.split(",")]
        if unknown := self.unknown_functions & {*asked}:
            message = f"Could not find function name in ABI: {unknown}"
            return JSONResponse({"statusCode": 500, "error": "Internal Server Error", "message": message}, 500)
        limit = _limit(request, 20, 100, "event_limit")
        offset = int(request.query_params.get("event_offset", 0))
        answer: Json = {}
        for tx_id in asked:
            found = self._find_transaction(tx_id)
            if found is None:
                answer[tx_id] = {"found": False, "result": {"tx_id": tx_id}}
                continue
            told = found.details(limit, offset)
            # The events are looked up in every branch that the transaction is in.
            elsewhere = [tx for tx in self._everywhere[tx_id] if tx is not found]
            told["events"] += [event for tx in elsewhere for event in tx.details(limit, offset)["events"]]
            answer[tx_id] = {"found": True, "result": told}
        return answer

    def _events(self, request: Request) -> Json:
        found = self._find_transaction(request.query_params["tx_id"])
        limit, offset = _limit(request, 20, 100), int(request.query_params.get("offset", 0))
        newest = [] if found is None else found.details(len(found.events), 0)["events"][::-1]
        return {"limit": limit, "offset": offset, "events": newest[offset : offset + limit]}

    def _raw(self, request: Request) -> Json | Response:
        if not self.serves_deprecated:
            return _gone("**Deprecated:** this endpoint has no replacement.")
        found = self._find_transaction(request.path_params["tx_id"])
        if found is None:
            return _not_found("could not find raw transaction by ID")
        return JSONResponse({"raw_tx": found.post["raw_tx"]}, headers={"warning": '299 - "Deprecated"'})

    def _burns(self) -> list[list[ApiBlock]]:
        by_burn: dict[str, list[ApiBlock]] = {}
        for block in self.canonical[::-1]:
            by_burn.setdefault(block.post["burn_block_hash"], []).append(block)
        return list(by_burn.values())

    def _burn_blocks(self, request: Request) -> Json:
        rows = [
            {
                "burn_block_time": blocks[0].post["burn_block_time"],
                "burn_block_time_iso": _iso(blocks[0].post["burn_block_time"]),
                "burn_block_hash": blocks[0].post["burn_block_hash"],
                "burn_block_height": blocks[0].post["burn_block_height"],
                "stacks_blocks": [block.post["block_hash"] for block in blocks],
                "avg_block_time": 0.0,
                "total_tx_count": sum(len(block.transactions) for block in blocks),
            }
            for blocks in self._burns()
        ]
        return _page_by_offset(request, rows)

    def _burn_block_blocks(self, request: Request) -> Json | Response:
        name = request.path_params["block"]
        for blocks in self._burns():
            post = blocks[0].post
            if name == "latest" or name in (str(post["burn_block_height"]), post["burn_block_hash"]):
                return _page_by_offset(request, [block.header() for block in blocks])
        return _not_found("Burn block not found")

    def _logs(self, request: Request) -> Json | Response:
        rows = [
            (f"{tx.cursor}:{index}", {"event_index": index, "tx_id": tx.id} | _event_v1(event))
            for tx in self._newest_transactions()
            for index, event in reversed([*enumerate(tx.events)])
            if event["type"] == "contract_event"
            and event["contract_event"]["contract_identifier"] == request.path_params["contract"]
        ]
        limit = _limit(request, 20, 50)
        cursor = request.query_params.get("cursor")
        start = next((place for place, (name, _) in enumerate(rows) if cursor in (None, name)), None)
        if start is None and cursor is not None:
            return _not_found("Cursor not found")
        start = start or 0
        return {
            "limit": limit,
            "offset": 0,
            "total": len(rows),
            "next_cursor": rows[max(start - limit, 0)][0] if start > 0 else None,
            "prev_cursor": rows[start + limit][0] if start + limit < len(rows) else None,
            "cursor": rows[start][0] if rows else None,
            "results": [row for _, row in rows[start : start + limit]],
        }

    def _principal_transactions(self, request: Request) -> Json | Response:
        principal = request.path_params["principal"]
        rows = [
            (tx.cursor, tx)
            for tx in self._newest_transactions()
            if tx.summary()["sender"]["address"] == principal or principal in json.dumps(tx.events)
        ]

        def told(tx: ApiTransaction) -> Callable[[], Json]:
            return lambda: {
                "transaction": tx.summary(),
                "involvement": "sender" if tx.summary()["sender"]["address"] == principal else "affected",
                "balance_changes": {"stx": {"sent": "0", "received": "0", "net": "0"}},
                "affected_balances": {"stx": False, "ft": False, "nft": False},
            }

        return _page_v3(request, [(cursor, told(tx)) for cursor, tx in rows], 20, 50)

    def _nonces(self, request: Request) -> Json:
        principal = request.path_params["principal"]
        summaries = [tx.summary()["sender"] for tx in self._newest_transactions()]
        used = [sender["nonce"] for sender in summaries if sender["address"] == principal]
        return {
            "next_nonce": max(used, default=-1) + 1,
            "last_confirmed_nonce": max(used, default=None),
            "mempool": {"last_nonce": None, "pending_nonces": [], "missing_nonces": []},
        }

    def _mempool(self, request: Request) -> Json | Response:
        def told(tx_id: str, entry: Json) -> Callable[[], Json]:
            def summary() -> Json:
                tx = decode_transaction_hex(entry["raw"])
                return {
                    "tx_id": tx_id,
                    "sender": {"address": str(tx.sender), "nonce": tx.nonce},
                    "sponsor": None,
                    "fee_rate": str(tx.fee),
                    "receipt_time": entry["receipt_time"],
                    "receipt_block_height": 1,
                    "status": "pending",
                    "type": tx.payload.kind,
                }

            return summary

        newest = sorted(self.mempool.items(), key=lambda item: (item[1]["receipt_time"], item[0]), reverse=True)
        rows = [(f"{entry['receipt_time']}:{tx_id}", told(tx_id, entry)) for tx_id, entry in newest]
        return _page_v3(request, rows, 20, 50)

    def _contract(self, request: Request) -> Json | Response:
        contract = request.path_params["contract"]
        for tx in self._newest_transactions():
            told = tx.details(0, 0)
            deployed = told.get("smart_contract")
            if deployed is not None and deployed["contract_id"] == contract:
                abi = tx.post.get("contract_interface") or tx.post.get("contract_abi")
                return {
                    "tx_id": tx.id,
                    "canonical": True,
                    "contract_id": contract,
                    "block_height": tx.block.height,
                    "clarity_version": deployed["clarity_version"],
                    "source_code": deployed["source_code"],
                    "abi": None if abi is None else json.dumps(abi),
                }
        return _not_found("cannot find contract by ID")

    async def _websocket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.headers_seen.append(dict(websocket.headers))
        try:
            while True:
                request = await websocket.receive_json()
                event = request["params"].get("event")
                if request["method"] != "subscribe" or event not in ("block", "address_tx_update"):
                    answer: Json = {"error": {"code": -32602, "message": "Invalid params"}}
                else:
                    answer = {"result": {"address": request["params"].get("address")} if event != "block" else {}}
                    self.listeners.add(websocket)
                await websocket.send_json({"jsonrpc": "2.0", "id": request["id"]} | answer)
        except WebSocketDisconnect:
            pass
        finally:
            self.listeners.discard(websocket)


class _Faults:
    """Answers and cuts as ``HiroApi`` is told to, before its routes are asked."""

    def __init__(self, api: HiroApi, app: ASGIApp) -> None:
        self._api = api
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        api = self._api
        api.headers_seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        api.before(scope["path"])
        if api.cut > 0:
            api.cut -= 1
            # Fewer bytes than announced: the server closes the connection, and the client sees it cut.
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1000")]})
            await send({"type": "http.response.body", "body": b'{"', "more_body": False})
            return
        if api.answers:
            await api.answers.popleft()(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def _send(websocket: WebSocket, text: str) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        await websocket.send_text(text)


class _BadRequestError(Exception):
    """The API refuses the request with status 400."""


def _check(request: Request, takes: Mapping[str, str]) -> None:
    """Refuse what the API refuses, and what it ignores: a parameter that it does not know is a mistake."""
    for name, value in request.query_params.multi_items():
        if name not in takes:
            raise _BadRequestError(f"querystring/{name} is not known")
        if re.fullmatch(takes[name], value) is None:
            raise _BadRequestError(f'querystring/{name} must match pattern "{takes[name]}"')


def _limit(request: Request, default: int, most: int, name: str = "limit") -> int:
    limit = int(request.query_params.get(name, default))
    if limit < 1:
        raise _BadRequestError(f"querystring/{name} must be >= 1")
    if limit > most:
        raise _BadRequestError(f"querystring/{name} must be <= {most}")
    return limit


def _gone(message: str) -> Response:
    """A route that is switched off (``src/api/deprecation-plugin.ts``)."""
    return JSONResponse({"error": "Gone", "message": f"This endpoint has been disabled. {message}"}, status_code=410)


def _not_found(message: str) -> Response:
    return JSONResponse({"error": message, "message": message}, status_code=404)


def _page_v3(
    request: Request,
    rows: list[tuple[str, Callable[[], Json]]],
    default: int,
    most: int,
    *,
    ascending: bool = False,
) -> Json:
    """A page of the v3 routes: ``next`` is the next page in the list's order, older for what is newest first.

    A cursor is a place in the order, whatever is there now; ``height:0:0`` is the top of that block.
    """
    limit = _limit(request, default, most)
    asked = request.query_params.get("cursor")
    start = 0
    if asked is not None:
        place = _place(asked)
        if place[1:] == (0, 0) and asked not in (name for name, _ in rows):
            place = (place[0], NO_MICROBLOCK, MAX_TX_INDEX)
        reached = (
            number
            for number, (name, _) in enumerate(rows)
            if (_place(name) >= place if ascending else _place(name) <= place)
        )
        start = next(reached, len(rows))
    return {
        "total": len(rows),
        "limit": limit,
        "cursor": {
            "next": rows[start + limit][0] if start + limit < len(rows) else None,
            "previous": rows[max(start - limit, 0)][0] if 0 < start < len(rows) else None,
            "current": rows[start][0] if start < len(rows) else None,
        },
        "results": [row() for _, row in rows[start : start + limit]],
    }


def _place(cursor: str) -> tuple[Any, ...]:
    return tuple(int(part) if part.isdigit() else part for part in cursor.split(":"))


def _page_by_offset(request: Request, rows: list[Json]) -> Json:
    limit, offset = _limit(request, 20, 30), int(request.query_params.get("offset", 0))
    return {"limit": limit, "offset": offset, "total": len(rows), "results": rows[offset : offset + limit]}


def rate_limited(**headers: str) -> Response:
    """Status 429 as the hosted API's gateway gives it."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return PlainTextResponse("Rate limit exceeded", status_code=429, headers=names)


class _Uvicorn(uvicorn.Server):
    """Tells when it listens, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """Serves ``api`` on loopback; ``stop`` and ``start`` cut it off and bring it (or another) back at the same port."""

    def __init__(self, api: HiroApi) -> None:
        self.api = api
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        listening = socket.create_server(("127.0.0.1", self._port))
        config = uvicorn.Config(
            self.api.app,
            log_config=None,
            access_log=False,
            lifespan="off",
            loop="none",
            ws="websockets-sansio",
            timeout_graceful_shutdown=1,
        )
        self._server = _Uvicorn(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]))
        await self._server.listening.wait()

    async def stop(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
            self._server = self._task = None


@contextlib.asynccontextmanager
async def serving(api: HiroApi) -> AsyncIterator[Server]:
    """A server that answers for ``api`` while the context lasts."""
    server = Server(api)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
