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
        self.move("capital.deposited", key, {"available": amount}, amt=amount, arrived_stacks=7)

    def free(self, key: tuple[str, str, str]) -> int:
        """What is neither locked nor asked back; a moved allocation may have taken of what was asked back."""
        held = self.position(key)
        return max(0, held["available"] - held["requested"])

    def change_tier(self, key: tuple[str, str, str], to: str, share: int) -> None:
        amount = self.free(key) * share // 100
        if amount and to != key[1]:
            self.move("capital.moved-out", key, {"available": -amount}, amt=amount, to_tier=to)
            there = (key[0], to, key[2])
            self.move("capital.moved-in", there, {"available": amount}, amt=amount, from_tier=key[1], arrived_stacks=8)

    def request(self, key: tuple[str, str, str], share: int) -> None:
        amount = self.free(key) * share // 100
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
            key, asked = self.requests[request - 1]
            amount = min(asked, self.position(key)["available"])
            self.move(
                "capital.withdrawn", key, {"available": -amount, "requested": -asked}, amt=amount, request=request
            )

    def create(self, tier: str, token: str, shares: dict[str, tuple[int, int]], expiry: int, premium: int) -> None:
        """Shares: provider to (percent of what is free, liability)."""
        number = len(self.policies) + 1
        allocations: list[tuple[str, int, int]] = []
        for provider, (percent, liability) in shares.items():
            amount = self.free((provider, tier, token)) * percent // 100
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
        heights = {"created_burn": 1, "created_stacks": 1, "expiry_burn": expiry, "cancel_until_burn": 2}
        words = {"owner": "STBUYER", "type": "put", "style": "european", "tier": tier, "asset": "BTC", "token": token}
        amounts = {
            "premium": premium,
            "discount": 0,
            "fee_platform": platform,
            "fee_reserve": reserve,
            "premium_provider": mine,
        }
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
        due = policy["collateral"] * percent // 100 if pays else 0
        refund = policy["premium"] * percent // 100 if how == "cancelled" else 0
        earned = policy["premium"] - refund
        allocations = policy["allocations"]
        parts = split(due, [liability for _, _, liability in allocations])
        losses = [min(part, amount) for part, (_, amount, _) in zip(parts, allocations, strict=True)]
        paid = sum(losses)
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

    def move_allocation(self, choice: int, to: str, percent: int) -> None:
        """An allocation of an active policy passes to a provider, for a share of what its own one has left."""
        active = sorted(number for number, policy in self.policies.items() if "ended" not in policy)
        if not active:
            return
        number = active[choice % len(active)]
        policy = self.policies[number]
        token, tier, expiry = policy["token"], policy["tier"], policy["expiry"]
        provider, amount, liability = policy["allocations"][choice % len(policy["allocations"])]
        source, target = (provider, tier, token), (to, tier, token)
        left = self.position(source)["available"] + amount
        price = left * percent // 100
        bounty = (left - price) * percent // 200
        penalty = (left - price - bounty) * percent // 300
        locked = (self.free(target) + price) // 2
        if to == provider or not locked:
            return
        paid = price + bounty + penalty
        common = {"policy": number, "liability_usd8": liability, "expiry_burn": expiry}
        before = self.exposures[*source, expiry]
        self.exposures[*source, expiry] = before - amount
        self.move(
            "allocation.moved-out",
            source,
            {"available": amount - paid, "locked": -amount, "liability_usd8": -liability},
            amt=amount,
            paid=paid,
            exposure_before=before,
            exposure_after=before - amount,
            **common,
        )
        before = self.exposures.get((*target, expiry), 0)
        self.exposures[*target, expiry] = before + locked
        self.move(
            "allocation.moved-in",
            target,
            {"available": price - locked, "locked": locked, "liability_usd8": liability},
            amt=locked,
            received=price,
            exposure_before=before,
            exposure_after=before + locked,
            **common,
        )
        for kind, who, credit in (("bounty", "STBOUNTY", bounty), ("penalty", "STFUND", penalty)):
            if credit:
                self.change_yield("yield.credited", who, token, credit, policy=number, kind=kind)
        bucket = self.bucket(token)
        had, bucket["yield"] = bucket["yield"], bucket["yield"] + bounty + penalty
        collateral, policy["collateral"] = policy["collateral"], policy["collateral"] + locked - amount
        _, taken, held = next((part for part in policy["allocations"] if part[0] == to), (to, 0, 0))
        kept = [part for part in policy["allocations"] if part[0] not in (provider, to)]
        policy["allocations"] = [*kept, (to, taken + locked, held + liability)]
        self.emit(
            CONTRACT,
            "allocation.moved",
            policy=number,
            **{"from": provider},
            to=to,
            tier=tier,
            token=token,
            token_price_usd8=10**8,
            liability_usd8=liability,
            price=price,
            bounty=bounty,
            penalty=penalty,
            collateral_before=collateral,
            collateral_after=policy["collateral"],
            yield_before=had,
            yield_after=bucket["yield"],
        )

    def claim_rest(self, choice: int, approved: int) -> None:
        """The owner of a policy that was not paid in full claims the rest, and is answered."""
        owed = sorted(
            number
            for number, policy in self.policies.items()
            if policy.get("ended") in ("settled-itm", "exercised") and "claimed" not in policy
        )
        if owed:
            number = owed[choice % len(owed)]
            self.policies[number]["claimed"] = True
            common = {"policy": number, "owner": "STBUYER", "unpaid_usd8": 3}
            self.emit(POLICY_CONTRACT, "claim.opened", **common, reason_hash="0x01", opened_burn=8)
            decision = {"state": "approved" if approved else "rejected", "approved_usd8": approved, "by": "STARBITER"}
            self.emit(POLICY_CONTRACT, "claim.resolved", **common, **decision, reason_hash="0x02", resolved_burn=9)

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
