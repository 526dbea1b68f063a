import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clarion.chains.stacks.recording import read_recording

REPOSITORY = Path(__file__).parents[4]
SCRIPT = REPOSITORY / "tests" / "vectors" / "stacks_js.mjs"
LIBRARY = REPOSITORY / "contracts" / "node_modules" / "@stacks" / "transactions"

AskStacksJs = Callable[..., Any]


@pytest.fixture(scope="session")
def ask_stacks_js(node_command: list[str]) -> AskStacksJs:
    """Runs the @stacks/transactions script with arguments and a JSON request, and gives its JSON answer."""
    if not LIBRARY.exists():
        pytest.skip("needs the packages of contracts/package.json")

    def ask(*arguments: str, request: object = None) -> Any:
        command = [*node_command, str(SCRIPT), *arguments]
        done = subprocess.run(command, input=json.dumps(request), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return ask


@pytest.fixture(scope="session")
def recorded_payloads(chain_data: Path) -> list[tuple[str, Any]]:
    """(path, payload) of every request that real nodes sent to their observer, from all recorded files."""
    files = sorted((chain_data / "stacks").glob("*.tsv"))
    return [(post.path, json.loads(post.body)) for file in files for post in read_recording(file)]
