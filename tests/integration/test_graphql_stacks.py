"""The lists of what happened and the tokens in the API, over a recorded run of the devnet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.graphql import Server, answering

from clarion.protocols.stacks import protocol
from clarion.replay import replay
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_graphql.home import examples
from clarion_graphql.stacks import API

FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "bithedge-devnet.tsv.zst"


@pytest.fixture
async def server(database_url: str) -> AsyncIterator[Server]:
    replay(FIXTURE, database_url, [protocol.deployed_at({})])
    async with answering(make_app(database_url, protocols=[protocol], deployed={})) as running:
        yield running


async def all_nodes(server: Server, name: str, selection: str, condition: str = "{}") -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    nodes: list[dict[str, Any]] = []
    after = None
    while True:
        data = await server.data(
            f"query($after: String) {{ {name}(first: 100, after: $after, filter: {condition}) "
            f"{{ nodes {{ {selection} }} totalCount pageInfo {{ hasNextPage endCursor }} }} }}",
            {"after": after},
        )
        nodes += data[name]["nodes"]
        if not data[name]["pageInfo"]["hasNextPage"]:
            assert len(nodes) == data[name]["totalCount"]
            return nodes
        after = data[name]["pageInfo"]["endCursor"]


async def test_lists_balances_and_contracts(server: Server, database_url: str) -> None:
    for example in examples(["stacks"]):
        if not example.name.startswith("core/"):
            await server.data(example.document)

    # a balance is what came in less what went out, in the list of everything that happened to assets
    events = await all_nodes(server, "assetEvents", "kind asset sender recipient amount height txId")
    balances = await all_nodes(server, "balances", "asset address received sent amount")
    assert len(events) > 200
    assert len(balances) > 20
    for balance in balances:
        own = [event for event in events if event["asset"] == balance["asset"]]
        received = sum(int(event["amount"]) for event in own if event["recipient"] == balance["address"])
        sent = sum(int(event["amount"]) for event in own if event["sender"] == balance["address"])
        assert (received, sent) == (int(balance["received"]), int(balance["sent"]))
        if balance["amount"] is not None:
            assert int(balance["amount"]) == received - sent
    some = max(balances, key=lambda balance: int(balance["sent"]))
    found = await all_nodes(
        server, "assetEvents", "height", f'{{sender: {{eq: "{some["address"]}"}}, asset: {{eq: "{some["asset"]}"}}}}'
    )
    assert len(found) == len([e for e in events if (e["sender"], e["asset"]) == (some["address"], some["asset"])]) > 0

    # the contracts that the recording deploys, one by one
    contracts = await all_nodes(server, "contracts", "contract deployer height txId")
    assert len(contracts) > 5
    one = await server.data(
        "query($id: String!) { contract(contract: $id) { contract source interface finality calls { totalCount } "
        "prints(first: 1) { nodes { topic transaction { kind } block { height } } } transaction { kind } } }",
        {"id": contracts[-1]["contract"]},
    )
    assert one["contract"]["transaction"] == {"kind": "smart_contract"}
    assert one["contract"]["interface"]["functions"]
    assert await server.data('{ contract(contract: "SP1.none") { source } }') == {"contract": None}
    told = await server.data(
        "query($id: String!) { contractInterface(contract: $id) { interface } }", {"id": contracts[-1]["contract"]}
    )
    assert told["contractInterface"]["interface"] == one["contract"]["interface"]

    with connect(database_url) as connection:
        tables = [entity.table for entity in API.log]
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() for table in tables}
    for entity in API.log:
        data = await server.data(f"{{ {entity.plural} {{ totalCount }} }}")
        assert (data[entity.plural]["totalCount"],) == counts[entity.table]


async def test_the_past_of_a_balance(server: Server, database_url: str) -> None:
    with connect(database_url) as connection:
        row = connection.execute(
            "SELECT c.height, c.key, c.after ->> 'received' FROM clarion.change c "
            "JOIN clarion.canonical_block k ON k.height = c.height AND k.hash = c.block_hash "
            "JOIN stacks.balance b ON b.asset = c.key ->> 0 AND b.address = c.key ->> 1 "
            "WHERE c.\"table\" = 'stacks.balance' AND NOT c.retraction "
            "AND b.received > (c.after ->> 'received')::numeric ORDER BY c.sequence DESC LIMIT 1"
        ).fetchone()
    assert row is not None
    height, (asset, address), received = row
    selection = "balance(asset: $asset, address: $address) { received fungibleToken { asset } }"
    arguments = "$asset: String!, $address: String!"
    newest = "assetEvents(orderBy: { field: HEIGHT, direction: DESC }, first: 1) { nodes { height } }"
    then = await server.data(
        f"query({arguments}, $height: Int!) @asOf(height: $height) {{ {selection} {newest} }}",
        {"asset": asset, "address": address, "height": height},
    )
    now = await server.data(f"query({arguments}) {{ {selection} }}", {"asset": asset, "address": address})
    assert then["balance"] == {"received": received, "fungibleToken": {"asset": asset}}
    assert then["assetEvents"]["nodes"] == [{"height": height}]
    assert int(now["balance"]["received"]) > int(received)
