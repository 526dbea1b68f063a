"""Which vaults are worth a spell, by what is left of what it earns, and what speaks against each; on plain values.

What the contracts that come with Clarion pay is worked out by their own terms; for other apps the API's queue says it,
by their rules. A problem does not make a vault worth less: it is why nothing is sent for it now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from clarion.config import Keeper
from clarion.protocols.zkusd.app_sets import ROLES, Role
from clarion.protocols.zkusd.apps import owner_of
from clarion.protocols.zkusd.ratios import min_collateral, value_of
from clarion.protocols.zkusd.terms import NotPossibleError, liquidation_terms, redemption_terms
from clarion.protocols.zkusd.units import BPS, ONE_PRICE8, SATS_PER_BITCOIN, Percent, Price8, Sats
from clarion_keeper.zkusd.costs import SpellCosts, costs_of
from clarion_keeper.zkusd.orders import Operation, SpellOrder
from clarion_keeper.zkusd.state import Candidate, Market, ZkUsdState

FLIP_BPS: Final = 100
"""What only recovery mode lets be liquidated is left where a price this much higher would end that (1 %)."""

SPENT: Final[Mapping[Operation, Sequence[Role]]] = {
    Operation.LIQUIDATE: ROLES,
    Operation.REDEEM: ("oracle", "token", "vault_manager"),
    Operation.RESCUE: ("vault_manager",),
}
"""The apps whose states an operation spends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opportunity:
    """An operation on a vault, with what it earns and costs."""

    order: SpellOrder
    vault: Candidate
    gross: Sats
    """What who makes the spell gets, in satoshis at the oracle's price."""
    costs: SpellCosts
    value_usd8: int
    """What is at stake, in 10^-8 US dollars."""
    problems: tuple[str, ...]
    """Why nothing is sent for it now; empty: nothing known."""
    cause: str

    @property
    def net(self) -> int:
        """Satoshis that are left of the gross; may be negative."""
        return self.gross - self.costs.total

    @property
    def place(self) -> tuple[int, int, int, str]:
        """Its place: the most profitable first, then the riskiest, then the greater debt."""
        return -self.net, self.vault.icr_percent, -self.vault.debt, self.order.key


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be done as things stand. ``scripts`` are the keeper's own, ``0x`` hex."""

    state: ZkUsdState
    settings: Keeper
    scripts: frozenset[str] = frozenset()

    def liquidations(self) -> list[Opportunity]:
        """Vaults that can be liquidated, the most profitable first."""
        found = [self._liquidation(market, vault) for market in self.state.markets for vault in market.liquidatable]
        return sorted(found, key=lambda one: one.place)

    def redemptions(self) -> list[Opportunity]:
        """Vaults to redeem from with the zkUSD that the keeper holds, the most profitable first.

        The profit is what is taken of the vault less what the tokens are worth elsewhere (``redeem_at_price8``). None
        where that is not set.
        """
        token_price = self.settings.zkusd.redeem_at_price8
        if token_price is None:
            return []
        found = [
            self._redemption(market, vault, token_price) for market in self.state.markets for vault in market.redeemable
        ]
        return sorted(found, key=lambda one: one.place)

    def rescues(self) -> list[Opportunity]:
        """The keeper's own vaults that need collateral, those first that have most to lose.

        A rescue earns nothing: it keeps what a liquidation would take of the owner. None where ``rescue_most`` is 0.
        """
        owners = {bytes(owner_of(bytes.fromhex(script[2:]))).hex() for script in self.scripts}
        found = [
            self._rescue(market, vault)
            for market in self.state.markets
            for vault in market.rescuable
            if vault.owner in owners and 0 < self._missing(market, vault) <= self.settings.zkusd.rescue_most
        ]
        return sorted(found, key=lambda one: (-one.value_usd8, one.place))

    def _liquidation(self, market: Market, vault: Candidate) -> Opportunity:
        price = _price(market)
        problems: list[str] = []
        gross, mints = Sats(vault.bonus + market.reserve * SATS_PER_BITCOIN // price), bool(market.reserve)
        if market.is_known:
            try:
                terms = liquidation_terms(
                    collateral=vault.collateral,
                    debt=vault.debt,
                    price8=price,
                    total_percent=market.total_percent,
                    pool_total=market.pool_total,
                    min_debt=market.min_debt,
                    reserve=market.reserve,
                )
                gross, mints = terms.worth(price), bool(terms.reserve)
            except NotPossibleError as error:
                problems.append(str(error))
        problems += _recovery_ends(market, vault)
        order = SpellOrder(
            operation=Operation.LIQUIDATE, app_set=market.name, vault=vault.genesis, known=market.is_known
        )
        return self._opportunity(market, vault, order, gross, int(mints), problems)

    def _redemption(self, market: Market, vault: Candidate, token_price: int) -> Opportunity:
        price = _price(market)
        problems: list[str] = []
        burned, taken = vault.take_debt, vault.take_collateral
        if market.is_known:
            try:
                terms = redemption_terms(
                    collateral=vault.collateral,
                    debt=vault.debt,
                    price8=price,
                    amount=vault.take_debt,
                    min_debt=market.min_debt,
                    reserve=market.reserve,
                )
                burned, taken = terms.burned, terms.taken
            except NotPossibleError as error:
                problems.append(str(error))
        given = -(-burned * token_price // price)
        order = SpellOrder(
            operation=Operation.REDEEM, app_set=market.name, vault=vault.genesis, amount=burned, known=market.is_known
        )
        return self._opportunity(market, vault, order, Sats(taken - given), 1, problems)

    def _rescue(self, market: Market, vault: Candidate) -> Opportunity:
        order = SpellOrder(
            operation=Operation.RESCUE,
            app_set=market.name,
            vault=vault.genesis,
            collateral=self._missing(market, vault),
            known=market.is_known,
        )
        equity = value_of(collateral=vault.collateral, price8=_price(market)) - vault.debt
        return replace(
            self._opportunity(market, vault, order, Sats(0), 0, []),
            value_usd8=max(equity, 0),
            cause=f"own vault {vault.genesis} at {vault.icr_percent} % needs {order.collateral} satoshis to be at "
            f"{self.settings.zkusd.rescue_to_percent} %",
        )

    def _opportunity(
        self,
        market: Market,
        vault: Candidate,
        order: SpellOrder,
        gross: Sats,
        charm_outputs: int,
        problems: Sequence[str],
    ) -> Opportunity:
        fee_rate = self.settings.bitcoin.fee_rate_first if self.state.fee_rate is None else self.state.fee_rate
        costs = costs_of(order.operation, fee_rate=fee_rate, charm_outputs=charm_outputs, settings=self.settings.zkusd)
        net = gross - costs.total
        price = _price(market)
        return Opportunity(
            order=order,
            vault=vault,
            gross=gross,
            costs=costs,
            value_usd8=max(value_of(collateral=Sats(net), price8=price), 0),
            problems=(*problems, *self._against(market, vault, order.operation)),
            cause=f"{order.operation.value} vault {vault.genesis}: {vault.icr_percent} % at "
            f"{price // ONE_PRICE8:,} USD; earns {gross} satoshis, costs about {costs.total}, leaves {net}",
        )

    def _against(self, market: Market, vault: Candidate, operation: Operation) -> Iterator[str]:
        """What speaks against it now, whatever it earns."""
        if operation is not Operation.RESCUE and market.price_stale:
            yield f"the oracle's price is stale: {market.price_age}"
        needed = [market.states[role] for role in SPENT[operation] if role in market.states]
        for role in SPENT[operation]:
            if role not in market.states or not market.states[role].live:
                yield f"the {role} has no state"
        confirmations = min([vault.confirmations, *(one.confirmations for one in needed)])
        if confirmations < self.settings.zkusd.min_confirmations:
            yield f"what it spends has {confirmations} confirmations, and needs {self.settings.zkusd.min_confirmations}"
        for what, outpoint in [("vault", vault.outpoint), *((one.role, one.outpoint) for one in needed)]:
            spend = self.state.pending.get(outpoint)
            if spend is not None and self.scripts.isdisjoint(spend.scripts):
                yield f"the mempool's transaction {spend.tx_id} spends the {what.replace('_', ' ')}"

    def _missing(self, market: Market, vault: Candidate) -> Sats:
        """Collateral that brings a vault to ``rescue_to_percent``."""
        percent = Percent(self.settings.zkusd.rescue_to_percent)
        wanted = min_collateral(debt=vault.debt, price8=_price(market), percent=percent)
        return Sats(max((wanted or 0) - vault.collateral, 0))


def _recovery_ends(market: Market, vault: Candidate) -> Iterator[str]:
    """Whether only recovery mode lets the vault be liquidated, and a price that is a little higher would end it."""
    if vault.icr_percent < market.mcr_percent or market.total_percent is None:
        return
    # the total is rounded down to whole percent: it may be almost one more
    if (market.total_percent + 1) * (BPS + FLIP_BPS) > market.ccr_percent * BPS:
        yield f"recovery mode would end at a price {FLIP_BPS // 100} % higher: the total is {market.total_percent} %"


def _price(market: Market) -> Price8:
    assert market.price8 is not None, "there is no queue without a price"
    return market.price8
