"""A set of zkUSD's apps of the first generation on a chain in memory, and its operations as transactions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.app_sets import ROLES, ZERO_IDENTITY, Role
from support.zkusd_chain import Chain, Out, Tx, b32

SET: Final = "first"
ONE: Final = 10**8
DOLLARS: Final = 10**8
PRICE: Final = 100_000 * DOLLARS
D18: Final = 10**18


def hexed(text: str) -> str:
    """32 bytes made of a text, as hex."""
    return hashlib.sha256(text.encode()).hexdigest()


IDENTITIES: Final[Mapping[Role, str]] = {role: hexed(f"identity of {role}") for role in ROLES}
KEYS: Final[Mapping[Role, str]] = {role: hexed(f"key of {role}") for role in ROLES}

Data = dict[str, JsonValue]


def app(role: Role, tag: str = "n", *, identity: str | None = None) -> str:
    """An app of the set, under its own identity or another one."""
    return f"{tag}/{IDENTITIES[role] if identity is None else identity}/{KEYS[role]}"


TOKEN: Final = app("token", "t")


def deploy_id(role: Role) -> str:
    """The transaction that deploys an app."""
    return hexed(f"deploys {role}")


def app_set(name: str = SET, **more: Any) -> dict[str, Any]:
    """The set, as a deployment says it."""
    apps = {role: {"identity": IDENTITIES[role], "vk": KEYS[role], "genesis": f"{deploy_id(role)}:0"} for role in ROLES}
    return {"name": name, **apps, **more}


def oracle(price: int = PRICE, *, height: int = 0, operator: str = "operator", active: bool = True) -> Data:
    """The oracle's state."""
    said: Data = {"price": price, "timestamp_block": height, "source": "Mock", "confidence": 100}
    return {
        "price": said,
        "operator": b32(hexed(operator)),
        "admin": b32(hexed("admin")),
        "is_active": active,
        "last_valid_price": price,
    }


def token(supply: int = 0, *, minter: str = IDENTITIES["vault_manager"]) -> Data:
    """The token's state."""
    return {"admin": b32(hexed("admin")), "authorized_minter": b32(minter), "total_supply": supply}


def manager(
    collateral: int = 0,
    debt: int = 0,
    vaults: int = 0,
    *,
    base_rate: int = 50,
    paused: bool = False,
    admin: str = "admin",
) -> Data:
    """The vault manager's state."""
    return {
        "protocol": {
            "total_collateral": collateral,
            "total_debt": debt,
            "active_vault_count": vaults,
            "base_rate": base_rate,
            "last_fee_update_block": 0,
            "admin": b32(hexed(admin)),
            "is_paused": paused,
        },
        "zkusd_token_id": b32(IDENTITIES["token"]),
        "stability_pool_id": b32(IDENTITIES["stability_pool"]),
        "price_oracle_id": b32(IDENTITIES["oracle"]),
        "active_pool": b32(ZERO_IDENTITY),
        "default_pool": b32(ZERO_IDENTITY),
    }


def pool(
    total: int = 0, btc: int = 0, p: JsonValue = D18, s: JsonValue = 0, *, count: int = 0, **more: JsonValue
) -> Data:
    """The pool's state, flat."""
    return {
        "zkusd_token_id": b32(IDENTITIES["token"]),
        "vault_manager_id": b32(IDENTITIES["vault_manager"]),
        "admin": b32(hexed("admin")),
        "total_zkusd": total,
        "total_btc": btc,
        "product_p": p,
        "sum_s": s,
        "current_epoch": 0,
        "current_scale": 0,
        "depositor_count": count,
        **more,
    }


def nested(state: Data) -> Data:
    """The same as ``config`` and ``state``."""
    names = ("zkusd_token_id", "vault_manager_id", "admin")
    return {
        "config": {name: state[name] for name in names},
        "state": {name: value for name, value in state.items() if name not in names},
    }


def vault(
    name: str, collateral: int, debt: int, *, owner: str = "alice", status: JsonValue = "Active", **more: JsonValue
) -> Data:
    """A vault."""
    return {
        "id": b32(hexed(name)),
        "owner": b32(hexed(owner)),
        "collateral": collateral,
        "debt": debt,
        "created_at": 100,
        "last_updated": 100,
        "status": status,
        "interest_rate_bps": 100,
        "accrued_interest": 0,
        "redistributed_debt": 0,
        "redistributed_collateral": 0,
        "insurance_balance": 0,
        **more,
    }


def deposit(value: int, *, owner: str = "alice", p: JsonValue = D18, s: JsonValue = 0) -> Data:
    """A deposit in the pool."""
    return {
        "owner": b32(hexed(owner)),
        "initial_value": value,
        "snapshot_p": p,
        "snapshot_s": s,
        "snapshot_epoch": 0,
        "snapshot_scale": 0,
        "last_updated": 0,
    }


def price_input(price: int, height: int = 100) -> dict[str, JsonValue]:
    """A price in the vault manager's public input."""
    said: Data = {"price": price, "timestamp_block": height, "source": "Mock", "confidence": 100}
    return {app("vault_manager"): said}


class World:
    """The set on a chain, with what its states say and where they are.

    ``at`` and ``says`` are kept by :meth:`do` from the states that transactions make.
    """

    def __init__(self, **rules: Any) -> None:
        self.parameters = {"app_sets": [app_set(rules=rules)]}
        self.chain = Chain(self.parameters)
        self.at: dict[Role, str] = {}
        self.says: dict[Role, Data] = {}
        self.funded = 0

    def deploy(self, **states: Data) -> None:
        """Deploy all four apps in one block, under the identity zero."""
        first: dict[Role, Data] = {
            "oracle": oracle(),
            "token": token(),
            "vault_manager": manager(),
            "stability_pool": pool(),
        }
        self.chain.block(*(self.deployment(role, states.get(role, state)) for role, state in first.items()))
        for role, state in first.items():
            self.at[role], self.says[role] = f"{deploy_id(role)}:0", states.get(role, state)

    def deployment(self, role: Role, state: Data) -> Tx:
        """The transaction that deploys an app."""
        return Tx([self.funds()], [Out("admin", {app(role, identity=ZERO_IDENTITY): state})], id=deploy_id(role))

    def funds(self) -> str:
        """A coin without charms."""
        self.funded += 1
        return f"{hexed(f'coin {self.funded}')}:0"

    def tx(
        self,
        states: Mapping[Role, Data] | None = None,
        *,
        spends: Sequence[str] = (),
        makes: Sequence[Out] = (),
        inputs: Mapping[str, JsonValue] | None = None,
        lists: Sequence[str] = (),
    ) -> Tx:
        """A transaction that spends states and makes them anew, first in the outputs, in the order given."""
        states = states or {}
        outs = [Out("admin", {app(role): state}) for role, state in states.items()]
        spent = [self.at[role] for role in states] + list(spends)
        return Tx(spent, [*outs, *makes], inputs=inputs or {}, lists=lists)

    def do(self, states: Mapping[Role, Data] | None = None, **parts: Any) -> str:
        """Put such a transaction in a block of its own; gives its id."""
        [tx_id] = self.chain.block(self.tx(states, **parts))
        for index, (role, state) in enumerate((states or {}).items()):
            self.at[role], self.says[role] = f"{tx_id}:{index}", state
        return tx_id

    def open(
        self, name: str, collateral: int, debt: int, *, owner: str = "alice", sats: int | None = None, **parts: Any
    ) -> str:
        """Open a vault as the rules say, all but the reserve minted to its owner; gives the transaction's id.

        The vault is its output 2, the tokens are its output 3.
        """
        minted = debt - 2 * ONE
        return self.do(
            {"vault_manager": self.totals(collateral, debt, 1), "token": token(self.supply + minted)},
            spends=[self.funds()],
            makes=[
                Out(owner, {app("vault_manager"): vault(name, collateral, debt, owner=owner)}, sats or collateral),
                Out(owner, {TOKEN: minted}),
            ],
            **parts,
        )

    @property
    def supply(self) -> int:
        """What the token's state reports."""
        supply = self.says["token"]["total_supply"]
        assert isinstance(supply, int)
        return supply

    def totals(self, collateral: int, debt: int, vaults: int) -> Data:
        """The vault manager's state, its totals changed by so much."""
        protocol = self.says["vault_manager"]["protocol"]
        assert isinstance(protocol, dict)
        changes = {"total_collateral": collateral, "total_debt": debt, "active_vault_count": vaults}
        changed: Data = {**protocol}
        for name, change in changes.items():
            old = protocol[name]
            assert isinstance(old, int)
            changed[name] = old + change
        return {**self.says["vault_manager"], "protocol": changed}

    def kinds(self, tx_id: str) -> list[str]:
        """Kinds of events of a transaction."""
        return self.chain.kinds(tx_id)
