"""What the API answers, as far as a follower and a keeper need it.

Unknown fields are ignored, and a field is only required where nothing can be done without it. Hashes, transaction ids
and Clarity values are ``0x`` hex text; amounts are texts of decimal digits in the smallest unit, as the API sends them.

Shapes: stacks-blockchain-api 9, ``openapi.yaml`` and ``src/api/schemas``.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class Answer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything here."""


class ChainTip(Answer, frozen=True):
    """Where the API stands."""

    block_height: int
    index_block_hash: str
    block_hash: str | None = None
    burn_block_height: int | None = None


class Status(Answer, frozen=True):
    """``GET /extended``. ``chain_tip`` is absent until the API has its first block."""

    server_version: str | None = None
    status: str | None = None
    chain_tip: ChainTip | None = None


class BlockHeader(Answer, frozen=True):
    """A block without its transactions. Times are Unix seconds."""

    height: int
    hash: str
    index_block_hash: str
    parent_index_block_hash: str
    burn_block_height: int
    burn_block_hash: str
    canonical: bool = True
    parent_block_hash: str | None = None
    block_time: int | None = None
    tenure_height: int | None = None
    burn_block_time: int | None = None
    miner_txid: str | None = None
    tx_count: int | None = None


class BurnBlock(Answer, frozen=True):
    """A Bitcoin block that Stacks blocks are anchored to; others the API does not tell of."""

    burn_block_height: int
    burn_block_hash: str
    burn_block_time: int | None = None
    stacks_blocks: list[str] | None = None
    total_tx_count: int | None = None


class ClarityValue(Answer, frozen=True):
    """A Clarity value: its consensus bytes, and how it is written in Clarity."""

    hex: str
    repr: str | None = None


class Account(Answer, frozen=True):
    """Who signed, and with which nonce."""

    address: str
    nonce: int | None = None


class TransactionBlock(Answer, frozen=True):
    """Where a transaction was mined."""

    height: int
    hash: str
    index_hash: str
    tx_index: int
    time: int | None = None


class TokenTransfer(Answer, frozen=True):
    """A transfer of STX. ``memo`` is hex text in a list, an object with ``hex`` in a single transaction."""

    recipient: str
    amount: str
    memo: ClarityValue | str | None = None


class ContractCall(Answer, frozen=True):
    """A contract call. ``function_args`` only where it was asked for (``include``)."""

    contract_id: str
    function_name: str
    function_args: list[ClarityValue] | None = None


class SmartContract(Answer, frozen=True):
    """A contract's deployment. ``source_code`` only where it was asked for (``include``)."""

    contract_id: str
    clarity_version: int | None = None
    source_code: str | None = None


class Coinbase(Answer, frozen=True):
    """A block's coinbase."""

    payload: str | None = None
    alt_recipient: str | None = None
    vrf_proof: str | None = None


class TenureChange(Answer, frozen=True):
    """The start or extension of a miner's tenure; all but ``cause`` only in a single transaction."""

    cause: str
    tenure_consensus_hash: str | None = None
    prev_tenure_consensus_hash: str | None = None
    burn_view_consensus_hash: str | None = None
    previous_tenure_end: str | None = None
    previous_tenure_blocks: int | None = None
    pubkey_hash: str | None = None


class Transaction(Answer, frozen=True):
    """A transaction as the v3 routes give it, mined (``block``) or in the mempool (``receipt_time``).

    Lists leave out ``event_count``, ``vm_error`` and all that can be included. ``fee_rate`` is the fee in micro-STX.
    """

    tx_id: str
    type: str
    status: str
    sender: Account
    fee_rate: str
    sponsor: Account | None = None
    block: TransactionBlock | None = None
    event_count: int | None = None
    vm_error: str | None = None
    result: ClarityValue | None = None
    post_condition_mode: str | None = None
    post_conditions: list[dict[str, Any]] | None = None
    token_transfer: TokenTransfer | None = None
    contract_call: ContractCall | None = None
    smart_contract: SmartContract | None = None
    coinbase: Coinbase | None = None
    tenure_change: TenureChange | None = None
    receipt_time: int | None = None
    receipt_block_height: int | None = None


class ContractLog(Answer, frozen=True):
    """A ``print``."""

    contract_id: str
    value: ClarityValue
    topic: str = "print"


class Asset(Answer, frozen=True):
    """What happened to STX or a token: ``type`` is ``transfer``, ``mint`` or ``burn``.

    ``asset_identifier`` is absent for STX, ``amount`` for a non-fungible token, ``value`` for all others.
    """

    type: str
    asset_identifier: str | None = None
    sender: str | None = None
    recipient: str | None = None
    amount: str | None = None
    memo: ClarityValue | str | None = None
    value: ClarityValue | None = None


class StxLock(Answer, frozen=True):
    """STX that were locked for stacking until a Bitcoin height."""

    amount: str
    unlock_bitcoin_height: int
    address: str


class Event(Answer, frozen=True):
    """An event as the v3 routes give it: the field that is named like ``type`` is set. ``event_index`` counts within
    the transaction.
    """

    event_index: int
    type: str
    contract_log: ContractLog | None = None
    stx_asset: Asset | None = None
    ft_asset: Asset | None = None
    nft_asset: Asset | None = None
    stx_lock: StxLock | None = None


class AssetDetails(Answer, frozen=True):
    """What happened to an asset, as the v1 and v2 routes give it; an absent party is an empty text."""

    asset_event_type: str
    asset_id: str | None = None
    sender: str | None = None
    recipient: str | None = None
    amount: str | None = None
    memo: str | None = None
    value: ClarityValue | None = None


class StxLockDetails(Answer, frozen=True):
    """STX that were locked, as the v1 routes give it."""

    locked_amount: str
    unlock_height: int
    locked_address: str


class EventDetails(Answer, frozen=True):
    """An event as the v1 and v2 routes give it; a contract's log has only ``contract_log``."""

    event_index: int
    event_type: str
    tx_id: str | None = None
    contract_log: ContractLog | None = None
    asset: AssetDetails | None = None
    stx_lock_event: StxLockDetails | None = None


class TokenTransferDetails(Answer, frozen=True):
    """A transfer of STX, as the v1 routes give it."""

    recipient_address: str
    amount: str
    memo: str | None = None


class PoisonMicroblock(Answer, frozen=True):
    """Two headers of microblocks, hex."""

    microblock_header_1: str
    microblock_header_2: str


class CoinbaseDetails(Answer, frozen=True):
    """A block's coinbase, as the v1 routes give it."""

    data: str
    alt_recipient: str | None = None
    vrf_proof: str | None = None


class TransactionDetails(Answer, frozen=True):
    """A transaction with everything in it, as the v1 routes give it.

    ``events`` holds as many as were asked for, ``event_count`` says how many there are. A transaction of the mempool
    has no ``block_hash``.
    """

    tx_id: str
    tx_type: str
    tx_status: str
    sender_address: str
    fee_rate: str
    nonce: int
    sponsor_address: str | None = None
    canonical: bool | None = None
    microblock_canonical: bool | None = None
    block_hash: str | None = None
    block_height: int | None = None
    tx_index: int | None = None
    tx_result: ClarityValue | None = None
    vm_error: str | None = None
    event_count: int | None = None
    events: list[EventDetails] | None = None
    token_transfer: TokenTransferDetails | None = None
    contract_call: ContractCall | None = None
    smart_contract: SmartContract | None = None
    poison_microblock: PoisonMicroblock | None = None
    coinbase_payload: CoinbaseDetails | None = None
    tenure_change_payload: TenureChange | None = None


class RawTransaction(Answer, frozen=True):
    """A transaction's bytes as hex text; ``0x00`` for what was done on Bitcoin."""

    raw_tx: str


class RawUnavailable(Answer, frozen=True):
    """Why no bytes came: this API no longer serves them (``not_served``), or it has no such transaction."""

    reason: Literal["not_served", "no_transaction"]
    detail: str


class PrincipalTransaction(Answer, frozen=True):
    """A transaction that touched a principal, and how (``sender``, ``sponsor``, ``affected``)."""

    transaction: Transaction
    involvement: str | None = None


class MempoolNonces(Answer, frozen=True):
    """A principal's nonces in the mempool."""

    last_nonce: int | None = None
    pending_nonces: list[int] | None = None
    missing_nonces: list[int] | None = None


class Nonces(Answer, frozen=True):
    """A principal's nonces; ``next_nonce`` counts the mempool in."""

    next_nonce: int
    last_confirmed_nonce: int | None = None
    mempool: MempoolNonces | None = None


class StxBalanceLock(Answer, frozen=True):
    """Locked STX of a principal."""

    amount: str
    burn_unlock_height: int | None = None


class StxBalance(Answer, frozen=True):
    """A principal's STX in micro-STX; ``balance`` is ``available`` plus locked."""

    balance: str
    available: str | None = None
    locked: StxBalanceLock | None = None


class FtBalance(Answer, frozen=True):
    """A principal's balance of one fungible token, in its base units."""

    asset_identifier: str
    balance: str


class NftPosition(Answer, frozen=True):
    """One non-fungible token of a principal."""

    asset_identifier: str
    value: ClarityValue


class FeePriorities(Answer, frozen=True):
    """Fees in micro-STX by how soon a transaction shall be mined."""

    no_priority: int
    low_priority: int
    medium_priority: int
    high_priority: int


class MempoolFees(Answer, frozen=True):
    """What transactions in the mempool pay, over all and by what they do."""

    all: FeePriorities
    token_transfer: FeePriorities | None = None
    contract_call: FeePriorities | None = None
    smart_contract: FeePriorities | None = None


class Contract(Answer, frozen=True):
    """A deployed contract. ``abi`` is its interface as JSON text; ``interface`` reads it."""

    contract_id: str
    tx_id: str | None = None
    block_height: int | None = None
    clarity_version: int | None = None
    source_code: str | None = None
    abi: str | dict[str, Any] | None = None

    @property
    def interface(self) -> Any:
        """Functions, variables, maps and tokens with their types, or None where the API has none."""
        return msgspec.json.decode(self.abi) if isinstance(self.abi, str) else self.abi


class NodeInfo(Answer, frozen=True):
    """Where the node behind the API stands (``/v2/info``)."""

    stacks_tip_height: int
    stacks_tip: str
    stacks_tip_consensus_hash: str
    burn_block_height: int
    network_id: int | None = None
    server_version: str | None = None


class NodeAccount(Answer, frozen=True):
    """An account at the node's tip; ``balance`` and ``locked`` are ``0x`` hex text of micro-STX."""

    balance: str
    locked: str
    nonce: int
    unlock_height: int | None = None


class Page(Answer, Generic[T], frozen=True):
    """A page of a list.

    ``older`` and ``newer`` are the cursors of the pages beside it, None at the ends, whichever of the API's two
    conventions the route follows. A list without an order in time has its next page as ``older``.
    """

    results: list[T]
    total: int | None = None
    older: str | None = None
    newer: str | None = None


class Tagged(Answer, Generic[T], frozen=True):
    """An answer and the tag that asks for a newer one."""

    value: T
    etag: str | None = None


class Wakeup(Answer, frozen=True):
    """Something may have changed: the socket was (re)connected (``connected``) or an event came (its name).

    Whatever happened while there was no socket is not repeated; look for yourself after every ``connected``.
    """

    reason: str
    params: Any = None


Include: TypeAlias = Literal["function_args", "source_code", "post_conditions", "result"]
BlockId: TypeAlias = int | str
"""A height, a hash (block hash or index block hash, hex) or ``latest``."""
