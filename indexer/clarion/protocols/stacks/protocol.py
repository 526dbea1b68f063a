"""Handlers that keep balances, supplies and owners; two row operations a movement, whatever the history is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from clarion.asset_events import (
    FtBurn,
    FtMint,
    FtTransfer,
    NftBurn,
    NftMint,
    NftTransfer,
    StxBurn,
    StxMint,
    StxTransfer,
)
from clarion.chains.model import Event, EventKind, JsonValue
from clarion.discovery import top_level_forms
from clarion.protocol import STX, Deployment, EventContext, Protocol
from clarion.protocols.stacks.tables import Balance, FungibleToken, NonFungibleToken
from clarion.store.rows import Key, Row, Rows

MAX_TOKEN_BYTES: Final = 256
"""A longer identifier is known by its hash: whoever mints decides about it, and it must fit into an index."""

_MOVED: Final = (
    "kind IN ('stx_transfer', 'stx_mint', 'stx_burn', 'ft_transfer', 'ft_mint', 'ft_burn', "
    "'nft_transfer', 'nft_mint', 'nft_burn')"
)

# The expressions are those of the views over the chain log, which find rows by them; see docs/generic-tables.md.
LOG_INDEXES: Final = {
    "by_sender": f"clarion.event ((value ->> 'sender'), height) WHERE {_MOVED}",
    "by_recipient": f"clarion.event ((value ->> 'recipient'), height) WHERE {_MOVED}",
    "by_asset": f"clarion.event ((coalesce(value ->> 'asset', 'STX')), height) WHERE {_MOVED}",
    "by_token": (
        "clarion.event ((CASE WHEN length(raw) <= 256 THEN '0x' || encode(raw, 'hex') "
        "ELSE 'sha256:' || encode(sha256(raw), 'hex') END), height) "
        "WHERE kind IN ('nft_transfer', 'nft_mint', 'nft_burn')"
    ),
    "by_locked_address": "clarion.event ((value ->> 'locked_address'), height) WHERE kind = 'stx_lock'",
    "rare_kinds": "clarion.event (kind, height) WHERE kind IN ('stx_mint', 'stx_burn', 'stx_lock', 'nft_burn')",
    "deployments": "clarion.transaction (height) WHERE kind = 'smart_contract' AND status = 'success'",
}

_FUNGIBLE: Final = frozenset((EventKind.FT_TRANSFER, EventKind.FT_MINT, EventKind.FT_BURN))
_STX: Final = frozenset((EventKind.STX_TRANSFER, EventKind.STX_MINT, EventKind.STX_BURN))
_NON_FUNGIBLE: Final = frozenset((EventKind.NFT_TRANSFER, EventKind.NFT_MINT, EventKind.NFT_BURN))


def rows_of(event: Event) -> Iterator[tuple[type[Row], Key]]:
    """The rows that an event's handler asks for."""
    kind, said = event.kind, event.stored_value
    if not isinstance(said, dict):
        return
    if kind in _FUNGIBLE or kind in _STX:
        asset = STX if kind in _STX else said.get("asset")
        yield FungibleToken, (asset,)
        for who in (said.get("sender"), said.get("recipient")):
            if who is not None:
                yield Balance, (asset, who)
    elif kind in _NON_FUNGIBLE:
        yield NonFungibleToken, (said.get("asset"), token_key(event.raw or b""))


protocol = Protocol(
    "stacks",
    tables=[FungibleToken, Balance, NonFungibleToken],
    title="Tokens of the chain",
    foresight=rows_of,
    log_indexes=LOG_INDEXES,
)


@protocol.on_deployment
def contract_deployed(deployment: Deployment, at: EventContext, rows: Rows) -> None:
    """Take up the tokens that a contract defines: of these every event will be seen."""
    for form in top_level_forms(deployment.source):
        if len(form) > 1 and form[0] == "define-fungible-token":
            asset = f"{at.contract}::{form[1]}"
            if rows.get(FungibleToken, asset) is None:
                rows.insert(FungibleToken, asset=asset, contract=at.contract, complete=True, supply=0)


@protocol.on_any(kind=EventKind.FT_TRANSFER)
def ft_transferred(event: FtTransfer, at: EventContext, rows: Rows) -> None:
    """Move an amount from one balance to another."""
    complete = _token(event.asset, at.contract, rows).complete
    _add(rows, event.asset, event.sender, complete, sent=event.amount)
    _add(rows, event.asset, event.recipient, complete, received=event.amount)


@protocol.on_any(kind=EventKind.FT_MINT)
def ft_minted(event: FtMint, at: EventContext, rows: Rows) -> None:
    """Add to a balance and to the supply."""
    token = _token(event.asset, at.contract, rows)
    _mint(token, event.amount)
    _add(rows, event.asset, event.recipient, token.complete, received=event.amount)


@protocol.on_any(kind=EventKind.FT_BURN)
def ft_burned(event: FtBurn, at: EventContext, rows: Rows) -> None:
    """Take from a balance and from the supply."""
    token = _token(event.asset, at.contract, rows)
    _burn(token, event.amount)
    _add(rows, event.asset, event.sender, token.complete, sent=event.amount)


@protocol.on_any(kind=EventKind.STX_TRANSFER)
def stx_transferred(event: StxTransfer, at: EventContext, rows: Rows) -> None:
    """Move micro-STX from one address to another."""
    complete = _token(STX, None, rows).complete
    _add(rows, STX, event.sender, complete, sent=event.amount)
    _add(rows, STX, event.recipient, complete, received=event.amount)


@protocol.on_any(kind=EventKind.STX_MINT)
def stx_minted(event: StxMint, at: EventContext, rows: Rows) -> None:
    """Add micro-STX that came into being."""
    token = _token(STX, None, rows)
    _mint(token, event.amount)
    _add(rows, STX, event.recipient, token.complete, received=event.amount)


@protocol.on_any(kind=EventKind.STX_BURN)
def stx_burned(event: StxBurn, at: EventContext, rows: Rows) -> None:
    """Take micro-STX that were destroyed."""
    token = _token(STX, None, rows)
    _burn(token, event.amount)
    _add(rows, STX, event.sender, token.complete, sent=event.amount)


@protocol.on_any(kind=EventKind.NFT_MINT)
def nft_minted(event: NftMint, at: EventContext, rows: Rows) -> None:
    """Give a new token its owner."""
    _own(rows, event.asset, event.value, event.recipient, at)


@protocol.on_any(kind=EventKind.NFT_TRANSFER)
def nft_transferred(event: NftTransfer, at: EventContext, rows: Rows) -> None:
    """Give a token another owner."""
    _own(rows, event.asset, event.value, event.recipient, at)


@protocol.on_any(kind=EventKind.NFT_BURN)
def nft_burned(event: NftBurn, at: EventContext, rows: Rows) -> None:
    """Leave a token without an owner."""
    _own(rows, event.asset, event.value, None, at)


def token_key(raw: bytes) -> str:
    """How a token's identifier, a Clarity value in consensus encoding, is written in :class:`NonFungibleToken`."""
    return f"0x{raw.hex()}" if len(raw) <= MAX_TOKEN_BYTES else f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _token(asset: str, contract: str | None, rows: Rows) -> FungibleToken:
    found = rows.get(FungibleToken, asset)
    return found or rows.insert(FungibleToken, asset=asset, contract=contract, complete=False)


def _mint(token: FungibleToken, amount: int) -> None:
    token.minted += amount
    token.supply = _known(token.complete, token.minted - token.burned)


def _burn(token: FungibleToken, amount: int) -> None:
    token.burned += amount
    token.supply = _known(token.complete, token.minted - token.burned)


def _add(rows: Rows, asset: str, address: str, complete: bool, *, received: int = 0, sent: int = 0) -> None:
    balance = rows.get(Balance, asset, address) or rows.insert(Balance, asset=asset, address=address)
    balance.received += received
    balance.sent += sent
    balance.amount = _known(complete, balance.received - balance.sent)


def _known(complete: bool, amount: int) -> int | None:
    """An amount as far as it is known. Less than nothing means that events are missing, whatever the source said."""
    return amount if complete and amount >= 0 else None


def _own(rows: Rows, asset: str, value: JsonValue, owner: str | None, at: EventContext) -> None:
    token = token_key(at.raw or b"")
    found = rows.get(NonFungibleToken, asset, token)
    if found is None:
        rows.insert(NonFungibleToken, asset=asset, token=token, value=value, owner=owner)
    else:
        found.owner = owner
