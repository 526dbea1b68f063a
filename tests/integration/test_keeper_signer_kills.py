"""The keeper with agents that are killed at any moment: nothing is signed for twice, no nonce is lost."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import psycopg
import pytest
from support.keeper_run import keeping
from support.signing import ADDRESS, SECRET, key_file
from support.signing_run import agents_of, until

WORK = 20
KILLS = 4


@pytest.mark.slow
@pytest.mark.parametrize("source", ["file", "env"])
def test_agents_are_killed_while_the_keeper_sends(tmp_path: Path, database_url: str, source: str) -> None:
    moments = sorted(random.Random(7).sample(range(1, WORK), KILLS))
    signer = f"file:{key_file(tmp_path)}" if source == "file" else "env:SOME_KEY"
    with keeping(tmp_path, database_url, signer, {"SOME_KEY": SECRET.hex()}) as keeper:

        def all_sent() -> bool:
            sent = len(keeper.sent)
            if moments and sent >= moments[0]:
                for agent in agents_of(keeper.process)[-1:]:
                    agent.kill()
                    moments.pop(0)
            return sent >= WORK

        keeper.is_due(WORK)
        until(all_sent)
        sent = keeper.sent
        assert sorted(sent) == list(range(WORK))
        assert len({one.payload for one in sent.values()}) == WORK
        assert all(one.sender == ADDRESS for one in sent.values())
        with psycopg.connect(database_url) as connection:
            stored = connection.execute(
                "SELECT o.nonce::bigint, a.tx_id FROM keeper.outgoing o JOIN keeper.attempt a ON a.outgoing_id = o.id "
                "ORDER BY o.nonce"
            ).fetchall()
        assert stored == [(nonce, sent[nonce].txid) for nonce in sorted(sent)]
        with sqlite3.connect(tmp_path / "state" / "signers" / f"{ADDRESS}.sqlite") as ledger:
            (spent,) = ledger.execute("SELECT sum(amount) FROM signed").fetchone()
        assert spent == sum(one.fee for one in sent.values())


def test_what_the_signer_refuses_takes_nobody_s_place(tmp_path: Path, database_url: str) -> None:
    with keeping(tmp_path, database_url, f"file:{key_file(tmp_path)}", {}) as keeper:
        keeper.is_due(40)  # of each job, and one of them is refused: more than nodes chain
        until(lambda: len(keeper.sent) >= WORK)
        assert {str(getattr(one.payload, "function", "")) for one in keeper.sent.values()} == {"some-work"}
