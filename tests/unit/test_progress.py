"""The rates of a backfill and the time that is left."""

from __future__ import annotations

import io

from rich.console import Console

from clarion.progress import Progress
from clarion.replay import Replayed
from clarion.replay_bar import replay_bar


def test_rates_are_told_now_and_then_with_the_time_that_is_left() -> None:
    now = 100.0
    progress = Progress(every_seconds=10, clock=lambda: now)
    assert progress.add(500, 500, 4_000) is None
    now = 110.0
    assert progress.add(1_000, 500, 6_000) == {"height": 1_000, "blocks_per_s": 100, "events_per_s": 1_000}
    progress.targets |= {"node": 2_500, "hiro": 2_000}
    now = 120.0
    assert progress.add(1_500, 500, 0) == {
        "height": 1_500,
        "blocks_per_s": 50,
        "events_per_s": 0,
        "behind": 1_000,
        "eta_seconds": 20,
    }
    now = 130.0
    found = progress.add(2_500, 1_000, 0)
    assert found is not None
    assert "eta_seconds" not in found, "it is at the tip"


def test_a_replay_shows_bytes_and_rates_on_a_terminal_only() -> None:
    replayed = Replayed(blocks=3, events=9, bytes_read=512 << 10, bytes_total=1 << 20)
    shown = io.StringIO()
    with replay_bar(Console(file=shown, force_terminal=True, width=120)) as show:
        show(replayed)
    assert "512.0 KiB" in shown.getvalue() or "0.5/1.0 MiB" in shown.getvalue()
    assert "blocks/s" in shown.getvalue()
    plain = io.StringIO()
    with replay_bar(Console(file=plain, force_terminal=False)) as show:
        show(replayed)
    assert plain.getvalue().strip() == ""
