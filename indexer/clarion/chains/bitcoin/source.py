"""What the poller asks of a source of Bitcoin blocks, and how a source says that it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


class BitcoinSourceError(Exception):
    """A source does not answer, or not with what was asked for. The message says who, what was asked and why not."""


class BlockGoneError(BitcoinSourceError):
    """A source does not have a block (any more), as where its node left a branch meanwhile."""


@dataclass(frozen=True, slots=True)
class SourceTip:
    """The highest block of a source's best chain."""

    height: int
    hash: bytes


class BlockSource(Protocol):
    """A source of raw blocks. Use as an async context manager. Every method raises BitcoinSourceError."""

    name: str
    """What it is called in the table of sources: its kind, or its kind, a colon and more."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def check(self) -> None:
        """Raise BitcoinSourceError where it is of another network than was said."""

    async def tip(self) -> SourceTip:
        """Where its best chain ends now."""

    async def hashes(self, heights: Sequence[int]) -> list[bytes]:
        """Hashes of its best chain's blocks at these heights. Raises BlockGoneError where it is lower now."""

    async def block(self, block_hash: bytes) -> bytes:
        """A block's bytes. Raises BlockGoneError."""

    async def wait(self, tip: SourceTip) -> None:
        """Wait until its tip may be another one than ``tip``; not for ever."""
