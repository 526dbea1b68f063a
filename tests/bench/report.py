"""What the benchmarks found, as tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping


class Report:
    """Lines are said as they come; tables are printed when all is done."""

    def __init__(self) -> None:
        self._tables: dict[str, list[Mapping[str, str]]] = {}

    def say(self, text: str) -> None:
        """Print at once."""
        print(text, flush=True)

    def add(self, table: str, row: Mapping[str, str]) -> None:
        """A row of a table; what it lacks stays empty."""
        self._tables.setdefault(table, []).append(row)
        self.say("\n" + ", ".join(f"{name} {value}" for name, value in row.items() if value))

    def markdown(self) -> str:
        """All tables."""
        parts = []
        for title, rows in self._tables.items():
            names = list(dict.fromkeys(name for row in rows for name in row))
            lines = [names, ["---"] * len(names), *([row.get(name, "") for name in names] for row in rows)]
            parts.append(f"#### {title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
        return "\n\n".join(parts)
