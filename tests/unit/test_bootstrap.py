import fcntl
import os
import subprocess
import sys
from pathlib import Path

import bootstrap
import pytest


def test_fingerprints_tell_contents_and_their_borders_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("ab")
    two.write_text("c")
    before = bootstrap.fingerprint([one, two], "3.11")
    assert before == bootstrap.fingerprint([one, two], "3.11")
    one.write_text("a")
    two.write_text("bc")
    assert len({before, bootstrap.fingerprint([one, two], "3.11"), bootstrap.fingerprint([one, two], "3.12")}) == 3


def test_a_step_runs_once_for_a_key_and_again_for_another(tmp_path: Path) -> None:
    stamp = tmp_path / "stamps" / "step"
    runs: list[str] = []
    for key in ["a", "a", "b", "a"]:
        bootstrap.run_step("step", stamp, key, lambda key=key: runs.append(key))
    assert runs == ["a", "b", "a"]


def test_a_step_that_was_broken_off_runs_again_even_for_the_old_key(tmp_path: Path) -> None:
    stamp = tmp_path / "stamps" / "step"
    runs: list[str] = []

    def break_off() -> None:
        raise KeyboardInterrupt

    bootstrap.run_step("step", stamp, "old", lambda: runs.append("old"))
    with pytest.raises(KeyboardInterrupt):
        bootstrap.run_step("step", stamp, "new", break_off)
    bootstrap.run_step("step", stamp, "old", lambda: runs.append("old"))
    assert runs == ["old", "old"]


def test_uv_is_told_what_pip_was_told() -> None:
    told = "\n".join(
        [
            ":env:.index-url='https://from.environment/simple'",
            "global.cert='/etc/ca.crt'",
            "global.extra-index-url='file:///one/simple file:///two/simple'",
            "global.find-links='/wheels\\n/more-wheels'",
            "global.index-url='https://from.file/simple'",
            "global.timeout='60'",
        ]
    )
    assert bootstrap.uv_settings(told, {"SSL_CERT_FILE": "/mine.crt"}) == {
        "UV_DEFAULT_INDEX": "https://from.environment/simple",
        "UV_INDEX": "file:///one/simple file:///two/simple",
        "UV_FIND_LINKS": "/wheels,/more-wheels",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_caches_move_where_there_is_no_home_to_write_to(tmp_path: Path) -> None:
    assert bootstrap.writable_caches({"HOME": str(tmp_path)}) == {}
    moved = bootstrap.writable_caches({"HOME": str(tmp_path / "none"), "UV_CACHE_DIR": "/mine"})
    assert set(moved) == {"PIP_CACHE_DIR", "npm_config_cache"}
    assert all(Path(folder).is_relative_to(bootstrap.VENV) for folder in moved.values())


def test_an_installer_that_outlives_a_killed_bootstrap_keeps_the_lock(tmp_path: Path) -> None:
    program = """
import bootstrap, fcntl, os, signal, sys
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(lock, fcntl.LOCK_EX)
installer = f"import os, signal; print(os.getpid(), flush=True); os.kill({os.getpid()}, 9); signal.pause()"
bootstrap.Runner(lock, os.environ)([sys.executable, "-c", installer])
"""
    env = os.environ | {"PYTHONPATH": str(Path(bootstrap.__file__).parent)}
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], env=env, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        installer = int(killed.stdout.readline())
        try:
            assert killed.wait(20) == -9
            assert not _lockable(tmp_path)
        finally:
            os.kill(installer, 9)
    assert _lockable(tmp_path, wait=True)


def _lockable(folder: Path, *, wait: bool = False) -> bool:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def test_a_failed_command_is_named(tmp_path: Path) -> None:
    lock = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(bootstrap.BootstrapError, match=r"`.* -c raise SystemExit\(3\)` failed \(exit code 3\)"):
            bootstrap.Runner(lock, os.environ)([sys.executable, "-c", "raise SystemExit(3)"])
    finally:
        os.close(lock)


def test_a_python_without_ensurepip_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(bootstrap.BootstrapError, match=r"/usr/bin/python3 .*install the package python3-venv"):
        bootstrap.make_venv(bootstrap.Runner(0, {}), "/usr/bin/python3")


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bootstrap, "MINIMUM_PYTHON", (99, 0))
    assert bootstrap.main([]) == 1
    assert "Python 99.0 or newer is needed" in capsys.readouterr().err
