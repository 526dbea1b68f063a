"""A client for the Stacks Blockchain API (Hiro's hosted one or your own): the routes a follower or a keeper needs.

async with HiroApiClient("http://127.0.0.1:3999") as api:
    tip = await api.status()
    async for page in pages(partial(api.contract_logs, "SP….vault")):
        …
"""

from hiro_api_client.client import MAINNET_URL, MAX_BLOCKS, MAX_EVENTS, MAX_TRANSACTIONS, TESTNET_URL, HiroApiClient
from hiro_api_client.errors import (
    CursorLostError,
    HiroApiError,
    InvalidAnswerError,
    NotFoundError,
    RateLimitedError,
    RequestRejectedError,
    RouteMissingError,
    ServerError,
    TransactionRejectedError,
    UnauthorizedError,
    UnreachableError,
)
from hiro_api_client.paging import pages
from hiro_api_client.types import (
    BlockHeader,
    BlockId,
    BurnBlock,
    ChainTip,
    Contract,
    Event,
    EventDetails,
    Page,
    RawTransaction,
    RawUnavailable,
    Status,
    Tagged,
    Transaction,
    TransactionDetails,
    Wakeup,
)

__all__ = [
    "MAINNET_URL",
    "MAX_BLOCKS",
    "MAX_EVENTS",
    "MAX_TRANSACTIONS",
    "TESTNET_URL",
    "BlockHeader",
    "BlockId",
    "BurnBlock",
    "ChainTip",
    "Contract",
    "CursorLostError",
    "Event",
    "EventDetails",
    "HiroApiClient",
    "HiroApiError",
    "InvalidAnswerError",
    "NotFoundError",
    "Page",
    "RateLimitedError",
    "RawTransaction",
    "RawUnavailable",
    "RequestRejectedError",
    "RouteMissingError",
    "ServerError",
    "Status",
    "Tagged",
    "Transaction",
    "TransactionDetails",
    "TransactionRejectedError",
    "UnauthorizedError",
    "UnreachableError",
    "Wakeup",
    "pages",
]
