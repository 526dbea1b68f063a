"""Queries as of an earlier block: ``@asOf`` on the operation, over the toy protocol on a real Postgres."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from graphql import get_named_type, is_required_argument
from support import toy
from support.graphql import NO_CACHE, Server, answering, toy_app

from clarion.chains.model import Block
from clarion.protocols.bithedge import protocol as bithedge
from clarion.protocols.stacks import protocol as stacks
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.as_of import Moment
from clarion_graphql.schema import build_schema
from clarion_graphql.session import Session, read_pool
from clarion_graphql.sql import Past, Table, build

ACCOUNTS = """query ($height: Int, $hash: Bytes) @asOf(height: $height, hash: $hash) {
  toyAccounts(orderBy: [{field: OWNER}]) { nodes { owner balance updatedHeight finality } totalCount }
}"""


@pytest.fixture
def chain(store: Store) -> list[Block]:
    """Four blocks, the second and third of which took the place of one that was lost."""
    first = toy.block(None, [toy.move("a", 1), toy.move("b", 1)])
    lost = toy.block(first, [toy.move("a", 99), toy.close("b")], branch="lost")
    second = toy.block(first, [toy.move("a", 2)])
    third = toy.block(second, [toy.close("b"), toy.move("c", 3)])
    fourth = toy.block(third, [toy.move("a", 4)])
    with store.batch() as batch:
        for block in (first, lost):
            batch.append(block)
            batch.apply(block)
    with store.batch() as batch:
        batch.rollback(1)
        for block in (second, third, fourth):
            batch.append(block)
            batch.apply(block)
    return [first, second, third, fourth]


def balances(answer: dict[str, Any]) -> dict[str, str]:
    accounts = answer["data"]["toyAccounts"]
    assert accounts["totalCount"] == len(accounts["nodes"])
    return {node["owner"]: node["balance"] for node in accounts["nodes"]}


async def test_rows_and_receipt_are_the_block_s(store: Store, server: Server, chain: list[Block]) -> None:
    expected = [{"a": "1", "b": "1"}, {"a": "2", "b": "1"}, {"a": "2", "c": "3"}, {"a": "4", "c": "3"}]
    for block, rows in zip(chain, expected, strict=True):
        for variables in ({"height": block.height}, {"hash": f"0x{block.hash.hex()}"}):
            answer = await server.query(ACCOUNTS, variables)
            assert balances(answer) == rows
            receipt = answer["extensions"]["receipt"]
            assert (receipt["height"], receipt["hash"]) == (block.height, f"0x{block.hash.hex()}")
            ((digest, sequence),) = store.connection.execute(
                "SELECT clarion.digest_at(chain, height), sequence FROM clarion.canonical_block WHERE height = %s",
                (block.height,),
            ).fetchall()
            assert (receipt["digest"], receipt["sequence"]) == (f"0x{digest.hex()}", str(sequence))
    assert receipt["digest"] == f"0x{store.tip.digest.hex()}"


async def test_without_a_block_it_is_now(server: Server, chain: list[Block]) -> None:
    answer = await server.query(ACCOUNTS, {"height": None})
    assert balances(answer) == {"a": "4", "c": "3"}
    assert answer["extensions"]["receipt"]["height"] == 4


async def test_rows_that_are_older_than_the_receipt_are_told(store: Store, server: Server, chain: list[Block]) -> None:
    assert "outdated" not in (await server.query(ACCOUNTS))["extensions"]
    without = Store(store.connection, "stacks", [])
    without.open()
    later = toy.block(chain[-1], [toy.move("a", 5)])
    with without.batch() as batch:
        batch.append(later)
        batch.apply(later)

    answer = await server.query(ACCOUNTS)
    assert balances(answer) == {"a": "4", "c": "3"}
    assert answer["extensions"]["receipt"]["height"] == 5
    assert answer["extensions"]["outdated"] == [{"protocol": "toy", "height": 4}]
    assert "outdated" not in (await server.query("{ blocks(first: 1) { nodes { height } } }"))["extensions"]

    store.connection.execute("UPDATE clarion.protocol SET generation = 0")
    assert (await server.query(ACCOUNTS))["extensions"]["outdated"] == [{"protocol": "toy", "height": None}]


async def test_filters_pages_and_single_rows_are_of_that_block(server: Server, chain: list[Block]) -> None:
    data = await server.data(
        """query @asOf(height: 2) {
          b: toyAccount(owner: "b") { balance updatedHeight }
          c: toyAccount(owner: "c") { balance }
          toyAccounts(filter: {balance: {eq: 2}}, first: 1) { nodes { owner } pageInfo { hasNextPage } totalCount }
        }"""
    )
    assert data == {
        "b": {"balance": "1", "updatedHeight": 1},
        "c": None,
        "toyAccounts": {"nodes": [{"owner": "a"}], "pageInfo": {"hasNextPage": False}, "totalCount": 1},
    }


async def test_the_chain_ends_there_too(server: Server, chain: list[Block]) -> None:
    data = await server.data(
        """query @asOf(height: 2) {
          blocks { nodes { height events { totalCount } parent { height } } totalCount }
          all: blocks(canonical: false) { totalCount }
          events { totalCount }
          block(height: 3) { height }
        }"""
    )
    assert data == {
        "blocks": {
            "nodes": [
                {"height": 2, "events": {"totalCount": 1}, "parent": {"height": 1}},
                {"height": 1, "events": {"totalCount": 2}, "parent": None},
            ],
            "totalCount": 2,
        },
        "all": {"totalCount": 3},
        "events": {"totalCount": 3},
        "block": None,
    }


@pytest.mark.parametrize(
    ("document", "code", "words"),
    [
        ("query @asOf(height: 5) { toyAccounts { totalCount } }", "UNKNOWN_BLOCK", "it holds blocks 1 to 4"),
        ('query @asOf(height: 2, hash: "0x00") { toyAccounts { totalCount } }', "BAD_USER_INPUT", "not both"),
        ('query @asOf(hash: "0x00") { toyAccounts { totalCount } }', "UNKNOWN_BLOCK", "0x00 is not in the index"),
        ("query @asOf(height: 2) { status { version } }", "BAD_USER_INPUT", "tells of now"),
        ("{ toyAccounts @asOf(height: 2) { totalCount } }", "GRAPHQL_VALIDATION_FAILED", "may not be used on field"),
        (
            'query @asOf(height: "x") { toyAccounts { totalCount } }',
            "GRAPHQL_VALIDATION_FAILED",
            "Int cannot",
        ),
    ],
)
async def test_what_cannot_be_told(server: Server, chain: list[Block], document: str, code: str, words: str) -> None:
    error = await server.error(document)
    assert error["extensions"]["code"] == code
    assert words in error["message"]


async def test_a_table_that_is_not_kept_says_so_and_the_rest_is_answered(
    store: Store, server: Server, chain: list[Block]
) -> None:
    store.connection.execute("INSERT INTO clarion.kept VALUES ('stacks', 'toy.account', 3)")
    answer = await server.query(
        'query @asOf(height: 2) { toyAccount(owner: "a") { balance } block(height: 1) { height } }'
    )
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "NOT_KEPT"
    assert answer["data"] == {"toyAccount": None, "block": {"height": 1}}


async def test_every_list_of_every_protocol_can_be_read_as_of_a_block(database_url: str) -> None:
    protocols = [bithedge, stacks]
    with connect(database_url, autocommit=True) as connection:
        opened = Store(connection, "stacks", [protocol.deployed_by(toy.DEPLOYER) for protocol in protocols])
        opened.open()
        first = toy.block(None, [{"topic": "nothing"}])
        with opened.batch() as batch:
            for block in (first, toy.block(first)):
                batch.append(block)
                batch.apply(block)
    schema = build_schema(protocols, [])
    lists = [
        name
        for name, field in schema._schema.query_type.fields.items()
        if get_named_type(field.type).name.endswith("Connection")
        and "totalCount" in get_named_type(field.type).fields  # a view that is no table's list may not count
        and not any(is_required_argument(argument) for argument in field.args.values())
    ]
    assert len(lists) > 40
    async with answering(make_app(database_url, protocols=protocols, deployed={}, graphql=NO_CACHE)) as server:
        for start in range(0, len(lists), 10):
            fields = " ".join(
                f"{name}(first: 1) {{ totalCount nodes {{ __typename }} }}" for name in lists[start : start + 10]
            )
            data = await server.data(f"query @asOf(height: 1) {{ {fields} }}")
            assert set(data) == set(lists[start : start + 10])


@pytest.mark.parametrize(
    ("moment", "slow"), [("", "toy.account"), ("@asOf(height: 2)", "toy.account"), ("@asOf(height: 2)", "clarion.kept")]
)
async def test_every_field_says_that_the_statement_limit_was_reached(
    store: Store, database_url: str, chain: list[Block], moment: str, slow: str
) -> None:
    query = f"""query {moment} {{
      first: toyAccounts {{ nodes {{ owner finality }} totalCount }}
      events {{ nodes {{ topic block {{ height }} transaction {{ txId events {{ nodes {{ value }} totalCount }} }} }} }}
      second: toyAccounts {{ totalCount nodes {{ owner }} }}
      third: toyAccount(owner: "a") {{ owner }}
    }}"""
    async with answering(toy_app(database_url, statement_timeout_ms=500)) as server:
        with connect(database_url) as blocking:
            blocking.execute(f"LOCK TABLE {slow} IN ACCESS EXCLUSIVE MODE")
            answer = await server.query(query)
            blocking.rollback()
        recovered = await server.query(query)

    # the snapshot is lost with the statement: whichever field comes after it has nothing to read
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"TIMEOUT"}
    assert "errors" not in recovered


async def test_what_still_reads_when_an_operation_ends_reads_nothing(
    store: Store, database_url: str, chain: list[Block]
) -> None:
    accounts = build("SELECT owner FROM {table} t", table=Table("toy.account", Past.PROJECTION))
    pool = read_pool(database_url, statement_timeout_ms=500)
    async with pool:
        session = Session(pool)
        session.moments = [Moment("stacks", 2, None)]
        with connect(database_url) as blocking:
            blocking.execute("LOCK TABLE clarion.kept IN ACCESS EXCLUSIVE MODE")
            reads = [asyncio.create_task(session.fetch(accounts)) for _ in range(6)]
            await asyncio.wait(reads, return_when=asyncio.FIRST_EXCEPTION)
            await session.close()
            ended = await asyncio.gather(*reads, return_exceptions=True)
            blocking.rollback()
        after = Session(pool)
        after.moments = session.moments
        assert len(await after.fetch(accounts)) == 2
        await after.close()

    assert {type(error) for error in ended} <= {psycopg.errors.QueryCanceled, asyncio.CancelledError}
