"""The prover and the nodes that settings name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import urlsplit

from clarion.bitcoin_nodes import rpc_of
from clarion.chains.bitcoin.addresses import AddressError, script_of
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.units import Sats
from clarion.config import ConfigurationError, Settings
from clarion.credentials import split_credentials
from clarion_keeper.charms.answer import CharmsFee
from clarion_keeper.charms.nodes import BitcoinNodes
from clarion_keeper.charms.prover import Prover, public_url

SCAN_SECONDS: Final = 300.0
"""How long a node may take: to go through all unspent outputs of a large network takes minutes."""
NODE_ATTEMPTS: Final = 2
"""There are other nodes, and another turn."""

_WITH_PUBLIC_PROVER: Final = (BitcoinNetwork.MAINNET, BitcoinNetwork.TESTNET4)


@contextlib.asynccontextmanager
async def open_nodes(settings: Settings) -> AsyncIterator[BitcoinNodes]:
    """The nodes that the keeper asks and sends to, the index's own first."""
    bitcoin = settings.bitcoin
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for url in (None, *settings.keeper.bitcoin.node_urls):
            name = "bitcoin" if url is None else urlsplit(split_credentials(url)[0]).netloc
            client = rpc_of(bitcoin, url, name=name, timeout_seconds=SCAN_SECONDS, attempts=NODE_ATTEMPTS)
            clients.append(await stack.enter_async_context(client))
        nodes = BitcoinNodes(clients, settings.keeper.breaker)
        stack.push_async_callback(nodes.aclose)
        yield nodes


def prover_of(settings: Settings) -> Prover:
    """The prover; an async context manager.

    Raises:
        ConfigurationError: there is none for the network, or what it may charge goes to an address of another one.
    """
    network, keeper = settings.bitcoin.network, settings.keeper
    url = keeper.prover_url
    if url is None:
        if network not in _WITH_PUBLIC_PROVER:
            raise ConfigurationError(
                f"keeper.prover_url is not set, and there is no public prover for {network}: `clarion prover` runs one "
                "that makes mock proofs, for regtest"
            )
        url = public_url(LATEST_VERSION)
    return Prover(
        url,
        network=network,
        accept_mock=settings.bitcoin.mock_spells,
        fee=charms_fee_of(settings),
        timeout_seconds=keeper.bitcoin.prover_seconds,
        attempts=keeper.bitcoin.prover_attempts,
    )


def charms_fee_of(settings: Settings) -> CharmsFee | None:
    """What the prover may charge; None for nothing. Raises ConfigurationError for an address of another network."""
    bitcoin = settings.keeper.bitcoin
    if bitcoin.charms_fee_address is None:
        return None
    try:
        script = script_of(bitcoin.charms_fee_address, settings.bitcoin.network)
    except AddressError as error:
        raise ConfigurationError(f"keeper.bitcoin.charms_fee_address: {error}") from error
    return CharmsFee(script=script, most=Sats(bitcoin.charms_fee_most))
