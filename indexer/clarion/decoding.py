"""Decodes posts in processes of its own, in order and within bounds: for files, and an inbox that has grown long.

Decoding takes most of the work of indexing, and what is decoded is mostly only stored. The processes therefore give
back blocks with their rows packed (:mod:`clarion.store.packed`), and as values only what the protocols look at.
A single block at the tip is decoded faster than it is sent to another process.

``python -m clarion.decoding`` is such a process. Both ways go messages of a length (eight bytes) and a pickle.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from types import TracebackType
from typing import IO, Any, Final, Protocol, Self, TypeAlias, TypeVar

from clarion.chains.model import Block, BlockRef, BurnBlock, Event, EventKind, Transaction
from clarion.chains.stacks.node_payloads import Item, PayloadError, decode_post
from clarion.store.packed import BlockRows, Interest, PackedBlock, packed

CHUNK_BYTES: Final = 1 << 20
"""How many bytes of posts are sent to a process at a time."""
CHUNKS_AHEAD: Final = 3
"""How many chunks of each process are in its hands or wait to be taken: that bounds the memory."""
STOP_SECONDS: Final = 5.0
_LENGTH_BYTES: Final = 8


class RawPost(Protocol):
    """What is decoded: a post as it was recorded or as it waits in the inbox."""

    @property
    def path(self) -> str:
        """Where it was posted to."""

    @property
    def body(self) -> bytes:
        """Its JSON."""


P = TypeVar("P", bound=RawPost)


class DecodingProcessError(RuntimeError):
    """A decoding process ended before its work was done."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What a post cannot be read for."""

    reason: str


Decoded: TypeAlias = list[Item] | Undecodable


def decode(path: str, body: bytes, interest: Interest) -> Decoded:
    """What a post says, its block packed."""
    try:
        items = decode_post(path, body)
        return [packed(item, interest) if isinstance(item, Block) else item for item in items]
    except PayloadError as error:
        return Undecodable(str(error))
    except UnicodeEncodeError as error:  # text that no database takes
        return Undecodable(f"UnicodeEncodeError: {error}")


def default_processes() -> int:
    """How many decoding processes pay off: none on a single processor, else at least two, as they have most to do."""
    processors = os.cpu_count() or 1
    return 0 if processors == 1 else max(processors - 1, 2)


class _Process:
    """A decoding process, seen from the one that started it. It ends when its input does."""

    def __init__(self, command: Sequence[str], interest: Interest) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.send(interest)

    def send(self, message: Any) -> None:
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, message)
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            return _read(self._process.stdout)
        except (EOFError, OSError) as error:
            raise self._ended() from error

    def _ended(self) -> DecodingProcessError:
        code = self._process.poll()
        return DecodingProcessError(f"a decoding process ended early (code {code}); was it killed for its memory?")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class Decoders:
    """Decoding processes. They end when this is closed, and when the process that made them is gone.

    For one thread at a time.
    """

    def __init__(self, count: int, interest: Interest) -> None:
        self.interest = interest
        command = [sys.executable, "-m", "clarion.decoding"]
        self._processes = [_Process(command, interest) for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()

    def decode(self, posts: Sequence[P]) -> list[Decoded]:
        """What each post says, in their order."""
        share = -(-sum(len(post.body) for post in posts) // len(self._processes))
        chunks = list(chunked(posts, share + 1))
        return [decoded for _, chunk in self.stream(chunks) for decoded in chunk]

    def stream(self, chunks: Iterable[Sequence[P]]) -> Iterator[tuple[Sequence[P], list[Decoded]]]:
        """Chunks of posts with what each post says, in their order; the processes work ahead.

        What ``chunks`` raises is raised after what came before it. Raises DecodingProcessError.
        """
        sent: queue.Queue[tuple[_Process, Sequence[P]] | BaseException | None] = queue.Queue()
        ahead = threading.Semaphore(CHUNKS_AHEAD * len(self._processes))
        stop = threading.Event()

        def feed() -> None:
            # In a thread of its own: a process that is sending what it decoded does not take anything meanwhile.
            try:
                for number, chunk in enumerate(chunks):
                    ahead.acquire()
                    if stop.is_set():
                        return
                    process = self._processes[number % len(self._processes)]
                    sent.put((process, chunk))
                    process.send([(post.path, post.body) for post in chunk])
                sent.put(None)
            except BaseException as error:
                sent.put(error)

        feeder = threading.Thread(target=feed, name="clarion decode feeder", daemon=True)
        feeder.start()
        try:
            while (given := sent.get()) is not None:
                if isinstance(given, BaseException):
                    raise given
                process, chunk = given
                answer = process.receive()
                ahead.release()
                yield chunk, [_decoded_of(parts, self.interest) for parts in answer]
        finally:
            stop.set()
            ahead.release()
            while feeder.is_alive():
                # Take what is still under way, so that neither the thread nor a process waits for ever.
                self._drain(sent)
                feeder.join(0.01)
            self._drain(sent)

    def _drain(self, sent: queue.Queue[tuple[_Process, Sequence[P]] | BaseException | None]) -> None:
        while not sent.empty():
            given = sent.get()
            if isinstance(given, tuple):
                try:
                    given[0].receive()
                except DecodingProcessError:
                    return


def chunked(posts: Iterable[P], size: int = CHUNK_BYTES) -> Iterator[list[P]]:
    """Posts in groups of about ``size`` bytes. Where ``posts`` breaks off, what came before is given first."""
    chunk: list[P] = []
    held = 0
    try:
        for post in posts:
            chunk.append(post)
            held += len(post.body)
            if held >= size:
                yield chunk
                chunk, held = [], 0
    except Exception:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def _write(stream: IO[bytes], message: Any) -> None:
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(len(content).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> Any:
    length = stream.read(_LENGTH_BYTES)
    content = stream.read(int.from_bytes(length, "big"))
    if len(length) < _LENGTH_BYTES or not content:
        raise EOFError
    return pickle.loads(content)


def main() -> None:
    """A decoding process: what is of interest comes first, then chunks of posts until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the parent, which then ends this
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(EOFError, BrokenPipeError):
        interest: Interest = _read(given)
        while True:
            _write(answers, [_parts(decode(path, body, interest)) for path, body in _read(given)])


# Between the processes go plain tuples: objects of these classes take ten times as long to pickle.

_KINDS: Final = {kind.value: kind for kind in EventKind}


def _parts(decoded: Decoded) -> Any:
    if isinstance(decoded, Undecodable):
        return decoded.reason
    return [_parts_of_block(item) if isinstance(item, PackedBlock) else item for item in decoded]


def _parts_of_block(block: PackedBlock) -> tuple[Any, ...]:
    rows, ref, burn = block.rows, block.ref, block.burn
    return (
        (ref.chain, ref.height, ref.hash, ref.parent_hash),
        block.time,
        None if burn is None else astuple(burn),
        [
            (tx.index, tx.id, tx.status, tx.kind, tx.sender, tx.sponsor, tx.nonce, tx.fee, tx.contract, tx.function)
            + (tx.stored_payload, tx.result, tx.raw, tx.vm_error, tx.decode_error, tx.interface)
            for tx in block.transactions
        ],
        [
            (event.tx_index, event.index, event.kind.value, event.contract, event.topic, event.stored_value)
            + (event.raw,)
            for event in block.events
        ],
        block.extra,
        (rows.block, rows.transactions, rows.events),
        block.counts,
    )


def _decoded_of(parts: Any, interest: Interest) -> Decoded:
    if isinstance(parts, str):
        return Undecodable(parts)
    return [_block_of(item, interest) if isinstance(item, tuple) else item for item in parts]


def _block_of(parts: tuple[Any, ...], interest: Interest) -> PackedBlock:
    ref, time, burn, transactions, events, extra, rows, counts = parts
    return PackedBlock(
        BlockRef(*ref),
        time,
        None if burn is None else BurnBlock(*burn),
        tuple([Transaction(*tx) for tx in transactions]),
        tuple(
            [
                Event(tx_index, index, _KINDS[kind], contract, topic, value, raw)
                for tx_index, index, kind, contract, topic, value, raw in events
            ]
        ),
        extra,
        BlockRows(*rows),
        interest,
        counts,
    )


if __name__ == "__main__":
    main()
