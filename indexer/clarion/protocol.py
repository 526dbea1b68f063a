"""Protocols: a set of contracts, the tables their events become, and the pure handlers that do it.

A protocol is a Python package that exposes one :class:`Protocol` under the entry point group ``clarion.protocols``::

    protocol = Protocol("bithedge", tables=[Position])

    class CapitalDeposited(msgspec.Struct, rename="kebab"):
        provider: str
        amt: int

    @protocol.on("bh-vault", "capital.deposited")
    def capital_deposited(event: CapitalDeposited, at: EventContext, rows: Rows) -> None:
        ...

    @protocol.on("bh-token", kind=EventKind.FT_TRANSFER)
    def moved(event: FtTransfer, at: EventContext, rows: Rows) -> None:
        ...

A handler reads its event, its context and rows, and nothing else: no clock, no network, no randomness. Contracts of
Stacks are named by short names. Which contract ids those are is said per network by the package (``contracts``), by who
deployed them, or follows from the chain: see ``by_trait`` and ``by_factory`` and :mod:`clarion.discovery`.

A protocol of Bitcoin sees every transaction with a spell and every one that spends charms without, and finds in its
parameters what it is about::

    protocol = Protocol("tokens", tables=[Holding], chain="bitcoin")

    @protocol.on_any(kind=EventKind.SPELL)
    def spell(event: SpellEvent, at: EventContext, rows: Rows) -> None:
        ...
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, get_type_hints

import msgspec

from clarion.asset_events import PAYLOADS as ASSET_PAYLOADS
from clarion.chains.bitcoin.charms.events import SpellEvent, SpendEvent
from clarion.chains.model import BITCOIN_KINDS, Block, BlockRef, Chain, Event, EventKind, JsonValue, Transaction
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.discovery import DiscoveredContract, absolute_trait, declared_traits, deployments, is_contract_id
from clarion.event_shapes import Shape
from clarion.store.rows import Key, Row, Rows, RowType

ENTRY_POINT_GROUP: Final = "clarion.protocols"

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_MOST_NAME_CHARACTERS: Final = 40
#: Schemas that are not a protocol's.
_RESERVED: Final = frozenset({"clarion", "clarion_account", "keeper", "public", "information_schema"})

#: Stands for events about STX, which belong to no contract, where contracts are listed.
STX: Final = "STX"

Handler = Callable[[Any, "EventContext", Rows], None]
Register = Callable[[Callable[..., None]], Callable[..., None]]

#: Makes a protocol's parameters from the network and what a deployment says for it; raises ValueError.
Parameters = Callable[[str, Mapping[str, Any]], Any]

#: Tells of an event which rows its handlers will ask for: tables, each with a key.
Foresight = Callable[[Event], Iterable[tuple[type[Row], Key]]]

#: What selects an event of a contract: its kind, and for a print its topic ("" for other kinds).
Selector = tuple[EventKind, str]


class EventContext(msgspec.Struct, frozen=True, gc=False):
    """Where an event happened: everything a handler may use besides the event's own fields and rows."""

    block: BlockRef
    burn_height: int
    """Height of the Bitcoin block it is anchored to (on Bitcoin: its own); 0 where the source could not tell."""
    time: int
    """Unix seconds of the block; 0 where the source could not tell."""
    tx_id: bytes
    sender: str
    """The transaction's origin; empty for one of or made on Bitcoin."""
    contract: str
    """Id of the contract that printed or defines the asset; empty for events about STX and of Bitcoin."""
    topic: str
    tx_index: int
    event_index: int
    """Ordinal within the transaction; -1 for the deployment of a contract, which comes before the block's events."""
    raw: bytes | None = None
    """Consensus bytes of what was printed or of an NFT's identifier; None for other events."""
    parameters: Any = None
    """What the protocol made of what the deployment says for it (``Protocol.parameters``)."""

    @property
    def height(self) -> int:
        """Height of the block."""
        return self.block.height

    @property
    def tx_text(self) -> str:
        """The transaction's id as text columns hold it: hexadecimal, on Stacks after ``0x``."""
        return self.tx_id.hex() if self.block.chain == "bitcoin" else f"0x{self.tx_id.hex()}"


class Deployment(msgspec.Struct, frozen=True):
    """A contract came on the chain; its id is the context's ``contract``, its deployer the context's ``sender``."""

    source: str
    """Its Clarity source."""
    clarity_version: int | None = None
    """Null where the transaction left it to the epoch."""


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
    shape: Shape | None = None
    """Of the prints that it handles, where it takes a struct."""


@dataclass(frozen=True, slots=True)
class _Factory:
    """Prints with ``topic`` of ``factory`` name a further contract in ``field``, to be known as ``name``."""

    name: str
    factory: str
    topic: str
    field: str


@dataclass(frozen=True, slots=True)
class _Route:
    """What an event goes to: handlers, and the factory that it comes from."""

    wanted: tuple[_Registered, ...]
    made: _Factory | None


_Routes = Mapping[tuple[str | None, EventKind, str], _Route]
"""By contract short name (None: of no contract that has one), kind, and for a print its topic ("" for other kinds)."""


@dataclass(eq=False)
class Protocol:
    """One set of contracts with its tables and handlers, on one chain.

    ``name`` is also the Postgres schema of its tables. ``contracts`` says for short names which contract they are on a
    network: ``{"sbtc-token": {"mainnet": "SM3….sbtc-token"}}``.
    """

    name: str
    tables: Iterable[type[Row]]
    title: str = ""
    version: int = 1
    """Raised by the package's author when handlers or tables change: the projection is then made anew."""
    contracts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    chain: Chain = "stacks"
    parameters: Parameters | None = None
    """Makes what handlers find in their context's ``parameters`` from the network's name and what the deployment says
    for the protocol (the setting ``parameters``), which it checks. None: it takes nothing, and they find nothing."""
    foresight: Foresight | None = None
    """For a protocol of millions of rows: tells which rows handlers will ask for, which are then read together.

    It makes indexing faster and nothing else: rows that it does not tell are found too, by handling a batch twice.
    """
    log_indexes: Mapping[str, str] = field(default_factory=dict)
    """Indexes on the chain log that its questions need, by name: what follows ``CREATE INDEX <name> ON``."""
    row_types: tuple[RowType, ...] = field(init=False)
    _handlers: dict[tuple[str, Selector], _Registered] = field(init=False, default_factory=dict)
    _any: dict[Selector, _Registered] = field(init=False, default_factory=dict)
    _deployment: _Registered | None = field(init=False, default=None)
    _ignored: set[tuple[str, str | None]] = field(init=False, default_factory=set)
    _traits: dict[str, str | Mapping[str, str]] = field(init=False, default_factory=dict)
    _factories: list[_Factory] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        check_protocol_name(self.name)
        self.row_types = tuple(RowType(table) for table in self.tables)
        for row_type in self.row_types:
            if not row_type.name.startswith(f"{self.name}."):
                raise ValueError(f"table {row_type.name} of protocol {self.name} must be in the schema {self.name}")

    def on(self, contract: str, topic: str | None = None, *, kind: EventKind = EventKind.PRINT) -> Register:
        """Register a handler for events of the contract with this short name.

        For prints ``topic`` selects, for other kinds ``kind`` alone: ``on("vault", "deposited")``,
        ``on("token", kind=EventKind.FT_TRANSFER)``. A print without a topic of its own has the topic ``print``. An
        asset event belongs to the contract that defines the asset, whichever contract moved it.

        The handler's first parameter says what it gets: a ``msgspec.Struct`` (the event's fields are checked against
        it; those of asset events are in :mod:`clarion.asset_events`, those of Bitcoin in
        :mod:`clarion.chains.bitcoin.charms.events`) or ``dict`` (as they are).
        """
        selector = self._selector(topic, kind)

        def register(handler: Callable[..., None]) -> Callable[..., None]:
            key = (contract, selector)
            if key in self._handlers:
                raise ValueError(f"{self.name} handles {contract} {topic or kind.value} twice")
            self._handlers[key] = _registered(handler, kind)
            return handler

        return register

    def on_any(self, topic: str | None = None, *, kind: EventKind = EventKind.PRINT) -> Register:
        """Register a handler for events of every contract, and of none: those about STX belong to no contract.

        Which contracts it looks at can be narrowed: see ``only`` of :meth:`deployed_at`.
        """
        selector = self._selector(topic, kind)

        def register(handler: Callable[..., None]) -> Callable[..., None]:
            if selector in self._any:
                raise ValueError(f"{self.name} handles any {topic or kind.value} twice")
            self._any[selector] = _registered(handler, kind)
            return handler

        return register

    def on_deployment(self, handler: Callable[[Deployment, EventContext, Rows], None]) -> Callable[..., None]:
        """Register the handler that sees every contract deployed in a block, before any of the block's events.

        It can be narrowed as for :meth:`on_any`.
        """
        if self._deployment is not None:
            raise ValueError(f"{self.name} handles deployments twice")
        self._deployment = _Registered(handler, Deployment)
        return handler

    def ignore(self, contract: str, topic: str | None = None) -> None:
        """Say that prints of this contract with ``topic`` (None: with any topic not handled) are of no interest.

        Otherwise a topic that nothing handles is recorded as an anomaly.
        """
        self._ignored.add((contract, topic))

    def by_trait(self, contract: str, trait: str | Mapping[str, str]) -> None:
        """Know as ``contract`` every contract whose source declares ``(impl-trait '<trait>)`` when it is deployed.

        ``trait``: ``ADDRESS.contract.trait``, the same by network, or ``.contract.trait`` of the deployer. Prints of
        such a contract that nothing handles are no anomalies: it may say more than the trait asks for.
        """
        if contract in self._traits:
            raise ValueError(f"{self.name} knows {contract} by a trait already")
        self._traits[contract] = trait

    def by_factory(self, contract: str, *, factory: str, topic: str, field: str) -> None:
        """Know as ``contract`` every contract that ``factory`` names in ``field`` of a print with ``topic``."""
        self._factories.append(_Factory(contract, factory, topic, field))

    def discovered_names(self) -> frozenset[str]:
        """Short names of contracts that are found on the chain."""
        return frozenset(self._traits) | {found.name for found in self._factories}

    def short_names(self) -> frozenset[str]:
        """Short names of the contracts whose ids have to be known beforehand."""
        handled = {contract for contract, _ in self._handlers} | {found.factory for found in self._factories}
        return frozenset(handled) - self.discovered_names()

    def topics(self) -> Mapping[tuple[str, str], type[Any] | None]:
        """What it handles: (contract short name, topic or kind) to the payload type."""
        return {
            (contract, topic or kind.value): registered.payload
            for (contract, (kind, topic)), registered in self._handlers.items()
        }

    def deployed_at(
        self,
        contracts: Mapping[str, str],
        *,
        only: Collection[str] | None = None,
        network: str = "",
        deployer: str = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> DeployedProtocol:
        """Bind short names to contract ids: ``{"bh-vault": "ST1….bh-vault"}``.

        ``only``: ids of the contracts that ``on_any`` and ``on_deployment`` handlers look at, and :data:`STX` for
        events about STX (None: all). ``network`` and ``deployer`` are needed where a trait is named by network or
        relative to the deployer. ``parameters`` is what the deployment says for the protocol. Raises ValueError.
        """
        unknown = contracts.keys() - self.short_names()
        if unknown:
            raise ValueError(f"{self.name} has no contract {sorted(unknown)}")
        traits = {}
        for name, trait in self._traits.items():
            found = trait if isinstance(trait, str) else trait.get(network)
            if found is None:
                raise ValueError(f"{self.name} does not say which trait its {name} contracts have on {network}")
            traits[absolute_trait(found, deployer)] = name
        short_of = {identifier: short for short, identifier in contracts.items()}
        return DeployedProtocol(
            self,
            short_of,
            traits,
            None if only is None else frozenset(only),
            network,
            parameters,
        )

    def _selector(self, topic: str | None, kind: EventKind) -> Selector:
        if (kind in BITCOIN_KINDS) != (self.chain == "bitcoin"):
            raise ValueError(f"{self.name} is a protocol of {self.chain}, which has no events of the kind {kind.value}")
        if (topic is not None) != (kind is EventKind.PRINT):
            raise ValueError("a print is selected by its topic, every other event by its kind alone")
        return kind, topic or ""

    def deployed_by(
        self,
        deployer: str,
        *,
        network: str = "",
        only: Collection[str] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> DeployedProtocol:
        """Bind every short name to the contract of that name under one deployer's address."""
        contracts = {short: f"{deployer}.{short}" for short in self.short_names()}
        return self.deployed_at(contracts, only=only, network=network, deployer=deployer, parameters=parameters)

    def deployed_on(
        self, network: str, *, only: Collection[str] | None = None, parameters: Mapping[str, Any] | None = None
    ) -> DeployedProtocol:
        """Bind every short name to what the package says it is on ``network``. Raises ValueError where it does not."""
        contracts = {}
        for short in sorted(self.short_names()):
            identifier = self.contracts.get(short, {}).get(network)
            if identifier is None:
                raise ValueError(f"{self.name} does not say which contract {short} is on {network}")
            contracts[short] = identifier
        return self.deployed_at(contracts, only=only, network=network, parameters=parameters)


def check_protocol_name(name: str) -> None:
    """Raise ValueError where a protocol cannot have this name, which is that of its tables' schema too."""
    if not _NAME.fullmatch(name) or len(name) > _MOST_NAME_CHARACTERS or name in _RESERVED or name.startswith("pg_"):
        raise ValueError(
            f"{name!r} cannot be a protocol's name: take lower-case letters, digits and single underscores, beginning "
            f"with a letter, at most {_MOST_NAME_CHARACTERS}, and none of {', '.join(sorted(_RESERVED))}"
        )


def _registered(handler: Callable[..., None], kind: EventKind) -> _Registered:
    first = next(iter(inspect.signature(handler).parameters))
    payload = get_type_hints(handler)[first]
    is_struct = isinstance(payload, type) and issubclass(payload, msgspec.Struct)
    if is_struct and payload in _PAYLOADS.values() and _PAYLOADS.get(kind) is not payload:
        raise TypeError(f"{handler.__name__} handles {kind.value}, whose payload is no {payload.__name__}")
    shape = Shape(payload) if is_struct and kind is EventKind.PRINT else None
    return _Registered(handler, payload if is_struct else None, shape)


_PAYLOADS: Final[Mapping[EventKind, type[Any]]] = {
    **ASSET_PAYLOADS,
    EventKind.SPELL: SpellEvent,
    EventKind.SPEND: SpendEvent,
}
"""The payload of each kind of event that is no print."""


class DeployedProtocol:
    """A protocol on one network: which contract ids are whose. Raises ValueError where it cannot do with ``told``."""

    def __init__(
        self,
        protocol: Protocol,
        contracts: Mapping[str, str],
        traits: Mapping[str, str] | None = None,
        only: frozenset[str] | None = None,
        network: str = "",
        told: Mapping[str, Any] | None = None,
    ) -> None:
        self.protocol = protocol
        self.network = network
        self.told: Mapping[str, Any] = told or {}
        """What the deployment says for it."""
        self.parameters: Any = None
        """What its handlers find in their context."""
        if protocol.parameters is not None:
            self.parameters = protocol.parameters(network, self.told)
        elif self.told:
            raise ValueError(f"{protocol.name} takes no parameters: {', '.join(sorted(self.told))}")
        self.contracts: Mapping[str, str] = contracts
        """Contract id to short name, of the contracts known beforehand."""
        self.traits: Mapping[str, str] = traits or {}
        """Trait to the short name of the contracts that declare it."""
        self.only = only
        """The contracts that handlers of any contract's events look at, :data:`STX` for STX; None: all."""
        self._found_in: type[DiscoveredContract] | None = None
        if protocol.discovered_names():
            tables = [row_type.model for row_type in protocol.row_types]
            found_in = [table for table in tables if issubclass(table, DiscoveredContract)]
            if len(found_in) != 1:
                raise ValueError(
                    f"{protocol.name} finds contracts on the chain and needs one table for them, "
                    "a subclass of clarion.discovery.DiscoveredContract"
                )
            self._found_in = found_in[0]
        self._factories = {(found.factory, found.topic): found for found in protocol._factories}
        self.sees_deployments: bool = bool(self.traits) or protocol._deployment is not None
        """Whether a block may concern it that has deployments and no events."""
        self.open_ended: bool = bool(protocol._any) or self._found_in is not None or self.sees_deployments
        """Whether events of contracts other than :attr:`contracts` may concern it."""

    @property
    def kinds_of_all(self) -> frozenset[EventKind] | None:
        """Which kinds of events it looks at whatever their contract; None: all, as contracts are found on the way."""
        return None if self._found_in is not None else frozenset(kind for kind, _ in self.protocol._any)

    @property
    def binding(self) -> Mapping[str, Any]:
        """What it follows, as JSON: contracts by id, traits, factories, kinds of any contract's events, parameters."""
        protocol = self.protocol
        followed = {
            "contracts": dict(sorted(self.contracts.items())),
            "traits": dict(sorted(self.traits.items())),
            "factories": sorted([f.name, f.factory, f.topic, f.field] for f in protocol._factories),
            "any": sorted([kind.value, topic] for kind, topic in protocol._any),
            "deployments": protocol._deployment is not None,
            "only": None if self.only is None else sorted(self.only),
        }
        if self.parameters is not None:
            followed["parameters"] = msgspec.to_builtins(self.parameters, order="sorted", str_keys=True)
        return followed

    def begin_block(self, block: Block, rows: Rows) -> None:
        """Take up contracts that the block's transactions deployed; before any of its events.

        Raises ProjectionError.
        """
        if not self.sees_deployments:
            return
        registered = self.protocol._deployment
        for transaction, contract, source in deployments(block.transactions):
            if registered is not None and self._looks_at(contract):
                payload = transaction.payload
                version = payload.get("clarity_version") if isinstance(payload, dict) else None
                deployment = Deployment(source, version if isinstance(version, int) else None)
                event = Event(transaction.index, -1, EventKind.UNKNOWN, contract, "deployment", None)
                self._handle(registered, deployment, self._context(event, block, transaction), rows)
            for trait in declared_traits(source, contract.partition(".")[0]):
                name = self.traits.get(trait)
                if name is not None:
                    self._discover(contract, name, "trait", block, transaction, rows)

    def project(self, event: Event, block: Block, transaction: Transaction, rows: Rows) -> None:
        """Apply one event; nothing happens where it is of no concern.

        Raises UnknownTopicError or UndecodableEventError (the event changes nothing and is to be recorded), or
        ProjectionError (the handler is defective).
        """
        contract, kind = event.contract, event.kind
        name = None
        if contract is not None:
            name = self.contracts.get(contract) or self._found_name(contract, rows)
        routes = self._routes if self.only is None or self._looks_at(contract) else self._named_routes
        route = routes.get((name, kind, event.topic if kind is EventKind.PRINT else ""))
        if route is None:
            if name is not None:
                self._expect_unhandled(name, event)
            return
        payloads = [_payload(registered, event) for registered in route.wanted]
        if route.made is not None:
            named = _contract_named(event, route.made.field)
            self._discover(named, route.made.name, "factory", block, transaction, rows)
        context = self._context(event, block, transaction)
        for registered, payload in zip(route.wanted, payloads, strict=True):
            self._handle(registered, payload, context, rows)

    def foreseen(self, event: Event) -> Iterable[tuple[type[Row], Key]]:
        """Rows that its handlers are likely to ask for."""
        foresight = self.protocol.foresight
        return () if foresight is None or not self._looks_at(event.contract) else foresight(event)

    @cached_property
    def _routes(self) -> _Routes:
        """Where events of contracts go that handlers of any contract's events look at."""
        return self._routed(self.protocol._any)

    @cached_property
    def _named_routes(self) -> _Routes:
        """Where events of other contracts go."""
        return self._routed({})

    def _routed(self, of_any: Mapping[Selector, _Registered]) -> _Routes:
        handlers = self.protocol._handlers
        routes: dict[tuple[str | None, EventKind, str], _Route] = {}
        for name in (None, *self.contracts.values(), *self.protocol.discovered_names()):
            made = {
                (EventKind.PRINT, topic): found
                for (factory, topic), found in self._factories.items()
                if factory == name
            }
            own = {selector: registered for (short, selector), registered in handlers.items() if short == name}
            for selector in (*of_any, *own, *made):
                wanted = tuple(found[selector] for found in (of_any, own) if selector in found)
                routes[(name, *selector)] = _Route(wanted, made.get(selector))
        return routes

    def _looks_at(self, contract: str | None) -> bool:
        return self.only is None or (contract or STX) in self.only

    def _expect_unhandled(self, name: str, event: Event) -> None:
        """Raise where nothing handles a print and nobody said that it is of no interest."""
        protocol = self.protocol
        if event.kind is not EventKind.PRINT or name in protocol._traits:
            return
        if (name, None) not in protocol._ignored and (name, event.topic) not in protocol._ignored:
            raise UnknownTopicError(f"{protocol.name} knows no topic {event.topic!r} of {event.contract}")

    def _found_name(self, contract: str, rows: Rows) -> str | None:
        if self._found_in is None:
            return None
        found = rows.get(self._found_in, contract)
        return None if found is None else found.name

    def _discover(
        self, contract: str, name: str, found_by: str, block: Block, transaction: Transaction, rows: Rows
    ) -> None:
        assert self._found_in is not None
        if contract not in self.contracts and rows.get(self._found_in, contract) is None:
            rows.insert(
                self._found_in,
                contract=contract,
                name=name,
                found_by=found_by,
                found_height=block.height,
                found_tx=f"0x{transaction.id.hex()}",
            )

    def _context(self, event: Event, block: Block, transaction: Transaction) -> EventContext:
        burn = block.burn
        return EventContext(
            block.ref,
            burn.height if burn else 0,
            block.time or 0,
            transaction.id,
            transaction.sender or "",
            event.contract or "",
            event.topic,
            event.tx_index,
            event.index,
            event.raw,
            self.parameters,
        )

    def _handle(self, registered: _Registered, payload: Any, context: EventContext, rows: Rows) -> None:
        try:
            registered.handler(payload, context, rows)
        except Exception as error:
            raise ProjectionError(
                f"{self.protocol.name} failed on {f'{context.contract} {context.topic}'.lstrip()} in {context.block}, "
                f"transaction {context.tx_text}, event {context.event_index}: {type(error).__name__}: {error}. "
                f"Nothing of the block was written; update the protocol's package and start again."
            ) from error


def _value(event: Event) -> JsonValue:
    try:
        return event.value
    except DecodeError as error:
        raise UndecodableEventError(f"{event.contract} {event.topic}: {error}") from error


def _payload(registered: _Registered, event: Event) -> Any:
    # what was stored with its value goes by that
    shape, raw = registered.shape, None if event.stored_value is not None else event.raw
    if shape is not None and raw is not None:
        payload = shape.read(raw)
        if payload is not None:
            return payload
    value = _value(event)
    if registered.payload is None:
        return value
    try:
        payload = msgspec.convert(value, registered.payload)
    except msgspec.ValidationError as error:
        raise UndecodableEventError(f"{event.contract} {event.topic}: {error}") from error
    if shape is not None and raw is not None:
        shape.learn(raw)
    return payload


def _contract_named(event: Event, field: str) -> str:
    value = _value(event)
    named = value.get(field) if isinstance(value, dict) else None
    if not isinstance(named, str) or not is_contract_id(named):
        raise UndecodableEventError(f"{event.contract} {event.topic}: {field} names no contract but {named!r}")
    return named


def installed_protocols() -> dict[str, Protocol]:
    """Every installed protocol by name, found through the entry point group ``clarion.protocols``."""
    found: dict[str, Protocol] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        protocol = _load(entry_point)
        if found.setdefault(protocol.name, protocol) is not protocol:
            raise ValueError(f"two installed packages bring a protocol {protocol.name}; uninstall one of them")
    return found


def installed_protocol(name: str) -> Protocol:
    """The installed protocol of this name; others are not loaded. Raises LookupError where there is none."""
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP, name=name):
        return _load(entry_point)
    raise LookupError(f"no installed package brings the protocol {name}")


def _load(entry_point: importlib.metadata.EntryPoint) -> Protocol:
    protocol = entry_point.load()
    if not isinstance(protocol, Protocol):
        raise TypeError(f"entry point {entry_point.name} of {ENTRY_POINT_GROUP} is not a Protocol: {protocol!r}")
    if protocol.name != entry_point.name:
        raise ValueError(f"entry point {entry_point.name} of {ENTRY_POINT_GROUP} is the protocol {protocol.name}")
    return protocol
