from __future__ import annotations

import httpx
from rich.console import Console

from clarion.chains.model import Finality
from clarion.status import ask_node_height, read_status, status_json, status_tables
from clarion.store.database import connect


def test_status_of_a_recorded_chain(recorded_copy_url: str) -> None:
    with connect(recorded_copy_url, autocommit=True) as connection:
        tip = connection.execute("SELECT height, digest FROM clarion.cursor").fetchone()
        connection.execute(
            "INSERT INTO clarion.inbox (path, body, error) VALUES ('/new_block', '', NULL), ('/new_block', '', 'why')"
        )
        connection.execute(
            "INSERT INTO clarion.anomaly SELECT chain, height, hash, 1, 1, kind, NULL, NULL, kind || height "
            "FROM clarion.canonical_block, (VALUES ('a'), ('b')) kinds (kind) WHERE height IN (5, 7)"
        )
        connection.execute(
            "INSERT INTO clarion.source (chain, name, kind, height, state, detail) VALUES "
            "('stacks', 'observer:10.0.0.7', 'observer', 7, 'behind', '9 blocks behind the index')"
        )
        connection.execute(
            "INSERT INTO clarion.anomaly SELECT chain, 3, %s, -1, -1, 'rewrites_final', NULL, NULL, 'a branch' "
            "FROM clarion.cursor",
            (bytes(32),),
        )
        shallow = read_status(connection, protocols=["bithedge", "absent"])
    (chain,) = shallow.chains
    assert (chain.chain, (chain.height, chain.digest)) == ("stacks", tip)
    assert chain.finality is Finality.ANCHORED
    assert chain.burn_height == shallow.burn_tip
    assert chain.final_height is not None
    assert chain.height is not None
    assert 0 < chain.final_height < chain.height
    assert [(source.name, source.height, source.state) for source in shallow.sources] == [
        ("observer:10.0.0.7", 7, "behind")
    ]
    assert shallow.refused == ("a branch",)
    assert (shallow.inbox_pending, shallow.inbox_failed, shallow.inbox_error) == (1, 1, "why")
    assert [(kind.kind, kind.count, kind.last_height, kind.last_detail) for kind in shallow.anomalies] == [
        ("a", 2, 7, "a7"),
        ("b", 2, 7, "b7"),
    ]
    assert shallow.protocols == ("bithedge",)

    answer = status_json(shallow, chain.height + 3)
    assert answer["chains"][0]["hash"] == f"0x{chain.hash.hex() if chain.hash else ''}"
    assert answer["chains"][0]["behind"] == 3

    console = Console(width=120, record=True)
    with console.capture() as captured:
        for table in status_tables(shallow, None):
            console.print(table)
    shown = captured.get()
    for text in (
        chain.digest.hex(),
        "the node does not answer",
        "anchored",
        "1: why",
        "2, the last in block 7: a7",
        "9 blocks",
    ):
        assert text in shown


def test_a_node_that_does_not_answer_has_no_height() -> None:
    with httpx.Client() as client:
        assert ask_node_height(client, "http://127.0.0.1:1") is None
