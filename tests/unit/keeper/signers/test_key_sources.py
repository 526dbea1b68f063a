"""Keys from files, variables and keyrings; and that no message repeats what was found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from support.signing import SECRET, key_file

from clarion_keeper.signers.errors import KeySourceError
from clarion_keeper.signers.key_sources import read_key


def problem(source: str) -> str:
    with pytest.raises(KeySourceError) as caught:
        read_key(source)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_a_key_in_a_file(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    assert read_key(f"file:{path}") == SECRET
    path.write_text(f"0x{SECRET.hex()}\n")
    assert read_key(f"file:{path}") == SECRET


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o606, 0o610, 0o601])
def test_a_file_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path)
    path.chmod(mode)
    assert f"chmod 600 {path}" in problem(f"file:{path}")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read" in problem(f"file:{tmp_path / 'none'}")
    assert "cannot be read" in problem(f"file:{tmp_path}")
    assert "no regular file" in problem("file:/dev/null")


@pytest.mark.parametrize(
    "text", ["", "not hexadecimal " * 4, SECRET.hex()[:-4], SECRET.hex() + "00", "00" * 32, "é" * 64]
)
def test_what_is_no_key_is_not_repeated(tmp_path: Path, text: str) -> None:
    path = key_file(tmp_path)
    path.write_text(text)
    said = problem(f"file:{path}")
    assert said == f"file:{path} holds no private key: 64 hexadecimal digits, or 66 ending in 01"


def test_a_key_in_the_environment_is_taken_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET.hex())
    assert read_key("env:SOME_KEY") == SECRET
    assert "SOME_KEY" not in os.environ
    assert "no variable SOME_KEY" in problem("env:SOME_KEY")


class Passwords(KeyringBackend):
    priority = 1

    def get_password(self, service: str, username: str) -> str | None:
        if service == "locked":
            raise keyring.errors.KeyringLocked(SECRET.hex())
        return SECRET.hex() if (service, username) == ("clarion/test", "keeper") else None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise NotImplementedError


@pytest.fixture
def passwords() -> object:
    before = keyring.get_keyring()
    keyring.set_keyring(Passwords())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("passwords")
def test_a_key_in_a_keyring() -> None:
    assert read_key("keyring:clarion/test/keeper") == SECRET
    assert "no password for clarion/other" in problem("keyring:clarion/other")
    assert "KeyringLocked" in problem("keyring:locked/keeper")
    assert SECRET.hex() not in problem("keyring:locked/keeper")
    assert "names no place" in problem("keyring:clarion")


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install 'clarion[keyring]'" in problem("keyring:clarion/keeper")


def test_other_sources_are_refused_without_being_repeated() -> None:
    assert SECRET.hex() not in problem(SECRET.hex())
