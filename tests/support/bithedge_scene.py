"""BitHedge deployed on the machine that runs its contracts, with people who play its parts."""

from __future__ import annotations

from typing import Final

from clarion.chains.stacks.clarity import List, StringAscii, Tuple, UInt, principal
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.units import Usd8
from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet

GUARDIAN, STRANGER, BUYER = ADDRESSES[1:4]
FEEDERS = ADDRESSES[4:7]
PROVIDER, TAKER = ADDRESSES[7:9]
STX: Final = f"{DEPLOYER}.bh-stx"
FUND: Final = f"{DEPLOYER}.bh-fund"
TIER: Final = StringAscii("aggressive")
BTC_USD8: Final = Usd8(100_000 * 10**8)
STX_USD8: Final = Usd8(2 * 10**8)
STRIKE: Final = BTC_USD8 * 9 // 10
SMALL, LARGE = 1_000_000, 14_400_000
"""Notionals in satoshis: of a policy for 900 USD, and of one that binds half of a position of 20,000 STX."""
TOKEN: Final = principal(STX)


class BitHedgeScene:
    """A deployed BitHedge with two providers of 20,000 STX each, and fresh prices."""

    def __init__(self, simnet: Simnet, stake: deployment.StakeToken | None = None) -> None:
        self.simnet = simnet
        for who in ADDRESSES:
            simnet.ask(op="fund", who=who, ustx=str(10**15), sats=str(10**11))
        simnet.publish()
        for call in deployment.bootstrap(
            guardian=GUARDIAN,
            sbtc=SBTC,
            feeds=[deployment.FeedRow("BTC", BTC_USD8, True), deployment.FeedRow("STX", STX_USD8, False)],
            feeders=[deployment.FeederRow(who, 1) for who in FEEDERS],
            stake=stake,
            parameters={**deployment.FAST_BLOCKS, "price-max-age": 6, "round-timeout": 6},
        ):
            simnet.must(call.contract, call.function, *call.arguments)
        for who in (PROVIDER, TAKER):
            simnet.must("bh-vault", "deposit", TOKEN, TIER, UInt(20_000 * 10**6), sender=who)
        self.prices()

    def prices(self, *, btc: int = 100, stx: int = 100) -> None:
        """Fresh rounds at these percentages of the first prices; a big move is confirmed by a second round."""
        for asset, price in (("BTC", BTC_USD8 * btc // 100), ("STX", STX_USD8 * stx // 100)):
            for _ in range(2):
                number = self.submit(asset, price)
                if self.simnet.must("bh-oracle", "close-round", StringAscii(asset), number):
                    break

    def submit(self, asset: str, price: int) -> UInt:
        """Every provider submits a price to the current round; gives its number."""
        number = UInt(self.simnet.read("bh-oracle", "get-asset", StringAscii(asset))["next-round"])
        for feeder in FEEDERS:
            submission = (StringAscii(asset), number, UInt(price), UInt(self.simnet.burn))
            self.simnet.must("bh-oracle", "submit-price", *submission, sender=feeder)
        return number

    def buy(self, notional: int, duration: int, backer: str = PROVIDER, token: str = STX) -> UInt:
        """A 90% PUT with one backer, who pays in this token; gives its id."""
        share = Tuple({"provider": principal(backer), "liability-usd8": UInt(STRIKE * notional // 10**8)})
        terms = (UInt(STRIKE), UInt(notional), UInt(self.simnet.burn + duration), UInt(10**15), principal(token))
        kind = (StringAscii("put"), StringAscii("european"), StringAscii("BTC"))
        return UInt(self.simnet.must("bh-policy", "create-policy", *kind, *terms, List((share,)), sender=BUYER))
