"""The keeper's tables in the API: who may see them, what they show, and what subscribers are told."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from support.graphql import Server, answering, serving, toy_app, toy_store
from support.keeper_rows import add_account, add_attempt, add_intent, add_outgoing, add_step, lead

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.messages import sign_message
from clarion.chains.stacks.networks import Network
from clarion.config import Accounts, GraphQL, Scope
from clarion.store.roles import READER, make_roles
from clarion_graphql.schema import build_schema, sdl

WALLET = PrivateKey(hashlib.sha256(b"operator").digest() + b"\x01")
ADDRESS = str(WALLET.address(Network.TESTNET))
HOST = "localhost"
OPEN_TO_ALL = Accounts(anonymous=list(Scope))

FIELDS = [
    "keeperIntents { totalCount }",
    "keeperIntent(id: 1) { key }",
    "keeperIntentsAggregate { count }",
    "keeperTransactions { totalCount }",
    "keeperTransactionsAggregate { count }",
    "keeperAccounts { nodes { name } }",
    'keeperAccount(name: "daily") { balance }',
    "keeperAlerts { alert }",
]
CHANGED = "subscription { keeperIntentChanged { intent { id state waiting transaction { state } } } }"


@pytest.fixture
async def server(database_url: str, connection: psycopg.Connection[Any]) -> AsyncIterator[Server]:
    """One that shows everybody everything, and keeps answers."""
    async with opened(database_url, accounts=OPEN_TO_ALL, graphql=GraphQL()) as server:
        yield server


@contextlib.asynccontextmanager
async def opened(url: str, *, sockets: bool = True, **options: Any) -> AsyncIterator[Server]:
    with toy_store(url):
        app = toy_app(url, **options)
    async with (serving if sockets else answering)(app) as server:
        yield server


class TestWhoMaySee:
    @pytest.mark.parametrize("field", FIELDS)
    async def test_strangers_may_not(self, database_url: str, field: str) -> None:
        async with opened(database_url, sockets=False) as server:
            for document in (f"{{ {field} }}", f"query {{ ...A }} fragment A on Query {{ {field} }}"):
                assert (await server.error(document))["extensions"]["code"] == "UNAUTHENTICATED"
            assert "data" not in await server.query(f"{{ status {{ version }} {field} }}")

    async def test_nor_by_a_rows_id(self, database_url: str, connection: psycopg.Connection[Any]) -> None:
        add_intent(connection)
        async with opened(database_url, sockets=False, accounts=OPEN_TO_ALL) as server:
            (row,) = (await server.data("{ keeperIntents { nodes { nodeId } } }"))["keeperIntents"]["nodes"]
            found = await server.data("query ($id: ID!) { node(id: $id) { nodeId __typename } }", {"id": row["nodeId"]})
            assert found["node"] == {"nodeId": row["nodeId"], "__typename": "KeeperIntent"}
        async with opened(database_url, sockets=False) as server:
            for document in (
                "query ($id: ID!) { node(id: $id) { nodeId } }",
                "query ($id: ID!) { nodes(ids: [$id]) { nodeId } }",
            ):
                error = await server.error(document, {"id": row["nodeId"]})
                assert error["extensions"]["code"] == "UNAUTHENTICATED"

    async def test_nor_by_a_subscription_that_somebody_else_has(self, database_url: str) -> None:
        live = "subscription { live { keeperIntents { totalCount } } }"
        async with opened(database_url) as server:
            for document in (CHANGED, CHANGED, live):
                async with server.subscribe(document) as messages:
                    message = await messages.raw()
                    errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
                    assert [error["extensions"]["code"] for error in errors] == ["UNAUTHENTICATED"]

    async def test_operators_may_and_the_keys_they_make_for_it(self, database_url: str) -> None:
        async with opened(database_url, sockets=False, accounts=Accounts(operators=[ADDRESS])) as server:
            session = await sign_in(server)
            assert (await ask(server, "{ me { scopes } }", session))["data"]["me"]["scopes"][-1] == "KEEPER"
            assert (await ask(server, "{ keeperIntents { totalCount } }", session))["data"] is not None
            with_scope, without = await key(server, session, "READ", "KEEPER"), await key(server, session, "READ")
            assert "errors" not in await ask(server, "{ keeperAlerts { alert } }", with_scope)
            (error,) = (await ask(server, "{ keeperAlerts { alert } }", without))["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"
            assert "the scope KEEPER" in error["message"]

    async def test_others_who_signed_in_may_not_and_can_make_no_such_key(self, database_url: str) -> None:
        async with opened(database_url, sockets=False) as server:
            session = await sign_in(server)
            assert (await ask(server, "{ me { scopes } }", session))["data"]["me"]["scopes"] == [
                "READ",
                "SUBSCRIBE",
                "PREPARE",
            ]
            (error,) = (await ask(server, "{ keeperAlerts { alert } }", session))["errors"]
            assert (error["extensions"]["code"], "accounts.operators" in error["message"]) == ("FORBIDDEN", True)
            (error,) = (await ask(server, MAKE_KEY, session, scopes=["KEEPER"]))["errors"]
            assert error["message"] == f"{ADDRESS} cannot give KEEPER: accounts.operators does not name it."

    async def test_who_is_no_operator_any_more_may_not_nor_may_the_keys(self, database_url: str) -> None:
        async with opened(database_url, sockets=False, accounts=Accounts(operators=[ADDRESS])) as server:
            secret = await key(server, await sign_in(server), "READ", "KEEPER")
        async with opened(database_url, sockets=False) as server:
            (error,) = (await ask(server, "{ keeperAlerts { alert } }", secret))["errors"]
            assert error["extensions"]["code"] == "FORBIDDEN"

    async def test_a_role_that_reads_chain_data_sees_it_where_it_was_let(
        self, database_url: str, connection: psycopg.Connection[Any]
    ) -> None:
        add_attempt(connection, add_outgoing(connection))
        graphql = GraphQL(reader_role=READER)
        document = "{ keeperTransactions { nodes { attempts { nodes { fee } } } } keeperAlerts { alert } }"
        with toy_store(database_url):
            make_roles(database_url)
        async with opened(database_url, sockets=False, accounts=OPEN_TO_ALL, graphql=graphql) as server:
            assert (await server.query(document))["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        make_roles(database_url, keeper=True)
        async with opened(database_url, sockets=False, accounts=OPEN_TO_ALL, graphql=graphql) as server:
            data = await server.data(document)
            assert data["keeperTransactions"]["nodes"] == [{"attempts": {"nodes": [{"fee": "1000"}]}}]
        with connection.transaction(force_rollback=True):
            connection.execute(f"SET LOCAL ROLE {READER}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("SELECT raw FROM keeper.attempt")
        make_roles(database_url)
        async with opened(database_url, sockets=False, accounts=OPEN_TO_ALL, graphql=graphql) as server:
            assert (await server.query(document))["errors"][0]["extensions"]["code"] == "FORBIDDEN"

    def test_signed_bytes_are_no_field(self) -> None:
        text = sdl(build_schema([]))
        assert "type KeeperAttempt implements Node" in text
        attempt = text.partition("type KeeperAttempt implements Node {")[2].partition("\n}")[0]
        assert "raw" not in attempt


class TestIntents:
    async def test_one_with_its_record_and_its_transaction(
        self, server: Server, connection: psycopg.Connection[Any]
    ) -> None:
        outgoing = add_outgoing(connection)
        first, second = add_attempt(connection, outgoing, 1, state="replaced"), add_attempt(connection, outgoing, 2)
        intent = add_intent(connection, state="sent", outgoing_id=outgoing, reward_token="STX", reward_amount=2**70)
        for what in ("decided", "signed", "sent"):
            add_step(connection, intent, what, fee=1_000)
        document = """
        query ($id: Int!) {
          keeperIntent(id: $id) {
            key job lane chain item entity state cause valueUsd8 rewardToken rewardAmount decidedHeight benign
            steps { nodes { what detail } }
            transaction { nonce state attempts { nodes { number txId fee state } } intents { nodes { id } } }
          }
        }
        """
        assert (await server.data(document, {"id": intent}))["keeperIntent"] == {
            "key": "settle:7",
            "job": "settle",
            "lane": "SETTLE",
            "chain": "STACKS",
            "item": {"policy": "7"},
            "entity": "policy:7",
            "state": "SENT",
            "cause": "policy 7 expired at 100",
            "valueUsd8": "5000000000",
            "rewardToken": "STX",
            "rewardAmount": str(2**70),
            "decidedHeight": 10,
            "benign": False,
            "steps": {"nodes": [{"what": what, "detail": {"fee": "1000"}} for what in ("decided", "signed", "sent")]},
            "transaction": {
                "nonce": "4",
                "state": "BROADCAST",
                "attempts": {
                    "nodes": [
                        {"number": 1, "txId": f"0x{first.hex()}", "fee": "1000", "state": "REPLACED"},
                        {"number": 2, "txId": f"0x{second.hex()}", "fee": "2000", "state": "BROADCAST"},
                    ]
                },
                "intents": {"nodes": [{"id": intent}]},
            },
        }

    async def test_what_others_have_to_sign_is_shown(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        intent, other = add_intent(connection, key="a"), add_intent(connection, key="b")
        add_step(connection, intent, "handed-out", psbt="old")
        handed_out = {"psbt": "cHNidP8B", "signers": {"ab:0": "bcrt1q"}, "fee": 700}
        add_step(connection, intent, "handed-out", **handed_out)
        add_step(connection, intent, "waited", reason="others have to sign")
        document = "{ keeperIntents(orderBy: [{field: ID, direction: ASC}]) { nodes { id handedOut } } }"
        first, second = (await server.data(document))["keeperIntents"]["nodes"]
        assert first["handedOut"] == {**handed_out, "fee": "700"}
        assert second == {"id": other, "handedOut": None}

    async def test_lists_have_filters_orders_and_pages(
        self, server: Server, connection: psycopg.Connection[Any]
    ) -> None:
        ids = [add_intent(connection, key=f"settle:{n}", value_usd8=n) for n in range(5)]
        add_intent(connection, key="liquidate:1", job="liquidate", lane="rescue", state="done")
        document = """
        query ($after: String) {
          keeperIntents(
            filter: { lane: { eq: SETTLE }, state: { in: [PLANNED, SENT] }, valueUsd8: { gte: "1" } }
            orderBy: [{ field: VALUE_USD8, direction: DESC }]
            first: 3
            after: $after
          ) { nodes { id } totalCount pageInfo { hasNextPage endCursor } }
        }
        """
        page = (await server.data(document))["keeperIntents"]
        assert [node["id"] for node in page["nodes"]] == [ids[4], ids[3], ids[2]]
        assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (4, True)
        page = (await server.data(document, {"after": page["pageInfo"]["endCursor"]}))["keeperIntents"]
        assert [node["id"] for node in page["nodes"]] == [ids[1]]
        counts = await server.data("{ keeperIntentsAggregate(groupBy: [{field: LANE}]) { key { lane } count } }")
        assert {group["key"]["lane"]: group["count"] for group in counts["keeperIntentsAggregate"]} == {
            "RESCUE": 1,
            "SETTLE": 5,
        }

    async def test_no_answer_is_kept(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        document = "{ keeperIntents { totalCount } keeperAccounts { nodes { balance runwayHours } } }"
        assert (await server.data(document))["keeperIntents"]["totalCount"] == 0
        add_intent(connection)
        add_account(connection, "daily", balance=1_000, spent_last_hour=300)
        data = await server.data(document)
        assert data["keeperIntents"]["totalCount"] == 1
        assert data["keeperAccounts"]["nodes"] == [{"balance": "1000", "runwayHours": "3"}]

    async def test_alerts_are_those_of_the_tables(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        document = "query ($hours: Int! = 24) { keeperAlerts(runwayHours: $hours) { alert subject message } }"
        assert [one["alert"] for one in (await server.data(document))["keeperAlerts"]] == ["no_leader"]
        lead(connection)
        assert (await server.data(document))["keeperAlerts"] == []
        add_account(connection, "daily", balance=1_000, spent_last_hour=100)
        connection.execute("INSERT INTO keeper.control (job, paused, reason) VALUES ('settle', true, 'u1')")
        add_intent(connection, key="a", lane="rescue", first_burn=100, decided_burn=104)
        refused = add_intent(connection, key="b", waiting="the signer refuses: over max_fee")
        notice = add_intent(connection, key="c", job="reconcile", chain="none", cause="differs")
        failed = add_intent(connection, key="d", state="failed", outcome="u9")
        connection.execute("UPDATE keeper.intent SET ended_at = now() WHERE id = %s", (failed,))
        connection.execute("UPDATE keeper.lease SET expires_at = now() - interval '1 second'")
        found = [tuple(one.values()) for one in (await server.data(document))["keeperAlerts"]]
        assert found == [
            ("no_leader", "*", "here:1:ab held the lease last"),
            ("job_stopped", "settle", "u1"),
            ("rescue_waits", "rescue", "the oldest of 1 has been due for 4 Bitcoin blocks"),
            ("funds_run_out", "daily", "1000 micro-STX are left, which lasts for 10 hours"),
            ("signer_refuses", str(refused), "settle policy:7: the signer refuses: over max_fee"),
            ("intent_failed", str(failed), "settle policy:7: u9"),
            ("attention", str(notice), "reconcile policy:7: differs"),
        ]
        names = [one["alert"] for one in (await server.data(document, {"hours": 10}))["keeperAlerts"]]
        assert "funds_run_out" not in names

    async def test_an_hour_that_is_used_up_is_one_alert_of_its_account(
        self, server: Server, connection: psycopg.Connection[Any]
    ) -> None:
        document = "{ keeperAlerts { alert subject message } keeperAccounts { nodes { spentLastHour hourlyBudget } } }"
        lead(connection)
        add_account(connection, "daily", spent_last_hour=90, hourly_budget=1_000)  # the signer counts more than we do
        add_account(connection, "other", lanes=["oracle"], spent_last_hour=90, hourly_budget=100)
        reason = "the hourly limit of the signer is used up: some come free at 2026-01-02T03:04:05Z"
        for number in range(3):
            add_intent(connection, key=f"settle:{number}", waiting=reason)
        add_intent(connection, key="rescue", lane="rescue", waiting=reason)
        add_intent(connection, key="spell", chain="bitcoin", waiting=reason)
        data = await server.data(document)
        assert [tuple(one.values()) for one in data["keeperAlerts"]] == [
            ("budget_runs_out", "daily", f"3 intents wait: {reason}"),
            ("budget_runs_out", "other", "90 of the 100 micro-STX are spent that it may spend in an hour"),
        ]
        assert data["keeperAccounts"]["nodes"][0] == {"spentLastHour": "90", "hourlyBudget": "1000"}


class TestSubscription:
    async def test_an_intent_is_told_of_when_it_changes(
        self, server: Server, connection: psycopg.Connection[Any]
    ) -> None:
        intent = add_intent(connection)
        async with server.subscribe(CHANGED) as messages:
            told = {"id": intent, "state": "PLANNED", "waiting": None, "transaction": None}
            assert (await messages.next())["intent"] == told
            connection.execute("UPDATE keeper.intent SET waiting = 'paused' WHERE id = %s", (intent,))
            assert (await messages.next())["intent"] == {**told, "waiting": "paused"}
            # that it was found due at another block is nothing new
            connection.execute("UPDATE keeper.intent SET decided_height = 11 WHERE id = %s", (intent,))
            outgoing = add_outgoing(connection, state="signed")
            sent = "UPDATE keeper.intent SET state = 'sent', waiting = NULL, outgoing_id = %s WHERE id = %s"
            connection.execute(sent, (outgoing, intent))
            assert (await messages.next())["intent"] == {**told, "state": "SENT", "transaction": {"state": "SIGNED"}}
            connection.execute("UPDATE keeper.outgoing SET state = 'mined' WHERE id = %s", (outgoing,))
            assert (await messages.next())["intent"]["transaction"] == {"state": "MINED"}
            connection.execute("UPDATE keeper.intent SET state = 'done', ended_at = now() WHERE id = %s", (intent,))
            assert (await messages.next())["intent"]["state"] == "DONE"

    async def test_only_what_was_asked_for(self, server: Server, connection: psycopg.Connection[Any]) -> None:
        add_intent(connection)
        old = add_intent(connection, key="old", state="done", job="x")
        connection.execute("UPDATE keeper.intent SET ended_at = now() - interval '1 hour' WHERE id = %s", (old,))
        document = "subscription { keeperIntentChanged(lane: RESCUE) { intent { key lane } } }"
        async with server.subscribe(document) as messages:
            add_intent(connection, key="settle:8")
            add_intent(connection, key="liquidate:1", job="liquidate", lane="rescue")
            assert (await messages.next())["intent"] == {"key": "liquidate:1", "lane": "RESCUE"}
        document = f"subscription {{ keeperIntentChanged(id: {old}) {{ intent {{ key state }} }} }}"
        async with server.subscribe(document) as messages:
            assert (await messages.next())["intent"] == {"key": "old", "state": "DONE"}

    async def test_a_live_query_hears_of_the_keeper_too(
        self, server: Server, connection: psycopg.Connection[Any]
    ) -> None:
        lead(connection)
        document = """subscription { live {
          keeperIntents { nodes { state } }
          ... on Query { keeperTransactions { totalCount } }
        } }"""
        async with server.subscribe(document) as messages:
            nothing = {"keeperIntents": {"nodes": []}, "keeperTransactions": {"totalCount": 0}}
            assert await messages.next() == nothing
            intent = add_intent(connection)
            assert await messages.next() == {**nothing, "keeperIntents": {"nodes": [{"state": "PLANNED"}]}}
            add_outgoing(connection)
            told = {"keeperIntents": {"nodes": [{"state": "PLANNED"}]}, "keeperTransactions": {"totalCount": 1}}
            assert await messages.next() == told
            connection.execute("UPDATE keeper.intent SET state = 'done', ended_at = now() WHERE id = %s", (intent,))
            assert (await messages.next())["keeperIntents"] == {"nodes": [{"state": "DONE"}]}


MAKE_KEY = """
mutation ($scopes: [Scope!]!) { createApiKey(name: "k", scopes: $scopes) { secret } }
"""


async def ask(server: Server, document: str, token: str, **variables: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    body = {"query": document, "variables": variables}
    return (await server.client.post("/graphql", json=body, headers=headers)).json()


async def key(server: Server, session: str, *scopes: str) -> str:
    made = await ask(server, MAKE_KEY, session, scopes=list(scopes))
    return str(made["data"]["createApiKey"]["secret"])


async def sign_in(server: Server) -> str:
    message = (
        await server.data(
            "mutation ($a: String!, $h: String!) { createSignInMessage(address: $a, host: $h) { message } }",
            {"a": ADDRESS, "h": HOST},
        )
    )["createSignInMessage"]["message"]
    signed = await server.data(
        "mutation ($m: String!, $s: Bytes!) { signIn(message: $m, signature: $s) { token } }",
        {"m": message, "s": f"0x{sign_message(message, WALLET).hex()}"},
    )
    return str(signed["signIn"]["token"])
