"""What jobs of BitHedge have in common: each intent is one call of an action that the API prepares for users too.

The action's declaration has the parameters and foretells the call, so a job says only when a call is wanted, how urgent
it is and how it can end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Final

from clarion.chains.stacks.clarity import Value
from clarion.protocols.bithedge.actions import ACTIONS
from clarion.protocols.bithedge.actions.declaration import Action, InputError
from clarion.protocols.bithedge.actions.declaration import Call as ActionCall
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Foretold
from clarion.protocols.bithedge.state import NotFoundError, State
from clarion.protocols.bithedge.units import Usd8
from clarion_keeper.bithedge.endings import Endings
from clarion_keeper.bithedge.reading import BitHedgeState, Index, Look
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Call, Intent, Item, Outcome
from clarion_keeper.job import Job, JobChain


class NoTransactions:
    """What a job is whose intents are for people to see: nothing is ever sent for them."""

    chain: JobChain = "none"

    def call(self, items: Sequence[Item]) -> Call:
        """There is none."""
        raise NotImplementedError("nothing can be sent for it")

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """There are none."""
        raise NotImplementedError("nothing can be sent for it")


class BitHedgeJob(Job[BitHedgeState]):
    """A job that reads BitHedge's rows. ``sender`` is the keeper's own account of the job's lane, ``""`` without."""

    def __init__(self, index: Index, sender: str = "") -> None:
        self._index = index
        self.sender = sender

    async def read(self, reader: Reader) -> BitHedgeState:
        """The rules, and what :meth:`learn` reads besides, at one block."""
        look = await self._index.look(reader)
        await self.learn(look)
        return look.state()

    async def learn(self, look: Look) -> None:
        """Read what ``check`` looks at besides the rules."""


class CallJob(BitHedgeJob):
    """A job whose intents are calls of one action. A subclass gives ``action_name``, ``endings`` and ``check``."""

    action_name: ClassVar[str]
    endings: ClassVar[Endings]

    @property
    def action(self) -> Action:
        """What is called."""
        return ACTIONS[self.action_name]

    def call(self, items: Sequence[Item]) -> Call:
        """The action's function with the item's arguments."""
        (item,) = items
        return self.call_of(self.action, self.given(item))

    def call_of(self, action: Action, given: dict[str, Any]) -> Call:
        """A call of an action whose arguments are all given."""
        return Call(action.contract, action.function, action.arguments(ActionCall(self.sender, given, _NO_STATE)))

    def given(self, item: Item) -> dict[str, Any]:
        """The action's arguments of an item, by their Clarity names."""
        return {parameter.name: item[parameter.name] for parameter in self.action.parameters}

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """What the call's result means."""
        return [self.endings.of(result) for _ in items]

    def foretold(self, chain: State, **given: Any) -> Foretold | None:
        """How the call would end now; None where it cannot even be made. Arguments with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in given.items()}
        try:
            return self.action.foretell(self.action.complete(ActionCall(self.sender, named, chain)))
        except (NotFoundError, InputError, RefusedError):
            return None

    def would_succeed(self, chain: State, **given: Any) -> bool:
        """Whether nothing that is known stands against the call."""
        foretold = self.foretold(chain, **given)
        return foretold is not None and foretold.ok

    def intent(self, parts: Iterable[int | str], item: Item, **rest: Any) -> Intent:
        """An intent; ``parts`` make its key."""
        return Intent(key=":".join([self.name, *map(str, parts)]), job=self.name, item=item, **rest)


#: Arguments that are all given are encoded without a look at any state.
_NO_STATE: Final[Any] = None


def usd(value: Usd8 | int) -> str:
    """US dollars x 10^8 as people write them, cut to cents."""
    return f"{value // 10**8:,}.{value % 10**8 // 10**6:02d} USD"


def percent(ratio_bp: int | None) -> str:
    """A ratio in basis points as a percentage."""
    return "none" if ratio_bp is None else f"{ratio_bp // 100}.{ratio_bp % 100:02d}%"
