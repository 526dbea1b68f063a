"""Spells that no contract would allow, and transactions that harm charms: what an index of Charms has to cope with.

A mock proof proves nothing, so whoever has the keys can write any of these; the weaknesses are those that the apps
deployed on testnet4 have. Each case is a method of `Adversary` that sends one transaction, or the few that belong
together.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from clarion.chains.bitcoin.charms.drafts import CHARM_SATS, SpellDraft, SpellInput, SpellOutput, outpoint_identity
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.locate import spell_output
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue
from clarion.dev.bitcoin.chain_view import ChainView
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.sender import FEERATE, Sender
from clarion.dev.bitcoin.spell_builder import payload, with_change, witness_transactions
from clarion.dev.bitcoin.zkusd_apps import SCROLLS, UNIT, pool_state, vault, vault_manager_state
from clarion.dev.bitcoin.zkusd_operations import ZkUsd
from clarion.protocols.zkusd.apps import Data
from clarion.protocols.zkusd.operations import Held
from clarion.protocols.zkusd.terms import NotPossibleError

HARMLESS: Final = (
    "impostor_state",
    "destroyed_token",
    "undecodable_spell",
    "foreign_token",
    "witness_spell",
    "unsupported_version",
    "beamed_out",
    "invalid_spell",
)
"""Cases that leave zkUSD's own states as they are, so that its operations go on."""

HARMFUL: Final = (
    "unbacked_collateral",
    "unbacked_mint",
    "price_of_the_sender",
    "closed_without_totals",
    "healthy_vault_liquidated",
    "redeemed_from_nobody",
    "forked_state",
    "destroyed_vault",
    "nested_pool",
    "numbers_as_text",
)
"""Cases that break zkUSD's own figures for good."""

DUST_VAULT_SATS: Final = Sats(547)


class Adversary:
    """One troublemaker, who has everybody's keys."""

    def __init__(self, zkusd: ZkUsd, view: ChainView, sender: Sender, who: Key) -> None:
        self._zkusd = zkusd
        self._apps = zkusd.apps
        self._view = view
        self._sender = sender
        self._who = who

    async def do(self, case: str) -> None:
        """Do what the case is called.

        Raises:
            NotPossibleError: there is nothing that it could be done with.
            RpcError: the node refuses.
        """
        if case not in (*HARMLESS, *HARMFUL):
            raise ValueError(f"no case is called {case!r}")
        await getattr(self, case)()

    # --- what leaves zkUSD's states alone

    async def impostor_state(self) -> None:
        """A second state of the vault manager, under the same contract and the identity zero."""
        app = App("s", bytes(32), self._apps.vault_manager.vk)
        state: Data = vault_manager_state(self._apps)
        await self._cast([self._coin()], [SpellOutput(self._who.taproot_script, {app: state})], {app: "deploy"})

    async def destroyed_token(self) -> None:
        """Zkusd that is spent by somebody who knows nothing of charms."""
        mine = [one for one in self._view.of_script(self._who.taproot_script) if self._apps.zkusd in one.charms]
        if not mine:
            raise NotPossibleError(f"{self._who.name} has no zkUSD to lose")
        await self._sender.pay([mine[0], self._coin()], [], self._who)

    async def undecodable_spell(self) -> None:
        """A spell in which there is no spell."""
        await self._carry(b"\x82\xa1\x67version\x0f\x40")

    async def unsupported_version(self) -> None:
        """A spell of the version after the last one that is known."""
        draft = self._foreign(LATEST_VERSION + 1)
        await self._sender.cast_unchecked(draft, self._who)

    async def invalid_spell(self) -> None:
        """A spell that is no mock, with a proof that is none."""
        draft = self._foreign(LATEST_VERSION)
        coin = draft.inputs[0]
        made = [Output(one.amount, one.script) for one in draft.outputs]
        await self._pay(coin, [*made, spell_output(payload(draft, mock=False))])

    async def foreign_token(self) -> BitcoinTransaction:
        """A token that has nothing to do with zkUSD, with a description, minted and partly sent on."""
        draft = self._foreign(LATEST_VERSION)
        minted = await self._sender.cast_unchecked(draft, self._who)
        app = next(app for app in draft.apps() if app.tag == "t")
        held = next(where for where, _ in self._view.with_charm(app))
        outputs = [SpellOutput(SCROLLS.segwit_script, {app: 300}), SpellOutput(self._who.taproot_script, {app: 700})]
        await self._cast([held, self._coin()], outputs, {})
        return minted

    async def witness_spell(self) -> None:
        """A spell as it was written before version 9: in a witness, with a transaction that commits to it."""
        funding = self._coin()
        app = App("t", outpoint_identity(funding.outpoint), b"\x22" * 32)
        draft = SpellDraft([], [SpellOutput(self._who.taproot_script, {app: 5_000})], version=8)
        script = self._who.taproot_script
        commit, spell = witness_transactions(draft, funding, self._who, change=script, feerate=FEERATE)
        await self._sender.send(commit, [funding.coin])
        committed = Coin(commit.outputs[0].amount, commit.outputs[0].script, None, coinbase=False)
        await self._sender.send(spell, [committed])

    async def beamed_out(self) -> None:
        """A foreign token on its way to another chain."""
        coin = self._coin()
        app = App("t", outpoint_identity(coin.outpoint), b"\x33" * 32)
        await self._cast([coin], [SpellOutput(self._who.taproot_script, {app: 9}, beamed_to=b"\x44" * 32)], {})

    # --- what zkUSD's states do not survive

    async def unbacked_collateral(self) -> None:
        """A vault that says that it has a bitcoin, at an output of dust."""
        coin = self._coin()
        made = vault(outpoint_identity(coin.outpoint), self._who, collateral=UNIT, debt=50 * UNIT, block=1)
        manager = self._zkusd.vault_manager()
        await self._cast(
            [coin, manager.where],
            [
                SpellOutput(SCROLLS.segwit_script, {self._apps.vault_manager: made}, DUST_VAULT_SATS),
                self._same(manager, self._totals(manager, UNIT, 50 * UNIT, 1)),
            ],
            {self._apps.vault_manager: "open"},
        )

    async def unbacked_mint(self) -> None:
        """Zkusd that the supply does not know of."""
        await self._cast([self._coin()], [SpellOutput(self._who.taproot_script, {self._apps.zkusd: 77 * UNIT})], {})

    async def price_of_the_sender(self) -> None:
        """A price that whoever cast the spell made up, in the vault manager's public input."""
        manager = self._zkusd.vault_manager()
        made_up: Data = {
            "price": 2_000 * UNIT,
            "timestamp_block": self._view.height,
            "source": "Mock",
            "confidence": 100,
        }
        await self._cast(
            [manager.where, self._coin()], [self._same(manager, manager.data)], {self._apps.vault_manager: made_up}
        )

    async def closed_without_totals(self) -> None:
        """A vault that ends while the totals still count it."""
        victim, manager = self._victim(), self._zkusd.vault_manager()
        await self._cast(
            [victim.where, manager.where, self._coin()],
            [self._same(manager, manager.data)],
            {self._apps.vault_manager: "close"},
        )

    async def healthy_vault_liquidated(self) -> None:
        """A vault that is worth enough, marked as liquidated while its amounts and the pool stay as they are."""
        victim, manager = self._victim(), self._zkusd.vault_manager()
        await self._cast(
            [victim.where, manager.where, self._coin()],
            [self._same(victim, victim.data | {"status": "Liquidated"}), self._same(manager, manager.data)],
            {self._apps.vault_manager: "liquidate"},
        )

    async def redeemed_from_nobody(self) -> None:
        """Zkusd that is redeemed while no vault's debt falls."""
        token, manager = self._zkusd.token(), self._zkusd.vault_manager()
        held, amount = next(
            (where, data)
            for where, data in self._view.with_charm(self._apps.zkusd)
            if where.charms.keys() == {self._apps.zkusd} and isinstance(data, int)
        )
        state = token.data | {"total_supply": token["total_supply"] - amount}
        await self._cast(
            [held, token.where, manager.where, self._coin()],
            [self._same(token, state), self._same(manager, manager.data)],
            {self._apps.vault_manager: "redeem"},
        )

    async def forked_state(self) -> None:
        """A state that becomes two."""
        oracle = self._zkusd.oracle()
        other = SpellOutput(self._who.taproot_script, {self._apps.oracle: oracle.data})
        await self._cast([oracle.where, self._coin()], [self._same(oracle, oracle.data), other], {})

    async def destroyed_vault(self) -> None:
        """A vault that is spent without a spell."""
        await self._sender.pay([self._victim().where, self._coin()], [], self._who)

    async def nested_pool(self) -> None:
        """The pool's state as ``config`` and ``state``, with numbers that are written as text."""
        pool = self._zkusd.pool()
        names = ("zkusd_token_id", "vault_manager_id", "admin")
        state = {name: value for name, value in pool.data.items() if name in pool_state(self._apps)}
        nested: Data = {
            "config": {name: state[name] for name in names},
            "state": {name: value for name, value in state.items() if name not in names and not name.endswith("_vk")}
            | {"product_p": str(state["product_p"])},
        }
        output = SpellOutput(
            pool.where.coin.script, {**pool.where.charms, self._app(pool): nested}, pool.where.coin.amount
        )
        await self._cast([pool.where, self._coin()], [output], {})

    async def numbers_as_text(self) -> None:
        """A vault whose status is a number, as spell templates write it."""
        victim, manager = self._victim(), self._zkusd.vault_manager()
        await self._cast(
            [victim.where, manager.where, self._coin()],
            [self._same(victim, victim.data | {"status": 0}), self._same(manager, manager.data)],
            {self._apps.vault_manager: "adjust"},
        )

    async def _cast(
        self, inputs: list[SpellInput], outputs: list[SpellOutput], public_inputs: dict[App, JsonValue]
    ) -> BitcoinTransaction:
        return await self._sender.cast_unchecked(SpellDraft(inputs, outputs, public_inputs), self._who)

    async def _carry(self, data: bytes) -> None:
        await self._pay(self._coin(), [spell_output(data)])

    async def _pay(self, coin: SpellInput, outputs: list[Output]) -> None:
        unsigned = with_change([coin.outpoint], [coin.coin], outputs, change=self._who.taproot_script, feerate=FEERATE)
        await self._sender.send(unsigned, [coin.coin])

    def _foreign(self, version: int) -> SpellDraft:
        coin = self._coin()
        app = App("t", outpoint_identity(coin.outpoint), b"\x11" * 32)
        described = msgspec.structs.replace(app, tag="n")
        data: Data = {"name": "Foreign", "ticker": "FRGN", "decimals": 2}
        script = self._who.taproot_script
        outputs = [SpellOutput(script, {app: 1_000}), SpellOutput(script, {described: data}, CHARM_SATS)]
        return SpellDraft([coin], outputs, version=version)

    def _coin(self) -> SpellInput:
        plain = [one for one in self._view.of_script(self._who.taproot_script) if not one.charms]
        if not plain:
            raise NotPossibleError(f"{self._who.name} has no coins")
        return max(plain, key=lambda one: (one.coin.amount, one.outpoint))

    def _victim(self) -> Held:
        vaults = [one for one in self._zkusd.vaults() if one["status"] == "Active"]
        if not vaults:
            raise NotPossibleError("there is no vault")
        return max(vaults, key=lambda one: one["collateral"])

    def _app(self, held: Held) -> App:
        return next(app for app, data in held.where.charms.items() if data == held.data)

    def _same(self, held: Held, data: Any) -> SpellOutput:
        """A charm at the same place, with other data."""
        return SpellOutput(held.where.coin.script, {self._app(held): data}, held.where.coin.amount)

    def _totals(self, manager: Held, collateral: int, debt: int, vaults: int) -> Data:
        totals = manager["protocol"]
        return manager.data | {
            "protocol": totals
            | {
                "total_collateral": totals["total_collateral"] + collateral,
                "total_debt": totals["total_debt"] + debt,
                "active_vault_count": totals["active_vault_count"] + vaults,
            }
        }
