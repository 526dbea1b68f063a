"""The declared actions and errors against the contracts' documentation, which is itself compared with the contracts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clarion.protocols.bithedge.actions import ACTIONS, DESCRIPTIONS, NOT_ACTIONS
from clarion.protocols.bithedge.actions.declaration import Action, Parameter, parse_parameters
from clarion.protocols.bithedge.errors import ERRORS

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "contracts.md").read_text(encoding="utf-8")


def documented() -> dict[str, tuple[str, str]]:
    """Every public function: its parameters and who calls it, by contract and name."""
    found = {}
    contract = ""
    for line in PAGE.partition("## Functions")[2].partition("## Errors")[0].splitlines():
        if line.startswith("### "):
            contract = line.removeprefix("### ")
        row = re.match(r"\| `([a-z-]+)` \(public\) \| (?:`(.*?)` )?→ `.*?` \| (.*) \|$", line)
        if row:
            found[f"{contract}.{row[1]}"] = (row[2] or "", row[3])
    return found


def test_every_public_function_is_an_action_or_somebody_else_s() -> None:
    functions = documented()
    actions = [f"{action.contract}.{action.function}" for action in ACTIONS.values()]

    assert len(functions) > 90
    assert sorted([*actions, *NOT_ACTIONS]) == sorted(functions)


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
def test_an_action_is_the_function_s(action: Action) -> None:
    parameters, caller = documented()[f"{action.contract}.{action.function}"]

    assert action.parameters_text == parameters
    assert action.caller == caller


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
def test_everything_an_action_takes_is_described(action: Action) -> None:
    names = re.findall(r"[({ ,]([a-z0-9-]+)[:]? (?=[(<{a-z])", action.parameters_text)
    said = set(DESCRIPTIONS) | set(action.says)

    for parameter in action.parameters:
        assert parameter.name in said, parameter.name
    assert set(action.fills) <= {parameter.name for parameter in action.parameters}
    assert set(action.says) <= set(names) | {parameter.name for parameter in action.parameters}


def test_errors_are_the_documented_ones() -> None:
    rows = re.findall(r"^\| (\d{4,5}) \| `(ERR-[A-Z0-9-]+)` \| ([a-z-]+) \| (.*?) \|$", PAGE, re.MULTILINE)

    assert [(error.code, error.name, error.contract, error.when) for error in ERRORS.values()] == [
        (int(code), name, contract, when) for code, name, contract, when in rows
    ]


def test_parameters_are_read_in_clarity_s_types() -> None:
    text = "(a uint) (b (list 2 {c: (buff 32), d: (optional principal)})) (e <token>) (f (string-ascii 4))"

    assert parse_parameters(text) == (
        Parameter("a", "uint128"),
        Parameter(
            "b",
            {
                "list": {
                    "type": {
                        "tuple": [
                            {"name": "c", "type": {"buffer": {"length": 32}}},
                            {"name": "d", "type": {"optional": "principal"}},
                        ]
                    },
                    "length": 2,
                }
            },
        ),
        Parameter("e", "trait_reference"),
        Parameter("f", {"string-ascii": {"length": 4}}),
    )


@pytest.mark.parametrize("text", ["a uint", "(a uint", "(a float)", "(a (list x uint))"])
def test_what_is_no_parameters_is_refused(text: str) -> None:
    with pytest.raises((ValueError, StopIteration)):
        parse_parameters(text)
