"""Questions for the schema alone: answered in a thread, once, and the same as ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import graphql
import msgspec
import pytest
from graphql import get_introspection_query
from support import toy
from support.graphql import Server, answering, toy_app

from clarion.config import GraphQL, Quota
from clarion.store.store import Store
from clarion_graphql import execution, introspection
from clarion_graphql.execution import Answer, Executor, GraphQLRequest
from clarion_graphql.schema import build_schema

USUAL = get_introspection_query(input_value_deprecation=True)
TYPES = """
query Types($deep: Boolean = false) {
  ...Root
  kind: __typename
}
fragment Root on Query { __schema { types { name fields { name description type @include(if: $deep) { name } } } } }
"""
OTHERS = "{ toyAccounts { totalCount } }"


class Held:
    """Executes operations as ever; those that ask for the schema wait until they are let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.count = 0
        self._execute = execution.execute_graphql

    def __call__(self, schema: Any, document: Any, **options: Any) -> Any:
        if "__schema" in document.loc.source.body:
            self.count += 1
            self.begun.set()
            assert self.go.wait(30), "nothing else was answered meanwhile"
        return self._execute(schema, document, **options)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(execution, "execute_graphql", held)
    yield held
    held.go.set()


def executor_of(server: Server) -> tuple[Executor, Any]:
    schema = build_schema([toy.toy])
    return Executor(schema, server.app.state.service), schema._schema


def expected(schema: Any, text: str, variables: dict[str, Any], answer: Answer) -> bytes:
    result = graphql.execute_sync(schema, graphql.parse(text), variable_values=variables)
    assert result.errors is None
    extensions = msgspec.json.decode(answer.body)["extensions"]
    assert extensions.keys() == {"cost"}
    return msgspec.json.encode({"data": result.data, "extensions": extensions})


@pytest.mark.parametrize(
    ("text", "variables"),
    [(USUAL, {}), (TYPES, {}), (TYPES, {"deep": True}), ('{ __type(name: "ToyAccount") { name } __typename }', {})],
)
async def test_the_answer_is_what_the_schema_says(
    database_url: str, store: Store, text: str, variables: dict[str, Any]
) -> None:
    async with answering(toy_app(database_url)) as server:
        executor, schema = executor_of(server)
        first = await executor.execute(GraphQLRequest(text, variables))
        again = await executor.execute(GraphQLRequest(text, {**variables, "undeclared": 1}))

    assert first.body == again.body == expected(schema, text, variables, first)
    assert not first.receipts


async def test_others_are_answered_meanwhile(database_url: str, store: Store, held: Held) -> None:
    async with answering(toy_app(database_url)) as server:
        asked = [asyncio.create_task(server.data(USUAL)) for _ in range(3)]
        await asyncio.to_thread(held.begun.wait, 30)
        assert await server.data(OTHERS) == {"toyAccounts": {"totalCount": 0}}
        assert not any(task.done() for task in asked)
        held.go.set()
        answers = await asyncio.gather(*asked)
        answers.append(await server.data(USUAL))

    assert held.count == 1
    assert all(answer == answers[0] for answer in answers)


async def test_one_that_goes_away_leaves_the_answer_to_the_others(database_url: str, store: Store, held: Held) -> None:
    async with answering(toy_app(database_url)) as server:
        executor, _ = executor_of(server)
        gone, stays = (asyncio.create_task(executor.execute(GraphQLRequest(USUAL))) for _ in range(2))
        await asyncio.to_thread(held.begun.wait, 30)
        gone.cancel()
        held.go.set()
        answer = await stays

    assert gone.cancelled()
    assert not answer.has_errors
    assert held.count == 1


async def test_what_is_kept_depends_on_variables_and_has_a_bound(
    database_url: str, store: Store, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.go.set()
    async with answering(toy_app(database_url)) as server:
        executor, _ = executor_of(server)
        shallow = await executor.execute(GraphQLRequest(TYPES, {"deep": False}))
        deep = await executor.execute(GraphQLRequest(TYPES, {"deep": True}))
        assert shallow.body != deep.body
        assert held.count == 2

        kept = introspection.Introspections(max_bytes=2 * len(TYPES) + len(deep.body) + len(shallow.body))
        monkeypatch.setattr(executor, "_introspections", kept)
        for deep_one in (False, True, True, False, True):
            await executor.execute(GraphQLRequest(TYPES, {"deep": deep_one}))
    # the variables take some bytes too, so that only one of the two fits
    assert held.count == 2 + 4


async def test_variables_that_do_not_fit_are_refused_each_time(database_url: str, store: Store) -> None:
    async with answering(toy_app(database_url)) as server:
        for _ in range(2):
            error = await server.error(TYPES, {"deep": "very"})
            assert "$deep" in error["message"]


async def test_kept_with_its_encoded_form(database_url: str, store: Store, held: Held) -> None:
    held.go.set()
    async with answering(toy_app(database_url, graphql=GraphQL())) as server:
        await server.app.state.service.feed.connected.wait()
        responses = [
            await server.client.post("/graphql", json={"query": USUAL}, headers={"accept-encoding": "gzip"})
            for _ in range(2)
        ]
    assert responses[0].json() == responses[1].json()
    assert [response.headers["content-encoding"] for response in responses] == ["gzip", "gzip"]
    assert held.count == 1


async def test_it_costs_what_it_did_though_it_is_kept(database_url: str, store: Store) -> None:
    async with answering(toy_app(database_url)) as server:
        cost = (await server.query(USUAL))["extensions"]["cost"]["requested"]
    async with answering(toy_app(database_url, quota=Quota(anonymous=f"{2 * cost}/hour"))) as server:
        statuses = [(await server.client.post("/graphql", json={"query": USUAL})).status_code for _ in range(2)]
    assert statuses == [200, 429]


async def test_switched_off_it_is_refused(database_url: str, store: Store) -> None:
    async with answering(toy_app(database_url, graphql=GraphQL(introspection=False))) as server:
        for text in (USUAL, TYPES):
            assert (await server.error(text))["extensions"]["code"] == "FORBIDDEN"


async def test_beside_a_block_that_is_not_there_it_is_refused_as_before(database_url: str, store: Store) -> None:
    text = "query @minBlock(height: 9, timeoutMs: 0) { __schema { types { name fields { name } } } }"
    async with answering(toy_app(database_url, graphql=GraphQL())) as server:
        for _ in range(2):
            assert (await server.error(text))["extensions"]["code"] == "NOT_YET"
