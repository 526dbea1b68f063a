"""No key gets out of the agent: not into the keeper's memory, environment, arguments, log or core file."""

from __future__ import annotations

import base64
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from support.signing import SECRET, key_file
from support.signing_run import SigningProcess, agents_of, running_signers, until

SETTINGS_OF_CANARY = b"clarion-secrets-canary"


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., SigningProcess]]:
    with running_signers(tmp_path) as start:
        yield start


def forms_of_the_key() -> dict[str, bytes]:
    """The key as it could stand somewhere. Of base64 what does not depend on how it is aligned with what is around."""
    secret = SECRET[:32]
    forms = {
        "bytes": secret,
        "bytes backwards": secret[::-1],
        "hexadecimal": secret.hex().encode(),
        "capital hexadecimal": secret.hex().upper().encode(),
        "hexadecimal in UTF-16": secret.hex().encode("utf-16-le"),
        "number": str(int.from_bytes(secret, "big")).encode(),
        "hexadecimal in base64": base64.b64encode(secret.hex().encode())[:-4],
    }
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + secret)
        forms[f"base64, shifted by {shift}"] = encoded[4 if shift else 0 : -4]
    return forms


def found_in(data: bytes) -> list[str]:
    return [name for name, form in forms_of_the_key().items() if form in data]


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
            {"PYTHON_KEYRING_BACKEND": "keyring_in_file.KeyringInFile", "KEYRING_FILE": str(password)},
        ),
    }


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="this system does not show processes' memory as files")
@pytest.mark.parametrize("source", ["file", "env", "keyring"])
def test_the_key_is_with_the_agent_alone(tmp_path: Path, run: Callable[..., SigningProcess], source: str) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    signer, environment = sources(keys)[source]
    keeper = run(signer, CANARY=SETTINGS_OF_CANARY.decode(), **environment)
    agents = agents_of(keeper.process)

    # everything that goes well and badly
    assert keeper.sign(1).startswith("signed")
    assert keeper.sign(2, 10**9).startswith("SigningRefusedError")
    agents[-1].kill()
    assert keeper.sign(3).startswith("signed")
    agents = agents_of(keeper.process)

    assert "bytes" in found_in(memory_of(agents[-1])) or os.geteuid() != 0, "the agent's memory shows how to find a key"
    memory = memory_of(keeper.process)
    assert SETTINGS_OF_CANARY in memory, "the keeper's memory was not read"
    assert found_in(memory) == []
    for process in (keeper.process, *agents):
        assert found_in(" ".join(process.cmdline()).encode()) == []
    assert found_in(Path(f"/proc/{keeper.process.pid}/environ").read_bytes()) == []

    keeper.process.send_signal(signal.SIGABRT)
    until(lambda: not any(agent.is_running() for agent in agents))
    keeper.close()
    cores = [path for path in tmp_path.rglob("core*") if path.is_file()]
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.parent != keys:
            assert found_in(path.read_bytes()) == [], path
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core" and keeper.may_leave_core_files:
        (core,) = cores
        assert SETTINGS_OF_CANARY in core.read_bytes()


@pytest.mark.parametrize("source", ["file", "env"])
def test_an_agent_leaves_no_core_file(tmp_path: Path, run: Callable[..., SigningProcess], source: str) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    signer, environment = sources(keys)[source]
    keeper = run(signer, **environment)
    for agent in reversed(agents_of(keeper.process)):
        agent.send_signal(signal.SIGABRT)
        until(lambda agent=agent: not agent.is_running() or agent.status() == psutil.STATUS_ZOMBIE)  # type: ignore[misc]
    assert [path for path in tmp_path.rglob("core*") if path.is_file()] == []


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
