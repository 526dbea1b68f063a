"""The BitHedge calls that the cast makes, each with the post-conditions a careful wallet would set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.clarity import (
    Bool,
    List,
    OptionalNone,
    StringAscii,
    Tuple,
    UInt,
    Value,
    contract_principal,
    principal,
)
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    Asset,
    FtPostCondition,
    PostCondition,
    PostConditionMode,
    StxPostCondition,
)
from clarion.dev.accounts import Account
from clarion.dev.amounts import tokens, usd

SBTC_TOKEN: Final = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token"
"""The sBTC token on every devnet."""
SBTC_ASSET_NAME: Final = "sbtc-token"


@dataclass(frozen=True, slots=True)
class Call:
    """One contract call to sign and send. ``note`` says in words what it is for."""

    sender: Account
    contract: str
    function: str
    arguments: tuple[Value, ...]
    note: str
    post_conditions: tuple[PostCondition, ...] = ()
    post_condition_mode: PostConditionMode = PostConditionMode.DENY


@dataclass(frozen=True, slots=True)
class Cover:
    """One provider's share of a policy: how much of its maximum payout (USD x 10^8) the provider covers."""

    provider: str
    liability_usd8: int


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What a buyer asks for. Prices in USD x 10^8, ``notional_sat`` in satoshis, ``expiry_burn`` a Bitcoin height."""

    type: str
    style: str
    asset: str
    strike_usd8: int
    notional_sat: int
    expiry_burn: int
    token: str


class BitHedgeCalls:
    """Builds calls to the BitHedge contracts that ``deployer`` deployed."""

    def __init__(self, deployer: str) -> None:
        self.deployer = deployer
        self.stx_token = f"{deployer}.bh-stx"

    def contract(self, name: str) -> str:
        """The contract id of one of the BitHedge contracts."""
        return f"{self.deployer}.{name}"

    def call(self, sender: Account, name: str, function: str, *arguments: Value, note: str) -> Call:
        """A call that moves nothing of the sender's: a transfer out of the sender's account aborts it."""
        return Call(
            sender,
            self.contract(name),
            function,
            arguments,
            note,
            post_condition_mode=PostConditionMode.ORIGINATOR,
        )

    def pay(
        self, sender: Account, name: str, function: str, *arguments: Value, token: str, amount: int, note: str
    ) -> Call:
        """A call that moves exactly this much of the sender's."""
        sent = (self.sends(token, amount, AmountCode.EQUAL),)
        return Call(sender, self.contract(name), function, arguments, note, sent)

    def sends(self, token: str, amount: int, code: AmountCode) -> PostCondition:
        """The post-condition that the transaction's origin sends so much of ``token``."""
        if token == self.stx_token:
            return StxPostCondition(ORIGIN, code, amount)
        return FtPostCondition(ORIGIN, Asset(contract_principal(token), SBTC_ASSET_NAME), code, amount)

    def submit_price(self, sender: Account, asset: str, round_number: int, price_usd8: int, observed_burn: int) -> Call:
        """An oracle provider's price."""
        return self.call(
            sender,
            "bh-oracle",
            "submit-price",
            StringAscii(asset),
            UInt(round_number),
            UInt(price_usd8),
            UInt(observed_burn),
            note=f"{sender.name} submits {asset} at {usd(price_usd8)} USD",
        )

    def close_round(self, sender: Account, asset: str, round_number: int) -> Call:
        """Closes an oracle round."""
        note = f"{sender.name} closes {asset} round {round_number}"
        return self.call(sender, "bh-oracle", "close-round", StringAscii(asset), UInt(round_number), note=note)

    def fix_expiry_price(self, sender: Account, asset: str, expiry_burn: int, round_number: int) -> Call:
        """Fixes an asset's price for an expiry height."""
        return self.call(
            sender,
            "bh-oracle",
            "fix-expiry-price",
            StringAscii(asset),
            UInt(expiry_burn),
            UInt(round_number),
            note=f"{sender.name} fixes {asset} for expiry {expiry_burn}",
        )

    def deposit(self, sender: Account, token: str, tier: str, amount: int, *, promised: int | None = None) -> Call:
        """A provider's deposit. ``promised`` replaces the amount in the post-condition, for one that is to abort."""
        arguments = (principal(token), StringAscii(tier), UInt(amount))
        note = f"{sender.name} deposits {tokens(token, amount)} into {tier}"
        sent = amount if promised is None else promised
        return self.pay(sender, "bh-vault", "deposit", *arguments, token=token, amount=sent, note=note)

    def request_withdraw(self, sender: Account, token: str, tier: str, amount: int) -> Call:
        """A provider asks for capital back."""
        note = f"{sender.name} asks back {tokens(token, amount)} from {tier}"
        arguments = (principal(token), StringAscii(tier), UInt(amount))
        return self.call(sender, "bh-vault", "request-withdraw", *arguments, note=note)

    def withdraw(self, sender: Account, request: int, token: str) -> Call:
        """A provider takes what was asked back."""
        note = f"{sender.name} withdraws request {request}"
        return self.call(sender, "bh-vault", "withdraw", UInt(request), principal(token), note=note)

    def claim_yield(self, sender: Account, token: str) -> Call:
        """A provider claims the premiums earned."""
        note = f"{sender.name} claims {token.partition('.')[2]} yield"
        return self.call(sender, "bh-vault", "claim-yield", principal(token), note=note)

    def create_policy(self, sender: Account, terms: PolicyTerms, max_premium: int, cover: Sequence[Cover]) -> Call:
        """A buyer's policy, for at most ``max_premium`` base units of its token."""
        return Call(
            sender,
            self.contract("bh-policy"),
            "create-policy",
            (
                StringAscii(terms.type),
                StringAscii(terms.style),
                StringAscii(terms.asset),
                UInt(terms.strike_usd8),
                UInt(terms.notional_sat),
                UInt(terms.expiry_burn),
                UInt(max_premium),
                principal(terms.token),
                List(
                    tuple(
                        Tuple({"provider": principal(part.provider), "liability-usd8": UInt(part.liability_usd8)})
                        for part in cover
                    )
                ),
            ),
            f"{sender.name} buys a {terms.style} {terms.type} at {usd(terms.strike_usd8)} USD "
            f"until Bitcoin block {terms.expiry_burn}",
            (self.sends(terms.token, max_premium, AmountCode.LESS_OR_EQUAL),),
        )

    def end_policy(self, sender: Account, function: str, policy: int, token: str) -> Call:
        """Settles, exercises or cancels a policy, as ``function`` says."""
        note = f"{sender.name} calls {function} on policy {policy}"
        return self.call(sender, "bh-policy", function, UInt(policy), principal(token), note=note)

    def set_params(self, sender: Account, values: Mapping[str, int]) -> Call:
        """Governance sets parameters."""
        changes = List(tuple(Tuple({"key": StringAscii(key), "value": UInt(value)}) for key, value in values.items()))
        note = f"{sender.name} sets {', '.join(values)}"
        return self.call(sender, "bh-params", "set-params", changes, OptionalNone(), note=note)

    def bootstrap(
        self,
        sender: Account,
        *,
        guardian: str,
        assets: Iterable[tuple[str, bool, int]],
        feeders: Iterable[tuple[str, int]],
    ) -> tuple[Call, ...]:
        """The four genesis calls, in order; governance is by stake of STX.

        ``assets``: (name, insurable, reference price); ``feeders``: (address, weight).
        """
        rows = tuple(
            Tuple({"asset": StringAscii(name), "insurable": Bool(insurable), "reference-usd8": UInt(reference)})
            for name, insurable, reference in assets
        )
        weights = tuple(Tuple({"provider": principal(who), "weight": UInt(weight)}) for who, weight in feeders)
        note = f"{sender.name} bootstraps"
        return (
            self.call(sender, "bh-registry", "bootstrap", principal(guardian), note=f"{note} bh-registry"),
            self.call(sender, "bh-params", "bootstrap", principal(SBTC_TOKEN), note=f"{note} bh-params"),
            self.call(sender, "bh-oracle", "bootstrap", List(rows), List(weights), note=f"{note} bh-oracle"),
            self.call(
                sender, "bh-gov", "bootstrap", principal(self.stx_token), StringAscii("stx"), note=f"{note} bh-gov"
            ),
        )
