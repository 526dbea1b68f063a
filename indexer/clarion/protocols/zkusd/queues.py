"""Which vaults can be liquidated, redeemed against or rescued, and how that moves with the price; on plain values.

Everything takes the price as an argument: the oracle's, a reference price, or a supposed one. Nothing here says that an
operation can be done by whoever asks: who holds a vault's coin and the apps' states decides that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.app_sets import Rules
from clarion.protocols.zkusd.units import BPS, SATS_PER_BITCOIN, Base, Bps, Percent, Price8, Sats

DUST_SATS: Final = Sats(547)
"""What a coin that only carries charms holds."""

RESCUE_PERCENT: Final = Percent(130)
"""Ratio below which a vault can be rescued by others."""

INSURANCE_PERCENT: Final = Percent(115)
"""Ratio below which a vault's insurance pays."""

_STEP: Final = Bps(1000)
_TOP: Final = Bps(50_000)

FALLS: Final = tuple(Bps(-500 * step) for step in range(11))
"""Changes of the price that are looked at unless others are asked for: none to half of it, in steps of 5 %."""

RedemptionOrder = Literal["ratio", "rate"]
"""Riskiest first, or lowest interest first."""


class VaultFigures(msgspec.Struct, frozen=True, kw_only=True):
    """An active vault: what decides about it, and what it is known by."""

    genesis: str
    vault_id: str
    owner: str
    script: str
    address: str | None
    collateral: Sats
    """Entire: with what it took over from other vaults."""
    debt: Base
    """Entire: with interest and what it took over from other vaults."""
    rate_bps: Bps = Bps(0)
    insurance: Sats = Sats(0)
    at_risk_since_height: int | None = None

    @property
    def rank(self) -> tuple[int, int, str, str]:
        """Its place by ratio, then the greater debt, then the id; the same at every price."""
        ratio = (self.collateral << 128) // self.debt if self.debt else 1 << 256
        return ratio, -self.debt, self.vault_id, self.genesis


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What a spell costs who makes it, in satoshis."""

    fee_rate: int = 1
    """Satoshis a virtual byte."""
    virtual_size: int = 0
    charms_fee: Sats = Sats(0)
    """Output that pays for the proof; 1434 to 2040 satoshis were seen on testnet4."""
    prover: Sats = Sats(0)
    charm_outputs: int = 0
    """Coins that only carry charms."""

    @property
    def total(self) -> Sats:
        """All of it."""
        size = self.fee_rate * self.virtual_size
        return Sats(size + self.charms_fee + self.prover + self.charm_outputs * DUST_SATS)


class LiquidationKind(StrEnum):
    """What a liquidation does with the debt."""

    REDISTRIBUTE = "redistribute"
    """Worth no more than its debt: other vaults take it over."""
    OFFSET = "offset"
    """The pool takes what it can, other vaults the rest."""
    RECOVERY = "recovery"
    """Only in recovery mode: the pool takes all of it, for at most the minimum ratio; the rest is the owner's."""


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Who gets what of a liquidated vault."""

    kind: LiquidationKind
    bonus: Sats
    """To who liquidates."""
    surplus: Sats
    """To the owner."""
    pool_debt: Base
    pool_collateral: Sats
    redistributed_debt: Base
    redistributed_collateral: Sats


class LiquidationCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A vault that can be liquidated at the price."""

    rank: int
    vault: VaultFigures
    icr_percent: Percent
    icr_bps: Bps
    split: Split
    cumulative_debt: Base
    """With all before it."""
    pool_covers: bool
    """The pool has enough for it and all before it."""
    reserve_sats: Sats
    """What the liquidation reserve is worth."""
    gross: Sats
    """Bonus, and the reserve where it is paid out."""
    cost: Sats
    net: int
    """Gross less cost, in satoshis; may be negative."""


class RedemptionCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """What a redemption takes of a vault."""

    rank: int
    vault: VaultFigures
    icr_percent: Percent
    icr_bps: Bps
    take_debt: Base
    fee: Base
    """Part of it that is not paid out."""
    take_collateral: Sats
    left_debt: Base
    """Reserve in it."""
    leaves_too_little: bool
    """What is left is below the least debt, and not nothing."""
    cumulative_debt: Base


class RedemptionPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A redemption of an amount."""

    asked: Base
    redeemed: Base
    """Less where the vaults have less."""
    fee: Base
    collateral: Sats
    effective_price8: Price8 | None
    """zkUSD for a bitcoin; None where nothing is paid out."""
    candidates: tuple[RedemptionCandidate, ...]

    def arbitrage(self, *, price8: Price8, token_price8: Price8) -> Base:
        """What is gained by buying the tokens at ``token_price8`` (US dollars x 10^8), in 10^-8 US dollars."""
        worth = ratios.value_of(collateral=self.collateral, price8=price8)
        return Base(worth - self.redeemed * token_price8 // 10**8)


class RescueCandidate(msgspec.Struct, frozen=True, kw_only=True):
    """A vault below the ratio at which others may add to it."""

    rank: int
    vault: VaultFigures
    icr_percent: Percent
    icr_bps: Bps
    add_collateral: Sats
    """Least collateral that brings it to the minimum ratio, debt unchanged; 0: it is there."""
    repay_debt: Base
    """Least debt to repay that brings it there, collateral unchanged."""


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """Vaults within a range of ratios."""

    from_bps: Bps
    to_bps: Bps | None
    """Not in it; None: no end."""
    vaults: int
    collateral: Sats
    debt: Base


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """What would be at a lower (or higher) price."""

    change_bps: Bps
    price8: Price8
    tcr_bps: Bps | None
    recovery: bool
    vaults: int
    """How many could be liquidated."""
    collateral: Sats
    debt: Base
    pool_left: Base
    """Of the pool, after it took what it can."""


def liquidation_split(*, collateral: Sats, debt: Base, price8: Price8, pool_total: Base, rules: Rules) -> Split:
    """Who gets what of a vault at a price: the bonus first, then the owner's surplus, then pool and other vaults.

    Source: the deployed apps' library, with Liquity's order (a vault worth no more than its debt is never given to the
    pool, nor one above the minimum ratio unless the pool takes all of it).
    """
    icr = ratios.ratio_percent(collateral=collateral, debt=debt, price8=price8)
    bonus = Sats(ratios.share(amount=collateral, bps=rules.liquidator_bonus_bps))
    left = collateral - bonus
    surplus = 0
    if icr is not None and icr <= 100:
        kind, pool_debt = LiquidationKind.REDISTRIBUTE, 0
    elif icr is not None and icr < rules.mcr_percent:
        kind, pool_debt = LiquidationKind.OFFSET, min(debt, pool_total)
    else:
        kind, pool_debt = LiquidationKind.RECOVERY, debt if pool_total >= debt else 0
        capped = debt * rules.mcr_percent * SATS_PER_BITCOIN // (100 * price8) if price8 else left
        surplus = max(left - capped, 0)
        left -= surplus
    pool_collateral = left * pool_debt // debt if debt else 0
    return Split(
        kind=kind,
        bonus=bonus,
        surplus=Sats(surplus),
        pool_debt=Base(pool_debt),
        pool_collateral=Sats(pool_collateral),
        redistributed_debt=Base(debt - pool_debt),
        redistributed_collateral=Sats(left - pool_collateral),
    )


def liquidation_queue(
    vaults: Iterable[VaultFigures],
    *,
    price8: Price8,
    recovery: bool,
    total_percent: Percent | None = None,
    pool_total: Base,
    rules: Rules,
    costs: Costs | None = None,
    reserve_paid: bool = True,
    min_net: int | None = None,
) -> Iterator[LiquidationCandidate]:
    """Vaults below the threshold, lowest ratio first, the pool's tokens given to each in turn.

    ``total_percent``: ratio of all vaults, by which some apps judge in recovery mode; None without debt.
    ``reserve_paid``: whether who liquidates gets the liquidation reserve. ``min_net``: leave out what earns less; the
    ranks and what the pool has for those after them stay.
    """
    cost = Sats(0) if costs is None else costs.total
    percent = rules.threshold_percent(recovery=recovery, total_percent=total_percent)
    reserve = Sats(rules.liquidation_reserve * SATS_PER_BITCOIN // price8) if price8 else Sats(0)
    pool_left = pool_total
    cumulative = 0
    for rank, (vault, icr) in enumerate(_below(vaults, price8=price8, percent=percent), 1):
        split = liquidation_split(
            collateral=vault.collateral, debt=vault.debt, price8=price8, pool_total=pool_left, rules=rules
        )
        pool_left = Base(pool_left - split.pool_debt)
        cumulative += vault.debt
        gross = Sats(split.bonus + (reserve if reserve_paid else 0))
        if min_net is not None and gross - cost < min_net:
            continue
        yield LiquidationCandidate(
            rank=rank,
            vault=vault,
            icr_percent=icr,
            icr_bps=_bps(vault, price8),
            split=split,
            cumulative_debt=Base(cumulative),
            pool_covers=cumulative <= pool_total,
            reserve_sats=reserve,
            gross=gross,
            cost=cost,
            net=gross - cost,
        )


def redemption_queue(
    vaults: Iterable[VaultFigures],
    *,
    price8: Price8,
    amount: Base,
    rules: Rules,
    order: RedemptionOrder = "ratio",
) -> RedemptionPlan:
    """What redeeming ``amount`` takes of which vaults: those at or above the minimum ratio, riskiest first.

    The liquidation reserve of a vault cannot be redeemed: nobody holds those tokens. The fee is not paid out.
    """
    candidates: list[RedemptionCandidate] = []
    wanted = amount if price8 else 0
    redeemed = 0
    for vault in sorted(vaults, key=lambda vault: _redemption_place(vault, order)):
        if redeemed >= wanted:
            break
        icr = ratios.ratio_percent(collateral=vault.collateral, debt=vault.debt, price8=price8)
        redeemable = vault.debt - rules.liquidation_reserve
        if icr is None or icr < rules.mcr_percent or redeemable <= 0:
            continue
        take = Base(min(wanted - redeemed, redeemable))
        fee = Base(ratios.share(amount=take, bps=rules.redemption_fee_bps))
        redeemed += take
        left = Base(vault.debt - take)
        candidates.append(
            RedemptionCandidate(
                rank=len(candidates) + 1,
                vault=vault,
                icr_percent=icr,
                icr_bps=_bps(vault, price8),
                take_debt=take,
                fee=fee,
                take_collateral=Sats((take - fee) * SATS_PER_BITCOIN // price8),
                left_debt=left,
                leaves_too_little=take < redeemable and left < rules.min_debt,
                cumulative_debt=Base(redeemed),
            )
        )
    collateral = sum(one.take_collateral for one in candidates)
    return RedemptionPlan(
        asked=amount,
        redeemed=Base(redeemed),
        fee=Base(sum(one.fee for one in candidates)),
        collateral=Sats(collateral),
        effective_price8=Price8(redeemed * SATS_PER_BITCOIN // collateral) if collateral else None,
        candidates=tuple(candidates),
    )


def rescue_queue(
    vaults: Iterable[VaultFigures], *, price8: Price8, rules: Rules, below_percent: Percent = RESCUE_PERCENT
) -> Iterator[RescueCandidate]:
    """Vaults below the ratio at which others may add to them, lowest first, and what brings them to the minimum.

    At no price nothing does, and there is none.
    """
    if not price8:
        return
    for rank, (vault, icr) in enumerate(_below(vaults, price8=price8, percent=below_percent), 1):
        needed = ratios.min_collateral(debt=vault.debt, price8=price8, percent=rules.mcr_percent)
        bearable = ratios.max_debt(collateral=vault.collateral, price8=price8, percent=rules.mcr_percent)
        yield RescueCandidate(
            rank=rank,
            vault=vault,
            icr_percent=icr,
            icr_bps=_bps(vault, price8),
            add_collateral=Sats(max((needed or 0) - vault.collateral, 0)),
            repay_debt=Base(max(vault.debt - bearable, 0)),
        )


def insured_at_risk(
    vaults: Iterable[VaultFigures], *, price8: Price8, below_percent: Percent = INSURANCE_PERCENT
) -> list[VaultFigures]:
    """Insured vaults whose insurance should pay, lowest ratio first."""
    return [vault for vault, _ in _below(vaults, price8=price8, percent=below_percent) if vault.insurance]


def icr_histogram(
    vaults: Iterable[VaultFigures], *, price8: Price8, step_bps: Bps = _STEP, top_bps: Bps = _TOP
) -> list[Bucket]:
    """Vaults with debt by their ratio, in steps up to ``top_bps`` and one range above; empty ranges too.

    Raises ValueError where the steps are none or too many.
    """
    if not 0 < step_bps <= top_bps or top_bps // step_bps > 1000:
        raise ValueError(f"cannot count ratios up to {top_bps} in steps of {step_bps}: take at most 1000 steps above 0")
    edges = [*range(0, top_bps, step_bps), top_bps]
    sums = [[0, 0, 0] for _ in edges]
    for vault in vaults:
        ratio = ratios.ratio_bps(collateral=vault.collateral, debt=vault.debt, price8=price8)
        if ratio is not None:
            into = sums[-1 if ratio >= top_bps else ratio // step_bps]
            into[0] += 1
            into[1] += vault.collateral
            into[2] += vault.debt
    ends: Sequence[int | None] = [*edges[1:], None]
    return [
        Bucket(
            from_bps=Bps(start),
            to_bps=None if end is None else Bps(end),
            vaults=count,
            collateral=Sats(collateral),
            debt=Base(debt),
        )
        for start, end, (count, collateral, debt) in zip(edges, ends, sums, strict=True)
    ]


def price_ladder(
    vaults: Iterable[VaultFigures],
    *,
    price8: Price8,
    pool_total: Base,
    rules: Rules,
    changes_bps: Sequence[Bps] = FALLS,
) -> list[Rung]:
    """What could be liquidated if the price changed by so much, recovery mode judged by what the vaults come to.

    Raises ValueError where a change is below -100 %.
    """
    if any(change < -BPS for change in changes_bps):
        raise ValueError("a price cannot fall by more than 100 %")
    known = sorted(vaults, key=lambda vault: vault.rank)
    collateral, debt = Sats(sum(vault.collateral for vault in known)), Base(sum(vault.debt for vault in known))
    rungs = []
    for change in changes_bps:
        price = Price8(price8 * (BPS + change) // BPS)
        recovery = ratios.is_below(collateral=collateral, debt=debt, price8=price, percent=rules.ccr_percent)
        total = ratios.ratio_percent(collateral=collateral, debt=debt, price8=price)
        queue = list(
            liquidation_queue(
                known, price8=price, recovery=recovery, total_percent=total, pool_total=pool_total, rules=rules
            )
        )
        rungs.append(
            Rung(
                change_bps=change,
                price8=price,
                tcr_bps=ratios.ratio_bps(collateral=collateral, debt=debt, price8=price),
                recovery=recovery,
                vaults=len(queue),
                collateral=Sats(sum(one.vault.collateral for one in queue)),
                debt=Base(sum(one.vault.debt for one in queue)),
                pool_left=Base(pool_total - sum(one.split.pool_debt for one in queue)),
            )
        )
    return rungs


def _below(
    vaults: Iterable[VaultFigures], *, price8: Price8, percent: Percent
) -> Iterator[tuple[VaultFigures, Percent]]:
    """Vaults below a ratio, lowest first, with their ratios as the apps see them."""
    for vault in sorted(vaults, key=lambda vault: vault.rank):
        icr = ratios.ratio_percent(collateral=vault.collateral, debt=vault.debt, price8=price8)
        if icr is not None and icr < percent:
            yield vault, icr


def _bps(vault: VaultFigures, price8: Price8) -> Bps:
    return ratios.ratio_bps(collateral=vault.collateral, debt=vault.debt, price8=price8) or Bps(0)


def _redemption_place(vault: VaultFigures, order: RedemptionOrder) -> tuple[int, ...] | tuple[int, int, int, str, str]:
    ratio, larger_debt, vault_id, genesis = vault.rank
    first = vault.rate_bps if order == "rate" else 0
    return first, ratio, larger_debt, vault_id, genesis
