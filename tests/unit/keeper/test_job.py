from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clarion.chains.stacks.networks import Network
from clarion.config import Keeper, Lane, Settings
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Intent
from clarion_keeper.job import Job, JobContext, JobsError, chain_read_by, load_jobs

DEPLOYER = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"

JOB_FILE = """
from clarion_keeper.intents import Lane
from clarion_keeper.job import Job


class Sweep(Job):
    name = {name!r}
    lane = Lane.UPKEEP

    async def read(self, reader):
        return await reader.snapshot()

    def check(self, state):
        return []


def jobs(context):
    return [Sweep()]
"""


def context(**keeper: Any) -> JobContext:
    settings = Settings(protocols=["bithedge"], deployers={"bithedge": DEPLOYER}, keeper=Keeper(**keeper))
    return JobContext(settings, Network.TESTNET, settings.deployers)


def job_file(folder: Path, name: str = "sweep", text: str = JOB_FILE) -> Path:
    path = folder / f"{name}.py"
    path.write_text(text.format(name=name))
    return path


def test_jobs_of_indexed_protocols_and_of_files_are_loaded(tmp_path: Path) -> None:
    jobs = {job.name: job for job in load_jobs(context(job_files=[job_file(tmp_path)]))}
    assert {"settle", "liquidate", "sweep"} <= jobs.keys()
    assert not any(name.startswith("zkusd") for name in jobs)
    sweep = jobs["sweep"]
    assert (sweep.lane, sweep.batch_size, sweep.depth, sweep.chain, sweep.holds) == (Lane.UPKEEP, 1, 0, "stacks", False)
    with pytest.raises(NotImplementedError, match="the job sweep makes no contract calls"):
        sweep.call([])


def test_settings_say_which_jobs_are_done() -> None:
    assert [job.name for job in load_jobs(context(jobs=["settle"]))] == ["settle"]
    with pytest.raises(JobsError, match=r"keeper\.jobs names mine\. There are: .*settle"):
        load_jobs(context(jobs=["mine"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("x = 1", "has no function jobs"),
        (JOB_FILE.replace("{name!r}", '"settle"'), "Two jobs are named settle"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JobsError, match=message):
        load_jobs(context(job_files=[job_file(tmp_path, text=text)]))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match="which is no file"):
        load_jobs(context(job_files=[tmp_path / "nowhere.py"]))


@pytest.mark.parametrize(
    ("chain", "reads", "expected"),
    [
        ("stacks", None, "stacks"),
        ("bitcoin", None, "bitcoin"),
        ("none", None, "stacks"),
        ("none", "bitcoin", "bitcoin"),
    ],
)
def test_which_chain_a_job_reads(chain: Any, reads: Any, expected: str) -> None:
    class Some(Job[Any]):
        name = "some"
        lane = Lane.UPKEEP

        async def read(self, reader: Reader) -> Any:
            raise NotImplementedError

        def check(self, state: Any) -> list[Intent]:
            return []

    Some.chain, Some.reads = chain, reads
    assert chain_read_by(Some()) == expected
