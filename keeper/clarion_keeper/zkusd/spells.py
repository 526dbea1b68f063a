"""From an order to a spell: the states and the vault as the chain has them, and the transactions that made them.

Where things are is asked through GraphQL; what lies there is read from the transactions that made it, which the API
gives as well. (Charms in a projection have lost the order of their fields, which the contracts insist on.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, charms_made
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, parse_transaction
from clarion.chains.bitcoin.units import parse_outpoint
from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.app_sets import ROLES
from clarion.protocols.zkusd.apps import ZkUsdApps
from clarion.protocols.zkusd.operations import Held, Purse, States, adjust, amount_of, liquidate, redeem
from clarion.protocols.zkusd.terms import NotPossibleError
from clarion_keeper.graph import Snapshot
from clarion_keeper.zkusd.orders import Operation, SpellOrder

_PLACES: Final = """
query KeeperZkusdPlaces($name: String!, $vault: String!) {
  zkusdContracts(filter: {appSetName: {eq: $name}}, first: 4) { nodes { role tag identity vk outpoint live } }
  zkusdVault(appSetName: $name, genesis: $vault) { outpoint active ended owner openedTx changedTx }
}
"""

_VAULT: Final = """
query KeeperZkusdVault($name: String!, $vault: String!) {
  zkusdVault(appSetName: $name, genesis: $vault) { active ended changedTx }
}
"""

_TOKENS: Final = """
query KeeperZkusdTokens($name: String!, $scripts: [String!]!, $first: Int!, $after: String) {
  zkusdTokenUtxos(
    filter: {appSetName: {eq: $name}, script: {in: $scripts}, live: {eq: true}, beamed: {eq: false}}
    first: $first
    after: $after
  ) { nodes { outpoint amount } pageInfo { hasNextPage endCursor } }
}
"""

_MADE: Final = """
query KeeperCharmsTransactions($ids: [Bytes!]!, $first: Int!) {
  transactions(chain: BITCOIN, filter: {txId: {in: $ids}}, first: $first) { nodes { raw } }
}
"""

_REQUESTS: Final[Mapping[Operation, str]] = {
    Operation.LIQUIDATE: """
query KeeperZkusdLiquidationRequest($name: String!, $vault: String!) {
  request: zkusdLiquidationRequest(appSetName: $name, vault: $vault) {
    operation inputs { role app outpoint sats script address } changes { role outpoint figure before after }
    payments { to script asset amount } signers problems
  }
}
""",
    Operation.REDEEM: """
query KeeperZkusdRedemptionRequest($name: String!, $amount: BigInt!) {
  request: zkusdRedemptionRequest(appSetName: $name, amount: $amount) {
    operation inputs { role app outpoint sats script address } changes { role outpoint figure before after }
    payments { to script asset amount } signers problems
  }
}
""",
}


_DONE: Final = {Operation.LIQUIDATE: "liquidated", Operation.REDEEM: "redeemed"}
"""How a vault ends by what an order is to do."""


class VaultEndedError(Exception):
    """The vault is not there any more. ``done``: somebody else did to it what the order was to do."""

    def __init__(self, order: SpellOrder, vault: Mapping[str, Any] | None) -> None:
        ended, changed = (None, None) if vault is None else (vault["ended"], vault["changedTx"])
        super().__init__(f"the vault {order.vault} is {ended or 'not there'} ({changed})")
        self.done = ended is not None and ended == _DONE.get(order.operation)


class BehindError(Exception):
    """The chain does not hold what the index says: it is behind, or a block came in between. Read again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an order is built from."""

    states: States
    vault: Held
    opened_tx: bytes
    """Id of the transaction that opened the vault."""
    tokens: tuple[SpellInput, ...]
    """The keeper's own outputs with zkUSD, the largest first."""
    previous: Mapping[bytes, BitcoinTransaction]
    """The transactions that made all of it, by id (display order)."""


async def read_parts(
    snapshot: Snapshot, order: SpellOrder, *, script: bytes, network: BitcoinNetwork, accept_mock: bool
) -> Parts:
    """Everything that the order's spell spends, as of one block.

    Args:
        snapshot: of the chain ``bitcoin``.
        order: of apps whose contracts come with Clarion.
        script: the keeper's own locking script.
        network: whose transactions they are.
        accept_mock: take charms for true whose proofs mean nothing; on regtest alone.

    Raises:
        VaultEndedError: there is no such vault any more.
        BehindError: what lies where the index says is something else.
    """
    found = await snapshot.ask(_PLACES, {"name": order.app_set, "vault": order.vault})
    vault = _active(order, found["zkusdVault"])
    contracts = {one["role"]: one for one in found["zkusdContracts"]["nodes"] if one["live"]}
    missing = [role for role in ROLES if role not in contracts]
    if missing:
        raise BehindError(f"{order.app_set} has no state of {', '.join(missing)}")
    apps = ZkUsdApps(
        **{
            role: App(one["tag"], bytes.fromhex(one["identity"]), bytes.fromhex(one["vk"]))
            for role, one in contracts.items()
        }
    )
    utxos: list[dict[str, Any]] = []
    if order.operation is Operation.REDEEM:
        variables = {"name": order.app_set, "scripts": [f"0x{script.hex()}"]}
        utxos = await snapshot.pages(_TOKENS, "zkusdTokenUtxos", variables)
    outpoints = [vault["outpoint"], *(contracts[role]["outpoint"] for role in ROLES), *(u["outpoint"] for u in utxos)]
    previous = await _made(snapshot, [parse_outpoint(one)[0] for one in outpoints])
    charms = _Charms(previous, network, accept_mock=accept_mock)
    states = {role: charms.held(contracts[role]["outpoint"], getattr(apps, role)) for role in ROLES}
    tokens = [charms.at(utxo["outpoint"]) for utxo in utxos]
    return Parts(
        states=States(apps=apps, **states),
        vault=charms.held(vault["outpoint"], apps.vault_manager),
        opened_tx=bytes.fromhex(vault["openedTx"]),
        tokens=tuple(sorted(tokens, key=lambda one: (-amount_of(one, apps), one.outpoint))),
        previous=previous,
    )


def draft_of(order: SpellOrder, parts: Parts, *, script: bytes, owner: bytes | None = None) -> SpellDraft:
    """The spell, yet without the coins that pay for it. ``owner``: the script of the vault's owner, where it is known.

    Raises:
        NotPossibleError: the contracts would not accept it as things stand.
        OwnerUnknownError: it pays the owner, and ``owner`` is None.
    """
    match order.operation:
        case Operation.LIQUIDATE:
            return liquidate(parts.states, parts.vault, Purse(script, ()), owner=owner)
        case Operation.REDEEM:
            tokens = _enough(parts, order.amount)
            return redeem(parts.states, parts.vault, Purse(script, (), tokens), order.amount, owner=owner)
        case Operation.RESCUE:
            return adjust(parts.states, parts.vault, Purse(script, ()), collateral=order.collateral)


async def check_vault(snapshot: Snapshot, order: SpellOrder) -> None:
    """Whether the vault of an order is still there. Raises VaultEndedError where it is not."""
    _active(order, (await snapshot.ask(_VAULT, {"name": order.app_set, "vault": order.vault}))["zkusdVault"])


def _active(order: SpellOrder, vault: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if vault is None or not vault["active"]:
        raise VaultEndedError(order, vault)
    return vault


async def request_of(snapshot: Snapshot, order: SpellOrder) -> Mapping[str, Any]:
    """What the API says that somebody who knows the apps has to do for an order; empty for a rescue."""
    document = _REQUESTS.get(order.operation)
    if document is None:
        return {}
    variables: dict[str, Any] = {"name": order.app_set}
    if order.operation is Operation.REDEEM:
        variables["amount"] = str(order.amount)
    else:
        variables["vault"] = order.vault
    found: Mapping[str, Any] = (await snapshot.ask(document, variables))["request"]
    return found


async def _made(snapshot: Snapshot, tx_ids: Sequence[bytes]) -> dict[bytes, BitcoinTransaction]:
    """The transactions of these ids, by id. Raises BehindError where the API does not have one."""
    wanted = sorted(set(tx_ids))
    asked = {"ids": [f"0x{tx_id.hex()}" for tx_id in wanted], "first": len(wanted)}
    nodes = (await snapshot.ask(_MADE, asked))["transactions"]["nodes"]
    found = [parse_transaction(bytes.fromhex(node["raw"][2:])) for node in nodes]
    made = {transaction.id: transaction for transaction in found}
    if missing := [tx_id.hex() for tx_id in wanted if tx_id not in made]:
        raise BehindError(f"the API does not have the transactions {', '.join(missing)}")
    return made


class _Charms:
    """What lies on the outputs of transactions."""

    def __init__(self, made: Mapping[bytes, BitcoinTransaction], network: BitcoinNetwork, *, accept_mock: bool) -> None:
        self._made = made
        self._network = network
        self._accept_mock = accept_mock
        self._found: dict[bytes, dict[int, dict[App, JsonValue]]] = {}

    def at(self, place: str) -> SpellInput:
        """The output, with all its charms."""
        tx_id, vout = parse_outpoint(place)
        output = self._made[tx_id].outputs[vout]
        coin = Coin(output.amount, output.script, None, coinbase=False)
        return SpellInput(OutPoint(tx_id, vout), coin, self._of(tx_id).get(vout, {}))

    def held(self, place: str, app: App) -> Held:
        """The app's charm on the output. Raises BehindError where there is none of a state's form."""
        where = self.at(place)
        data = where.charms.get(app)
        if not isinstance(data, dict):
            raise BehindError(f"there is no state of {app.identity.hex()} at {place}")
        return Held(where, data)

    def _of(self, tx_id: bytes) -> dict[int, dict[App, JsonValue]]:
        if tx_id not in self._found:
            event = read_spell(self._made[tx_id], self._network, accept_mock=self._accept_mock)
            self._found[tx_id] = {} if event is None else charms_made(event)
        return self._found[tx_id]


def _enough(parts: Parts, amount: int) -> tuple[SpellInput, ...]:
    """Own outputs with as much zkUSD. Raises NotPossibleError."""
    chosen: list[SpellInput] = []
    for one in parts.tokens:
        if sum(amount_of(taken, parts.states.apps) for taken in chosen) >= amount:
            break
        chosen.append(one)
    if sum(amount_of(taken, parts.states.apps) for taken in chosen) < amount:
        raise NotPossibleError(f"the keeper does not hold {amount} base units of zkUSD")
    return tuple(chosen)
