"""Protocols: how handlers are registered, found and called."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from support import toy

from clarion.asset_events import FtTransfer, StxBurn
from clarion.chains.model import EventKind
from clarion.protocol import (
    EventContext,
    ProjectionError,
    Protocol,
    UndecodableEventError,
    UnknownTopicError,
    installed_protocol,
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
    event = msgspec.structs.replace(block.events[0], kind=EventKind.FT_TRANSFER, topic="ft_transfer", raw=None)
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


def asset_event(kind: EventKind, value: Any, contract: str | None = toy.CONTRACT) -> Any:
    block = toy.block(None, [toy.move("alice", 5)])
    event = msgspec.structs.replace(
        block.events[0], kind=kind, topic=kind.value, stored_value=value, contract=contract, raw=None
    )
    return event, block, block.transactions[0]


TRANSFER = {"asset": f"{toy.CONTRACT}::coin", "sender": "a", "recipient": "b", "amount": 2**127}


def test_asset_events_are_selected_by_kind_and_typed() -> None:
    seen: list[FtTransfer] = []
    protocol = Protocol("toy", tables=[toy.Account])

    @protocol.on("bank", kind=EventKind.FT_TRANSFER)
    def handler(event: FtTransfer, at: EventContext, held: Rows) -> None:
        seen.append(event)

    deployed = protocol.deployed_by(toy.DEPLOYER)
    deployed.project(*asset_event(EventKind.FT_TRANSFER, TRANSFER), rows())
    deployed.project(*asset_event(EventKind.FT_TRANSFER, TRANSFER, contract="SP1.other"), rows())
    deployed.project(*asset_event(EventKind.FT_MINT, {**TRANSFER, "sender": None}), rows())
    assert seen == [FtTransfer(f"{toy.CONTRACT}::coin", "a", "b", 2**127)]
    with pytest.raises(UnknownTopicError):
        project(protocol, {"topic": "ft_transfer", **TRANSFER})
    assert protocol.topics() == {("bank", "ft_transfer"): FtTransfer}
    with pytest.raises(TypeError, match="ft_mint"):
        protocol.on("bank", kind=EventKind.FT_MINT)(handler)
    with pytest.raises(ValueError, match="by its kind alone"):
        protocol.on("bank", "ft_transfer", kind=EventKind.FT_TRANSFER)


def test_events_of_all_contracts_can_be_handled_and_narrowed() -> None:
    seen: list[tuple[str, str]] = []
    protocol = Protocol("toy", tables=[toy.Account])

    @protocol.on_any(kind=EventKind.FT_TRANSFER)
    def moved(event: FtTransfer, at: EventContext, held: Rows) -> None:
        seen.append((at.contract, event.recipient))

    @protocol.on_any(kind=EventKind.STX_BURN)
    def burned(event: StxBurn, at: EventContext, held: Rows) -> None:
        seen.append((at.contract, event.sender))

    everything = protocol.deployed_at({})
    assert everything.open_ended
    narrowed = protocol.deployed_at({}, only=["SP1.a"])
    stx_alone = protocol.deployed_at({}, only=["STX"])
    for deployed in (everything, narrowed, stx_alone):
        for contract in ("SP1.a", "SP1.b"):
            deployed.project(*asset_event(EventKind.FT_TRANSFER, TRANSFER, contract=contract), rows())
        deployed.project(*asset_event(EventKind.STX_BURN, {"sender": "a", "amount": 1}, contract=None), rows())
    assert seen == [("SP1.a", "b"), ("SP1.b", "b"), ("", "a"), ("SP1.a", "b"), ("", "a")]
    assert len({str(deployed.binding) for deployed in (everything, narrowed, stx_alone)}) == 3


def test_an_event_that_cannot_be_read_reaches_no_handler() -> None:
    seen: list[Any] = []
    protocol = Protocol("toy", tables=[toy.Account])
    protocol.on_any("account.moved")(lambda_handler(seen))

    @protocol.on("bank", "account.moved")
    def handler(event: toy.Moved, at: EventContext, held: Rows) -> None:
        seen.append(event)

    with pytest.raises(UndecodableEventError):
        project(protocol, {"topic": "account.moved", "owner": 5})
    assert seen == []
    project(protocol, toy.move("alice", 1))
    assert len(seen) == 2


def lambda_handler(seen: list[Any]) -> Any:
    def handler(event: dict[str, Any], at: EventContext, held: Rows) -> None:
        seen.append(event)

    return handler


def test_prints_of_no_interest_can_be_said_to_be() -> None:
    for topic in ("memo", None):
        protocol = Protocol("toy", tables=[toy.Account])
        protocol.on("bank", "account.moved")(lambda_handler([]))
        protocol.ignore("bank", topic)
        project(protocol, {"topic": "memo"})
    protocol = Protocol("toy", tables=[toy.Account])
    protocol.on("bank", "account.moved")(lambda_handler([]))
    protocol.ignore("bank", "other")
    with pytest.raises(UnknownTopicError):
        project(protocol, {"topic": "memo"})


def test_a_package_says_where_its_contracts_are() -> None:
    protocol = Protocol("toy", tables=[toy.Account], contracts={"bank": {"mainnet": "SP1.bank-v2"}})
    protocol.on("bank", "account.moved")(lambda_handler([]))
    assert protocol.deployed_on("mainnet").contracts == {"SP1.bank-v2": "bank"}
    with pytest.raises(ValueError, match="which contract bank is on testnet"):
        protocol.deployed_on("testnet")


@pytest.mark.parametrize("name", ["Toy", "clarion", "toy__next", "pg_toy", "toy-2", "2toy", "toy_", "", "x" * 41])
def test_a_protocol_is_named_as_a_schema_can_be(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a protocol's name"):
        Protocol(name, tables=[])


def test_two_packages_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class EntryPoint:
        name = "toy"

        def __init__(self, protocol: Protocol) -> None:
            self._protocol = protocol

        def load(self) -> Protocol:
            return self._protocol

    points = [EntryPoint(Protocol("toy", tables=[toy.Account])) for _ in range(2)]
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: points)
    with pytest.raises(ValueError, match="two installed packages"):
        installed_protocols()
    assert installed_protocol("toy").name == "toy"
    points[:] = []
    with pytest.raises(LookupError, match="no installed package"):
        installed_protocol("toy")
