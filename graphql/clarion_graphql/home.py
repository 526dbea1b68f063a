"""The page at ``/``: the example documents, each to be run right there, without anything from other hosts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

import msgspec


@dataclass(frozen=True, slots=True)
class Example:
    """A document that works as it is. ``title`` is its first comment."""

    name: str
    title: str
    document: str


def examples(protocols: Iterable[str]) -> list[Example]:
    """The examples of the core and of these protocols, in the order of their file names."""
    found = []
    root = resources.files("clarion_graphql") / "examples"
    for folder in ("core", *protocols):
        if not (root / folder).is_dir():
            continue
        for file in sorted((root / folder).iterdir(), key=lambda entry: entry.name):
            text = file.read_text(encoding="utf-8")
            title = text.partition("\n")[0].removeprefix("#").strip()
            found.append(Example(f"{folder}/{file.name.removesuffix('.graphql')}", title, text))
    return found


def home_page(path: str, protocols: Iterable[str]) -> str:
    """The page's HTML; ``path`` is where GraphQL is."""
    shown = [
        {
            "name": example.name,
            "title": example.title,
            "document": example.document,
            "link": f"{path}?q={quote(example.document)}",
        }
        for example in examples(protocols)
    ]
    page = (resources.files("clarion_graphql") / "home.html").read_text(encoding="utf-8")
    # "<" could end the script element that this stands in
    data = msgspec.json.encode({"path": path, "examples": shown}).decode().replace("<", "\\u003c")
    return page.replace("__DATA__", data)
