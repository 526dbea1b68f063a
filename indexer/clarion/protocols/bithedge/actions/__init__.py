"""Everything that somebody can do with BitHedge: its contracts' public functions as actions, each declared once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from clarion.protocols.bithedge.actions import (
    fund,
    gov,
    incentives,
    liquidation,
    oracle,
    params,
    policy,
    registry,
    stx,
    treasury,
    vault,
)
from clarion.protocols.bithedge.actions.declaration import Action

ACTIONS: Final[Mapping[str, Action]] = {
    action.name: action
    for module in (vault, policy, liquidation, gov, incentives, fund, treasury, oracle, params, registry, stx)
    for action in module.ACTIONS
}
"""Every action by its name."""

NOT_ACTIONS: Final[Mapping[str, str]] = {
    "bh-registry.bootstrap": "once, by whoever deploys",
    "bh-params.bootstrap": "once, by whoever deploys",
    "bh-oracle.bootstrap": "once, by whoever deploys",
    "bh-gov.bootstrap": "once, by whoever deploys",
    "bh-registry.step-migration": "by the contract that is filled",
    "bh-params.report-metric": "by a module",
    "bh-vault.lock": "by a module",
    "bh-vault.settle": "by a module",
    "bh-vault.refund": "by a module",
    "bh-vault.collect-fees": "by a module",
    "bh-vault.move-allocation": "by a module",
    "bh-treasury.draw-program": "by a module",
    "bh-treasury.use-discount": "by a module",
    "bh-policy.reduce-unpaid": "by a module",
    "bh-fund.record-takeover": "by a module",
}
"""Public functions that are no user's action, and who calls them instead."""

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "allocations": "Who covers which part.",
    "amt": "How much, in base units of the token.",
    "asset": "Price feed, such as BTC.",
    "asset-name": "The token's name in post-conditions.",
    "breaker": "Switch that it stops.",
    "cap": "Most that the vault takes by deposits, in base units of the token.",
    "choice": "for, against or abstain.",
    "claim-burn": "How long claims are open once all has vested, in Bitcoin blocks.",
    "code-hash": "SHA-512/256 of its source.",
    "contract": "The contract's id.",
    "data": "Its arguments: the consensus bytes of the action's tuple or list.",
    "decimals": "Decimal places of a base unit.",
    "duration-burn": "How long it is open, in Bitcoin blocks.",
    "epoch": "Number of the epoch, from 1.",
    "epoch-burn": "Length of an epoch, in Bitcoin blocks.",
    "epoch-cap": "Most that one epoch gives, in base units of the token.",
    "epochs": "How many epochs it has.",
    "expiry-burn": "Bitcoin block of the expiry.",
    "haircut-bp": "Part of its value that does not count as collateral, in basis points.",
    "hash": "Hash that chains what was copied.",
    "insurable": "Whether policies may be on it.",
    "key": "Name of the parameter.",
    "leaves": "How many rewards.",
    "left": "What it still pays, in base units of the token.",
    "liability-usd8": "Part of the maximum payout, in US dollars x 10^8.",
    "limit": "Greatest value that trips nothing.",
    "max": "Greatest value that can be set.",
    "max-duration-burn": "Longest policy, in Bitcoin blocks.",
    "max-expiry-bp": "Most of a position that one expiry locks, in basis points.",
    "max-liability-usd8": "Most liability that its own position takes over, in US dollars x 10^8.",
    "max-policy-bp": "Most of a position that one policy locks, in basis points.",
    "max-premium": "The most that is paid, in base units of the token.",
    "migration": "Number of the migration.",
    "min": "Least value that can be set.",
    "module": "Name of the module.",
    "name": "Name.",
    "native": "Whether it is native STX.",
    "notional-sat": "Protected amount, in satoshis.",
    "plan": "Number of the recovery plan.",
    "platform-bp": "Share of the platform, in basis points.",
    "policy": "Number of the policy.",
    "premium-bp": "Part of an epoch that goes by premium paid, in basis points; the rest goes by capital.",
    "premium-mult-bp": "Premium multiplier, in basis points.",
    "price-usd8": "Price, in US dollars x 10^8.",
    "program": "Number of the reward programme.",
    "proposal": "Number of the proposal.",
    "provider": "Whose position it is.",
    "provider-bp": "Share of the providers, in basis points.",
    "ratio-min-bp": "Collateral per liability of a new policy, in basis points.",
    "ratio-warn-bp": "Health that a withdrawal must leave, in basis points.",
    "reason": "Why, in words.",
    "reason-hash": "Hash of the reasons.",
    "receiver": "Whose share grows.",
    "reference-usd8": "What the first round is compared with, in US dollars x 10^8.",
    "request": "Number of the withdrawal request.",
    "reserve-bp": "Share of the insurance reserve, in basis points.",
    "role": "Name of the role.",
    "root": "Merkle root of the rewards.",
    "round": "Number of the round.",
    "share-bp": "Part of the fees, in basis points.",
    "start-burn": "First Bitcoin block of epoch 1.",
    "strike-max-bp": "First strike above the band, in basis points of spot.",
    "strike-min-bp": "Least strike of the band, in basis points of spot.",
    "strike-usd8": "Strike, in US dollars x 10^8.",
    "style": "european, or american: the owner may also exercise before the expiry.",
    "target": "What is to be raised, in base units of the token.",
    "tier": "Risk tier.",
    "title-hash": "SHA-256 of its title.",
    "token": "The token's contract id; native STX is that of bh-stx.",
    "type": "put or call.",
    "uri": "Where its text is.",
    "user": "Who pays less.",
    "value": "Value.",
    "version": "Version, from 1.",
    "vesting-burn": "How long a reward vests, in Bitcoin blocks.",
    "weight": "Weight in the median.",
    "who": "Who holds it.",
}
"""What arguments are, by their Clarity names."""
