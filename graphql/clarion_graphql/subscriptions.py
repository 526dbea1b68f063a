"""The fields of ``Subscription``: the change log forwards, from a sequence or from now, and what is so now.

They say where their messages come from; :mod:`clarion_graphql.live` reads those and sends them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter
from typing import Any, Final, TypeVar

import msgspec
from strawberry.types.base import StrawberryList, StrawberryOptional
from strawberry.types.field import StrawberryField

from clarion.chains.model import Chain, Finality
from clarion_graphql import change_log
from clarion_graphql.change_log import Change, FinalBlock, FinalityMark, Piece, Start, Step
from clarion_graphql.context import Info, Service
from clarion_graphql.core import EVENT
from clarion_graphql.entities import Entity, Kind
from clarion_graphql.enums import BlockOp, ChainName, RowOp, chain_of, named_enum
from clarion_graphql.errors import InputError
from clarion_graphql.filters import equal_to, filter_condition
from clarion_graphql.live.live_query import live_query
from clarion_graphql.live.sources import LogSource, Source, State, StateSource
from clarion_graphql.scalars import BigInt, Bytes, Json, parse_big_int, parse_tx_id
from clarion_graphql.sql import all_of
from clarion_graphql.transaction_state import TransactionState, read_transaction_state
from clarion_graphql.types import Types, make_field, make_type, with_arguments

T = TypeVar("T", Step, Change)

SINCE: Final = (
    BigInt | None,
    None,
    "Go on after this sequence: of an earlier message, or of a query's receipt. Nothing is missed and nothing comes "
    "twice. Without it, the subscription begins now and its first message, `START`, says where.",
)
FINALIZED: Final = (
    bool,
    False,
    "Say with `FINALIZE` which block is the highest that is final, at first and whenever that is another: what was "
    "told of it and of every block below it is never taken back.",
)
SEQUENCE: Final = "Where this message stands; as `since` it makes a new subscription go on after it."
RETRACTION: Final = "The change takes back what a block did that is no longer canonical."


class _BlockMessage:
    def __init__(self, step: Step) -> None:
        self.sequence, self.block, self.events = step.sequence, step.block, step.events
        self.final_height = step.final_height
        self.op = BlockOp(step.op)

    @classmethod
    def start(cls, at: Start) -> _BlockMessage:
        """The message that says where a subscription begins."""
        return cls(Step(at.sequence, BlockOp.START.value, at.tip, at.final_height, []))

    @classmethod
    def final(cls, at: FinalBlock) -> _BlockMessage:
        """The message that says which block is final."""
        return cls(Step(at.sequence, BlockOp.FINALIZE.value, at.block, at.block.height, []))


class _RowMessage:
    def __init__(self, change: Change, table: str | None) -> None:
        self.sequence, self.block = change.sequence, change.block
        self.op = RowOp(change.op)
        self.retraction = change.retraction
        self.height = None if change.height < 0 else change.height
        self.table = table
        self.key = change.key
        self.before, self.after = change.before, change.after

    @classmethod
    def of(cls, change: Change) -> _RowMessage:
        """The message of a change."""
        return cls(change, change.table)

    @classmethod
    def start(cls, at: Start) -> _RowMessage:
        """The message that says where a subscription begins."""
        return cls._of_no_row(RowOp.START, at.sequence, at.tip)

    @classmethod
    def final(cls, at: FinalBlock) -> _RowMessage:
        """The message that says which block is final."""
        return cls._of_no_row(RowOp.FINALIZE, at.sequence, at.block)

    @classmethod
    def _of_no_row(cls, op: RowOp, sequence: int, block: Any) -> _RowMessage:
        height = -1 if block is None else block.height
        return cls(Change(sequence, op.value, False, height, block, "", None, None, None), None)


def _source(
    service: Service,
    chain: Chain,
    since: int | None,
    what: Hashable,
    read: Callable[[int], Awaitable[Piece[T]]],
    message: type[_BlockMessage | _RowMessage],
    show: Callable[[T], Any],
    tables: Sequence[str] | None = None,
    *,
    finalized: bool,
) -> LogSource[T]:
    """The log's entries that ``read`` gives. ``tables``: whose rows they are about; None: they are about blocks."""
    return LogSource(
        (chain, what, finalized),
        chain,
        since,
        read,
        partial(change_log.start, service.pool, chain),
        message.start,
        message.final,
        show,
        None if tables is None else frozenset(tables),
        partial(change_log.read_final, service.pool, chain) if finalized else None,
    )


class _FinalityMessage:
    def __init__(self, mark: FinalityMark) -> None:
        self.finality, self.block, self.sequence = mark.finality, mark.block, mark.sequence
        self.height: int = mark.block.height


async def _finality_states(service: Service, chain: Chain) -> list[State]:
    """The highest final and anchored block."""
    marks = await change_log.read_finality(service.pool, chain)
    return [State(mark.finality, mark.block.hash, _FinalityMessage(mark), mark.sequence) for mark in marks]


class Subscriptions:
    """The fields of ``Subscription``."""

    def __init__(self, types: Types, entities: Iterable[Entity], query: Any) -> None:
        """``query``: the type ``Query``."""
        self._types = types
        self._projections = [entity for entity in entities if entity.projection]
        self.fields: list[StrawberryField] = [self._blocks(), self._finality(), self._events(), self._transaction()]
        if self._projections:
            self.fields.append(self._changes())
        self.fields += [self._row_changes(entity) for entity in self._projections]
        self.fields.append(self._live(query))

    def _live(self, query: Any) -> StrawberryField:
        return make_field(
            "live",
            query,
            "The query inside, answered now and again whenever a commit gives it another answer. Its receipt is in "
            "`extensions`. Whoever asks the same shares the work.",
            resolver=with_arguments(lambda root, info: live_query(info._raw_info), {}),
            is_subscription=True,
        )

    def _blocks(self) -> StrawberryField:
        message = make_type(
            "BlockMessage",
            [
                make_field("sequence", BigInt, SEQUENCE),
                make_field("op", BlockOp, "What happened."),
                _message_block(self._types),
                make_field(
                    "finalHeight",
                    int | None,
                    "Height up to which everything is final when this message is sent; null while nothing is.",
                    attribute="final_height",
                ),
            ],
            "A block that became canonical, or stopped being so.",
        )

        def resolve(root: Any, info: Info, *, since: int | None, finalized: bool, chain: Any) -> Source:
            name, pool = chain_of(chain), info.context.service.pool
            return _source(
                info.context.service,
                name,
                since,
                "blocks",
                lambda after: change_log.read_steps(pool, name, after),
                _BlockMessage,
                _BlockMessage,
                finalized=finalized,
            )

        return _subscription("blocks", message, "Blocks as they are applied and retracted, in order.", resolve)

    def _finality(self) -> StrawberryField:
        message = make_type(
            "FinalityMessage",
            [
                make_field("finality", Finality, "How final it is now."),
                make_field("height", int, "Height of the block: it and every block below are at least as final."),
                make_field("block", self._types.named["Block"], "The block."),
                make_field("sequence", BigInt, "Where the index stood."),
            ],
            "A block that became anchored or final together with everything below it.",
        )

        def resolve(root: Any, info: Info, *, chain: Any) -> Source:
            name, service = chain_of(chain), info.context.service
            return StateSource(("finality", name), [name], lambda: _finality_states(service, name))

        return make_field(
            "finality",
            message,
            "The highest block that is final and the highest that is anchored: as it is now, and whenever it becomes "
            "another one. What is final stays; the highest anchored block is a lower one after a reorganisation.",
            resolver=with_arguments(resolve, {"chain": (ChainName, ChainName.STACKS, "The chain.")}),
            is_subscription=True,
        )

    def _transaction(self) -> StrawberryField:
        message = make_type(
            "TransactionMessage",
            [
                make_field("sequence", BigInt, "Where the index stood."),
                make_field("state", TransactionState, "Where the transaction stands."),
                make_field("finality", Finality | None, "How final its block is; null without a canonical one."),
                make_field(
                    "transaction",
                    StrawberryOptional(self._types.named["Transaction"]),
                    "The transaction in its block, or in the highest block that lost; null while it is in none.",
                ),
                make_field(
                    "waiting",
                    StrawberryOptional(self._types.named["MempoolTransaction"]),
                    "What the node holds or has dropped; null where it does neither.",
                ),
            ],
            "Where a transaction stands.",
        )

        def resolve(root: Any, info: Info, *, tx_id: bytes, chain: Any) -> Source:
            name, service = chain_of(chain), info.context.service
            parse_tx_id(tx_id)
            return StateSource(
                ("transaction", name, tx_id), [name], lambda: read_transaction_state(service, name, tx_id)
            )

        return make_field(
            "transaction",
            message,
            "Where a transaction stands: now, and whenever that is another. It may be asked for before it is sent.",
            resolver=with_arguments(
                resolve,
                {
                    "tx_id": (Bytes, Parameter.empty, "Transaction id."),
                    "chain": (ChainName, ChainName.STACKS, "The chain."),
                },
            ),
            is_subscription=True,
        )

    def _events(self) -> StrawberryField:
        message = make_type(
            "EventsMessage",
            [
                make_field("sequence", BigInt, SEQUENCE),
                make_field("op", BlockOp, "What happened to their block."),
                _message_block(self._types),
                make_field(
                    "events",
                    StrawberryList(self._types.named["Event"]),
                    "The block's events that were asked for, in order.",
                ),
            ],
            "The events of a block that became canonical, or stopped being so.",
        )

        def resolve(
            root: Any,
            info: Info,
            *,
            contract: str | None,
            topic: str | None,
            since: int | None,
            finalized: bool,
            chain: Any,
        ) -> Source:
            name, pool = chain_of(chain), info.context.service.pool
            condition = all_of(
                [
                    None if contract is None else equal_to(EVENT, {"contract": contract}),
                    None if topic is None else equal_to(EVENT, {"topic": topic}),
                ]
            )
            return _source(
                info.context.service,
                name,
                since,
                ("events", contract, topic),
                lambda after: change_log.read_events(pool, name, after, condition),
                _BlockMessage,
                _BlockMessage,
                finalized=finalized,
            )

        return _subscription(
            "events",
            message,
            "Events as their blocks are applied and retracted, one message per block that holds any.",
            resolve,
            {
                "contract": (str | None, None, "Only of this contract."),
                "topic": (str | None, None, "Only of this topic."),
            },
        )

    def _changes(self) -> StrawberryField:
        by_table = {entity.table: entity for entity in self._projections}
        members = {table.upper().replace(".", "_"): table for table in by_table}
        table_enum = named_enum("ProjectionTable", members, "A table that a protocol projects into.")
        message = make_type(
            "Change",
            [
                *self._row_fields(),
                make_field(
                    "table", StrawberryOptional(table_enum), "The row's table; null for `START` and `FINALIZE`."
                ),
                make_field(
                    "key", Json | None, "The row's primary key, its columns in order; null for `START` and `FINALIZE`."
                ),
                make_field("before", Json | None, "The row before, by field name; null for a new one."),
                make_field("after", Json | None, "The row now, by field name; null for one that is gone."),
            ],
            "A row of any projection that changed.",
        )

        def shown(change: Change) -> _RowMessage:
            entity = by_table[change.table]
            before, after = _fields(entity, change.before), _fields(entity, change.after)
            return _RowMessage.of(replace(change, before=before, after=after))

        def resolve(
            root: Any,
            info: Info,
            *,
            table: Any,
            key: Sequence[str] | None,
            since: int | None,
            finalized: bool,
            chain: Any,
        ) -> Source:
            pool = info.context.service.pool
            if key is not None and table is None:
                raise InputError("key is a primary key of a table: give table too.")
            name_of_table = None if table is None else str(table)
            name = _chain_of_changes(chain, None if name_of_table is None else by_table[name_of_table])
            text = None if key is None else _key_text(by_table[str(table)], key)
            tables = (
                sorted(entity.table for entity in self._projections if entity.chain == name)
                if name_of_table is None
                else [name_of_table]
            )
            return _source(
                info.context.service,
                name,
                since,
                ("changes", name_of_table, text),
                lambda after: change_log.read_changes(pool, name, after, tables, text),
                _RowMessage,
                shown,
                tables,
                finalized=finalized,
            )

        return _subscription(
            "changes",
            message,
            "Rows of the projections as they change, one message per row and block, in order.",
            resolve,
            {
                "table": (table_enum | None, None, "Only of this table."),
                "key": (
                    StrawberryOptional(StrawberryList(str)),
                    None,
                    "Only the row with this primary key: its columns in order, numbers as digits.",
                ),
            },
            (ChainName | None, None, "The chain; null: the table's, or without one Stacks."),
        )

    def _row_fields(self) -> list[StrawberryField]:
        return [
            make_field("sequence", BigInt, SEQUENCE),
            make_field("op", RowOp, "What happened."),
            make_field("retraction", bool, RETRACTION),
            make_field(
                "height",
                int | None,
                "Height of the block whose state the row now has: the one applied, or the one that a reorganisation "
                "went back to; for `FINALIZE` of the highest that is final. Null before the first block.",
            ),
            _message_block(self._types),
        ]

    def _row_changes(self, entity: Entity) -> StrawberryField:
        node = self._types.named[entity.name]
        message = make_type(
            f"{entity.name}Change",
            [
                *self._row_fields(),
                make_field("before", StrawberryOptional(node), "The row before; null for a new one."),
                make_field("after", StrawberryOptional(node), "The row now; null for one that is gone."),
            ],
            f"A `{entity.name}` that changed. What hangs on `before` and `after` (relations, derived fields) is read "
            f"when the message is sent.",
        )

        chain = entity.chain
        assert chain is not None

        def resolve(
            root: Any,
            info: Info,
            *,
            filter: Any,  # noqa: A002
            since: int | None,
            finalized: bool,
        ) -> Source:
            condition, pool = filter_condition(entity, filter), info.context.service.pool
            return _source(
                info.context.service,
                chain,
                since,
                (entity.name, condition.text.as_string(), repr(condition.parameters)),
                lambda after: change_log.read_row_changes(pool, chain, after, entity, condition),
                _RowMessage,
                _RowMessage.of,
                [entity.table],
                finalized=finalized,
            )

        filter_type = StrawberryOptional(self._types.named[f"{entity.name}Filter"])
        arguments = {
            "filter": (filter_type, None, "Only rows that fulfil this before the change or after it."),
            "since": SINCE,
            "finalized": FINALIZED,
        }
        name = f"{entity.single}Changed"
        description = f"`{entity.name}` rows as they change, in order."
        return make_field(name, message, description, resolver=with_arguments(resolve, arguments), is_subscription=True)


def _subscription(
    name: str,
    message: Any,
    description: str,
    resolve: Callable[..., Source],
    arguments: Mapping[str, tuple[Any, Any, str]] | None = None,
    chain: tuple[Any, Any, str] = (ChainName, ChainName.STACKS, "The chain."),
) -> StrawberryField:
    declared = {**(arguments or {}), "since": SINCE, "finalized": FINALIZED, "chain": chain}
    return make_field(name, message, description, resolver=with_arguments(resolve, declared), is_subscription=True)


def _message_block(types: Types) -> Any:
    return make_field(
        "block",
        StrawberryOptional(types.named["Block"]),
        "The block that this is about; for `START` the tip, for `FINALIZE` the highest that is final. Null before the "
        "first block.",
    )


def _chain_of_changes(given: Any, entity: Entity | None) -> Chain:
    """The chain whose changes are asked for. Raises InputError where it is not the table's."""
    if entity is None:
        return "stacks" if given is None else chain_of(given)
    assert entity.chain is not None
    if given is not None and chain_of(given) != entity.chain:
        raise InputError(f"{entity.table} is a table of {entity.chain}, not of {chain_of(given)}.")
    return entity.chain


def _fields(entity: Entity, row: Any) -> Any:
    """A row of the log by the names that the API gives its columns."""
    return None if row is None else {entity.by_name[name].field_name: value for name, value in row.items()}


def _key_text(entity: Entity, key: Sequence[str]) -> str:
    """A primary key as the log's JSON. Raises InputError where it is no key of the table."""
    columns = [entity.by_name[name] for name in entity.key]
    if len(columns) != len(key):
        names = ", ".join(column.field_name for column in columns)
        raise InputError(f"The key of {entity.name} is [{names}]; {len(key)} values were given.")
    values = [
        parse_big_int(value) if column.kind in (Kind.INT, Kind.BIG_INT) else value
        for column, value in zip(columns, key, strict=True)
    ]
    return msgspec.json.encode(values).decode()
