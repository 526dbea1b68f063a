"""What an address or a script has in zkUSD."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, Final, LiteralString

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion_graphql.amounts import amount, figure
from clarion_graphql.bitcoin_columns import BITCOIN
from clarion_graphql.context import Info
from clarion_graphql.types import Types, make_field, make_type, with_arguments
from clarion_graphql.zkusd.columns import ZKUSD
from clarion_graphql.zkusd.figures import APP_SET
from clarion_graphql.zkusd.reading import TABLES

_OF_SET: Final[LiteralString] = " AND (%s::text IS NULL OR t.app_set = %s)"


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about an address."""
    account = make_type(
        "ZkusdAccount",
        [
            figure("holder", str, "The address or script that was asked for."),
            *amount("collateral", BITCOIN, "Collateral of its active vaults, with what they took over."),
            *amount("debt", ZKUSD, "Their debt, with interest and what they took over."),
            *amount("balance", ZKUSD, "Tokens on its coins."),
            *amount("deposited", ZKUSD, "What its deposits in the stability pool are worth, as far as that is known."),
            *amount("gains", BITCOIN, "What these have gained and could claim, as far as that is known."),
            figure("vaults", StrawberryList(types.named["ZkusdVault"]), "Its live vaults, the newest first."),
            figure("deposits", StrawberryList(types.named["ZkusdSpDeposit"]), "Its live deposits, the newest first."),
            figure("balances", StrawberryList(types.named["ZkusdTokenBalance"]), "Its tokens, by set of apps."),
            figure(
                "contracts",
                StrawberryList(types.named["ZkusdContract"]),
                "Apps whose states it holds: nothing can be done with them without it.",
            ),
        ],
        "What an address or a script holds in zkUSD. `zkusdEvents` filtered by `account` tells what it did.",
    )
    vault, deposit, balance, contract = (
        types.entities[name] for name in ("ZkusdVault", "ZkusdSpDeposit", "ZkusdTokenBalance", "ZkusdContract")
    )

    async def resolve(root: Any, info: Info, *, holder: str, app_set_name: str | None) -> Any:
        session = info.context.session
        held: LiteralString = "t.script = %s" if holder.startswith(("0x", "sha256:")) else "t.address = %s"
        asked = (holder, app_set_name, app_set_name)
        newest: LiteralString = " AND t.live ORDER BY t.opened_height DESC, t.genesis"
        vaults = await TABLES.rows(session, vault, held + _OF_SET + newest, *asked)
        deposits = await TABLES.rows(session, deposit, held + _OF_SET + newest, *asked)
        balances = await TABLES.rows(session, balance, held + _OF_SET + " ORDER BY t.app_set", *asked)
        states = held + _OF_SET + " AND t.live ORDER BY t.app_set, t.role"
        active = [row for row in vaults if row.active]
        return SimpleNamespace(
            holder=holder,
            collateral=sum(row.entire_collateral for row in active),
            debt=sum(row.entire_debt for row in active),
            balance=sum(row.amount for row in balances),
            deposited=sum(row.compounded or 0 for row in deposits if row.genuine),
            gains=sum(row.gain or 0 for row in deposits if row.genuine),
            vaults=vaults,
            deposits=deposits,
            balances=balances,
            contracts=await TABLES.rows(session, contract, states, *asked),
        )

    return [
        make_field(
            "zkusdAccount",
            account,
            "What an address or a script has in zkUSD; with nothing in it where it has nothing.",
            resolver=with_arguments(
                resolve,
                {
                    "holder": (str, Parameter.empty, "Its address, or its script as `0x` hex."),
                    "app_set_name": (APP_SET[0], None, "Only of this set of apps; null: of all."),
                },
            ),
        )
    ]
