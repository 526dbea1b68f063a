"""A transaction as a set of apps sees it: what it spends and makes of the set's charms, and how events are made.

Nothing on the chain says what charms an input carries. They are those of the coin it spends, which ``zkusd.outpoint``
keeps from the transaction that made it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpendEvent
from clarion.chains.bitcoin.units import Sats, script_key
from clarion.chains.model import Event, JsonValue
from clarion.protocol import EventContext
from clarion.protocols.zkusd.app_sets import ZERO_IDENTITY, AppSet, Parameters, Role, Rules
from clarion.protocols.zkusd.events import ImpostorToken, UndecodableCharm, ZkusdEvent
from clarion.protocols.zkusd.shapes import (
    Charm,
    DepositCharm,
    Price,
    ShapeError,
    State,
    VaultCharm,
    read_amount,
    read_charm,
    read_price,
)
from clarion.protocols.zkusd.tables import AppSetRow, EventRow, Outpoint, ProtocolState, Vault
from clarion.protocols.zkusd.units import Base, Price8
from clarion.store.rows import Key, Row, Rows

Kind = Literal["state", "impostor", "vault", "deposit", "token"]

_NOTHING: Final = Base(0)

#: How charms ended that no spell that can be read carried on.
Lost = Literal["vanished", "unreadable"]


class Holding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A charm on a coin, as the coin's row keeps it."""

    app_set: str
    kind: Kind
    role: Role
    key: str = ""
    """Of a vault or deposit the outpoint it was first seen on, of an impostor its app."""
    amount: int = 0
    """Of tokens."""


@dataclass(frozen=True, slots=True)
class Spent:
    """A charm on a coin that the transaction spends."""

    holding: Holding
    coin: Outpoint


@dataclass(frozen=True, slots=True)
class Made:
    """A charm on a coin that the transaction makes."""

    index: int
    """Of the output."""
    outpoint: str
    output: Output
    app: AppUse
    role: Role
    charm: Charm | Base
    """Tokens: their amount."""
    beamed_to: str | None
    """Hash of the place on another chain that it goes to; None: it stays."""


@dataclass(slots=True)
class Flow:
    """Tokens that the transaction spends and makes, by script."""

    spent: dict[str, Base] = field(default_factory=dict)
    made: dict[str, Base] = field(default_factory=dict)
    beamed: Base = _NOTHING

    @property
    def before(self) -> Base:
        """All that it spends."""
        return Base(sum(self.spent.values()))

    @property
    def after(self) -> Base:
        """All that it makes, and what it sends to other chains."""
        return Base(sum(self.made.values()) + self.beamed)

    @property
    def burned(self) -> Base:
        """By how much there are less."""
        return Base(max(self.before - self.after, 0))


@dataclass(slots=True)
class Step:
    """An app's state before and after the transaction; both None where it was not part of it."""

    before: State | None = None
    after: State | None = None


class Transaction:
    """A transaction, whatever sets it concerns: their events are numbered together."""

    def __init__(self, event: SpellEvent | SpendEvent, at: EventContext, rows: Rows) -> None:
        self.event = event
        self.at = at
        self.rows = rows
        self.parameters: Parameters = at.parameters
        self.ordinal = 0
        self.spent: list[Spent] = list(self._spend())
        self.held: dict[int, list[Holding]] = defaultdict(list)
        """By output: what its row is to keep."""
        self.lost: Lost | None = None
        if isinstance(event, SpendEvent) or event.status == "invalid":
            self.lost = "vanished"
        elif event.status == "unsupported":
            self.lost = "unreadable"

    @cached_property
    def outputs(self) -> list[Output]:
        """What it makes, long scripts by their hash."""
        return [replace(output, script=script_key(output.script)) for output in self.event.outputs]

    def _spend(self) -> Iterator[Spent]:
        for name in self.event.inputs:
            coin = self.rows.get(Outpoint, name)
            if coin is None or coin.spent_by is not None:
                continue
            coin.spent_by = self.at.tx_text
            coin.spent_height = self.at.height
            if not coin.beamed:
                for holding in msgspec.convert(coin.charms, list[Holding]):
                    yield Spent(holding, coin)

    def views(self) -> list[View]:
        """The sets it concerns, in the order in which they are followed."""
        views = {
            found.name: View(self, found, [spent for spent in self.spent if spent.holding.app_set == found.name])
            for found in self.parameters.app_sets
        }
        if isinstance(self.event, SpellEvent) and self.event.acceptable:
            for app in self.event.apps:
                found = self._place(app, "")
                if found is not None and app.tag != "t":
                    views[found[0].name].take_input(found[1], app)
            for index in range(min(len(self.event.outs), len(self.event.outputs))):
                outpoint = f"{self.at.tx_text}:{index}"
                for app, data in self.event.charms(index):
                    found = self._place(app, outpoint)
                    if found is not None:
                        views[found[0].name].take_charm(found[1], index, outpoint, app, data)
        return [view for view in views.values() if view.concerned]

    def _place(self, app: AppUse, outpoint: str) -> tuple[AppSet, Role] | None:
        """Which set and role an app with a known verification key is of; descent is judged elsewhere."""
        candidates = self.parameters.of_vk(app.vk)
        if app.tag == "t":
            candidates = [(found, role) for found, role in candidates if role == "token"]
        descends = {(spent.holding.app_set, spent.holding.role) for spent in self.spent}
        tests: tuple[Callable[[AppSet, Role], bool], ...] = (
            lambda found, role: found.app(role).identity == app.identity,
            lambda found, role: app.identity == ZERO_IDENTITY and found.app(role).genesis == outpoint,
            lambda found, role: (found.name, role) in descends,
            lambda _found, _role: True,
        )
        for test in tests:
            for found, role in candidates:
                if test(found, role):
                    return found, role
        return None

    def keep_coins(self) -> None:
        """Write the rows of the coins that carry charms of a set."""
        for index, holdings in sorted(self.held.items()):
            output = self.outputs[index]
            self.rows.insert(
                Outpoint,
                outpoint=f"{self.at.tx_text}:{index}",
                script=output.script,
                address=output.address,
                sats=Sats(output.amount),
                charms=msgspec.to_builtins(holdings),
                beamed=isinstance(self.event, SpellEvent) and str(index) in self.event.beamed_outs,
                height=self.at.height,
            )


class View:
    """A transaction as one set of apps sees it."""

    def __init__(self, transaction: Transaction, app_set: AppSet, spent: Sequence[Spent]) -> None:
        self.transaction = transaction
        self.at = transaction.at
        self.rows = transaction.rows
        self.app_set = app_set
        self.lost = transaction.lost
        self.spent = spent
        self.states: list[Made] = []
        self.vaults: list[Made] = []
        self.deposits: list[Made] = []
        self.tokens: list[Made] = []
        self.strange: list[tuple[Role, int, str, AppUse, str]] = []
        """Charms that nobody can read: role, output, outpoint, app, why."""
        self.strange_tokens: list[tuple[AppUse, Base]] = []
        self.listed: set[Role] = set()
        """Apps whose program ran: the spell lists them."""
        self.operations: dict[Role, str] = {}
        """What the public inputs say is done, for apps that take it so."""
        self.prices: list[tuple[AppUse, Price]] = []
        """Prices in the vault manager's public inputs."""
        self.steps: dict[Role, Step] = {}
        self.flow = Flow()
        self.emitted: list[ZkusdEvent] = []

    @property
    def concerned(self) -> bool:
        """Whether the transaction has to do with the set."""
        made = self.states or self.vaults or self.deposits or self.tokens or self.strange or self.strange_tokens
        return bool(self.spent or made)

    def take_input(self, role: Role, app: AppUse) -> None:
        """Note an app that the spell lists, and what is in its public input."""
        self.listed.add(role)
        if isinstance(app.public_input, str):
            self.operations[role] = app.public_input
        price = read_price(app.public_input) if role == "vault_manager" else None
        if price is not None:
            self.prices.append((app, price))

    def take_charm(self, role: Role, index: int, outpoint: str, app: AppUse, data: JsonValue) -> None:
        """Read a charm of one of the set's apps."""
        event = self.transaction.event
        assert isinstance(event, SpellEvent)
        self.listed.add(role)
        try:
            charm = read_amount(data) if app.tag == "t" else read_charm(role, data)
        except ShapeError as error:
            self.strange.append((role, index, outpoint, app, str(error)))
            return
        if charm is None:
            return
        if isinstance(charm, int) and app.identity != self.app_set.token.identity:
            self.strange_tokens.append((app, charm))
            return
        made = Made(
            index, outpoint, self.transaction.outputs[index], app, role, charm, event.beamed_outs.get(str(index))
        )
        if isinstance(charm, int):
            self.tokens.append(made)
        elif isinstance(charm, VaultCharm):
            self.vaults.append(made)
        elif isinstance(charm, DepositCharm):
            self.deposits.append(made)
        else:
            self.states.append(made)

    def of_kind(self, kind: Kind) -> list[Spent]:
        """What it spends of a kind."""
        return [spent for spent in self.spent if spent.holding.kind == kind]

    def unreadable(self, role: Role) -> bool:
        """Whether it makes charms of the app that nobody can read."""
        return any(strange == role for strange, *_ in self.strange)

    def hold(self, made: Made, kind: Kind, *, key: str = "", amount: int = 0) -> None:
        """Keep with the coin what is on it."""
        self.transaction.held[made.index].append(Holding(self.app_set.name, kind, made.role, key, amount))

    def report_strange(self) -> None:
        """Make events of what cannot be read and of tokens of another identity."""
        for role, _, outpoint, app, reason in self.strange:
            self.emit(UndecodableCharm(role=role, outpoint=outpoint, app=app.id, reason=reason))
        amounts: dict[str, int] = defaultdict(int)
        for app, amount in self.strange_tokens:
            amounts[app.id] += amount
        for app_id, total in amounts.items():
            self.emit(ImpostorToken(amount=Base(total), app=app_id))

    def emit(
        self,
        event: ZkusdEvent,
        *,
        vault: Vault | None = None,
        account: str | None = None,
        counterparty: str | None = None,
    ) -> None:
        """Record that something happened."""
        self.emitted.append(event)
        transaction = self.transaction
        self.rows.insert(
            EventRow,
            tx_id=self.at.tx_text,
            ordinal=transaction.ordinal,
            app_set=self.app_set.name,
            kind=event.kind(),
            severity=event.severity,
            anomaly=event.anomaly,
            vault=vault.genesis if vault else None,
            vault_id=vault.vault_id if vault else None,
            account=account,
            counterparty=counterparty,
            data=msgspec.to_builtins(event),
            height=self.at.height,
            time=self.at.time,
            tx_index=self.at.tx_index,
        )
        transaction.ordinal += 1

    def begin(self) -> None:
        """Make the set's own rows when it is first seen."""
        name = self.app_set.name
        if self.rows.get(ProtocolState, name) is None:
            rules = {rule: getattr(self.app_set.rules, rule) for rule in Rules.__struct_fields__}
            self.rows.insert(AppSetRow, app_set=name, title=self.app_set.title or name, **rules)
            self.rows.insert(ProtocolState, app_set=name)

    @property
    def protocol(self) -> ProtocolState:
        """The set's figures."""
        found = self.rows.get(ProtocolState, self.app_set.name)
        assert found is not None
        return found

    @property
    def set_row(self) -> AppSetRow:
        """The set's own row."""
        found = self.rows.get(AppSetRow, self.app_set.name)
        assert found is not None
        return found

    def price8(self) -> Price8 | None:
        """The oracle's price as the transaction leaves it; None: there is no oracle's state."""
        return self.protocol.price8

    @property
    def rules(self) -> Rules:
        """The set's rules: as the deployment says, and as the vault manager's state says where it says them."""
        row = self.set_row
        return Rules(**{name: getattr(row, name) for name in Rules.__struct_fields__})


def is_tagged(tag: str, script: str) -> bool:
    """Whether a tag (of an owner, of a fee's receiver) is that of a script: its SHA-256, as some apps write it."""
    found = script.partition("sha256:")[2] or hashlib.sha256(bytes.fromhex(script[2:])).hexdigest()
    return found == tag


def rows_of(event: Event) -> Iterator[tuple[type[Row], Key]]:
    """The rows that an event's handler asks for first: the coins that the transaction spends."""
    said = event.stored_value
    inputs = said.get("inputs") if isinstance(said, dict) else None
    for outpoint in inputs if isinstance(inputs, list) else ():
        yield Outpoint, (outpoint,)
