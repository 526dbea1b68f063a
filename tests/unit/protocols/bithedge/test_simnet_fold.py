"""A market on the machine that runs the contracts: the rows must be what the contracts' read-only functions say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any, Final

import pytest
from support.bithedge_rows import DEPLOYER, Folded
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet

from clarion.chains.stacks.clarity import (
    NONE,
    Bool,
    Buffer,
    List,
    Some,
    StringAscii,
    Tuple,
    UInt,
    Value,
    principal,
)
from clarion.protocols.bithedge import deployment, payoff, pricing
from clarion.protocols.bithedge.events import EVENTS
from clarion.protocols.bithedge.matching import Candidate, CapacityError, NoTierError, classify, match
from clarion.protocols.bithedge.tables import (
    Allocation,
    Asset,
    Claim,
    ContractSequence,
    ExpiryPrice,
    Exposure,
    FeeDiscount,
    FeeShares,
    Module,
    OracleProvider,
    Parameter,
    Policy,
    PolicyLock,
    Position,
    PriceRound,
    PriceSubmission,
    Provider,
    Role,
    Switch,
    Tier,
    TierPool,
    Token,
    TokenPool,
    WithdrawRequest,
    YieldBalance,
)
from clarion.protocols.bithedge.units import BurnBlocks, PolicyType, Sats, TokenAmount, Usd8
from clarion.store.rows import Row, RowType

GUARDIAN, STRANGER = ADDRESSES[1:3]
BUYERS = ADDRESSES[3:5]
FEEDERS = ADDRESSES[5:8]
PROVIDERS = (*ADDRESSES[8:10], *ADDRESSES[1:3])
STX = f"{DEPLOYER}.bh-stx"
TOKENS = (STX, SBTC)
TIERS = ("conservative", "balanced", "aggressive")
MODULE_DELAY: Final = 2_016
"""bh-registry MODULE-DELAY, in Bitcoin blocks."""
START: Final = {"BTC": Usd8(100_000 * 10**8), "STX": Usd8(2 * 10**8)}

MOVER = """
(define-public (move-allocation (policy uint) (from principal) (to principal)
    (terms {price: uint, bounty: uint, bounty-to: principal, penalty: uint, penalty-to: principal}))
  (contract-call? .bh-vault move-allocation policy from to terms))
"""
"""A liquidation module that moves allocations at any terms."""


def text(value: str) -> Value:
    return StringAscii(value)


class Market:
    """A deployed BitHedge and everything one can do with it; what the contracts refuse is counted, not hidden."""

    def __init__(self, simnet: Simnet, seed: int) -> None:
        self.simnet = simnet
        self.random = Random(seed)
        self.prices = dict(START)
        self.refused: Counter[tuple[str, int]] = Counter()
        self.quotes_checked = 0

    def open(self) -> None:
        """Deploy, bootstrap, and bring in capital and prices."""
        for who in ADDRESSES:
            self.simnet.ask(op="fund", who=who, ustx=str(10**15), sats=str(10**11))
        self.simnet.publish()
        self.simnet.deploy_source("mover", MOVER)
        steps = deployment.bootstrap(
            guardian=GUARDIAN,
            sbtc=SBTC,
            feeds=[deployment.FeedRow(asset, price, asset == "BTC") for asset, price in START.items()],
            feeders=[deployment.FeederRow(who, 1) for who in FEEDERS],
            parameters=deployment.FAST_BLOCKS,
        )
        for call in steps:
            self.simnet.must(call.contract, call.function, *call.arguments)
        code_hash = Buffer(hashlib.new("sha512_256", MOVER.encode()).digest())
        mover = principal(f"{DEPLOYER}.mover")
        self.simnet.must("bh-registry", "register-module", text("liquidation"), UInt(9), mover, code_hash)
        self.simnet.mine(MODULE_DELAY)
        self.simnet.must("bh-registry", "activate-module", text("liquidation"), UInt(9))
        for provider in PROVIDERS:
            for tier in TIERS:
                self.deposit(provider, tier, STX, 20_000 * 10**6)
                self.deposit(provider, tier, SBTC, 10**8)
        self.close_rounds()

    def attempt(self, contract: str, function: str, *arguments: Value, sender: str) -> Any:
        """Call something that the contracts may refuse; None where they do."""
        outcome = self.simnet.call(contract, function, *arguments, sender=sender)
        if outcome.code is not None:
            self.refused[function, outcome.code] += 1
            return None
        return outcome.value

    def deposit(self, who: str, tier: str, token: str, amount: int) -> None:
        self.simnet.must("bh-vault", "deposit", principal(token), text(tier), UInt(amount), sender=who)

    def submit(self, asset: str, price: int, feeders: tuple[str, ...] = FEEDERS) -> int:
        number: int = self.simnet.read("bh-oracle", "get-asset", text(asset))["next-round"]
        for feeder in feeders:
            off = max(1, price + price * self.random.randint(-20, 20) // 10_000)
            arguments = (text(asset), UInt(number), UInt(off), UInt(self.simnet.burn))
            self.attempt("bh-oracle", "submit-price", *arguments, sender=feeder)
        return number

    def close_rounds(self) -> None:
        """A round of every asset at about its price; a big move is confirmed by a second one."""
        for asset, price in self.prices.items():
            for _ in range(2):
                number = self.submit(asset, price)
                if self.attempt("bh-oracle", "close-round", text(asset), UInt(number), sender=STRANGER):
                    break

    def buy(self) -> None:
        """Some policy."""
        random = self.random
        style, token = random.choice(("european", "american")), random.choice(TOKENS)
        notional = Sats(random.randint(10_000, 5_000_000))
        if random.random() < 0.5:
            self.buy_policy("put", style, random.randint(6_900, 10_050), notional, token)
        else:
            self.buy_policy("call", style, random.randint(9_900, 13_100), notional, token)

    def buy_policy(self, kind: PolicyType, style: str, moneyness: int, notional: Sats, token_id: str) -> None:
        """A policy whose premium and allocations Python computes from the rows alone."""
        random, rows = self.random, self.simnet.folded
        asset, token = rows.one(Asset, "BTC"), rows.one(Token, token_id)
        assert asset is not None
        assert token is not None
        spot = Usd8(asset["price_usd8"])
        strike = Usd8(spot * moneyness // 10_000)
        expiry = self.simnet.burn + random.randint(2, 40)
        duration = BurnBlocks(expiry - self.simnet.burn)
        terms = (text(kind), text("BTC"), UInt(strike), UInt(notional), UInt(expiry), principal(token["token"]))
        buyer = random.choice(BUYERS)
        quote = self.simnet.read("bh-policy", "quote", *terms, principal(buyer))
        try:
            tier = classify([row(tier) for tier in rows.all(Tier)], kind, strike, spot, duration)
        except NoTierError:
            assert quote == {"err": 6009}
            return
        token_price = rows.one(Asset, token["asset"])
        assert token_price is not None
        assert quote["ok"] == self.expected_quote(kind, strike, notional, duration, tier, token, token_price, buyer)
        self.quotes_checked += 1
        need = Usd8(quote["ok"]["max-payout-usd8"])
        least = Usd8(self.parameter("min-allocation-usd8"))
        try:
            allocations = match(
                need,
                self.candidates(tier.name, token["token"], expiry),
                tier=tier,
                token=row(token),
                token_price=Usd8(token_price["price_usd8"]),
                least=least,
            )
        except CapacityError:
            return
        parts = [
            Tuple({"provider": principal(part.provider), "liability-usd8": UInt(part.liability)})
            for part in allocations
        ]
        self.simnet.must(
            "bh-policy",
            "create-policy",
            text(kind),
            text(style),
            *terms[1:5],
            UInt(quote["ok"]["premium"]),
            principal(token["token"]),
            List(tuple(parts)),
            sender=buyer,
        )

    def expected_quote(
        self,
        kind: PolicyType,
        strike: Usd8,
        notional: Sats,
        duration: BurnBlocks,
        tier: Any,
        token: dict[str, Any],
        token_price: dict[str, Any],
        buyer: str,
    ) -> dict[str, Any]:
        """What bh-policy's quote must say, from the rows."""
        rows = self.simnet.folded
        asset, fees = rows.one(Asset, "BTC"), rows.all(FeeShares)[0]
        pool = rows.one(TierPool, tier.name, token["token"]) or {"available": 0, "locked": 0}
        assert asset is not None
        volatility = pricing.annual_volatility_bp(
            asset["var_e12"], self.parameter("vol-min-bp"), self.parameter("vol-max-bp")
        )
        utilisation = pricing.utilisation_bp(pool["available"], pool["locked"])
        premium = pricing.premium_usd8(
            kind,
            spot=asset["price_usd8"],
            strike=strike,
            notional=notional,
            volatility=volatility,
            duration=duration,
            type_multiplier=self.parameter(f"{kind}-mult-bp"),
            tier_multiplier=tier.premium_mult_bp,
            utilisation_multiplier=pricing.utilisation_multiplier_bp(self.parameter("util-slope-bp"), utilisation),
            floor=self.parameter("premium-min-bp"),
        )
        discount = rows.one(FeeDiscount, buyer)
        parts = pricing.premium_parts(
            premium,
            token["decimals"],
            token_price["price_usd8"],
            fees["platform_bp"],
            fees["reserve_bp"],
            discount["discount_bp"] if discount else pricing.NO_DISCOUNT,
        )
        return {
            "tier": tier.name,
            "spot-usd8": asset["price_usd8"],
            "round": asset["last_round"],
            "token-price-usd8": token_price["price_usd8"],
            "token-round": token_price["last_round"],
            "vol-bp": volatility,
            "util-bp": utilisation,
            "premium-usd8": premium,
            "premium": parts.premium,
            "discount": parts.discount,
            "fee-platform": parts.platform,
            "fee-reserve": parts.reserve,
            "premium-provider": parts.provider,
            "max-payout-usd8": payoff.max_payout_usd8(kind, strike, notional, self.parameter("call-cap-bp")),
        }

    def parameter(self, key: str) -> Any:
        found = self.simnet.folded.one(Parameter, key)
        assert found is not None, key
        return found["value"]

    def candidates(self, tier: str, token: str, expiry: int) -> list[Candidate]:
        rows = self.simnet.folded
        found = []
        for position in rows.all(Position):
            if (position["tier"], position["token"]) == (tier, token):
                exposure = rows.one(Exposure, position["provider"], tier, token, expiry)
                provider = rows.one(Provider, position["provider"])
                assert provider is not None
                found.append(
                    Candidate(
                        provider=position["provider"],
                        available=TokenAmount(position["available"]),
                        requested=TokenAmount(position["requested"]),
                        locked=TokenAmount(position["locked"]),
                        liability=Usd8(position["liability_usd8"]),
                        exposure=TokenAmount(exposure["amount"] if exposure else 0),
                        since=position["first_deposit_height"],
                        auto_match=provider["auto_match"],
                    )
                )
        return found

    def settle_due(self) -> None:
        """Fix the prices of what has expired, and settle it: one by one, or in a batch."""
        rows = self.simnet.folded
        due = [
            policy
            for policy in rows.all(Policy)
            if policy["state"] == "active" and policy["expiry_burn"] <= self.simnet.burn
        ]
        if not due:
            return
        self.close_rounds()
        for expiry in {policy["expiry_burn"] for policy in due}:
            for asset in START:
                first = min(
                    (
                        round_["round"]
                        for round_ in rows.all(PriceRound)
                        if round_["asset"] == asset and round_["state"] == "closed" and round_["opened_burn"] >= expiry
                    ),
                    default=0,
                )
                self.attempt("bh-oracle", "fix-expiry-price", text(asset), UInt(expiry), UInt(first), sender=STRANGER)
        if self.random.random() < 0.5:
            for policy in due:
                arguments = (UInt(policy["id"]), principal(policy["token"]))
                self.attempt("bh-policy", "settle", *arguments, sender=STRANGER)
        else:
            items = [Tuple({"policy": UInt(row["id"]), "token": principal(row["token"])}) for row in due[:20]]
            self.attempt("bh-policy", "settle-many", List(tuple(items)), sender=STRANGER)

    def end_early(self, function: str) -> None:
        """Exercise, or cancel, some active policy."""
        active = [policy for policy in self.simnet.folded.all(Policy) if policy["state"] == "active"]
        if active:
            policy = self.random.choice(active)
            arguments = (UInt(policy["id"]), principal(policy["token"]))
            self.attempt("bh-policy", function, *arguments, sender=policy["owner"])

    def exercise(self) -> None:
        """An american PUT comes into the money and is exercised."""
        self.close_rounds()
        self.buy_policy("put", "american", 9_900, Sats(10_000), STX)
        policy = self.simnet.folded.all(Policy)[-1]
        self.simnet.mine()
        self.prices["BTC"] = Usd8(policy["spot_usd8"] * 96 // 100)
        self.close_rounds()
        self.simnet.must("bh-policy", "exercise", UInt(policy["id"]), principal(STX), sender=policy["owner"])

    def move_capital(self) -> None:
        """A provider deposits, asks back, takes out, claims, or stops and starts taking policies."""
        random, rows = self.random, self.simnet.folded
        who, tier, token = random.choice(PROVIDERS), random.choice(TIERS), random.choice(TOKENS)
        does = random.choice(("deposit", "request", "withdraw", "claim", "automatch", "tier"))
        if does == "deposit":
            self.deposit(who, tier, token, random.randint(1, 10**10 if token == STX else 10**7))
        elif does == "request":
            position = rows.one(Position, who, tier, token)
            most = position["available"] - position["requested"] if position else 0
            amount = UInt(random.randint(0, max(1, most // 2)))
            self.attempt("bh-vault", "request-withdraw", principal(token), text(tier), amount, sender=who)
        elif does == "withdraw":
            pending = [request for request in rows.all(WithdrawRequest) if request["state"] == "pending"]
            if pending:
                request = random.choice(pending)
                token_of = principal(request["token"])
                self.attempt("bh-vault", "withdraw", UInt(request["id"]), token_of, sender=request["provider"])
        elif does == "claim":
            self.attempt("bh-vault", "claim-yield", principal(token), sender=who)
        elif does == "tier":
            to, amount = random.choice(TIERS), UInt(random.randint(1, 10**10 if token == STX else 10**8))
            self.attempt("bh-vault", "change-tier", principal(token), text(tier), text(to), amount, sender=who)
        else:
            self.attempt("bh-vault", "set-auto-match", Bool(random.random() < 0.8), sender=who)

    def take_over(self) -> None:
        """Some allocation passes to some provider, at some price; that may be more than the vault lets it cost."""
        random, rows = self.random, self.simnet.folded
        active = [part for part in rows.all(Allocation) if part["state"] == "active"]
        if active:
            part = random.choice(active)
            most = part["collateral"]
            bounty, penalty = (random.randint(0, most * share // 10_000 + 1) for share in (100, 500))
            self.move(part, random.choice(PROVIDERS), random.randint(0, most), bounty, penalty)

    def move(self, allocation: dict[str, Any], to: str, price: int, bounty: int, penalty: int) -> Any:
        terms = {
            "price": UInt(price),
            "bounty": UInt(bounty),
            "bounty-to": principal(STRANGER),
            "penalty": UInt(penalty),
            "penalty-to": principal(f"{DEPLOYER}.bh-fund"),
        }
        arguments = (UInt(allocation["policy"]), principal(allocation["provider"]), principal(to), Tuple(terms))
        return self.attempt("mover", "move-allocation", *arguments, sender=STRANGER)

    def hand_over(self) -> None:
        """A policy's allocations all end with one provider, piece by piece; a provider changes tier."""
        self.prices = dict(START)
        self.close_rounds()
        self.buy_policy("put", "european", 9_500, Sats(3_000_000), STX)
        policy = self.simnet.folded.all(Policy)[-1]
        taker = PROVIDERS[0]
        amount = UInt(40_000 * 10**6)
        self.simnet.must("bh-vault", "deposit", principal(STX), text(policy["tier"]), amount, sender=taker)
        for part in self.simnet.folded.all(Allocation):
            if part["policy"] == policy["id"] and part["provider"] != taker:
                assert self.move(part, taker, 1_000, 30, 20) is not None, self.refused
        self.simnet.folded.assert_invariants()
        tiers = (text(policy["tier"]), text(next(tier for tier in TIERS if tier != policy["tier"])))
        must = self.simnet.must
        must("bh-vault", "change-tier", principal(STX), *tiers, UInt(5), sender=taker)
        request = must("bh-vault", "request-withdraw", principal(STX), tiers[0], UInt(5), sender=taker)
        self.simnet.mine()
        self.close_rounds()
        must("bh-vault", "withdraw", UInt(request), principal(STX), sender=taker)

    def move_prices(self) -> None:
        """Prices drift, and now and then jump."""
        for asset in self.prices:
            jump = self.random.random() < 0.1
            moved = self.random.randint(6_000, 15_000) if jump else self.random.randint(9_700, 10_300)
            self.prices[asset] = Usd8(max(10**7, min(10**15, self.prices[asset] * moved // 10_000)))

    def live(self, steps: int) -> None:
        """Let things happen."""
        for _ in range(steps):
            self.simnet.mine(self.random.randint(0, 3))
            self.move_prices()
            self.close_rounds()
            actions: list[Callable[[], None]] = [
                self.buy,
                self.buy,
                self.settle_due,
                self.move_capital,
                self.move_capital,
                self.take_over,
                self.take_over,
                partial(self.end_early, "exercise"),
                partial(self.end_early, "cancel"),
            ]
            for action in self.random.sample(actions, k=6):
                action()

    def crash(self) -> None:
        """BTC and STX fall so far that STX collateral cannot pay what is due."""
        self.prices = {"BTC": Usd8(self.prices["BTC"] // 3), "STX": Usd8(max(10**6, self.prices["STX"] // 10))}
        self.simnet.mine(45)
        self.close_rounds()
        self.settle_due()

    def govern(self) -> None:
        """Everything governance and the guardian can do."""
        must = self.simnet.must
        must("bh-treasury", "set-discount", principal(BUYERS[1]), UInt(2_500), UInt(2**40), NONE)
        must("bh-registry", "grant-role", text("arbiter"), principal(STRANGER), Some(UInt(2**127)))
        must("bh-registry", "grant-role", text("arbiter"), principal(BUYERS[0]), NONE)
        must("bh-registry", "revoke-role", text("arbiter"), principal(STRANGER))
        must(
            "bh-params",
            "add-param",
            text("test-param"),
            text("count"),
            UInt(5),
            UInt(0),
            UInt(2**128 - 1),
            Some(UInt(2**128 - 1)),
        )
        must("bh-params", "set-flag", text("cancel"), Bool(False), NONE)
        must("bh-params", "set-fees", UInt(8_000), UInt(1_500), UInt(500), Some(UInt(7)))
        must("bh-params", "trip-breaker", text("oracle"), text("feeds are dead"), sender=GUARDIAN)
        self.simnet.mine()
        for asset, price in self.prices.items():
            must("bh-oracle", "set-fallback", text(asset), UInt(price), text("no feed"), sender=GUARDIAN)
        must("bh-oracle", "cancel-fallback", text("STX"))
        self.simnet.mine(144)
        must("bh-oracle", "apply-fallback", text("BTC"), sender=STRANGER)
        must("bh-params", "reset-breaker", text("oracle"), Some(UInt(8)))
        must("bh-oracle", "set-provider", principal(STRANGER), UInt(3))
        must("bh-oracle", "set-provider", principal(FEEDERS[0]), UInt(0))
        must("bh-oracle", "set-provider", principal(FEEDERS[0]), UInt(2))
        must("bh-oracle", "set-asset", text("ETH"), Bool(True), UInt(4_000 * 10**8), Bool(True))
        self.submit("BTC", self.prices["BTC"], FEEDERS[:1])
        self.simnet.mine(150)
        number = self.simnet.read("bh-oracle", "get-asset", text("BTC"))["next-round"]
        must("bh-oracle", "close-round", text("BTC"), UInt(number), sender=STRANGER)

    def collect(self) -> None:
        """The treasury, the fund and the providers take what is theirs; the fund covers part of what is unpaid."""
        must = self.simnet.must
        must("bh-oracle", "set-provider", principal(STRANGER), UInt(0))
        self.close_rounds()
        for token in TOKENS:
            for contract in ("bh-treasury", "bh-fund"):
                must(contract, "collect", principal(token), sender=STRANGER)
            wealth = 10**13 if token == STX else 10**10
            must("bh-fund", "capitalize", principal(token), UInt(wealth), sender=STRANGER)
            for tier in TIERS:
                must("bh-fund", "set-coverage", text(tier), principal(token), UInt(wealth // 10), UInt(0), NONE)
        for balance in self.simnet.folded.all(YieldBalance):
            if balance["claimable"] and balance["provider"] in ADDRESSES:
                must("bh-vault", "claim-yield", principal(balance["token"]), sender=balance["provider"])
            elif balance["claimable"]:
                must("bh-fund", "claim-yield", principal(balance["token"]), sender=STRANGER)
        owed = [policy for policy in self.simnet.folded.all(Policy) if policy["unpaid_usd8"]]
        assert owed, "no policy was left unpaid"
        for place, policy in enumerate(owed):
            number, owner = UInt(policy["id"]), policy["owner"]
            must("bh-policy", "open-claim", number, Buffer(bytes([place]) * 32), sender=owner)
            approved = UInt(policy["unpaid_usd8"] // (place + 1) if place % 3 < 2 else 0)
            must("bh-policy", "resolve-claim", number, approved, Buffer(bytes(32)), sender=BUYERS[0])
        for policy in owed:
            arguments = (UInt(policy["id"]), principal(policy["token"]))
            must("bh-fund", "cover-shortfall", *arguments, sender=STRANGER)


def row(columns: dict[str, Any]) -> Any:
    """A row as an object with attributes, as projections and queries have it."""
    return SimpleNamespace(**columns)


def compare(simnet: Simnet) -> int:
    """Hold every row against what the contracts say; gives how many were."""
    rows, read = simnet.folded, simnet.read
    compared = 0

    def same(actual: Any, expected: Any) -> None:
        nonlocal compared
        assert actual == expected
        compared += 1

    for sequence in rows.all(ContractSequence):
        same(read(sequence["contract"].partition(".")[2], "get-seq"), sequence["last_seq"])
    for role in rows.all(Role):
        given = read("bh-registry", "get-role", text(role["role"]), principal(role["who"]))
        same(given, {"until-burn": role["until_burn"]})
    for module in rows.all(Module):
        given = read("bh-registry", "get-module", text(module["module"]), UInt(module["version"]))
        same(given, kebab(module, "contract", "code_hash", "state", "active_from_burn"))
        active = read("bh-registry", "get-active-version", text(module["module"]))
        same(active == module["version"], module["state"] == "active")
    for parameter in rows.all(Parameter):
        given = read("bh-params", "get-param-row", text(parameter["key"]))
        same(given, kebab(parameter, "kind", "value", "min", "max"))
    for switch in rows.all(Switch):
        name = text(switch["name"])
        same(read("bh-params", "get-flag", name), switch["flag"])
        breaker = kebab(switch, "tripped", "since_burn") | {"reason": switch["reason"] or ""}
        same(read("bh-params", "get-breaker", name), breaker)
        same(read("bh-params", "is-open", name), switch["is_open"])
    tiers = sorted(rows.all(Tier), key=lambda tier: tier["rank"])
    same(read("bh-params", "get-tier-names"), [tier["name"] for tier in tiers])
    for tier in tiers:
        same(read("bh-params", "get-tier", text(tier["name"])), kebab(tier, but=("name", "rank")))
    for token in rows.all(Token):
        same(read("bh-params", "get-token", principal(token["token"])), kebab(token, but=("token",)))
    same([read("bh-params", "get-fees")], [kebab(fees, but=("contract",)) for fees in rows.all(FeeShares)])
    compared += compare_oracle(simnet) + compare_vault(simnet)
    policies = rows.all(Policy)
    same(read("bh-policy", "get-last-policy"), max(policy["id"] for policy in policies))
    for policy in policies:
        given = read("bh-policy", "get-policy", UInt(policy["id"]))
        # blocks of the fold are not the machine's
        given.pop("created-stacks")
        same(given, kebab(policy, *(name.replace("-", "_") for name in given)))
        claim = rows.one(Claim, policy["id"])
        names = ("state", "unpaid_usd8", "approved_usd8", "opened_burn", "resolved_burn", "reason_hash")
        expected = claim and kebab(claim, *names, "resolution_hash") | {"resolved-burn": claim["resolved_burn"] or 0}
        same(read("bh-policy", "get-claim", UInt(policy["id"])), expected)
        allowed = claim["approved_usd8"] - claim["unpaid_usd8"] + policy["unpaid_usd8"] if claim else 0
        same(read("bh-policy", "claim-allowance", UInt(policy["id"])), max(0, allowed))
    return compared


def compare_oracle(simnet: Simnet) -> int:
    rows, read = simnet.folded, simnet.read
    compared = 0

    def same(actual: Any, expected: Any) -> None:
        nonlocal compared
        assert actual == expected
        compared += 1

    providers = rows.all(OracleProvider)
    for provider in providers:
        same(read("bh-oracle", "get-provider-weight", principal(provider["provider"])), provider["weight"])
    same(read("bh-oracle", "get-total-weight"), sum(provider["weight"] for provider in providers))
    for asset in rows.all(Asset):
        name = text(asset["asset"])
        fallback = ("fallback_usd8", "fallback_from_burn", "fallback_reason")
        same(read("bh-oracle", "get-asset", name), kebab(asset, but=("asset", *fallback)))
        expected = {"price-usd8": asset["fallback_usd8"], "from-burn": asset["fallback_from_burn"]}
        same(read("bh-oracle", "get-fallback", name), expected if asset["fallback_usd8"] else None)
        volatility = pricing.annual_volatility_bp(
            asset["var_e12"],
            *(rows.one(Parameter, f"vol-{bound}-bp")["value"] for bound in ("min", "max")),  # type: ignore[index]
        )
        same(read("bh-oracle", "get-volatility-bp", name), {"ok": volatility})
    for round_ in rows.all(PriceRound):
        key = (text(round_["asset"]), UInt(round_["round"]))
        zero = dict.fromkeys(("price_usd8", "closed_burn", "prev_round", "prev_opened_burn"), 0)
        known = zero | {name: value for name, value in round_.items() if value is not None}
        given = read("bh-oracle", "get-round", *key)
        same(given, kebab(known, *(name.replace("-", "_") for name in given)))
        submissions = [
            kebab(part, "provider", "price_usd8", "weight")
            for part in sorted(rows.all(PriceSubmission), key=lambda part: (part["price_usd8"], part["place"]))
            if (part["asset"], part["round"]) == (round_["asset"], round_["round"])
        ]
        same(read("bh-oracle", "get-submissions", *key), submissions)
    for price in rows.all(ExpiryPrice):
        given = read("bh-oracle", "get-expiry-price", text(price["asset"]), UInt(price["expiry_burn"]))
        same(given, kebab(price, "round", "price_usd8"))
    return compared


def compare_vault(simnet: Simnet) -> int:
    rows, read = simnet.folded, simnet.read
    compared = 0

    def same(actual: Any, expected: Any) -> None:
        nonlocal compared
        assert actual == expected
        compared += 1

    for provider in rows.all(Provider):
        same(read("bh-vault", "is-auto-match", principal(provider["provider"])), provider["auto_match"])
    for position in rows.all(Position):
        key = (principal(position["provider"]), text(position["tier"]), principal(position["token"]))
        expected = kebab(position, "available", "locked", "requested", "liability_usd8")
        same(read("bh-vault", "get-position", *key), expected)
        same(read("bh-vault", "get-arrival", *key), position["arrived_height"] or 0)
    expiries = {lock["expiry_burn"] for lock in rows.all(PolicyLock)}
    for position in rows.all(Position):
        names = (position["provider"], position["tier"], position["token"])
        key = (principal(names[0]), text(names[1]), principal(names[2]))
        for expiry in expiries:
            exposure = rows.one(Exposure, *names, expiry)
            same(read("bh-vault", "get-exposure", *key, UInt(expiry)), exposure["amount"] if exposure else 0)
    for balance in rows.all(YieldBalance):
        given = read("bh-vault", "get-yield", principal(balance["provider"]), principal(balance["token"]))
        same(given, balance["claimable"])
    for pool in rows.all(TierPool):
        given = read("bh-vault", "get-pool", text(pool["tier"]), principal(pool["token"]))
        same(given, kebab(pool, "available", "locked"))
    for pool in rows.all(TokenPool):
        token = principal(pool["token"])
        buckets = kebab(pool, "available", "locked", "unearned", "platform_fees", "reserve_fees")
        same(read("bh-vault", "get-buckets", token), buckets | {"yield": pool["yield_payable"]})
        balance_of = f"(contract-call? '{pool['token']} get-balance '{DEPLOYER}.bh-vault)"
        same(simnet.evaluate(balance_of), {"ok": rows.owed(pool["token"])})
    for request in rows.all(WithdrawRequest):
        given = read("bh-vault", "get-request", UInt(request["id"]))
        expected = kebab(request, "provider", "tier", "token", "unlock_burn") | {"amt": request["amount"]}
        same(given, expected if request["state"] == "pending" else None)
    for lock in rows.all(PolicyLock):
        given = read("bh-vault", "get-lock", UInt(lock["policy"]))
        if lock["state"] == "closed":
            same(given, None)
            continue
        expected = kebab(lock, "module", "tier", "token", "expiry_burn", "collateral", "max_payout_usd8")
        allocations = [
            kebab(part, "provider", "collateral", "liability_usd8")
            for part in sorted(rows.all(Allocation), key=lambda part: part["place"])
            if part["policy"] == lock["policy"] and part["state"] == "active"
        ]
        same(given, expected | {"premium": lock["premium_provider"], "allocations": allocations})
    return compared


def kebab(columns: dict[str, Any], *names: str, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Columns under the names that the contracts give them."""
    chosen = names or tuple(name for name in columns if name not in but)
    return {name.replace("_", "-"): columns[name] for name in chosen}


@pytest.mark.parametrize(("seed", "steps"), [(3, 5), pytest.param(2, 40, marks=pytest.mark.slow)])
def test_rows_are_what_the_contracts_say(simnet: Simnet, seed: int, steps: int) -> None:
    market = Market(simnet, seed)
    market.open()
    market.live(steps)
    market.exercise()
    simnet.folded.assert_invariants()
    market.hand_over()
    market.crash()
    market.govern()
    market.collect()
    assert compare(simnet) > 400
    rows = simnet.folded
    rows.assert_invariants()
    assert market.quotes_checked > steps // 3
    assert {"settled-itm", "expired-otm", "cancelled", "exercised"} <= {policy["state"] for policy in rows.all(Policy)}
    printed = {(contract.partition(".")[2], value["topic"]) for contract, value in simnet.printed}
    assert {event for event in EVENTS if event[0] in ("bh-oracle", "bh-vault", "bh-policy")} <= printed
    begun_late(simnet.printed, rows)


def begun_late(printed: list[tuple[str, Any]], whole: Folded) -> None:
    """An index that begins in the middle is right about what the events' images say, and says what it lacks."""
    for start in range(1, len(printed), len(printed) // 7):
        late = Folded()
        for event in printed[start:]:
            late.block([event])
        assert any(row["first_seq"] > 1 for row in late.all(ContractSequence))
        for table, columns in (
            (Position, ("available", "locked", "requested", "liability_usd8")),
            (YieldBalance, ("claimable",)),
            (Exposure, ("amount",)),
            (Asset, ("price_usd8", "next_round")),
            (Parameter, ("value",)),
        ):
            for seen in late.all(table):
                known = whole.one(table, *(seen[name] for name in keys(table)))
                assert known is not None
                moved = {name: seen[name] for name in columns if seen[name] != known[name]}
                assert not moved or (table is Asset and not seen["last_round"]), (start, seen, known)


def keys(table: type[Row]) -> tuple[str, ...]:
    return RowType(table).key_columns
