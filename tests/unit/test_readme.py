"""The README's queries fit the schema, and its links and files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import parse, validate
from support.committed_schema import committed_schema

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = re.findall(r"```graphql\n(.*?)```", README, re.DOTALL)


def test_there_are_queries_and_a_subscription() -> None:
    assert sum(document.startswith("query") for document in DOCUMENTS) >= 3
    assert sum(document.startswith("subscription") for document in DOCUMENTS) == 1


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: " ".join(document.split()[:2]))
def test_a_document_fits_the_schema(document: str) -> None:
    assert validate(committed_schema(), parse(document)) == []


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)]+)\)", README))
def test_a_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
