"""The signers of the accounts that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

from clarion.chains.bitcoin.transactions import MAX_SATS
from clarion.config import ConfigurationError, KeeperAccount, Settings
from clarion_keeper.signers.agent_options import AgentOptions
from clarion_keeper.signers.client import Signer, open_signer
from clarion_keeper.signers.environment import give_up_keys
from clarion_keeper.signers.limits import BitcoinLimits, Limits, StacksLimits

SPELL_KVB: Final = 10
"""Thousand virtual bytes that a transaction with a spell stays below, for the highest fee on Bitcoin."""
HOURLY_FEES: Final = 100
"""How many of the dearest transactions an hour has room for, unless the account's limits say otherwise."""
_PARTS: Final = 3
_LEDGERS: Final = Path("signers")


def limits_of(settings: Settings, name: str) -> Limits:
    """What the signer of this account signs. Raises ConfigurationError."""
    account = _account(settings, name)
    limits = account.limits
    if account.chain == "bitcoin":
        max_fee = SPELL_KVB * settings.keeper.bitcoin.fee_rate_cap if limits.max_fee is None else limits.max_fee
        max_spent = 2 * max_fee if limits.max_spent is None else limits.max_spent
        return BitcoinLimits(
            settings.bitcoin.network.value, max_fee, max_spent, _hourly(account, HOURLY_FEES * max_spent)
        )
    max_fee = settings.keeper.fee_cap if limits.max_fee is None else limits.max_fee
    network = settings.network.constants
    return StacksLimits(
        network=network.value,
        chain_id=network.chain_id,
        calls=_patterns(name, limits.calls, settings.deployers),
        max_fee=max_fee,
        max_hourly=_hourly(account, HOURLY_FEES * max_fee),
        tokens=dict(limits.tokens),
    )


def hourly_budget(settings: Settings, name: str) -> int:
    """What an account may spend in an hour: its budget, or its signer's limit where that is less."""
    budget, limit = _account(settings, name).hourly_budget, limits_of(settings, name).max_hourly
    return limit if budget is None else min(budget, limit)


def agent_options(settings: Settings, name: str) -> AgentOptions:
    """What the agent of this account is started with. Raises ConfigurationError."""
    return AgentOptions(
        account=name,
        source=_account(settings, name).signer,
        limits=limits_of(settings, name),
        ledger=str(_ledger(settings)),
    )


def cosigner_options(settings: Settings) -> list[AgentOptions]:
    """What the agents of zkUSD's cosigners are started with.

    They sign for outputs of other people's money, which leaves them in every operation: of what they sign only the fee
    is limited. Whoever has such a key lets a signer with rules of its own hold it.
    """
    fee = SPELL_KVB * settings.keeper.bitcoin.fee_rate_cap
    limits = BitcoinLimits(settings.bitcoin.network.value, fee, MAX_SATS, MAX_SATS)
    return [
        AgentOptions(account=f"cosigner {number}", source=url, limits=limits, ledger=str(_ledger(settings)))
        for number, url in enumerate(settings.keeper.zkusd.cosigners, 1)
    ]


def give_up_environment_keys(settings: Settings) -> None:
    """Become a process that never saw the keys that the environment holds: see `environment.give_up_keys`."""
    accounts = [agent_options(settings, name) for name in settings.keeper.accounts]
    give_up_keys([*accounts, *cosigner_options(settings)])


@contextlib.asynccontextmanager
async def open_signers(settings: Settings) -> AsyncIterator[dict[str, Signer]]:
    """The signer of every account, by the account's name, while the context lasts.

    One that was there before and does not answer now is no error: the other accounts go on without it.

    Raises:
        ConfigurationError: two accounts of a chain have one key, or a limit is of a wrong form.
        SignerUnavailableError: a signer cannot be reached or has no key, and was never there before.
        SignerProtocolError: it does not speak the protocol, or is on another chain or network.
    """
    async with contextlib.AsyncExitStack() as stack:
        signers: dict[str, Signer] = {}
        for name, account in settings.keeper.accounts.items():
            signer = await open_signer(
                account.signer,
                limits_of(settings, name),
                account=name,
                ledger=_ledger(settings),
                known=_known(settings, name),
            )
            stack.push_async_callback(signer.aclose)
            for other, its in signers.items():
                if its.address == signer.address:
                    raise ConfigurationError(
                        f"keeper.accounts: {other} and {name} have one key ({signer.address}); each needs its own, "
                        "for a nonce is one account's"
                    )
            signers[name] = signer
        yield signers


@contextlib.asynccontextmanager
async def open_cosigners(settings: Settings) -> AsyncIterator[list[Signer]]:
    """The signers of what zkUSD's states and vaults lie at, in the settings' order, while the context lasts.

    Raises:
        SignerUnavailableError, SignerProtocolError: as `open_signers`.
    """
    async with contextlib.AsyncExitStack() as stack:
        signers = []
        for agent in cosigner_options(settings):
            signer = await open_signer(
                agent.source,
                agent.limits,
                account=agent.account,
                ledger=Path(agent.ledger),
                known=_known(settings, agent.account),
            )
            stack.push_async_callback(signer.aclose)
            signers.append(signer)
        yield signers


def _known(settings: Settings, account: str) -> Path:
    return _ledger(settings).with_name(f"{quote(account, safe='')}.json")


def _account(settings: Settings, name: str) -> KeeperAccount:
    account = settings.keeper.accounts.get(name)
    if account is None:
        known = ", ".join(sorted(settings.keeper.accounts)) or "none"
        raise ConfigurationError(f"keeper.accounts has no {name}. There are: {known}.")
    return account


def _ledger(settings: Settings) -> Path:
    return settings.state_dir.resolve() / _LEDGERS / "{key}.sqlite"


def _hourly(account: KeeperAccount, otherwise: int) -> int:
    for given in (account.limits.max_hourly, account.hourly_budget):
        if given is not None:
            return given
    return otherwise


def _patterns(name: str, calls: list[str] | None, deployers: Mapping[str, str]) -> tuple[str, ...]:
    if calls is None:
        return tuple(f"{address}.*.*" for address in deployers.values())
    patterns = []
    for call in calls:
        parts = call.split(".")
        if len(parts) != _PARTS or not all(parts):
            raise ConfigurationError(
                f"keeper.accounts.{name}.limits.calls: {call!r} is not ADDRESS.contract.function or "
                "PROTOCOL.contract.function"
            )
        issuer, contract, function = parts
        patterns.append(f"{deployers.get(issuer, issuer)}.{contract}.{function}")
    return tuple(patterns)
