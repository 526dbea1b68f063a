"""The container files, read as Compose reads them, agree with the command line, the settings and each other."""

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from clarion.cli import COMMANDS_GROUP, commands
from clarion.config import Settings, load_settings, settings_list
from clarion.dev.accounts import DEPLOYER, KEEPER

REPOSITORY = Path(__file__).resolve().parents[2]
SERVICES = {"postgres", "indexer", "graphql", "keeper", "devnet", "scenario"}
OURS = sorted(SERVICES - {"postgres"})
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def compose() -> dict[str, Any]:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    return yaml.safe_load(VARIABLE.sub(lambda match: match[2], text))


def service(name: str) -> dict[str, Any]:
    return compose()["services"][name]


def settings_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for entry in settings_list():
        monkeypatch.delenv(entry.variable, raising=False)
    for variable, value in service(name)["environment"].items():
        monkeypatch.setenv(variable, str(value))
    return load_settings()


def test_the_services_are_these() -> None:
    found = compose()
    assert set(found) == {"name", "x-clarion", "services", "configs", "volumes"}
    assert set(found["services"]) == SERVICES


@pytest.mark.parametrize("name", OURS)
def test_commands_are_the_command_lines(name: str) -> None:
    command, *_ = service(name)["command"]
    known = set(get_command(commands).commands)  # type: ignore[attr-defined]
    assert command in known | {entry.name for entry in importlib.metadata.entry_points(group=COMMANDS_GROUP)}


@pytest.mark.parametrize("name", OURS)
def test_environments_are_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    known = {entry.variable for entry in settings_list()} | {"CLARION_DEPLOYERS__BITHEDGE"}
    assert set(service(name)["environment"]) <= known
    settings_of(name, monkeypatch)


def test_services_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    devnet, indexer = settings_of("devnet", monkeypatch), settings_of("indexer", monkeypatch)
    keeper, graphql = settings_of("keeper", monkeypatch), settings_of("graphql", monkeypatch)
    assert indexer.node.url == keeper.node.url == f"http://devnet:{devnet.devnet.port}"
    assert (devnet.observer.host, devnet.observer.port) == ("indexer", indexer.observer.port)
    assert keeper.keeper.graphql_url == f"http://graphql:{graphql.graphql.port}/graphql"
    assert {indexer.observer.host, graphql.graphql.host, devnet.devnet.host} == {"0.0.0.0"}
    postgres = service("postgres")["environment"]
    assert indexer.database_url is not None
    assert indexer.database_url.get_secret_value() == (
        f"postgresql://{postgres['POSTGRES_USER']}:{postgres['POSTGRES_PASSWORD']}@postgres/{postgres['POSTGRES_DB']}"
    )


def test_keys_and_addresses_are_the_devnets() -> None:
    assert compose()["configs"]["keeper_key"]["content"] == KEEPER.secret.hex()
    keeper = service("keeper")
    assert keeper["environment"]["CLARION_DEPLOYERS__BITHEDGE"] == DEPLOYER.address
    [account] = json.loads(keeper["environment"]["CLARION_KEEPER__ACCOUNTS"]).values()
    [key] = keeper["configs"]
    assert account["signer"] == f"file:{key['target']}"
    assert (key["mode"], f"--uid {key['uid']} " in (REPOSITORY / "Dockerfile").read_text()) == (0o400, True)


def test_ports_are_published_to_this_machine_alone() -> None:
    published = [port for name in SERVICES for port in service(name).get("ports", [])]
    assert published
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port) for port in published)


def test_dependencies_exist_and_what_is_waited_for_has_a_health_check() -> None:
    for name in SERVICES:
        for needed, condition in service(name).get("depends_on", {}).items():
            assert needed in SERVICES
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in service(needed)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("indexer", "3700/healthz"),
        ("graphql", "8000/readyz"),
        ("keeper", "9700/healthz"),
        ("devnet", "20443/v2/info"),
    ],
)
def test_health_checks_are_programs_that_ask_the_service_itself(name: str, path: str) -> None:
    kind, program, option, code = service(name)["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python", "-c")
    compile(code, name, "exec")
    assert f"http://127.0.0.1:{path}'" in code


def test_the_image_is_built_of_what_is_there_and_runs_as_an_ordinary_user() -> None:
    lines = re.sub(r"\\\n\s*", "", (REPOSITORY / "Dockerfile").read_text()).splitlines()
    instructions = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    bases = [argument.removesuffix(" AS build") for name, argument in instructions if name == "FROM"]
    assert len(bases) == 2
    assert bases[0] == bases[1], "the virtual environment needs the interpreter it was made with"
    users = [argument for name, argument in instructions if name == "USER"]
    assert users
    assert users[-1] not in ("root", "0")
    copied = [word for name, argument in instructions if name == "COPY" and "--from" not in argument
              for word in argument.split()[:-1]]  # fmt: skip
    allowed = {
        line.removeprefix("!") for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert all((REPOSITORY / path).exists() for path in [*copied, *allowed])
    assert set(copied) <= allowed | {"."}
