"""Plans and resolvers, these by two executors: made-up queries have the same answers, byte for byte, by each way."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type
from support.documents import Generator, Query, Samples, take_samples

from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol as bithedge
from clarion.protocols.stacks import protocol as stacks
from clarion.replay import replay
from clarion.store.database import create_database, drop_database, migrate, with_database
from clarion_graphql.app import make_app
from clarion_graphql.execution import Answer, Executor, GraphQLRequest
from clarion_graphql.reads import READS
from clarion_graphql.schema import build_schema

REPOSITORY = Path(__file__).resolve().parents[2]
PROTOCOLS = (bithedge, stacks)


@pytest.fixture(scope="module")
def recorded_url(postgres_url: str) -> Iterator[str]:
    """A database with the recorded chain, and a block that lost to another branch."""
    url = with_database(postgres_url, "plan_differential")
    create_database(url)
    try:
        migrate(url)
        replay(
            REPOSITORY / "fixtures" / "bithedge-devnet.tsv.zst",
            url,
            [bithedge.deployed_by(DEPLOYER.address), stacks.deployed_at({})],
        )
        yield url
    finally:
        drop_database(url)


class Ways:
    """The same service with plans, with resolvers, and with resolvers by graphql-core's executor alone."""

    def __init__(self, service: Any) -> None:
        schema = build_schema(PROTOCOLS)
        self.schema = schema._schema
        self.planned = Executor(schema, service)
        self.looped = Executor(schema, service, plans=False)
        self.resolved = Executor(schema, service, plans=False, leaf_loop=False)

    async def answers(self, query: Query) -> tuple[Answer, Answer, Answer]:
        request = GraphQLRequest(query.text, query.variables)
        planned, looped = await self.planned.execute(request), await self.looped.execute(request)
        return planned, looped, await self.resolved.execute(request)

    def close(self) -> None:
        self.planned.close()
        self.looped.close()
        self.resolved.close()


@pytest.fixture
async def ways(recorded_url: str) -> AsyncIterator[Ways]:
    app = make_app(recorded_url, protocols=PROTOCOLS, deployed={}, connection_timeout_s=60, statement_timeout_ms=60_000)
    async with app.router.lifespan_context(app):
        ways = Ways(app.state.service)
        yield ways
        ways.close()


def reads(definition: GraphQLField) -> bool:
    """Whether a root field is made of an entity."""
    field = definition.extensions["strawberry-definition"]
    return READS in field.metadata


async def sampled(ways: Ways) -> Samples:
    """The first rows of every list, with all their columns."""
    samples = Samples()
    query = ways.schema.query_type
    assert query is not None
    for name, definition in query.fields.items():
        connection = get_named_type(definition.type)
        if not isinstance(connection, GraphQLObjectType) or "nodes" not in connection.fields or not reads(definition):
            continue
        node = get_named_type(connection.fields["nodes"].type)
        assert isinstance(node, GraphQLObjectType)
        leaves = " ".join(name for name, field in node.fields.items() if is_leaf_type(get_named_type(field.type)))
        text = f"{{ {name}(first: 7) {{ nodes {{ {leaves} }} pageInfo {{ startCursor endCursor }} }} }}"
        answer = await ways.resolved.execute(GraphQLRequest(text))
        take_samples(samples, ways.schema, "Query", json.loads(answer.body)["data"])
    return samples


def told(answer: Answer) -> bytes:
    """An answer without what no two have in common: the numbers of defects in the log."""
    return re.sub(rb"[0-9a-f]{32}\b(?=[.\"])", b"id", answer.body)


def are_alike(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same.

    Of several items of a list whose errors take the same object away one is told of, whichever failed first
    (GraphQL, October 2021, section 6.4.4): then the errors may differ in the item's number.
    """
    a, b = told(one), told(other)
    return a == b or _without_numbers(a) == _without_numbers(b)


def _without_numbers(answer: bytes) -> bytes:
    return re.sub(rb'"path":\[[^]]*]', lambda path: re.sub(rb"(?<=,)\d+(?=[],])", b"0", path[0]), answer)


async def compare(ways: Ways, seed: int, count: int) -> Counter[str]:
    generator = Generator(ways.schema, await sampled(ways), seed, roots=reads)
    outcomes: Counter[str] = Counter()
    for _ in range(count):
        query = generator.query()
        planned, looped, resolved = await ways.answers(query)
        asked = f"seed {seed}: {query.text}\n{json.dumps(query.variables)}"
        assert are_alike(planned, resolved), asked
        assert are_alike(looped, resolved), asked
        outcomes["compiled" if planned.tables is not None else "left"] += 1
        outcomes["errors" if planned.has_errors else "found"] += 1
    return outcomes


async def test_plans_answer_as_resolvers_do(ways: Ways) -> None:
    outcomes = await compare(ways, seed=1, count=80)

    assert outcomes["compiled"] > 40, outcomes
    assert outcomes["errors"] > 3, outcomes


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
async def test_plans_answer_as_resolvers_do_for_long(ways: Ways, seed: int) -> None:
    outcomes = await compare(ways, seed, count=500)

    assert outcomes["compiled"] > 250, outcomes


async def test_many_at_once(ways: Ways) -> None:
    generator = Generator(ways.schema, await sampled(ways), 99, roots=reads)
    queries = [generator.query() for _ in range(30)]

    answers = await asyncio.gather(*(ways.answers(query) for query in queries))

    for query, (planned, looped, resolved) in zip(queries, answers, strict=True):
        assert are_alike(planned, resolved), query
        assert are_alike(looped, resolved), query
