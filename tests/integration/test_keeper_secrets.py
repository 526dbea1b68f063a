"""No key gets out of the agent: not into the keeper's memory, environment, arguments, log or core file.

And no password of an address gets into what the keeper says and writes down.
"""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import signal
from pathlib import Path

import psutil
import psycopg
import pytest
from support import secret_search
from support.keeper_run import CANARY, NODE_PASSWORD, keeping
from support.signing import SECRET, key_file
from support.signing_run import WAIT_SECONDS, agents_of, until

SIGNED_IN = f"Basic {base64.b64encode(f'keeper:{NODE_PASSWORD}'.encode()).decode()}"


def found_in(data: bytes) -> list[str]:
    """In which forms the key stands there."""
    return secret_search.found_in(data, SECRET[:32])


def memory_of(process: psutil.Process) -> bytes:
    """All that can be read of a process's memory. One that hides it can be read by root alone."""
    parts = []
    maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            addresses, mode, *_ = line.split()
            start, _, end = addresses.partition("-")
            if mode.startswith("r"):
                with contextlib.suppress(OSError, ValueError, OverflowError):
                    memory.seek(int(start, 16))
                    parts.append(memory.read(int(end, 16) - int(start, 16)))
    return b"".join(parts)


def sources(folder: Path) -> dict[str, tuple[str, dict[str, str]]]:
    password = key_file(folder, name="password")
    return {
        "file": (f"file:{key_file(folder)}", {}),
        "env": ("env:SOME_KEY", {"SOME_KEY": SECRET.hex()}),
        "keyring": (
            "keyring:clarion/keeper",
            {"PYTHON_KEYRING_BACKEND": "support.keyring_in_file.KeyringInFile", "KEYRING_FILE": str(password)},
        ),
    }


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system does not show processes' memory as files")
@pytest.mark.parametrize(
    "source", ["env", pytest.param("file", marks=pytest.mark.slow), pytest.param("keyring", marks=pytest.mark.slow)]
)
def test_the_key_is_with_the_agent_alone(tmp_path: Path, database_url: str, source: str) -> None:
    keys, folder = tmp_path / "keys", tmp_path / "keeper"
    keys.mkdir()
    folder.mkdir()
    signer, environment = sources(keys)[source]
    with keeping(folder, database_url, signer, environment) as keeper:
        # everything that goes well and badly: an outage, signatures, refusals, an agent that is killed
        keeper.chain.is_away = True
        until(lambda: b"asking again" in keeper.log.read_bytes() and b"ended early" in keeper.log.read_bytes())
        keeper.chain.is_away = False
        keeper.sends(1)
        agents_of(keeper.process)[-1].kill()
        keeper.sends(2)
        agents = agents_of(keeper.process)
        with psycopg.connect(database_url, autocommit=True) as connection:
            refusals = "SELECT FROM keeper.step WHERE what = 'refused'"
            until(lambda: connection.execute(refusals).rowcount > 0)

        if os.geteuid() == 0:
            assert "bytes" in found_in(memory_of(agents[-1])), "in the agent's memory the key would be found"
        memory = memory_of(keeper.process)
        assert CANARY in memory, "the keeper's memory was not read"
        assert found_in(memory) == []
        for process in (keeper.process, *agents):
            assert found_in(" ".join(process.cmdline()).encode()) == []
        assert found_in(Path(f"/proc/{keeper.process.pid}/environ").read_bytes()) == []
        dumped = secret_search.dump(database_url)
        assert keeper.sent[0].encode().hex().encode() in dumped, "the database was not read"
        assert found_in(dumped) == []
        assert keeper.chain.authorizations == {SIGNED_IN}
        log = keeper.log.read_text()
        assert keeper.chain.url in log, "the log names the servers"
        assert NODE_PASSWORD not in log
        assert NODE_PASSWORD.encode() not in dumped
        assert log.count("the index does not answer") == log.count("the index answers again") == 1, log

        for agent in reversed(agents):
            agent.send_signal(signal.SIGABRT)
            until(lambda agent=agent: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
        assert core_files(tmp_path) == [], "an agent leaves no core file"
        keeper.process.send_signal(signal.SIGABRT)
        keeper.process.wait(WAIT_SECONDS)
    check_files(tmp_path, keys)
    if Path("/proc/sys/kernel/core_pattern").read_text() == "core\n" and resource.getrlimit(resource.RLIMIT_CORE)[1]:
        (core,) = core_files(tmp_path)
        assert CANARY in core.read_bytes()


def core_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("core*") if path.is_file()]


def check_files(folder: Path, keys: Path) -> None:
    """That no file has the key but those that were made to hold it."""
    for path in folder.rglob("*"):
        if path.is_file() and path.parent != keys:
            assert found_in(path.read_bytes()) == [], path


def test_every_form_of_a_key_would_be_found() -> None:
    secret = SECRET[:32]
    shown = {
        "bytes": b"x" + secret + b"y",
        "hexadecimal": f"key={secret.hex()}".encode(),
        "number": str(int.from_bytes(secret, "big")).encode(),
        **{f"base64, shifted by {n}": base64.b64encode(b"abc"[:n] + secret + b"more") for n in range(3)},
    }
    for form, data in shown.items():
        assert form in found_in(data)
    assert found_in(os.urandom(1 << 16)) == []
