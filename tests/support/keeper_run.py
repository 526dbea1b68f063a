"""Runs `clarion keeper run` beside a small chain, with as much to do as a test wants."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from clarion.chains.stacks.transactions import Transaction
from support.signing import DEPLOYER
from support.signing_run import allow_core_files, until
from support.small_chain import SmallChain, small_chain

CANARY: Final = b"clarion-secrets-canary"
#: With what the keeper signs in to the chain's servers, by their addresses.
NODE_PASSWORD: Final = "clarion-node-password"

#: As many things are due as a file says, of a job that may be done and of one that the limits forbid.
JOBS: Final = """
from pathlib import Path

from clarion.chains.stacks.clarity import UInt
from clarion_keeper.intents import Call, Intent, Lane, Outcome, Verdict
from clarion_keeper.job import Job


class Work(Job):
    lane = Lane.SETTLE

    def __init__(self, name):
        self.name = name

    async def read(self, reader):
        return await reader.snapshot()

    def check(self, state):
        due = int(Path("due").read_text())
        return [Intent(key=f"{self.name}:{n}", job=self.name, item={"n": n}, cause="due") for n in range(due)]

    def call(self, items):
        return Call("DEPLOYER.work", self.name, tuple(UInt(item["n"]) for item in items))

    def outcomes(self, items, result):
        return [Outcome(Verdict.DONE, "done") for _ in items]


def jobs(context):
    return [Work("some-work"), Work("other-work")]
""".replace("DEPLOYER", DEPLOYER)


@dataclass
class Keeper:
    """`clarion keeper run` in a folder of its own."""

    process: psutil.Process
    folder: Path
    log: Path
    chain: SmallChain

    def is_due(self, count: int) -> None:
        """Let so many things be due."""
        (self.folder / "due").write_text(str(count))

    def sends(self, count: int) -> None:
        """Let so many things be due, and wait until they are sent."""
        self.is_due(count)
        until(lambda: len(self.sent) >= count)

    @property
    def sent(self) -> dict[int, Transaction]:
        """What it has sent, by nonce. Fails where it has ended, or has signed two transactions of one nonce."""
        ended = not self.process.is_running() or self.process.status() == psutil.STATUS_ZOMBIE
        assert not ended, self.log.read_text()
        sent: dict[int, Transaction] = {}
        for one in self.chain.taken:
            assert sent.setdefault(one.nonce, one) == one
        return sent


@contextlib.contextmanager
def keeping(folder: Path, database_url: str, signer: str, environment: dict[str, str]) -> Iterator[Keeper]:
    """A keeper with one account, beside a chain of its own, for as long as the context."""
    (folder / "jobs.py").write_text(JOBS)
    (folder / "due").write_text("0")
    limits = {"calls": [f"{DEPLOYER}.work.some-*"], "max_fee": 50_000}
    with small_chain() as chain:
        signed_in = chain.url.replace("//", f"//keeper:{NODE_PASSWORD}@")
        settings = {
            "CLARION_DATABASE_URL": database_url,
            "CLARION_STATE_DIR": str(folder / "state"),
            "CLARION_LOG__LEVEL": "debug",
            "CLARION_DEPLOYERS__BITHEDGE": DEPLOYER,
            "CLARION_NODE__URL": signed_in,
            "CLARION_KEEPER__NODE_URLS": f"{signed_in},http://keeper:{NODE_PASSWORD}@127.0.0.1:9",
            "CLARION_KEEPER__GRAPHQL_URL": f"{signed_in}/graphql",
            "CLARION_KEEPER__JOB_FILES": str(folder / "jobs.py"),
            "CLARION_KEEPER__JOBS": "some-work,other-work",
            "CLARION_KEEPER__ACCOUNTS": json.dumps({"keeper": {"signer": signer, "limits": limits}}),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "CANARY": CANARY.decode(),
        }
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "clarion", "keeper", "run", "--live"],
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **settings, **environment},
                preexec_fn=allow_core_files,
            )
        try:
            yield Keeper(psutil.Process(process.pid), folder, log, chain)
        finally:
            process.kill()
            process.wait()
