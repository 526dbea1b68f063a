"""What an address or a script holds of charms."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from types import SimpleNamespace
from typing import Any, Final, LiteralString

from strawberry.types.base import StrawberryList
from strawberry.types.field import StrawberryField

from clarion_graphql.charms.reading import TABLES
from clarion_graphql.context import Info
from clarion_graphql.decimals import decimal_text
from clarion_graphql.scalars import BigInt, Decimal
from clarion_graphql.types import Types, make_field, make_type, with_arguments

_LIVE: Final = "c.state = 'live') o"
_FIGURES: Final = (
    "SELECT count(*), coalesce(sum(o.sats), 0), min(o.height), max(o.height) FROM ("
    "SELECT DISTINCT c.outpoint, c.sats, c.height FROM {charm} c WHERE "
)
_SATS: Final = "Satoshis in its outputs that hold charms."


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about an address."""
    account = make_type(
        "CharmsAccount",
        [
            make_field("holder", str, "The address or script that was asked for."),
            make_field("outputs", int, "Its outputs that hold charms."),
            make_field("sats", BigInt, f"{_SATS} Unit: satoshis."),
            make_field("satsBtc", Decimal, f"{_SATS} Unit: BTC."),
            make_field(
                "firstHeight",
                int | None,
                "Bitcoin block of the oldest of these; null without any.",
                attribute="first_height",
            ),
            make_field(
                "lastHeight",
                int | None,
                "Bitcoin block of the newest of these; null without any.",
                attribute="last_height",
            ),
            make_field("balances", StrawberryList(types.named["CharmsBalance"]), "Its tokens, by app."),
            make_field("nfts", StrawberryList(types.named["CharmsNft"]), "What else it holds, the newest first."),
        ],
        "What an address or a script holds of charms. `charmsTransfers` and `charmsCharms` list what it did.",
    )
    balance, nft = types.entities["CharmsBalance"], types.entities["CharmsNft"]

    async def resolve(root: Any, info: Info, *, holder: str) -> Any:
        session = info.context.session
        is_script = holder.startswith(("0x", "sha256:"))
        whose: LiteralString = "script = %s" if is_script else "address = %s"
        ((outputs, sats, first, last),) = await TABLES.read(session, _FIGURES + "c." + whose + " AND " + _LIVE, holder)
        return SimpleNamespace(
            holder=holder,
            outputs=outputs,
            sats=sats,
            satsBtc=decimal_text(int(sats), 8),
            first_height=first,
            last_height=last,
            balances=await TABLES.rows(session, balance, "t." + whose + " ORDER BY t.app", holder),
            nfts=await TABLES.rows(
                session,
                nft,
                "t." + whose + " AND t.state = 'live' ORDER BY t.last_height DESC, t.app, t.origin",
                holder,
            ),
        )

    return [
        make_field(
            "charmsAccount",
            account,
            "What an address or a script holds of charms; with nothing in it where it holds none.",
            resolver=with_arguments(
                resolve, {"holder": (str, Parameter.empty, "Its address, or its script as `0x` hex.")}
            ),
        )
    ]
