"""Writes what follows from the registry of BitHedge's events, ``contracts/events.json``.

That file says of every event what it means and which fields it has: their Clarity type and, for numbers, their unit.
Made from it are the structs of ``clarion.protocols.bithedge.events`` and the section "Events" of ``docs/contracts.md``.
The contracts' tests hold every event that a contract prints against it. Run as ``make events``; ``--check`` only says
whether something has to be made anew.
"""

from __future__ import annotations

import json
import keyword
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
REGISTRY: Final = ROOT / "contracts" / "events.json"
STRUCTS: Final = ROOT / "indexer" / "clarion" / "protocols" / "bithedge" / "events.py"
REFERENCE: Final = ROOT / "docs" / "contracts.md"
_HEAD: Final = "# Everything below is written by `make events` from contracts/events.json.\n"
_SECTION: Final = "\n### Events of "
_WIDTH: Final = 120

#: The type of a number by its unit.
_NUMBERS: Final = {
    "number": "Uint",
    "id": "Id",
    "count": "Count",
    "usd8": "Usd",
    "sat": "Sat",
    "amount": "Amount",
    "bp": "Bp",
    "burn height": "Height",
    "burn blocks": "Blocks",
    "stacks height": "StacksHeight",
    "e12": "Variance",
}


def _python_type(field: str) -> str:
    if field.startswith("(optional "):
        inner, unit = field.removeprefix("(optional ").rsplit(")", 1)
        return f"{_python_type(inner + unit)} | None"
    if field.startswith("uint "):
        return _NUMBERS[field.removeprefix("uint ")]
    if field == "bool":
        return "bool"
    if field == "principal" or re.fullmatch(r"\((string-ascii|buff) \d+\)", field):
        return "str"
    raise ValueError(f"contracts/events.json: no type is known for {field!r}")


def clarity_type(field: str) -> str:
    """The Clarity type of a field of the registry, without the unit."""
    return re.sub(r"uint(\)?) .*", r"uint\1", field)


def _snake(name: str) -> str:
    return name.replace("-", "_")


def _attribute(field: str) -> str:
    return f"{field}_" if keyword.iskeyword(field) else _snake(field)


def _renamed(field: str) -> str:
    return f' = msgspec.field(name="{field}")' if keyword.iskeyword(field) else ""


def _class(topic: str) -> str:
    return "".join(part.capitalize() for part in re.split(r"[. -]", topic))


def _docstring(says: str) -> str:
    said = re.sub(r"`([^`]+)`", lambda name: f"``{_snake(name[1])}``", says)
    if len(said) + len('    """"""') <= _WIDTH:
        return f'    """{said}"""\n'
    first, _, rest = said.partition(". ")
    lines = (
        [f'    """{first}.']
        if rest
        else textwrap.wrap(f'"""{said}', _WIDTH - 4, initial_indent="    ", subsequent_indent="    ")
    )
    if rest:
        lines += ["", *textwrap.wrap(rest, _WIDTH - 4, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join([*lines, '    """']) + "\n"


def _struct(name: str, base: str, event: dict[str, Any]) -> str:
    fields = [
        f"    {_attribute(field)}: {_python_type(kind)}{_renamed(field)}\n" for field, kind in event["fields"].items()
    ]
    body = _docstring(event["says"]) + ("\n" + "".join(fields) if fields else "")
    return f"class {name}({base}, frozen=True, kw_only=True):\n{body}"


def structs(registry: dict[str, Any]) -> str:
    """The structs, as Python."""
    made = [_struct(f"{_class(name)}Event", "Event", group) for name, group in registry["groups"].items()]
    for contract, section in registry["contracts"].items():
        made.append(f"# {contract}\n")
        for topic, event in section["events"].items():
            base = f"{_class(event['group'])}Event" if "group" in event else "Event"
            made.append(f'@_printed_by("{contract}", "{topic}")\n{_struct(_class(topic), base, event)}')
    return "\n\n".join(made)


def reference(registry: dict[str, Any]) -> str:
    """The tables of the documentation."""
    groups = registry["groups"]
    made = []
    for name, group in groups.items():
        made.append(f"*Fields of a {name}*: {_fields(group['fields'])}. {group['says']}\n")
    for contract, section in registry["contracts"].items():
        notes = section["notes"]
        made.append(f"### Events of {contract}\n| Topic | Fields | Means |\n|---|---|---|")
        for topic, event in section["events"].items():
            own = [_fields(event["fields"])] if event["fields"] else []
            fields = ", ".join(own + ([f"*fields of a {event['group']}*"] if "group" in event else []))
            made.append(f"| `{topic}` | {fields} | {event['says']} |")
        made += ["", *("\n".join(textwrap.wrap(note, _WIDTH, break_long_words=False)) + "\n" for note in notes)]
    return "\n".join(made)


def _fields(fields: dict[str, str]) -> str:
    return ", ".join(f"`{name}: {clarity_type(kind)}`" for name, kind in fields.items())


def outputs() -> dict[Path, str]:
    """What each file should hold."""
    registry = json.loads(REGISTRY.read_text(encoding="utf-8"))
    code = STRUCTS.read_text(encoding="utf-8")
    head = code[: code.index(_HEAD) + len(_HEAD)]
    text = REFERENCE.read_text(encoding="utf-8")
    start, end = (text.index(f"<!-- events {mark} -->") for mark in ("begin", "end"))
    begin = f"<!-- events begin -->\n\n{reference(registry)}\n"
    return {STRUCTS: _formatted(f"{head}\n\n{structs(registry)}"), REFERENCE: text[:start] + begin + text[end:]}


def _formatted(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STRUCTS), "-"],
        input=code,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> None:
    """Write the files, or with ``--check`` exit with 1 where one is not as it should be."""
    wrong = {path: text for path, text in outputs().items() if path.read_text(encoding="utf-8") != text}
    if "--check" in sys.argv[1:]:
        if wrong:
            sys.exit(f"not as contracts/events.json says: {', '.join(path.name for path in wrong)}; run make events")
        return
    for path, text in wrong.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
