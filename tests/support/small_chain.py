"""A GraphQL server and a Stacks node in one, with a chain that stands still: enough for a keeper to send something."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from clarion.chains.stacks.transactions import Transaction, decode_transaction

HEIGHT = 10
BURN_HEIGHT = 100
RECEIPT = {"chain": "STACKS", "height": HEIGHT, "hash": "0x0a", "burnHeight": BURN_HEIGHT, "sequence": HEIGHT}


class SmallChain:
    """What a keeper sent to it. No block is ever mined. ``is_away``: it hangs up on everybody.

    ``authorizations``: with what whoever asked it signed in.
    """

    def __init__(self) -> None:
        self.taken: list[Transaction] = []
        self.url = ""
        self.is_away = False
        self.authorizations: set[str | None] = set()

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        match method, path.partition("?")[0]:
            case "POST", "/graphql":
                return 200, _graphql(json.loads(body)["query"])
            case "GET", "/v2/info":
                tip = {"stacks_tip_height": HEIGHT, "stacks_tip": "00", "stacks_tip_consensus_hash": "00"}
                return 200, {**tip, "burn_block_height": BURN_HEIGHT, "network_id": 0x80000000}
            case "POST", "/v2/transactions":
                self.taken.append(decode_transaction(body))
                return 200, self.taken[-1].txid.hex()
            case "GET", path if path.startswith("/v2/accounts/"):
                return 200, {"balance": hex(10**9), "locked": "0x0", "nonce": 0}
            case "GET", path if path.startswith("/v2/transactions/unconfirmed/"):
                return 200, {"tx": "", "status": "Microblock"}
        return 404, {"error": "not here"}


def _graphql(query: str) -> dict[str, Any]:
    if "KeeperTip" in query:
        data: dict[str, Any] = {"blocks": {"nodes": [{"height": HEIGHT}]}}
    elif "KeeperTransactions" in query:
        data = {"transactions": {"nodes": []}}
    else:
        return {"errors": [{"message": "there is nothing here"}]}
    return {"data": data, "extensions": {"receipt": RECEIPT, "receipts": [RECEIPT]}}


@contextlib.contextmanager
def small_chain() -> Iterator[SmallChain]:
    """The chain at a free port, for as long as the context."""
    chain = SmallChain()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def _reply(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            chain.authorizations.add(self.headers.get("authorization"))
            if chain.is_away:
                self.close_connection = True
                return
            status, answer = chain.answer(method, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    chain.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield chain
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
