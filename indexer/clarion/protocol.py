"""Protocols: a set of contracts, the tables their events become, and the pure handlers that do it.

A protocol is a Python package that exposes one :class:`Protocol` under the entry point group ``clarion.protocols``::

    protocol = Protocol("bithedge", tables=[Position])

    class CapitalDeposited(msgspec.Struct, rename="kebab"):
        provider: str
        amt: int

    @protocol.on("bh-vault", "capital.deposited")
    def capital_deposited(event: CapitalDeposited, at: EventContext, rows: Rows) -> None:
        ...

A handler reads its event, its context and rows, and nothing else: no clock, no network, no randomness.
"""

from __future__ import annotations

import importlib.metadata
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, get_type_hints

import msgspec

from clarion.chains.model import Block, BlockRef, Event, Transaction
from clarion.store.rows import Row, Rows, RowType

ENTRY_POINT_GROUP: Final = "clarion.protocols"

Handler = Callable[[Any, "EventContext", Rows], None]


@dataclass(frozen=True, slots=True)
class EventContext:
    """Where an event happened: everything a handler may use besides the event's own fields and rows."""

    block: BlockRef
    burn_height: int
    """Height of the Bitcoin block it is anchored to; 0 where the source could not tell."""
    time: int
    """Unix seconds of the block; 0 where the source could not tell."""
    tx_id: bytes
    sender: str
    """The transaction's origin; empty for one made on Bitcoin."""
    contract: str
    topic: str
    tx_index: int
    event_index: int

    @property
    def height(self) -> int:
        """Height of the block."""
        return self.block.height


class UndecodableEventError(ValueError):
    """An event's fields are not what its topic and version declare."""


class UnknownTopicError(ValueError):
    """A followed contract printed a topic that its protocol does not know."""


class ProjectionError(RuntimeError):
    """A handler failed on an event it had accepted: a defect in the protocol's package. Indexing stops before it."""


@dataclass(frozen=True, slots=True)
class _Registered:
    handler: Handler
    payload: type[Any] | None


@dataclass(eq=False)
class Protocol:
    """One set of contracts with its tables and handlers.

    ``name`` is also the Postgres schema of its tables. Contracts are named by short names (``bh-vault``); which
    contract ids those are on a network is said at start by :meth:`deployed_at`.
    """

    name: str
    tables: Iterable[type[Row]]
    title: str = ""
    version: int = 1
    """Raised by the package's author when handlers or tables change: the projection is then made anew."""
    row_types: tuple[RowType, ...] = field(init=False)
    _handlers: dict[tuple[str, str], _Registered] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.row_types = tuple(RowType(table) for table in self.tables)
        for row_type in self.row_types:
            if not row_type.name.startswith(f"{self.name}."):
                raise ValueError(f"table {row_type.name} of protocol {self.name} must be in the schema {self.name}")

    def on(self, contract: str, topic: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Register a handler for ``topic`` events of the contract with this short name.

        The handler's first parameter says what it gets: a ``msgspec.Struct`` (the event's fields are checked against
        it) or ``dict`` (as they are).
        """

        def register(handler: Callable[..., None]) -> Callable[..., None]:
            key = (contract, topic)
            if key in self._handlers:
                raise ValueError(f"{self.name} handles {contract} {topic} twice")
            first = next(iter(inspect.signature(handler).parameters))
            payload = get_type_hints(handler)[first]
            is_struct = isinstance(payload, type) and issubclass(payload, msgspec.Struct)
            self._handlers[key] = _Registered(handler, payload if is_struct else None)
            return handler

        return register

    def short_names(self) -> frozenset[str]:
        """The short names of the contracts it handles."""
        return frozenset(contract for contract, _ in self._handlers)

    def topics(self) -> Mapping[tuple[str, str], type[Any] | None]:
        """What it handles: (contract short name, topic) to the payload type."""
        return {key: registered.payload for key, registered in self._handlers.items()}

    def deployed_at(self, contracts: Mapping[str, str]) -> DeployedProtocol:
        """Bind short names to contract ids: ``{"bh-vault": "ST1….bh-vault"}``."""
        unknown = contracts.keys() - self.short_names()
        if unknown:
            raise ValueError(f"{self.name} has no contract {sorted(unknown)}")
        return DeployedProtocol(self, {identifier: short for short, identifier in contracts.items()})

    def deployed_by(self, deployer: str) -> DeployedProtocol:
        """Bind every short name to the contract of that name under one deployer's address."""
        return self.deployed_at({short: f"{deployer}.{short}" for short in self.short_names()})


@dataclass(frozen=True, slots=True)
class DeployedProtocol:
    """A protocol on one network: which contract ids are whose."""

    protocol: Protocol
    contracts: Mapping[str, str]
    """Contract id to short name."""

    def project(self, event: Event, block: Block, transaction: Transaction, rows: Rows) -> None:
        """Apply one event of a contract in :attr:`contracts`.

        Raises UnknownTopicError or UndecodableEventError (the event changes nothing and is to be recorded), or
        ProjectionError (the handler is defective).
        """
        if event.contract is None:
            return
        registered = self.protocol._handlers.get((self.contracts[event.contract], event.topic))
        if registered is None:
            if event.raw is None or event.kind != "print":
                return
            raise UnknownTopicError(f"{self.protocol.name} knows no topic {event.topic!r} of {event.contract}")
        payload: Any = event.value
        if registered.payload is not None:
            try:
                payload = msgspec.convert(event.value, registered.payload)
            except msgspec.ValidationError as error:
                raise UndecodableEventError(f"{event.contract} {event.topic}: {error}") from error
        context = EventContext(
            block=block.ref,
            burn_height=block.burn.height if block.burn else 0,
            time=block.time or 0,
            tx_id=transaction.id,
            sender=transaction.sender or "",
            contract=event.contract,
            topic=event.topic,
            tx_index=event.tx_index,
            event_index=event.index,
        )
        try:
            registered.handler(payload, context, rows)
        except Exception as error:
            raise ProjectionError(
                f"{self.protocol.name} failed on {event.contract} {event.topic} in {block.ref}, "
                f"transaction 0x{transaction.id.hex()}, event {event.index}: {type(error).__name__}: {error}. "
                f"Nothing of the block was written; update the protocol's package and start again."
            ) from error


def installed_protocols() -> dict[str, Protocol]:
    """Every installed protocol by name, found through the entry point group ``clarion.protocols``."""
    found: dict[str, Protocol] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        protocol = entry_point.load()
        if not isinstance(protocol, Protocol):
            raise TypeError(f"entry point {entry_point.name} of {ENTRY_POINT_GROUP} is not a Protocol: {protocol!r}")
        found[protocol.name] = protocol
    return found
