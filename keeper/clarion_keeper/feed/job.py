"""The provider's job: submit a price when it is due, and show where the feed's prices cannot be relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.clarity import StringAscii, UInt, Value
from clarion.config import PUBLIC_NETWORKS, Settings
from clarion_keeper.bithedge.endings import Endings
from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.feed import PriceFeed
from clarion_keeper.feed.oracle import OracleState, read_oracle
from clarion_keeper.feed.rules import AssetState, Clocks, Decision, Say, SubmitRules, decide
from clarion_keeper.graph import MovedError, Reader, Receipt
from clarion_keeper.intents import Call, Intent, Item, Lane, Outcome
from clarion_keeper.job import Job, JobChain, JobContext

#: Largest distance from the tip's time on public networks, where settings do not say.
MAX_TIP_OFFSET_SECONDS: Final = 3_600


@dataclass(frozen=True, slots=True)
class FeedState:
    """The oracle at one block, our prices, and the clocks."""

    receipt: Receipt
    provider: str
    oracle: OracleState
    prices: Mapping[str, Aggregate]
    clocks: Clocks
    rules: SubmitRules

    def decide(self, asset: AssetState) -> Decision:
        """What to do about an asset."""
        return decide(
            asset,
            self.prices[asset.asset],
            burn=self.receipt.burn_height,
            oracle=self.oracle.rules,
            rules=self.rules,
            clocks=self.clocks,
        )


class Desk:
    """What both jobs read: a Bitcoin height, prices observed at it or above, and the oracle at that height."""

    def __init__(self, settings: Settings, feed: PriceFeed, provider: str) -> None:
        self._feed = feed
        self._provider = provider
        self._assets = settings.keeper.feed.assets
        self._rules = SubmitRules(
            deviation_bp=settings.keeper.feed.deviation_bp,
            heartbeat_burn=settings.keeper.feed.heartbeat_burn,
            min_gap_burn=settings.keeper.feed.min_gap_burn,
        )
        self._max_offset_ms = settings.keeper.feed.max_clock_offset_seconds * 1000
        self._max_tip_offset_ms = _max_tip_offset_ms(settings)

    async def look(self, reader: Reader) -> FeedState:
        """Everything that decides, at one block. Raises GraphError, MovedError."""
        reading = await self._feed.read(burn=(await reader.tip()).burn_height)
        oracle = await read_oracle(await reader.snapshot(), provider=self._provider, assets=self._assets)
        if reading.burn < oracle.receipt.burn_height:
            raise MovedError(f"Bitcoin block {oracle.receipt.burn_height} came while prices were asked for")
        is_compared = self._max_tip_offset_ms is not None and oracle.tip_ms is not None
        return FeedState(
            receipt=oracle.receipt,
            provider=self._provider,
            oracle=oracle,
            prices=reading.prices,
            clocks=Clocks(
                sources_offset_ms=reading.clock_offset_ms,
                max_offset_ms=self._max_offset_ms,
                tip_offset_ms=(oracle.tip_ms or 0) - reading.at_ms if is_compared else None,
                max_tip_offset_ms=self._max_tip_offset_ms or 0,
            ),
            rules=self._rules,
        )


class SubmitPrice(Job[FeedState]):
    """Submits our price of an asset to the round that is open or opens with it."""

    name = "oracle-submit"
    needs_account = True
    lane = Lane.ORACLE
    replayable = False  # exchanges say what a price is now
    renews = True
    endings: Final = Endings(
        done="submitted",
        first={3012: "the round has our price already"},
        later={
            3004: "the asset takes no rounds",
            3007: "the oracle is closed",
            3008: "the round ended before",
            3010: "the price was observed too long ago",
            3011: "the price was observed at a Bitcoin block that is gone",
            3013: "the round timed out",
        },
    )

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def read(self, reader: Reader) -> FeedState:
        """Prices and oracle."""
        return await self._desk.look(reader)

    def check(self, state: FeedState) -> list[Intent]:
        """One intent an asset whose price is due and can be relied on; a round is submitted to once."""
        intents = []
        for asset in state.oracle.assets:
            decision = state.decide(asset)
            price = state.prices[asset.asset].price_usd8
            if decision.say is not Say.SUBMIT or price is None:
                continue
            item: Item = {
                "asset": asset.asset,
                "round": asset.next_round,
                "price": price,
                "observed": state.receipt.burn_height,
            }
            intents.append(
                Intent(
                    key=f"{self.name}:{state.provider}:{asset.asset}:{asset.next_round}",
                    job=self.name,
                    item=item,
                    deadline_burn=_deadline(asset, state),
                    cause=decision.reason,
                    entity=f"asset:{asset.asset}",
                )
            )
        return intents

    def call(self, items: Sequence[Item]) -> Call:
        """``bh-oracle.submit-price(asset, round, price-usd8, observed-burn)``."""
        (item,) = items
        return Call(
            "bh-oracle",
            "submit-price",
            (
                StringAscii(str(item["asset"])),
                UInt(int(item["round"])),
                UInt(int(item["price"])),
                UInt(int(item["observed"])),
            ),
        )

    def outcomes(self, items: Sequence[Item], result: Value | None) -> list[Outcome]:
        """A round that ended first lets the next look decide."""
        return [self.endings.of(result) for _ in items]


class PriceTrouble(Job[FeedState]):
    """Shows assets whose price cannot be relied on, for as long as it is so. Sends nothing."""

    name = "oracle-feed"
    lane = Lane.ORACLE
    chain: JobChain = "none"
    replayable = False

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def read(self, reader: Reader) -> FeedState:
        """Prices and oracle."""
        return await self._desk.look(reader)

    def check(self, state: FeedState) -> list[Intent]:
        """One intent an asset that the feed refuses to submit."""
        return [
            Intent(
                key=f"{self.name}:{asset.asset}",
                job=self.name,
                item={"asset": asset.asset},
                cause=f"no price of {asset.asset} is submitted: {decision.reason}",
                entity=f"asset:{asset.asset}",
            )
            for asset in state.oracle.assets
            if (decision := state.decide(asset)).say is Say.REFUSE
        ]


def jobs(context: JobContext) -> Sequence[Job[FeedState]]:
    """The jobs of the account that serves the lane ``oracle``; none without such an account or without BitHedge."""
    provider = context.addresses.get(Lane.ORACLE)
    if provider is None or "bithedge" not in context.deployers or not context.settings.keeper.feed.assets:
        return ()
    desk = Desk(context.settings, PriceFeed.from_settings(context.settings), provider)
    return SubmitPrice(desk), PriceTrouble(desk)


def _deadline(asset: AssetState, state: FeedState) -> int:
    """When the last price goes stale or the open round times out, whichever is first; never before the next block."""
    rules = state.oracle.rules
    ends = [asset.opened_burn + rules.max_age_burn]
    if asset.open_round is not None:
        ends.append(asset.open_round.opened_burn + rules.timeout_burn)
    return max(state.receipt.burn_height + 1, min(ends))


def _max_tip_offset_ms(settings: Settings) -> int | None:
    given = settings.keeper.feed.max_tip_offset_seconds
    if given is None and settings.network in PUBLIC_NETWORKS:
        given = MAX_TIP_OFFSET_SECONDS
    return None if given is None else given * 1000
