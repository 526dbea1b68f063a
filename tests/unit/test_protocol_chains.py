"""Protocols know their chain, and what a deployment tells them reaches their handlers and their fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from support.coins import TOKEN, Coin
from support.toy import digest_of

from clarion import backfill
from clarion.asset_events import FtTransfer
from clarion.backfill import Task
from clarion.chains.bitcoin.charms.events import Output, SpellEvent, SpendEvent
from clarion.chains.model import Block, BlockRef, BurnBlock, Event, EventKind, Transaction, TransactionStatus
from clarion.protocol import EventContext, Protocol
from clarion.store.projector import Projector
from clarion.store.registry import fingerprint
from clarion.store.rows import Rows


class Told(msgspec.Struct, frozen=True):
    network: str
    least: int


def read_parameters(network: str, given: Mapping[str, Any]) -> Told:
    try:
        return Told(network, msgspec.convert(given.get("least", 0), int))
    except msgspec.ValidationError as error:
        raise ValueError(f"least: {error}") from None


def made() -> Protocol:
    protocol = Protocol("coins", tables=[Coin], chain="bitcoin", parameters=read_parameters)

    @protocol.on_any(kind=EventKind.SPELL)
    def spell(event: SpellEvent, at: EventContext, rows: Rows) -> None:
        for place, output in enumerate(event.outputs):
            for _, amount in event.charms(place):
                if isinstance(amount, int) and amount >= at.parameters.least:
                    rows.insert(Coin, outpoint=f"{at.tx_text}:{place}", owner=output.script, amount=amount)

    return protocol


def block(amount: int) -> Block:
    event = SpellEvent(
        inputs=[],
        outputs=[Output(547, "0x51")],
        status="mock",
        failed_step=None,
        version=10,
        location="op_return",
        mock=True,
        apps=[TOKEN],
        outs=[{"0": amount}],
        beamed_outs={},
        refs=None,
        scrolls=[],
    )
    tx_id, own = digest_of("tx", amount), digest_of("block", amount)
    transaction = Transaction(
        7, tx_id, TransactionStatus.SUCCESS, "spell", None, None, None, None, None, None, None, None, b""
    )
    logged = Event(7, 0, EventKind.SPELL, None, "spell", msgspec.to_builtins(event))
    ref = BlockRef("bitcoin", 5, own, bytes(32))
    return Block(ref, 1, BurnBlock(5, own), (transaction,), (logged,), {})


def test_what_a_deployment_says_reaches_the_handlers() -> None:
    deployed = made().deployed_on("regtest", parameters={"least": 10})
    assert deployed.parameters == Told("regtest", 10)
    projector = Projector([deployed], lambda _type, _key: None)
    assert not projector.project(block(9)).changes
    (change,) = projector.project(block(10)).changes
    assert change.after is not None
    assert (change.after["outpoint"], change.after["owner"]) == (f"{digest_of('tx', 10).hex()}:0", "0x51")


def test_what_it_says_is_part_of_what_rows_are_made_of() -> None:
    protocol = made()
    prints = [fingerprint(protocol.deployed_on("regtest", parameters={"least": least})) for least in (1, 2, 1)]
    assert prints[0] == prints[2] != prints[1]
    assert prints[0] != fingerprint(protocol.deployed_on("mainnet", parameters={"least": 1}))


def test_what_it_cannot_do_with_is_refused() -> None:
    with pytest.raises(ValueError, match="least"):
        made().deployed_on("regtest", parameters={"least": "many"})
    plain = Protocol("coins", tables=[Coin], chain="bitcoin")
    assert plain.deployed_on("regtest").parameters is None
    with pytest.raises(ValueError, match="coins takes no parameters: least"):
        plain.deployed_on("regtest", parameters={"least": 1})


def test_a_filling_process_is_told_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = made()
    monkeypatch.setattr(backfill, "installed_protocol", lambda name: protocol)
    deployed = protocol.deployed_on("regtest", parameters={"least": 4})
    task = msgspec.json.decode(msgspec.json.encode(Task.of("postgresql://", "bitcoin", deployed)), type=Task)
    assert fingerprint(task.deployed()) == fingerprint(deployed)
    assert task.deployed().parameters == Told("regtest", 4)


def test_a_handler_is_of_its_protocols_chain() -> None:
    def spend(event: SpendEvent, at: EventContext, rows: Rows) -> None:
        raise AssertionError

    def moved(event: FtTransfer, at: EventContext, rows: Rows) -> None:
        raise AssertionError

    of_bitcoin = Protocol("coins", tables=[Coin], chain="bitcoin")
    of_stacks = Protocol("coins", tables=[Coin])
    with pytest.raises(ValueError, match="protocol of bitcoin, which has no events of the kind ft_transfer"):
        of_bitcoin.on_any(kind=EventKind.FT_TRANSFER)(moved)
    with pytest.raises(ValueError, match="protocol of stacks, which has no events of the kind spend"):
        of_stacks.on_any(kind=EventKind.SPEND)(spend)
    with pytest.raises(TypeError, match="handles spell, whose payload is no SpendEvent"):
        of_bitcoin.on_any(kind=EventKind.SPELL)(spend)
    of_bitcoin.on_any(kind=EventKind.SPEND)(spend)
    with pytest.raises(ValueError, match="twice"):
        of_bitcoin.on_any(kind=EventKind.SPEND)(spend)
