"""GraphQL over HTTP: media types, statuses, batches, persisted documents, kept answers, compression, CORS."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import zstandard
from prometheus_client import REGISTRY
from support import toy
from support.graphql import Server, answering, serving, toy_app

from clarion.chains.model import Block, BurnBlock
from clarion.config import ConfigurationError, GraphQL, Quota
from clarion.follower import Follower
from clarion.store.store import Store
from clarion_graphql.metrics import CACHE

RESPONSE_JSON = "application/graphql-response+json"
JSON = {"content-type": "application/json"}
ACCOUNTS = "{ toyAccounts { nodes { owner balance } totalCount } }"


def ingest(store: Store, items: Sequence[Block | BurnBlock]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, items)


def some_rows(store: Store, count: int = 2) -> Block:
    block = toy.block(None, [toy.move(f"owner {index:05}", index) for index in range(count)])
    ingest(store, [block])
    return block


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class TestMediaTypes:
    async def test_the_best_of_what_is_accepted(self, server: Server) -> None:
        for accept, expected in [
            (None, "application/json"),
            ("*/*", "application/json"),
            ("application/*", "application/json"),
            ("application/json", "application/json"),
            (RESPONSE_JSON, RESPONSE_JSON),
            (f"{RESPONSE_JSON}, application/json", RESPONSE_JSON),
            (f"application/json;q=0.5, {RESPONSE_JSON};q=0.9", RESPONSE_JSON),
            (f"{RESPONSE_JSON};q=0, */*", "application/json"),
            ("application/graphql+json, text/event-stream, application/json", "application/json"),
        ]:
            headers = {} if accept is None else {"accept": accept}
            request = server.client.build_request("POST", "/graphql", json={"query": "{ __typename }"}, headers=headers)
            if accept is None:
                del request.headers["accept"]

            response = await server.client.send(request)

            assert response.status_code == 200
            assert response.headers["content-type"] == f"{expected}; charset=utf-8"
            assert response.json()["data"] == {"__typename": "Query"}

    async def test_nothing_that_is_accepted(self, server: Server) -> None:
        response = await server.client.post(
            "/graphql", json={"query": "{ __typename }"}, headers={"accept": "image/png"}
        )

        assert response.status_code == 406

    async def test_bodies_that_are_no_json(self, server: Server) -> None:
        for content_type in ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"]:
            response = await server.client.post(
                "/graphql", content='{"query": "{ __typename }"}', headers={"content-type": content_type}
            )

            assert response.status_code == 415
            assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"

    async def test_bodies_that_are(self, server: Server) -> None:
        for content_type in ["application/json", "Application/JSON; charset=UTF-8"]:
            response = await server.client.post(
                "/graphql", content='{"query": "{ __typename }"}', headers={"content-type": content_type}
            )

            assert response.status_code == 200


class TestStatuses:
    async def test_by_what_was_wrong(self, store: Store, server: Server) -> None:
        for request_json, legacy, modern in [
            ({"query": "{ __typename }"}, 200, 200),
            ({"query": "{ __typename"}, 200, 400),
            ({"query": "{ nothing }"}, 200, 400),
            ({"query": "query($n: Int!) { toyAccounts(first: $n) { totalCount } }"}, 200, 400),
            ({"query": "query A { __typename } query B { __typename }"}, 200, 400),
            ({"query": "{ __typename }", "operationName": "C"}, 200, 400),
            ({"query": "{ toyAccounts(first: 501) { totalCount } }"}, 200, 200),
            ({"query": "subscription { blocks { sequence } }"}, 200, 400),
        ]:
            for accept, status in (("application/json", legacy), (RESPONSE_JSON, modern)):
                response = await server.client.post("/graphql", json=request_json, headers={"accept": accept})
                answer = response.json()

                assert response.status_code == status
                assert ("data" in answer) == (modern == 200)

    async def test_a_subscription_is_told_where_it_is_served(self, server: Server) -> None:
        error = await server.error("subscription { blocks { sequence } }")

        assert error["extensions"]["code"] == "BAD_REQUEST"
        for where in ("WebSocket", "/graphql/stream", "`Accept: text/event-stream`"):
            assert where in error["message"]

    async def test_what_is_no_request(self, server: Server) -> None:
        for content in [
            b"",
            b"null",
            b'"query"',
            b"{}",
            b'{"query": 5}',
            b'{"query": null}',
            b'{"query": ""}',
            b'{"query": "{ __typename }", "variables": []}',
            b'{"query": "{ __typename }", "variables": "{}"}',
            b'{"query": "{ __typename }", "operationName": 5}',
            b'{"query": "{ __typename }", "extensions": 5}',
            b'{"query": "{ __typename }"',
            b'{"query": "{ __typename }"} {}',
            b"\xff\xfe",
            b'{"query": "\xff"}',
            b'{"query": "\\ud800"}',
            b"[" * 100_000,
            b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 50_000,
            b"[]",
            b"[" + b",".join([b'{"query": "{ __typename }"}'] * 11) + b"]",
        ]:
            response = await server.client.post(
                "/graphql", content=content, headers={"content-type": "application/json", "accept": "application/json"}
            )

            assert response.status_code == 400
            assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"

    async def test_half_of_a_surrogate_pair_is_not_called_an_end_of_the_body(self, server: Server) -> None:
        response = await server.client.post(
            "/graphql",
            content=b'{"query": "query($a: String) { __typename }", "variables": {"a": "\\ud800"}}',
            headers={"content-type": "application/json"},
        )

        assert response.status_code == 400
        assert "half of a surrogate pair" in response.json()["errors"][0]["message"]

    async def test_other_methods(self, server: Server) -> None:
        for method in ["PUT", "DELETE", "PATCH", "TRACE"]:
            response = await server.client.request(method, "/graphql")

            assert response.status_code == 405
            assert "POST" in response.headers["allow"]
            assert response.json()["errors"][0]["extensions"]["requestId"] == response.headers["x-request-id"]
        assert (await server.client.options("/graphql")).headers["x-request-id"]

    async def test_a_large_body_is_not_read(self, database_url: str, store: Store) -> None:
        app = toy_app(database_url, graphql=GraphQL(max_body_bytes=1000))

        async def parts() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b" " * 100

        async with answering(app) as server:
            for content in (b" " * 1001, parts()):
                response = await server.client.post(
                    "/graphql", content=content, headers={"content-type": "application/json"}
                )
                assert response.status_code == 413
                assert "1000 bytes" in response.json()["errors"][0]["message"]
            fits = await server.client.post("/graphql", json={"query": "{ __typename }"})
            assert fits.status_code == 200

    async def test_a_defect_tells_nothing(self, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
        def fail(*_: object) -> None:
            raise ValueError("a secret")

        monkeypatch.setattr(server.app.graphql._persisted, "resolve", fail)
        response = await server.client.post("/graphql", json={"query": "{ __typename }"})

        assert response.status_code == 500
        (error,) = response.json()["errors"]
        assert error["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert "secret" not in response.text


class TestGet:
    async def test_queries_are_answered(self, store: Store, server: Server) -> None:
        some_rows(store)
        response = await server.client.get(
            "/graphql",
            params={
                "query": "query A($n: Int) { toyAccounts(first: $n) { nodes { owner } } } query B { __typename }",
                "variables": '{"n": 1}',
                "operationName": "A",
                "extensions": "{}",
            },
        )

        assert response.status_code == 200
        assert response.json()["data"] == {"toyAccounts": {"nodes": [{"owner": "owner 00000"}]}}

    async def test_mutations_are_not(self, server: Server) -> None:
        for accept in ["application/json", RESPONSE_JSON]:
            mutation = "mutation { revokeSession { id } }"
            response = await server.client.get("/graphql", params={"query": mutation}, headers={"accept": accept})

            assert response.status_code == 405
            assert response.headers["allow"] == "POST"
            assert response.json()["errors"][0]["extensions"]["code"] == "METHOD_NOT_ALLOWED"

    async def test_what_is_no_request(self, server: Server) -> None:
        for parameters in [
            {},
            {"query": ""},
            {"query": "{ __typename }", "variables": "[]"},
            {"query": "{ __typename }", "variables": "{"},
            {"query": "{ __typename }", "extensions": "5"},
        ]:
            response = await server.client.get("/graphql", params=parameters)

            assert response.status_code == 400

    async def test_bytes_that_are_no_text(self, server: Server) -> None:
        response = await server.client.get("/graphql?query=%FF")

        assert response.status_code == 400

    async def test_browsers_get_an_editor(self, server: Server) -> None:
        accept = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
        page = await server.client.get("/graphql", headers=accept)
        shared = await server.client.get("/graphql", params={"q": "{ __typename }"}, headers=accept)
        answer = await server.client.get("/graphql", params={"query": "{ __typename }"}, headers=accept)

        assert page.headers["content-type"].startswith("text/html")
        assert "graphiql" in page.text
        assert "graphiql" in shared.text
        assert answer.json()["data"] == {"__typename": "Query"}

    async def test_head_is_get_without_a_body(self, server: Server) -> None:
        response = await server.client.head("/graphql", params={"query": "{ __typename }"})

        assert response.status_code == 200
        assert response.content == b""
        assert int(response.headers["content-length"]) > 10


class TestConditional:
    async def test_what_a_client_has_is_not_sent_again(self, store: Store, server: Server) -> None:
        block = some_rows(store)
        first = await server.client.get("/graphql", params={"query": ACCOUNTS})
        etag = first.headers["etag"]
        for known in (etag, f'"other", {etag}', "*", etag.removeprefix("W/")):
            again = await server.client.get("/graphql", params={"query": ACCOUNTS}, headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        assert first.headers["cache-control"].endswith("no-cache")
        assert etag.startswith(f'W/"{first.json()["extensions"]["receipt"]["sequence"]}-')

        ingest(store, [toy.block(block, [toy.move("a", 5)])])
        later = await server.client.get("/graphql", params={"query": ACCOUNTS}, headers={"if-none-match": etag})

        assert later.status_code == 200
        assert later.headers["etag"] != etag
        assert later.json()["data"]["toyAccounts"]["totalCount"] == 3

    async def test_errors_are_kept_by_nobody(self, server: Server) -> None:
        query = {"query": "{ toyAccounts(first: 501) { totalCount } }"}
        response = await server.client.get("/graphql", params=query)
        again = await server.client.get("/graphql", params=query, headers={"if-none-match": "*"})

        assert response.headers["cache-control"] == "no-store"
        assert again.status_code == 200


class TestBatches:
    async def test_answers_stand_in_the_order_of_the_operations(self, store: Store, server: Server) -> None:
        some_rows(store)
        batch = [
            {"query": ACCOUNTS},
            {"query": "{ nothing }"},
            {"query": "query A { __typename }", "operationName": "A"},
        ]
        response = await server.client.post("/graphql", json=batch, headers={"accept": RESPONSE_JSON})
        answers = response.json()

        assert response.status_code == 200
        assert answers[0]["data"]["toyAccounts"]["totalCount"] == 2
        assert "data" not in answers[1]
        assert answers[2]["data"] == {"__typename": "Query"}

    async def test_they_can_be_switched_off(self, store: Store, database_url: str) -> None:
        async with answering(toy_app(database_url, graphql=GraphQL(max_batch=1))) as server:
            response = await server.client.post("/graphql", json=[{"query": "{ __typename }"}])

        assert response.status_code == 400
        assert "no batch" in response.json()["errors"][0]["message"]


class TestPersistedDocuments:
    async def test_a_document_is_sent_once(self, server: Server) -> None:
        query = "{ __typename }"
        named = {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_of(query)}}}
        unknown = await server.client.post("/graphql", json=named)
        registered = await server.client.post("/graphql", json={"query": query, **named})
        by_hash = await server.client.post("/graphql", json=named)
        by_id = await server.client.post("/graphql", json={"documentId": f"sha256:{hash_of(query)}"})
        by_get = await server.client.get("/graphql", params={"extensions": json.dumps(named["extensions"])})

        assert unknown.status_code == 200
        (error,) = unknown.json()["errors"]
        # clients look for these words
        assert (error["message"], error["extensions"]["code"]) == (
            "PersistedQueryNotFound",
            "PERSISTED_QUERY_NOT_FOUND",
        )
        for answer in (registered, by_hash, by_id, by_get):
            assert answer.json()["data"] == {"__typename": "Query"}

    async def test_a_hash_that_is_not_the_document_s(self, server: Server) -> None:
        wrong: list[Any] = [
            {"version": 1, "sha256Hash": hash_of("{ other }")},
            {"version": 2, "sha256Hash": "x"},
            {"version": 1},
            5,
            [],
        ]
        for persisted in wrong:
            request = {"query": "{ __typename }", "extensions": {"persistedQuery": persisted}}
            response = await server.client.post("/graphql", json=request)

            assert response.status_code == 400

    async def test_only_documents_on_the_list(self, store: Store, database_url: str, tmp_path: Path) -> None:
        allowed = "query Allowed { __typename }"
        (tmp_path / "list.json").write_text(json.dumps({"first": allowed}))
        app = toy_app(database_url, graphql=GraphQL(documents=tmp_path / "list.json"))
        async with answering(app) as server:
            for request in (
                {"documentId": "first"},
                {"documentId": f"sha256:{hash_of(allowed)}"},
                {"query": allowed},
                {"query": allowed, "documentId": "first"},
                {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_of(allowed)}}},
            ):
                answer = (await server.client.post("/graphql", json=request)).json()
                assert answer["data"] == {"__typename": "Query"}
            for request in (
                {"query": "{ __typename }"},
                {"query": "{ __typename }", "documentId": "first"},
                {"documentId": "second"},
                {"query": "{ x }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": hash_of("{ x }")}}},
                {},
            ):
                (error,) = (await server.client.post("/graphql", json=request)).json()["errors"]
                assert error["extensions"]["code"] == "DOCUMENT_NOT_ALLOWED"

    def test_a_list_that_cannot_be_read(self, database_url: str, tmp_path: Path) -> None:
        (tmp_path / "bad.json").write_text('{"first": "{ open"}')
        for path in (tmp_path / "missing.json", tmp_path / "bad.json", tmp_path):
            with pytest.raises(ConfigurationError, match=r"graphql\.documents"):
                toy_app(database_url, graphql=GraphQL(documents=path))


class TestCompression:
    async def test_in_a_coding_that_is_accepted(self, store: Store, server: Server) -> None:
        for accepted, coding in [
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("br", None),
            ("identity", None),
            ("*", "zstd"),
            ("zstd;q=0, *", "gzip"),
            ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ]:
            some_rows(store, 200)
            query = {"query": "{ toyAccounts(first: 500) { nodes { owner balance note } } }"}
            plain = await raw(server.client, query, "identity")
            response = await raw(server.client, query, accepted)

            assert response.headers.get("content-encoding") == coding
            assert response.headers["vary"] == "Accept, Accept-Encoding"
            undone: Any = {"gzip": gzip.decompress, "zstd": zstandard.decompress, None: bytes}[coding]
            assert undone(response.content) == plain.content
            assert (len(response.content) < len(plain.content) / 3) == (coding is not None)

    async def test_short_answers_stay(self, server: Server) -> None:
        response = await raw(server.client, {"query": "{ __typename }"}, "gzip")

        assert "content-encoding" not in response.headers


async def raw(client: httpx.AsyncClient, query: dict[str, str], accepted: str) -> httpx.Response:
    """An answer whose content is as it came."""
    request = client.build_request("POST", "/graphql", json=query, headers={"accept-encoding": accepted})
    response = await client.send(request, stream=True)
    response._content = b"".join([part async for part in response.aiter_raw()])
    return response


class TestOrigins:
    async def test_every_page_may_read(self, server: Server) -> None:
        origin = {"origin": "https://app.example"}
        preflight = await server.client.options(
            "/graphql",
            headers={
                **origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization, content-type",
            },
        )
        response = await server.client.post("/graphql", json={"query": "{ __typename }"}, headers=origin)
        refused = await server.client.post("/graphql", content="x", headers=origin)

        assert preflight.status_code == 204
        assert preflight.headers["access-control-allow-headers"] == "authorization, content-type"
        assert "POST" in preflight.headers["access-control-allow-methods"]
        for answer in (preflight, response, refused):
            assert answer.headers["access-control-allow-origin"] == "*"
        assert "X-Request-Id" in response.headers["access-control-expose-headers"]

    async def test_only_those_named(self, store: Store, database_url: str) -> None:
        app = toy_app(database_url, graphql=GraphQL(origins=["https://app.example"]))
        async with answering(app) as server:
            for origin, allowed in (("https://app.example", "https://app.example"), ("https://other.example", None)):
                response = await server.client.post(
                    "/graphql", json={"query": "{ __typename }"}, headers={"origin": origin}
                )
                assert response.headers.get("access-control-allow-origin") == allowed
                assert "Origin" in response.headers["vary"]


class TestRequestIds:
    async def test_an_error_says_its_own(self, server: Server) -> None:
        response = await server.client.post("/graphql", json={"query": "{ nothing }"})

        (error,) = response.json()["errors"]
        assert error["extensions"]["requestId"] == response.headers["x-request-id"]

    async def test_each_request_has_another(self, server: Server) -> None:
        ids = {
            (await server.client.post("/graphql", json={"query": "{ __typename }"})).headers["x-request-id"]
            for _ in range(3)
        }

        assert len(ids) == 3

    async def test_a_proxy_s_is_taken_over(self, store: Store, database_url: str) -> None:
        app = toy_app(database_url, graphql=GraphQL(proxies=["127.0.0.1"]))
        async with answering(app) as server:
            response = await server.client.post(
                "/graphql", json={"query": "{ nothing }"}, headers={"x-request-id": "from-the-proxy.1"}
            )

        assert response.headers["x-request-id"] == "from-the-proxy.1"
        assert response.json()["errors"][0]["extensions"]["requestId"] == "from-the-proxy.1"


def hits() -> float:
    return CACHE.labels("hit")._value.get()


class TestKeptAnswers:
    async def test_are_as_new_as_what_the_feed_heard(self, store: Store, database_url: str) -> None:
        async with serving(toy_app(database_url, graphql=GraphQL())) as server:
            block: Block | None = None
            for height in range(1, 12):
                block = toy.block(block, [toy.move("a", height)])
                ingest(store, [block])
                feed = server.app.state.service.feed
                await asyncio.wait_for(heard(feed, store.tip.sequence), 10)
                before = hits()
                answers = [(await server.client.post("/graphql", json={"query": ACCOUNTS})) for _ in range(3)]
                assert {answer.json()["data"]["toyAccounts"]["nodes"][0]["balance"] for answer in answers} == {
                    str(height)
                }
                assert len({answer.content for answer in answers}) == 1
                assert hits() - before == 2

    async def test_are_not_given_while_the_feed_is_not_connected(self, store: Store, database_url: str) -> None:
        some_rows(store)
        async with serving(toy_app(database_url, graphql=GraphQL())) as server:
            await server.client.post("/graphql", json={"query": ACCOUNTS})
            server.app.state.service.feed.connected.clear()
            before = hits()
            await server.client.post("/graphql", json={"query": ACCOUNTS})
            assert hits() == before

    async def test_what_may_change_without_a_commit_is_not_kept(self, store: Store, database_url: str) -> None:
        for query in [
            "{ status { version } }",
            "{ mempoolTransactions { nodes { txId } } }",
            "query @asOf(height: 1) { toyAccounts { totalCount } }",
            "{ toyAccounts(first: 501) { totalCount } }",
            "{ me { address } }",
        ]:
            some_rows(store)
            async with serving(toy_app(database_url, graphql=GraphQL())) as server:
                before = hits()
                for _ in range(3):
                    await server.client.post("/graphql", json={"query": query})
                assert hits() == before

    @pytest.mark.parametrize("method", ["POST", "POST in parts", "GET"])
    async def test_are_charged_and_measured(self, store: Store, database_url: str, method: str) -> None:
        query = "query Kept { toyAccounts(first: 500) { nodes { owner balance } } }"  # 1,002 fields
        parts = [b'{"query":', json.dumps(query).encode() + b"}"]

        async def ask(client: httpx.AsyncClient) -> int:
            if method == "GET":
                return (await client.get("/graphql", params={"query": query})).status_code
            content: Any = one_by_one(parts) if method == "POST in parts" else b"".join(parts)
            return (await client.post("/graphql", content=content, headers=JSON)).status_code

        some_rows(store)
        app = toy_app(database_url, graphql=GraphQL(), quota=Quota(anonymous="1006/hour"))
        async with serving(app) as server:
            await asyncio.wait_for(heard(app.state.service.feed, store.tip.sequence), 10)
            kept, measured = hits(), answered("Kept")
            statuses = [await ask(server.client) for _ in range(6)]

        assert statuses == [200, 200, 200, 200, 429, 429]
        assert hits() - kept == 3
        assert answered("Kept") - measured == 4

    async def test_none_are_kept_where_that_is_switched_off(self, store: Store, database_url: str) -> None:
        async with serving(toy_app(database_url, graphql=GraphQL(cache_bytes=0))) as server:
            before = hits()
            for _ in range(3):
                await server.client.post("/graphql", json={"query": ACCOUNTS})
            assert hits() == before


async def one_by_one(parts: Sequence[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def answered(name: str) -> float:
    """How many answers to queries of a name were measured."""
    labels = {"kind": "query", "operation": name}
    return REGISTRY.get_sample_value("clarion_graphql_operation_seconds_count", labels) or 0


async def heard(feed: Any, sequence: int) -> None:
    while (known := feed.sequence("stacks")) != sequence:
        await feed.changed("stacks", known)


class TestQuota:
    async def test_costs_are_counted(self, store: Store, database_url: str) -> None:
        some_rows(store)
        app = toy_app(database_url, quota=Quota(anonymous="110/minute"))
        async with answering(app) as server:
            responses = [await server.client.post("/graphql", json={"query": ACCOUNTS}) for _ in range(3)]

        assert [response.status_code for response in responses] == [200, 429, 429]
        assert int(responses[-1].headers["retry-after"]) > 0
        assert responses[-1].json()["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


class TestTooMuch:
    async def test_requests_beyond_the_limit_are_told_to_come_back(self, store: Store, database_url: str) -> None:
        app = toy_app(database_url, graphql=GraphQL(max_requests=2, cache_bytes=0))
        async with answering(app) as server:
            with psycopg.connect(database_url) as blocking:
                blocking.execute("LOCK TABLE toy.account IN ACCESS EXCLUSIVE MODE")
                waiting = [
                    asyncio.create_task(server.client.post("/graphql", json={"query": ACCOUNTS})) for _ in range(2)
                ]
                while server.app.graphql._running < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                response = await server.client.post("/graphql", json={"query": ACCOUNTS})
                blocking.rollback()
            answered = await asyncio.gather(*waiting)

        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert [answer.status_code for answer in answered] == [200, 200]

    async def test_a_body_that_does_not_come(self, store: Store, database_url: str) -> None:
        async with serving(toy_app(database_url)) as server:
            server.app.graphql._options = server.app.graphql._options.__class__(body_timeout_s=0.2)
            host, port = server.url.removeprefix("ws://").removesuffix("/graphql").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{"
            )
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()

        assert answer.startswith(b"HTTP/1.1 408")


class TestIntrospection:
    async def test_switched_off(self, store: Store, database_url: str) -> None:
        async with answering(toy_app(database_url, graphql=GraphQL(introspection=False))) as server:
            answer = (await server.client.post("/graphql", json={"query": "{ __schema { description } }"})).json()
            schema = await server.client.get("/schema.graphql")
            page = await server.client.get("/graphql", headers={"accept": "text/html"})
            unknown = (await server.client.post("/graphql", json={"query": "{ toyAccoun { x } }"})).json()

        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert schema.status_code == 404
        assert page.status_code == 406
        assert "Did you mean" not in unknown["errors"][0]["message"]

    @pytest.mark.parametrize("introspection", [True, False])
    async def test_variables_do_not_tell_the_schema_then(
        self, store: Store, database_url: str, introspection: bool
    ) -> None:
        wrong = [
            ("orderBy", "[ToyAccountOrder!]", [{"field": "OWNR"}]),
            ("orderBy", "[ToyAccountOrder!]", [{"field": "OWNER", "direcion": "ASC"}]),
            ("filter", "ToyAccountFilter", {"ownr": {}}),
        ]
        async with serving(toy_app(database_url, graphql=GraphQL(introspection=introspection))) as server:
            errors = [
                await server.error(f"query($v: {type_}) {{ toyAccounts({name}: $v) {{ totalCount }} }}", {"v": value})
                for name, type_, value in wrong
            ]
            async with server.subscribe(
                "subscription($v: ToyAccountFilter) { toyAccountChanged(filter: $v) { op } }", {"v": {"ownr": {}}}
            ) as messages:
                errors.append(await messages.error())

        assert {error["extensions"]["code"] for error in errors} == {"GRAPHQL_VALIDATION_FAILED"}
        assert {"Did you mean" in error["message"] for error in errors} == {introspection}
