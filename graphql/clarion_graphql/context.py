"""What resolvers get: the service they run in, and the operation they are part of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import strawberry
from psycopg_pool import AsyncConnectionPool

from clarion.chains.bitcoin.rpc import BitcoinRpc
from clarion.chains.model import Chain
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient
from clarion.config import Ready
from clarion.protocol import DeployedProtocol, Protocol
from clarion_graphql.accounts.accounts import Accounts
from clarion_graphql.accounts.caller import ANYONE, Caller
from clarion_graphql.feed import Feed
from clarion_graphql.receipt import Receipt
from clarion_graphql.session import Session
from clarion_graphql.shared_reads import SharedReads

#: How many of the database's connections subscriptions may use at once to read the change log.
MAX_LOG_READS: Final = 4
#: How many may be used at once to see where the index stands, or what a commit changed: a row each.
MAX_SHORT_READS: Final = 2


@dataclass(frozen=True, slots=True)
class Service:
    """One running server: its database, its feed, and what it was configured with."""

    pool: AsyncConnectionPool
    feed: Feed
    protocols: Sequence[Protocol]
    deployed: Mapping[str, DeployedProtocol]
    """By protocol; one is missing where nobody says who deployed its contracts."""
    writes: AsyncConnectionPool
    """For what is kept beside the chain's data (schema ``clarion_account``): always on a database that takes writes."""
    accounts: Accounts
    network: Network = Network.TESTNET
    """Whose transactions are prepared."""
    node: NodeClient | None = None
    """Asked for hints of fees and nonces; None: there is none."""
    bitcoin: BitcoinRpc | None = None
    """Asked what waits in Bitcoin's mempool; None: there is none."""
    ready: Ready = field(default_factory=Ready)
    """How far the index may be behind before `status` calls that a problem."""
    log_reads: SharedReads = field(default_factory=lambda: SharedReads(MAX_LOG_READS))
    short_reads: SharedReads = field(default_factory=lambda: SharedReads(MAX_SHORT_READS))

    def session(self) -> Session:
        """A new snapshot."""
        return Session(self.pool)


class Operation:
    """One operation, or one message of a subscription."""

    def __init__(self, service: Service, caller: Caller = ANYONE) -> None:
        self.service = service
        self._session: Session | None = None
        self.cost: Mapping[str, int] = {}
        """What `extensions.cost` says; empty while that is not known."""
        self.caller = caller
        self.chains: frozenset[Chain] | None = None
        """The chains that it reads, where that is known: receipts are theirs."""

    @property
    def session(self) -> Session:
        """The snapshot that it reads, made when it is first asked for."""
        if self._session is None:
            self._session = self.service.session()
        return self._session

    async def close(self) -> None:
        """Give the snapshot back, if there is one."""
        if self._session is not None:
            await self._session.close()

    async def begin_again(self) -> None:
        """Give the snapshot back; what is read from now on is read in another one."""
        await self.close()
        self._session = None

    @property
    def receipts(self) -> dict[Chain, Receipt]:
        """The receipts of what was read so far, of the chains that the operation is about; empty where nothing was."""
        return receipts_for(self.chains, self.session.was_read)

    def extensions(self, *, has_data: bool = True) -> dict[str, Any]:
        """``extensions`` of the answer: the receipt of the chain that was read, and where several were, of each.

        ``outdated`` is there where rows of a protocol were read that are not the receipt's. An answer without data has
        no receipt: what else was read before an error took it all away is a matter of chance.
        """
        cost = {"cost": self.cost} if self.cost else {}
        return {**cost, **(receipt_extensions(self.receipts, self.session.outdated) if has_data else {})}


def receipts_for(chains: frozenset[Chain] | None, receipts: Mapping[Chain, Receipt]) -> dict[Chain, Receipt]:
    """Those of the receipts that are of these chains; all where it is not known which were read."""
    return {chain: receipt for chain, receipt in receipts.items() if chains is None or chain in chains}


def receipt_extensions(receipts: Mapping[Chain, Receipt], outdated: Mapping[str, int | None]) -> dict[str, Any]:
    """What ``extensions`` says of where an answer was read; nothing where nothing was."""
    listed = list(receipts.values())
    if not listed:
        return {}
    found: dict[str, Any] = {"receipt": listed[0].to_json()}
    if len(listed) > 1:
        found["receipts"] = [receipt.to_json() for receipt in listed]
    if outdated:
        found["outdated"] = [{"protocol": name, "height": outdated[name]} for name in sorted(outdated)]
    return found


Info = strawberry.Info[Operation, Any]
