"""Documents are read once, kept within bounds, and refused for what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from graphql import DocumentNode, GraphQLError, OperationType, build_schema

from clarion_graphql import documents as module
from clarion_graphql.documents import MOST_ERRORS, Documents, RequestError

SCHEMA = build_schema("type Query { height: Int blocks(first: Int): [Int] } type Mutation { sign: Int }")


def refused(documents: Documents, text: str) -> list[str]:
    with pytest.raises(RequestError) as caught:
        documents.read(text)
    return [error.message for error in caught.value.errors]


def test_a_document_is_read_once() -> None:
    checked: list[DocumentNode] = []

    def check(node: DocumentNode) -> Sequence[GraphQLError]:
        checked.append(node)
        return [GraphQLError("not this one")] if len(node.definitions) > 1 else []

    documents = Documents(SCHEMA, check=check)

    assert documents.read("{ height }") is documents.read("{ height }")
    assert documents.read("{ height  }") is not documents.read("{ height }")
    assert len(checked) == 2
    for _ in range(2):
        assert refused(documents, "query A { height } query B { height }") == ["not this one"]
    assert len(checked) == 3


def test_operations_by_name() -> None:
    document = Documents(SCHEMA).read("query A { height } mutation B { sign }")

    assert document.operation("A").type is OperationType.QUERY
    assert document.operation("B").type is OperationType.MUTATION
    assert document.operation("B") is document.operation("B")
    for name, complaint in ((None, "Must provide operation name"), ("C", "Unknown operation named 'C'")):
        with pytest.raises(RequestError, match=complaint):
            document.operation(name)
    (only,) = Documents(SCHEMA).read("{ height }").operations
    assert only.name is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{ height", "Syntax Error"),
        ("{ heigth }", "Cannot query field 'heigth'"),
        ("{ blocks(first: null) height } fragment F on Query { height }", "never used"),
        ("{ " * 20_000, "Syntax Error|nested too deeply"),
        ("{ height " * 2_000 + "}" * 2_000, "nested too deeply"),
        ("{" + " height" * 200 + "}", "tokens"),
    ],
)
def test_what_is_no_document_of_the_schema_is_refused(text: str, complaint: str) -> None:
    max_tokens = 100 if complaint == "tokens" else None
    with pytest.raises(RequestError, match=complaint):
        Documents(SCHEMA, max_tokens=max_tokens).read(text)


def test_validation_stops_and_suggests_only_when_it_may() -> None:
    text = "{ " + " ".join(f"heigh{number}" for number in range(200)) + " }"

    assert len(refused(Documents(SCHEMA), text)) == MOST_ERRORS + 1
    assert "Did you mean" in refused(Documents(SCHEMA), "{ heigh }")[0]
    assert "Did you mean" not in refused(Documents(SCHEMA, suggest=False), "{ heigh }")[0]


def test_the_longest_unused_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_DOCUMENTS", 3)
    documents = Documents(SCHEMA)
    first, second = documents.read("{ height }"), documents.read("{ b: height }")
    documents.read("{ c: height }")
    assert documents.read("{ height }") is first

    documents.read("{ d: height }")

    assert documents.read("{ height }") is first
    assert documents.read("{ b: height }") is not second


def test_memory_is_bounded_and_one_document_does_not_push_out_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHED_CHARACTERS", 1_000)
    documents = Documents(SCHEMA)
    first = documents.read("{ height }")

    documents.read("{ height }" + " " * 2_000)
    for text in ("{ heigth }" + " " * 2_000, "{" + " " * 600):
        refused(documents, text)
    assert documents.read("{ height }") is first

    for number in range(100):
        documents.read(f"{{ a{number}: height }}")
    assert sum(map(len, documents._known)) <= 1_000
    assert documents._characters == sum(map(len, documents._known))
    assert documents.read("{ height }") is not first
