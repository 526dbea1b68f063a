"""What anybody may do for policies that have expired: fix the prices of their expiry, then settle them.

On a devnet that is the keeper's work; a recording, which runs without one, does it itself.
"""

from __future__ import annotations

from clarion.chains.stacks.clarity import StringAscii, UInt, principal
from clarion.dev.accounts import Account
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.world import PolicyView, World, WorldReader


async def settlement_calls(reader: WorldReader, calls: BitHedgeCalls, sender: Account, world: World) -> list[Call]:
    """The calls that are due at the world's tip: fixes of prices, and settlements whose prices are fixed."""
    fixes: dict[tuple[str, int], Call] = {}
    settlements = []
    for policy in world.policies:
        if policy.expiry_burn > world.burn_height:
            continue
        unfixed = [asset for asset in await _assets(reader, policy) if not await _is_fixed(reader, asset, policy)]
        for asset in unfixed:
            number = await _expiry_round(reader, asset, policy.expiry_burn)
            if number is not None:
                fix = calls.fix_expiry_price(sender, asset, policy.expiry_burn, number)
                fixes[asset, policy.expiry_burn] = fix
        if not unfixed:
            settlements.append(calls.end_policy(sender, "settle", policy.number, policy.token))
    return [*fixes.values(), *settlements]


async def _assets(reader: WorldReader, policy: PolicyView) -> list[str]:
    """The assets whose prices decide a policy: its own and its token's."""
    token_asset = (await reader.ask("bh-params", "get-token", principal(policy.token)))["asset"]
    return sorted({policy.asset, token_asset})


async def _is_fixed(reader: WorldReader, asset: str, policy: PolicyView) -> bool:
    found = await reader.ask("bh-oracle", "get-expiry-price", StringAscii(asset), UInt(policy.expiry_burn))
    return found is not None


async def _expiry_round(reader: WorldReader, asset: str, expiry_burn: int) -> int | None:
    """The first closed round that was opened at or after the expiry, or None while there is none."""
    found = None
    number = (await reader.ask("bh-oracle", "get-asset", StringAscii(asset)))["last-round"]
    while number:
        row = await reader.ask("bh-oracle", "get-round", StringAscii(asset), UInt(number))
        if row["opened-burn"] < expiry_burn:
            break
        found, number = number, row["prev-round"]
    return found
