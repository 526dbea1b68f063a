"""A node of the simulated chain: posts over HTTP as stacks-node does, with all that goes wrong on the way."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from support.node_posts import body, replayed_payload
from support.simulated_node import SimulatedNode

Post = tuple[str, bytes]

RETRY_SECONDS: Final = 0.02
ANSWER_SECONDS: Final = 20
GARBAGE: Final = b'{"garbage":'
"""How a post begins that no node sends."""


class PostingNode(threading.Thread):
    """Posts in order, each until it is answered 200, to wherever the observer is; no further than it is told to.

    ``address``: what it posts from, which names it. ``loses``: how likely it is that a block is never posted, as when
    the node was restarted without its queue; it never loses what is told to be its last.
    """

    def __init__(
        self, posts: Sequence[Post], observer: Callable[[], str], *, seed: int, address: str, loses: float
    ) -> None:
        super().__init__(daemon=True)
        self._posts = posts
        self._observer = observer
        self._chance = random.Random(seed)
        self._address = address
        self._loses = loses
        self._turn = threading.Condition()
        self._allowed = 0
        self._stopped = threading.Event()
        self.delivered = 0

    def allow(self, count: int) -> None:
        """Let it post so many more."""
        with self._turn:
            self._allowed = min(self._allowed + count, len(self._posts))
            self._turn.notify_all()

    @property
    def idle(self) -> bool:
        """Whether it has posted all it may."""
        return self.delivered >= self._allowed

    @property
    def finished(self) -> bool:
        return self.delivered == len(self._posts)

    def stop(self) -> None:
        self._stopped.set()
        self.allow(0)

    def run(self) -> None:
        transport = httpx.HTTPTransport(local_address=self._address)
        with httpx.Client(transport=transport, timeout=ANSWER_SECONDS) as client:
            for number, (path, content) in enumerate(self._posts):
                with self._turn:
                    self._turn.wait_for(lambda place=number: self._allowed > place or self._stopped.is_set())
                may_lose = path == "/new_block" and number < len(self._posts) - 1
                if not (may_lose and self._chance.random() < self._loses):
                    self._trouble(client, path, content)
                    while not self._stopped.is_set() and not self._post(client, path, content):
                        self._stopped.wait(RETRY_SECONDS)
                if self._stopped.is_set():
                    return
                self.delivered = number + 1

    def _post(self, client: httpx.Client, path: str, content: bytes, **options: Any) -> bool:
        """Whether it was answered exactly 200."""
        with contextlib.suppress(httpx.TransportError):
            return client.post(f"{self._observer()}{path}", content=content, **options).status_code == 200
        return False

    def _trouble(self, client: httpx.Client, path: str, content: bytes) -> None:
        """What may happen before a post arrives as it should."""
        draw = self._chance.random()
        if draw < 0.05:  # the node dies in the middle of the post
            self._send_raw(path, len(content), content[: self._chance.randrange(len(content))])
        elif draw < 0.1:  # or before it reads the answer
            self._send_raw(path, len(content), content)
        elif draw < 0.15:  # it loses patience while the first is still worked on
            self._post(client, path, content, timeout=self._chance.choice((0.001, 0.005)))
        elif draw < 0.2:  # the answer is lost
            self._post(client, path, content)
        elif draw < 0.25:  # what is sent is no JSON, and large
            self._post(client, "/new_block", GARBAGE + self._chance.randbytes(100_000))
        elif draw < 0.3:  # a body that comes in pieces
            pieces = (content[start : start + 500] for start in range(0, len(content), 500))
            with contextlib.suppress(httpx.TransportError):
                client.post(f"{self._observer()}{path}", content=pieces)

    def _send_raw(self, path: str, announced: int, sent: bytes) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: observer\r\nContent-Length: {announced}\r\n\r\n".encode()
        with contextlib.suppress(OSError):
            where = urlsplit(self._observer())
            there, here = (where.hostname, where.port or 0), (self._address, 0)
            with socket.create_connection(there, ANSWER_SECONDS, here) as connection:
                connection.sendall(head + sent)


class AskedNode:
    """Answers a node's replay and sortition routes, while ``faulty`` not always and not always with the truth."""

    def __init__(self, chain: SimulatedNode, *, seed: int) -> None:
        self.faulty = True
        self._chance = random.Random(seed)
        self._blocks: dict[str, bytes] = {}
        self._sortitions: dict[str, bytes] = {}
        for block_hash, content in chain.payloads.items():
            posted = json.loads(content)
            self._blocks[block_hash.hex()] = body(replayed_payload(posted))
            burn = {name: posted[name] for name in ("burn_block_hash", "burn_block_height", "consensus_hash")}
            self._sortitions[posted["consensus_hash"].removeprefix("0x")] = body([burn])
        node = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with contextlib.suppress(OSError):
                    node.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        route, _, key = request.path.rpartition("/")
        known = self._blocks if route == "/v3/blocks/replay" else self._sortitions
        content = known.get(key)
        status = 404 if content is None else 200
        content = content or b"not found"
        draw = self._chance.random() if self.faulty else 1.0
        if draw < 0.15:
            status, content = self._chance.choice((500, 503, 404)), b"try later"
        elif draw < 0.25:
            content = content[: self._chance.randrange(len(content))]
        elif draw < 0.35:  # the truth about something else
            content = self._chance.choice(list(known.values()))
        elif draw < 0.4:
            content = b"[" * 50_000
        announced = len(content)
        if 0.4 <= draw < 0.5:  # cut off in the middle
            content = content[: len(content) // 2]
        request.send_response(status)
        request.send_header("content-length", str(announced))
        request.end_headers()
        request.wfile.write(content)
        request.close_connection = True
