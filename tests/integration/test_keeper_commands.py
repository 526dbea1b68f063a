"""`clarion keeper intents`, `explain`, `pause` and `resume`, over tables that hold what a keeper left there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from support.keeper_rows import add_attempt, add_intent, add_outgoing, add_step

from clarion import cli
from clarion.dev.accounts import DEPLOYER

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any) -> Run:
    """Exit code, output and errors of a `clarion keeper` command line on the test's database."""
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_DEPLOYERS__BITHEDGE", DEPLOYER.address)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exit_:
            cli.app(["keeper", *words])
        said = capsys.readouterr()
        assert isinstance(exit_.value.code, int)
        return exit_.value.code, said.out, said.err

    return run


class TestIntents:
    def test_open_ones_come_first_then_the_newest(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        waiting = add_intent(connection, key="settle:1", waiting="paused: by hand", value_usd8=2**70)
        done = add_intent(connection, key="settle:2", state="done", outcome="settled")
        code, out, _ = run("intents", "--json")
        assert code == 0
        found = json.loads(out)
        assert [one["id"] for one in found] == [waiting, done]
        assert (found[0]["waiting"], found[0]["value_usd8"], found[1]["outcome"]) == (
            "paused: by hand",
            str(2**70),
            "settled",
        )
        code, out, _ = run("intents")
        assert code == 0
        assert out.index("paused: by hand") < out.index("settled")

    def test_by_job_lane_state_and_what_they_are_about(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        settle = add_intent(connection, key="a")
        rescue = add_intent(connection, key="b", job="liquidate", lane="rescue", entity="position:1")
        done = add_intent(connection, key="c", state="done")
        for words, expected in (
            (["--job", "liquidate"], [rescue]),
            (["--lane", "settle"], [settle, done]),
            (["--state", "done", "--state", "planned", "--lane", "settle"], [settle, done]),
            (["--about", "position:1"], [rescue]),
            (["--first", "1"], [rescue]),
        ):
            assert [one["id"] for one in json.loads(run("intents", "--json", *words)[1])] == expected

    def test_a_state_that_there_is_not_is_wrong_usage(self, run: Run) -> None:
        code, _, err = run("intents", "--state", "open")
        assert (code, "planned, sent, done, failed, cancelled" in err) == (2, True)


class TestExplain:
    def test_everything_that_happened(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        outgoing = add_outgoing(connection, state="mined", block_height=12, block_hash=b"\x0c", fee_paid=2_000)
        add_attempt(connection, outgoing, 1, state="replaced", last_error="TooMuchChaining")
        second = add_attempt(connection, outgoing, 2, state="mined")
        intent = add_intent(connection, state="done", outcome="settled", outgoing_id=outgoing, benign=True)
        add_intent(connection, key="settle:8", state="done", outgoing_id=outgoing)
        for what, detail in (
            ("decided", {"burn": 101}),
            ("replaced", {"fee": 2_000}),
            ("ended", {"reason": "settled"}),
        ):
            add_step(connection, intent, what, **detail)
        code, out, _ = run("explain", str(intent), "--json")
        assert code == 0
        found = json.loads(out)
        assert [step["what"] for step in found["steps"]] == ["decided", "replaced", "ended"]
        assert found["transaction"]["carries_others"] == 1
        assert found["transaction"]["fee_paid"] == "2000"
        assert [one["last_error"] for one in found["transaction"]["attempts"]] == ["TooMuchChaining", None]
        assert "signed bytes" not in out
        by_transaction = json.loads(run("explain", f"0x{second.hex()}", "--json")[1])
        assert by_transaction["transaction"]["id"] == outgoing
        assert json.loads(run("explain", "settle:7", "--json")[1]) == found
        code, out, _ = run("explain", str(intent))
        assert code == 0
        for words in ("policy 7 expired at 100", "settled (somebody else did it)", "mined in block 12, fee 2000"):
            assert words in out

    def test_what_others_have_to_sign(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        psbt = "cHNidP8B" * 60
        intent = add_intent(connection, chain="bitcoin", job="zkusd-liquidate")
        assert json.loads(run("explain", str(intent), "--json")[1])["handed_out"] is None
        code, out, err = run("explain", str(intent), "--psbt")
        assert (code, out) == (1, "")
        assert err.startswith(f"clarion: No PSBT of intent {intent} (settle:7) was handed out: ")
        for words in ("old", psbt):
            signers = {"ab:0": "bcrt1qscrolls", "cd:1": "bcrt1qscrolls"}
            add_step(connection, intent, "handed-out", operation="liquidate", psbt=words, signers=signers, fee=700)
        assert run("explain", str(intent), "--psbt")[:2] == (0, f"{psbt}\n")
        code, out, _ = run("explain", str(intent))
        assert code == 0
        assert "handed out unsigned: liquidate" in out
        assert out.count("bcrt1qscrolls: ") == 2
        assert out.replace("\n", "").count(psbt) == 1, "it can be copied, and is not in the list of steps too"
        assert json.loads(run("explain", str(intent), "--json")[1])["handed_out"]["psbt"] == psbt

    def test_what_a_spell_of_other_apps_would_have_to_do(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        intent = add_intent(connection, chain="bitcoin")
        add_step(connection, intent, "handed-out", operation="redeem", request={"inputs": [{"outpoint": "ab:0"}]})
        _, out, _ = run("explain", str(intent))
        assert "what it has to do: " in out
        assert '"outpoint":"ab:0"' in out
        assert run("explain", str(intent), "--psbt")[0] == 1

    def test_the_newest_of_a_key(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        add_intent(connection, state="cancelled")
        newest = add_intent(connection)
        assert json.loads(run("explain", "settle:7", "--json")[1])["intent"]["id"] == newest

    @pytest.mark.parametrize("name", ["17", "settle:9", f"0x{'0' * 64}", "9" * 40])
    def test_one_that_there_is_not(self, run: Run, name: str) -> None:
        code, _, err = run("explain", name)
        assert code == 1
        assert err.startswith(f"clarion: There is no intent {name}: give its number")


class TestReplay:
    def test_what_it_logs_is_no_part_of_its_answer(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("CLARION_KEEPER__GRAPHQL_URL", "http://127.0.0.1:9/graphql")
        code, out, err = run("replay", "5", "--json")
        assert (code, out) == (1, "")
        assert "the index does not answer" in err
        assert "clarion: Block 5 of stacks cannot be read: http://127.0.0.1:9/graphql cannot be reached" in err


class TestPause:
    def test_a_job_stops_and_goes_on(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        code, out, _ = run("pause", "settle", "--reason", "looking into it")
        assert (code, out) == (0, "settle is paused: `clarion keeper resume settle` lets it go on.\n")
        assert controls(connection) == {"settle": (True, "looking into it")}
        assert run("resume", "settle")[:2] == (0, "settle goes on.\n")
        assert controls(connection)["settle"][0] is False

    def test_everything_stops(self, run: Run, connection: psycopg.Connection[Any]) -> None:
        run("pause", "liquidate")
        code, out, _ = run("pause")
        assert (code, out) == (0, "Everything is paused: `clarion keeper resume` lets it go on.\n")
        assert controls(connection) == {"*": (True, "by hand"), "liquidate": (True, "by hand")}
        assert run("resume")[:2] == (0, "Everything goes on.\nliquidate stays paused: by hand\n")

    def test_what_is_not_paused_cannot_be_resumed(self, run: Run) -> None:
        assert run("resume")[::2] == (1, "clarion: The kill switch is not on: nothing is.\n")
        run("pause", "liquidate")
        assert run("resume", "settle")[::2] == (1, "clarion: settle is not paused: liquidate is.\n")

    def test_a_job_that_nobody_knows_is_named(self, run: Run) -> None:
        code, _, err = run("pause", "liquidat")
        assert code == 1
        assert err.startswith("clarion: There is no job liquidat. There are: ")
        assert " liquidate," in err


def controls(connection: psycopg.Connection[Any]) -> dict[str, tuple[bool, str]]:
    return {
        job: (paused, reason)
        for job, paused, reason in connection.execute("SELECT job, paused, reason FROM keeper.control")
    }
