"""A ledger with zkUSD on it: makes a transaction for every operation, asks the contracts, applies what they allow.

Every operation is first a draft that a test may falsify. The figures of a draft follow from the rules as they are
written in contracts/charms/README.md, computed here anew with Python's integers.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clarion.chains.bitcoin.charms.apps import (
    AppInput,
    AppOutput,
    AppTransaction,
    check_contracts,
    module_key,
    packaged_apps,
)
from clarion.chains.bitcoin.charms.cbor import Map, Value
from clarion.chains.bitcoin.charms.spells import App, Coin

ONE = 10**8
PRODUCT_UNIT = 10**18
SCALE = 10**9
POOL_BASE = 1_000
MIN_DEBT = 10 * ONE
RESERVE = 2 * ONE
PRICE = 100_000 * ONE
CHARM_SATS = 600

MODULES = packaged_apps("zkusd")
KEYS = {name: module_key(wasm) for name, wasm in MODULES.items()}
BY_KEY = {KEYS[name]: wasm for name, wasm in MODULES.items()}


def script(name: str) -> bytes:
    """A P2WPKH script of somebody."""
    return b"\x00\x14" + hashlib.sha256(name.encode()).digest()[:20]


def holder(name: str) -> list[int]:
    """What the charms call somebody: the SHA-256 of the script."""
    return list(hashlib.sha256(script(name)).digest())


def outpoint_hash(outpoint: bytes) -> bytes:
    text = f"{outpoint[:32][::-1].hex()}:{int.from_bytes(outpoint[32:], 'little')}"
    return hashlib.sha256(text.encode()).digest()


def charm(data: Any) -> Value:
    """Python's dictionaries as CBOR's maps, in their order."""
    if isinstance(data, dict):
        return Map([(key, charm(value)) for key, value in data.items()])
    if isinstance(data, list):
        return [charm(item) for item in data]
    return data


ZERO = [0] * 32


@dataclass
class Out:
    """An output of a draft: charms are Python dictionaries."""

    script: bytes
    sats: int
    charms: dict[App, Any] = field(default_factory=dict)


@dataclass
class Draft:
    """A transaction that is being made."""

    ins: list[bytes]
    outs: list[Out]
    inputs: dict[App, Any]
    refs: list[bytes] = field(default_factory=list)
    private: dict[App, Any] = field(default_factory=dict)

    def find(self, app: App, key: str | None = None) -> Out:
        """The output with a charm of this app (whose data has this key)."""
        return next(out for out in self.outs if app in out.charms and (key is None or key in out.charms[app]))


@dataclass
class Utxo:
    coin: Coin
    charms: dict[App, Any]


class Ledger:
    """Unspent outputs, and nothing else."""

    def __init__(self, name: str) -> None:
        """Ledgers of different names have different transactions."""
        self.name = name
        self.utxos: dict[bytes, Utxo] = {}
        self.spent: dict[bytes, Utxo] = {}
        self._count = 0

    def _tx_id(self) -> bytes:
        self._count += 1
        return hashlib.sha256(f"{self.name} {self._count}".encode()).digest()

    def fund(self, name: str, sats: int = 50_000_000) -> bytes:
        """A coin of somebody, from nowhere."""
        outpoint = self._tx_id() + (7).to_bytes(4, "little")
        self.utxos[outpoint] = Utxo(Coin(sats, script(name)), {})
        return outpoint

    def transaction(self, draft: Draft) -> AppTransaction:
        return AppTransaction(
            ins=[AppInput(one, self.utxos[one].coin, _charms(self.utxos[one].charms)) for one in draft.ins],
            outs=[AppOutput(Coin(out.sats, out.script), _charms(out.charms)) for out in draft.outs],
            public_inputs=_charms(draft.inputs),
            refs=[(one, _charms({**self.spent, **self.utxos}[one].charms)) for one in draft.refs],
        )

    def check(self, draft: Draft) -> list[App]:
        """Ask the contracts; gives those that were asked."""
        return check_contracts(self.transaction(draft), BY_KEY, _charms(draft.private))

    def apply(self, draft: Draft) -> list[bytes]:
        """Ask the contracts, and have the transaction happen; gives the outpoints of its outputs."""
        self.check(draft)
        assert sum(self.utxos[one].coin.amount for one in draft.ins) >= sum(out.sats for out in draft.outs)
        tx_id = self._tx_id()
        for one in draft.ins:
            self.spent[one] = self.utxos.pop(one)
        made = []
        for place, out in enumerate(draft.outs):
            outpoint = tx_id + place.to_bytes(4, "little")
            self.utxos[outpoint] = Utxo(Coin(out.sats, out.script), out.charms)
            made.append(outpoint)
        return made


def _charms(charms: dict[App, Any]) -> dict[App, Value]:
    return {app: charm(data) for app, data in charms.items()}


def ratio(collateral: int, debt: int, price: int) -> float | int:
    return (collateral * price // ONE) * 100 // debt if debt else float("inf")


def up(a: int, b: int, c: int) -> int:
    return -(-a * b // c)


def fee_of(minted: int) -> int:
    """The least part of what is minted that pays the fee for the rest."""
    fee = max(minted, 0) * 50 // 10_050
    while minted > 0 and fee < up(minted - fee, 50, 10_000):
        fee += 1
    return fee


class World(Ledger):
    """A ledger with an instance of zkUSD, and drafts of its operations."""

    def __init__(self, price: int = PRICE, name: str = "ledger") -> None:
        super().__init__(name)
        roots = [self.fund("deployer") for _ in range(4)]
        ids = [outpoint_hash(root) for root in roots]
        self.oracle = App("s", ids[0], KEYS["oracle"])
        self.token_state = App("s", ids[1], KEYS["token"])
        self.token = App("t", ids[1], KEYS["token"])
        self.description = App("n", ids[1], KEYS["token"])
        self.vaults = App("s", ids[2], KEYS["vault_manager"])
        self.pool = App("s", ids[3], KEYS["stability_pool"])
        self.deposits = App("n", ids[3], KEYS["stability_pool"])
        self.roots = roots
        self.deployment = self._deployment(price)
        self.apply(self.deployment)

    def _deployment(self, price: int) -> Draft:
        oracle = {
            "price": {"price": price, "timestamp_block": 100, "source": "Mock", "confidence": 100},
            "operator": holder("operator"),
            "admin": holder("admin"),
            "is_active": True,
            "last_valid_price": price,
        }
        token = {
            "admin": ZERO,
            "authorized_minter": list(self.vaults.identity),
            "authorized_minter_vk": list(self.vaults.vk),
            "total_supply": 0,
        }
        manager = {
            "protocol": {
                "total_collateral": 0,
                "total_debt": 0,
                "active_vault_count": 0,
                "base_rate": 0,
                "last_fee_update_block": 0,
                "admin": holder("admin"),
                "is_paused": False,
            },
            "zkusd_token_id": list(self.token.identity),
            "zkusd_token_vk": list(self.token.vk),
            "stability_pool_id": list(self.pool.identity),
            "stability_pool_vk": list(self.pool.vk),
            "price_oracle_id": list(self.oracle.identity),
            "price_oracle_vk": list(self.oracle.vk),
            "active_pool": ZERO,
            "default_pool": ZERO,
            "fee_receiver": holder("treasury"),
            "min_debt": MIN_DEBT,
            "liquidation_reserve": RESERVE,
        }
        pool = {
            "zkusd_token_id": list(self.token.identity),
            "zkusd_token_vk": list(self.token.vk),
            "vault_manager_id": list(self.vaults.identity),
            "vault_manager_vk": list(self.vaults.vk),
            "admin": ZERO,
            "total_zkusd": 0,
            "total_btc": 0,
            "product_p": PRODUCT_UNIT,
            "sum_s": 0,
            "current_epoch": 0,
            "current_scale": 0,
            "depositor_count": 0,
            "past_sums": [],
        }
        return Draft(
            ins=list(self.roots),
            outs=[
                Out(script("scroll"), CHARM_SATS, {self.oracle: oracle}),
                Out(script("scroll"), CHARM_SATS, {self.token_state: token}),
                Out(script("scroll"), CHARM_SATS, {self.vaults: manager}),
                Out(script("scroll"), POOL_BASE, {self.pool: pool}),
                Out(script("deployer"), CHARM_SATS, {self.description: {"name": "zkUSD", "decimals": 8}}),
            ],
            inputs={
                self.oracle: "deploy",
                self.token_state: None,
                self.description: None,
                self.vaults: "deploy",
                self.pool: "deploy",
            },
        )

    # what there is

    def where(self, app: App, key: str | None = None) -> bytes:
        """The only unspent output with a charm of this app (whose data has this key)."""
        (found,) = self.all(app, key)
        return found

    def all(self, app: App, key: str | None = None) -> list[bytes]:
        return [
            outpoint
            for outpoint, utxo in self.utxos.items()
            if app in utxo.charms and (key is None or key in utxo.charms[app])
        ]

    def data(self, app: App, key: str | None = None) -> Any:
        return self.utxos[self.where(app, key)].charms[app]

    @property
    def state(self) -> Any:
        return self.data(self.vaults, "protocol")

    @property
    def price(self) -> int:
        return self.data(self.oracle)["price"]["price"]

    @property
    def block(self) -> int:
        return self.data(self.oracle)["price"]["timestamp_block"]

    @property
    def supply(self) -> int:
        return self.data(self.token_state)["total_supply"]

    def vault(self, outpoint: bytes) -> Any:
        return self.utxos[outpoint].charms[self.vaults]

    def total_ratio(self) -> float | int:
        protocol = self.state["protocol"]
        return ratio(protocol["total_collateral"], protocol["total_debt"], self.price)

    def tokens_of(self, name: str) -> list[bytes]:
        return [one for one in self.all(self.token) if self.utxos[one].coin.script == script(name)]

    def balance(self, name: str) -> int:
        return sum(self.utxos[one].charms[self.token] for one in self.tokens_of(name))

    # the parts of drafts

    def _scroll(self, app: App, data: Any, sats: int = CHARM_SATS) -> Out:
        return Out(script("scroll"), sats, {app: data})

    def _use_oracle(self, draft: Draft) -> None:
        draft.ins.append(self.where(self.oracle))
        draft.outs.append(self._scroll(self.oracle, self.data(self.oracle)))
        draft.inputs[self.oracle] = "use"

    def _tokens(self, draft: Draft, name: str, change: int, gifts: dict[str, int] | None = None) -> None:
        """Somebody's tokens go in and come out, changed by ``change``; ``gifts`` come out for others on top."""
        spent = self.tokens_of(name) if change < 0 else []
        draft.ins += spent
        left = sum(self.utxos[one].charms[self.token] for one in spent) + change
        for receiver, amount in {name: left, **(gifts or {})}.items():
            if amount:
                draft.outs.append(Out(script(receiver), CHARM_SATS, {self.token: amount}))
        draft.inputs[self.token] = None

    def _supply(self, draft: Draft, change: int) -> None:
        if change:
            draft.ins.append(self.where(self.token_state))
            data = self.data(self.token_state)
            draft.outs.append(self._scroll(self.token_state, {**data, "total_supply": data["total_supply"] + change}))
            draft.inputs[self.token_state] = None

    def _totals(self, draft: Draft, collateral: int, debt: int, count: int) -> None:
        draft.ins.append(self.where(self.vaults, "protocol"))
        state = self.state
        protocol = state["protocol"]
        changed = {
            **protocol,
            "total_collateral": protocol["total_collateral"] + collateral,
            "total_debt": protocol["total_debt"] + debt,
            "active_vault_count": protocol["active_vault_count"] + count,
        }
        draft.outs.append(self._scroll(self.vaults, {**state, "protocol": changed}))

    def _vault_out(self, draft: Draft, vault: Any) -> None:
        draft.outs.append(self._scroll(self.vaults, vault, vault["collateral"]))

    # operations

    def open(self, owner: str, collateral: int, wanted: int) -> Draft:
        """``wanted`` is what the owner receives; fee and reserve come on top of it in the debt."""
        fee = up(wanted, 50, 10_000)
        funding = self.fund(owner, collateral + 50_000)
        draft = Draft([funding], [], {self.vaults: "open"})
        debt = wanted + fee + RESERVE
        self._totals(draft, collateral, debt, 1)
        self._use_oracle(draft)
        self._supply(draft, wanted + fee)
        vault = {
            "id": list(outpoint_hash(funding)),
            "owner": holder(owner),
            "collateral": collateral,
            "debt": debt,
            "created_at": self.block,
            "last_updated": self.block,
            "status": "Active",
            "interest_rate_bps": 0,
            "accrued_interest": 0,
            "redistributed_debt": 0,
            "redistributed_collateral": 0,
            "insurance_balance": 0,
        }
        self._vault_out(draft, vault)
        self._tokens(draft, owner, wanted, {"treasury": fee})
        return draft

    def adjust(self, outpoint: bytes, who: str, collateral: int = 0, debt: int = 0) -> Draft:
        """``debt`` is what the debt changes by; where it grows, the fee goes off what ``who`` receives."""
        vault = self.vault(outpoint)
        draft = Draft([self.fund(who, max(collateral, 0) + 50_000), outpoint], [], {self.vaults: "adjust"})
        self._totals(draft, collateral, debt, 0)
        risky = collateral < 0 or debt > 0
        if risky:
            self._use_oracle(draft)
        self._supply(draft, debt)
        fee = fee_of(debt)
        changed = {**vault, "collateral": vault["collateral"] + collateral, "debt": vault["debt"] + debt}
        self._vault_out(draft, {**changed, "last_updated": self.block} if risky else changed)
        if debt:
            self._tokens(draft, who, debt - fee, {"treasury": fee})
        return draft

    def close(self, outpoint: bytes, owner: str) -> Draft:
        vault = self.vault(outpoint)
        draft = Draft([self.fund(owner), outpoint], [], {self.vaults: "close"})
        self._totals(draft, -vault["collateral"], -vault["debt"], -1)
        self._supply(draft, RESERVE - vault["debt"])
        draft.outs.append(Out(script(owner), vault["collateral"]))
        self._tokens(draft, owner, RESERVE - vault["debt"])
        return draft

    def redeem(self, outpoint: bytes, who: str, amount: int, owner: str | None = None) -> Draft:
        """Without ``owner`` the vault goes on; with it all of its debt is paid and it ends."""
        vault = self.vault(outpoint)
        worth = amount * ONE // self.price
        taken = worth - up(worth, 75, 10_000)
        left = vault["collateral"] - taken
        draft = Draft([self.fund(who), outpoint], [], {self.vaults: "redeem"})
        if owner is None:
            self._totals(draft, -taken, -amount, 0)
            self._vault_out(
                draft, {**vault, "collateral": left, "debt": vault["debt"] - amount, "last_updated": self.block}
            )
        else:
            self._totals(draft, -vault["collateral"], -vault["debt"], -1)
        self._use_oracle(draft)
        self._supply(draft, -amount)
        if owner is not None:
            draft.outs.append(Out(script(owner), left))
        draft.outs.append(Out(script(who), taken))
        self._tokens(draft, who, -amount)
        return draft

    def liquidate(self, outpoint: bytes, who: str, owner: str) -> Draft:
        vault, pool = self.vault(outpoint), self.data(self.pool)
        own = ratio(vault["collateral"], vault["debt"], self.price)
        available = max(pool["total_zkusd"] - ONE, 0)
        paid, seized = vault["debt"], vault["collateral"]
        if own >= 110:
            seized = min(seized, (paid * 110 // 100) * ONE // self.price)
        elif available < paid:
            paid = min(available, vault["debt"] - MIN_DEBT)
            seized = vault["collateral"] * paid // vault["debt"]
        bonus = seized * 50 // 10_000
        left = vault["collateral"] - seized
        whole = paid == vault["debt"]
        draft = Draft([self.fund(who), outpoint], [], {self.vaults: "liquidate", self.pool: "offset"})
        self._totals(draft, -vault["collateral"] if whole else -seized, -paid, -1 if whole else 0)
        self._use_oracle(draft)
        self._supply(draft, (RESERVE if whole else 0) - paid)
        if whole and left >= 546:
            draft.outs.append(Out(script(owner), left))
        draft.ins.append(self.where(self.pool))
        # where the pool cannot pay, a draft that takes what is there
        self._pool_out(draft, self.offset_pool(pool, min(paid, available), seized - bonus))
        draft.outs.append(Out(script(who), bonus))
        draft.inputs[self.token] = None
        if not whole:
            self._vault_out(
                draft, {**vault, "collateral": left, "debt": vault["debt"] - paid, "last_updated": self.block}
            )
        else:
            draft.outs.append(Out(script(who), CHARM_SATS, {self.token: RESERVE}))
        return draft

    @staticmethod
    def offset_pool(pool: Any, debt: int, coins: int) -> Any:
        """The pool after it has paid ``debt`` and received ``coins``."""
        total = pool["total_zkusd"]
        assert debt < total
        total_sum = pool["sum_s"] + coins * PRODUCT_UNIT * pool["product_p"] // total
        scales = 0
        while (product := pool["product_p"] * (total - debt) * SCALE**scales // total) < SCALE:
            scales += 1
        sums = [*pool["past_sums"], total_sum] + [0] * scales
        return {
            **pool,
            "total_zkusd": total - debt,
            "total_btc": pool["total_btc"] + coins,
            "product_p": product,
            "sum_s": sums[-1],
            "current_scale": pool["current_scale"] + scales,
            "past_sums": sums[:-1],
        }

    def _pool_out(self, draft: Draft, pool: Any) -> None:
        out = self._scroll(self.pool, pool, POOL_BASE + pool["total_btc"])
        if pool["total_zkusd"]:
            out.charms[self.token] = pool["total_zkusd"]
        draft.outs.append(out)
        draft.inputs[self.token] = None

    def worth(self, outpoint: bytes) -> tuple[int, int]:
        """zkUSD left of a deposit, and satoshis gained."""
        return self.share(self.utxos[outpoint].charms[self.deposits], self.data(self.pool))

    @staticmethod
    def share(deposit: Any, pool: Any) -> tuple[int, int]:
        value, scale = deposit["initial_value"], deposit["snapshot_scale"]
        passed = pool["current_scale"] - scale
        left = value * pool["product_p"] // deposit["snapshot_p"] // SCALE**passed if passed < 2 else 0
        sums = [*pool["past_sums"], pool["sum_s"], 0]
        gained = sums[scale] - deposit["snapshot_s"] + sums[scale + 1] // SCALE
        return (0 if left < value // SCALE else left), value * gained // deposit["snapshot_p"] // PRODUCT_UNIT

    def position(self, who: str, deposit: bytes | None, value: int) -> Draft:
        """A deposit becomes ``value`` zkUSD: from none, to none (0), or from one to another; gains are taken."""
        pool = self.data(self.pool)
        left, gained = self.worth(deposit) if deposit else (0, 0)
        draft = Draft([self.fund(who), self.where(self.pool)], [], {self.pool: "position", self.deposits: None})
        if deposit:
            draft.ins.append(deposit)
        changed = {
            **pool,
            "total_zkusd": pool["total_zkusd"] - left + value,
            "total_btc": pool["total_btc"] - gained,
            "depositor_count": pool["depositor_count"] - bool(deposit) + bool(value),
        }
        self._pool_out(draft, changed)
        if value:
            made = {
                "owner": holder(who),
                "initial_value": value,
                "snapshot_p": pool["product_p"],
                "snapshot_s": pool["sum_s"],
                "snapshot_epoch": 0,
                "snapshot_scale": pool["current_scale"],
                "last_updated": 0,
            }
            draft.outs.append(Out(script(who), CHARM_SATS, {self.deposits: made}))
        draft.outs.append(Out(script(who), gained))
        self._tokens(draft, who, left - value)
        return draft

    def update_price(self, price: int, who: str = "operator") -> Draft:
        data = self.data(self.oracle)
        said = {**data["price"], "price": price, "timestamp_block": self.block + 1}
        changed = {**data, "price": said, "last_valid_price": data["price"]["price"]}
        return Draft(
            [self.fund(who), self.where(self.oracle)],
            [self._scroll(self.oracle, changed)],
            {self.oracle: "update"},
        )

    def govern(self, who: str = "admin", **changes: Any) -> Draft:
        state = self.state
        protocol = {**state["protocol"], **{key: value for key, value in changes.items() if key in state["protocol"]}}
        changed = {**state, **{key: value for key, value in changes.items() if key in state}, "protocol": protocol}
        return Draft(
            [self.fund(who), self.where(self.vaults, "protocol")],
            [self._scroll(self.vaults, changed)],
            {self.vaults: "govern"},
        )

    def transfer(self, who: str, payments: Iterable[tuple[str, int]]) -> Draft:
        ins = self.tokens_of(who)
        payments = list(payments)
        change = self.balance(who) - sum(amount for _, amount in payments)
        outs = [
            Out(script(to), CHARM_SATS, {self.token: amount}) for to, amount in [*payments, (who, change)] if amount
        ]
        return Draft([self.fund(who), *ins], outs, {self.token: None})

    # shortcuts for tests

    def move_price(self, target: int) -> None:
        """In as many updates as it takes."""
        while (now := self.price) != target:
            furthest = now * 500 // 10_000
            self.apply(self.update_price(min(max(target, now - furthest), now + furthest)))

    def open_vault(self, owner: str, collateral: int, wanted: int) -> bytes:
        self.apply(self.open(owner, collateral, wanted))
        return self.vault_of(owner)

    def vault_of(self, owner: str) -> bytes:
        """The vault that somebody opened or changed last."""
        mine = [one for one in self.all(self.vaults, "id") if self.vault(one)["owner"] == holder(owner)]
        return mine[-1]

    def deposit(self, who: str, value: int) -> bytes:
        self.apply(self.position(who, None, value))
        return next(one for one in reversed(self.all(self.deposits)) if self.utxos[one].coin.script == script(who))

    def check_invariants(self) -> None:
        """What must hold after every transaction that the contracts allowed."""
        vaults = [self.utxos[one] for one in self.all(self.vaults, "id")]
        data = [utxo.charms[self.vaults] for utxo in vaults]
        protocol = self.state["protocol"]
        assert [utxo.coin.amount for utxo in vaults] == [vault["collateral"] for vault in data]
        assert protocol["total_collateral"] == sum(vault["collateral"] for vault in data)
        assert protocol["total_debt"] == sum(vault["debt"] for vault in data)
        assert protocol["active_vault_count"] == len(data)
        assert len({bytes(vault["id"]) for vault in data}) == len(data)
        balances = sum(self.utxos[one].charms[self.token] for one in self.all(self.token))
        assert self.supply == balances == protocol["total_debt"] - RESERVE * len(data)
        pool = self.data(self.pool)
        held = self.utxos[self.where(self.pool)]
        assert held.coin.amount == POOL_BASE + pool["total_btc"]
        assert held.charms.get(self.token, 0) == pool["total_zkusd"]
        deposits = [self.worth(one) for one in self.all(self.deposits)]
        assert pool["depositor_count"] == len(deposits)
        assert sum(left for left, _ in deposits) <= pool["total_zkusd"]
        assert sum(gained for _, gained in deposits) <= pool["total_btc"]
