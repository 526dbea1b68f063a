"""The commands over an index of both chains: each goes by its chain."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import coins, toy
from support.bitcoin_chain import NETWORK, Made, full_block, random_chain, read_mock_spells
from support.bitcoin_node import Node
from support.index_service import chain as stacks_chain
from support.index_service import served

from clarion import bitcoin_replay, cli, indexing
from clarion.bitcoin_replay import record_bitcoin, replay_bitcoin
from clarion.chains.bitcoin.recording import BitcoinRecordingError
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.bitcoin.tracked import Tracked, readable_now
from clarion.config import Bitcoin, BitcoinSourceName, ConfigurationError, Settings
from clarion.drill import drill
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.database import connect
from clarion.store.generation import Filling, make_tables, switch
from clarion.store.store import Store
from clarion.verify import verify

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def main(connection: psycopg.Connection[Any]) -> list[Made]:
    """A Bitcoin index and a Stacks index of the toy protocols in one database; gives Bitcoin's blocks."""
    make_tables(connection, coins.coins, "coins")
    toy.create_tables(connection)
    blocks = random_chain(60, seed=1)
    store = Store(connection, "bitcoin", [coins.deployed()], final_depth=20)
    store.open()
    fill(store, blocks)
    stacks = Store(connection, "stacks", [toy.deployed()])
    stacks.open()
    ingest(stacks, Follower(), stacks_chain(12))
    return blocks


def fill(store: Store, blocks: Sequence[Made]) -> None:
    scanner, follower = Scanner(NETWORK, Tracked()), Follower(start_height=None)
    found = [scanner.block(made.data, scan(made.data, read_mock_spells), made.height) for made in blocks]
    for start in range(0, len(found), 10):
        ingest(store, follower, found[start : start + 10])


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def run(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: list[Made]
) -> Run:
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_PROTOCOLS", "coins,toy")
    monkeypatch.setenv("CLARION_DEPLOYERS__TOY", toy.DEPLOYER)
    monkeypatch.setattr(indexing, "installed_protocols", lambda: {"coins": coins.coins, "toy": toy.toy})

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.app(list(arguments))
        assert isinstance(exit_.value.code, int)
        said = capsys.readouterr()
        return exit_.value.code, said.out + said.err

    return run


def test_verify_goes_through_both_chains(run: Run, connection: psycopg.Connection[Any]) -> None:
    code, said = run("verify")
    assert code == 0
    assert "stacks: blocks 1 to 12 are right" in said
    assert "bitcoin: blocks 0 to 59 are right" in said
    code, said = run("verify", "--from", "5")
    assert (code, "--chain says of which chain" in said) == (2, True)
    code, said = run("verify", "--chain", "bitcoin", "--from", "30", "--to", "40")
    assert (code, "bitcoin: blocks 30 to 40 are right" in said) == (0, True)
    connection.execute("UPDATE coins.coin SET owner = 'somebody' WHERE ctid = (SELECT min(ctid) FROM coins.coin)")
    code, said = run("verify")
    assert code == 1
    assert "bitcoin: block 59 (0x" in said
    assert "table   coins.coin" in said
    assert "stacks: blocks 1 to 12 are right" in said


def test_drill_goes_by_the_chain(run: Run) -> None:
    code, said = run("drill", "--depth", "12", "--chain", "bitcoin")
    assert (code, "undone    12 blocks" in said, "passed" in said) == (0, True, True)
    code, said = run("drill", "--depth", "3", "--protocol", "coins")
    assert (code, said.count("passed")) == (0, 1)
    code, said = run("drill", "--depth", "30", "--chain", "bitcoin")
    assert (code, "is final" in said) == (1, True)


def test_status_and_rewind_say_of_which_chain(run: Run, main: list[Made]) -> None:
    code, said = run("status", "--json")
    assert code == 0
    chains = {chain["chain"]: chain for chain in json.loads(said)["chains"]}
    assert (chains["bitcoin"]["height"], chains["bitcoin"]["final_height"]) == (59, 39)
    assert chains["bitcoin"]["finality"] == "anchored"
    assert chains["bitcoin"]["hash"] == f"0x{main[-1].hash.hex()}"
    assert chains["stacks"]["height"] == 12
    code, said = run("status")
    assert (code, "bitcoin" in said) == (0, True)
    code, said = run("rewind", "--to", "50")
    assert (code, "--chain says of which chain" in said) == (2, True)
    code, said = run("rewind", "--to", "50", "--chain", "bitcoin", "--forget")
    assert (code, "Took 9 blocks back and applied 0; the tip is block 50" in said) == (0, True)
    code, said = run("status", "--json")
    chains = {chain["chain"]: chain["height"] for chain in json.loads(said)["chains"]}
    assert chains == {"bitcoin": 50, "stacks": 12}


def test_prune_goes_through_both_chains(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_RETENTION__FEED", "5 blocks")
    code, said = run("prune")
    assert code == 0
    assert [line.partition(":")[0] for line in said.splitlines()] == ["stacks", "bitcoin"]


def test_rows_are_made_anew_from_the_chain_log(
    connection: psycopg.Connection[Any], database_url: str, main: list[Made]
) -> None:
    before = connection.execute("SELECT * FROM coins.coin ORDER BY outpoint").fetchall()
    with connect(database_url, autocommit=True) as own:
        filling = Filling(own, "bitcoin", coins.deployed(), chunk_blocks=7, forced=True)
        while filling.step():
            pass
    store = Store(connection, "bitcoin", [coins.deployed()], final_depth=20)
    store.open()
    assert switch(store, coins.deployed())
    assert connection.execute("SELECT * FROM coins.coin ORDER BY outpoint").fetchall() == before
    assert verify(connection, "bitcoin", [coins.deployed()]).difference is None
    assert drill(connection, "bitcoin", [coins.deployed()], 10).passed


async def test_blocks_are_recorded_and_replayed(
    connection: psycopg.Connection[Any],
    empty_database_url: str,
    main: list[Made],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "blocks.rec"
    async with served(Node(main).app) as url:
        settings = Bitcoin(
            sources=[BitcoinSourceName.RPC], rpc_url=url, mock_spells=True, finality_depth=20, processes=2
        )
        assert await record_bitcoin(settings, out) == (0, 59)
        with pytest.raises(ConfigurationError, match="stands at 59"):
            await record_bitcoin(settings, tmp_path / "more", last=60)
    with pytest.raises(ConfigurationError, match="nobody gives the blocks"):
        await record_bitcoin(Bitcoin(), tmp_path / "none")
    assert names_in(tmp_path) == ["blocks.rec"]
    monkeypatch.setattr(bitcoin_replay, "PROCESSES_FROM_BYTES", 0)
    with connect(empty_database_url, autocommit=True) as other:
        done = replay_bitcoin(out, empty_database_url, settings, [coins.deployed()])
        assert (done.blocks, done.bytes) == (60, sum(len(made.data) for made in main))
        assert done.tip is not None
        assert connection.execute("SELECT digest FROM clarion.cursor WHERE chain = 'bitcoin'").fetchone() == (
            done.tip.digest,
        )
        again = replay_bitcoin(out, empty_database_url, settings, [coins.deployed()])
        assert again.tip == done.tip
        rows = [one.execute("SELECT * FROM coins.coin ORDER BY outpoint").fetchall() for one in (connection, other)]
        assert rows[0] == rows[1] != []


def test_a_damaged_recording_is_refused_and_what_comes_before_stays(empty_database_url: str, tmp_path: Path) -> None:
    choose = random.Random(2)
    blocks = [full_block(None, choose, size=100_000)]
    for _ in range(5):
        blocks.append(full_block(blocks[-1], choose, size=100_000))
    whole = tmp_path / "whole"
    with whole.open("wb") as file:
        writer = bitcoin_replay.BitcoinRecordingWriter(file)
        for made in blocks:
            writer.block(made.height, made.data)
        writer.finish()
    content = whole.read_bytes()
    settings = Bitcoin(mock_spells=True, processes=0)
    for damaged, message in (
        (b"x" + content, "no recording"),
        (content[:-10], "cut off"),
        (content[:40] + bytes(8) + content[48:], "damaged"),
    ):
        path = tmp_path / "damaged"
        path.write_bytes(damaged)
        with pytest.raises(BitcoinRecordingError, match=message):
            replay_bitcoin(path, empty_database_url, settings)
    with connect(empty_database_url) as connection:
        found = connection.execute("SELECT max(height) FROM clarion.canonical_block").fetchone()
        assert found is not None
        assert 0 < found[0] < 5


def test_spells_that_can_be_read_now_are_told(connection: psycopg.Connection[Any], main: list[Made]) -> None:
    assert readable_now(connection, 15) == (0, None)
    connection.execute(
        'UPDATE clarion.event SET value = value || \'{"status": "unsupported", "version": 16}\' '
        "WHERE chain = 'bitcoin' AND kind = 'spell' AND height > 30"
    )
    (lowest,) = connection.execute(
        "SELECT min(height) FROM clarion.event WHERE chain = 'bitcoin' AND kind = 'spell' AND height > 30"
    ).fetchone() or (None,)
    assert readable_now(connection, 15) == (0, None)
    assert readable_now(connection, 16)[1] == lowest


def test_what_a_protocol_is_told_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "installed_protocols", lambda: {"coins": coins.coins})
    settings = Settings(protocols=["coins"], parameters={"coins": {"nothing": 1}})
    with pytest.raises(ConfigurationError, match="parameters: coins: coins takes no parameters: nothing"):
        indexing.deployed_protocols(settings)
    assert indexing.deployed_protocols(settings, "stacks") == []
