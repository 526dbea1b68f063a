"""The lock files agree with what they lock, and name no place to download from."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
LOCKS = [
    REPOSITORY / "requirements.lock",
    REPOSITORY / "requirements-bootstrap.txt",
    REPOSITORY / "contracts" / "package-lock.json",
]
ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)[^\n]*\\\n(?P<hashes>(?:    --hash=.*\n)+)(?P<via>(?:    #.*\n)*)", re.M
)


def direct_requirements() -> dict[str, Requirement]:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    texts = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    requirements = [Requirement(text) for text in [*texts, *project["build-system"]["requires"]]]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def locked() -> dict[str, re.Match[str]]:
    return {match["name"]: match for match in ENTRY.finditer((REPOSITORY / "requirements.lock").read_text())}


def test_the_lock_has_a_fitting_version_of_every_direct_requirement() -> None:
    pins = locked()
    wrong = [
        str(requirement)
        for name, requirement in direct_requirements().items()
        if name not in pins or not requirement.specifier.contains(Version(pins[name]["version"]))
    ]
    assert not wrong, "run `make lock`"


def test_the_lock_has_nothing_that_was_a_direct_requirement_once() -> None:
    named = {name for name, pin in locked().items() if "clarion (pyproject.toml)" in pin["via"]}
    assert named == set(direct_requirements()), "run `make lock`"


def test_everything_locked_has_hashes() -> None:
    for path in LOCKS[:2]:
        lines = [line for line in path.read_text().splitlines() if "==" in line and not line.startswith(" ")]
        assert lines
        assert all(line.endswith("\\") for line in lines)


def test_the_npm_lock_is_of_this_package_file() -> None:
    package = json.loads((REPOSITORY / "contracts" / "package.json").read_text())
    root = json.loads((REPOSITORY / "contracts" / "package-lock.json").read_text())["packages"][""]
    for kind in ("dependencies", "devDependencies"):
        assert root.get(kind, {}) == package.get(kind, {}), "run `make lock`"


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_locks_name_no_place_to_download_from(path: Path) -> None:
    downloads = re.findall(r"https?://\S+\.(?:whl|tgz|tar\.gz)", path.read_text())
    assert not downloads
    assert '"resolved"' not in path.read_text()
