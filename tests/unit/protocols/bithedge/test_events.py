"""The events' structs are what the registry says the contracts print, and every one of them is projected."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import inspect

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.events import EVENTS, CapitalDeposited, Event, ParamSet, source_of

REPOSITORY = Path(__file__).parents[4]
REGISTRY = REPOSITORY / "contracts" / "events.json"
CONTRACTS = REPOSITORY / "contracts" / "contracts"


def documented() -> dict[tuple[str, str], dict[str, str]]:
    """Fields (name to Clarity type) of every event in the registry, without the envelope's."""
    registry = json.loads(REGISTRY.read_text(encoding="utf-8"))
    shared = {name: group["fields"] for name, group in registry["groups"].items()}
    return {
        (contract, topic): {
            name: re.sub(r"uint(\)?) .*", r"uint\1", kind)
            for name, kind in (shared.get(event.get("group"), {}) | event["fields"]).items()
        }
        for contract, told in registry["contracts"].items()
        for topic, event in told["events"].items()
    }


def clarity_type(field: inspect.Type) -> str:
    """The Clarity type that a struct's field reads, without lengths."""
    match field:
        case inspect.UnionType(types=types):
            inner = [part for part in types if not isinstance(part, inspect.NoneType)]
            assert len(inner) < len(types) == 2
            return f"(optional {clarity_type(inner[0])})"
        case inspect.IntType(ge=0):
            return "uint"
        case inspect.BoolType():
            return "bool"
        case inspect.StrType():
            return "text"
    raise AssertionError(field)


def without_lengths(documented_type: str) -> str:
    """Principals, ASCII strings and buffers all arrive as text."""
    return re.sub(r"principal|\((string-ascii|buff) \d+\)", "text", documented_type)


def own_fields(event: type[Event]) -> dict[str, str]:
    info = inspect.type_info(event)
    assert isinstance(info, inspect.StructType)
    envelope = set(Event.__struct_encode_fields__)
    return {field.encode_name: clarity_type(field.type) for field in info.fields if field.encode_name not in envelope}


def test_structs_and_reference_are_made_from_the_registry() -> None:
    command = [sys.executable, str(REPOSITORY / "tools" / "bithedge_events.py"), "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("source", sorted(EVENTS), ids=" ".join)
def test_a_struct_has_the_documented_fields(source: tuple[str, str]) -> None:
    fields = documented()[source]
    assert own_fields(EVENTS[source]) == {name: without_lengths(kind) for name, kind in fields.items()}


def test_every_documented_event_has_a_struct_and_a_projection() -> None:
    assert set(EVENTS) == set(documented())
    assert protocol.topics() == EVENTS


def test_every_topic_in_the_contracts_is_known() -> None:
    printed = {
        (source.stem, topic)
        for source in CONTRACTS.glob("bh-*.clar")
        for topic in re.findall(r'"([a-z-]+\.[a-z-]+)"', source.read_text(encoding="ascii"))
    }
    assert printed == set(EVENTS)


def test_every_event_says_what_it_means() -> None:
    assert all((event.__doc__ or "").endswith((".", ".\n    ")) for event in EVENTS.values())


def test_an_event_is_found_by_its_struct() -> None:
    assert source_of(CapitalDeposited) == ("bh-vault", "capital.deposited")
    with pytest.raises(KeyError, match="Event is no event"):
        source_of(Event)


def param_set(**changes: Any) -> dict[str, Any]:
    fields = {
        "topic": "param.set",
        "v": 1,
        "seq": 1,
        "actor": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM",
        "caller": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM",
        "key": "min-duration",
        "kind": "burn",
        "value": 2**128 - 1,
        "before": None,
        "min": 0,
        "max": 2**128 - 1,
        "proposal": None,
    }
    return fields | changes


def test_the_largest_uint_is_read_exactly() -> None:
    assert msgspec.convert(param_set(), ParamSet).value == 2**128 - 1


@pytest.mark.parametrize(
    "changes",
    [
        {"v": 2},
        {"v": "1"},
        {"value": -1},
        {"value": "5"},
        {"value": True},
        {"key": None},
        {"seq": 2**63},
        {"surprise": 1},
    ],
    ids=str,
)
def test_another_schema_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(param_set(**changes), ParamSet)


@pytest.mark.parametrize("lacking", ["topic", "v", "seq", "actor", "caller", "before"])
def test_a_missing_field_is_refused(lacking: str) -> None:
    fields = param_set()
    del fields[lacking]
    with pytest.raises(msgspec.ValidationError, match=lacking):
        msgspec.convert(fields, ParamSet)
