"""What an address can claim of reward programmes, with the Merkle proofs that the contract asks for.

A posted root says nothing of who gets what: that follows from events by a published rule. It is computed again here,
and only rewards of an epoch whose computed root is the posted one are shown. A root never changes, so neither does its
tree.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final

import msgspec
import strawberry
from psycopg import sql
from strawberry.types.field import StrawberryField

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.chains.stacks.derived import event_value
from clarion.protocols.bithedge.analytics import vested
from clarion.protocols.bithedge.events import EVENTS, AutomatchSet, Event, PositionEvent, TokenSet, source_of
from clarion.protocols.bithedge.incentives import (
    Epoch,
    MissingPriceError,
    OfferedCapital,
    PolicyPremium,
    TokenPrice,
    capital_history,
    capital_points,
    epoch_of,
    premium_points,
    rewards,
)
from clarion.protocols.bithedge.merkle import RewardTree
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, TokenAmount
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.reading import known_burn, read
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt, Bytes
from clarion_graphql.session import Session, fetch
from clarion_graphql.sql import Sql
from clarion_graphql.types import Types, make_field, with_arguments

#: Most epochs that one answer looks at, and most events that rewards are computed from.
MOST_EPOCHS: Final = 100
MOST_EVENTS: Final = 1_000_000
_PAGE: Final = 20_000
#: How many rewards of trees that were computed are remembered.
MOST_REMEMBERED: Final = 200_000

_BASE: Final = "Unit: base units of the programme's token."
_VAULT_TOPICS: Final = sorted(
    topic
    for (contract, topic), event in EVENTS.items()
    if contract == "bh-vault" and (issubclass(event, PositionEvent) or event is AutomatchSet)
)


@strawberry.type(
    description="A reward of an address in one epoch, with what the function `claim` of bh-incentives takes."
)
class ClaimableReward:
    """A leaf of an epoch's tree."""

    program: int = strawberry.field(description="Programme.")
    epoch: int = strawberry.field(description="Epoch.")
    token: str = strawberry.field(description="Token it is paid in.")
    entitled: BigInt = strawberry.field(description=f"The whole reward: the argument `amt` of a claim. {_BASE}")
    index: int = strawberry.field(description="Its place in the epoch's tree, from 0: the argument `index`.")
    proof: list[Bytes] = strawberry.field(description="Siblings from the leaf up: the argument `proof`.")
    root: Bytes = strawberry.field(description="The posted root, to which the proof leads.")
    vested: BigInt = strawberry.field(description=f"What has vested at the receipt's Bitcoin block. {_BASE}")
    claimed: BigInt = strawberry.field(description=f"Paid so far. {_BASE}")
    claimable: BigInt = strawberry.field(
        description=f"What a claim would pay at the receipt's Bitcoin block; 0 before `claimableBurn`. {_BASE}"
    )
    claimable_burn: int = strawberry.field(
        description="First Bitcoin block to claim in; before it the root can be voided."
    )
    vested_burn: int = strawberry.field(description="Bitcoin block from which all is vested.")
    deadline_burn: int = strawberry.field(description="Last Bitcoin block to claim in.")


@strawberry.type(description="An epoch whose posted root is not what follows from the events.")
class UnexplainedEpoch:
    """A root that cannot be explained."""

    program: int = strawberry.field(description="Programme.")
    epoch: int = strawberry.field(description="Epoch.")
    root: Bytes = strawberry.field(description="The posted root.")
    expected_root: Bytes | None = strawberry.field(
        description="The root that follows from the events; null where nobody gets anything, or a price is missing."
    )


@strawberry.type(
    description="The rewards of an epoch that is over: what the function `post-root` of bh-incentives takes."
)
class EpochRewards:
    """What follows for an epoch."""

    program: int = strawberry.field(description="Programme.")
    epoch: int = strawberry.field(description="Epoch.")
    root: Bytes = strawberry.field(description="Merkle root of the rewards: the argument `root`.")
    total: BigInt = strawberry.field(description=f"Sum of the rewards: the argument `total`. {_BASE}")
    leaves: int = strawberry.field(description="How many rewards: the argument `leaves`.")


@strawberry.type(description="What an address can claim of reward programmes.")
class ClaimableRewards:
    """Rewards of all open epochs."""

    address: str = strawberry.field(description="Principal.")
    rewards: list[ClaimableReward] = strawberry.field(
        description="Its rewards in epochs that are open for claims or will be, by programme and epoch."
    )
    unexplained: list[UnexplainedEpoch] = strawberry.field(
        description="Such epochs whose root is not what follows from the events: nothing can be proven of them."
    )


@dataclass(frozen=True, slots=True)
class _Epoch:
    """An epoch with its programme's terms. ``height`` is the last Stacks block whose events are looked at.

    ``root`` is the posted one, ``0x`` without.
    """

    program: int
    epoch: int
    root: str
    height: int
    start_burn: BurnHeight | None
    epoch_burn: BurnBlocks | None
    epoch_cap: TokenAmount | None
    premium_bp: BasisPoints | None

    @property
    def blocks(self) -> Epoch:
        """The Bitcoin blocks that it is of."""
        assert self.start_burn is not None
        assert self.epoch_burn is not None
        return epoch_of(self.start_burn, self.epoch_burn, self.epoch)

    @property
    def is_known(self) -> bool:
        """Whether the programme's terms are known."""
        return None not in (self.start_burn, self.epoch_burn, self.epoch_cap, self.premium_bp)


@dataclass(frozen=True, slots=True)
class _Posted(_Epoch):
    """An epoch with a root; ``height`` is that of its posting."""

    token: str
    posted_burn: BurnHeight
    claimable_burn: BurnHeight
    vested_burn: BurnHeight
    deadline_burn: BurnHeight


_OPEN: Final = (
    "SELECT e.program, e.epoch, e.root, e.posted_height, p.start_burn, p.epoch_burn, p.epoch_cap, p.premium_bp, "
    "e.token, e.posted_burn, e.claimable_burn, e.vested_burn, e.deadline_burn FROM {program_epoch} e "
    "JOIN {program} p ON p.id = e.program WHERE e.state = 'posted' AND e.deadline_burn >= %s "
    "AND (%s::bigint IS NULL OR e.program = %s) ORDER BY e.program, e.epoch LIMIT %s"
)
_ENDED: Final = (
    "SELECT p.id, %s::bigint, '0x', %s::bigint, p.start_burn, p.epoch_burn, p.epoch_cap, p.premium_bp FROM {program} p "
    "WHERE p.id = %s AND %s BETWEEN 1 AND p.epochs AND p.start_burn + %s * p.epoch_burn <= %s"
)
# only blocks up to the epoch's posting, so it is the same as of any later block
_EVENTS: Final = (
    "SELECT b.burn_height, e.topic, e.kind, e.value, e.raw, e.height, e.tx_index, e.event_index FROM clarion.event e "
    "JOIN clarion.canonical_block c ON c.chain = e.chain AND c.height = e.height AND c.hash = e.block_hash "
    "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "WHERE e.chain = 'stacks' AND e.contract IN (SELECT s.contract FROM bithedge.contract_sequence s "
    "WHERE s.contract LIKE %s) AND e.topic = ANY(%s) AND e.height <= %s "
    "AND (e.height, e.tx_index, e.event_index) > (%s, %s, %s) AND b.burn_height < %s "
    "ORDER BY e.height, e.tx_index, e.event_index LIMIT %s"
)
_PRICES: Final = (
    "SELECT DISTINCT ON (r.asset) r.asset, r.price_usd8 FROM {price_round} r "
    "WHERE r.state = 'closed' AND r.closed_burn < %s ORDER BY r.asset, r.round DESC"
)
_PREMIUMS: Final = (
    "SELECT p.owner, p.premium_usd8, p.cancel_until_burn, p.state = 'cancelled' FROM {policy} p "
    "WHERE p.cancel_until_burn >= %s AND p.cancel_until_burn < %s"
)


class RewardTrees:
    """The trees of epochs, computed from events; those of posted ones are remembered while they are asked for."""

    def __init__(self) -> None:
        self._computing = asyncio.Lock()
        self._trees: OrderedDict[tuple[int, int, str], RewardTree] = OrderedDict()

    async def of(self, session: Session, epochs: Collection[_Epoch]) -> dict[tuple[int, int], RewardTree | None]:
        """The tree that follows from the events for each of these epochs; None where nobody gets anything.

        Raises ApiError where there are too many events.
        """
        found: dict[tuple[int, int], RewardTree | None] = {}
        async with self._computing:  # whoever waits finds them made
            missing = []
            for epoch in epochs:
                key = (epoch.program, epoch.epoch, epoch.root)
                tree = self._trees.get(key)
                if tree is None:
                    missing.append(epoch)
                else:
                    self._trees.move_to_end(key)
                    found[epoch.program, epoch.epoch] = tree
            if missing:
                found |= await self._computed(session, missing)
        return found

    async def _computed(self, session: Session, epochs: Sequence[_Epoch]) -> dict[tuple[int, int], RewardTree | None]:
        last = max(epochs, key=lambda epoch: epoch.height)
        end = max(epoch.blocks.end_burn for epoch in epochs)
        capital = await _capital(session, last.height, end)
        tokens = await _tokens(session, last.height, end)
        found: dict[tuple[int, int], RewardTree | None] = {}
        for epoch in epochs:
            blocks = epoch.blocks
            premiums = [
                PolicyPremium(*row)
                for row in await read(session, _PREMIUMS, blocks.start_burn - 1, blocks.end_burn - 1)
            ]
            closed = dict(await read(session, _PRICES, blocks.end_burn))
            prices = {
                row.token: TokenPrice(row.decimals, closed[row.asset])
                for burn, row in tokens
                if burn < blocks.end_burn and row.asset in closed
            }
            tree = await asyncio.to_thread(_tree, epoch, premiums, capital, prices)
            found[epoch.program, epoch.epoch] = tree
            if tree is not None and tree.root == bytes_from_hex(epoch.root):
                self._remember((epoch.program, epoch.epoch, epoch.root), tree)
        return found

    def _remember(self, key: tuple[int, int, str], tree: RewardTree) -> None:
        self._trees[key] = tree
        while len(self._trees) > 1 and sum(len(kept.rewards) for kept in self._trees.values()) > MOST_REMEMBERED:
            self._trees.popitem(last=False)


def _tree(
    epoch: _Epoch,
    premiums: Sequence[PolicyPremium],
    capital: Sequence[OfferedCapital],
    prices: Mapping[str, TokenPrice],
) -> RewardTree | None:
    """The rewards of an epoch by the rule; None where nobody gets any, or a price is missing."""
    assert epoch.epoch_cap is not None
    assert epoch.premium_bp is not None
    try:
        by_capital = capital_points(epoch.blocks, capital, prices)
    except MissingPriceError:
        return None
    given = rewards(epoch.epoch_cap, epoch.premium_bp, premium_points(epoch.blocks, premiums), by_capital)
    return RewardTree(epoch.program, epoch.epoch, given) if given else None


async def _printed(
    session: Session, contract: str, topics: Sequence[str], height: int, end: BurnHeight
) -> list[tuple[BurnHeight, Event]]:
    """Events of a contract in blocks up to ``height``, before a Bitcoin block, in order. Raises ApiError."""
    connection = await session.open()
    found: list[tuple[BurnHeight, Event]] = []
    place = (-1, -1, -1)
    while True:
        page = await fetch(
            connection, Sql(sql.SQL(_EVENTS), (f"%.{contract}", list(topics), height, *place, end, _PAGE))
        )
        found += await asyncio.to_thread(_decoded, page, contract)
        if len(page) < _PAGE:
            return found
        if len(found) > MOST_EVENTS:
            raise ApiError(
                Code.LIMIT_EXCEEDED,
                f"Rewards are computed from at most {MOST_EVENTS} events here: compute them with "
                "clarion.protocols.bithedge.incentives.",
            )
        place = page[-1][-3:]


def _decoded(rows: Iterable[Sequence[Any]], contract: str) -> list[tuple[BurnHeight, Event]]:
    return [
        (BurnHeight(burn), msgspec.convert(event_value(kind, value, raw), EVENTS[contract, topic]))
        for burn, topic, kind, value, raw, *_ in rows
    ]


async def _capital(session: Session, height: int, end: BurnHeight) -> list[OfferedCapital]:
    events = await _printed(session, "bh-vault", _VAULT_TOPICS, height, end)
    return await asyncio.to_thread(lambda: list(capital_history(events)))


async def _tokens(session: Session, height: int, end: BurnHeight) -> list[tuple[BurnHeight, TokenSet]]:
    contract, topic = source_of(TokenSet)
    events = await _printed(session, contract, [topic], height, end)
    return [(burn, event) for burn, event in events if isinstance(event, TokenSet)]


def _reward(posted: _Posted, tree: RewardTree, index: int, claimed: TokenAmount, now: BurnHeight) -> ClaimableReward:
    amount = tree.rewards[index].amount
    by_now = vested(amount, posted.posted_burn, posted.vested_burn, now)
    return ClaimableReward(
        program=posted.program,
        epoch=posted.epoch,
        token=posted.token,
        entitled=BigInt(amount),
        index=index,
        proof=[Bytes(sibling) for sibling in tree.proof(index)],
        root=Bytes(tree.root),
        vested=BigInt(by_now),
        claimed=BigInt(claimed),
        claimable=BigInt(max(0, by_now - claimed) if now >= posted.claimable_burn else 0),
        claimable_burn=posted.claimable_burn,
        vested_burn=posted.vested_burn,
        deadline_burn=posted.deadline_burn,
    )


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields of `Query` about what can be claimed, and what is to be posted."""
    trees = RewardTrees()

    async def resolve(root: Any, info: Info, *, address: str, program: int | None) -> ClaimableRewards:
        session = info.context.session
        now = await known_burn(info)
        rows = await read(session, _OPEN, now, program, program, MOST_EPOCHS + 1)
        if len(rows) > MOST_EPOCHS:
            raise ApiError(
                Code.LIMIT_EXCEEDED, f"More than {MOST_EPOCHS} epochs are open: ask for one programme at a time."
            )
        open_epochs = [posted for posted in (_Posted(*row) for row in rows) if posted.is_known]
        claimed = {
            (of_program, epoch): amount
            for of_program, epoch, amount in await read(
                session, "SELECT r.program, r.epoch, r.claimed FROM {reward} r WHERE r.who = %s", address
            )
        }
        found = await trees.of(session, open_epochs) if open_epochs else {}
        answer = ClaimableRewards(address=address, rewards=[], unexplained=[])
        for posted in open_epochs:
            tree = found[posted.program, posted.epoch]
            if tree is None or tree.root != bytes_from_hex(posted.root):
                answer.unexplained.append(
                    UnexplainedEpoch(
                        program=posted.program,
                        epoch=posted.epoch,
                        root=Bytes(bytes_from_hex(posted.root)),
                        expected_root=None if tree is None else Bytes(tree.root),
                    )
                )
                continue
            index = next((place for place, reward in enumerate(tree.rewards) if reward.who == address), None)
            if index is not None:
                paid = claimed.get((posted.program, posted.epoch), TokenAmount(0))
                answer.rewards.append(_reward(posted, tree, index, paid, now))
        return answer

    async def resolve_epoch(root: Any, info: Info, *, program: int, epoch: int) -> EpochRewards | None:
        session = info.context.session
        now = await known_burn(info)
        receipt = (await session.receipts())["stacks"]
        rows = await read(session, _ENDED, epoch, receipt.height, program, epoch, epoch, now)
        ended = [one for one in (_Epoch(*row) for row in rows) if one.is_known]
        if not ended:
            return None
        tree = (await trees.of(session, ended))[program, epoch]
        if tree is None:
            return None
        return EpochRewards(
            program=program,
            epoch=epoch,
            root=Bytes(tree.root),
            total=BigInt(tree.total),
            leaves=len(tree.rewards),
        )

    return [
        make_field(
            "epochRewards",
            EpochRewards | None,
            "The rewards of an epoch that is over, computed from the contracts' events by the published rule, whether "
            "or not its root is posted; null while it is not over, and where nobody gets any.",
            resolver=with_arguments(
                resolve_epoch,
                {
                    "program": (int, Parameter.empty, "Programme."),
                    "epoch": (int, Parameter.empty, "Epoch, from 1."),
                },
            ),
        ),
        make_field(
            "claimableRewards",
            ClaimableRewards,
            "What an address can claim of reward programmes, with the proofs that a claim takes. Computed from the "
            "contracts' events by the published rule, and shown only where that leads to the posted root.",
            resolver=with_arguments(
                about_principal(resolve),
                {
                    "address": (str, Parameter.empty, "Principal."),
                    "program": (int | None, None, "Only this programme."),
                },
            ),
            length=Length(MOST_EPOCHS),
        ),
    ]
