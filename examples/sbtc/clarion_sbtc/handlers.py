"""What each event does to the rows."""

from __future__ import annotations

from typing import Final

from clarion.asset_events import FtBurn, FtMint, FtTransfer
from clarion.chains.model import EventKind
from clarion.protocol import EventContext
from clarion.store.rows import Rows

from clarion_sbtc import events
from clarion_sbtc.protocol import REGISTRY, TOKEN, protocol
from clarion_sbtc.tables import Balance, Deposit, Mint, Role, SignerSet, Supply, Withdrawal

LOCKED: Final = "::sbtc-token-locked"
"""How the asset's identifier ends that the token contract holds locked satoshi in."""
ROLES: Final = {"0x00": "governance", "0x01": "deposit", "0x02": "withdrawal"}

# A transfer prints its memo, whatever the sender put there.
protocol.ignore(TOKEN, "print")


@protocol.on(TOKEN, kind=EventKind.FT_MINT)
def minted(event: FtMint, at: EventContext, rows: Rows) -> None:
    """Locked tokens are minted too: locking burns the available ones."""
    if not event.asset.endswith(LOCKED):
        rows.insert(Mint, tx_id=at.tx_text, event_index=at.event_index, recipient=event.recipient, amount=event.amount)
    _move(rows, event.asset, event.recipient, event.amount)


@protocol.on(TOKEN, kind=EventKind.FT_BURN)
def burned(event: FtBurn, at: EventContext, rows: Rows) -> None:
    """As when satoshi are locked, or left for Bitcoin."""
    _move(rows, event.asset, event.sender, -event.amount)


@protocol.on(TOKEN, kind=EventKind.FT_TRANSFER)
def transferred(event: FtTransfer, at: EventContext, rows: Rows) -> None:
    """The sum stays."""
    _move(rows, event.asset, event.sender, -event.amount)
    _move(rows, event.asset, event.recipient, event.amount)


@protocol.on(REGISTRY, "completed-deposit")
def deposit_completed(event: events.CompletedDeposit, at: EventContext, rows: Rows) -> None:
    """The print does not say for whom; the mint right before it in the same transaction does."""
    mint = rows.get(Mint, at.tx_text, at.event_index - 1)
    if rows.get(Deposit, event.bitcoin_txid, event.output_index) is not None:
        return
    rows.insert(
        Deposit,
        bitcoin_txid=event.bitcoin_txid,
        output_index=event.output_index,
        recipient=mint.recipient if mint is not None and mint.amount == event.amount else None,
        amount=event.amount,
        sweep_txid=event.sweep_txid,
        bitcoin_height=event.burn_height,
        completed_height=at.height,
        completed_tx=at.tx_text,
    )
    _supply(rows).deposits += 1


@protocol.on(REGISTRY, "withdrawal-create")
def withdrawal_requested(event: events.WithdrawalCreate, at: EventContext, rows: Rows) -> None:
    """The number counts up from 1 and is never used twice."""
    rows.insert(
        Withdrawal,
        request_id=event.request_id,
        sender=event.sender,
        amount=event.amount,
        max_fee=event.max_fee,
        address_version=event.recipient.version,
        address_hash=event.recipient.hashbytes,
        status="pending",
        requested_height=at.height,
        requested_tx=at.tx_text,
    )
    _supply(rows).pending_withdrawals += 1


@protocol.on(REGISTRY, "withdrawal-accept")
def withdrawal_accepted(event: events.WithdrawalAccept, at: EventContext, rows: Rows) -> None:
    """Paid on Bitcoin."""
    withdrawal = _settle(rows, event.request_id, "accepted", at)
    if withdrawal is not None:
        withdrawal.fee = event.fee
        withdrawal.bitcoin_txid = event.bitcoin_txid
        withdrawal.output_index = event.output_index


@protocol.on(REGISTRY, "withdrawal-reject")
def withdrawal_rejected(event: events.WithdrawalReject, at: EventContext, rows: Rows) -> None:
    """The token's own events give the locked satoshi back."""
    _settle(rows, event.request_id, "rejected", at)


@protocol.on(REGISTRY, "key-rotation")
def keys_rotated(event: events.KeyRotation, at: EventContext, rows: Rows) -> None:
    """The registry refuses an aggregate key that was used before."""
    rows.insert(
        SignerSet,
        aggregate_pubkey=event.new_aggregate_pubkey,
        address=event.new_address,
        keys=list(event.new_keys),
        threshold=event.new_signature_threshold,
        from_height=at.height,
        from_tx=at.tx_text,
    )


@protocol.on(REGISTRY, "update-protocol-contract")
def contract_updated(event: events.UpdateProtocolContract, at: EventContext, rows: Rows) -> None:
    """The last one counts."""
    name = ROLES.get(event.contract_type, event.contract_type)
    role = rows.get(Role, name)
    if role is None:
        rows.insert(Role, role=name, contract=event.new_contract)
    else:
        role.contract = event.new_contract


def _settle(rows: Rows, request_id: int, status: str, at: EventContext) -> Withdrawal | None:
    """The request, settled; None where an index that started later never saw it."""
    withdrawal = rows.get(Withdrawal, request_id)
    if withdrawal is None or withdrawal.status != "pending":
        return None
    withdrawal.status = status
    withdrawal.settled_height, withdrawal.settled_tx = at.height, at.tx_text
    _supply(rows).pending_withdrawals -= 1
    return withdrawal


def _move(rows: Rows, asset: str, holder: str, amount: int) -> None:
    """Add to what a holder has, and to the totals."""
    supply = _supply(rows)
    balance = rows.get(Balance, holder)
    if balance is None:
        balance = rows.insert(Balance, holder=holder)
        supply.holders += 1
    if asset.endswith(LOCKED):
        balance.locked += amount
        supply.locked += amount
    else:
        balance.available += amount
        supply.available += amount
    if balance.available == 0 and balance.locked == 0:
        rows.delete(Balance, holder)
        supply.holders -= 1


def _supply(rows: Rows) -> Supply:
    return rows.get(Supply, "sbtc") or rows.insert(Supply, name="sbtc")
