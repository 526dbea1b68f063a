"""Live queries: answered now, and again whenever a commit gives them another answer."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest
from support import toy
from support.graphql import Server, serving, toy_app
from support.index_service import until
from support.live import ingest

from clarion.store.store import Store
from clarion_graphql.accounts.caller import ANYONE, Caller
from clarion_graphql.execution import Answer, Executor, GraphQLRequest

COUNT = "subscription { live { toyAccounts { totalCount } } }"


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(toy_app(database_url)) as running:
        yield running


class TestLive:
    """`subscription { live { … } }`."""

    async def test_answers_now_and_when_the_answer_is_another(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        async with server.subscribe(COUNT) as messages:
            assert (await messages.next()) == {"toyAccounts": {"totalCount": 1}}
            second = toy.block(first, [toy.move("a", 2)])  # as many accounts as before
            third = toy.block(second, [toy.move("b", 2)])
            ingest(store, [second])
            ingest(store, [third])
            message = await messages.raw()

        assert message["payload"]["data"] == {"live": {"toyAccounts": {"totalCount": 2}}}
        assert message["payload"]["extensions"]["receipt"]["height"] == 3

    async def test_a_reorganisation_goes_back(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first, toy.block(first, [toy.move("b", 1)], branch="lost")])
        async with server.subscribe(COUNT) as messages:
            assert (await messages.next())["toyAccounts"]["totalCount"] == 2
            second = toy.block(first)
            ingest(store, [second, toy.block(second)])
            assert (await messages.next())["toyAccounts"]["totalCount"] == 1

    async def test_with_variables_fragments_and_another_name(self, store: Store, server: Server) -> None:
        document = """
            query Other { blocks { ...Page } }
            subscription Rich($least: BigInt!, $also: Boolean!) { now: live { ...Accounts } }
            fragment Accounts on Query {
              toyAccounts(filter: { balance: { gte: $least } }) { nodes { ...Owner note @include(if: $also) } }
            }
            fragment Owner on ToyAccount { owner }
            fragment Page on BlockConnection { totalCount }
        """
        ingest(store, [toy.block(None, [toy.move("a", 1), toy.move("b", 5)])])
        variables = {"least": "5", "also": False}
        async with server.subscribe(document, variables, operation="Rich") as messages:
            message = await messages.raw()

        assert message["payload"]["data"] == {"now": {"toyAccounts": {"nodes": [{"owner": "b"}]}}}

    @pytest.mark.parametrize(
        ("arguments", "code"),
        [("first: 501", "LIMIT_EXCEEDED"), ("first: -1", "BAD_USER_INPUT"), ('after: "x"', "BAD_CURSOR")],
    )
    async def test_what_is_refused_as_it_was_asked_ends(self, server: Server, arguments: str, code: str) -> None:
        document = f"subscription {{ live {{ toyAccounts({arguments}) {{ totalCount }} }} }}"
        hub = server.app.websocket.hub
        for _ in range(2):
            async with server.subscribe(document) as messages:
                error = await messages.error()
                assert error["extensions"]["code"] == code
                assert error["extensions"]["requestId"]
                assert error["path"] == ["live", "toyAccounts"]
                assert hub.groups == 0

    async def test_an_error_beside_an_answer_is_part_of_it(self, store: Store, server: Server) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        wrong = "toyAccounts { totalCount } block { hash }"
        async with server.subscribe(f"subscription {{ live {{ {wrong} }} }}") as messages:
            for count in (1, 2):
                payload = (await messages.raw())["payload"]
                assert payload["data"]["live"]["toyAccounts"] == {"totalCount": count}
                (error,) = payload["errors"]
                assert error["path"] == ["live", "block"]
                assert "requestId" not in error["extensions"]
                if count == 1:
                    ingest(store, [toy.block(first, [toy.move("b", 1)])])

    async def test_many_ask_the_same_and_it_is_answered_once(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        answered: list[GraphQLRequest] = []
        execute = Executor.execute

        async def counted(self: Executor, request: GraphQLRequest, caller: Caller = ANYONE) -> Answer:
            answered.append(request)
            return await execute(self, request, caller)

        monkeypatch.setattr(Executor, "execute", counted)
        async with contextlib.AsyncExitStack() as stack:
            everybody = [await stack.enter_async_context(server.subscribe(COUNT)) for _ in range(40)]
            for messages in everybody:
                assert (await messages.next())["toyAccounts"]["totalCount"] == 1
            assert len(answered) <= 2
            answered.clear()
            ingest(store, [toy.block(first, [toy.move("b", 1)])])
            for messages in everybody:
                assert (await messages.next())["toyAccounts"]["totalCount"] == 2

        assert len(answered) <= 2  # a commit may wake the group twice: by its notification and by a poll

    async def test_more_of_them_than_are_read_at_once_are_all_told_and_so_is_who_follows_the_log(
        self, store: Store, server: Server
    ) -> None:
        block = toy.block(None, [toy.move("a0", 1)])
        ingest(store, [block])
        documents = [f"subscription {{ live {{ n{number}: toyAccounts {{ totalCount }} }} }}" for number in range(12)]
        async with contextlib.AsyncExitStack() as stack:
            live = [await stack.enter_async_context(server.subscribe(document)) for document in documents]
            log = await stack.enter_async_context(server.subscribe("subscription { blocks { op } }"))
            for count in (1, 2, 3):
                for number, messages in enumerate(live):
                    assert (await messages.next())[f"n{number}"] == {"totalCount": count}
                assert (await log.next())["op"] == ("START" if count == 1 else "APPLY")
                block = toy.block(block, [toy.move(f"a{count}", 1)])
                ingest(store, [block])
            answer = await server.query("query @minBlock(height: 4) { toyAccounts { totalCount } }")

        assert answer["data"] == {"toyAccounts": {"totalCount": 4}}


class TestNotAgain:
    """A commit that changes none of the tables that a query reads."""

    @pytest.mark.parametrize(
        ("selection", "answers"),
        [
            ("toyAccounts { totalCount }", 1),
            ("toyAccounts { nodes { owner } }", 1),
            ("toyAccounts { nodes { owner finality } }", 2),  # how final a row is depends on more than the row
            ("toyAccounts { totalCount } blocks(first: 1) { totalCount }", 2),
        ],
    )
    async def test_is_not_answered_again_where_nothing_else_could_be_another(
        self, store: Store, server: Server, monkeypatch: pytest.MonkeyPatch, selection: str, answers: int
    ) -> None:
        answered: list[GraphQLRequest] = []
        execute = Executor.execute

        async def counted(self: Executor, request: GraphQLRequest, caller: Caller = ANYONE) -> Answer:
            answered.append(request)
            return await execute(self, request, caller)

        first = toy.block(None, [toy.move("a", 1)])
        ingest(store, [first])
        async with server.subscribe(f"subscription {{ live {{ {selection} }} }}") as messages:
            await messages.next()
            monkeypatch.setattr(Executor, "execute", counted)
            empty = toy.block(first)
            ingest(store, [empty])
            await until_sequence(server, store.tip.sequence)
            ingest(store, [toy.block(empty, [toy.move("b", 1)])])
            await until_sequence(server, store.tip.sequence)
        assert len(answered) >= answers
        assert answers > 1 or len(answered) == 1


async def until_sequence(server: Server, sequence: int) -> None:
    """Wait until the live query was looked at as of a sequence."""

    async def reached() -> bool:
        (group,) = server.app.websocket.hub._groups.values()
        return bool(group._source.read.__self__._last.sequence >= sequence)

    await until(reached)
