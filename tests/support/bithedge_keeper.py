"""States for the keeper's BitHedge jobs: rows made by hand, or what the contracts on their machine printed."""

from __future__ import annotations

from typing import Any, Final

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Asset, Parameter, PriceRound, Switch, Tier, Token
from clarion.protocols.bithedge.units import BurnHeight
from clarion.store.rows import Row
from clarion_keeper.bithedge.reading import TABLES, BitHedgeState, Index, Rows
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Intent, Outcome
from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import RefusedError, Simnet
from support.bithedge_twin import ROW_TYPES, state_of

STX: Final = f"{DEPLOYER}.bh-stx"
SBTC: Final = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token"
FUND: Final = f"{DEPLOYER}.bh-fund"
TIER: Final = "aggressive"
PROVIDER: Final = "ST2NEB84ASENDXKYGJPQW86YXQCEFEX2ZQPG87ND"
KEEPER: Final = "ST3PF13W7Z0RRM42A8VZRVFQ75SV1K26RXEP8YGKJ"
INDEX: Final = Index(DEPLOYER)
USD: Final = 10**8
COIN: Final = 10**6

_NOTHING: Final = {"TEXT": "", "BIGINT": 0, "BOOLEAN": False, "JSONB": {}}


def row(model: type[Row], **values: Any) -> Any:
    """A row of a table; what is not given is its default, else nothing: zero, an empty text, false."""
    table = ROW_TYPES[model].table
    blank = {
        column.name: _NOTHING.get(str(column.type), 0)
        for column in table.columns
        if column.name not in values and model.model_fields[column.name].is_required()
    }
    return ROW_TYPES[model].make(**blank, **values)


PARAMETERS: Final = {
    "price-max-age": 6,
    "round-timeout": 6,
    "oracle-min-providers": 3,
    "oracle-quorum-bp": 6_000,
    "vol-min-bp": 4_000,
    "vol-max-bp": 20_000,
    "soft-call-window": 432,
    "hard-call-window": 144,
    "liquidation-penalty-bp": 500,
    "liquidation-bounty-bp": 100,
    "takeover-load-bp": 1_000,
    "takeover-min-duration": 144,
    "fund-event-cap-bp": 2_500,
    "fund-critical-bp": 10_000,
}


def rules(burn: int, *, btc: int = 100_000, stx: int = 2, tripped: tuple[str, ...] = ()) -> list[Any]:
    """Parameters, switches, a tier, both tokens and both feeds with fresh prices, in US dollars."""
    names = ("liquidate", "deposit", "oracle", "cover", "withdraw", "create")
    found = [row(Parameter, key=key, value=value) for key, value in PARAMETERS.items()]
    found += [row(Switch, name=name, is_open=name not in tripped, tripped=name in tripped) for name in names]
    found.append(row(Tier, name=TIER, ratio_min_bp=13_000, ratio_warn_bp=13_500, active=True))
    found.append(row(Token, token=STX, asset="STX", decimals=6, haircut_bp=1_000, native=True, active=True))
    found.append(row(Token, token=SBTC, asset="BTC", decimals=8, haircut_bp=0, asset_name="sbtc-token", active=True))
    for asset, price in (("BTC", btc), ("STX", stx)):
        values = {"last_round": 7, "next_round": 8, "price_usd8": price * USD, "opened_burn": burn}
        found.append(row(Asset, asset=asset, active=True, **values))
        found.append(
            row(PriceRound, asset=asset, round=7, state="closed", mode="normal", opened_burn=burn, closed_burn=burn)
        )
    return found


def state(burn: int, *rows: Any, height: int = 40) -> BitHedgeState:
    """A state of rows made by hand; later ones replace earlier ones of the same key."""
    known = Rows({model: {} for model in TABLES})
    models = {row_type.make: row_type.model for row_type in protocol.row_types}
    for one in rows:
        known.add(models[type(one)], [one])
    return BitHedgeState(Receipt(height, "0x01", burn, 9), State(known, DEPLOYER, height, BurnHeight(burn)))


def seen(simnet: Simnet) -> BitHedgeState:
    """What the contracts on their machine have printed, as an index at its tip would have it."""
    return BitHedgeState(Receipt(simnet.height, "0x01", simnet.burn, simnet.height), state_of(simnet))


def send(simnet: Simnet, job: Any, *intents: Intent) -> list[Outcome]:
    """Make the call of some intents of a job on the machine, as one transaction of the job's sender.

    One that ends in a runtime error leaves no result.
    """
    items = [intent.item for intent in intents]
    call = job.call(items)
    try:
        result = simnet.call(call.contract, call.function, *call.arguments, sender=job.sender).result
    except RefusedError:
        result = None
    return list(job.outcomes(items, result))
