"""What going through Bitcoin's blocks costs: a block alone, in processor time, and a generated chain into an index.

Blocks are as on mainnet: mostly one or two inputs by a key's hash or taproot, and two outputs. `CLARION_BENCH_BLOCKS`
(60) says how many the chain has, `CLARION_BENCH_BLOCK_BYTES` (1600000) how large they are.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.report import Report
from support import coins
from support.bitcoin_chain import (
    NETWORK,
    block_of,
    common_transaction,
    full_block,
    read_mock_spells,
    spell_transaction,
)

from clarion.bitcoin_replay import replay_bitcoin
from clarion.chains.bitcoin.blocks import transactions_of
from clarion.chains.bitcoin.outline import outline
from clarion.chains.bitcoin.recording import BitcoinRecordingWriter
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.config import Bitcoin

BLOCKS = int(os.environ.get("CLARION_BENCH_BLOCKS", "60"))
BLOCK_BYTES = int(os.environ.get("CLARION_BENCH_BLOCK_BYTES", "1600000"))
TRIES = 15
MOST_MS = 10
"""What a block without charms may cost."""
TRACKED = 500_000

pytestmark = pytest.mark.slow


def least_ms(function: Callable[[], object]) -> float:
    """The least processor time of some tries, in milliseconds."""
    spent = []
    for _ in range(TRIES):
        before = time.process_time()
        function()
        spent.append(time.process_time() - before)
    return min(spent) * 1000


def processor_seconds() -> float:
    """Processor time of this process and of those that it started and that have ended; Postgres' is not in it."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def test_a_block_without_charms(report: Report) -> None:
    choose = random.Random(1)
    scanner = Scanner(NETWORK, Tracked(choose.randbytes(36) for _ in range(TRACKED)))
    for size in (1_000_000, 1_600_000, 2_000_000):
        data = full_block(None, choose, size=size).data
        found = outline(data)
        shown = f"{len(data) / 1e6:.1f} MB, {len(found.first_inputs)} transactions, {len(found.outpoints)} inputs"
        whole = least_ms(lambda data=data: scanner.block(data, scan(data, read_mock_spells), 1))  # type: ignore[misc]
        through = least_ms(lambda data=data: outline(data))  # type: ignore[misc]
        read = least_ms(lambda data=data: transactions_of(data))  # type: ignore[misc]
        assert whole < MOST_MS
        report.add(
            "A Bitcoin block without charms, one process, processor time",
            {
                "block": shown,
                "all": f"{whole:.1f} ms",
                "of it going through": f"{through:.1f} ms",
                "reading every transaction whole": f"{read:.0f} ms",
            },
        )


def test_a_generated_chain(new_index: Callable[[], str], tmp_path: Path, report: Report) -> None:
    choose = random.Random(2)
    # the same transactions in every block: making new ones takes longer than reading them
    filler = [common_transaction(choose) for _ in range(BLOCK_BYTES // 450)]
    out, made, transactions = tmp_path / "blocks.rec", None, 0
    with out.open("wb") as file:
        writer = BitcoinRecordingWriter(file)
        for height in range(BLOCKS):
            elsewhere = (choose.randbytes(32), 0)
            spells = [spell_transaction([elsewhere], [{0: 1 + height}], owners=[1])] if height % 2 else []
            made = block_of(made, [*filler, *spells], (), height)
            writer.block(made.height, made.data)
            transactions += len(filler) + len(spells) + 1
        writer.finish()
    assert made is not None
    for processes in (0, 2):
        settings = Bitcoin(mock_spells=True, processes=processes)
        before, spent = time.perf_counter(), processor_seconds()
        done = replay_bitcoin(out, new_index(), settings, [coins.deployed()])
        seconds, spent = time.perf_counter() - before, processor_seconds() - spent
        assert (done.blocks, done.events) == (BLOCKS, BLOCKS // 2)
        report.add(
            "A generated chain into an index, from a recording",
            {
                "blocks": f"{BLOCKS} of {len(made.data) / 1e6:.1f} MB",
                "processes": str(processes),
                "blocks a second": f"{BLOCKS / seconds:.0f}",
                "transactions a second": f"{transactions / seconds:,.0f}",
                "MB a second": f"{done.bytes / seconds / 1e6:.0f}",
                "processor time a block": f"{spent / BLOCKS * 1000:.1f} ms",
            },
        )
