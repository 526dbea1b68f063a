"""Decodes recorded posts in processes of its own, in order and within bounds.

Decoding takes most of the work of indexing, and what is decoded is mostly only stored. The processes therefore give
back blocks with their rows packed (:mod:`clarion.store.packed`), and as values only what the protocols look at.
A single block at the tip is decoded faster than it is sent to another process.

``python -m clarion.decoding`` is such a process. Both ways go messages: the lengths of a pickle and of plain bytes
beside it (eight bytes each), and both.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from struct import Struct
from types import TracebackType
from typing import IO, Any, Final, NamedTuple, Self, TypeAlias

from msgspec.structs import astuple

from clarion.chains.model import Block, BlockRef, BurnBlock, Event, Transaction
from clarion.chains.stacks.node_payloads import NEW_BLOCK, Item, PayloadError, decode_post
from clarion.chains.stacks.recording import Lines, RecordingError, posts_of
from clarion.store.packed import BlockRows, Interest, PackedBlock, packed

PIECES_AHEAD: Final = 20
"""How many pieces of a file each process may be ahead of what is taken: that bounds the memory, and lets the processes
decode while a batch is written.
"""
PIPE_BYTES: Final = 1 << 20
"""How much a pipe holds, where the system lets it: a piece of a file goes through in few steps."""
STOP_SECONDS: Final = 5.0
NICENESS: Final = 10
_lengths = Struct(">QQ")


class DecodingProcessError(RuntimeError):
    """A decoding process ended before its work was done."""


@dataclass(frozen=True, slots=True)
class Undecodable:
    """What a post cannot be read for."""

    reason: str


Decoded: TypeAlias = list[Item] | Undecodable


class Entry(NamedTuple):
    """Where a post was in a file, what it was and how large."""

    line: int
    is_block: bool
    bytes: int


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
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pipesize=PIPE_BYTES)
        self.send(interest)

    def send(self, message: Any, content: bytes = b"") -> None:
        assert self._process.stdin is not None
        try:
            _write(self._process.stdin, message, content)
        except OSError as error:
            raise self._ended() from error

    def receive(self) -> Any:
        assert self._process.stdout is not None
        try:
            return _read(self._process.stdout)[0]
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

    def stream(self, pieces: Iterable[Lines], path: Path) -> Generator[list[tuple[Entry, Decoded]], None, None]:
        """The posts of each piece of a file with what they say, in their order; the processes work ahead.

        ``path`` is for errors. What ``pieces`` raises is raised after what came before it, as is RecordingError where a
        line is no post. Raises DecodingProcessError.
        """
        decoded: queue.Queue[list[tuple[Entry, Decoded]] | BaseException | None] = queue.Queue()
        sent: queue.Queue[_Process | BaseException | None] = queue.Queue()
        ahead = threading.Semaphore(PIECES_AHEAD * len(self._processes))
        stop = threading.Event()

        def feed() -> None:
            # In a thread of its own: a process that is sending what it decoded does not take anything meanwhile.
            try:
                for process, piece in zip(cycle(self._processes), pieces, strict=False):
                    ahead.acquire()
                    if stop.is_set():
                        break
                    sent.put(process)
                    process.send((piece.first, str(path)), piece.content)
                sent.put(None)
            except BaseException as error:
                sent.put(error)

        def take() -> None:
            # In another one: what comes next is taken while the batch before it is written. It goes on after a failure,
            # so that the other processes and the feeder come to an end.
            failed = False
            while isinstance(process := sent.get(), _Process):
                try:
                    entries, broken = process.receive()
                    if not failed:
                        decoded.put([(Entry(*entry), _decoded_of(parts, self.interest)) for entry, parts in entries])
                    if broken is not None:
                        raise RecordingError(broken)
                except BaseException as error:
                    if not failed:
                        decoded.put(error)
                    failed = True
            if not failed:
                decoded.put(process)

        threads = [threading.Thread(target=run, name=f"clarion {run.__name__}", daemon=True) for run in (feed, take)]
        for thread in threads:
            thread.start()
        try:
            while (given := decoded.get()) is not None:
                if isinstance(given, BaseException):
                    raise given
                ahead.release()
                yield given
        finally:
            stop.set()
            ahead.release()
            for thread in threads:
                thread.join()


def _write(stream: IO[bytes], message: Any, content: bytes = b"") -> None:
    pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    stream.write(_lengths.pack(len(pickled), len(content)))
    stream.write(pickled)
    stream.write(content)
    stream.flush()


def _read(stream: IO[bytes]) -> tuple[Any, bytes]:
    lengths = stream.read(_lengths.size)
    if len(lengths) < _lengths.size:
        raise EOFError
    of_pickled, of_content = _lengths.unpack(lengths)
    pickled, content = stream.read(of_pickled), stream.read(of_content)
    if len(pickled) < of_pickled or len(content) < of_content:
        raise EOFError
    return pickle.loads(pickled), content


def main() -> None:
    """A decoding process: what is of interest comes first, then pieces of a file until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, meant for the parent, which then ends this
    # They work ahead: whoever writes, and Postgres, go first where there are more processes than processors.
    os.nice(NICENESS)
    given, answers = sys.stdin.buffer, sys.stdout.buffer
    # Nothing that decoding makes refers back to itself, but looking for that would take a tenth of the time.
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    with contextlib.suppress(EOFError, BrokenPipeError):
        interest: Interest = _read(given)[0]
        while True:
            (first, path), content = _read(given)
            entries: list[tuple[tuple[int, bool, int], Any]] = []
            broken: str | None = None
            try:
                for post in posts_of(Lines(first, content), Path(path)):
                    entry = post.line, post.path == NEW_BLOCK, len(post.body)
                    entries.append((entry, _parts(decode(post.path, post.body, interest))))
            except RecordingError as error:
                broken = str(error)
            _write(answers, (entries, broken))


# Between the processes go plain tuples: objects of these classes take ten times as long to pickle.


def _parts(decoded: Decoded) -> Any:
    if isinstance(decoded, Undecodable):
        return decoded.reason
    return [_parts_of_block(item) if isinstance(item, PackedBlock) else item for item in decoded]


def _parts_of_block(block: PackedBlock) -> tuple[Any, ...]:
    rows, ref, burn = block.rows, block.ref, block.burn
    return (
        (ref.chain, ref.height, ref.hash, ref.parent_hash),
        block.time,
        None if burn is None else (burn.height, burn.hash, burn.parent_hash, burn.time),
        [astuple(tx) for tx in block.transactions],
        [astuple(event) for event in block.events],
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
        tuple([Event(*event) for event in events]),
        extra,
        BlockRows(*rows),
        interest,
        counts,
    )


if __name__ == "__main__":
    main()
