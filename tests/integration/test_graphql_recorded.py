"""GraphQL over a recorded run of BitHedge: every example, and relations against the whole log."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.graphql import Server, answering

from clarion.config import Accounts, Scope
from clarion.dev.accounts import DEPLOYER
from clarion.protocols.bithedge import protocol
from clarion.store import chain_log
from clarion.store.database import connect, migrate
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.home import examples

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
async def server(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    deployed = protocol.deployed_by(DEPLOYER.address)
    everybody = Accounts(anonymous=list(Scope))
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed={"bithedge": deployed}, accounts=everybody)
    async with answering(app) as running:
        yield running


def documents() -> dict[str, str]:
    """Every query of the examples and of the documentation, but for those about protocols on Bitcoin."""
    found = {example.name: example.document for example in examples(["bithedge"])}
    for page in ("README.md", "docs/graphql.md"):
        texts = re.findall(r"```graphql\n(.*?)```", (REPOSITORY / page).read_text(encoding="utf-8"), re.DOTALL)
        found |= {f"{page} {number}": text for number, text in enumerate(texts)}
    of_others = re.compile(r"^\s*subscription\b|\b(charms|zkusd)[A-Z]", re.MULTILINE)
    return {name: text for name, text in found.items() if not of_others.search(text)}


async def all_nodes(server: Server, name: str, selection: str) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        data = await server.data(
            f"query($after: String) {{ {name}(first: 40, after: $after) {{ nodes {{ {selection} }} "
            "pageInfo { hasNextPage endCursor } } }",
            {"after": after},
        )
        nodes += data[name]["nodes"]
        if not data[name]["pageInfo"]["hasNextPage"]:
            return nodes
        after = data[name]["pageInfo"]["endCursor"]


async def test_what_a_recorded_run_answers(server: Server, recorded_bithedge_url: str) -> None:
    for name, document in documents().items():
        answer = await server.query(document)
        assert "errors" not in answer, (name, answer["errors"])

    policies = await all_nodes(
        server, "policies", "id state status expiryBurn events { totalCount } allocations { totalCount }"
    )
    with connect(recorded_bithedge_url) as connection:
        # found through three transactions; here, through the whole log
        events = connection.execute(
            "SELECT (v.value ->> 'policy')::int, count(*) FROM clarion.event e "
            "JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash "
            "CROSS JOIN LATERAL (SELECT clarion.event_value(e.kind, e.value, e.raw) AS value OFFSET 0) v "
            "WHERE v.value ? 'policy' AND e.contract LIKE %s GROUP BY 1",
            (f"{DEPLOYER.address}.bh-%",),
        ).fetchall()
        allocations = connection.execute("SELECT policy, count(*) FROM bithedge.allocation GROUP BY 1").fetchall()
        states = connection.execute("SELECT id, state FROM bithedge.policy ORDER BY id").fetchall()
    assert len(policies) > 50
    assert [(policy["id"], policy["state"]) for policy in policies] == states
    assert {policy["id"]: policy["events"]["totalCount"] for policy in policies} == dict(events)
    assert {policy["id"]: policy["allocations"]["totalCount"] for policy in policies} == dict(allocations)
    ended = {policy["status"].lower().replace("_", "-") for policy in policies if policy["state"] != "active"}
    assert ended == {state for _, state in states} - {"active"}


async def test_the_whole_log_can_be_read_in_pages(server: Server, recorded_bithedge_url: str) -> None:
    with connect(recorded_bithedge_url) as connection:
        canonical = connection.execute(
            "SELECT e.height, e.tx_index, e.event_index FROM clarion.event e "
            "JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash"
        ).fetchall()

    nodes = await all_nodes(server, "events", "height txIndex eventIndex")

    assert [(node["height"], node["txIndex"], node["eventIndex"]) for node in nodes] == sorted(canonical, reverse=True)


WHOLE = """{
  policies(first: 100) {
    nodes {
      id state status blocksToExpiry inTheMoney updatedHeight
      allocations(first: 5) { totalCount nodes { provider collateral position { policies(first: 3) { totalCount } } } }
      lock { policy { id } } expiryPrice { priceRound { round } }
      entries(first: 1) { totalCount } events(first: 20) { totalCount nodes { topic } }
    }
    totalCount
  }
  assets { nodes { asset rounds(first: 1) { totalCount } lastClosedRound { round } } }
  tokenPools(first: 5) {
    nodes { tierPools(first: 9) { nodes { tier positions(first: 20) { nodes { provider exposures { totalCount } } } } }
    }
  }
  blocks(first: 1) { nodes { height } totalCount }
}"""


@pytest.mark.slow
async def test_as_of_a_block_is_what_an_index_that_ends_there_answers(
    server: Server, recorded_bithedge_url: str, empty_database_url: str
) -> None:
    deployed = protocol.deployed_by(DEPLOYER.address)
    migrate(empty_database_url)
    with connect(recorded_bithedge_url) as connection, connect(empty_database_url, autocommit=True) as other:
        canonical = connection.execute("SELECT hash FROM clarion.canonical_block ORDER BY height").fetchall()
        blocks = chain_log.load(connection, "stacks", [block_hash for (block_hash,) in canonical])
        store = Store(other, "stacks", [deployed])
        store.open()
        async with answering(make_app(empty_database_url, protocols=[protocol], deployed={})) as shorter:
            done = 0
            for upto in (len(blocks) // 5, len(blocks) // 2, len(blocks) - 10, len(blocks)):
                with store.batch() as batch:
                    for block in blocks[done:upto]:
                        batch.append(block)
                        batch.apply(block)
                done = upto
                then = await server.query(f"query @asOf(height: {blocks[upto - 1].height}) {WHOLE}")
                now = await shorter.query(WHOLE)
                assert "errors" not in now, now["errors"]
                assert "errors" not in then, then["errors"]
                assert then["data"] == now["data"]
                assert then["extensions"]["receipt"]["digest"] == now["extensions"]["receipt"]["digest"]
