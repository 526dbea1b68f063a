"""What the engine asks of a chain: room, a simulated draft, a signature, a broadcast, and what became of it.

One executor serves one account. `clarion_keeper.stacks` has the one for Stacks, `clarion_keeper.zkusd` the one for
Bitcoin. An executor reads and sends; it stores nothing: the engine stores each step before the next one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from clarion.chains.model import Chain
from clarion.chains.stacks.clarity import Value
from clarion.config import Settings
from clarion_keeper.graph import Reader, Receipt
from clarion_keeper.intents import Item, Lane, Outcome
from clarion_keeper.job import Job


class ExecutorError(RuntimeError):
    """A node, prover or signer did not answer. It passes; what was to be done waits and is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed version of an outgoing transaction. ``fee`` in micro-STX or satoshis. ``sent``: a node took it once.

    ``state`` is one of ``signed`` (no node has taken it yet), ``broadcast``, ``refused``, ``replaced`` (a newer
    attempt exists; it may be mined all the same), ``mined``.
    """

    tx_id: bytes
    number: int
    fee: int
    raw: bytes
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A stored transaction slot: on Stacks one nonce of one account. ``attempts`` from the first to the newest.

    ``state`` is one of ``signed``, ``broadcast``, ``mined``, ``final``, ``displaced``, ``rejected``. ``height`` and
    ``burn``: the index's height and its Bitcoin height when the newest attempt was signed, ``first_burn`` when the
    first one was; ``height`` of a displaced one: the index's since when it has been displaced. ``deadline_burn``: the
    earliest of its intents'. A replacement pays more than every attempt before it.
    """

    id: int
    account: str
    sender: str
    nonce: int | None
    lane: Lane
    job: str
    state: str
    height: int
    burn: int
    first_burn: int
    deadline_burn: int | None
    attempts: tuple[Attempt, ...]
    tx_id: bytes | None = None
    block_height: int | None = None
    block_hash: bytes | None = None

    @property
    def newest(self) -> Attempt:
        """The attempt that counts unless an earlier one is mined."""
        return self.attempts[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one transaction is to do: intents of one job, in the planner's order.

    ``deadline_burn``: the earliest of their deadlines; ``first_burn``: since when the first of them has been due. Both
    are Bitcoin heights.
    """

    job: Job[Any]
    items: tuple[Item, ...]
    keys: tuple[str, ...]
    deadline_burn: int | None = None
    first_burn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What an account may take on now.

    ``balance`` in micro-STX or satoshis, what is pending already taken off. ``nonces``: the free ones in order, those
    that fill a gap first, as many as a node would chain; on Bitcoin a number of slots with ``None`` for each.
    ``confirmed`` is the next nonce to be mined.
    """

    balance: int
    nonces: tuple[int | None, ...]
    confirmed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An unsigned transaction that would succeed at the tip. ``unsigned`` is the executor's own.

    ``fee`` in micro-STX or satoshis; ``costs``: further costs in the same unit, such as a prover's. ``taken``: how much
    less the account has afterwards, where that is not fee and costs (a spell may pay for itself). ``outcomes``: what
    the simulation says of each intent; empty where it could not say.
    """

    fee: int
    contract: str
    function: str
    unsigned: Any
    costs: int = 0
    taken: int | None = None
    outcomes: tuple[Outcome, ...] = ()
    detail: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined:
    """Simulation says that it must not be signed: an outcome for each intent, in order.

    DONE: somebody did it, which the index will show; AGAIN leaves it waiting with the reason; FAILED stops its job.
    A part may be declined of what a batch holds: the engine drafts anew what is left. ``too_large``: the batch costs
    more than a block allows; the engine halves it. ``handed_out``: an unsigned transaction that others have to sign,
    shown with the intent.
    """

    outcomes: tuple[Outcome, ...]
    too_large: bool = False
    handed_out: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed transaction. ``coins``: on Bitcoin the outpoints it spends, as ``txid:index``."""

    tx_id: bytes
    raw: bytes
    fee: int
    coins: tuple[str, ...] = ()


class Taken(StrEnum):
    """What the nodes said to a transaction that was sent."""

    SENT = "sent"
    """A node has it, now or already."""
    LATER = "later"
    """No node could take it for now (none answers, too many chained, too little money): the same bytes go again."""
    SPENT = "spent"
    """Its nonce or an input of it is used already; following says by which transaction."""
    REPLACE = "replace"
    """Its fee is too low for the nodes: a new attempt is needed."""
    STOP = "stop"
    """It can never be mined (no such contract, bad signature): the slot is free again and the job stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """The answer of the nodes. ``nodes``: who took it. ``reason``: the nodes' own word, or why none was asked."""

    taken: Taken
    reason: str = ""
    nodes: tuple[str, ...] = ()


class Fate(StrEnum):
    """What the chain says of an outgoing."""

    MINED = "mined"
    """One of its attempts is in a canonical block."""
    PENDING = "pending"
    """In no block; a node holds it."""
    DROPPED = "dropped"
    """In no block, and no node holds it although its slot is free: send the same bytes again, or replace it."""
    DISPLACED = "displaced"
    """A transaction that is none of its attempts took its nonce or an input, in a block that the index has."""
    UNKNOWN = "unknown"
    """The index is behind the nodes, or they did not answer: ask again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of an outgoing. Besides ``fate`` and ``reason`` everything is of the attempt that was mined.

    ``status``: as the chain says it (``success``, ``abort_by_response``, …). ``fee``: what was paid. Of DISPLACED,
    ``benign``: it means that somebody else did it; ``final``: no reorganisation undoes it any more.
    """

    fate: Fate
    reason: str = ""
    tx_id: bytes | None = None
    height: int = 0
    block_hash: bytes = b""
    final: bool = False
    status: str = ""
    result: Value | None = None
    fee: int = 0
    benign: bool = False


class Executor(Protocol):
    """The way to a chain for one account. Everything raises ExecutorError where nobody answers.

    ``sign`` and ``free`` raise `clarion_keeper.signers.SigningRefusedError` where the signer's limits forbid it.
    """

    @property
    def chain(self) -> Chain:
        """The chain."""
        ...

    @property
    def address(self) -> str:
        """The account's."""
        ...

    async def room(self, live: Sequence[Outgoing]) -> Room:
        """What the account may take on now, beside the outgoings that are signed, broadcast or mined and not final."""
        ...

    async def draft(self, work: Work, receipt: Receipt, *, nonce: int | None) -> Draft | Declined:
        """Estimate the fee and simulate at the tip. Nothing is signed."""
        ...

    async def over(self, work: Work) -> Sequence[Outcome | None]:
        """What the chain says of each intent of a work that is no longer due; None where it says nothing for certain.

        Only what is `Outcome.benign` is certain: somebody else did it. Nothing is signed and nobody is paid.
        """
        ...

    async def sign(self, draft: Draft, work: Work, *, nonce: int | None) -> Signed | Declined:
        """The draft, signed. Declined where it turned out meanwhile that it would do nothing: it must not be sent."""
        ...

    async def broadcast(self, signed: Signed | Attempt) -> Broadcast:
        """Give stored bytes to the nodes. Sending the same bytes again is harmless."""
        ...

    async def follow(self, outgoings: Sequence[Outgoing]) -> tuple[Mapping[int, Seen], Receipt]:
        """What became of these, by id, looking at every attempt of each: at most one of them is mined.

        The receipt is where the index stood. It is asked for with an empty list too.
        """
        ...

    async def replacement(
        self, outgoing: Outgoing, work: Work | None, receipt: Receipt, *, wanted: bool
    ) -> Draft | Declined | None:
        """A draft with a higher fee for an outgoing that is stuck; None where it is not, or its fee is at the cap.

        ``work``: what of its intents is still due; None where nothing is, and the slot is to be freed as cheaply as
        possible. ``wanted``: nodes have asked for a higher fee, or dropped it, whatever its age. The draft is signed
        with :meth:`sign` and the same nonce (``work`` None: with :meth:`sign_release`).
        """
        ...

    async def sign_release(self, draft: Draft, outgoing: Outgoing) -> Signed:
        """A signed transaction that frees the slot of ``outgoing`` and does nothing else."""
        ...


async def is_displaced_for_good(outgoing: Outgoing, reader: Reader) -> bool:
    """Whether a displaced outgoing has been so since a block that is final. Raises GraphError."""
    return outgoing.state == "displaced" and await reader.is_final(outgoing.height)


class OpenExecutor(Protocol):
    """How an executor is opened: `clarion_keeper.stacks.open_executor`, `clarion_keeper.zkusd.open_executor`."""

    def __call__(
        self, settings: Settings, account: str, signer: Any, reader: Reader
    ) -> AbstractAsyncContextManager[Executor]:
        """``account``: its name in ``keeper.accounts``. The executor owns its connections to nodes."""
        ...
