"""How the API shows the tables of the protocol ``charms``: what hangs together, and what follows from it."""

from __future__ import annotations

from typing import Final

from clarion_graphql.bitcoin_columns import BITCOIN, confirmations
from clarion_graphql.charms import accounts
from clarion_graphql.charms.reading import TABLES
from clarion_graphql.decimals import PlacesTable, Scale
from clarion_graphql.entities import Column, Kind, Relation
from clarion_graphql.protocols import ProtocolApi

_APP: Final = (("app", "app"),)
_APP_OF: Final = Relation("app", "app", _APP, "The app.")
_TOKEN_OF: Final = Relation("token", "token", _APP, "The token; null for an app that is none.")
_NEWEST: Final = (("height", True), ("tx_index", True))

_SHARE: Final = Column(
    "share_bps",
    Kind.BIG_INT,
    "Its part of what all scripts hold of the token, rounded down. Unit: 1/10000.",
    nullable=True,
    expression=TABLES.composed("(SELECT div(t.amount * 10000, nullif(k.held, 0)) FROM {token} k WHERE k.app = t.app)"),
    filterable=False,
    orderable=False,
)

API: Final = ProtocolApi(
    prefix="charms",
    units={"TokenAmount": "the token's smallest unit", "Sats": "satoshis"},
    scales={
        "TokenAmount": Scale(PlacesTable("charms.token", "app", "decimals"), "whole tokens", "_decimal"),
        "Sats": BITCOIN,
    },
    renamed={
        "app": {"app": "id"},
        **{table: {"app": "app_id"} for table in ("token", "balance", "charm", "nft", "transfer")},
        "coin": {"apps": "app_ids"},
    },
    relations={
        "spell": [
            Relation("charms", "charm", (("tx_id", "tx_id"),), "What it made.", many=True, order=(("vout", False),)),
            Relation("spentCharms", "charm", (("tx_id", "spent_tx"),), "What it spent.", many=True),
            Relation(
                "transfers",
                "transfer",
                (("tx_id", "tx_id"),),
                "What went where.",
                many=True,
                order=(("number", False),),
            ),
        ],
        "app": [
            _TOKEN_OF,
            Relation("charms", "charm", _APP, "Its charms, the spent ones too.", many=True, order=_NEWEST),
            Relation("nfts", "nft", _APP, "What it has that is no amount: NFTs, states.", many=True),
            Relation("transfers", "transfer", _APP, "What went where of it.", many=True, order=_NEWEST),
        ],
        "token": [
            _APP_OF,
            Relation("balances", "balance", _APP, "Who holds how much.", many=True, order=(("amount", True),)),
            Relation("charms", "charm", _APP, "Its outputs, the spent ones too.", many=True, order=_NEWEST),
            Relation("transfers", "transfer", _APP, "What went where of it.", many=True, order=_NEWEST),
        ],
        "balance": [
            _APP_OF,
            _TOKEN_OF,
            Relation(
                "charms",
                "charm",
                (("app", "app"), ("script", "script")),
                "The script's outputs of it, the spent ones too.",
                many=True,
                order=_NEWEST,
            ),
        ],
        "charm": [
            _APP_OF,
            _TOKEN_OF,
            Relation("spell", "spell", (("tx_id", "tx_id"),), "The spell that made it."),
            Relation("spentBy", "spell", (("spent_tx", "tx_id"),), "The spell that spent it; null without one."),
            Relation("coin", "coin", (("outpoint", "outpoint"),), "Its output, with what else that holds."),
            Relation("nft", "nft", (("app", "app"), ("origin", "origin")), "What it is a state of, if no amount."),
        ],
        "coin": [
            Relation("charms", "charm", (("outpoint", "outpoint"),), "What it holds, or held.", many=True),
        ],
        "nft": [
            _APP_OF,
            Relation(
                "history",
                "charm",
                (("app", "app"), ("origin", "origin")),
                "The charms that it was, the newest first.",
                many=True,
                order=_NEWEST,
            ),
            Relation("coin", "coin", (("outpoint", "outpoint"),), "The output it is on, or was on last."),
        ],
        "transfer": [
            _APP_OF,
            _TOKEN_OF,
            Relation("spell", "spell", (("tx_id", "tx_id"),), "Its spell; null for a spend without one."),
        ],
    },
    derived={
        "spell": [confirmations("t.height", "the spell")],
        "charm": [confirmations("t.height", "the charm")],
        "balance": [_SHARE],
    },
    queries=(accounts.queries,),
)
