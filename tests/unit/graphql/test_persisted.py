"""Which document a request means, and how many are remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.config import ConfigurationError
from clarion_graphql.errors import ApiError
from clarion_graphql.persisted import PersistedQueries, hash_of, read_allowed


def named(text: str) -> dict[str, Any]:
    return {"persistedQuery": {"version": 1, "sha256Hash": hash_of(text)}}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_document_is_found_by_its_hash(text: str) -> None:
    persisted = PersistedQueries()

    assert persisted.resolve(text, named(text)) == text
    assert persisted.resolve(None, named(text)) == text
    assert persisted.resolve(None, None, f"sha256:{hash_of(text)}") == text


def test_the_oldest_are_forgotten() -> None:
    persisted = PersistedQueries(characters=1_000)
    texts = [f"{{ field{number:03} }}" for number in range(200)]
    for text in texts:
        persisted.resolve(text, named(text))

    assert sum(map(len, persisted._remembered.values())) <= 1_000
    assert persisted.resolve(None, named(texts[-1])) == texts[-1]
    with pytest.raises(ApiError, match="PersistedQueryNotFound"):
        persisted.resolve(None, named(texts[0]))


def test_one_document_does_not_push_out_all() -> None:
    persisted = PersistedQueries(characters=1_000)
    large = "{ a }" + " " * 500
    persisted.resolve("{ a }", named("{ a }"))

    assert persisted.resolve(large, named(large)) == large
    assert persisted.resolve(None, named("{ a }")) == "{ a }"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("relay.json", json.dumps({"1": "{ __typename }"})),
        (
            "apollo.json",
            json.dumps(
                {
                    "format": "apollo-persisted-query-manifest",
                    "version": 1,
                    "operations": [{"id": "1", "name": "A", "type": "query", "body": "{ __typename }"}],
                }
            ),
        ),
    ],
)
def test_lists_in_files(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)

    assert read_allowed(tmp_path / name) == {"1": "{ __typename }"}


def test_a_folder_of_documents(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.graphql").write_text("{ __typename }")

    assert read_allowed(tmp_path) == {hash_of("{ __typename }"): "{ __typename }"}


@pytest.mark.parametrize(
    "content", ["", "[]", "5", "{}", '{"1": 5}', '{"1": "{"}', '{"operations": [{}]}', '{"operations": []}', "\xff"]
)
def test_lists_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(ConfigurationError, match=r"graphql\.documents"):
        read_allowed(path)
