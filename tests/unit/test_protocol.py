"""Protocols: how handlers are registered, found and called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support import toy

from clarion.chains.model import EventKind
from clarion.protocol import (
    EventContext,
    ProjectionError,
    Protocol,
    UndecodableEventError,
    UnknownTopicError,
    installed_protocols,
)
from clarion.store.rows import Rows, RowType


def rows() -> Rows:
    return Rows([RowType(toy.Account)], lambda row_type, key: None)


def project(protocol: Protocol, value: Any) -> None:
    block = toy.block(None, [value])
    protocol.deployed_by(toy.DEPLOYER).project(block.events[0], block, block.transactions[0], rows())


def test_a_handler_gets_its_typed_event_and_where_it_happened() -> None:
    seen: list[tuple[toy.Moved, EventContext]] = []
    protocol = Protocol("toy", tables=[toy.Account])

    @protocol.on("bank", "account.moved")
    def handler(event: toy.Moved, at: EventContext, held: Rows) -> None:
        seen.append((event, at))

    project(protocol, toy.move("alice", 5))
    ((event, at),) = seen
    assert event == toy.Moved("account.moved", "alice", 5)
    block = toy.block(None, [toy.move("alice", 5)])
    assert (at.height, at.block, at.burn_height, at.time) == (1, block.ref, 1, block.time)
    assert (at.tx_id, at.sender, at.contract) == (block.transactions[0].id, toy.DEPLOYER, toy.CONTRACT)


def test_a_handler_may_take_the_event_as_it_is() -> None:
    seen: list[dict[str, Any]] = []
    protocol = Protocol("toy", tables=[toy.Account])

    @protocol.on("bank", "anything")
    def handler(event: dict[str, Any], at: EventContext, held: Rows) -> None:
        seen.append(event)

    project(protocol, {"topic": "anything", "more": 1})
    assert seen == [{"topic": "anything", "more": 1}]


def test_what_a_protocol_does_not_know_is_told_apart() -> None:
    with pytest.raises(UnknownTopicError, match=r"account\.frozen"):
        project(toy.toy, {"topic": "account.frozen"})
    with pytest.raises(UndecodableEventError, match="owner"):
        project(toy.toy, {"topic": "account.moved"})
    with pytest.raises(UndecodableEventError, match="colour"):
        project(toy.toy, {**toy.move("alice", 1), "colour": "red"})


def test_asset_events_without_a_handler_are_no_unknown_topics() -> None:
    block = toy.block(None, [toy.move("alice", 5)])
    event = replace(block.events[0], kind=EventKind.FT_TRANSFER, topic="ft_transfer", raw=None)
    toy.deployed().project(event, block, block.transactions[0], rows())


def test_a_failing_handler_is_named_with_its_place() -> None:
    protocol = Protocol("toy", tables=[toy.Account])

    @protocol.on("bank", "account.moved")
    def handler(event: toy.Moved, at: EventContext, held: Rows) -> None:
        raise KeyError("oops")

    with pytest.raises(ProjectionError, match=r"toy failed on ST.*bank account\.moved in stacks block 1 .*KeyError"):
        project(protocol, toy.move("alice", 5))


def test_registering_twice_or_in_another_schema_is_refused() -> None:
    protocol = Protocol("toy", tables=[toy.Account])

    def handler(event: toy.Moved, at: EventContext, held: Rows) -> None: ...

    protocol.on("bank", "x")(handler)
    with pytest.raises(ValueError, match="twice"):
        protocol.on("bank", "x")(handler)
    with pytest.raises(ValueError, match="must be in the schema other"):
        Protocol("other", tables=[toy.Account])
    with pytest.raises(ValueError, match="no contract"):
        toy.toy.deployed_at({"vault": toy.CONTRACT})


def test_the_protocols_that_come_along_are_installed() -> None:
    assert "bithedge" in installed_protocols()
