"""The bar that a replay shows on a terminal."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from clarion.replay import Replayed


@contextlib.contextmanager
def replay_bar(console: Console) -> Iterator[Callable[[Replayed], None]]:
    """A bar over the bytes of the file with rates and the time that is left; gives what shows a replay's progress.

    Nothing is shown where the console is no terminal.
    """
    columns = (
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[blocks_per_s]:,} blocks/s, {task.fields[events_per_s]:,} events/s"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("replay", total=None, blocks_per_s=0, events_per_s=0)
        started = time.monotonic()

        def show(replayed: Replayed) -> None:
            seconds = max(time.monotonic() - started, 0.001)
            bar.update(
                task,
                total=replayed.bytes_total,
                completed=replayed.bytes_read,
                blocks_per_s=int(replayed.blocks / seconds),
                events_per_s=int(replayed.events / seconds),
            )

        yield show
