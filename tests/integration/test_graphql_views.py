"""BitHedge's views over a recorded run: every figure against one computed from the contracts' events alone."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from math import isqrt
from typing import Any, TypeVar

import msgspec
import pytest
import pytest_asyncio
from support.graphql import NO_CACHE, Server, answering

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import events as told
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.merkle import Reward, leaf_hash, root_of
from clarion.protocols.bithedge.units import TokenAmount
from clarion.store import chain_log
from clarion.store.database import connect, create_database, drop_database, migrate, with_database
from clarion.store.store import Store
from clarion_graphql.app import make_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEPLOYED = protocol.deployed_by(DEPLOYER.address)
STX = f"{DEPLOYER.address}.bh-stx"
YEAR = 52_560
NAMES = {name for name, _ in told.EVENTS}
E = TypeVar("E", bound=told.Event)


@dataclass(frozen=True)
class Told:
    """An event and where it was told."""

    height: int
    burn: int
    time: int
    tx_id: str
    event: told.Event


@dataclass(frozen=True, eq=False)
class Log:
    """All events of the canonical chain, in order."""

    all: Sequence[Told]
    burns: Sequence[int]
    """The Bitcoin block of each block, by height."""

    @property
    def tip(self) -> int:
        return len(self.burns) - 1

    @property
    def burn(self) -> int:
        return self.burns[-1]

    def of(self, kind: type[E], *, upto: int | None = None) -> list[tuple[Told, E]]:
        return [
            (one, one.event) for one in self.all if isinstance(one.event, kind) and (upto is None or one.height <= upto)
        ]

    def decimals(self, token: str) -> int:
        return [event.decimals for _, event in self.of(told.TokenSet) if event.token == token][-1]

    def asset(self, token: str) -> str:
        return [event.asset for _, event in self.of(told.TokenSet) if event.token == token][-1]

    def price(self, asset: str, *, upto: int | None = None) -> int | None:
        closed = [event.price_usd8 for _, event in self.of(told.RoundClosed, upto=upto) if event.asset == asset]
        return closed[-1] if closed else None


@pytest.fixture(scope="module")
def recorded_url(postgres_url: str, recorded_template: str) -> Iterator[str]:
    url = with_database(postgres_url, f"{recorded_template}_views")
    create_database(url, template=recorded_template)
    with connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    yield url
    drop_database(url)


@pytest.fixture(scope="module")
def log(recorded_url: str) -> Log:
    with connect(recorded_url) as connection:
        rows = connection.execute(
            "SELECT e.height, b.burn_height, b.time, x.tx_id, split_part(e.contract, '.', 2), e.topic, "
            "clarion.event_value(e.kind, e.value, e.raw) FROM clarion.event e "
            "JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash "
            "JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
            "JOIN clarion.transaction x ON x.chain = e.chain AND x.height = e.height AND x.block_hash = e.block_hash "
            "AND x.tx_index = e.tx_index "
            "WHERE e.contract LIKE %s AND e.kind = 'print' ORDER BY e.height, e.tx_index, e.event_index",
            (f"{DEPLOYER.address}.bh-%",),
        ).fetchall()
        burns = connection.execute(
            "SELECT b.burn_height FROM clarion.canonical_block c JOIN clarion.block b USING (chain, hash) "
            "ORDER BY c.height"
        ).fetchall()
    return Log(
        [
            Told(height, burn, time, f"0x{tx_id.hex()}", msgspec.convert(value, told.EVENTS[name, topic]))
            for height, burn, time, tx_id, name, topic, value in rows
            if name in NAMES
        ],
        [burn for (burn,) in burns],
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(recorded_url: str) -> AsyncIterator[Server]:
    app = make_app(recorded_url, protocols=[protocol], deployed={"bithedge": DEPLOYED})
    async with answering(app) as running:
        yield running


def heights_to_ask(log: Log) -> list[int]:
    """Blocks in which a lot stands open, and the tip."""
    return [60, 2150, log.tip]


# Prices


async def test_prices_are_those_of_the_last_rounds_closed(server: Server, log: Log) -> None:
    for asset in ("BTC", "STX"):
        for burn in (3, 4, 30, 60, 1000, log.burn):
            closed = [e for _, e in log.of(told.RoundClosed) if e.asset == asset and e.closed_burn <= burn]
            data = await server.data(
                "query($asset: String!, $burn: Int!) { priceAt(asset: $asset, burn: $burn) "
                "{ round priceUsd8 openedBurn closedBurn mode ageBurn isFresh } }",
                {"asset": asset, "burn": burn},
            )
            if not closed:
                assert data["priceAt"] is None
                continue
            last = closed[-1]
            assert data["priceAt"] == {
                "round": last.round,
                "priceUsd8": str(last.price_usd8),
                "openedBurn": last.opened_burn,
                "closedBurn": last.closed_burn,
                "mode": last.mode,
                "ageBurn": burn - last.opened_burn,
                "isFresh": burn - last.opened_burn <= parameter(log, "price-max-age"),
            }
        now = await server.data("query($a: String!) { price(asset: $a) { priceUsd8 } }", {"a": asset})
        assert now["price"]["priceUsd8"] == str(log.price(asset))

    unknown = await server.error('{ price(asset: "DOGE") { round } }')
    assert unknown["extensions"]["code"] == "BAD_USER_INPUT"
    assert "there are BTC" in unknown["message"]
    ahead = await server.error(f'{{ priceAt(asset: "BTC", burn: {log.burn + 1}) {{ round }} }}')
    assert str(log.burn) in ahead["message"]


def parameter(log: Log, key: str, *, upto: int | None = None) -> int:
    return [event.value for _, event in log.of(told.ParamSet, upto=upto) if event.key == key][-1]


@pytest.mark.parametrize(
    ("interval", "seconds", "offset"),
    [("HOUR", 3600, 0), ("DAY", 86_400, 0), ("WEEK", 604_800, 4 * 86_400), ("FIFTEEN_MINUTES", 900, 0)],
)
async def test_candles(server: Server, log: Log, interval: str, seconds: int, offset: int) -> None:
    rounds = [(one.time, event) for one, event in log.of(told.RoundClosed) if event.asset == "BTC"]
    buckets: dict[int, list[told.RoundClosed]] = defaultdict(list)
    begin = rounds[0][0] if interval != "FIFTEEN_MINUTES" else rounds[-5][0]
    first = (begin - offset) // seconds * seconds + offset
    for time, event in rounds:
        if time >= first:
            buckets[(time - offset) // seconds * seconds + offset].append(event)

    data = await server.data(
        f'query($from: DateTime!) {{ candles(asset: "BTC", interval: {interval}, from: $from) '
        "{ start openUsd8 highUsd8 lowUsd8 closeUsd8 rounds firstRound lastRound } }",
        {"from": moment(begin)},
    )

    assert data["candles"] == [
        {
            "start": moment(start),
            "openUsd8": str(own[0].price_usd8),
            "highUsd8": str(max(event.price_usd8 for event in own)),
            "lowUsd8": str(min(event.price_usd8 for event in own)),
            "closeUsd8": str(own[-1].price_usd8),
            "rounds": len(own),
            "firstRound": own[0].round,
            "lastRound": own[-1].round,
        }
        for start, own in sorted(buckets.items())
    ]


def moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


async def test_buckets_are_refused_where_there_are_too_many_or_none(server: Server) -> None:
    many = await server.error('{ candles(asset: "BTC", interval: MINUTE, from: "2020-01-01T00:00:00Z") { start } }')
    assert many["extensions"]["code"] == "LIMIT_EXCEEDED"
    none = await server.error(
        '{ candles(asset: "BTC", interval: DAY, from: "2026-01-02T00:00:00Z", to: "2026-01-01T00:00:00Z") { start } }'
    )
    assert none["extensions"]["code"] == "BAD_USER_INPUT"


async def test_volatility(server: Server, log: Log) -> None:
    days = 10
    first = log.burn - days * 144 + 1
    rounds = [event for _, event in log.of(told.RoundClosed) if event.asset == "BTC"]
    squares = blocks = moves = 0
    for before, after in pairwise(rounds):
        if after.opened_burn >= first:
            moves += 1
            squares += (abs(after.price_usd8 - before.price_usd8) * 10**6 // before.price_usd8) ** 2
            blocks += max(1, after.opened_burn - before.opened_burn)

    data = await server.data(
        f'{{ volatility(asset: "BTC", days: {days}) {{ moves fromBurn toBurn varianceE12 annualBp '
        "contractVarianceE12 contractAnnualBp } }"
    )

    own = rounds[-1].var_e12
    bounded = max(isqrt(own * YEAR) // 100, parameter(log, "vol-min-bp"))
    assert moves > 5
    assert data["volatility"] == {
        "moves": moves,
        "fromBurn": first,
        "toBurn": log.burn,
        "varianceE12": str(squares // blocks),
        "annualBp": str(isqrt(squares // blocks * YEAR) // 100),
        "contractVarianceE12": str(own),
        "contractAnnualBp": str(min(bounded, parameter(log, "vol-max-bp"))),
    }


async def test_how_the_oracle_and_its_providers_do(server: Server, log: Log) -> None:
    ended = {e.round: e.price_usd8 for _, e in log.of(told.RoundClosed) if e.asset == "BTC"}
    rejected = {e.round: e.price_usd8 for _, e in log.of(told.RoundRejected) if e.asset == "BTC"}
    everything = dict(sorted((ended | rejected).items())[-20:])
    given: dict[str, dict[int, told.PriceSubmitted]] = defaultdict(dict)
    first: dict[str, int] = {}
    for _, event in log.of(told.PriceSubmitted):
        if event.asset == "BTC":
            first.setdefault(event.provider, event.round)
            if event.round in everything:
                given[event.provider][event.round] = event
    weights = {event.provider: event.weight for _, event in log.of(told.ProviderSet)}

    data = await server.data(
        '{ oracleStatus(asset: "BTC", rounds: 20) { isStale rounds rejected openRound price { round } providers { '
        "provider weight submissions missed lastRound lastPriceUsd8 lastObservedBurn meanDeviationBp maxDeviationBp "
        "} } }"
    )

    found = data["oracleStatus"]
    assert found["rounds"] == 20
    assert found["rejected"] == len(rejected.keys() & everything.keys())
    assert found["price"] == {"round": max(ended)}
    providers = []
    for provider, weight in sorted(weights.items()):
        own = given[provider]
        away = [
            abs(event.price_usd8 - price) * 10_000 // price
            for number, event in own.items()
            if (price := everything[number])
        ]
        last = own[max(own)] if own else None
        active = weight > 0 and provider in first
        providers.append(
            {
                "provider": provider,
                "weight": str(weight),
                "submissions": len(own),
                "missed": sum(number >= first[provider] for number in everything) - len(own) if active else None,
                "lastRound": last and last.round,
                "lastPriceUsd8": last and str(last.price_usd8),
                "lastObservedBurn": last and last.observed_burn,
                "meanDeviationBp": str(sum(away) // len(away)) if away else None,
                "maxDeviationBp": str(max(away)) if away else None,
            }
        )
    assert found["providers"] == providers


# Policies


def policies_at(log: Log, height: int) -> dict[int, dict[str, Any]]:
    """What the derived fields of every policy are at a block."""
    burn = log.burns[height]
    expected: dict[int, dict[str, Any]] = {}
    for _, made in log.of(told.PolicyCreated, upto=height):
        price = log.price(made.asset, upto=height)
        assert price is not None
        paid = made.premium * made.token_price_usd8 // 10 ** log.decimals(made.token)
        move = made.strike_usd8 - price if made.type == "put" else price - made.strike_usd8
        worth = min(made.max_payout_usd8, max(0, move) * made.notional_sat // 10**8)
        off = -(-paid * 10**8 // made.notional_sat)
        distance = abs(price - made.strike_usd8) * 10_000 // made.strike_usd8
        even = made.strike_usd8 - off if made.type == "put" else made.strike_usd8 + off
        expected[made.policy] = {
            "daysLeft": max(0, made.expiry_burn - burn) // 144,
            "intrinsicUsd8": str(worth),
            "premiumPaidUsd8": str(paid),
            "pnlUsd8": str(worth - paid),
            "breakEvenUsd8": str(even) if paid <= made.max_payout_usd8 else None,
            "distanceToStrikeBp": str(distance if price >= made.strike_usd8 else -distance),
        }

    def end(policy: int, won: int) -> None:
        own = expected[policy]
        own |= {"daysLeft": None, "intrinsicUsd8": None, "distanceToStrikeBp": None}
        own["pnlUsd8"] = str(won - int(own["premiumPaidUsd8"]))

    made_by = {event.policy: event for _, event in log.of(told.PolicyCreated)}
    due: dict[int, int] = {}
    for one in log.all:
        if one.height > height:
            break
        event = one.event
        if isinstance(event, told.PaidPolicyEvent):
            due[event.policy] = event.payoff_usd8
            end(event.policy, event.payoff_usd8 - event.unpaid_usd8)
        elif isinstance(event, told.RemainderCovered):
            end(event.policy, due[event.policy] - event.unpaid_usd8_after)
        elif isinstance(event, told.PolicyExpiredOtm):
            end(event.policy, 0)
        elif isinstance(event, told.PolicyCancelled):
            made = made_by[event.policy]
            end(event.policy, event.refund * made.token_price_usd8 // 10 ** log.decimals(made.token))
    return expected


async def test_what_policies_are_worth(server: Server, log: Log) -> None:
    for height in heights_to_ask(log):
        data = await server.data(
            f"query @asOf(height: {height}) {{ policies(first: 500) {{ nodes {{ id daysLeft intrinsicUsd8 "
            "premiumPaidUsd8 pnlUsd8 breakEvenUsd8 distanceToStrikeBp } } }"
        )
        found = {node.pop("id"): node for node in data["policies"]["nodes"]}
        assert found == policies_at(log, height)


# Governance


async def test_how_votes_stand(server: Server, log: Log) -> None:
    for height in (log.tip, 2200, 2210):
        votes: dict[int, Counter[str]] = defaultdict(Counter)
        for _, vote in log.of(told.VoteCast, upto=height):
            votes[vote.proposal][vote.choice] += vote.power
        data = await server.data(
            f"query @asOf(height: {height}) {{ proposals {{ nodes {{ id turnoutBp approvalBp quorumReached passing }} "
            "} }"
        )
        expected = []
        for _, made in log.of(told.ProposalCreated, upto=height):
            own = votes[made.proposal]
            cast, sides = sum(own.values()), own["for"] + own["against"]
            reached = cast * 10_000 >= made.quorum_bp * made.total_power
            expected.append(
                {
                    "id": made.proposal,
                    "turnoutBp": str(cast * 10_000 // made.total_power),
                    "approvalBp": str(own["for"] * 10_000 // sides) if sides else None,
                    "quorumReached": reached,
                    "passing": reached and own["for"] > 0 and own["for"] * 10_000 >= made.pass_bp * sides,
                }
            )
        assert data["proposals"]["nodes"] == expected


async def test_voting_power_at_a_block(server: Server, log: Log) -> None:
    changes = [event for _, event in log.of(told.PowerChanged)]
    voters = sorted({event.who for event in changes if event.who is not None})
    burns = sorted({event.from_burn for event in changes})
    assert len(voters) > 3

    def power(who: str | None, burn: int) -> int:
        own = [event.power_after for event in changes if event.who == who and event.from_burn <= burn]
        return own[-1] if own else 0

    for who in voters:
        for burn in (burns[0] - 1, *burns, log.burn):
            data = await server.data(
                "query($who: String!, $burn: Int!) { votingPower(address: $who, burn: $burn) "
                "{ power totalPower shareBp canPropose } }",
                {"who": who, "burn": burn},
            )
            own, whole = power(who, burn), power(None, burn)
            assert data["votingPower"] == {
                "power": str(own),
                "totalPower": str(whole),
                "shareBp": str(own * 10_000 // whole) if whole else None,
                "canPropose": own * 10_000 >= parameter(log, "gov-threshold-bp") * whole
                and whole >= parameter(log, "gov-min-stake"),
            }


async def test_governance_at_a_glance(server: Server, log: Log) -> None:
    stakes = {event.staker: event.stake_after for _, event in log.of(told.StakeAdded)}
    for one in log.all:
        if isinstance(one.event, told.StakeAdded | told.StakeRemoved):
            stakes[one.event.staker] = one.event.stake_after
    powers = {event.who: event.power_after for _, event in log.of(told.PowerChanged)}
    whole = powers.pop(None)
    data = await server.data(
        "{ govStats { totalPower stakers voters votes largestShareBp concentrationBp meanTurnoutBp "
        "proposals { count } parameterChanges } }"
    )

    found = data["govStats"]
    votes = [event for _, event in log.of(told.VoteCast)]
    assert found["totalPower"] == str(whole)
    assert found["stakers"] == sum(stake > 0 for stake in stakes.values())
    assert (found["votes"], found["voters"]) == (len(votes), len({vote.voter for vote in votes}))
    assert found["largestShareBp"] == str(max(powers.values()) * 10_000 // whole)
    assert found["concentrationBp"] == str(sum(power**2 for power in powers.values()) * 10_000 // whole**2)
    assert sum(state["count"] for state in found["proposals"]) == len(log.of(told.ProposalCreated))
    assert found["parameterChanges"] == sum(event.proposal is not None for _, event in log.of(told.ParamSet))


# Capital


@dataclass
class Capital:
    """Positions by (provider, tier, token), folded from the vault's events up to a block, and what they earned."""

    images: dict[tuple[str, str, str], told.PositionEvent]
    #: (burn, provider, tier, token, capital before, capital after)
    moves: list[tuple[int, str, str, str, int, int]]
    earned: list[tuple[int, str, str, str, int]]
    paid: list[tuple[int, str, str, str, int]]
    taken: list[tuple[int, str, str, str, int]]


@lru_cache(maxsize=64)
def capital_at(log: Log, height: int) -> Capital:
    found = Capital({}, [], [], [], [])
    tiers: dict[tuple[int, str], str] = {}
    for one in log.all:
        if one.height > height:
            break
        event = one.event
        if isinstance(event, told.PositionEvent):
            key = (event.provider, event.tier, event.token)
            before = event.available_before + event.locked_before
            after = event.available_after + event.locked_after
            found.images[key] = event
            found.moves.append((one.burn, *key, before, after))
            if isinstance(event, told.PayoutDebited):
                found.paid.append((one.burn, *key, event.amt))
            if isinstance(event, told.CollateralLocked):
                tiers[event.policy, event.provider] = event.tier
            if isinstance(event, told.AllocationMovedIn):
                tiers[event.policy, event.provider] = event.tier
                found.taken.append((one.burn, *key, event.received))
            if isinstance(event, told.AllocationMovedOut):
                found.taken.append((one.burn, *key, -event.paid))
        elif isinstance(event, told.PremiumEarned):
            tier = tiers[event.policy, event.provider]
            found.earned.append((one.burn, event.provider, tier, event.token, event.amt))
    return found


def yield_of(capital: Capital, own: Callable[[str, str, str], bool], start: int, end: int) -> dict[str, Any]:
    """A yield, block by block."""
    held: dict[tuple[str, str, str], int] = {}
    after: dict[int, int] = {}
    moves = [move for move in capital.moves if own(*move[1:4])]
    for burn, provider, tier, token, _, now in moves:
        held[provider, tier, token] = now
        after[burn] = sum(held.values())
    blocks, last = 0, 0
    for burn in range(end):
        last = after.get(burn, last)
        if burn >= start:
            blocks += last

    def total(entries: Sequence[tuple[int, str, str, str, int]]) -> int:
        return sum(amount for burn, *key, amount in entries if burn >= start and own(*key))

    earned, paid, taken = total(capital.earned), total(capital.paid), total(capital.taken)
    return {
        "fromBurn": start,
        "toBurn": end,
        "earned": str(earned),
        "paidOut": str(paid),
        "takenOver": str(taken),
        "timeWeightedCapital": str(blocks // (end - start)),
        "apyBp": str(earned * 10_000 * YEAR // blocks) if blocks else None,
        "netApyBp": str((earned + taken - paid) * 10_000 * YEAR // blocks) if blocks else None,
    }


YIELD = "yields { fromBurn toBurn earned paidOut takenOver timeWeightedCapital apyBp netApyBp }"


async def test_pools(server: Server, log: Log) -> None:
    for height, days in ((60, 1), (2150, 14), (log.tip, 3650)):
        capital = capital_at(log, height)
        for token in {key[2] for key in capital.images}:
            data = await server.data(
                f"query($token: String!) @asOf(height: {height}) {{ pool(token: $token, days: {days}) {{ whole {{ "
                f"available locked requested capital utilisationBp valueUsd8 liabilityUsd8 healthBp providers "
                f"positions {YIELD} }} tiers {{ tier capital {YIELD} }} }} }}",
                {"token": token},
            )
            pool = data["pool"]
            end = pool["whole"]["yields"]["toBurn"]
            start = max(0, end - days * 144)
            images = {key: image for key, image in capital.images.items() if key[2] == token}
            available = sum(image.available_after for image in images.values())
            locked = sum(image.locked_after for image in images.values())
            liability = sum(image.liability_usd8_after for image in images.values())
            rich = [key for key, image in images.items() if image.available_after + image.locked_after]
            price = log.price(log.asset(token), upto=height)
            worth = None if price is None else (available + locked) * price // 10 ** log.decimals(token)
            terms = [event for _, event in log.of(told.TokenSet, upto=height) if event.token == token][-1]
            health = None
            if price is not None and liability:
                scale = 10**terms.decimals * liability
                health = str((available + locked) * price * (10_000 - terms.haircut_bp) // scale)
            assert pool["whole"] == {
                "available": str(available),
                "locked": str(locked),
                "requested": str(sum(image.requested_after for image in images.values())),
                "capital": str(available + locked),
                "utilisationBp": str(locked * 10_000 // (available + locked)) if rich else None,
                "valueUsd8": None if worth is None else str(worth),
                "liabilityUsd8": str(liability),
                "healthBp": health,
                "providers": len({key[0] for key in rich}),
                "positions": len(rich),
                "yields": yield_of(capital, lambda _, __, of, token=token: of == token, start, end),
            }
            for tier in pool["tiers"]:
                own = [image for key, image in images.items() if key[1] == tier["tier"]]
                assert tier["capital"] == str(sum(image.available_after + image.locked_after for image in own))
                assert tier["yields"] == yield_of(
                    capital, lambda _, t, of, tier=tier["tier"], token=token: (t, of) == (tier, token), start, end
                )


async def test_what_the_vault_owes_is_what_it_holds(server: Server, log: Log) -> None:
    closed = [event for _, event in log.of(told.LockClosed) if event.token == STX]
    data = await server.data("query($t: String!) { pool(token: $t) { owed premiums yieldClaimed } }", {"t": STX})
    money = Counter[str]()
    for one in log.all:
        match one.event:
            case told.CapitalDeposited() | told.PremiumEscrowed():
                money[one.event.token] += one.event.amt
            case told.CapitalWithdrawn() | told.YieldClaimed() | told.FeesCollected() | told.PremiumRefunded():
                money[one.event.token] -= one.event.amt
            case told.LockClosed():
                money[one.event.token] -= one.event.paid
    assert closed
    assert data["pool"]["owed"] == str(money[STX])
    assert data["pool"]["premiums"] == str(sum(e.amt for _, e in log.of(told.PremiumEscrowed) if e.token == STX))


@pytest.mark.parametrize(
    ("interval", "seconds", "until", "tier"),
    [("HOUR", 3_600, 86_400, None), ("HOUR", 3_600, 86_400, "aggressive"), ("DAY", 86_400, 15 * 86_400, None)],
)
async def test_pools_over_time(
    server: Server, log: Log, interval: str, seconds: int, until: int, tier: str | None
) -> None:
    begin = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
    data = await server.data(
        "query($token: String!, $tier: String, $from: DateTime, $to: DateTime) { "
        f"poolHistory(token: $token, tier: $tier, interval: {interval}, from: $from, to: $to) {{ start height "
        "available locked requested utilisationBp liabilityUsd8 positions newPolicies deposited withdrawn premiums "
        "premiumEarned paidOut apyBp burnHeight } }",
        {"token": STX, "tier": tier, "from": moment(begin), "to": moment(begin + until - 1)},
    )

    def own(_: str, of_tier: str, token: str) -> bool:
        return token == STX and tier in (None, of_tier)

    history = data["poolHistory"]
    assert [point["start"] for point in history] == [
        moment(begin + seconds * index) for index in range(until // seconds)
    ]
    before = burn_before = 0
    some_apy = False
    for point in history:
        end = datetime.fromisoformat(point["start"]).timestamp() + seconds
        upto = max((one.height for one in log.all if one.time < end), default=-1)
        assert upto <= point["height"]
        capital = capital_at(log, upto)
        images = [image for key, image in capital.images.items() if own(*key)]
        within = [one for one in log.all if before < one.height <= point["height"]]
        moved = [
            one.event
            for one in within
            if isinstance(one.event, told.PositionEvent) and own("", one.event.tier, one.event.token)
        ]
        assert point["available"] == str(sum(image.available_after for image in images))
        assert point["locked"] == str(sum(image.locked_after for image in images))
        assert point["requested"] == str(sum(image.requested_after for image in images))
        locked, whole = int(point["locked"]), int(point["available"]) + int(point["locked"])
        assert point["utilisationBp"] == (str(locked * 10_000 // whole) if whole else None)
        assert point["liabilityUsd8"] == str(sum(image.liability_usd8_after for image in images))
        assert point["positions"] == sum(image.available_after + image.locked_after > 0 for image in images)
        assert point["deposited"] == str(sum(e.amt for e in moved if isinstance(e, told.CapitalDeposited)))
        assert point["withdrawn"] == str(sum(e.amt for e in moved if isinstance(e, told.CapitalWithdrawn)))
        assert point["paidOut"] == str(sum(e.amt for e in moved if isinstance(e, told.PayoutDebited)))
        bought = [
            one.event
            for one in within
            if isinstance(one.event, told.PremiumEscrowed) and own("", one.event.tier, one.event.token)
        ]
        assert point["newPolicies"] == len(bought)
        assert point["premiums"] == (None if tier else str(sum(event.amt for event in bought)))
        earned = sum(amount for _, *key, amount in capital.earned if own(*key))
        earned -= sum(amount for _, *key, amount in capital_at(log, before).earned if own(*key))
        assert point["premiumEarned"] == str(earned)
        if point["burnHeight"] > burn_before:
            held: dict[tuple[str, str, str], int] = {}
            after: dict[int, int] = {}
            for burn, *key, _, now in capital.moves:
                if own(*key):
                    held[key[0], key[1], key[2]] = now
                    after[burn] = sum(held.values())
            last = sum_ = 0
            for burn in range(point["burnHeight"]):
                last = after.get(burn, last)
                sum_ += last if burn >= burn_before else 0
            assert point["apyBp"] == (str(earned * 10_000 * YEAR // sum_) if sum_ else None)
            some_apy = some_apy or point["apyBp"] not in (None, "0")
        before, burn_before = point["height"], point["burnHeight"]
    assert some_apy


async def test_a_pool_that_is_not_there_has_no_history(server: Server) -> None:
    asked = "query($token: String!, $tier: String) { poolHistory(token: $token, tier: $tier, interval: DAY) { start } }"
    for token, tier, wrong in (("nope", None, "nope is no collateral token"), (STX, "calm", "no tier calm")):
        error = await server.error(asked, {"token": token, "tier": tier})
        assert wrong in error["message"]
        assert error["extensions"]["code"] == "BAD_USER_INPUT"


async def test_a_pool_without_capital_has_no_use(server: Server, log: Log) -> None:
    first = min(one.height for one, _ in log.of(told.CapitalDeposited))
    begun = min(one.height for one, event in log.of(told.TokenSet) if event.token == STX)
    asked = "query($token: String!) { poolHistory(token: $token, interval: MINUTE) { height available utilisationBp } }"
    data = await server.data(asked.replace("{ pool", f"@asOf(height: {first - 1}) {{ pool", 1), {"token": STX})
    assert begun < first
    assert data["poolHistory"]
    assert {(point["available"], point["utilisationBp"]) for point in data["poolHistory"]} == {("0", None)}


async def test_how_much_can_be_covered(server: Server, log: Log) -> None:
    height, duration = 60, 20
    burn = log.burns[height]
    step = parameter(log, "expiry-step", upto=height)
    expiry = -(-(burn + duration) // step) * step
    spot = log.price("BTC", upto=height)
    assert spot is not None
    off = {e.provider for _, e in log.of(told.AutomatchSet, upto=height) if not e.on}
    on = {e.provider for _, e in log.of(told.AutomatchSet, upto=height) if e.on}
    assert not off & on
    exposures: dict[tuple[str, str, str, int], int] = {}
    for one in log.all:
        if one.height <= height:
            match one.event:
                case (
                    told.CollateralLocked()
                    | told.CollateralReleased()
                    | told.AllocationMovedOut()
                    | told.AllocationMovedIn() as e
                ):
                    exposures[e.provider, e.tier, e.token, e.expiry_burn] = e.exposure_after
    images = capital_at(log, height).images
    tiers = {e.name: e for _, e in log.of(told.TierSet, upto=height)}
    least = parameter(log, "min-allocation-usd8", upto=height)
    for percent in (97, 85, 40):
        strike = spot * percent // 100
        fits = [t for t in tiers.values() if t.active and t.strike_min_bp <= strike * 10_000 // spot < t.strike_max_bp]
        data = await server.data(
            f'query($strike: BigInt!) @asOf(height: {height}) {{ tierAvailability(type: "put", strikeUsd8: $strike, '
            f"durationBurn: {duration}) {{ tier expiryBurn spotUsd8 tokens {{ token positions coverableUsd8 }} }} }}",
            {"strike": str(strike)},
        )
        found = data["tierAvailability"]
        assert (found["expiryBurn"], found["spotUsd8"]) == (expiry, str(spot))
        if not fits:
            assert (found["tier"], found["tokens"]) == (None, [])
            continue
        tier = fits[0]
        assert found["tier"] == tier.name
        assert found["tokens"]
        for row in found["tokens"]:
            token = row["token"]
            terms = [e for _, e in log.of(told.TokenSet, upto=height) if e.token == token][-1]
            price = log.price(terms.asset, upto=height)
            assert price is not None
            rooms = []
            for (who, name, of), image in images.items():
                if (name, of) != (tier.name, token) or who in off:
                    continue
                capital = image.available_after + image.locked_after
                free = min(
                    image.available_after - image.requested_after,
                    capital * tier.max_policy_bp // 10_000,
                    capital * tier.max_expiry_bp // 10_000 - exposures.get((who, name, of, expiry), 0),
                )
                scale = 10**terms.decimals * tier.ratio_min_bp
                own = free * price * (10_000 - terms.haircut_bp) // scale
                left = capital * price * (10_000 - terms.haircut_bp) // scale - image.liability_usd8_after
                if (room := min(own, left)) >= least:
                    rooms.append(room)
            best = sorted(rooms, reverse=True)[:10]
            assert (row["positions"], row["coverableUsd8"]) == (len(best), str(sum(best)))


# Addresses


async def test_what_providers_have(server: Server, log: Log) -> None:
    for height in (log.tip,):
        capital = capital_at(log, height)
        providers = sorted({key[0] for key in capital.images})
        assert len(providers) > 5
        for who in providers:
            data = await server.data(
                f"query($who: String!) @asOf(height: {height}) {{ portfolio(address: $who, days: 3650) {{ provider {{ "
                "valueUsd8 liabilityUsd8 openMarginCalls pendingWithdrawals "
                f"positions {{ tier token available locked liabilityUsd8 paidOut premiumEarned {YIELD} }} "
                f"income {{ token earned credited claimed claimable paidOut {YIELD} }} "
                "policies { total active expiredOtm settledItm exercised cancelled moved } } } }",
                {"who": who},
            )
            found = data["portfolio"]["provider"]
            end = found["positions"][0]["yields"]["toBurn"]
            images = {key: image for key, image in capital.images.items() if key[0] == who}
            worth = 0
            for (_, _, token), image in images.items():
                price = log.price(log.asset(token), upto=height)
                assert price is not None
                worth += (image.available_after + image.locked_after) * price // 10 ** log.decimals(token)
            assert found["valueUsd8"] == str(worth)
            assert found["liabilityUsd8"] == str(sum(image.liability_usd8_after for image in images.values()))
            assert {(row["tier"], row["token"]) for row in found["positions"]} == {key[1:] for key in images}
            for row in found["positions"]:
                key = (who, row["tier"], row["token"])
                assert row["available"] == str(images[key].available_after)
                assert row["locked"] == str(images[key].locked_after)
                assert row["paidOut"] == str(sum(amount for _, *own, amount in capital.paid if tuple(own) == key))
                assert row["premiumEarned"] == str(
                    sum(amount for _, *own, amount in capital.earned if tuple(own) == key)
                )
                assert row["yields"] == yield_of(capital, lambda *own, key=key: own == key, 0, end)
            for row in found["income"]:
                token = row["token"]
                assert row["yields"] == yield_of(
                    capital, lambda p, _, t, token=token, who=who: (p, t) == (who, token), 0, end
                )
                earned = [
                    e.amt for _, e in log.of(told.PremiumEarned, upto=height) if (e.provider, e.token) == (who, token)
                ]
                credited = [
                    e.amt for _, e in log.of(told.YieldCredited, upto=height) if (e.provider, e.token) == (who, token)
                ]
                claimed = [
                    e.amt for _, e in log.of(told.YieldClaimed, upto=height) if (e.provider, e.token) == (who, token)
                ]
                assert row["earned"] == str(sum(earned))
                assert row["credited"] == str(sum(credited))
                assert row["claimed"] == str(sum(claimed))
                assert row["claimable"] == str(sum(earned) + sum(credited) - sum(claimed))
            assert found["policies"] == covered_at(log, height, who)
            asked = [e for _, e in log.of(told.WithdrawRequested, upto=height) if e.provider == who]
            paid = [e for _, e in log.of(told.CapitalWithdrawn, upto=height) if e.provider == who]
            assert found["pendingWithdrawals"] == len(asked) - len(paid)


def backers_at(log: Log, height: int) -> dict[int, dict[str, int]]:
    """Liability by provider of every policy, as long as it is backed."""
    backed: dict[int, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for one in log.all:
        if one.height > height:
            break
        match one.event:
            case told.CollateralLocked() | told.AllocationMovedIn():
                backed[one.event.policy][one.event.provider] += one.event.liability_usd8
            case told.AllocationMovedOut():
                backed[one.event.policy].pop(one.event.provider)
    return backed


def ends_at(log: Log, height: int) -> dict[int, str]:
    names = {
        told.PolicyExpiredOtm: "expiredOtm",
        told.PolicySettledItm: "settledItm",
        told.PolicyExercised: "exercised",
        told.PolicyCancelled: "cancelled",
    }
    return {one.event.policy: name for kind, name in names.items() for one, _ in log.of(kind, upto=height)}  # type: ignore[attr-defined]


def covered_at(log: Log, height: int, who: str) -> dict[str, int]:
    ends = ends_at(log, height)
    counts = Counter[str]()
    ever = {
        one.event.policy
        for one in log.all
        if isinstance(one.event, told.CollateralLocked | told.AllocationMovedIn)
        and one.height <= height
        and one.event.provider == who
    }
    backed = backers_at(log, height)
    for policy in ever:
        counts[ends.get(policy, "active") if who in backed[policy] else "moved"] += 1
    names = ("active", "expiredOtm", "settledItm", "exercised", "cancelled", "moved")
    return {"total": len(ever), **{name: counts[name] for name in names}}


async def test_what_owners_have(server: Server, log: Log) -> None:
    for height in (60, log.tip):
        figures = policies_at(log, height)
        ends = ends_at(log, height)
        owned: dict[str, list[told.PolicyCreated]] = defaultdict(list)
        for _, made in log.of(told.PolicyCreated, upto=height):
            owned[made.owner].append(made)
        due = {e.policy: e.payoff_usd8 for _, e in log.of(told.PaidPolicyEvent, upto=height)}
        for who, policies in owned.items():
            data = await server.data(
                f"query($who: String!) @asOf(height: {height}) {{ portfolio(address: $who) {{ owner {{ total active "
                "expiredOtm settledItm exercised cancelled protectedSat maxPayoutUsd8 intrinsicUsd8 premiumsUsd8 "
                "payoffsUsd8 pnlUsd8 totals { token premiums payouts refunds } } } }",
                {"who": who},
            )
            found = data["portfolio"]["owner"]
            active = [made for made in policies if made.policy not in ends]
            counts = Counter(ends.get(made.policy, "active") for made in policies)
            totals = found.pop("totals")
            assert found == {
                "total": len(policies),
                **{name: counts[name] for name in ("active", "expiredOtm", "settledItm", "exercised", "cancelled")},
                "protectedSat": str(sum(made.notional_sat for made in active)),
                "maxPayoutUsd8": str(sum(made.max_payout_usd8 for made in active)),
                "intrinsicUsd8": str(sum(int(figures[made.policy]["intrinsicUsd8"]) for made in active)),
                "premiumsUsd8": str(sum(int(figures[made.policy]["premiumPaidUsd8"]) for made in policies)),
                "payoffsUsd8": str(sum(due.get(made.policy, 0) for made in policies)),
                "pnlUsd8": str(sum(int(figures[made.policy]["pnlUsd8"]) for made in policies)),
            }
            for row in totals:
                paid = [m.premium for m in policies if m.token == row["token"]]
                assert row["premiums"] == str(sum(paid))
                got = [
                    e.paid for _, e in log.of(told.LockClosed, upto=height) if (e.to, e.token) == (who, row["token"])
                ]
                assert row["payouts"] == str(sum(got))
                back = [
                    e.amt
                    for _, e in log.of(told.PremiumRefunded, upto=height)
                    if (e.to, e.token) == (who, row["token"])
                ]
                assert row["refunds"] == str(sum(back))
            assert {row["token"] for row in totals} == {made.token for made in policies}


async def test_nobody_has_nothing(server: Server) -> None:
    data = await server.data(
        '{ portfolio(address: "ST000000000000000000002AMW42H") { provider { autoMatch } owner { total } } }'
    )
    assert data["portfolio"] == {"provider": None, "owner": None}


async def test_what_moves_of_prices_would_do(server: Server, log: Log) -> None:
    height = 60
    ends, backed = ends_at(log, height), backers_at(log, height)
    made = {e.policy: e for _, e in log.of(told.PolicyCreated, upto=height) if e.policy not in ends}
    locked = Counter[tuple[int, str]]()
    for one in log.all:
        if one.height <= height:
            match one.event:
                case told.CollateralLocked() | told.AllocationMovedIn():
                    locked[one.event.policy, one.event.provider] += one.event.amt
                case told.AllocationMovedOut():
                    locked.pop((one.event.policy, one.event.provider))
    prices = {asset: log.price(asset, upto=height) for asset in ("BTC", "STX")}
    assert None not in prices.values()
    providers = sorted({who for policy in made for who in backed[policy]})
    assert len(providers) > 3
    for who in providers:
        data = await server.data(
            f"query($who: String!) @asOf(height: {height}) {{ portfolioRisk(address: $who) {{ liabilityUsd8 "
            "byTier { name policies liabilityUsd8 shareBp } byExpiry { name liabilityUsd8 } largestPolicyBp "
            "policyConcentrationBp stress { shockBp dueUsd8 paidUsd8 losses { token amount } payoffUsd8 netUsd8 "
            "worstHealthBp } } }",
            {"who": who},
        )
        found = data["portfolioRisk"]
        own = {policy: backed[policy][who] for policy in made if who in backed[policy]}
        whole = sum(own.values())
        assert found["liabilityUsd8"] == str(whole)
        assert found["largestPolicyBp"] == str(max(own.values()) * 10_000 // whole)
        assert found["policyConcentrationBp"] == str(sum(part**2 for part in own.values()) * 10_000 // whole**2)
        tiers = Counter[str]()
        expiries = Counter[int]()
        for policy, liability in own.items():
            tiers[made[policy].tier] += liability
            expiries[made[policy].expiry_burn] += liability
        assert {row["name"]: row["liabilityUsd8"] for row in found["byTier"]} == {t: str(v) for t, v in tiers.items()}
        assert [(row["name"], row["liabilityUsd8"]) for row in found["byExpiry"]] == [
            (str(burn), str(value)) for burn, value in sorted(expiries.items())
        ]
        for stress in found["stress"]:
            shock = stress["shockBp"]
            btc = prices["BTC"] * (10_000 + shock) // 10_000  # type: ignore[operator]
            moved = {"BTC": btc, "STX": prices["STX"]}
            due = paid_usd = 0
            losses = Counter[str]()
            for policy, liability in own.items():
                terms = made[policy]
                move = terms.strike_usd8 - btc if terms.type == "put" else btc - terms.strike_usd8
                payoff = min(terms.max_payout_usd8, max(0, move) * terms.notional_sat // 10**8)
                part = payoff * liability // terms.max_payout_usd8
                scale, token_price = 10 ** log.decimals(terms.token), moved[log.asset(terms.token)]
                assert token_price is not None
                tokens = part * scale // token_price
                enough = tokens <= locked[policy, who]
                due += part
                losses[terms.token] += min(tokens, locked[policy, who])
                paid_usd += part if enough else locked[policy, who] * token_price // scale
            assert stress["dueUsd8"] == str(due)
            assert stress["paidUsd8"] == str(paid_usd)
            assert {row["token"]: int(row["amount"]) for row in stress["losses"]} == {
                token: amount for token, amount in losses.items() if amount
            }
            assert stress["netUsd8"] == str(int(stress["payoffUsd8"]) - paid_usd)

    wrong = await server.error('{ portfolioRisk(address: "x", shocksBp: [-10001]) { liabilityUsd8 } }')
    assert wrong["extensions"]["code"] == "BAD_USER_INPUT"


# The protocol as a whole


async def test_what_happens_on_the_platform(server: Server, log: Log) -> None:
    data = await server.data(
        '{ platformAnalytics(interval: DAY, from: "2026-01-01T00:00:00Z") { start height newPolicies buyers '
        "premiumsUsd8 notionalSat maxPayoutUsd8 expiredOtm settledItm exercised cancelled payoffsUsd8 newProviders "
        "tokens { token deposited withdrawn premiums premiumRefunded premiumEarned yieldClaimed payouts "
        "feesCollected } } }"
    )

    seen: set[str] = set()
    busy = 0
    for point in data["platformAnalytics"]:
        start = datetime.fromisoformat(point["start"]).timestamp()
        day = [one for one in log.all if start <= one.time < start + 86_400]

        def of(*kinds: type[Any], day: Sequence[Told] = day) -> list[Any]:
            return [one.event for one in day if isinstance(one.event, kinds)]

        bought = of(told.PolicyCreated)
        paid = of(told.PaidPolicyEvent)
        busy += bool(bought)
        fresh = {
            one.event.provider
            for one in day
            if isinstance(one.event, told.PositionEvent | told.AutomatchSet) and one.event.provider not in seen
        }
        seen |= fresh
        assert point["newPolicies"] == len(bought)
        assert point["buyers"] == len({made.owner for made in bought})
        assert point["premiumsUsd8"] == str(sum(made.premium_usd8 for made in bought))
        assert point["notionalSat"] == str(sum(made.notional_sat for made in bought))
        assert point["maxPayoutUsd8"] == str(sum(made.max_payout_usd8 for made in bought))
        assert point["expiredOtm"] == len(of(told.PolicyExpiredOtm))
        assert point["settledItm"] == len(of(told.PolicySettledItm))
        assert point["exercised"] == len(of(told.PolicyExercised))
        assert point["cancelled"] == len(of(told.PolicyCancelled))
        assert point["payoffsUsd8"] == str(sum(event.payoff_usd8 for event in paid))
        assert point["newProviders"] == len(fresh)
        kinds: dict[str, type[Any]] = {
            "deposited": told.CapitalDeposited,
            "withdrawn": told.CapitalWithdrawn,
            "premiums": told.PremiumEscrowed,
            "premiumRefunded": told.PremiumRefunded,
            "premiumEarned": told.PremiumEarned,
            "yieldClaimed": told.YieldClaimed,
            "feesCollected": told.FeesCollected,
        }
        for flow in point["tokens"]:
            for name, kind in kinds.items():
                assert flow[name] == str(sum(event.amt for event in of(kind) if event.token == flow["token"])), name
            assert flow["payouts"] == str(
                sum(event.paid for event in of(told.LockClosed) if event.token == flow["token"])
            )
    assert busy > 1


async def test_what_is_stopped(server: Server, log: Log) -> None:
    tripped = [one for one, _ in log.of(told.BreakerTripped)]
    assert tripped
    heights = sorted({one.height for one in tripped} | {log.tip})
    for height in heights:
        state: dict[str, dict[str, bool]] = defaultdict(dict)
        for one in log.all:
            if one.height <= height:
                match one.event:
                    case told.FlagSet():
                        state[one.event.name]["flag"] = one.event.on
                    case told.BreakerTripped():
                        state[one.event.name]["tripped"] = True
                    case told.BreakerReset():
                        state[one.event.name]["tripped"] = False
        data = await server.data(
            f"query @asOf(height: {height}) {{ protocolStatus {{ paused stopped tripped "
            "switches { name flag tripped } } systemHealth { checks { name state count } } }"
        )
        stopped = sorted(name for name, own in state.items() if own["tripped"] or not own["flag"])
        broken = [name for name in stopped if state[name]["tripped"]]
        assert data["protocolStatus"]["stopped"] == stopped
        assert data["protocolStatus"]["tripped"] == broken
        assert data["protocolStatus"]["paused"] == bool(stopped)
        checks = {check["name"]: check for check in data["systemHealth"]["checks"]}
        assert checks["switches"]["state"] == ("CRITICAL" if broken else "WARNING" if stopped else "OK")
        assert checks["books"]["state"] == "OK"
        assert checks["events"]["state"] == "OK"
        ends = ends_at(log, height)
        made = [e for _, e in log.of(told.PolicyCreated, upto=height) if e.policy not in ends]
        burn = log.burns[height]
        assert checks["settlement"]["count"] == sum(event.expiry_burn <= burn for event in made)
    assert any(one.event.name for one in tripped)


# Rewards


async def test_rewards_can_be_claimed_with_the_proofs(server: Server, log: Log) -> None:
    """Before each claim of the run, what the claim paid is what is said to be claimable."""
    posted = {(e.program, e.epoch): e for _, e in log.of(told.EpochPosted)}
    claims = log.of(told.RewardClaimed)
    assert len(claims) > 40
    for one, claim in claims[::6]:
        height = one.height - 1
        data = await server.data(
            f"query($who: String!) @asOf(height: {height}) {{ claimableRewards(address: $who) {{ rewards {{ program "
            "epoch token entitled index proof root vested claimed claimable claimableBurn vestedBurn deadlineBurn } "
            "unexplained { epoch } } }",
            {"who": claim.who},
        )
        own = [
            r for r in data["claimableRewards"]["rewards"] if (r["program"], r["epoch"]) == (claim.program, claim.epoch)
        ]
        assert len(own) == 1
        (found,) = own
        epoch = posted[claim.program, claim.epoch]
        leaf = leaf_hash(claim.program, claim.epoch, Reward(claim.who, TokenAmount(int(found["entitled"]))))
        assert found["root"] == epoch.root
        assert (
            root_of(leaf, found["index"], [bytes_from_hex(sibling) for sibling in found["proof"]]).hex()
            == epoch.root[2:]
        )
        assert (found["index"], found["entitled"]) == (claim.index, str(claim.entitled))
        before = [
            e.amt
            for at, e in claims
            if at.height <= height and (e.who, e.program, e.epoch) == (claim.who, claim.program, claim.epoch)
        ]
        assert found["claimed"] == str(sum(before))
        burn = log.burns[height]
        gone = min(burn, epoch.vested_burn) - epoch.posted_burn
        vested = claim.entitled * gone // (epoch.vested_burn - epoch.posted_burn)
        assert found["vested"] == str(vested)
        assert found["claimable"] == str(vested - sum(before) if burn >= epoch.claimable_burn else 0)
        later = {(e.program, e.epoch) for at, e in log.of(told.EpochVoided) if at.height > height}
        assert {(claim.program, wrong["epoch"]) for wrong in data["claimableRewards"]["unexplained"]} <= later


async def test_a_root_that_does_not_follow_from_the_events_is_named(server: Server, log: Log) -> None:
    voided = log.of(told.EpochVoided)
    assert voided
    for one, event in voided:
        data = await server.data(
            f'query @asOf(height: {one.height - 1}) {{ claimableRewards(address: "{STX}") {{ rewards {{ epoch }} '
            "unexplained { program epoch root expectedRoot } } }"
        )
        (found,) = data["claimableRewards"]["unexplained"]
        assert (found["program"], found["epoch"], found["root"]) == (event.program, event.epoch, event.root)
        assert found["expectedRoot"] != event.root


# Activity


async def all_activity(server: Server, address: str, page: int) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        data = await server.data(
            "query($who: String!, $first: Int, $after: String) { activity(address: $who, first: $first, after: $after) "
            "{ nodes { kind height txId token amount amountUsd8 policyId tier number detail burnHeight } "
            "edges { cursor } pageInfo { hasNextPage endCursor } } }",
            {"who": address, "first": page, "after": after},
        )
        found = data["activity"]
        nodes += found["nodes"]
        after = found["pageInfo"]["endCursor"]
        if not found["pageInfo"]["hasNextPage"]:
            return nodes
        assert after == found["edges"][-1]["cursor"]


def addresses(log: Log) -> list[str]:
    found = {one.event.actor for one in log.all}
    return sorted(found | {e.provider for _, e in log.of(told.PositionEvent)})


async def test_activity_is_what_the_events_tell(server: Server, log: Log, recorded_url: str) -> None:
    everything: dict[str, list[dict[str, Any]]] = {}
    for who in addresses(log):
        everything[who] = await all_activity(server, who, 500)
    told_of: dict[str, Counter[tuple[Any, ...]]] = defaultdict(Counter)

    def tell(who: str, kind: str, one: Told, amount: int | None) -> None:
        told_of[who][kind, one.height, one.tx_id, None if amount is None else str(amount)] += 1

    for one in log.all:
        match one.event:
            case told.CapitalDeposited() as e:
                tell(e.provider, "DEPOSIT", one, e.amt)
            case told.CapitalWithdrawn() as e:
                tell(e.provider, "WITHDRAWAL", one, e.amt)
            case told.CapitalMovedIn() as e:
                tell(e.provider, "TIER_IN", one, e.amt)
            case told.CollateralLocked() as e:
                tell(e.provider, "COVER_BEGUN", one, None)
            case told.PayoutDebited() as e:
                tell(e.provider, "PAYOUT_DEBIT", one, e.amt)
            case told.PremiumEarned() as e:
                tell(e.provider, "PREMIUM_EARNED", one, e.amt)
            case told.YieldClaimed() as e:
                tell(e.provider, "YIELD_CLAIM", one, e.amt)
            case told.PolicyCreated() as e:
                tell(e.owner, "POLICY_CREATED", one, e.premium)
            case told.PolicySettledItm() as e:
                tell(e.owner, "POLICY_SETTLED_ITM", one, e.paid)
            case told.RewardClaimed() as e:
                tell(e.who, "REWARD_CLAIMED", one, e.amt)
            case told.PriceSubmitted() as e:
                tell(e.provider, "PRICE_SUBMITTED", one, None)
            case told.VoteCast() as e:
                tell(e.voter, "VOTE", one, e.power)
            case told.MarginCallIssued() as e:
                tell(e.provider, "MARGIN_CALL", one, e.deficit)
            case told.PositionLiquidated() as e:
                tell(e.provider, "ALLOCATION_LOST", one, e.paid)
                tell(e.taker, "ALLOCATION_TAKEN", one, e.paid)
    kinds = {kind for counter in told_of.values() for kind, *_ in counter}
    assert len(kinds) == 15
    for who, nodes in everything.items():
        found = Counter(
            (node["kind"], node["height"], node["txId"], node["amount"]) for node in nodes if node["kind"] in kinds
        )
        assert found == told_of[who], who
    with connect(recorded_url) as connection:
        calls = connection.execute(
            "SELECT x.sender, count(*) FROM clarion.transaction x JOIN clarion.canonical_block c "
            "ON c.chain = x.chain AND c.hash = x.block_hash WHERE x.contract LIKE %s AND x.function IS NOT NULL "
            "GROUP BY 1",
            (f"{DEPLOYER.address}.bh-%",),
        ).fetchall()
    shown = {who: sum(node["kind"] == "CALL" for node in nodes) for who, nodes in everything.items()}
    assert {who: count for who, count in calls if who in shown} == {who: n for who, n in shown.items() if n}
    assert any("abort" in (node["detail"] or "") for nodes in everything.values() for node in nodes)


async def test_activity_in_pages_is_the_whole_in_order(server: Server, log: Log) -> None:
    busiest = Counter(one.event.actor for one in log.all).most_common(2)
    for who, _ in busiest:
        whole = await all_activity(server, who, 500)
        assert await all_activity(server, who, 7) == whole
        assert [node["height"] for node in whole] == sorted((node["height"] for node in whole), reverse=True)
        some = await server.data(
            "query($who: String!) { activity(address: $who, first: 500, kinds: [VOTE, CALL]) "
            "{ nodes { kind height } } }",
            {"who": who},
        )
        assert some["activity"]["nodes"] == [
            {"kind": node["kind"], "height": node["height"]}
            for node in whole[: 10**6]
            if node["kind"] in ("VOTE", "CALL")
        ]
    bad = await server.error(
        '{ activity(address: "ST000000000000000000002AMW42H", after: "WyJwb2xpY3kiXQ") { nodes { kind } } }'
    )
    assert bad["extensions"]["code"] == "BAD_CURSOR"


async def test_a_statement_is_the_activity_oldest_first(server: Server, log: Log) -> None:
    who = Counter(e.provider for _, e in log.of(told.PositionEvent)).most_common(1)[0][0]
    answer = await server.client.get(f"/statements/{who}.csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    nodes = await all_activity(server, who, 500)

    assert answer.status_code == 200
    assert answer.headers["x-request-id"]
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["clarion-height"] == str(log.tip)
    assert int(answer.headers["clarion-rows"]) == len(rows) == len(nodes)
    assert [(row["kind"].replace("-", "_").upper(), row["amount"] or None, row["tx_id"] or None) for row in rows] == [
        (node["kind"], node["amount"], node["txId"]) for node in reversed(nodes)
    ]
    assert {row["decimals"] for row in rows if row["token"] == STX} == {"6"}

    day = await server.client.get(
        f"/statements/{who}.csv", params={"from": "2026-01-01", "to": "2026-01-02", "kinds": "DEPOSIT,payout-debit"}
    )
    chosen = list(csv.DictReader(io.StringIO(day.text)))
    assert chosen == [row for row in rows if row["kind"] in ("deposit", "payout-debit") and row["time"] < "2026-01-02"]
    assert 0 < len(chosen) < len(rows)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nobody.csv", "no address"),
        (f"{STX}.csv?kinds=theft", "no kind"),
        (f"{STX}.csv?from=yesterday", "ISO 8601"),
        (f"{STX}.csv?form=2026-01-01", "no parameter"),
    ],
)
async def test_a_statement_that_means_nothing_is_refused(server: Server, path: str, says: str) -> None:
    answer = await server.client.get(f"/statements/{path}")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["requestId"] == answer.headers["x-request-id"]
    assert says in error["message"]


# As of a block

VIEWS = """{
  price(asset: "BTC") { round ageBurn isFresh }
  candles(asset: "BTC", interval: HOUR) { start closeUsd8 }
  volatility(asset: "STX") { annualBp contractAnnualBp }
  oracleStatus(asset: "BTC") { isStale rounds openSubmissions providers { provider missed lastRound } }
  pool(token: "TOKEN") { owed whole { capital providers yields { apyBp toBurn } } tiers { tier capital } }
  poolHistory(token: "TOKEN", interval: HOUR) { start height locked apyBp }
  tierStats { tier token capital yields { netApyBp } }
  tierAvailability(type: "put", strikeUsd8: "9500000000000", durationBurn: 20) { tier tokens { coverableUsd8 } }
  protocolStatus { stopped modules { module } }
  platformAnalytics(interval: HOUR) { start newPolicies activeAccounts tokens { token payouts } }
  systemHealth { state checks { name detail } }
  portfolio(address: "WHO") { provider { valueUsd8 income { token claimable } policies { total } } owner { total } }
  yieldEstimate(token: "TOKEN", amount: "1000000", tier: "balanced", days: 5) { earned realised { apyBp } }
  policyRisk(id: 3) { blocksLeft coverBp bsValueUsd8 }
  portfolioRisk(address: "WHO") { liabilityUsd8 stress { dueUsd8 netUsd8 } }
  votingPower(address: "WHO") { power totalPower }
  govStats { stakers votes }
  claimableRewards(address: "WHO") { rewards { epoch claimable } unexplained { epoch } }
  activity(address: "WHO", first: 20) { nodes { kind height burnHeight detail } pageInfo { hasNextPage endCursor } }
  policies(first: 200) { nodes { daysLeft pnlUsd8 } }
}"""


@pytest.mark.parametrize("upto", [120, pytest.param(2160, marks=pytest.mark.slow)])
async def test_views_as_of_a_block_are_those_of_an_index_that_ends_there(
    server: Server, log: Log, recorded_url: str, empty_database_url: str, upto: int
) -> None:
    who = Counter(e.provider for _, e in log.of(told.CollateralLocked)).most_common(1)[0][0]
    document = VIEWS.replace("TOKEN", STX).replace("WHO", who)
    migrate(empty_database_url)
    with connect(recorded_url) as connection, connect(empty_database_url, autocommit=True) as other:
        canonical = connection.execute("SELECT hash FROM clarion.canonical_block ORDER BY height").fetchall()
        blocks = chain_log.load(connection, "stacks", [block_hash for (block_hash,) in canonical[:upto]])
        store = Store(other, "stacks", [DEPLOYED])
        store.open()
        with store.batch() as batch:
            for block in blocks:
                batch.append(block)
                batch.apply(block)
    app = make_app(empty_database_url, protocols=[protocol], deployed={"bithedge": DEPLOYED}, graphql=NO_CACHE)
    async with answering(app) as shorter:
        then = await server.data(f"query @asOf(height: {blocks[-1].height}) {document}")
        assert then == await shorter.data(document)


@pytest.mark.parametrize("address", ["zz", "", "ST000000000000000000002AMW42J", "ST000000000000000000002AMW42H.!"])
@pytest.mark.parametrize(
    "query",
    [
        "portfolio(address: $who) { owner { total } }",
        "portfolioRisk(address: $who) { liabilityUsd8 }",
        "withdrawable(address: $who) { tier }",
        "votingPower(address: $who) { power }",
        "claimableRewards(address: $who) { rewards { program } }",
        "activity(address: $who) { nodes { kind } }",
        "trackedTransactions(sender: $who) { status }",
    ],
)
async def test_what_is_no_address_is_refused(server: Server, query: str, address: str) -> None:
    error = await server.error(f"query($who: String!) {{ {query} }}", {"who": address})

    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "is no address of an account or a contract" in error["message"]
