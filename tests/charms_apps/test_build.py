"""The packaged modules of zkUSD's contracts are what their sources make, to the byte."""

import json
import subprocess
from pathlib import Path

import pytest

from clarion.chains.bitcoin.charms.apps import module_key, packaged_apps
from clarion.node import find_node

SOURCES = Path(__file__).parents[2] / "contracts" / "charms"


def test_the_record_names_the_packaged_modules() -> None:
    record = Path(__file__).parents[2] / "indexer" / "clarion" / "charms_apps" / "zkusd" / "sha256.json"
    assert json.loads(record.read_text()) == {
        name: module_key(wasm).hex() for name, wasm in packaged_apps("zkusd").items()
    }


@pytest.mark.slow
@pytest.mark.skipif(not (SOURCES / "node_modules").is_dir(), reason="the compiler is installed by npm ci")
def test_building_again_gives_the_same_bytes() -> None:
    built = subprocess.run(
        [find_node(), SOURCES / "build.js", "--check"], capture_output=True, text=True, timeout=200, check=False
    )
    assert built.returncode == 0, built.stderr
    for name, wasm in packaged_apps("zkusd").items():
        assert f"{module_key(wasm).hex()}  {name}" in built.stdout
