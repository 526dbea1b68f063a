"""docs/bithedge.md tells of every table. Run this file to write its section again."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Numeric, Text

from clarion.protocols.bithedge import deployment, protocol
from clarion.store.rows import RowType

DOCUMENT = Path(__file__).parents[4] / "docs" / "bithedge.md"
MARK = "<!-- written by tests/unit/protocols/bithedge/test_docs.py -->\n"
NAMES = {BigInteger: "bigint", Boolean: "boolean", Numeric: "numeric", Text: "text"}


def column_type(kind: object) -> str:
    return next((name for base, name in NAMES.items() if isinstance(kind, base)), "jsonb")


def table_section(row_type: RowType) -> str:
    model = row_type.model
    summary = " ".join((model.__doc__ or "").split()).replace("``", "`")
    lines = [f"### {row_type.name.partition('.')[2]}", "", summary, "", "| Column | Type | Meaning |", "|---|---|---|"]
    for column in model.__table__.columns:  # type: ignore[attr-defined]
        if column.name == "updated_height":
            continue
        kind = column_type(column.type) + (" key" if column.primary_key else "") + (", null" * column.nullable)
        lines.append(f"| `{column.name}` | {kind} | {model.model_fields[column.name].description} |")
    return "\n".join(lines) + "\n"


def tables_section() -> str:
    intro = "\nEvery table also has `updated_height`, the Stacks block that last changed the row.\n\n"
    return intro + "\n".join(map(table_section, protocol.row_types))


def test_every_table_is_documented_as_it_is() -> None:
    _, _, section = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    assert section == tables_section(), f"run {__file__} to write the section again"


def test_every_column_says_what_it_means() -> None:
    for row_type in protocol.row_types:
        for name in row_type.columns:
            field = row_type.model.model_fields[name]
            assert name == "updated_height" or (field.description and field.description[0].isalpha()), row_type.name


def test_the_example_of_a_deployment_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, list[object]] = {}
    exec(example, names)
    assert len(names["steps"]) == len(deployment.CONTRACTS) + 5


if __name__ == "__main__":
    before, mark, _ = DOCUMENT.read_text(encoding="utf-8").partition(MARK)
    DOCUMENT.write_text(before + mark + tables_section(), encoding="utf-8")
