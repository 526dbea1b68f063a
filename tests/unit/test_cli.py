from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.charms import app, in_output, plain_transaction, spell_of

from clarion import cli
from clarion.chains.bitcoin.charms.spells import write_payload
from clarion.chains.bitcoin.transactions import write_transaction
from clarion.config import ConfigurationError
from clarion.dev.run import DevError

ROOT = Path(__file__).resolve().parents[2]
COMMANDS_PAGE = (ROOT / "docs" / "commands.md").read_text()


def run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, output and errors of a command line."""
    with pytest.raises(SystemExit) as exit_:
        cli.app(arguments)
    said = capsys.readouterr()
    code = exit_.value.code
    assert isinstance(code, int)
    return code, said.out, said.err


def test_help_lists_every_command_and_the_page_describes_it(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(["--help"], capsys)
    assert code == 0
    listed = re.findall(r"^  (\w+) +[A-Z]", out.partition("Commands:")[2], re.MULTILINE)
    assert {"dev", "index", "serve", "keeper", "devnet", "replay", "status", "db"} <= set(listed)
    assert set(listed) - set(re.findall(r"`clarion (\w+)", COMMANDS_PAGE)) == set()


def test_every_option_of_dev_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(["dev", "--help"], capsys)
    options = set(re.findall(r"--[a-z-]+", out)) - {"--help"}
    assert len(options) >= 10
    assert {option for option in options if option not in COMMANDS_PAGE} == set()


@pytest.mark.parametrize(
    "arguments", [["frobnicate"], ["dev", "--seed", "x"], ["replay", "nowhere.tsv"], ["rewind"], ["record"]]
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(arguments, capsys)
    assert code == 2
    assert err


def test_wrong_settings_are_2(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_NETWORK", "moon")
    code, _, err = run(["status"], capsys)
    assert code == 2
    assert err.startswith("clarion: ")
    assert "network" in err


def test_a_spell_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    mock = write_payload(spell_of(15, [{0: 5}], [(app("t"), None)], mock=True), bytes(192))
    text = write_transaction(in_output(plain_transaction(), mock)).hex()
    code, out, err = run(["spell", text], capsys)
    assert (code, json.loads(out)["status"]) == (1, "invalid")
    assert err.startswith("The spell is invalid: mock:")
    monkeypatch.setenv("CLARION_BITCOIN__MOCK_SPELLS", "true")
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{text[:80]}\n{text[80:]}\n"))
    code, out, err = run(["spell", "-", "--network", "regtest"], capsys)
    assert (code, err) == (0, "")
    assert json.loads(out)["outs"] == [{"0": 5}]


def test_what_has_no_spell_is_1_and_what_is_no_transaction_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(["spell", write_transaction(plain_transaction()).hex()], capsys)
    assert (code, out, err) == (1, "", "The transaction is not marked as having a spell.\n")
    code, _, err = run(["spell", "0200"], capsys)
    assert (code, err) == (1, "clarion: the transaction at byte 0 is cut off at byte 2\n")
    assert run(["spell", "xyz"], capsys)[0] == 2


def test_a_live_recording_has_no_heights(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = run(["record", "--live", "--from", "1", "--out", str(tmp_path / "out")], capsys)
    assert (code, "leave --from and --to out" in err) == (2, True)


def test_a_deployer_without_an_address_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["index", "--deployer", "bithedge"], capsys)
    assert code == 2
    assert "PROTOCOL=ADDRESS" in err


def test_no_dev_run_is_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLARION_STATE_DIR", str(tmp_path))
    code, _, err = run(["status", "--dev"], capsys)
    assert code == 1
    assert err == f"clarion: There is no dev run in {tmp_path / 'dev'}. Start one with `clarion dev`.\n"


def test_an_unreachable_database_is_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    code, _, err = run(["status"], capsys)
    assert code == 1
    assert "cannot be created" in err
    assert "Traceback" not in err


def test_a_database_without_an_index_is_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("CLARION_DATABASE_URL", empty_database_url)
    code, _, err = run(["status"], capsys)
    assert (code, err) == (
        1,
        "clarion: The database holds no index yet. Start `clarion index`, or `clarion db migrate`.\n",
    )


def test_what_was_not_foreseen_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "load_settings", fail)
    with pytest.raises(ZeroDivisionError):
        cli.app(["status"])


@pytest.mark.parametrize(
    ("error", "foreseen"), [(DevError("x"), True), (ConfigurationError("x"), True), (ValueError("x"), False)]
)
def test_errors_of_clarion_are_foreseen(error: Exception, foreseen: bool) -> None:
    assert cli._is_foreseen(error) is foreseen


def test_migrate_url_and_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, empty_database_url: str
) -> None:
    monkeypatch.setenv("CLARION_DATABASE_URL", empty_database_url)
    assert run(["db", "migrate"], capsys)[0] == 0
    assert run(["db", "url"], capsys)[1] == f"{empty_database_url}\n"
    monkeypatch.setenv("CLARION_NODE__URL", "http://127.0.0.1:1")
    code, out, _ = run(["status", "--json"], capsys)
    status = json.loads(out)
    assert (code, status["chains"], status["inbox_pending"], status["node_height"]) == (0, [], 0, None)
    assert "none" in run(["status"], capsys)[1]


def test_the_core_imports_neither_graphql_nor_keeper() -> None:
    program = (
        "import pkgutil, importlib, sys, clarion\n"
        "for module in pkgutil.walk_packages(clarion.__path__, 'clarion.'):\n"
        "    if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "print(sorted(name for name in sys.modules if name in ('clarion_graphql', 'clarion_keeper', 'strawberry')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
