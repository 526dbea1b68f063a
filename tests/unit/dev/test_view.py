from __future__ import annotations

import doctest
import os
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clarion.config import Settings
from clarion.dev import amounts
from clarion.dev.processes import Change, Child, State
from clarion.dev.snapshot import KeeperTransaction, RecentEvent, Snapshot, ZkUsdSnapshot
from clarion.dev.view import Lines, LiveView, describe

CREATED = RecentEvent(
    41, 0, 3, "policy.created", {"policy": 7, "asset": "BTC", "strike-usd8": 9_900_000_000_000, "premium": 12, "v": 1}
)
SUBMITTED = RecentEvent(42, 1, 0, "price.submitted", {"asset": "STX", "price-usd8": 80_120_000})


def snapshot(*events: RecentEvent, height: int | None = 42) -> Snapshot:
    return Snapshot(
        height=height,
        burn_height=9,
        node_height=44,
        waiting=1,
        failed=2,
        anomalies=3,
        reorgs=1,
        blocks_per_s=1.0,
        events_per_s=12.34,
        prices_usd8={"BTC": 9_123_456_000_000},
        policies={"active": 5, "expired-otm": 2, "settled-itm": 1},
        keeper={"mined": 4},
        keeper_recent=(KeeperTransaction("settle-many", "mined", 41, None),),
        events=events,
    )


ZKUSD = ZkUsdSnapshot(
    height=130,
    price8=9_500_000_000_000,
    ratio_percent=185,
    vaults=6,
    liquidated=1,
    supply_base=618_725_000_000,
    anomalies=2,
)


def test_amounts_read_well() -> None:
    assert doctest.testmod(amounts).failed == 0


def test_a_snapshot_knows_what_is_settled_and_how_far_behind_it_is() -> None:
    assert (snapshot().settled, snapshot().behind) == (3, 2)
    assert snapshot(height=None).behind is None


def test_an_event_is_described_by_what_matters() -> None:
    assert describe(CREATED) == "policy.created policy 7 asset BTC premium 12"
    assert describe(SUBMITTED) == "price.submitted asset STX price 0.8012"


def test_lines_tell_of_zkusd_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as view:
        view.show(replace(snapshot(height=None), zkusd=ZKUSD), ())
        view.show(replace(snapshot(height=None), zkusd=ZKUSD), ())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(
        "zkUSD: block 130, BTC price 95,000.00 USD, ratio 185 %, vaults 6 (1 liquidated), supply 6,187.25, anomalies 2"
    )


def test_lines_tell_each_event_of_note_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines() as view:
        view.show(snapshot(CREATED), ())
        view.show(snapshot(CREATED, SUBMITTED), ())
        view.changed(Change("index", "ended", failed=True))
    lines = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "block 41: policy.created policy 7 asset BTC premium 12",
        "block 42 (Bitcoin 9), behind 2, 12.3 events/s, policies: 5 active, 2 expired-otm, 1 settled-itm, "
        "keeper: 4 mined",
        "index ended",
    ]


def test_lines_say_nothing_of_an_empty_index(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().show(snapshot(height=None), ())
    assert capsys.readouterr().out == ""


def test_the_screen_shows_everything(tmp_path: Path) -> None:
    view = LiveView(Settings())
    crashed = Child("keep", [], os.environ, tmp_path / "log", state=State.WAITING, restarts=3)
    view.say("a message")
    view.changed(Change("keep", "was ended by SIGKILL", failed=True))
    console = Console(width=140, record=True, file=(tmp_path / "out").open("w"))
    console.print(view._screen(snapshot(CREATED, SUBMITTED), (crashed,)))
    console.file.close()
    shown = console.export_text()
    for text in (
        "http://127.0.0.1:8000/graphql",
        "2 blocks, 1 posts waiting",
        "12.3 events/s",
        "2 posts failed, 3 anomalies, 1 reorgs",
        "91,234.56 USD",
        "policies expired-otm",
        "settle-many",
        "mined block 41",
        "policy.created policy 7",
        "waiting",
        "3 restarts",
        "a message",
        "keep was ended by SIGKILL",
    ):
        assert text in shown
