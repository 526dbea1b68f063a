"""How the API shows the tokens of the chain, and what happened on it as one list for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarion_graphql.core import MICRO_STX
from clarion_graphql.decimals import Scale
from clarion_graphql.entities import Column, Entity, Kind, Relation, camel, pascal
from clarion_graphql.protocols import ProtocolApi

_CHAIN: Final = Column("chain", Kind.TEXT, "", exposed=False, filterable=False, orderable=False)
_HEIGHT: Final = Column("height", Kind.INT, "Height of its block.")
_TO_BLOCK: Final = (("chain", "chain"), ("block_hash", "hash"))
_TO_TRANSACTION: Final = tuple((name, name) for name in ("chain", "height", "block_hash", "tx_index"))


def _shown(name: str, kind: Kind, description: str, *, nullable: bool = False, scale: Scale | None = None) -> Column:
    return Column(name, kind, description, nullable=nullable, filterable=False, orderable=False, scale=scale)


def _searched(name: str, kind: Kind, description: str, *, nullable: bool = False, scale: Scale | None = None) -> Column:
    return Column(name, kind, description, nullable=nullable, orderable=False, scale=scale)


_IN_TRANSACTION: Final = (
    _CHAIN,
    _HEIGHT,
    _shown("block_hash", Kind.BYTES, "Index block hash of its block."),
    _shown("tx_index", Kind.INT, "Its transaction's place in the block, from 0."),
    _shown("block_time", Kind.UNIX_TIME, "When its block was made, as its header says.", nullable=True),
    _searched("tx_id", Kind.BYTES, "Id of its transaction."),
)
_IN_EVENT: Final = (
    *_IN_TRANSACTION,
    _shown("event_index", Kind.INT, "Its place in the transaction, from 0."),
)
_RELATIONS: Final = (
    Relation("block", "Block", _TO_BLOCK, "Its block."),
    Relation("transaction", "Transaction", _TO_TRANSACTION, "Its transaction."),
)

_ASSET: Final = _searched("asset", Kind.TEXT, "The asset: `<contract id>::<asset name>`.")
_CONTRACT: Final = _searched("contract", Kind.TEXT, "Contract that defines the asset.")
_SENDER: Final = _searched("sender", Kind.TEXT, "Address or contract it came from.")
_RECIPIENT: Final = _searched("recipient", Kind.TEXT, "Address or contract it went to.")
_AMOUNT: Final = _searched("amount", Kind.BIG_INT, "How much. Unit: base units of the asset.")
_MICRO_STX: Final = _searched("amount", Kind.BIG_INT, "How much. Unit: micro-STX.", scale=MICRO_STX)
_TOKEN: Final = (
    _searched("token", Kind.TEXT, "The token's identifier in consensus encoding, or `sha256:` and its hash."),
    _shown("value", Kind.JSON, "The token's identifier as JSON.", nullable=True),
)


def _list(name: str, description: str, columns: Sequence[Column]) -> Entity:
    """The entity of the view ``clarion.<name>``; its events are on the canonical chain."""
    of_event = any(column.name == "event_index" for column in columns)
    return Entity(
        name=pascal(name),
        table=f"clarion.{name}",
        description=description,
        columns=columns,
        key=("height", "tx_index", "event_index") if of_event else ("height", "tx_index"),
        single=camel(name),
        plural=f"{camel(name)}s",
        order=(("height", True),),
        relations=list(_RELATIONS),
        located=("height", "block_hash"),
        chain="stacks",
    )


def _movement(name: str, description: str, *columns: Column) -> Entity:
    return _list(name, description, [*columns, *_IN_EVENT])


_MOVEMENTS: Final = (
    _movement(
        "stx_transfer",
        "Micro-STX that moved.",
        _SENDER,
        _RECIPIENT,
        _MICRO_STX,
        _shown("memo", Kind.TEXT, "What the sender wrote to it, in hexadecimal after `0x`.", nullable=True),
    ),
    _movement("stx_mint", "Micro-STX that came into being by an event.", _RECIPIENT, _MICRO_STX),
    _movement("stx_burn", "Micro-STX that were destroyed.", _SENDER, _MICRO_STX),
    _movement(
        "stx_lock",
        "Micro-STX that were locked for stacking.",
        _searched("locked_address", Kind.TEXT, "Whose they are."),
        _shown("locked_amount", Kind.BIG_INT, "How much. Unit: micro-STX.", scale=MICRO_STX),
        _shown("unlock_height", Kind.INT, "Bitcoin height from which on they are free again."),
        _searched("contract", Kind.TEXT, "Contract that locked them; null where the node did not say.", nullable=True),
    ),
    _movement("ft_transfer", "A fungible token that moved.", _ASSET, _CONTRACT, _SENDER, _RECIPIENT, _AMOUNT),
    _movement("ft_mint", "Fungible tokens that came into being.", _ASSET, _CONTRACT, _RECIPIENT, _AMOUNT),
    _movement("ft_burn", "Fungible tokens that were destroyed.", _ASSET, _CONTRACT, _SENDER, _AMOUNT),
    _movement("nft_transfer", "An NFT that moved.", _ASSET, _CONTRACT, *_TOKEN, _SENDER, _RECIPIENT),
    _movement("nft_mint", "An NFT that came into being.", _ASSET, _CONTRACT, *_TOKEN, _RECIPIENT),
    _movement("nft_burn", "An NFT that was destroyed.", _ASSET, _CONTRACT, *_TOKEN, _SENDER),
    _movement(
        "asset_event",
        "Anything of these: a transfer, a mint or a burn of any asset.",
        _searched("kind", Kind.TEXT, "What it is: `stx_transfer`, `ft_mint`, `nft_burn` …"),
        _searched("asset", Kind.TEXT, "The asset: `<contract id>::<asset name>`, or `STX`."),
        _searched("contract", Kind.TEXT, "Contract that defines the asset; null for STX.", nullable=True),
        _searched("sender", Kind.TEXT, "Address or contract it came from; null for a mint.", nullable=True),
        _searched("recipient", Kind.TEXT, "Address or contract it went to; null for a burn.", nullable=True),
        _searched("amount", Kind.BIG_INT, "How much, in base units of the asset; null for an NFT.", nullable=True),
        _searched("token", Kind.TEXT, "Which NFT, as in `NftTransfer`; null for others.", nullable=True),
        _shown("value", Kind.JSON, "The NFT's identifier as JSON; null for others.", nullable=True),
    ),
)

_PRINT: Final = _list(
    "print",
    "What a contract printed.",
    [
        _searched("contract", Kind.TEXT, "Contract that printed it."),
        _searched("topic", Kind.TEXT, "Its `topic` (or `event`, `action`, `notification`), otherwise `print`."),
        _shown("value", Kind.JSON, "What was printed.", nullable=True),
        _shown("raw", Kind.BYTES, "The Clarity value in consensus encoding."),
        _searched("sender", Kind.TEXT, "Address that sent its transaction.", nullable=True),
        *_IN_EVENT,
    ],
)

_CALL: Final = _list(
    "contract_call",
    "A transaction that calls a function of a contract.",
    [
        _searched("contract", Kind.TEXT, "Contract it calls."),
        _searched("function", Kind.TEXT, "Function it calls."),
        _shown("arguments", Kind.JSON, "The arguments in order."),
        _shown(
            "named_arguments",
            Kind.JSON,
            "The arguments by name; null where there are none or the contract's interface is not known.",
            nullable=True,
        ),
        _searched("sender", Kind.TEXT, "Address it is from."),
        _searched("sponsor", Kind.TEXT, "Address that pays the fee for it.", nullable=True),
        _shown("nonce", Kind.BIG_INT, "The sender's counter."),
        _shown("fee", Kind.BIG_INT, "Fee. Unit: micro-STX.", scale=MICRO_STX),
        _searched("status", Kind.TEXT, "How it ended, in the node's words: `success`, `abort_by_response` …"),
        _shown("result", Kind.BYTES, "The Clarity value it returned, in consensus encoding.", nullable=True),
        _shown("vm_error", Kind.TEXT, "Why it failed, in the node's words.", nullable=True),
        *_IN_TRANSACTION,
    ],
)

_DEPLOYED: Final = Entity(
    name="Contract",
    table="clarion.contract",
    description="A contract that was deployed in an indexed block.",
    columns=[
        _searched("contract", Kind.TEXT, "Contract id."),
        _searched("deployer", Kind.TEXT, "Address that deployed it."),
        _shown("name", Kind.TEXT, "Its name under that address."),
        _shown("clarity_version", Kind.INT, "Clarity version; null where it was left to the epoch.", nullable=True),
        _shown("source", Kind.TEXT, "Clarity source."),
        _shown(
            "interface",
            Kind.JSON,
            "Functions, variables, maps and tokens with their types, as the node gave them; null where it did not.",
            nullable=True,
        ),
        *_IN_TRANSACTION,
    ],
    key=("contract",),
    single="contract",
    plural="contracts",
    order=(("height", True),),
    relations=[
        *_RELATIONS,
        Relation("calls", "ContractCall", (("contract", "contract"),), "Calls of its functions.", many=True),
        Relation("prints", "Print", (("contract", "contract"),), "What it printed.", many=True),
        Relation("fungibleTokens", "FungibleToken", (("contract", "contract"),), "Tokens it defines.", many=True),
    ],
    located=("height", "block_hash"),
    chain="stacks",
)

_INTERFACE: Final = Entity(
    name="ContractInterface",
    table="clarion.contract_interface",
    description="What a contract offers, as a node gave it; also of contracts that were there before the index.",
    columns=[
        Column("contract", Kind.TEXT, "Contract id."),
        _shown("interface", Kind.JSON, "Functions, variables, maps and tokens with their types."),
    ],
    key=("contract",),
    single="contractInterface",
    plural="contractInterfaces",
)

API: Final = ProtocolApi(
    prefix="",
    relations={
        "fungible_token": [
            Relation("balances", "balance", (("asset", "asset"),), "Who has it.", many=True),
            Relation("deployed", "contract", (("contract", "contract"),), "Its contract, if it is indexed."),
        ],
        "balance": [Relation("fungibleToken", "fungible_token", (("asset", "asset"),), "The asset.")],
        "nft": [
            Relation(
                "transfers", "nft_transfer", (("asset", "asset"), ("token", "token")), "When it moved.", many=True
            ),
        ],
    },
    log=(*_MOVEMENTS, _CALL, _PRINT, _DEPLOYED, _INTERFACE),
)
