"""Writes a protocol package: ordinary code, formatted, to be changed by whoever asked for it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from clarion.chains.model import EventKind
from clarion.chains.stacks.clarity import decode
from clarion.protocol import check_protocol_name
from clarion.scaffold.samples import Sample, few_of_each
from clarion.scaffold.shapes import ANY, NOTHING, ListOf, Optional, Plain, Shape, TupleOf, merge_all, shape_of
from clarion.store.rows import Row

SAMPLES_OF_A_TOPIC: Final = 5
"""How many events of each topic the package's test replays."""
MOST_NAME_CHARACTERS: Final = 40

_FT_KINDS: Final = frozenset({EventKind.FT_TRANSFER, EventKind.FT_MINT, EventKind.FT_BURN})
_NFT_KINDS: Final = frozenset({EventKind.NFT_TRANSFER, EventKind.NFT_MINT, EventKind.NFT_BURN})
#: Names that the written modules use themselves.
_TAKEN_CLASSES: Final = frozenset(
    {"Any", "Balance", "BigInteger", "Boolean", "Field", "Final", "JSONB", "Owner", "Row", "Text"}
    | {"False", "None", "True"}
)
_TAKEN_COLUMNS: Final = frozenset(dir(Row)) | {"tx_id", "event_index", "height", "metadata", "registry", "sa_type"}


class ScaffoldError(ValueError):
    """The package cannot be written. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a printed tuple: its name there, in Python, and its shape."""

    name: str
    attribute: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Struct:
    """A printed tuple's class."""

    name: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Topic:
    """What a contract prints under one topic. ``struct`` is None where the values are no tuples of one kind."""

    text: str
    word: str
    class_name: str
    struct: Struct | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is written."""

    name: str
    contract: str
    network: str
    topics: tuple[Topic, ...]
    structs: tuple[Struct, ...]
    has_ft: bool
    has_nft: bool
    samples: tuple[Sample, ...]

    @property
    def short(self) -> str:
        """The contract's short name."""
        return self.contract.partition(".")[2]

    @property
    def module(self) -> str:
        """The package's module."""
        return f"clarion_{self.name}"


@dataclass
class _Names:
    """Names that are given once; further ones get a number after ``separator``."""

    taken: set[str] = field(default_factory=set)
    separator: str = "_"

    def give(self, wanted: str) -> str:
        name, number = wanted, 2
        while name in self.taken:
            name, number = f"{wanted}{self.separator}{number}", number + 1
        self.taken.add(name)
        return name


def plan(name: str, contract: str, network: str, interface: Any, samples: Sequence[Sample]) -> Plan:
    """What to write for a contract with this interface (None: unknown) that has said this. Raises ScaffoldError."""
    try:
        check_protocol_name(name)
    except ValueError as error:
        raise ScaffoldError(str(error)) from None
    kinds = {sample.kind for sample in samples}
    tokens: Mapping[str, Any] = interface if isinstance(interface, dict) else {}
    words, classes = _Names({"balance", "owner"}), _Names(set(_TAKEN_CLASSES), separator="")
    structs: list[Struct] = []
    topics = []
    for text in sorted({sample.topic for sample in samples if sample.kind is EventKind.PRINT}):
        raws = [sample.raw for sample in samples if sample.topic == text and sample.kind is EventKind.PRINT]
        shape = merge_all(shape_of(decode(raw)) for raw in raws if raw)
        word = words.give(_word(text, "topic"))
        class_name = classes.give(_pascal(word))
        struct = _struct(class_name, shape, classes, structs) if isinstance(shape, TupleOf) else None
        topics.append(Topic(text, word, class_name, struct))
    return Plan(
        name=name,
        contract=contract,
        network=network,
        topics=tuple(topics),
        structs=tuple(structs),
        has_ft=bool(tokens.get("fungible_tokens")) or bool(kinds & _FT_KINDS),
        has_nft=bool(tokens.get("non_fungible_tokens")) or bool(kinds & _NFT_KINDS),
        samples=tuple(few_of_each(samples, SAMPLES_OF_A_TOPIC)),
    )


def _struct(name: str, shape: TupleOf, classes: _Names, structs: list[Struct]) -> Struct:
    """The class of a tuple; those of tuples within come before it in ``structs``."""
    attributes = _Names()
    fields = []
    for field_name, inner in shape.fields:
        if field_name == "topic" and inner == Plain("str"):
            continue
        attribute = attributes.give(_column(field_name))
        within = _tuple_within(inner)
        if within is not None:
            nested = _struct(classes.give(name + _pascal(_word(field_name, "field"))), within, classes, structs)
            inner = _with_struct(inner, nested)
        fields.append(Field(field_name, attribute, inner))
    made = Struct(name, tuple(fields))
    structs.append(made)
    return made


@dataclass(frozen=True, slots=True)
class _Named:
    """The place of a nested tuple's class within a shape."""

    name: str


def _tuple_within(shape: Shape) -> TupleOf | None:
    if isinstance(shape, TupleOf):
        return shape
    return _tuple_within(shape.inner) if isinstance(shape, Optional | ListOf) else None


def _with_struct(shape: Shape, struct: Struct) -> Any:
    if isinstance(shape, TupleOf):
        return _Named(struct.name)
    if isinstance(shape, Optional | ListOf):
        return type(shape)(_with_struct(shape.inner, struct))
    return shape


def _word(text: str, otherwise: str) -> str:
    """Lower-case letters, digits and underscores that stand for any text."""
    word = re.sub(r"[^a-z0-9]+", "_", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", text).lower())
    word = word.strip("_")[:MOST_NAME_CHARACTERS].strip("_")
    if not word:
        return otherwise
    return word if word[0].isalpha() else f"{otherwise}_{word}"


def _pascal(word: str) -> str:
    return "".join(part.capitalize() for part in word.split("_"))


def _column(name: str) -> str:
    word = _word(name, "field")
    return f"{word}_" if word in _TAKEN_COLUMNS or keyword.iskeyword(word) or word.startswith("model_") else word


def _annotation(shape: Any) -> str:
    match shape:
        case _Named():
            return shape.name
        case Optional():
            inner = _annotation(shape.inner)
            return "Any" if inner == "Any" else f"{inner} | None"
        case ListOf():
            return f"list[{_annotation(shape.inner)}]"
        case Plain("any" | "nothing"):
            return "Any"
        case Plain():
            return shape.name
    raise TypeError(f"no annotation for {shape!r}")


def _is_nested(shape: Any) -> bool:
    """Whether a column holds it as JSON."""
    inner = shape.inner if isinstance(shape, Optional) else shape
    return not isinstance(inner, Plain) or inner in (ANY, NOTHING)


def _quoted(text: str) -> str:
    """A Python literal as the formatter writes it: in the quotes that need fewer escapes."""
    literal = msgspec.json.encode(text).decode()
    if text.count('"') <= text.count("'"):
        return literal
    inside = literal[1:-1].replace('\\"', '"').replace("'", "\\'")
    return f"'{inside}'"


def render(made: Plan) -> dict[str, str]:
    """The package's files: path within it to content."""
    module = made.module
    return {
        "pyproject.toml": _pyproject(made),
        "README.md": _readme(made),
        f"{module}/__init__.py": _init(made),
        f"{module}/protocol.py": _protocol(made),
        f"{module}/events.py": _events(made),
        f"{module}/tables.py": _tables(made),
        f"{module}/handlers.py": _handlers(made),
        "tests/samples.json": _samples(made),
        f"tests/test_{made.name}.py": _test(made),
    }


def _pyproject(made: Plan) -> str:
    return f"""[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "clarion-{made.name.replace("_", "-")}"
version = "0.1.0"
description = "The protocol {made.name} for Clarion."
readme = "README.md"
requires-python = ">=3.11"
dependencies = ["clarion", "msgspec>=0.20", "sqlmodel>=0.0.30"]

[project.optional-dependencies]
dev = ["mypy>=1.18", "pytest>=9", "ruff>=0.14"]

[project.entry-points."clarion.protocols"]
{made.name} = "{made.module}:protocol"

[tool.hatch.build.targets.wheel]
packages = ["{made.module}"]

[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]

[tool.ruff]
line-length = 120
target-version = "py311"

[tool.ruff.lint]
select = ["E", "F", "W", "I", "N", "UP", "B"]
ignore = ["E501"]

[tool.mypy]
strict = true
python_version = "3.11"
packages = ["{made.module}"]
"""


def _readme(made: Plan) -> str:
    tables = [f"| `{made.name}.{topic.word}` | {_said(topic)} |" for topic in made.topics]
    if made.has_ft:
        tables.append(f"| `{made.name}.balance` | what a holder has of a fungible token |")
    if made.has_nft:
        tables.append(f"| `{made.name}.owner` | who owns a non-fungible token |")
    listed = "\n".join(tables)
    return f"""# {made.name} for Clarion

Follows `{made.contract}`. Written by `clarion new-protocol` from what the contract had said by then: a start, to be
changed.

| Table | A row is |
|---|---|
{listed}

```sh
pip install -e '.[dev]'
pytest
CLARION_NETWORK={made.network} CLARION_PROTOCOLS={made.name} clarion index
```

Raise `version` in `{made.module}/protocol.py` whenever a handler or a table changes: an index that runs then makes the
tables anew from its chain log, and serves the old ones until they are ready.
"""


def _said(topic: Topic) -> str:
    return f"a `{topic.text}` event" if re.fullmatch(r"[\w .:/-]+", topic.text) else f"an event ({topic.class_name})"


def _init(made: Plan) -> str:
    return f'''"""The protocol {made.name}."""

from {made.module} import handlers as handlers
from {made.module}.protocol import protocol

__all__ = ["protocol"]
'''


def _protocol(made: Plan) -> str:
    return f'''"""The protocol object: its name, its tables, and which contract it follows on which network."""

from __future__ import annotations

from typing import Final

from clarion.protocol import Protocol

from {made.module}.tables import TABLES

CONTRACT: Final = "{made.short}"

protocol: Final = Protocol(
    "{made.name}",
    tables=TABLES,
    version=1,
    contracts={{
        CONTRACT: {{"{made.network}": "{made.contract}"}},
    }},
)
'''


def _events(made: Plan) -> str:
    annotations = {_annotation(one.shape) for struct in made.structs for one in struct.fields}
    imports = "from typing import Any\n\n" if any("Any" in annotation for annotation in annotations) else ""
    parts = [
        f'"""What the contract prints, as far as it was seen. Byte strings are ``0x`` hexadecimal."""\n\n'
        f"from __future__ import annotations\n\n{imports}"
    ]
    if made.structs:
        parts.append("import msgspec\n")
    for struct in made.structs:
        is_kebab = all(one.attribute.replace("_", "-") == one.name for one in struct.fields)
        renamed = any("-" in one.name for one in struct.fields) and is_kebab
        body = [_struct_field(one, renamed=renamed) for one in struct.fields] or ["pass"]
        options = 'rename="kebab", frozen=True' if renamed else "frozen=True"
        parts.append(
            f"\n\nclass {struct.name}(msgspec.Struct, {options}, kw_only=True):\n"
            f'    """Fields of the printed tuple."""\n\n' + "\n".join(f"    {line}" for line in body) + "\n"
        )
    return "".join(parts).rstrip("\n") + "\n"


def _struct_field(one: Field, *, renamed: bool) -> str:
    annotation = _annotation(one.shape)
    optional = isinstance(one.shape, Optional)
    if renamed or one.attribute == one.name:
        return f"{one.attribute}: {annotation}" + (" = None" if optional else "")
    default = ", default=None" if optional else ""
    return f"{one.attribute}: {annotation} = msgspec.field(name={_quoted(one.name)}{default})"


def _column_type(shape: Any) -> str:
    if _is_nested(shape):
        return "JSONB"
    inner: Any = shape.inner if isinstance(shape, Optional) else shape
    return {"int": "UINT128", "bool": "Boolean", "str": "Text"}[inner.name]


def _column_line(one: Field) -> str:
    if _is_nested(one.shape):
        return f"{one.attribute}: Any = Field(default=None, sa_type=JSONB, nullable=True)"
    annotation = _annotation(one.shape)
    default = "default=None, " if isinstance(one.shape, Optional) else ""
    return f"{one.attribute}: {annotation} = Field({default}sa_type={_column_type(one.shape)})"


def _tables(made: Plan) -> str:
    fields = [one for topic in made.topics if topic.struct is not None for one in topic.struct.fields]
    types = {_column_type(one.shape) for one in fields}
    untyped = any(topic.struct is None for topic in made.topics)
    if untyped:
        types.add("JSONB")
    sqlalchemy = ["Text"]
    if made.topics:
        sqlalchemy.append("BigInteger")
    if "Boolean" in types:
        sqlalchemy.append("Boolean")
    typing = "Any, Final" if "JSONB" in types else "Final"
    store = "UINT128, Row" if "UINT128" in types or made.has_ft else "Row"
    imports = [f"from typing import {typing}", "", f"from clarion.store.rows import {store}"]
    imports.append(f"from sqlalchemy import {', '.join(sorted(sqlalchemy))}")
    if "JSONB" in types:
        imports.append("from sqlalchemy.dialects.postgresql import JSONB")
    imports.append("from sqlmodel import Field")
    parts = [
        '"""Tables. ``updated_height``, the height of the block that last changed a row, comes with every one."""\n\n'
        "from __future__ import annotations\n\n" + "\n".join(imports) + f'\n\nSCHEMA: Final = "{made.name}"\n'
    ]
    names = []
    for topic in made.topics:
        columns = ["value: Any = Field(default=None, sa_type=JSONB, nullable=True)"]
        if topic.struct is not None:
            columns = [_column_line(one) for one in topic.struct.fields]
        parts.append(
            _table(
                topic.class_name,
                topic.word,
                "One event.",
                [
                    "tx_id: str = Field(primary_key=True, sa_type=Text)",
                    "event_index: int = Field(primary_key=True, sa_type=BigInteger)",
                    "height: int = Field(sa_type=BigInteger)",
                    *columns,
                ],
            )
        )
        names.append(topic.class_name)
    if made.has_ft:
        columns = [
            "asset: str = Field(primary_key=True, sa_type=Text)",
            "holder: str = Field(primary_key=True, sa_type=Text)",
            "amount: int = Field(default=0, sa_type=UINT128)",
        ]
        parts.append(_table("Balance", "balance", "What a holder has of a fungible token, in base units.", columns))
        names.append("Balance")
    if made.has_nft:
        columns = [
            "asset: str = Field(primary_key=True, sa_type=Text)",
            "token: str = Field(primary_key=True, sa_type=Text)",
            "owner: str = Field(sa_type=Text)",
        ]
        parts.append(_table("Owner", "owner", "Who owns a token; ``token`` is its identifier as JSON.", columns))
        names.append("Owner")
    listed = "\n".join(f"    {name}," for name in names)
    parts.append(f"\n\nTABLES: Final[list[type[Row]]] = [\n{listed}\n]\n")
    return "".join(parts)


def _table(class_name: str, name: str, description: str, columns: Iterable[str]) -> str:
    lines = "\n".join(f"    {column}" for column in columns)
    return (
        f'\n\nclass {class_name}(Row, table=True):\n    """{description}"""\n\n    __tablename__ = "{name}"\n'
        f'    __table_args__ = {{"schema": SCHEMA}}\n{lines}\n'
    )


def _handlers(made: Plan) -> str:
    structs = [topic for topic in made.topics if topic.struct is not None]
    nested = any(_needs_plain(one.shape) for topic in structs for one in (topic.struct or Struct("", ())).fields)
    untyped = len(structs) < len(made.topics)
    assets = (["FtBurn", "FtMint", "FtTransfer"] if made.has_ft else []) + (
        ["NftBurn", "NftMint", "NftTransfer"] if made.has_nft else []
    )
    lines = ['"""What each event does to the rows."""', "", "from __future__ import annotations", ""]
    if untyped:
        lines += ["from typing import Any", ""]
    if nested or made.has_nft:
        lines.append("import msgspec")
    if assets:
        lines.append(f"from clarion.asset_events import {', '.join(assets)}")
        lines.append("from clarion.chains.model import EventKind")
    lines += ["from clarion.protocol import EventContext", "from clarion.store.rows import Rows", ""]
    own = [*(["events"] if structs else []), "tables"]
    lines.append(f"from {made.module} import {', '.join(own)}")
    lines.append(f"from {made.module}.protocol import CONTRACT, protocol")
    parts = ["\n".join(lines) + "\n"]
    parts.extend(map(_handler, made.topics))
    if made.has_ft:
        parts.append(_BALANCES)
    if made.has_nft:
        parts.append(_OWNERS)
    return "".join(parts)


def _needs_plain(shape: Any) -> bool:
    """Whether a structure has to become plain JSON for its column."""
    if isinstance(shape, _Named):
        return True
    return _needs_plain(shape.inner) if isinstance(shape, Optional | ListOf) else False


def _handler(topic: Topic) -> str:
    payload, values = "Any", ["value=event"]
    if topic.struct is not None:
        payload = f"events.{topic.struct.name}"
        values = [
            f"{one.attribute}=msgspec.to_builtins(event.{one.attribute})"
            if _needs_plain(one.shape)
            else f"{one.attribute}=event.{one.attribute}"
            for one in topic.struct.fields
        ]
    arguments = "\n".join(
        f"        {argument},"
        for argument in ("tx_id=at.tx_text", "event_index=at.event_index", "height=at.height", *values)
    )
    return f"""

@protocol.on(CONTRACT, {_quoted(topic.text)})
def on_{topic.word}(event: {payload}, at: EventContext, rows: Rows) -> None:
    rows.insert(
        tables.{topic.class_name},
{arguments}
    )
"""


_BALANCES: Final = """

@protocol.on(CONTRACT, kind=EventKind.FT_MINT)
def on_ft_mint(event: FtMint, at: EventContext, rows: Rows) -> None:
    _add(rows, event.asset, event.recipient, event.amount)


@protocol.on(CONTRACT, kind=EventKind.FT_BURN)
def on_ft_burn(event: FtBurn, at: EventContext, rows: Rows) -> None:
    _add(rows, event.asset, event.sender, -event.amount)


@protocol.on(CONTRACT, kind=EventKind.FT_TRANSFER)
def on_ft_transfer(event: FtTransfer, at: EventContext, rows: Rows) -> None:
    _add(rows, event.asset, event.sender, -event.amount)
    _add(rows, event.asset, event.recipient, event.amount)


def _add(rows: Rows, asset: str, holder: str, amount: int) -> None:
    balance = rows.get(tables.Balance, asset, holder) or rows.insert(tables.Balance, asset=asset, holder=holder)
    balance.amount += amount
    if balance.amount == 0:
        rows.delete(tables.Balance, asset, holder)
"""

_OWNERS: Final = """

@protocol.on(CONTRACT, kind=EventKind.NFT_MINT)
def on_nft_mint(event: NftMint, at: EventContext, rows: Rows) -> None:
    _give(rows, event.asset, event.value, event.recipient)


@protocol.on(CONTRACT, kind=EventKind.NFT_TRANSFER)
def on_nft_transfer(event: NftTransfer, at: EventContext, rows: Rows) -> None:
    _give(rows, event.asset, event.value, event.recipient)


@protocol.on(CONTRACT, kind=EventKind.NFT_BURN)
def on_nft_burn(event: NftBurn, at: EventContext, rows: Rows) -> None:
    rows.delete(tables.Owner, event.asset, _token(event.value))


def _give(rows: Rows, asset: str, value: object, owner: str) -> None:
    held = rows.get(tables.Owner, asset, _token(value))
    if held is None:
        rows.insert(tables.Owner, asset=asset, token=_token(value), owner=owner)
    else:
        held.owner = owner


def _token(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
"""


def _samples(made: Plan) -> str:
    listed = [{"kind": one.kind.value, "topic": one.topic, "value": one.value} for one in made.samples]
    return msgspec.json.format(msgspec.json.encode(listed), indent=2).decode() + "\n"


def _test(made: Plan) -> str:
    checks = ""
    if made.topics:
        listed = "\n".join(f"    {_quoted(topic.text)}: tables.{topic.class_name}," for topic in made.topics)
        checks += f"""
TABLES: dict[str, type[Row]] = {{
{listed}
}}


@pytest.mark.parametrize("topic", sorted(TABLES))
def test_every_printed_event_becomes_a_row(topic: str) -> None:
    said = [sample for sample in SAMPLES if sample["kind"] == "print" and sample["topic"] == topic]
    assert len(fold().rows(TABLES[topic])) == len(said)

"""
    if made.has_ft:
        checks += """
def test_balances_add_up_to_what_was_minted_and_not_burned() -> None:
    signs = {"ft_mint": 1, "ft_burn": -1}
    expected = sum(signs.get(sample["kind"], 0) * sample["value"].get("amount", 0) for sample in ASSETS)
    balances = [row["amount"] for row in fold().rows(tables.Balance)]
    assert sum(amount for amount in balances if isinstance(amount, int)) == expected

"""
    if made.has_nft:
        checks += """
def test_a_token_has_the_owner_it_last_got() -> None:
    owners: dict[str, Any] = {}
    for sample in ASSETS:
        if sample["kind"].startswith("nft_"):
            owners[json.dumps(sample["value"]["value"])] = sample["value"].get("recipient")
    held = sorted(str(row["owner"]) for row in fold().rows(tables.Owner))
    assert held == sorted(owner for owner in owners.values() if owner is not None)

"""
    uses_tables = bool(checks)
    imports = ["import json", "from pathlib import Path", "from typing import Any", ""]
    if made.topics:
        imports.append("import pytest")
    imports.append("from clarion.chains.model import EventKind")
    if made.topics:
        imports.append("from clarion.store.rows import Row")
    imports.append("from clarion.testing import Folded, event")
    imports.append("")
    imports.append(f"from {made.module} import {'protocol, tables' if uses_tables else 'protocol'}")
    assets = ""
    if made.has_ft or made.has_nft:
        assets = 'ASSETS = [sample for sample in SAMPLES if sample["kind"] != "print"]\n'
    joined = "\n".join(imports)
    return (
        f'''"""Events that the contract gave, through the package's handlers."""

from __future__ import annotations

{joined}

SAMPLES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "samples.json").read_text(encoding="utf-8"))
{assets}DEPLOYED = protocol.deployed_on("{made.network}")
(CONTRACT,) = DEPLOYED.contracts


def fold() -> Folded:
    folded = Folded(DEPLOYED)
    for sample in SAMPLES:
        kind = EventKind(sample["kind"])
        folded.block([event(CONTRACT, sample["value"], kind=kind, topic=sample["topic"])])
    return folded


def test_every_sample_is_understood() -> None:
    assert fold().anomalies == []

{checks}'''.rstrip("\n")
        + "\n"
    )
