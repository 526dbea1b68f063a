"""A vault in Python that prints what BitHedge's contracts would."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clarion.protocols.bithedge.payoff import split
from support.bithedge_rows import DEPLOYER

CONTRACT = f"{DEPLOYER}.bh-vault"
POLICY_CONTRACT = f"{DEPLOYER}.bh-policy"

Position = dict[str, int]


@dataclass
class Vault:
    """bh-vault and bh-policy reduced to their bookkeeping: what they would print, with right images."""

    printed: list[tuple[str, Any]] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    positions: dict[tuple[str, str, str], Position] = field(default_factory=dict)
    exposures: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    buckets: dict[str, dict[str, int]] = field(default_factory=dict)
    yields: dict[tuple[str, str], int] = field(default_factory=dict)
    requests: list[tuple[tuple[str, str, str], int]] = field(default_factory=list)
    open_requests: set[int] = field(default_factory=set)
    policies: dict[int, dict[str, Any]] = field(default_factory=dict)

    def emit(self, contract: str, topic: str, **fields: Any) -> None:
        sequence = self.sequences[contract] = self.sequences.get(contract, 0) + 1
        envelope = {"topic": topic, "v": 1, "seq": sequence, "actor": "ST1", "caller": "ST1"}
        self.printed.append((contract, envelope | {name.replace("_", "-"): value for name, value in fields.items()}))

    def position(self, key: tuple[str, str, str]) -> Position:
        return self.positions.setdefault(key, {"available": 0, "locked": 0, "requested": 0, "liability_usd8": 0})

    def bucket(self, token: str) -> dict[str, int]:
        return self.buckets.setdefault(token, {"unearned": 0, "yield": 0, "platform": 0, "reserve": 0})

    def move(self, topic: str, key: tuple[str, str, str], differences: dict[str, int], **fields: Any) -> None:
        held = self.position(key)
        image = {f"{name}_before": value for name, value in held.items()}
        for name, difference in differences.items():
            held[name] += difference
        image |= {f"{name}_after": value for name, value in held.items()}
        self.emit(CONTRACT, topic, provider=key[0], tier=key[1], token=key[2], **fields, **image)

    def deposit(self, key: tuple[str, str, str], amount: int) -> None:
        self.move("capital.deposited", key, {"available": amount}, amt=amount)

    def request(self, key: tuple[str, str, str], share: int) -> None:
        held = self.position(key)
        amount = (held["available"] - held["requested"]) * share // 100
        if amount:
            self.requests.append((key, amount))
            self.open_requests.add(len(self.requests))
            self.move(
                "withdraw.requested", key, {"requested": amount}, amt=amount, request=len(self.requests), unlock_burn=9
            )

    def withdraw(self, choice: int) -> None:
        if self.open_requests:
            request = sorted(self.open_requests)[choice % len(self.open_requests)]
            self.open_requests.discard(request)
            key, amount = self.requests[request - 1]
            self.move(
                "capital.withdrawn", key, {"available": -amount, "requested": -amount}, amt=amount, request=request
            )

    def create(self, tier: str, token: str, shares: dict[str, tuple[int, int]], expiry: int, premium: int) -> None:
        """Shares: provider to (percent of what is free, liability)."""
        number = len(self.policies) + 1
        allocations: list[tuple[str, int, int]] = []
        for provider, (percent, liability) in shares.items():
            held = self.position((provider, tier, token))
            amount = (held["available"] - held["requested"]) * percent // 100
            if amount:
                allocations.append((provider, amount, liability))
        if not allocations:
            return
        for provider, amount, liability in allocations:
            key = (provider, tier, token)
            before = self.exposures.get((*key, expiry), 0)
            self.exposures[*key, expiry] = before + amount
            self.move(
                "collateral.locked",
                key,
                {"available": -amount, "locked": amount, "liability_usd8": liability},
                amt=amount,
                policy=number,
                liability_usd8=liability,
                expiry_burn=expiry,
                exposure_before=before,
                exposure_after=before + amount,
            )
        platform, reserve = premium * 6 // 100, premium * 4 // 100
        mine = premium - platform - reserve
        bucket, before_bucket = self.bucket(token), dict(self.bucket(token))
        bucket["unearned"] += mine
        bucket["platform"] += platform
        bucket["reserve"] += reserve
        collateral = sum(amount for _, amount, _ in allocations)
        most = sum(liability for _, _, liability in allocations)
        self.emit(
            CONTRACT,
            "premium.escrowed",
            policy=number,
            module=POLICY_CONTRACT,
            owner="STBUYER",
            tier=tier,
            token=token,
            expiry_burn=expiry,
            max_payout_usd8=most,
            collateral=collateral,
            amt=premium,
            premium_provider=mine,
            fee_platform=platform,
            fee_reserve=reserve,
            unearned_before=before_bucket["unearned"],
            unearned_after=bucket["unearned"],
            platform_fees_before=before_bucket["platform"],
            platform_fees_after=bucket["platform"],
            reserve_fees_before=before_bucket["reserve"],
            reserve_fees_after=bucket["reserve"],
        )
        self.policies[number] = {
            "tier": tier,
            "token": token,
            "expiry": expiry,
            "premium": mine,
            "collateral": collateral,
            "allocations": allocations,
        }
        prices = dict.fromkeys(("spot_usd8", "token_price_usd8", "strike_usd8", "premium_usd8"), 10**8)
        heights = {"created_burn": 1, "expiry_burn": expiry, "cancel_until_burn": 2}
        words = {"owner": "STBUYER", "type": "put", "style": "european", "tier": tier, "asset": "BTC", "token": token}
        amounts = {"premium": premium, "fee_platform": platform, "fee_reserve": reserve, "premium_provider": mine}
        rest = {"round": 1, "token_round": 1, "vol_bp": 4_000, "util_bp": 0, "notional_sat": 5, "policy": number}
        whole = {"max_payout_usd8": most, "collateral": collateral}
        self.emit(POLICY_CONTRACT, "policy.created", **prices, **heights, **words, **amounts, **rest, **whole)

    def end(self, choice: int, how: str, percent: int) -> None:
        """Settled-itm and exercised pay percent of the collateral, cancelled refunds percent of the premium."""
        active = sorted(number for number, policy in self.policies.items() if "ended" not in policy)
        if not active:
            return
        number = active[choice % len(active)]
        policy = self.policies[number]
        policy["ended"] = how
        token, tier, expiry = policy["token"], policy["tier"], policy["expiry"]
        pays = how in ("settled-itm", "exercised")
        paid = policy["collateral"] * percent // 100 if pays else 0
        refund = policy["premium"] * percent // 100 if how == "cancelled" else 0
        earned = policy["premium"] - refund
        allocations = policy["allocations"]
        losses = split(paid, [amount for _, amount, _ in allocations])
        earnings = split(earned, [liability for _, _, liability in allocations])
        for (provider, amount, liability), loss, earning in zip(allocations, losses, earnings, strict=True):
            key = (provider, tier, token)
            if loss:
                self.move("payout.debited", key, {"locked": -loss}, amt=loss, policy=number)
            before = self.exposures[*key, expiry]
            self.exposures[*key, expiry] = before - amount
            self.move(
                "collateral.released",
                key,
                {"available": amount - loss, "locked": loss - amount, "liability_usd8": -liability},
                amt=amount - loss,
                policy=number,
                liability_usd8=liability,
                expiry_burn=expiry,
                exposure_before=before,
                exposure_after=before - amount,
            )
            if earning:
                self.change_yield("premium.earned", provider, token, earning, policy=number)
        if refund:
            self.emit(CONTRACT, "premium.refunded", policy=number, to="STBUYER", token=token, amt=refund)
        bucket, before_bucket = self.bucket(token), dict(self.bucket(token))
        bucket["unearned"] -= policy["premium"]
        bucket["yield"] += earned
        self.emit(
            CONTRACT,
            "lock.closed",
            policy=number,
            to="STBUYER",
            token=token,
            paid=paid,
            refunded=refund,
            earned=earned,
            unearned_before=before_bucket["unearned"],
            unearned_after=bucket["unearned"],
            yield_before=before_bucket["yield"],
            yield_after=bucket["yield"],
        )
        common = {"policy": number, "owner": "STBUYER", "token": token, "settled_burn": expiry}
        price = {"round": 2, "price_usd8": 10**8}
        if pays:
            rest = {"token_round": 2, "token_price_usd8": 10**8, "payoff_usd8": 10, "paid": paid, "unpaid_usd8": 3}
            self.emit(POLICY_CONTRACT, f"policy.{how}", **common, **price, **rest)
        elif how == "expired-otm":
            self.emit(POLICY_CONTRACT, "policy.expired-otm", **common, **price)
        else:
            fee = policy["premium"] - refund
            self.emit(POLICY_CONTRACT, "policy.cancelled", **common, refund=refund, fee=fee)

    def change_yield(self, topic: str, provider: str, token: str, difference: int, **fields: Any) -> None:
        before = self.yields.get((provider, token), 0)
        self.yields[provider, token] = before + difference
        self.emit(
            CONTRACT,
            topic,
            provider=provider,
            token=token,
            amt=abs(difference),
            yield_before=before,
            yield_after=before + difference,
            **fields,
        )

    def claim(self, provider: str, token: str) -> None:
        earned = self.yields.get((provider, token), 0)
        if earned:
            self.bucket(token)["yield"] -= earned
            self.change_yield("yield.claimed", provider, token, -earned)

    def collect(self, token: str, kind: str) -> None:
        fees = self.bucket(token)[kind]
        if fees:
            self.bucket(token)[kind] = 0
            self.emit(
                CONTRACT,
                "fees.collected",
                kind=kind,
                to="STMODULE",
                token=token,
                amt=fees,
                fees_before=fees,
                fees_after=0,
            )

    def owed(self, token: str) -> int:
        capital = sum(held["available"] + held["locked"] for key, held in self.positions.items() if key[2] == token)
        return capital + sum(self.bucket(token).values())
