"""What it takes to put BitHedge on a chain: contracts in order, then the calls that bring it to life.

Everything is data. Whoever uses it signs the steps as one account, the deployer, sends them in order, and waits for
each to succeed. The order and the calls are those of ``docs/contracts.md``, sections "Contracts, in deploy order" and
"Bootstrap".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clarion.chains.stacks.clarity import NONE, Bool, List, StringAscii, Tuple, UInt, Value, principal
from clarion.protocols.bithedge.units import Usd8

CLARITY_VERSION: Final = 6
"""The Clarity version that the contracts are written in; epoch 4.0 brings it."""

CONTRACTS: Final = (
    "bh-traits",
    "bh-stx",
    "bh-math",
    "bh-registry",
    "bh-params",
    "bh-oracle",
    "bh-vault",
    "bh-treasury",
    "bh-policy",
    "bh-fund",
    "bh-liquidation",
    "bh-incentives",
    "bh-gov",
)
"""Short names in deploy order: each contract names only those before it."""

FAST_BLOCKS: Final[Mapping[str, int]] = {
    "min-duration": 2,
    "expiry-step": 1,
    "withdrawal-delay": 1,
    "price-max-age": 144,
    "round-timeout": 144,
    "gov-voting-period": 6,
    "gov-timelock": 2,
    "gov-grace": 144,
}
"""Parameters for a chain whose Bitcoin blocks come every few seconds."""


class SourcesNotFoundError(LookupError):
    """The folder of the contracts' sources does not hold them."""


@dataclass(frozen=True, slots=True)
class PublishStep:
    """Publish a contract under the deployer's address."""

    name: str
    source: str
    clarity_version: int = CLARITY_VERSION


@dataclass(frozen=True, slots=True)
class CallStep:
    """Call a public function of the deployer's contract with this short name."""

    contract: str
    function: str
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class FeedRow:
    """A price feed. ``reference`` is the market price of the day: the first round is checked against it."""

    asset: str
    reference: Usd8
    insurable: bool


@dataclass(frozen=True, slots=True)
class FeederRow:
    """An oracle provider and its weight in the median."""

    provider: str
    weight: int


@dataclass(frozen=True, slots=True)
class StakeToken:
    """The SIP-010 token that governance is by, and the name of its asset; native STX is the contract ``bh-stx``."""

    token: str
    asset_name: str


def sources_folder(configured: Path | None = None) -> Path:
    """The folder of the contracts' sources: the configured one, else that of the checkout this package is part of.

    Raises SourcesNotFoundError where a contract is not there.
    """
    folder = configured or Path(__file__).resolve().parents[4] / "contracts" / "contracts"
    missing = [name for name in CONTRACTS if not (folder / f"{name}.clar").is_file()]
    if missing:
        raise SourcesNotFoundError(
            f"{folder} lacks {', '.join(f'{name}.clar' for name in missing)}. Run from a checkout of Clarion, or name "
            f"the folder of BitHedge's contracts."
        )
    return folder


def publish(folder: Path) -> list[PublishStep]:
    """The steps that publish every contract, from the sources in ``folder``."""
    return [PublishStep(name, (folder / f"{name}.clar").read_text(encoding="ascii")) for name in CONTRACTS]


def bootstrap(
    *,
    guardian: str,
    sbtc: str,
    feeds: Sequence[FeedRow],
    feeders: Sequence[FeederRow],
    stake: StakeToken | None = None,
    parameters: Mapping[str, int] | None = None,
) -> list[CallStep]:
    """The calls that write the genesis rows, each possible once; then ``parameters``, where they are to be others.

    ``guardian`` may trip breakers. ``sbtc`` is the sBTC token's contract. ``feeds`` must hold ``BTC`` (which prices
    sBTC too) and ``STX``. ``stake`` is what governance is by; without it ``bh-gov`` can
    govern nothing, and must not be handed governance. Raises ValueError without those two feeds.
    """
    lacking = {"BTC", "STX"} - {feed.asset for feed in feeds}
    if lacking:
        raise ValueError(f"BitHedge needs a price feed for {' and '.join(sorted(lacking))}")
    steps = [
        CallStep("bh-registry", "bootstrap", (principal(guardian),)),
        CallStep("bh-params", "bootstrap", (principal(sbtc),)),
        CallStep("bh-oracle", "bootstrap", (_list(map(_feed, feeds)), _list(map(_feeder, feeders)))),
    ]
    if stake:
        steps.append(CallStep("bh-gov", "bootstrap", (principal(stake.token), StringAscii(stake.asset_name))))
    if parameters:
        steps.append(set_parameters(parameters))
    return steps


def set_parameters(parameters: Mapping[str, int]) -> CallStep:
    """The call by which governance sets parameters."""
    changes = (Tuple({"key": StringAscii(key), "value": UInt(value)}) for key, value in parameters.items())
    return CallStep("bh-params", "set-params", (_list(changes), NONE))


def _feed(row: FeedRow) -> Value:
    return Tuple(
        {
            "asset": StringAscii(row.asset),
            "insurable": Bool(row.insurable),
            "reference-usd8": UInt(row.reference),
        }
    )


def _feeder(row: FeederRow) -> Value:
    return Tuple({"provider": principal(row.provider), "weight": UInt(row.weight)})


def _list(values: Iterable[Value]) -> List:
    return List(tuple(values))
