"""How the API shows the tables of the protocol ``zkusd``: what hangs together, and what follows from it."""

from __future__ import annotations

from typing import Final

from clarion.protocols.zkusd.tables import TABLES
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.entities import Relation, table_name
from clarion_graphql.protocols import ProtocolApi
from clarion_graphql.zkusd import accounts, distribution, health, kinds, mempool, prices, queues, quotes, requests
from clarion_graphql.zkusd.columns import BALANCE, CONTRACT, DAY, DEPOSIT, EVENT, PRICE, PROTOCOL, VAULT, ZKUSD

_SET: Final = (("app_set", "app_set"),)
_RULES: Final = Relation("appSet", "app_set", _SET, "The set of apps, with its rules.")
_VAULT_OF: Final = Relation("vault", "vault", (*_SET, ("genesis", "genesis")), "The vault.")
_NEWEST: Final = (("height", True),)
_LAST_VERSION: Final = (("version", True),)

API: Final = ProtocolApi(
    prefix="zkusd",
    units={
        "Sats": "satoshis",
        "Base": "base units of zkUSD",
        "Price8": "US dollars a bitcoin x 10^8",
        "Bps": "1/10000",
        "Percent": "percent",
    },
    scales={"Sats": BITCOIN, "Base": ZKUSD, "Price8": PRICE},
    renamed={
        **{table_name(model).rpartition(".")[2]: {"app_set": "app_set_name"} for model in TABLES},
        "app_set": {"app_set": "name"},
        "event": {"app_set": "app_set_name", "vault": "vault_genesis"},
        "redemption": {"app_set": "app_set_name", "vaults": "vault_count"},
        "token_balance": {"app_set": "app_set_name", "utxos": "utxo_count"},
        "stability_pool": {"app_set": "app_set_name", "deposits": "deposit_count", "offsets": "offset_count"},
    },
    relations={
        "app_set": [
            Relation("protocol", "protocol", _SET, "Its figures; null until something of it was seen."),
            Relation("stabilityPool", "stability_pool", _SET, "Its stability pool; null before its first state."),
            Relation("contracts", "contract", _SET, "Its apps, and where their states are.", many=True),
            Relation("vaults", "vault", _SET, "Its vaults, those that ended too.", many=True),
            Relation(
                "events", "event", _SET, "What happened.", many=True, order=(("height", True), ("tx_index", True))
            ),
        ],
        "contract": [
            _RULES,
            Relation(
                "states",
                "contract_state",
                (*_SET, ("role", "role")),
                "The states it had.",
                many=True,
                order=_LAST_VERSION,
            ),
            Relation(
                "impostorStates",
                "impostor_state",
                (*_SET, ("role", "role")),
                "States that resemble its own and are none.",
                many=True,
                order=_NEWEST,
            ),
        ],
        "contract_state": [Relation("contract", "contract", (*_SET, ("role", "role")), "The app.")],
        "impostor_state": [Relation("contract", "contract", (*_SET, ("role", "role")), "The app that it resembles.")],
        "protocol": [
            _RULES,
            Relation("stabilityPool", "stability_pool", _SET, "Its stability pool; null before its first state."),
            Relation("contracts", "contract", _SET, "Its apps, and where their states are.", many=True),
            Relation("days", "day", _SET, "Its days.", many=True, order=(("day", True),)),
        ],
        "vault": [
            _RULES,
            Relation(
                "versions",
                "vault_version",
                (*_SET, ("genesis", "genesis")),
                "The states it had.",
                many=True,
                order=_LAST_VERSION,
            ),
            Relation(
                "events",
                "event",
                (("genesis", "vault"),),
                "What happened to it.",
                many=True,
                order=(("height", True), ("tx_index", True)),
            ),
            Relation("liquidations", "liquidation", (*_SET, ("genesis", "genesis")), "Its liquidations.", many=True),
            Relation(
                "redemptions",
                "redeemed_vault",
                (*_SET, ("genesis", "genesis")),
                "What redemptions took of it.",
                many=True,
                order=_NEWEST,
            ),
        ],
        "vault_version": [_VAULT_OF],
        "liquidation": [_VAULT_OF, _RULES],
        "redemption": [
            _RULES,
            Relation("vaults", "redeemed_vault", (*_SET, ("tx_id", "tx_id")), "What it took of each vault.", many=True),
        ],
        "redeemed_vault": [
            _VAULT_OF,
            Relation("redemption", "redemption", (*_SET, ("tx_id", "tx_id")), "The redemption."),
        ],
        "stability_pool": [
            _RULES,
            Relation("deposits", "sp_deposit", _SET, "Its deposits.", many=True),
            Relation("offsets", "sp_offset", _SET, "Liquidations that it took.", many=True, order=(("number", True),)),
        ],
        "sp_deposit": [Relation("pool", "stability_pool", _SET, "The pool.")],
        "token_balance": [
            Relation(
                "utxos",
                "token_utxo",
                (*_SET, ("script", "script")),
                "Its coins with tokens, the spent ones too.",
                many=True,
                order=_NEWEST,
            ),
        ],
        "oracle_price": [_RULES],
        "day": [_RULES],
        "event": [_RULES, Relation("vault", "vault", (*_SET, ("vault", "genesis")), "The vault it is about.")],
    },
    derived={
        "vault": VAULT,
        "protocol": PROTOCOL,
        "sp_deposit": DEPOSIT,
        "token_balance": BALANCE,
        "day": DAY,
        "contract": CONTRACT,
        "event": EVENT,
    },
    queries=(
        queues.queries,
        distribution.queries,
        accounts.queries,
        kinds.queries,
        health.queries,
        prices.queries,
        requests.queries,
        quotes.queries,
        mempool.queries,
    ),
)
