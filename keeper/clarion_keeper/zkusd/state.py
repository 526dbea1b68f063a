"""What zkUSD's jobs decide on, read through GraphQL at one block: states, queues, and what waits to be mined."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from clarion.chains.bitcoin.charms.spells import App
from clarion.protocols.zkusd.app_sets import ROLES, Role
from clarion.protocols.zkusd.apps import ZkUsdApps
from clarion.protocols.zkusd.units import Base, Percent, Price8, Sats
from clarion_keeper.graph import MovedError, Reader, Receipt, Snapshot

#: Most candidates of a queue that are looked at; they come in the queue's order.
MOST_CANDIDATES: Final = 500
#: Outpoints that the mempool is asked for in one query.
OUTPOINTS_AT_ONCE: Final = 1_000

_MARKETS: Final = """
query KeeperZkusdMarkets {
  zkusdAppSets(first: 100) {
    nodes {
      name
      mcrPercent
      ccrPercent
      minDebt
      liquidationReserve
      protocol { price8 priceStale claimedPriceHeight priceAgeBlocks priceAgeSeconds tcrPercent recoveryMode }
      stabilityPool { total }
      contracts(first: 4) { nodes { role tag identity vk outpoint script live confirmations } }
    }
  }
}
"""

_VAULT: Final = "vault { genesis outpoint script owner openedTx confirmations utxoSats }"

_QUEUES: Final = f"""
query KeeperZkusdQueues($name: String!, $first: Int!, $rescueBelow: Int!) {{
  zkusdLiquidationQueue(appSetName: $name, first: $first) {{
    candidates {{ icrPercent collateral debt {_VAULT} split {{ bonus }} }}
  }}
  zkusdRescueQueue(appSetName: $name, first: $first, belowPercent: $rescueBelow) {{
    candidates {{ icrPercent collateral debt {_VAULT} addCollateral }}
  }}
}}
"""

_REDEMPTION: Final = f"""
query KeeperZkusdRedemption($name: String!, $amount: BigInt!, $first: Int!) {{
  zkusdRedemptionQueue(appSetName: $name, amount: $amount, first: $first) {{
    candidates {{ icrPercent collateral debt {_VAULT} takeDebt takeCollateral }}
  }}
}}
"""

_PURSE: Final = """
query KeeperZkusdPurse($name: String!, $scripts: [String!]!, $first: Int!, $after: String) {
  zkusdTokenUtxos(
    filter: {appSetName: {eq: $name}, script: {in: $scripts}, live: {eq: true}, beamed: {eq: false}}
    first: $first
    after: $after
  ) { nodes { outpoint amount } pageInfo { hasNextPage endCursor } }
}
"""

_MEMPOOL: Final = """
query KeeperZkusdMempool($outpoints: [String!]!) {
  zkusdAppSets(first: 1) { nodes { name } }
  zkusdMempool(outpoints: $outpoints) { feeRate spends { outpoint txId scripts } }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingSpend:
    """A transaction that waits in a node's mempool and spends an outpoint; ``scripts`` are those it pays."""

    outpoint: str
    tx_id: str
    scripts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """Where an app's state is."""

    role: Role
    app: App
    outpoint: str
    script: str
    live: bool
    confirmations: int


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A vault of one of the API's queues. Amounts are entire: with interest and what it took over."""

    genesis: str
    outpoint: str
    script: str
    owner: str
    opened_tx: str
    confirmations: int
    icr_percent: Percent
    collateral: Sats
    debt: Base
    bonus: Sats = Sats(0)
    """Of a liquidation by the app set's rules."""
    take_debt: Base = Base(0)
    """Of a redemption."""
    take_collateral: Sats = Sats(0)
    """Of a redemption."""
    add_collateral: Sats = Sats(0)
    """Of a rescue: what brings it to the least ratio."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """A set of apps, its states, and the vaults that something can be done with. Prices are the oracle's."""

    name: str
    price8: Price8 | None
    price_stale: bool
    price_age: str
    """How old the price is, in words."""
    total_percent: Percent | None
    mcr_percent: Percent
    ccr_percent: Percent
    min_debt: Base
    reserve: Base
    pool_total: Base
    states: Mapping[Role, AppState]
    liquidatable: tuple[Candidate, ...] = ()
    redeemable: tuple[Candidate, ...] = ()
    rescuable: tuple[Candidate, ...] = ()
    zkusd: Base = Base(0)
    """What the keeper's own scripts hold."""

    @property
    def apps(self) -> ZkUsdApps | None:
        """The four apps; None while not all of them have a state."""
        if any(role not in self.states for role in ROLES):
            return None
        return ZkUsdApps(**{role: self.states[role].app for role in ROLES})

    @property
    def is_known(self) -> bool:
        """Whether its contracts are those that come with Clarion."""
        return self.apps is not None and self.apps.are_known


@dataclass(frozen=True, slots=True, kw_only=True)
class ZkUsdState:
    """Everything that zkUSD's jobs look at."""

    receipt: Receipt
    markets: tuple[Market, ...]
    fee_rate: int | None = None
    """Satoshis for 1,000 virtual bytes, by the node's estimate; None: there is none."""
    pending: Mapping[str, PendingSpend] = field(default_factory=dict)
    """By outpoint, of states and candidates, as far as the API's node says."""


async def read_state(reader: Reader, *, scripts: Sequence[str], redeem_most: Base, rescue_below: Percent) -> ZkUsdState:
    """Read it all; again from the beginning where a block came in between.

    Args:
        reader: of the chain ``bitcoin``.
        scripts: the keeper's own locking scripts, ``0x`` hex.
        redeem_most: most zkUSD that a redemption may take; 0: redemptions are not looked at.
        rescue_below: ratio below which vaults are looked at for a rescue.
    """
    while True:
        try:
            return await _read(await reader.snapshot(), scripts, redeem_most, rescue_below)
        except MovedError:
            continue


async def _read(snapshot: Snapshot, scripts: Sequence[str], redeem_most: Base, rescue_below: Percent) -> ZkUsdState:
    found = (await snapshot.ask(_MARKETS))["zkusdAppSets"]["nodes"]
    markets = [await _market(snapshot, node, scripts, redeem_most, rescue_below) for node in found]
    outpoints = {
        outpoint
        for market in markets
        for outpoint in (
            *(state.outpoint for state in market.states.values() if state.live),
            *(one.outpoint for one in (*market.liquidatable, *market.redeemable, *market.rescuable)),
        )
    }
    fee_rate: int | None = None
    pending: dict[str, PendingSpend] = {}
    for chunk in _chunks(sorted(outpoints), OUTPOINTS_AT_ONCE):
        mempool = (await snapshot.ask(_MEMPOOL, {"outpoints": chunk}))["zkusdMempool"]
        if mempool is None:
            continue
        fee_rate = mempool["feeRate"]
        for spend in mempool["spends"]:
            pending[spend["outpoint"]] = PendingSpend(
                outpoint=spend["outpoint"], tx_id=spend["txId"], scripts=tuple(spend["scripts"])
            )
    return ZkUsdState(receipt=snapshot.receipt, markets=tuple(markets), fee_rate=fee_rate, pending=pending)


async def _market(
    snapshot: Snapshot, node: Mapping[str, Any], scripts: Sequence[str], redeem_most: Base, rescue_below: Percent
) -> Market:
    name, protocol = node["name"], node["protocol"] or {}
    price = protocol.get("price8")
    states = {
        state["role"]: AppState(
            role=state["role"],
            app=App(state["tag"], bytes.fromhex(state["identity"]), bytes.fromhex(state["vk"])),
            outpoint=state["outpoint"],
            script=state["script"],
            live=state["live"],
            confirmations=state["confirmations"] or 0,
        )
        for state in node["contracts"]["nodes"]
    }
    queues: Mapping[str, Any] = {}
    redeemable: Sequence[Mapping[str, Any]] = []
    zkusd = 0
    if price is not None:
        variables = {"name": name, "first": MOST_CANDIDATES, "rescueBelow": rescue_below}
        queues = await snapshot.ask(_QUEUES, variables)
        if scripts:
            utxos = await snapshot.pages(_PURSE, "zkusdTokenUtxos", {"name": name, "scripts": list(scripts)})
            zkusd = sum(int(utxo["amount"]) for utxo in utxos)
        amount = min(zkusd, redeem_most)
        if amount:
            asked = {"name": name, "amount": str(amount), "first": MOST_CANDIDATES}
            redeemable = (await snapshot.ask(_REDEMPTION, asked))["zkusdRedemptionQueue"]["candidates"]
    return Market(
        name=name,
        price8=None if price is None else Price8(int(price)),
        price_stale=bool(protocol.get("priceStale", True)),
        price_age=_age(protocol),
        total_percent=None if protocol.get("tcrPercent") is None else Percent(int(protocol["tcrPercent"])),
        mcr_percent=Percent(node["mcrPercent"]),
        ccr_percent=Percent(node["ccrPercent"]),
        min_debt=Base(int(node["minDebt"])),
        reserve=Base(int(node["liquidationReserve"])),
        pool_total=Base(int((node["stabilityPool"] or {"total": 0})["total"])),
        states=states,
        liquidatable=_candidates(queues.get("zkusdLiquidationQueue")),
        rescuable=_candidates(queues.get("zkusdRescueQueue")),
        redeemable=_candidates({"candidates": redeemable}),
        zkusd=Base(zkusd),
    )


def _chunks(found: Sequence[str], size: int) -> list[list[str]]:
    return [list(found[start : start + size]) for start in range(0, max(len(found), 1), size)]


def _age(protocol: Mapping[str, Any]) -> str:
    blocks, seconds = protocol.get("priceAgeBlocks"), protocol.get("priceAgeSeconds")
    if blocks is None:
        return f"it says that it is of block {protocol.get('claimedPriceHeight')}"
    return f"it is {blocks} blocks and {seconds} seconds old"


def _candidates(queue: Mapping[str, Any] | None) -> tuple[Candidate, ...]:
    if queue is None:
        return ()
    return tuple(
        Candidate(
            genesis=one["vault"]["genesis"],
            outpoint=one["vault"]["outpoint"],
            script=one["vault"]["script"],
            owner=one["vault"]["owner"],
            opened_tx=one["vault"]["openedTx"],
            confirmations=one["vault"]["confirmations"] or 0,
            icr_percent=Percent(int(one["icrPercent"])),
            collateral=Sats(int(one["collateral"])),
            debt=Base(int(one["debt"])),
            bonus=Sats(int(one.get("split", {}).get("bonus", 0))),
            take_debt=Base(int(one.get("takeDebt", 0))),
            take_collateral=Sats(int(one.get("takeCollateral", 0))),
            add_collateral=Sats(int(one.get("addCollateral", 0))),
        )
        for one in queue["candidates"]
    )
