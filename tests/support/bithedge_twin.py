"""A machine whose every call is foretold from the rows first: what was foretold must be what the contracts then do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clarion.chains.stacks.clarity import Value
from clarion.chains.stacks.clarity_forms import to_json, to_python
from clarion.chains.stacks.post_conditions import AmountCode, FtPostCondition, PostCondition, StxPostCondition
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.actions import ACTIONS
from clarion.protocols.bithedge.actions.declaration import Action, Call, InputError
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.matching import Candidate, capacity
from clarion.protocols.bithedge.outcomes import Foretold
from clarion.protocols.bithedge.state import NotFoundError, Pool, Selection, State, choose
from clarion.protocols.bithedge.tables import Exposure, Position, Provider, Tier, Token
from clarion.protocols.bithedge.units import BurnHeight, TokenAmount
from clarion.store.rows import Row
from support.bithedge_rows import DEPLOYER, Folded
from support.bithedge_simnet import Outcome, Simnet

BY_FUNCTION = {(action.contract, action.function): action for action in ACTIONS.values()}
ROW_TYPES = {row_type.model: row_type for row_type in protocol.row_types}
NATIVE = "stx"


class RowsSource:
    """Rows in memory as the source of a state: JSON images by table."""

    def __init__(self, images: Mapping[type[Row], Sequence[Mapping[str, Any]]]) -> None:
        self._rows = {
            model: {ROW_TYPES[model].key_of(row): row for row in (ROW_TYPES[model].make(**image) for image in listed)}
            for model, listed in images.items()
        }

    def get(self, model: type[Any], key: tuple[Any, ...]) -> Any:
        return self._rows[model].get(key)

    def all(self, model: type[Row]) -> list[Any]:
        return list(self._rows[model].values())

    def select(self, selection: Selection) -> Sequence[Any]:
        return choose(selection, self.all(selection.model))

    def candidates(self, pool: Pool) -> Sequence[Candidate]:
        tier, token = self.get(Tier, (pool.tier,)), self.get(Token, (pool.token,))
        found = []
        for row in self.all(Position):
            if (row.tier, row.token) == (pool.tier, pool.token):
                exposure = self.get(Exposure, (row.provider, row.tier, row.token, pool.expiry_burn))
                provider = self.get(Provider, (row.provider,))
                found.append(
                    Candidate(
                        row.provider,
                        row.available,
                        row.requested,
                        row.locked,
                        row.liability_usd8,
                        exposure.amount if exposure else TokenAmount(0),
                        row.first_deposit_height or row.arrived_height or 0,
                        provider is None or provider.auto_match,
                    )
                )
        found.sort(key=lambda one: (-capacity(one, tier, token, pool.price), one.since, one.provider))
        return found[: pool.limit]


class FoldedRows(RowsSource):
    """Folded rows as the source of a state, read as they are asked for."""

    def __init__(self, folded: Folded) -> None:
        super().__init__({})
        self._folded = folded

    def get(self, model: type[Any], key: tuple[Any, ...]) -> Any:
        row = self._folded.get(model, key)
        return None if row is None else ROW_TYPES[model].make(**row)

    def all(self, model: type[Row]) -> list[Any]:
        return [ROW_TYPES[model].make(**row) for row in self._folded.stored(model)]


def state_of(simnet: Simnet) -> State:
    """The state that the machine's prints folded into."""
    return State(FoldedRows(simnet.folded), DEPLOYER, simnet.height, BurnHeight(simnet.burn))


@dataclass
class ForetellingSimnet(Simnet):
    """Foretells every call that is an action, then compares. ``foretold`` counts calls by action and how they ended."""

    foretold: Counter[tuple[str, bool]] = field(default_factory=Counter)

    def call(self, contract: str, function: str, *arguments: Value, sender: str = DEPLOYER) -> Outcome:
        action = BY_FUNCTION.get((contract, function))
        expected = None if action is None else self._foretell(action, arguments, sender)
        outcome = super().call(contract, function, *arguments, sender=sender)
        if action is not None:
            self.foretold[action.name, outcome.code is None] += 1
            compare(action, expected, outcome)
        return outcome

    def _foretell(
        self, action: Action, arguments: Sequence[Value], sender: str
    ) -> tuple[Foretold, tuple[PostCondition, ...]] | None:
        given = {
            parameter.name: to_python(value) for parameter, value in zip(action.parameters, arguments, strict=True)
        }
        try:
            call = action.complete(Call(sender, given, state_of(self)))
            assert action.arguments(call) == tuple(arguments)
            return action.foretell(call), action.post_conditions(call)
        except (NotFoundError, InputError, RefusedError):
            return None


def compare(action: Action, expected: tuple[Foretold, tuple[PostCondition, ...]] | None, outcome: Outcome) -> None:
    """What was foretold of a call against what it did."""
    what = f"{action.name}: foretold {expected}, was {outcome}"
    if expected is None:
        assert outcome.code is not None, what
        return
    foretold, conditions = expected
    if outcome.code is not None:
        if action.is_whole or foretold.refusals:
            assert foretold.refusals[:1] == (outcome.code,), what
        return
    assert foretold.ok, what
    if foretold.result is not None:
        assert plain(foretold.result) == outcome.value, what
    assert broken(conditions, outcome.events) == [], what


def plain(value: Any) -> Any:
    """A foretold result in the form of the machine's."""
    return to_json(value) if isinstance(value, Value) else value


_HOLDS = {
    AmountCode.EQUAL: lambda sent, amount: sent == amount,
    AmountCode.LESS_OR_EQUAL: lambda sent, amount: sent <= amount,
    AmountCode.GREATER_OR_EQUAL: lambda sent, amount: sent >= amount,
}


def broken(conditions: Sequence[PostCondition], events: Sequence[dict[str, Any]]) -> list[str]:
    """The transfers and conditions for which a node aborts the transaction in deny mode."""
    sent: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["kind"] == "stx_transfer":
            sent[event["sender"], NATIVE] += int(event["amount"])
        elif event["kind"] == "ft_transfer":
            sent[event["sender"], event["asset"]] += int(event["amount"])
    found = []
    named = set()
    for condition in conditions:
        assert isinstance(condition, StxPostCondition | FtPostCondition)
        asset = NATIVE if isinstance(condition, StxPostCondition) else str(condition.asset)
        key = (str(condition.subject), asset)
        named.add(key)
        if not _HOLDS[condition.code](sent[key], condition.amount):
            found.append(f"{key} sent {sent[key]}, but {condition.code.name} {condition.amount}")
    return [*found, *(f"{key} sent {amount}, unnamed" for key, amount in sent.items() if key not in named)]
