"""Reward programmes: roots of epochs are posted, compared, and closed; budgets are drawn and given back.

A root is posted only where the keeper's own computation, from the events as GraphQL gives them, and the API's agree.
Where they differ, or a root that was posted is not the one that follows from the events, nothing is posted and the
difference is shown until somebody has looked at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.protocols.bithedge.events import (
    EVENTS,
    AutomatchSet,
    Event,
    PolicyCancelled,
    PolicyCreated,
    PositionEvent,
    RoundClosed,
    TokenSet,
)
from clarion.protocols.bithedge.incentives import MissingPriceError, epoch_of, epoch_points, rewards
from clarion.protocols.bithedge.merkle import RewardTree
from clarion.protocols.bithedge.tables import Program, ProgramEpoch, ProgramFund, Role
from clarion.protocols.bithedge.units import BurnHeight
from clarion_keeper.bithedge.calls import CallJob, NoTransactions
from clarion_keeper.bithedge.endings import PARAMETERS, REWARDS_PAY, TREASURY_PAYS, Endings
from clarion_keeper.bithedge.margins import EVERY
from clarion_keeper.bithedge.reading import PAGE, BitHedgeState, Index, Look
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Intent, Item, Lane
from clarion_keeper.job import Job

#: Bitcoin blocks that an epoch's end has to lie back before its rewards are computed: by then it is final.
DEPTH_BURN: Final = 6

_TOPICS: Final = sorted(
    (contract, topic)
    for (contract, topic), event in EVENTS.items()
    if issubclass(event, PositionEvent | AutomatchSet | TokenSet | RoundClosed | PolicyCreated | PolicyCancelled)
)

_EVENTS: Final = """
query KeeperRewardEvents($contracts: [String!]!, $topics: [String!]!, $above: Int!, $first: Int!, $after: String) {
  events(
    filter: {contract: {in: $contracts}, topic: {in: $topics}, height: {gt: $above}}
    orderBy: [{field: HEIGHT, direction: ASC}]
    first: $first
    after: $after
  ) {
    nodes { contract topic raw height block { burnHeight } }
    pageInfo { hasNextPage endCursor }
  }
}
"""

_EXPECTED: Final = """
query KeeperEpochRewards($program: Int!, $epoch: Int!) {
  epochRewards(program: $program, epoch: $epoch) { root total leaves }
}
"""


@dataclass(frozen=True, slots=True)
class EpochRoot:
    """What is posted for an epoch: root (``0x`` hex), sum of the rewards in base units of its token, how many."""

    root: str
    total: int
    leaves: int


@dataclass(frozen=True, slots=True)
class Expected:
    """The root of an epoch that is over, by the keeper's computation and by the API's; None where nobody gets any."""

    program: int
    epoch: int
    own: EpochRoot | None
    api: EpochRoot | None

    @property
    def agreed(self) -> EpochRoot | None:
        """The root, where both say the same."""
        return self.own if self.own == self.api else None


@dataclass(frozen=True, slots=True)
class RewardState(BitHedgeState):
    """BitHedge's rows, with the roots of epochs that are over and whose root is not posted or can be challenged."""

    expected: tuple[Expected, ...] = ()


def epoch_entity(program: int, epoch: int) -> str:
    """How intents name an epoch."""
    return f"epoch:{program}:{epoch}"


class RewardEvents:
    """The events that rewards follow from, from the first one on. Those that are final are read once.

    A read that is broken off goes on from there the next time: a long history takes more than one look.
    """

    def __init__(self) -> None:
        self._final: list[tuple[BurnHeight, Event]] = []
        self._height = 0
        """The last Stacks block whose events are all among the final ones."""

    async def read(self, look: Look) -> list[tuple[BurnHeight, Event]]:
        """All events at the block of a look, each with its Bitcoin block. Raises what GraphQL raises."""
        chain = look.state().chain
        given = {
            "contracts": sorted({chain.contract(contract) for contract, _ in _TOPICS}),
            "topics": sorted({topic for _, topic in _TOPICS}),
            "above": self._height,
            "first": PAGE,
        }
        known = list(self._final)
        pending: list[tuple[int, BurnHeight, Event]] = []
        after: str | None = None
        while True:
            page = (await look.ask(_EVENTS, {**given, "after": after}))["events"]
            pending += _decoded(page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                return known + [(burn, event) for _, burn, event in pending]
            after = page["pageInfo"]["endCursor"]
            # the last block may go on in the next page
            whole = [row for row in pending if row[0] < pending[-1][0]]
            pending = pending[len(whole) :]
            known += [(burn, event) for _, burn, event in whole]
            self._keep([row for row in whole if row[1] <= look.burn - DEPTH_BURN])

    def _keep(self, final: Sequence[tuple[int, BurnHeight, Event]]) -> None:
        if final:
            self._final += [(burn, event) for _, burn, event in final]
            self._height = final[-1][0]


def _decoded(nodes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, BurnHeight, Event]]:
    for node in nodes:
        kind = EVENTS.get((node["contract"].partition(".")[2], node["topic"]))
        if kind is not None:
            event = msgspec.convert(decode_json(bytes_from_hex(node["raw"])), kind)
            yield int(node["height"]), BurnHeight(int(node["block"]["burnHeight"])), event


class Roots:
    """The roots of epochs, as jobs share them. One that was computed when its events were final is kept."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._computing = asyncio.Lock()
        self._events = RewardEvents()
        self._own: dict[tuple[int, int], EpochRoot | None] = {}
        self._agreed: dict[tuple[int, int], Expected] = {}

    async def state(self, reader: Reader) -> RewardState:
        """Programmes and epochs at the newest block, and the roots to compare."""
        look = await self._index.look(reader)
        programs = await look.learn(Program)
        await look.learn(ProgramEpoch, {"state": {"in": ["posted", "closed"]}})
        await look.learn(Role, {"role": {"eq": "keeper"}})
        state = look.state()
        wanted = [(program, epoch) for program in programs for epoch in _epochs_in_question(state, program)]
        async with self._computing:
            unknown = [(program, epoch) for program, epoch in wanted if (program.id, epoch) not in self._own]
            own = self._own | (await self._computed(look, unknown) if unknown else {})
            final = {(program.id, epoch) for program, epoch in wanted if _is_final(program, epoch, look.burn)}
            self._own = {key: root for key, root in own.items() if key in self._own or key in final}
        expected = [await self._expected(look, key, own[key]) for key in ((row.id, epoch) for row, epoch in wanted)]
        return RewardState(state.receipt, state.chain, tuple(expected))

    async def _expected(self, look: Look, key: tuple[int, int], own: EpochRoot | None) -> Expected:
        """What is expected of an epoch; the API is asked until it says the same of what is final."""
        if key in self._agreed:
            return self._agreed[key]
        found = Expected(*key, own, await _api_root(look, *key))
        if found.own == found.api and key in self._own:
            self._agreed[key] = found
        return found

    async def _computed(
        self, look: Look, epochs: Sequence[tuple[Program, int]]
    ) -> dict[tuple[int, int], EpochRoot | None]:
        """The roots that follow from the events."""
        events = await self._events.read(look)
        return await asyncio.to_thread(
            lambda: {(program.id, epoch): root_of_epoch(program, epoch, events) for program, epoch in epochs}
        )


def root_of_epoch(program: Program, epoch: int, events: Sequence[tuple[BurnHeight, Event]]) -> EpochRoot | None:
    """What follows for an epoch from all contracts' events, in order from the first one; None where nobody gets any."""
    assert program.start_burn is not None
    assert program.epoch_burn is not None
    assert program.epoch_cap is not None
    assert program.premium_bp is not None
    try:
        points = epoch_points(epoch_of(program.start_burn, program.epoch_burn, epoch), events)
    except MissingPriceError:
        return None
    given = rewards(program.epoch_cap, program.premium_bp, *points)
    if not given:
        return None
    tree = RewardTree(program.id, epoch, given)
    return EpochRoot(f"0x{tree.root.hex()}", tree.total, len(given))


async def _api_root(look: Look, program: int, epoch: int) -> EpochRoot | None:
    answer = (await look.ask(_EXPECTED, {"program": program, "epoch": epoch}))["epochRewards"]
    return None if answer is None else EpochRoot(answer["root"], int(answer["total"]), int(answer["leaves"]))


def _epochs_in_question(state: BitHedgeState, program: Program) -> list[int]:
    """Epochs that are over: those with a root that can be challenged, and those without one whose end is final."""
    if program.start_burn is None or program.epoch_burn is None or program.epochs is None:
        return []
    if program.epoch_cap is None or program.premium_bp is None:
        return []
    over = min(program.epochs, (state.burn - program.start_burn) // program.epoch_burn)
    found = []
    for epoch in range(1, over + 1):
        posted = state.chain.get(ProgramEpoch, program.id, epoch)
        if posted is None:
            if not program.ended and _is_final(program, epoch, state.burn):
                found.append(epoch)
        elif posted.state == "posted" and state.burn < posted.claimable_burn:
            found.append(epoch)
    return found


def _is_final(program: Program, epoch: int, burn: int) -> bool:
    """Whether an epoch's end lies back so far that its events stay."""
    assert program.start_burn is not None
    assert program.epoch_burn is not None
    return burn >= program.start_burn + epoch * program.epoch_burn + DEPTH_BURN


class _RootJob(CallJob):
    """A job that looks at roots."""

    lane = Lane.INCENTIVES

    def __init__(self, index: Index, sender: str, roots: Roots) -> None:
        super().__init__(index, sender)
        self._roots = roots


class PostRewardRoot(_RootJob):
    """Posts the root of an epoch's rewards, from the account that has the role ``keeper``."""

    name = "post-reward-root"
    needs_account = True
    action_name = "post-reward-root"
    endings = Endings(
        "posted",
        first={11009: "somebody else posted it"},
        later={
            11006: "the programme has ended",
            11008: "the epoch is not over after a reorganisation",
            11012: "the programme's budget does not reach",
        },
        never={
            **PARAMETERS,
            11002: "the account has not the role keeper",
            11004: "the contract does not know the programme",
            11011: "the contract finds the number of rewards wrong",
        },
    )

    async def read(self, reader: Reader) -> RewardState:
        """Programmes, epochs and the roots to post."""
        return await self._roots.state(reader)

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each epoch without a root whose rewards both computations agree on.

        A root that a reorganisation changes is another intent.
        """
        assert isinstance(state, RewardState)
        intents = []
        for expected in state.expected:
            root = expected.agreed
            if root is None:
                continue
            item: Item = {
                "program": expected.program,
                "epoch": expected.epoch,
                "root": root.root,
                "total": root.total,
                "leaves": root.leaves,
            }
            if self.would_succeed(state.chain, **item):
                intents.append(
                    self.intent(
                        (expected.program, expected.epoch, root.root),
                        item,
                        cause=f"epoch {expected.epoch} of programme {expected.program} is over: {root.leaves} rewards, "
                        f"{root.total} in all",
                        entity=epoch_entity(expected.program, expected.epoch),
                    )
                )
        return intents


class RewardRootDiffers(NoTransactions, Job[RewardState]):
    """Stops an epoch whose root is in doubt, and tells people: computations differ, or another root was posted.

    A wrong root can be voided by governance or the guardian until its challenge is over.
    """

    name = "reward-root-differs"
    lane = Lane.INCENTIVES
    holds = True

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def read(self, reader: Reader) -> RewardState:
        """Programmes, epochs and the roots that follow from the events."""
        return await self._roots.state(reader)

    def check(self, state: RewardState) -> Sequence[Intent]:
        """One intent for each epoch in doubt."""
        intents = []
        for expected in state.expected:
            posted = state.chain.get(ProgramEpoch, expected.program, expected.epoch)
            given = None if posted is None else EpochRoot(posted.root, posted.total, posted.leaves)
            if expected.own != expected.api:
                cause = f"computed {_named(expected.own)} from events, the API says {_named(expected.api)}"
            elif given is not None and given != expected.own:
                cause = f"{_named(given)} is posted, {_named(expected.own)} follows from the events: have it voided"
            else:
                continue
            intents.append(
                Intent(
                    key=f"{self.name}:{expected.program}:{expected.epoch}",
                    job=self.name,
                    item={"program": expected.program, "epoch": expected.epoch},
                    cause=f"epoch {expected.epoch} of programme {expected.program}: {cause}",
                    entity=epoch_entity(expected.program, expected.epoch),
                )
            )
        return intents


def _named(root: EpochRoot | None) -> str:
    return "no reward" if root is None else f"root {root.root} of {root.leaves} rewards, {root.total} in all"


class CloseEpoch(CallJob):
    """Returns what nobody claimed of an epoch by its deadline to the programme's budget."""

    name = "close-epoch"
    lane = Lane.UPKEEP
    action_name = "close-epoch"
    endings = Endings(
        "closed",
        first={11009: "somebody else closed it"},
        later={
            11010: "the epoch has no root after a reorganisation",
            11016: "claims are open again after a reorganisation",
        },
        never={11004: "the contract does not know the programme"},
    )

    async def learn(self, look: Look) -> None:
        """Epochs whose deadline is over, with their programmes."""
        where = {"state": {"eq": "posted"}, "deadlineBurn": {"lt": look.burn}}
        over = await look.learn(ProgramEpoch, where)
        await look.learn_each(Program, "id", (epoch.program for epoch in over))

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each epoch whose deadline is over."""
        rows = state.chain.select(
            ProgramEpoch, state="posted", order=[("program", False), ("epoch", False)], limit=EVERY
        )
        return [
            self.intent(
                (row.program, row.epoch),
                {"program": row.program, "epoch": row.epoch},
                cause=f"claims on epoch {row.epoch} of programme {row.program} ended at {row.deadline_burn}; "
                f"{row.total - row.claimed} of {row.total} were not claimed",
                entity=epoch_entity(row.program, row.epoch),
            )
            for row in rows
            if self.would_succeed(state.chain, program=row.program, epoch=row.epoch)
        ]


_OTHER: Final = "another rewards contract is active"
_PROGRAM: Final[Mapping[int, str]] = {
    7012: "the token is not in the token table",
    11004: "the contract does not know the programme",
    11021: "the programme pays in another token",
}


class _BudgetJob(CallJob):
    """Moves money of a programme."""

    lane = Lane.UPKEEP
    what: str

    async def learn(self, look: Look) -> None:
        """Programmes, and what the treasury has set aside for them."""
        await look.learn(Program)
        await look.learn(ProgramFund, {"amount": {"gt": 0}})

    def check(self, state: BitHedgeState) -> Sequence[Intent]:
        """One intent for each programme that has something to move."""
        intents = []
        for row in state.chain.select(Program, order=[("id", False)], limit=EVERY):
            if row.token is not None and self.is_wanted(row):
                foretold = self.foretold(state.chain, program=row.id, token=row.token)
                if foretold is not None and foretold.ok:
                    intents.append(
                        self.intent(
                            (row.id,),
                            {"program": row.id, "token": row.token},
                            cause=f"{self.what} programme {row.id}: {foretold.result} of {row.token}",
                            entity=f"program:{row.id}",
                        )
                    )
        return intents

    def is_wanted(self, row: Program) -> bool:
        """Whether the programme needs it."""
        raise NotImplementedError


class DrawProgramFunds(_BudgetJob):
    """Brings what the treasury set aside for a programme to its budget."""

    name = "draw-program-funds"
    action_name = "draw-program-funds"
    what = "set aside for"
    endings = Endings(
        "drawn", first={7011: "somebody else drew it"}, later=TREASURY_PAYS, never={**_PROGRAM, 7003: _OTHER}
    )

    def is_wanted(self, row: Program) -> bool:
        """While the programme goes on."""
        return not row.ended


class ReturnProgramBudget(_BudgetJob):
    """Gives what is left of a programme that has ended back to the treasury."""

    name = "return-program-budget"
    action_name = "return-program-budget"
    what = "left of"
    endings = Endings(
        "returned",
        first={11020: "somebody else returned it"},
        later={11007: "the programme goes on after a reorganisation", **TREASURY_PAYS, **REWARDS_PAY},
        never={**_PROGRAM, 7004: "the treasury takes no such amount", 11022: "the token is not in the token table"},
    )

    def is_wanted(self, row: Program) -> bool:
        """Once the programme has ended."""
        return row.ended
