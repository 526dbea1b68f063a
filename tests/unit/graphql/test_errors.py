"""What of an error is a client's, and how it is said."""

from __future__ import annotations

from typing import Any

import pytest
from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLInt,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLString,
    execute_sync,
    parse,
)

from clarion_graphql.errors import show_errors


def resolve(_: Any, __: Any, **given: Any) -> str:
    raise GraphQLError("the password is 'secret'")


SCHEMA = GraphQLSchema(
    GraphQLObjectType(
        "Query",
        {
            "told": GraphQLField(
                GraphQLString,
                {
                    "times": GraphQLArgument(GraphQLNonNull(GraphQLInt), default_value=1),
                    "loud": GraphQLArgument(GraphQLBoolean),
                },
                resolve,
            )
        },
    )
)


def error_of(text: str, variables: dict[str, Any] | None = None) -> GraphQLError:
    result = execute_sync(SCHEMA, parse(text), variable_values=variables)
    assert result.errors is not None
    show_errors(result.errors)
    (error,) = result.errors
    return error


def test_what_a_resolver_raises_is_a_defect_also_with_arguments() -> None:
    error = error_of("query($n: Int = 1) { told(times: $n) }", {"n": 2})

    assert error.extensions is not None
    assert error.extensions["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in error.message


@pytest.mark.parametrize(
    ("text", "variables", "words"),
    [
        ("query($n: Int = 1) { told(times: $n) }", {"n": None}, "provided to non-null type 'Int!' not to be null."),
        ("query($n: Int!) { told(times: $n) }", {"n": None}, "Expected value of non-null type 'Int!' not to be null."),
        ("query($n: Int) { told(times: $n) }", {"n": True}, "Int cannot represent non-integer value: true"),
        ("query($n: Boolean) { told(loud: $n) }", {"n": "None"}, "cannot represent a non boolean value: 'None'"),
    ],
)
def test_what_does_not_fit_is_the_client_s_and_in_graphql_s_words(
    text: str, variables: dict[str, Any], words: str
) -> None:
    error = error_of(text, variables)

    assert error.extensions is not None
    assert error.extensions["code"] == "GRAPHQL_VALIDATION_FAILED"
    assert words in error.message
