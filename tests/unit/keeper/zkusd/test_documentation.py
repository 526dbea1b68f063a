"""docs/keeper-zkusd.md names every job, with its lane."""

from __future__ import annotations

from pathlib import Path

from clarion.config import Settings
from clarion_keeper.job import JobContext
from clarion_keeper.zkusd.jobs import jobs

PAGE = Path(__file__).resolve().parents[4] / "docs" / "keeper-zkusd.md"


def test_every_job_is_described_with_its_lane() -> None:
    settings = Settings()
    text = PAGE.read_text()
    for job in jobs(JobContext(settings=settings, network=settings.network.constants, deployers={})):
        lane = "" if job.chain == "none" else f"`{job.lane.value}`"
        assert f"| `{job.name}` | {lane} |".replace("|  |", "| |") in text
