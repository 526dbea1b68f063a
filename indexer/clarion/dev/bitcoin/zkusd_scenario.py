"""Plays a cast on a regtest: vaults are opened, changed, liquidated, redeemed from and closed while the price moves.

What is done next follows from the seed and what the chain shows, so a scenario goes on wherever it finds itself: after
a restart, and after a reorganization.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import structlog

from clarion.chains.bitcoin.charms.apps import AppRefusedError
from clarion.chains.bitcoin.charms.drafts import DraftError, SpellDraft
from clarion.chains.bitcoin.rpc import RpcError
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.adversary import HARMLESS, Adversary
from clarion.dev.bitcoin.chain_view import Call, ChainView
from clarion.dev.bitcoin.keys import Key, key
from clarion.dev.bitcoin.premine import FAUCET, MINER, deployment_coins, zkusd_apps
from clarion.dev.bitcoin.sender import Sender
from clarion.dev.bitcoin.zkusd_apps import DEPLOYER, FEES, ORACLE, SCROLLS, UNIT
from clarion.dev.bitcoin.zkusd_operations import ZkUsd
from clarion.protocols.zkusd.apps import contracts, owner_of
from clarion.protocols.zkusd.operations import Held
from clarion.protocols.zkusd.terms import CRITICAL_PERCENT, MINIMUM_PERCENT, NotPossibleError

BORROWERS: Final = tuple(key(f"zkusd borrower {number}") for number in range(1, 7))
"""The first half looks after its vaults, the other half does not."""
KEEPER: Final = key("zkusd keeper")
REDEEMER: Final = key("zkusd redeemer")
TROUBLEMAKER: Final = key("zkusd troublemaker")
CAST: Final = (*BORROWERS, KEEPER, REDEEMER, TROUBLEMAKER, ORACLE)
ALL_KEYS: Final = (*CAST, DEPLOYER, SCROLLS, FEES, FAUCET, MINER)

PURSES: Final = 4
"""Coins that everybody is given."""
PURSE: Final = Sats(UNIT)
CYCLE_BLOCKS: Final = 60
"""The market falls and recovers once in as many blocks."""
LOWEST_SHARE: Final = 62
"""Where the market falls to, in percent of where it began."""
TROUBLE_BLOCKS: Final = 7
FORK_BLOCKS: Final = 25
DEEPEST_FORK: Final = 3

log = structlog.get_logger("clarion.zkusd_scenario")


def market_price(seed: int, height: int) -> int:
    """What a bitcoin is worth in base units: down for half a cycle and up for the other half, and never still."""
    at = height % CYCLE_BLOCKS
    fall = 2 * (100 - LOWEST_SHARE) * min(at, CYCLE_BLOCKS - at) * UNIT // CYCLE_BLOCKS
    jitter = Random(f"market {seed} {height}").randrange(-UNIT // 2, UNIT // 2)
    return (100 * UNIT - fall + jitter) * 1_000


@dataclass(frozen=True, slots=True)
class _Move:
    """Something to do, which is worked out when its turn comes: what came before it changed the states."""

    note: str
    payer: Key
    draft: Callable[[], SpellDraft]


class ZkUsdScenario:
    """One cast on one regtest.

    ``keeper_blocks``: for how many blocks the cast leaves zkUSD's states alone where a vault can be liquidated, so that
    somebody else's keeper can do it; then it does it itself.
    """

    def __init__(self, call: Call, *, seed: int, forks: bool = True, keeper_blocks: int = 0) -> None:
        self._call = call
        self._seed = seed
        self._forks = forks
        self.view = ChainView(call)
        self.zkusd = ZkUsd(zkusd_apps(seed), self.view)
        self.sender = Sender(call, self.view, ALL_KEYS, contracts())
        self._adversary = Adversary(self.zkusd, self.view, self.sender, TROUBLEMAKER)
        self._acted_at = -1
        self._keeper_blocks = keeper_blocks
        self._left_alone: dict[bytes, int] = {}
        """Vaults that could be liquidated at the last look, with the height of the first one."""

    async def prepare(self) -> None:
        """Pay the cast and deploy the apps, where that has not been done yet.

        Raises:
            DraftError, AppRefusedError, RpcError: it cannot be done, for example on a chain of another seed.
        """
        await self.view.sync()
        if not any(self.view.of_script(who.taproot_script) for who in CAST):
            coin = next(one for one in self.view.of_script(FAUCET.taproot_script) if self.view.is_mature(one))
            await self.sender.pay([coin], [(who.taproot_script, PURSE) for who in CAST for _ in range(PURSES)], FAUCET)
        names = ("oracle", "token", "vault_manager", "stability_pool")
        for name, outpoint in zip(names, deployment_coins(self._seed), strict=True):
            coin_there = self.view.outputs.get(outpoint)
            if coin_there is not None:
                await self.sender.cast(self.zkusd.deploy(name, coin_there), DEPLOYER)
                log.info(f"{name} is deployed")

    async def run(self) -> None:
        """Prepare, then act in every block, until cancelled."""
        await self.prepare()
        while True:
            await self.act()
            await self._call("waitfornewblock", 0, self.view.tip.hash.hex())

    async def act(self) -> list[str]:
        """Do what is to be done at this height; gives notes of what the node took."""
        await self.view.sync()
        height = self.view.height
        if not self.zkusd.is_deployed():  # a reorganization took the deployment back, and it waits again
            await self.prepare()
        done = []
        if not self._stands_still(height):
            random = Random(f"scenario {self._seed} {height}")
            done = [move.note for move in self._moves(random) if await self._try(move.note, self._cast(move))]
        if height > self._acted_at:
            self._acted_at = height
            done += await self._disturb(height)
        return done

    async def _cast(self, move: _Move) -> None:
        await self.sender.cast(move.draft(), move.payer)

    async def _try(self, note: str, doing: Awaitable[Any]) -> bool:
        try:
            await doing
        except (NotPossibleError, DraftError, AppRefusedError, RpcError) as error:
            log.debug(f"{note}: not now", why=str(error))
            return False
        log.info(note)
        return True

    async def _disturb(self, height: int) -> list[str]:
        """Now and then somebody does what no contract allows, and now and then the chain forks."""
        done = []
        if height % TROUBLE_BLOCKS == 0:
            case = HARMLESS[height // TROUBLE_BLOCKS % len(HARMLESS)]
            if await self._try(case, self._adversary.do(case)):
                done.append(case)
        if self._forks and height % FORK_BLOCKS == 0:
            depth = 1 + height // FORK_BLOCKS % DEEPEST_FORK
            if await self._try(f"fork of {depth}", self._call("fork", depth, MINER.address)):
                done.append(f"fork of {depth}")
        return done

    def _stands_still(self, height: int) -> bool:
        """Whether a keeper is given time for a vault."""
        zkusd = self.zkusd
        found = [bytes(vault["id"]) for vault in zkusd.vaults() if zkusd.is_liquidatable(vault)]
        self._left_alone = {one: self._left_alone.get(one, height) for one in found}
        return any(height - since < self._keeper_blocks for since in self._left_alone.values())

    def _moves(self, random: Random) -> Iterator[_Move]:
        zkusd = self.zkusd
        price = market_price(self._seed, self.view.height)
        yield _Move("the price moves", ORACLE, lambda: zkusd.update_price(price))
        for vault in zkusd.vaults():
            if zkusd.is_liquidatable(vault) and self._is_left_to_us(vault):
                owner = _owner(vault)
                yield _Move(
                    f"{owner.name} is liquidated",
                    KEEPER,
                    lambda vault=vault, owner=owner: zkusd.liquidate(KEEPER, _again(zkusd, vault), owner),  # type: ignore[misc]
                )
        for borrower in random.sample(BORROWERS, 2):
            move = self._of_borrower(borrower, random)
            if move is not None:
                yield move
        if random.random() < 0.3:
            yield from self._redemption(random)

    def _is_left_to_us(self, vault: Held) -> bool:
        """Whether no keeper is to be given time for a vault first."""
        return not self._keeper_blocks or bytes(vault["id"]) in self._left_alone

    def _of_borrower(self, who: Key, random: Random) -> _Move | None:
        zkusd, name = self.zkusd, who.name
        careful = who in BORROWERS[: len(BORROWERS) // 2]
        vault = next(iter(zkusd.vaults(who)), None)
        falling = self.view.height % CYCLE_BLOCKS < CYCLE_BLOCKS // 2
        if vault is None:
            borrow = random.randrange(200, 2_000) * UNIT
            target = random.randrange(190, 260) if careful else random.randrange(160, 185)
            collateral = borrow * UNIT // zkusd.price() * target // 100
            return _Move(f"{name} opens a vault", who, lambda: zkusd.open(who, collateral=collateral, borrow=borrow))
        ratio = zkusd.ratio(vault)
        if careful and falling and ratio < CRITICAL_PERCENT + 10:
            more = vault["collateral"] // 4
            return _Move(f"{name} adds collateral", who, lambda: zkusd.adjust(who, vault, collateral=more))
        balance = zkusd.balance(who)
        recipient = random.choice((REDEEMER, REDEEMER, TROUBLEMAKER)).taproot_script
        choices = [
            _Move(f"{name} borrows more", who, lambda: zkusd.adjust(who, vault, debt=20 * UNIT)),
            _Move(f"{name} repays", who, lambda: zkusd.adjust(who, vault, debt=-10 * UNIT)),
            _Move(f"{name} withdraws", who, lambda: zkusd.adjust(who, vault, collateral=-(vault["collateral"] // 50))),
            _Move(f"{name} changes a deposit", who, lambda: zkusd.position(who, self._deposit(who, random))),
            _Move(f"{name} deposits", who, lambda: zkusd.position(who, self._deposit(who, random))),
            _Move(f"{name} sends zkUSD", who, lambda: zkusd.transfer(who, recipient, max(balance // 10, 1))),
        ]
        if balance > vault["debt"] and not falling:
            choices.append(_Move(f"{name} closes a vault", who, lambda: zkusd.close(who, vault)))
        return random.choice(choices)

    def _deposit(self, who: Key, random: Random) -> int:
        """What somebody wants to have in the pool: some of what it has, or nothing any more."""
        held = self.zkusd.balance(who)
        return 0 if random.random() < 0.2 else max(held * random.randrange(40, 90) // 100, UNIT)

    def _redemption(self, random: Random) -> Iterator[_Move]:
        """From the vault with the lowest ratio that cannot be liquidated."""
        zkusd = self.zkusd
        candidates = sorted(zkusd.vaults(), key=zkusd.ratio)
        vault = next((one for one in candidates if zkusd.ratio(one) >= MINIMUM_PERCENT), None)
        amount = zkusd.balance(REDEEMER) * random.randrange(20, 80) // 100
        if vault is not None and amount >= UNIT:
            owner = _owner(vault)
            yield _Move(
                f"{REDEEMER.name} redeems from {owner.name}",
                REDEEMER,
                lambda: zkusd.redeem(REDEEMER, _again(zkusd, vault), amount, owner=owner),
            )


def _owner(vault: Held) -> Key:
    return next(who for who in BORROWERS if owner_of(who.taproot_script) == vault["owner"])


def _again(zkusd: ZkUsd, vault: Held) -> Held:
    """The vault as it is by now."""
    found = next((one for one in zkusd.vaults() if one["id"] == vault["id"]), None)
    if found is None:
        raise NotPossibleError("the vault is gone")
    return found
