"""Recordings of an index and of a node, and what an index that is made from them holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from support import toy
from support.index import truncate_index
from support.node_posts import body, burn_payload, moves_payload
from typer.testing import CliRunner

from clarion import cli
from clarion.chains.stacks.node_payloads import NEW_BLOCK
from clarion.chains.stacks.recording import RecordingError, read_recording
from clarion.config import Observer
from clarion.recorder import RecorderError, record_index, record_live
from clarion.replay import replay

pytestmark = pytest.mark.usefixtures("toy_tables")

REPOSITORY = Path(__file__).parents[2]
DEVNET = REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst"
NAKAMOTO = "stacks/nakamoto-2025.tsv"
DEADLINE_SECONDS = 120


def everything(connection: psycopg.Connection[Any]) -> list[Any]:
    """The canonical chain with its digests, events and transactions, and what is final."""
    rows = [
        connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall(),
        connection.execute("SELECT height, final_height, digest FROM clarion.cursor").fetchall(),
        connection.execute("SELECT * FROM toy.account ORDER BY owner").fetchall(),
    ]
    rows += [
        connection.execute(
            f"SELECT to_jsonb(t) FROM clarion.{table} t JOIN clarion.canonical_block c ON c.chain = t.chain "
            f"AND c.hash = t.block_hash ORDER BY to_jsonb(t)::text".encode()
        ).fetchall()
        for table in ("transaction", "event")
    ]
    return rows


def test_an_index_made_from_its_recording_is_the_same(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    replay(DEVNET, database_url)
    orphaned = connection.execute("SELECT count(*) FROM clarion.block").fetchone()
    before = everything(connection)
    out = tmp_path / "index.crec"
    heights: list[int] = []
    done = record_index(database_url, out, progress=lambda at: heights.append(at.height))
    assert (done.height, heights[-1]) == (done.last, done.last)
    assert [path.name for path in tmp_path.iterdir()] == ["index.crec"]
    posted = sum(len(post.body) for post in read_recording(DEVNET) if post.path == NEW_BLOCK)
    assert out.stat().st_size < posted / 5

    truncate_index(connection, "toy.account")
    replayed = replay(out, database_url)
    assert everything(connection) == before
    assert (replayed.blocks, replayed.undecodable) == (done.blocks, [])
    assert replayed.bytes_read == replayed.bytes_total == out.stat().st_size
    assert orphaned != (replayed.canonical,)


def test_integers_of_any_size_and_real_blocks_come_back(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    replay(chain_data / NAKAMOTO, database_url)
    before = everything(connection)
    record_index(database_url, tmp_path / "nakamoto.crec")
    truncate_index(connection, "toy.account")
    replay(tmp_path / "nakamoto.crec", database_url)
    assert everything(connection) == before


def test_a_range_is_recorded_and_one_without_blocks_refused(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    replay(DEVNET, database_url)
    out = tmp_path / "part.crec"
    done = record_index(database_url, out, first=10, last=19)
    assert (done.first, done.last, done.blocks) == (10, 19, 10)
    whole = connection.execute(
        "SELECT height, hash FROM clarion.canonical_block WHERE height BETWEEN 10 AND 19 ORDER BY height"
    ).fetchall()
    truncate_index(connection, "toy.account")
    replay(out, database_url)
    found = connection.execute("SELECT height, hash FROM clarion.canonical_block ORDER BY height").fetchall()
    assert found == whole
    with pytest.raises(RecorderError, match="holds none of these blocks"):
        record_index(database_url, tmp_path / "none.crec", first=1_000_000)
    assert not (tmp_path / "none.crec").exists()


def test_a_recording_that_was_cut_off_gives_what_it_holds_and_fails(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clarion.chains.stacks.compact_recording.FRAME_BYTES", 1)
    replay(DEVNET, database_url)
    out = tmp_path / "index.crec"
    record_index(database_url, out)
    out.write_bytes(out.read_bytes()[: out.stat().st_size // 2])
    truncate_index(connection, "toy.account")
    with pytest.raises(RecordingError, match="cut off after record"):
        replay(out, database_url)
    (height,) = connection.execute("SELECT height FROM clarion.cursor").fetchone() or (None,)
    assert height is not None
    assert height > 1


async def test_what_a_node_posts_is_recorded_and_indexed_the_same(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    blocks = [toy.block(None)]
    blocks += [toy.block(blocks[0], [toy.move("alice", 2**128 - 1)])]
    out, stop = tmp_path / "live.crec", asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    recording = asyncio.create_task(record_live(Observer(port=0), out, ready=listening.set_result, stop=stop))
    async with httpx.AsyncClient(base_url=await listening, timeout=DEADLINE_SECONDS) as node:
        for block in blocks:
            assert block.burn is not None
            moves = [toy.move("alice", 2**128 - 1)] if block.events else []
            for path, content in (
                ("/new_burn_block", body(burn_payload(block.burn))),
                ("/new_block", body(moves_payload(block, moves))),
                ("/attachments/new", b"[]"),
            ):
                assert (await node.post(path, content=content)).status_code == 200
        on_disk = out.read_bytes()
    stop.set()
    assert await recording == 4
    assert out.read_bytes().startswith(on_disk), "what was answered was on disk"

    replayed = replay(out, database_url, [toy.deployed()])
    assert (replayed.posts, replayed.blocks, replayed.canonical) == (4, 2, 2)
    assert connection.execute("SELECT owner, balance FROM toy.account").fetchall() == [("alice", 2**128 - 1)]
    with pytest.raises(RecorderError, match="exists already"):
        await record_live(Observer(port=0), out, ready=lambda url: None)


def test_a_replay_with_posts_that_cannot_be_read_does_the_rest_and_fails(
    database_url: str, connection: psycopg.Connection[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = toy.block(None)
    posts = [b"rubbish", body(moves_payload(first)), body(moves_payload(toy.block(first)))]
    lines = [b"\t".join((b"1", b"-", b"/new_block", post)) for post in posts]
    path = tmp_path / "posts.tsv"
    path.write_bytes(b"\n".join(lines) + b"\n")
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_PROTOCOLS", "")
    answer = CliRunner().invoke(cli.commands, ["replay", str(path)])
    assert answer.exit_code == 1
    assert "canonical     2" in answer.stdout
    assert "undecodable   1" in answer.stdout
    assert "line 1: /new_block: not JSON" in answer.output
    recorded = CliRunner().invoke(cli.commands, ["record", "--out", str(tmp_path / "out.crec"), "--to", "1"])
    assert (recorded.exit_code, recorded.stdout) == (0, "recorded 1 blocks (1 to 1) with 0 events\n")
