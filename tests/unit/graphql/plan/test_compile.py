"""What a selection becomes: which fields have a statement, and how little that statement reads."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import strawberry
from graphql import OperationDefinitionNode, parse, validate
from support import toy

from clarion_graphql.documents import Operation
from clarion_graphql.errors import ApiError, InputError
from clarion_graphql.plan.compile import Compiled, NotCompiledError, RootField, compile_operation
from clarion_graphql.plan.shapes import VariableReader
from clarion_graphql.schema import build_schema
from clarion_graphql.sql import Slot, Sql


@cache
def schema() -> strawberry.Schema:
    return build_schema([toy.toy])


def compiled(text: str, **given: Any) -> Compiled:
    document = parse(text)
    assert validate(schema()._schema, document) == []
    node = document.definitions[0]
    assert isinstance(node, OperationDefinitionNode)
    reader = VariableReader(schema()._schema, node)
    read = reader.read(given)
    assert read is not None
    variables = reader.with_slots(given, read.values, lambda place: None)
    return compile_operation(schema(), Operation(document, node), variables)


def only(found: Compiled) -> RootField:
    (root,) = found.fields
    return root


def statement(text: str, **given: Any) -> str:
    root = only(compiled(text, **given))
    assert isinstance(root.text, Sql)
    return root.text.text.as_string()


class TestRootFields:
    """Which of them have a statement."""

    def test_keep_their_order_and_say_what_reads_them(self) -> None:
        found = compiled(
            '{ kind: __typename toyAccount(owner: "a") { owner } status { chains { chain } } __schema { __typename } }'
        )

        assert [root.name for root in found.fields] == ["kind", "toyAccount", "status", "__schema"]
        constant, row, resolver, introspection = (root.text for root in found.fields)
        assert constant == '"Query"'
        assert isinstance(row, Sql)
        assert resolver is introspection is None

    def test_tell_their_tables(self) -> None:
        found = compiled("{ blocks(first: 1) { nodes { events(first: 1) { totalCount } } } }")

        assert found.tables == {"clarion.block", "clarion.event"}

    def test_are_nullable_as_the_schema_says(self) -> None:
        assert only(compiled('{ toyAccount(owner: "a") { owner } }')).nullable
        assert not only(compiled("{ toyAccounts { totalCount } }")).nullable

    def test_what_is_skipped_is_not_there(self) -> None:
        text = 'query($with: Boolean!) { __typename toyAccount(owner: "a") @include(if: $with) { owner } }'

        assert [root.name for root in compiled(text, **{"with": False}).fields] == ["__typename"]


class TestValues:
    """A client's values are parameters: never text of a statement."""

    def test_of_variables_are_slots(self) -> None:
        root = only(compiled("query($owner: String!) { toyAccount(owner: $owner) { owner } }", owner="it's"))

        assert isinstance(root.text, Sql)
        (slot,) = root.text.parameters
        assert isinstance(slot, Slot)
        assert slot.read(["another"]) == "another"
        assert "it's" not in root.text.text.as_string()

    def test_of_the_document_are_parameters_too(self) -> None:
        root = only(compiled('{ toyAccount(owner: "it\'s") { owner } }'))

        assert isinstance(root.text, Sql)
        assert root.text.parameters == ("it's",)

    def test_aliases_are_constants(self) -> None:
        assert """'{"mine":', JSON_SCALAR("t"."owner")""" in statement('{ toyAccount(owner: "a") { mine: owner } }')


class TestRows:
    """A statement writes each field once, and reads no more rows than are shown."""

    def test_a_field_that_fragments_repeat_is_written_once(self) -> None:
        text = statement(
            '{ toyAccount(owner: "a") { ...A ...A owner } } fragment A on ToyAccount { owner balance }',
        )

        assert text.count('"t"."balance"') == 1
        assert text.count('"owner":') == 1

    def test_without_has_next_page_no_row_more_is_read(self) -> None:
        assert "LIMIT 10)" in statement("{ toyAccounts(first: 10) { nodes { owner } } }")
        assert "LIMIT 11)" in statement("{ toyAccounts(first: 10) { nodes { owner } pageInfo { hasNextPage } } }")

    def test_a_count_alone_reads_no_rows(self) -> None:
        text = statement("{ toyAccounts(first: 10) { totalCount } }")

        assert "count(*)" in text
        assert "ORDER BY" not in text

    def test_a_count_stops_where_it_may(self) -> None:
        assert "LIMIT 7) c" in statement("{ toyAccounts(first: 10) { totalCount(atMost: 7) } }")

    def test_a_page_from_the_end_is_read_backwards_and_turned_round(self) -> None:
        text = statement("{ toyAccounts(last: 3) { nodes { owner } } }")

        assert 'ORDER BY "t"."owner" DESC LIMIT 3)' in text
        assert 'ORDER BY "t"."#" DESC)' in text

    def test_nothing_is_known_of_the_page_before_without_a_cursor(self) -> None:
        text = statement("{ toyAccounts(first: 2) { pageInfo { hasPreviousPage } } }")

        assert '"hasPreviousPage":false' in text
        assert "FROM (SELECT) p" in text


class TestAggregates:
    """Figures of groups."""

    def test_a_figure_that_is_asked_for_twice_is_computed_once(self) -> None:
        text = statement("{ toyAccountsAggregate { sum { a: balance b: balance } again: sum { balance } } }")

        assert text.count('sum("t"."balance")') == 1

    def test_a_time_s_bucket_is_told_by_whole_numbers(self) -> None:
        text = statement("{ burnBlocksAggregate(groupBy: {field: TIME, bucket: HOUR}) { key { time } count } }")

        assert "/ 3600) ORDER BY 1" in text
        assert "to_char" not in text

    def test_too_many_groups_are_found_out(self) -> None:
        text = "{ toyAccountsAggregate(groupBy: {field: OWNER}, first: %s) { count } }"

        assert "count(*) > 1000" in statement(text % "null")
        assert "count(*) > 1000" not in statement(text % "3")

    def test_what_is_not_grouped_by_is_null(self) -> None:
        assert '{"key":{"note":null}' in statement("{ toyAccountsAggregate { key { note } count } }")


class TestLeftToResolvers:
    """What has no statement, and what is wrong: they say it."""

    def test_more_rows_than_an_operation_may_read(self) -> None:
        with pytest.raises(NotCompiledError, match="more than 50000 rows"):
            compiled("{ blocks(first: 500) { nodes { events(first: 500) { nodes { topic } } } } }")

    def test_groups_without_figures(self) -> None:
        with pytest.raises(NotCompiledError, match="without figures"):
            compiled("{ toyAccountsAggregate { __typename } }")

    def test_arguments_that_contradict_each_other(self) -> None:
        with pytest.raises(InputError, match="first or last"):
            compiled("{ toyAccounts(first: 1, last: 1) { totalCount } }")

    def test_a_cursor_of_another_list(self) -> None:
        with pytest.raises(ApiError, match="no cursor of this list"):
            compiled('{ toyAccounts(after: "x") { nodes { owner } } }')
