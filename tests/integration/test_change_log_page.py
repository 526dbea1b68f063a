"""The page on the change log, on a recorded run of BitHedge: every example runs, and so do the commands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.graphql import NO_CACHE, answering

from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion_graphql.app import make_app

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "change-log.md").read_text(encoding="utf-8")


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def command(database_url: str, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {"CLARION_DATABASE_URL": database_url, "CLARION_PROTOCOLS": "bithedge", **settings}
    return subprocess.run(
        [sys.executable, "-m", "clarion", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def count(connection: psycopg.Connection[Any], what: str) -> int:
    found = connection.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
    assert found is not None
    return int(found[0])


async def test_every_example_runs(recorded_bithedge_url: str) -> None:
    with connect(recorded_bithedge_url, autocommit=True) as connection:
        found = {query: connection.execute(query.encode()).fetchall() for query in examples("sql")}
    assert len(found) >= 6
    assert all(rows for query, rows in found.items() if "clarion.kept" not in query)
    deployed = {"bithedge": protocol.deployed_by(DEPLOYER.address)}
    async with answering(
        make_app(recorded_bithedge_url, protocols=[protocol], deployed=deployed, graphql=NO_CACHE)
    ) as server:
        queries = [text for text in examples("graphql") if not text.startswith("subscription")]
        for text in queries:
            answer = await server.query(text, {"height": 200} if "$height" in text else None)
            assert "errors" not in answer, answer
            assert answer["extensions"]["receipt"]["height"] == 200
    subscriptions = [text for text in examples("graphql") if text.startswith("subscription")]
    assert (len(queries), len(subscriptions)) == (2, 2)


@pytest.mark.slow
def test_the_commands_do_what_it_says(recorded_copy_url: str) -> None:
    database_url = recorded_copy_url
    with connect(database_url, autocommit=True) as connection:
        sound = command(database_url, "verify", "--from", "150")
        assert (sound.returncode, sound.stdout.startswith("stacks: blocks 150 to ")) == (0, True), sound
        drilled = command(database_url, "drill", "--depth", "6")
        assert (drilled.returncode, drilled.stdout.splitlines()[-1]) == (0, "passed"), drilled

        before = count(connection, "clarion.change")
        pruned = command(
            database_url,
            "prune",
            CLARION_RETENTION__TABLES='{"*": "0 blocks", "bithedge.policy": "all"}',
            CLARION_RETENTION__FEED="0 blocks",
        )
        assert pruned.returncode == 0, pruned
        assert count(connection, "clarion.change") < before
        assert count(connection, "clarion.kept") == len(protocol.row_types) - 1
        assert count(connection, "clarion.as_of(NULL::bithedge.policy, 200)") > 0
        refused = command(database_url, "prune", CLARION_RETENTION__TABLES='{"bithedge.polcy": "1 block"}')
        assert (refused.returncode, "names bithedge.polcy" in refused.stderr) == (1, True)

        connection.execute("UPDATE bithedge.policy SET owner = 'mallory' WHERE id = 3")
        wrong = command(database_url, "verify")
        assert wrong.returncode == 1
        assert "table   bithedge.policy\nkey     [3]\n" in wrong.stdout
        assert '"owner":"mallory"' in wrong.stdout
        assert command(database_url, "verify", "--protocol", "absent").returncode == 2


@pytest.mark.parametrize("text", [text for text in examples("graphql") if text.startswith("subscription")])
def test_the_page_s_subscriptions_fit_the_schema(text: str) -> None:
    from graphql import parse, validate

    from clarion_graphql.schema import build_schema

    assert validate(build_schema([protocol])._schema, parse(text)) == []
