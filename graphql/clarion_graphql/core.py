"""The core's entities: what any contract did, without a projection."""

from __future__ import annotations

from typing import Any, Final

from psycopg import sql

from clarion.chains.model import EventKind, JsonValue
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.chains.stacks.derived import event_value, transaction_payload
from clarion_graphql.decimals import Scale
from clarion_graphql.entities import Argument, Column, Entity, Kind, Relation
from clarion_graphql.enums import ChainName, chain_of
from clarion_graphql.sql import Sql, literal


def _chain_condition(chain: Any) -> Sql:
    return literal("t.chain = %s", chain_of(chain))


CHAIN: Final = Argument(ChainName, ChainName.STACKS, "The chain.", _chain_condition)

_CANONICAL: Final = sql.SQL(
    "EXISTS (SELECT FROM clarion.canonical_block c WHERE c.chain = t.chain AND c.height = t.height AND c.hash = {})"
)


def _canonical_argument(block_hash: str) -> Argument:
    condition = Sql(_CANONICAL.format(sql.Identifier("t", block_hash)))
    return Argument(
        bool,
        True,
        "Only what is on the canonical chain. `false` adds what was orphaned.",
        lambda only: condition if only else None,
    )


def _canonical_column(block_hash: str, *, filterable: bool = False) -> Column:
    return Column(
        "canonical",
        Kind.BOOLEAN,
        "Whether its block counts now; `false` for one that lost to another branch.",
        expression=_CANONICAL.format(sql.Identifier("t", block_hash)),
        filterable=filterable,
        orderable=False,
    )


def _value_of(row: Any) -> JsonValue:
    try:
        return event_value(row.kind, row.value, row.raw)
    except DecodeError as error:
        return {"undecodable": str(error)}


def _payload_of(row: Any) -> JsonValue:
    try:
        return transaction_payload(row.kind, row.payload, row.raw)
    except DecodeError as error:
        return {"undecodable": str(error)}


_HIDDEN_CHAIN: Final = Column("chain", Kind.TEXT, "", exposed=False, filterable=False, orderable=False)


def _plain(
    name: str,
    kind: Kind,
    description: str,
    *,
    nullable: bool = False,
    search: bool = False,
    scale: Scale | None = None,
) -> Column:
    return Column(name, kind, description, nullable=nullable, filterable=search, orderable=False, scale=scale)


#: Micro-STX, shown in STX as well.
MICRO_STX: Final = Scale(6, "STX", "_stx")


_HEIGHT: Final = Column("height", Kind.INT, "Height of its block.")
_BLOCK_HASH: Final = _plain(
    "block_hash", Kind.BYTES, "Hash of its block; for Stacks the index block hash.", search=True
)

_TRANSACTION: Final = sql.SQL(
    "EXISTS (SELECT FROM clarion.transaction x WHERE x.chain = t.chain AND x.height = t.height "
    "AND x.block_hash = t.block_hash AND x.tx_index = t.tx_index AND {})"
)


def _of_transaction(name: str, column: str, kind: Kind, description: str) -> Column:
    """A filter on an event by its transaction."""
    return Column(
        name,
        kind,
        description,
        expression=sql.Identifier("x", column),
        within=_TRANSACTION,
        exposed=False,
        stored=False,
        orderable=False,
    )


_OF_BLOCK: Final = (("chain", "chain"), ("height", "height"), ("hash", "block_hash"))
_IN_BLOCK: Final = (("tx_index", False),)
_TO_BLOCK: Final = (("chain", "chain"), ("block_hash", "hash"))

BLOCK: Final = Entity(
    name="Block",
    table="clarion.block",
    description="A block as it arrived, canonical or not. A Stacks block's hash is its index block hash. Of a Bitcoin "
    "block only the transactions that matter to Charms are kept: those with a spell, and those that spend charms.",
    columns=[
        _HIDDEN_CHAIN,
        Column("height", Kind.INT, "Height on its chain."),
        _plain("hash", Kind.BYTES, "Hash; for Stacks the index block hash.", search=True),
        _plain("parent_hash", Kind.BYTES, "Hash of the block it builds on.", search=True),
        _plain("time", Kind.UNIX_TIME, "When it was made, as its header says.", nullable=True),
        _plain(
            "burn_height",
            Kind.INT,
            "Height of the Bitcoin block it is anchored to; on Bitcoin its own.",
            nullable=True,
            search=True,
        ),
        _plain(
            "burn_hash",
            Kind.BYTES,
            "Hash of the Bitcoin block it is anchored to; on Bitcoin its own.",
            nullable=True,
            search=True,
        ),
        _plain(
            "transaction_count",
            Kind.INT,
            "How many of its transactions are here: on Stacks all, on Bitcoin those that matter.",
            search=True,
        ),
        _plain("event_count", Kind.INT, "How many events its transactions emitted.", search=True),
        _plain(
            "extra",
            Kind.JSON,
            "What the source said beyond this: tenure height, consensus hash, block hash; on Bitcoin how many "
            "transactions it has in all, its size and its weight.",
        ),
        _canonical_column("hash", filterable=True),
    ],
    key=("chain", "hash"),
    single="block",
    plural="blocks",
    order=(("height", True),),
    arguments={"chain": CHAIN, "canonical": _canonical_argument("hash")},
    relations=[
        Relation("transactions", "Transaction", _OF_BLOCK, "Its transactions.", many=True, order=_IN_BLOCK),
        Relation("events", "Event", _OF_BLOCK, "Its events.", many=True, order=_IN_BLOCK),
        Relation(
            "parent",
            "Block",
            (("chain", "chain"), ("parent_hash", "hash")),
            "The block it builds on, if it is indexed.",
        ),
    ],
    located=("height", "hash"),
)

TRANSACTION: Final = Entity(
    name="Transaction",
    table="clarion.transaction",
    description="A transaction in one block; mined on two branches it is two.",
    columns=[
        _HIDDEN_CHAIN,
        _HEIGHT,
        _BLOCK_HASH,
        _plain("tx_index", Kind.INT, "Its place in the block, from 0."),
        _plain("tx_id", Kind.BYTES, "Transaction id.", search=True),
        _plain(
            "status",
            Kind.TEXT,
            "How it ended, in the node's words: `success`, `abort_by_response`, `abort_by_post_condition` or "
            "`problematic_skipped`.",
            search=True,
        ),
        _plain(
            "kind",
            Kind.TEXT,
            "Its payload's name, `burn_operation` for one made on Bitcoin, `undecodable` where `decodeError` says why. "
            "Of one of Bitcoin `spell`, or `spend` for one without a spell that spends charms.",
            search=True,
        ),
        _plain("sender", Kind.TEXT, "Address it is from.", nullable=True, search=True),
        _plain("sponsor", Kind.TEXT, "Address that pays the fee for it.", nullable=True, search=True),
        _plain("nonce", Kind.BIG_INT, "The sender's counter.", nullable=True, search=True),
        _plain("fee", Kind.BIG_INT, "Fee in micro-STX; null on Bitcoin.", nullable=True, search=True, scale=MICRO_STX),
        _plain("contract", Kind.TEXT, "Contract it calls or deploys.", nullable=True, search=True),
        _plain("function", Kind.TEXT, "Function it calls.", nullable=True, search=True),
        Column(
            "payload",
            Kind.JSON,
            "What it asks for: contract, function, arguments; recipient and amount.",
            nullable=True,
            derive=_payload_of,
            needs=("kind", "payload", "raw"),
            filterable=False,
            orderable=False,
        ),
        _plain("result", Kind.BYTES, "The Clarity value it returned, in consensus encoding.", nullable=True),
        _plain("raw", Kind.BYTES, "The signed transaction in the chain's own encoding."),
        _plain("vm_error", Kind.TEXT, "Why it failed, in the node's words.", nullable=True),
        _plain("decode_error", Kind.TEXT, "Why it could not be read.", nullable=True),
        _canonical_column("block_hash"),
    ],
    key=("chain", "height", "block_hash", "tx_index"),
    single="transaction",
    plural="transactions",
    order=(("height", True),),
    arguments={"chain": CHAIN, "canonical": _canonical_argument("block_hash")},
    relations=[
        Relation("block", "Block", _TO_BLOCK, "Its block."),
        Relation(
            "events",
            "Event",
            tuple((name, name) for name in ("chain", "height", "block_hash", "tx_index")),
            "What contracts said in it.",
            many=True,
            order=_IN_BLOCK,
        ),
    ],
    located=("height", "block_hash"),
)

EVENT: Final = Entity(
    name="Event",
    table="clarion.event",
    description="One thing a contract said, or that happened to an asset; on Bitcoin what a transaction does to "
    "charms.",
    columns=[
        _HIDDEN_CHAIN,
        _HEIGHT,
        _BLOCK_HASH,
        _plain("tx_index", Kind.INT, "Its transaction's place in the block, from 0."),
        _plain("event_index", Kind.INT, "Its place in the transaction, from 0."),
        Column("kind", Kind.TEXT, "What it is.", enum=EventKind, orderable=False),
        _plain(
            "contract", Kind.TEXT, "Contract it is of; null for what concerns no contract.", nullable=True, search=True
        ),
        _plain(
            "topic",
            Kind.TEXT,
            "The `topic` (or `event`, `action`, `notification`) of what a `print` printed; otherwise the kind.",
            search=True,
        ),
        Column(
            "value",
            Kind.JSON,
            "What was printed, or the asset event's fields. Of a spell what it says, with the transaction's inputs and "
            "outputs; of a spend without one the same, and which inputs held charms.",
            nullable=True,
            derive=_value_of,
            needs=("kind", "value", "raw"),
            filterable=False,
            orderable=False,
        ),
        _plain("raw", Kind.BYTES, "The Clarity value in consensus encoding.", nullable=True),
        _canonical_column("block_hash"),
        _of_transaction("sender", "sender", Kind.TEXT, "Address that sent its transaction."),
        _of_transaction("tx_id", "tx_id", Kind.BYTES, "Id of its transaction."),
    ],
    key=("chain", "height", "block_hash", "tx_index", "event_index"),
    single="event",
    plural="events",
    order=(("height", True),),
    arguments={"chain": CHAIN, "canonical": _canonical_argument("block_hash")},
    relations=[
        Relation("block", "Block", _TO_BLOCK, "Its block."),
        Relation(
            "transaction",
            "Transaction",
            tuple((name, name) for name in ("chain", "height", "block_hash", "tx_index")),
            "Its transaction.",
        ),
    ],
    located=("height", "block_hash"),
)

BURN_BLOCK: Final = Entity(
    name="BurnBlock",
    table="clarion.burn_block",
    description="A Bitcoin block that the Stacks node announced; several at a height after a reorganisation.",
    columns=[
        Column("height", Kind.INT, "Height."),
        _plain("hash", Kind.BYTES, "Hash.", search=True),
        _plain("parent_hash", Kind.BYTES, "Hash of the block before.", nullable=True, search=True),
        _plain("time", Kind.UNIX_TIME, "When it was made, as its header says.", nullable=True),
        Column(
            "canonical",
            Kind.BOOLEAN,
            "Whether it counts at its height.",
            expression=sql.SQL(
                "EXISTS (SELECT FROM clarion.canonical_burn_block c WHERE c.height = t.height AND c.hash = t.hash)"
            ),
            orderable=False,
        ),
    ],
    key=("hash",),
    single="burnBlock",
    plural="burnBlocks",
    order=(("height", True),),
    chain="stacks",
)

ANOMALY: Final = Entity(
    name="Anomaly",
    table="clarion.anomaly",
    description="Something in a block that could not be understood, and was not skipped in silence.",
    columns=[
        _HIDDEN_CHAIN,
        _HEIGHT,
        _BLOCK_HASH,
        _plain("tx_index", Kind.INT, "Its transaction's place in the block; -1 where it concerns the block."),
        _plain("event_index", Kind.INT, "Its place in the transaction; -1 where it concerns the transaction."),
        _plain("kind", Kind.TEXT, "What is wrong, such as `unknown_topic` or `undecodable_event`.", search=True),
        _plain("contract", Kind.TEXT, "Contract it is about.", nullable=True, search=True),
        _plain("topic", Kind.TEXT, "Topic of the event it is about.", nullable=True, search=True),
        _plain("detail", Kind.TEXT, "What was found."),
        _canonical_column("block_hash"),
    ],
    key=("chain", "height", "block_hash", "tx_index", "event_index", "kind"),
    single="anomaly",
    plural="anomalies",
    order=(("height", True),),
    arguments={"chain": CHAIN, "canonical": _canonical_argument("block_hash")},
    relations=[Relation("block", "Block", _TO_BLOCK, "Its block.")],
    located=("height", "block_hash"),
)

MEMPOOL_TRANSACTION: Final = Entity(
    name="MempoolTransaction",
    table="clarion.mempool_transaction",
    description="A transaction that the node holds, or dropped without mining it. Not part of the chain.",
    columns=[
        _plain("tx_id", Kind.BYTES, "Transaction id.", search=True),
        _plain("raw", Kind.BYTES, "The signed transaction in consensus encoding."),
        _plain("sender", Kind.TEXT, "Address it is from.", nullable=True, search=True),
        _plain("nonce", Kind.BIG_INT, "The sender's counter.", nullable=True, search=True),
        _plain("fee", Kind.BIG_INT, "Fee in micro-STX.", nullable=True, search=True, scale=MICRO_STX),
        Column("received_at", Kind.TIME, "When the node announced it."),
        _plain(
            "dropped_reason",
            Kind.TEXT,
            "Why the node dropped it, in its words; null while it holds it.",
            nullable=True,
            search=True,
        ),
        _plain("replaced_by", Kind.BYTES, "Id of the transaction that replaced it.", nullable=True, search=True),
    ],
    key=("tx_id",),
    single="mempoolTransaction",
    plural="mempoolTransactions",
    order=(("received_at", True),),
    chain="stacks",
)


def canonical(entity: Entity) -> Sql | None:
    """The condition that a row of a core entity is on the canonical chain."""
    return entity.arguments["canonical"].condition(True)


CORE: Final = (BLOCK, TRANSACTION, EVENT, BURN_BLOCK, ANOMALY, MEMPOOL_TRANSACTION)
