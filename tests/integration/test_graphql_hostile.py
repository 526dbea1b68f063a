"""What strangers may send: nothing changes, nothing is told that is not theirs to know, and no request takes long."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import psutil
import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLObjectType,
    get_nullable_type,
    is_composite_type,
    is_list_type,
)
from support import toy
from support.bithedge_tables import insert
from support.committed_schema import committed_schema
from support.graphql import NO_CACHE, Server, answering, serving
from support.hostile import hostile_documents
from support.live import connected

from clarion.chains.model import Block
from clarion.protocol import installed_protocols
from clarion.protocols.bithedge import protocol as bithedge
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app

HEADERS = {"content-type": "application/json"}

HOSTILE_TEXTS = [
    "' OR 1=1; DROP TABLE bithedge.policy; -- %s %(x)s %% {x} {0} $1 :x ? \\",
    "\u202e\u0000\ufffe\U0010ffff",
    "x" * 500,
]

HOSTILE_DOCUMENTS = hostile_documents(
    leaf="__typename", node="block(height: 1)", inner="parent", field="height", pages="blocks", type_name="Block"
)

HOSTILE_REQUESTS: list[bytes] = [
    b"",
    b"\x00",
    b"{",
    b"[",
    b"[" * 500_000,
    b'{"query":' * 50_000,
    b'{"query": "{ __typename }", "variables": {"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    b'{"query": "\xed\xa0\x80"}',
    b'{"query": "\xff\xfe\xfd"}',
    b'{"query": "\\ud800\\ud800"}',
    b'{"query": "\\u0000"}',
    b'{"query": "query($n: Int) { blocks(first: $n) { totalCount } }", "variables": {"n": ' + b"9" * 5_000 + b"}}",
    b'{"query": "query($n: Int) { blocks(first: $n) { totalCount } }", "variables": {"n": 1e999}}',
    b'{"query": "query($n: Int) { blocks(first: $n) { totalCount } }", "variables": {"n": NaN}}',
    b'{"query": "query($n: Int) { blocks(first: $n) { totalCount } }", "variables": {"n": -0.0}}',
    b'{"query": "{ __typename }", "query": "{ nothing }", "query": 5}',
    b'{"query": "{ __typename }", "operationName": "\\u0000"}',
    b'{"query": "{ __typename }", "extensions": {"persistedQuery": {"version": 1, "sha256Hash": "%s"}}}'
    % (b"0" * 900_000),
    b'{"query": "query($f: BlockFilter) { blocks(filter: $f) { totalCount } }", "variables": {"f": {"__proto__": {}}}}',
    json.dumps({"query": "{ __typename }", "variables": {str(number): number for number in range(50_000)}}).encode(),
    json.dumps([{"query": "{ __typename }"}] * 20_000).encode(),
]


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """Some blocks and a row in BitHedge's tables."""
    with connect(database_url, autocommit=True) as connection:
        opened = Store(connection, "stacks", [])
        opened.open()
        block: Block | None = None
        with opened.batch() as batch:
            for height in range(1, 6):
                block = toy.block(block, [toy.move("a", height)])
                batch.append(block)
                batch.apply(block)
        insert(connection, "policy", state="active")
        yield opened


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with answering(everything_at(database_url)) as running:
        yield running


def everything_at(database_url: str) -> Any:
    """The application with all protocols."""
    protocols = list(installed_protocols().values())
    deployed = {"bithedge": bithedge.deployed_by(toy.DEPLOYER)}
    return make_app(database_url, protocols=protocols, deployed=deployed, graphql=NO_CACHE)


def everything_in(store: Store) -> str:
    """A digest over all rows of all tables, but the key that sign-in messages are made with."""
    found = hashlib.sha256()
    tables = store.connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') "
        "AND tablename <> 'secret' ORDER BY 1, 2"
    ).fetchall()
    for schema_name, table in tables:
        rows = store.connection.execute(
            f"SELECT count(*), md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) "
            f'FROM "{schema_name}"."{table}" t'
        ).fetchone()
        found.update(repr((schema_name, table, rows)).encode())
    assert tables
    return found.hexdigest()


@contextlib.contextmanager
def nothing_changes(store: Store, *, seconds: float, megabytes: int = 150) -> Iterator[None]:
    """What is done inside changes no row, and keeps no more memory than this."""
    before, memory = everything_in(store), psutil.Process().memory_info().rss
    began = time.process_time()
    yield
    assert time.process_time() - began < seconds
    assert everything_in(store) == before
    assert psutil.Process().memory_info().rss - memory < megabytes << 20


def codes(response: httpx.Response) -> set[str]:
    answer = response.json()
    answers = answer if isinstance(answer, list) else [answer]
    return {error["extensions"]["code"] for one in answers for error in one.get("errors", [])}


async def test_requests_that_are_none(store: Store, server: Server) -> None:
    with nothing_changes(store, seconds=10):
        for content in HOSTILE_REQUESTS:
            began = time.process_time()
            response = await server.client.post("/graphql", content=content, headers=HEADERS)

            assert response.status_code in (200, 400, 413), (content[:60], response.text[:200])
            assert codes(response) <= {"BAD_REQUEST", "LIMIT_EXCEEDED", "GRAPHQL_PARSE_FAILED", "BAD_USER_INPUT",
                                       "GRAPHQL_VALIDATION_FAILED"}, content[:60]  # fmt: skip
            assert len(response.content) < 10_000
            assert time.process_time() - began < 1.5, content[:60]


async def test_documents_that_are_huge_in_a_small_space(store: Store, server: Server) -> None:
    with nothing_changes(store, seconds=60):
        for name, document in HOSTILE_DOCUMENTS.items():
            began = time.process_time()
            response = await server.client.post("/graphql", json={"query": document})

            assert response.status_code in (200, 413), name
            assert "INTERNAL_SERVER_ERROR" not in codes(response), name
            assert time.process_time() - began < 3, name
        assert (await server.data("{ __typename }")) == {"__typename": "Query"}


#: Values that their types take: what else is given with them comes to be read.
FITTING = {
    "Int": 7,
    "Float": 1.5,
    "Boolean": True,
    "BigInt": "7",
    "Decimal": "1.5",
    "Bytes": "0x" + 32 * "07",
    "DateTime": "2026-01-01T00:00:00Z",
}


def hostile_value(kind: GraphQLInputType, text: str, depth: int = 0, *, fits: bool) -> Any:
    """A value of a type with ``text`` wherever a text may stand; None where an object goes deeper than useful.

    ``fits``: only types that are texts get it; else all do that are written as one, and numbers are out of bounds.
    """
    inner: Any = get_nullable_type(kind)
    if is_list_type(inner):
        value = hostile_value(inner.of_type, text, depth, fits=fits)
        return None if value is None else [value]
    if isinstance(inner, GraphQLEnumType):
        return next(iter(inner.values))
    if isinstance(inner, GraphQLInputObjectType):
        if depth > 2:
            return None
        members = {
            name: hostile_value(member.type, text, depth + 1, fits=fits) for name, member in inner.fields.items()
        }
        wanted = {name: value for name, value in members.items() if value is not None and name not in ("or", "not")}
        return dict(list(wanted.items())[:30]) or None
    others: dict[str, Any] = FITTING if fits else {"Int": -(2**31), "Float": 1.5, "Boolean": True}
    return others.get(inner.name, text)


def document_of(kind: str, name: str, field: GraphQLField, text: str, *, fits: bool) -> dict[str, Any]:
    """A request for one root field with every argument given, but where a log or a page begins if all is to fit."""
    declared, passed, variables = [], [], {}
    for argument_name, argument in field.args.items():
        value = hostile_value(argument.type, text, fits=fits)
        if value is not None and not (fits and argument_name in ("since", "after", "before", "last")):
            declared.append(f"${argument_name}: {argument.type}")
            passed.append(f"{argument_name}: ${argument_name}")
            variables[argument_name] = value
    selection = " { __typename }" if is_composite_type(get_nullable_type(field.type)) or is_list(field) else ""
    variables_text = f"({', '.join(declared)})" if declared else ""
    arguments_text = f"({', '.join(passed)})" if passed else ""
    return {"query": f"{kind}{variables_text} {{ {name}{arguments_text}{selection} }}", "variables": variables}


def is_list(field: GraphQLField) -> bool:
    inner: Any = get_nullable_type(field.type)
    while is_list_type(inner):
        inner = get_nullable_type(inner.of_type)
    return is_composite_type(inner)


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_texts_in_every_argument(store: Store, server: Server, every: int) -> None:
    """Injections, zero characters and long texts, through every argument and every field of a filter."""
    schema = committed_schema()
    fields = [
        (root, name, field)
        for root, kind in (("query", schema.query_type), ("mutation", schema.mutation_type))
        if isinstance(kind, GraphQLObjectType)
        for name, field in kind.fields.items()
        if field.args
    ]
    assert len(fields) > 50
    failed = []
    with nothing_changes(store, seconds=240, megabytes=400):
        for root, name, field in fields[::every]:
            # a mutation whose arguments fit may do what it is for
            for text, fits in itertools.product(HOSTILE_TEXTS, (False, True) if root == "query" else (False,)):
                response = await server.client.post("/graphql", json=document_of(root, name, field, text, fits=fits))
                if response.status_code != 200 or "INTERNAL_SERVER_ERROR" in codes(response):
                    failed.append((name, text[:20], response.status_code, response.text[:300]))
    assert failed == []


@pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.slow)])
async def test_texts_in_every_argument_of_a_subscription(database_url: str, store: Store, every: int) -> None:
    """What is asked for begins, or is refused for what is wrong with it; the connection goes on."""
    kind = committed_schema().subscription_type
    assert kind is not None
    # nothing is ever final here: it would say nothing
    fields = [(name, field) for name, field in kind.fields.items() if field.args and name != "finality"]
    assert len(fields) > 50
    heard: Counter[str] = Counter()
    with nothing_changes(store, seconds=240, megabytes=400):
        async with serving(everything_at(database_url)) as running, connected(running.url) as client:
            for name, field in fields[::every]:
                for text, fits in itertools.product(HOSTILE_TEXTS, (False, True)):
                    asked = document_of("subscription", name, field, text, fits=fits)
                    await client.subscribe(asked["query"], asked["variables"], name="a")
                    message = await client.hear()
                    assert "INTERNAL_SERVER_ERROR" not in json.dumps(message), (name, text[:20], message)
                    heard[message["type"]] += 1
                    if message["type"] == "next":
                        await client.say({"type": "complete", "id": "a"})
    assert heard["error"] > 0
    assert heard["next"] > 0


async def test_texts_in_a_filter_find_only_what_they_are(store: Store, server: Server) -> None:
    for text in ("' OR true --", "x' OR 'x'='x", "%", "_", "\\", "x%", "X"):
        for condition in ("eq", "prefix", "contains", "startsWith", "endsWith"):
            data = await server.data(
                f"query($text: String!) {{ policies(filter: {{ owner: {{ {condition}: $text }} }}) {{ totalCount }} }}",
                {"text": text},
            )
            assert data == {"policies": {"totalCount": 0}}, (text, condition)


async def test_errors_do_not_tell_of_the_database(store: Store, server: Server) -> None:
    told = []
    for query in (
        '{ policies(filter: { owner: { eq: "\\u0000" } }) { totalCount } }',
        '{ policies(after: "AAAA") { totalCount } }',
        '{ node(id: "AAAA") { __typename } }',
        "{ blocks(filter: { height: { gte: 99999999999 } }) { totalCount } }",
        '{ block(hash: "0x") { height } }',
    ):
        response = await server.client.post("/graphql", json={"query": query})
        told.append(response.text)

    for text in told:
        for secret in ("SELECT", "psycopg", "postgres", "clarion.", "bithedge.policy", "Traceback", "site-packages"):
            assert secret not in text, text


async def test_slow_bodies_and_many_connections(store: Store, database_url: str) -> None:
    """300 connections that say little: others are answered meanwhile, and the slow ones are ended."""
    app = make_app(database_url, protocols=[], deployed={}, graphql=NO_CACHE)
    async with serving(app) as server:
        options = app.graphql._options  # type: ignore[attr-defined]
        app.graphql._options = type(options)(body_timeout_s=2.0)  # type: ignore[attr-defined]
        address = httpx.URL(server.url)
        head = b"POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"
        slow = [await asyncio.open_connection(address.host, address.port) for _ in range(300)]
        for number, (_, writer) in enumerate(slow):
            # a part of them does not even end its headers
            writer.write(head if number % 3 else head[:40])
        answers = await asyncio.gather(
            *(server.client.post("/graphql", json={"query": "{ blocks { totalCount } }"}) for _ in range(50))
        )
        ended = await asyncio.wait_for(
            asyncio.gather(*(reader.read(12) for number, (reader, _) in enumerate(slow) if number % 3)), 30
        )
        for _, writer in slow:
            writer.close()

    assert {answer.json()["data"]["blocks"]["totalCount"] for answer in answers} == {5}
    assert set(ended) == {b"HTTP/1.1 408"}
