"""The part of the cast around the insurance fund: a gambler at the edge, a punter who buys from him, and a steward.

The gambler covers as much as his positions can, so that a small fall of a price brings margin calls: his STX position
lies behind two policies of half its size each, his sBTC behind a call deep in the money in a tier that asks for no
margin. The steward calls on him, has his allocations taken over, keeps the fund filled, pays what stays unpaid, and
decides claims. Everything follows from what the contracts say at one tip.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Any, Final

from clarion.chains.stacks.clarity import (
    Bool,
    Buffer,
    OptionalNone,
    StringAscii,
    Tuple,
    UInt,
    Value,
    principal,
)
from clarion.dev.accounts import Cast
from clarion.dev.amounts import tokens
from clarion.dev.calls import SBTC_TOKEN, BitHedgeCalls, Call, Cover, PolicyTerms
from clarion.dev.world import PolicyView, PositionView, World, WorldReader

TIER: Final = "aggressive"
DARING: Final = "daring"
DARING_TIER: Final = {
    "strike-min-bp": 10_001,
    "strike-max-bp": 12_001,
    "max-duration-burn": 144,
    "premium-mult-bp": 5_000,
    "ratio-min-bp": 10_000,
    "ratio-warn-bp": 10_000,
    "max-policy-bp": 10_000,
    "max-expiry-bp": 10_000,
}
"""Takes calls whose strike lies up to a fifth below the price, at their maximum payout and not a cent more."""
GAMBLE_STX: Final = 12_000 * 10**6
GAMBLE_SATS: Final = 2_000_000
STEWARD_STX: Final = 60_000 * 10**6
FUND_STX: Final = 100_000 * 10**6
FUND_CAPITAL_STX: Final = 60_000 * 10**6
FUND_SATS: Final = 20_000_000
COVER_STX: Final = 10_000 * 10**6
COVER_SATS: Final = 10_000_000
MAX_LIABILITY_USD8: Final = 10**6 * 10**8
RECOVERY_STX: Final = 300 * 10**6
RECOVERY_PART_STX: Final = 100 * 10**6
RECOVERY_BLOCKS: Final = 10_000
PART_BP: Final = 4_950
"""What one policy binds of the gambler's STX; the tier allows half."""
DARING_STRIKE_PERCENT: Final = 85
LONG_BLOCKS: Final = 20
SHORT_BLOCKS: Final = 6
SLIPPAGE_PERCENT: Final = 5
BP: Final = 10_000


async def has_insurance(reader: WorldReader, calls: BitHedgeCalls) -> bool:
    """Whether the setup has been mined, by the last thing that it does."""
    plan: Any = await reader.ask("bh-fund", "get-plan", UInt(1))
    return plan is not None


def insurance_setup(cast: Cast, calls: BitHedgeCalls) -> list[Call]:
    """What governance does so that this part of the cast can act."""

    def govern(contract: str, function: str, *arguments: Value, what: str) -> Call:
        return calls.call(cast.deployer, contract, function, *arguments, note=f"{cast.deployer.name} {what}")

    def give(token: str, amount: int) -> Call:
        note = f"{cast.deployer.name} gives the fund {tokens(token, amount)}"
        gift = (principal(token), UInt(amount))
        return calls.pay(cast.deployer, "bh-fund", "capitalize", *gift, token=token, amount=amount, note=note)

    none, steward = OptionalNone(), principal(cast.steward.address)
    tier = Tuple({**{name: UInt(value) for name, value in DARING_TIER.items()}, "active": Bool(True)})
    stx, sbtc = principal(calls.stx_token), principal(SBTC_TOKEN)
    most = UInt(MAX_LIABILITY_USD8)
    return [
        *(
            govern("bh-registry", "grant-role", StringAscii(role), steward, none, what=f"makes the steward {role}")
            for role in ("fund-manager", "arbiter")
        ),
        govern("bh-params", "set-tier", StringAscii(DARING), tier, none, what=f"adds tier {DARING}"),
        # first the money: a fund that promises more than it has stops new policies
        give(calls.stx_token, FUND_STX),
        give(SBTC_TOKEN, FUND_SATS),
        govern(
            "bh-fund", "set-coverage", StringAscii(TIER), stx, UInt(COVER_STX), most, none, what=f"promises to {TIER}"
        ),
        govern(
            "bh-fund",
            "set-coverage",
            StringAscii(DARING),
            sbtc,
            UInt(COVER_SATS),
            UInt(0),
            none,
            what=f"promises to {DARING}",
        ),
        govern(
            "bh-fund",
            "start-recovery",
            stx,
            UInt(RECOVERY_STX),
            UInt(RECOVERY_BLOCKS),
            none,
            what="asks for contributions to the fund",
        ),
    ]


class Insurance:
    """Decides what steward, gambler and punter send next, at most one call each."""

    def __init__(self, cast: Cast, calls: BitHedgeCalls, reader: WorldReader) -> None:
        self._cast = cast
        self._calls = calls
        self._reader = reader
        self._fund = calls.contract("bh-fund")

    async def plan(self, world: World, busy: Collection[str]) -> list[Call]:
        """The calls that are due. Accounts in ``busy`` (addresses) wait.

        Raises:
            NodeError: the node cannot be reached or a read-only call failed.
        """
        if any(view.priced_burn < 0 for view in world.assets.values()):
            return []
        wishes = {
            self._cast.steward.address: self._steward,
            self._cast.gambler.address: self._gambler,
            self._cast.punter.address: self._punter,
        }
        found = [await wish(world) for who, wish in wishes.items() if who not in busy]
        return [call for call in found if call is not None]

    async def _steward(self, world: World) -> Call | None:
        return (
            await self._fill(world)
            or await self._margin(world, TIER, self._calls.stx_token)
            or await self._margin(world, DARING, SBTC_TOKEN)
            or await self._owed(world)
            or await self._income(world)
        )

    async def _gambler(self, world: World) -> Call | None:
        gambler = self._cast.gambler
        for tier, token, stake in ((TIER, self._calls.stx_token, GAMBLE_STX), (DARING, SBTC_TOKEN, GAMBLE_SATS)):
            position = await self._position(tier, token)
            if position.liability_usd8 == 0 and position.available < stake:
                return self._calls.deposit(gambler, token, tier, stake - position.available)
        call = await self._call(TIER, self._calls.stx_token)
        policies = self._policies(world, TIER)
        if call and call["level"] == "hard" and policies and call["call"] % 3 == 0:
            number = policies[0].number
            note = f"{gambler.name} gives the fund policy {number}"
            return self._calls.call(gambler, "bh-liquidation", "self-liquidate", UInt(number), note=note)
        return None

    async def _punter(self, world: World) -> Call | None:
        punter = self._cast.punter
        for policy in world.owed:
            if policy.owner == punter.address and _claims(policy) and await self._claim(policy) is None:
                note = f"{punter.name} claims what policy {policy.number} lacks"
                arguments = (UInt(policy.number), _reason("claim", policy))
                return self._calls.call(punter, "bh-policy", "open-claim", *arguments, note=note)
        bought = None
        if await self._call(TIER, self._calls.stx_token) is None and len(self._policies(world, TIER)) < 2:
            bought = await self._gamble(world)
        if bought is None and not self._policies(world, DARING):
            bought = await self._dare(world)
        return bought

    async def _gamble(self, world: World) -> Call | None:
        """Half of the gambler's STX behind a policy of 20 blocks, each of another expiry."""
        position = await self._position(TIER, self._calls.stx_token)
        capital = position.available + position.locked
        if capital < GAMBLE_STX * 9 // 10:
            return None
        taken = {policy.expiry_burn for policy in self._policies(world, TIER)}
        expiry = next(burn for burn in range(world.burn_height + LONG_BLOCKS, 2**31) if burn not in taken)
        strike = world.assets["BTC"].price_usd8 * 98 // 100 // 10**8 * 10**8
        tier_row = await self._reader.ask("bh-params", "get-tier", StringAscii(TIER))
        token_row = await self._reader.ask("bh-params", "get-token", principal(self._calls.stx_token))
        worth = capital * PART_BP // BP * world.assets["STX"].price_usd8 // 10 ** token_row["decimals"]
        liability = worth * (BP - token_row["haircut-bp"]) // tier_row["ratio-min-bp"]
        terms = PolicyTerms(
            type="put",
            style="european",
            asset="BTC",
            strike_usd8=strike,
            notional_sat=liability * 10**8 // strike,
            expiry_burn=expiry,
            token=self._calls.stx_token,
        )
        return await self._buy(terms, TIER)

    async def _dare(self, world: World) -> Call | None:
        """The gambler's sBTC behind a call that pays its whole maximum unless BTC falls."""
        position = await self._position(DARING, SBTC_TOKEN)
        strike = world.assets["BTC"].price_usd8 * DARING_STRIKE_PERCENT // 100 // 10**8 * 10**8
        cap = (await self._reader.ask("bh-params", "get-param", StringAscii("call-cap-bp")))["ok"]
        liability = (position.available - position.requested) * world.assets["BTC"].price_usd8 // 10**8 * 99 // 100
        terms = PolicyTerms(
            type="call",
            style="european",
            asset="BTC",
            strike_usd8=strike,
            notional_sat=liability * 10**8 * BP // (strike * cap),
            expiry_burn=world.burn_height + SHORT_BLOCKS,
            token=SBTC_TOKEN,
        )
        return await self._buy(terms, DARING)

    async def _buy(self, terms: PolicyTerms, tier: str) -> Call | None:
        punter = self._cast.punter
        quote = await self._reader.quote(terms, punter)
        if quote is None or quote["tier"] != tier:
            return None
        most = quote["premium"] * (100 + SLIPPAGE_PERCENT) // 100 + 1
        cover = [Cover(self._cast.gambler.address, quote["max-payout-usd8"])]
        return self._calls.create_policy(punter, terms, most, cover)

    async def _fill(self, world: World) -> Call | None:
        """Money for the fund, capital for its position and for the steward's own."""
        stx, steward = self._calls.stx_token, self._cast.steward
        for token, least in ((stx, FUND_STX), (SBTC_TOKEN, FUND_SATS)):
            holding = await self._reader.ask("bh-fund", "get-holding", principal(token))
            capital = await self._reader.position(self._fund, TIER, token)
            short = least - holding["balance"] - capital.available - capital.locked
            if short > least // 10:
                note = f"{steward.name} gives the fund {tokens(token, short)}"
                gift = (principal(token), UInt(short))
                return self._calls.pay(steward, "bh-fund", "capitalize", *gift, token=token, amount=short, note=note)
            room = holding["balance"] - holding["cover"]
            if token == stx and capital.available + capital.locked == 0 and room >= FUND_CAPITAL_STX:
                note = f"{steward.name} puts {tokens(token, FUND_CAPITAL_STX)} of the fund into {TIER}"
                arguments = (principal(token), StringAscii(TIER), UInt(FUND_CAPITAL_STX))
                return self._calls.call(steward, "bh-fund", "allocate", *arguments, note=note)
        own = await self._reader.position(steward.address, TIER, stx)
        if own.available + own.locked < STEWARD_STX // 2:
            return self._calls.deposit(steward, stx, TIER, STEWARD_STX)
        return None

    async def _margin(self, world: World, tier: str, token: str) -> Call | None:
        """The next step of the gambler's margin call, if one is due."""
        key = (principal(self._cast.gambler.address), StringAscii(tier), principal(token))
        answer = await self._reader.ask("bh-liquidation", "get-health", *key)
        health, call = answer.get("ok"), await self._call(tier, token)
        steward = self._cast.steward
        if health is None:
            return None

        def step(function: str, what: str) -> Call:
            note = f"{steward.name} {what} in {tier}"
            return self._calls.call(steward, "bh-liquidation", function, *key, note=note)

        if call is None:
            return None if health["is-healthy"] else step("issue-margin-call", "calls on the gambler")
        if health["is-healthy"]:
            return step("resolve-margin-call", "ends the gambler's call")
        is_over = world.burn_height > call["deadline-burn"]
        if call["level"] == "soft":
            return step("escalate", "presses the gambler") if health["is-under"] or is_over else None
        if tier == TIER and health["round"] > call["round"] and (health["is-insolvent"] or is_over):
            return self._liquidate(world)
        return None

    def _liquidate(self, world: World) -> Call | None:
        """To the fund, or to the steward's own position."""
        lasting = [policy for policy in self._policies(world, TIER) if policy.expiry_burn > world.burn_height + 2]
        if not lasting:
            return None
        number, steward = lasting[0].number, self._cast.steward
        taker = self._fund if number % 2 else steward.address
        arguments = (UInt(number), principal(self._cast.gambler.address), principal(taker), UInt(0))
        note = f"{steward.name} has the gambler's part of policy {number} taken over"
        return self._calls.call(steward, "bh-liquidation", "liquidate", *arguments, note=note)

    async def _owed(self, world: World) -> Call | None:
        """Decides a claim, or has the fund pay."""
        steward = self._cast.steward
        for policy in world.owed:
            claim = await self._claim(policy)
            if claim and claim["state"] == "open":
                approved = policy.unpaid_usd8 * (policy.number % 4) // 2
                approved = min(approved, policy.unpaid_usd8)
                arguments = (UInt(policy.number), UInt(approved), _reason("decision", policy))
                note = f"{steward.name} decides the claim on policy {policy.number}"
                return self._calls.call(steward, "bh-policy", "resolve-claim", *arguments, note=note)
            if claim is None and _claims(policy):
                continue
            key = (UInt(policy.number), principal(policy.token))
            is_paid = await self._reader.ask("bh-fund", "get-payment", *key)
            cover = await self._reader.ask("bh-fund", "get-cover", StringAscii(policy.tier), principal(policy.token))
            if not is_paid and cover["left"] and policy.unpaid_usd8 * 10**8 >= world.assets["BTC"].price_usd8:
                note = f"{steward.name} has the fund pay the owner of policy {policy.number}"
                return self._calls.call(steward, "bh-fund", "cover-shortfall", *key, note=note)
        return None

    async def _income(self, world: World) -> Call | None:
        """What waits for the fund elsewhere, its recovery plan, and its capital's way back, each now and then."""
        stx, steward = principal(self._calls.stx_token), self._cast.steward

        def fund(function: str, *arguments: Value, what: str) -> Call:
            return self._calls.call(steward, "bh-fund", function, *arguments, note=f"{steward.name} {what}")

        for request in world.requests:
            if request.provider == self._fund and request.unlock_burn <= world.burn_height:
                return fund("release", UInt(request.number), principal(request.token), what="takes capital back")
        turn = world.height % 40
        if turn == 5:
            plan = await self._reader.ask("bh-fund", "get-plan", UInt(1))
            if plan["state"] == "open" and plan["raised"] >= plan["target"]:
                return fund("complete-recovery", UInt(1), what="ends the fund's recovery plan")
            if plan["state"] == "open":
                part = min(RECOVERY_PART_STX, plan["target"] - plan["raised"])
                note = f"{steward.name} contributes {tokens(self._calls.stx_token, part)}"
                gift = (UInt(1), stx, UInt(part))
                return self._calls.pay(
                    steward, "bh-fund", "contribute", *gift, token=self._calls.stx_token, amount=part, note=note
                )
        if turn == 10:
            buckets = await self._reader.ask("bh-vault", "get-buckets", stx)
            if buckets["reserve-fees"]:
                return fund("collect", stx, what="collects the fund's fees")
        if turn == 15 and await self._reader.ask("bh-vault", "get-yield", principal(self._fund), stx):
            return fund("claim-yield", stx, what="collects the fund's yield")
        if turn == 20 and await self._reader.ask("bh-treasury", "get-share", principal(self._fund), stx):
            return fund("claim-share", stx, what="collects the fund's share of the treasury")
        if turn == 25:
            capital = await self._reader.position(self._fund, TIER, self._calls.stx_token)
            if capital.free and not capital.requested:
                arguments = (stx, StringAscii(TIER), UInt(capital.free // 100))
                return fund("request-release", *arguments, what="asks some of the fund's capital back")
        return None

    def _policies(self, world: World, tier: str) -> list[PolicyView]:
        """The punter's live policies of a tier, by number."""
        return [policy for policy in world.policies if (policy.owner, policy.tier) == (self._cast.punter.address, tier)]

    async def _position(self, tier: str, token: str) -> PositionView:
        return await self._reader.position(self._cast.gambler.address, tier, token)

    async def _call(self, tier: str, token: str) -> Any:
        key = (principal(self._cast.gambler.address), StringAscii(tier), principal(token))
        return await self._reader.ask("bh-liquidation", "get-call", *key)

    async def _claim(self, policy: PolicyView) -> Any:
        return await self._reader.ask("bh-policy", "get-claim", UInt(policy.number))


def _claims(policy: PolicyView) -> bool:
    """Whether the punter opens a claim before the fund pays."""
    return policy.number % 2 == 0


def _reason(what: str, policy: PolicyView) -> Buffer:
    """The hash of a text that a claim or its decision would give."""
    return Buffer(hashlib.sha256(f"{what} on policy {policy.number}".encode()).digest())
