"""Everything as processes: a policy is bought, its price falls, it expires, the keeper settles it, GraphQL shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from e2e.agreement import disagreements
from e2e.flow import Flow, open_flow, until

from clarion.config import Devnet, GraphQL, Observer, Settings
from clarion.dev.accounts import KEEPER
from clarion.dev.processes import ProcessTree, State
from clarion.dev.run import DevOptions, settings_of_run, start_devnet, start_index, start_readers, write_settings
from clarion.store.database import connect, with_server_settings
from clarion.store.roles import KEEPER as KEEPER_ROLE

POLICY = """
query Policy($id: Int!) {
  policies(filter: { id: { eq: $id } }) {
    nodes { id owner state status paid unpaidUsd8 settlementUsd8 allocations { nodes { provider paid released } } }
  }
  status { chains { receipt { height hash } } }
}
"""


@pytest.fixture
def processes(database_url: str, tmp_path: Path) -> Iterator[tuple[Settings, ProcessTree]]:
    """A devnet that mines on request, the indexer, GraphQL and the keeper, each a process of its own."""
    chosen = Settings(devnet=Devnet(port=0), graphql=GraphQL(port=0), observer=Observer(port=0))
    settings = settings_of_run(chosen, DevOptions(block_interval_ms=0, burn_interval_ms=0, zkusd=False), tmp_path)
    write_settings(tmp_path, settings, database_url)
    tree = ProcessTree(tmp_path / "logs")
    (tmp_path / "logs").mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(tree.stop)
        start_index(tree, tmp_path)
        start_devnet(tree, settings, tmp_path)
        start_readers(tree, tmp_path, keeper=True)
        yield settings, tree


async def test_a_fallen_price_is_paid_out(processes: tuple[Settings, ProcessTree], database_url: str) -> None:
    settings, tree = processes
    async with httpx.AsyncClient() as http:

        async def is_up(url: str) -> bool:
            assert all(child.state is State.RUNNING for child in tree.children.values())
            assert tree.poll() == []
            with contextlib.suppress(httpx.TransportError):
                return (await http.get(url)).status_code == 200
            return False

        await until(lambda: is_up(f"{settings.node.url}/v2/info"), bool, "the devnet")
        async with open_flow(settings.node.url) as flow:
            await flow.begin()
            number = await flow.buy(strike_percent=99, blocks=2)
            await flow.expire(96)
            await until(
                lambda: is_up(f"{settings.keeper.graphql_url.removesuffix('/graphql')}/readyz"), bool, "GraphQL"
            )
            shown = await until(
                lambda: _mined_and_shown(flow, http, settings, number),
                lambda policy: policy is not None and policy["state"] != "active",
                "the settlement",
            )
            policy = await flow.policy(number)
            assert shown["state"] == policy["state"] == "settled-itm"
            assert int(shown["paid"]) == policy["paid"] > 0
            assert int(shown["unpaidUsd8"]) == 0
            assert sum(int(part["paid"]) for part in shown["allocations"]["nodes"]) == policy["paid"]
            # the keeper's role sees no projection: all that it knew came through GraphQL
            assert settings.keeper.role == KEEPER_ROLE
            with (
                connect(with_server_settings(database_url, role=KEEPER_ROLE), autocommit=True) as its_own,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                its_own.execute("SELECT FROM bithedge.policy")
            with connect(database_url, autocommit=True) as connection:
                found, compared = await disagreements(connection, flow.scenario.reader)
                assert found == []
                assert compared > 90
                sent = connection.execute(
                    "SELECT function, sender FROM keeper.outgoing WHERE lane = 'settle' ORDER BY nonce"
                ).fetchall()
                assert sent == [
                    ("fix-expiry-price", KEEPER.address),
                    ("fix-expiry-price", KEEPER.address),
                    ("settle", KEEPER.address),
                ]
                simulated = connection.execute(
                    "SELECT DISTINCT detail->>'simulated' FROM keeper.step WHERE detail ? 'simulated'"
                ).fetchall()
                assert simulated == [("sure",)], "the node ran everything before it was signed"
                assert connection.execute("SELECT job, reason FROM keeper.control").fetchall() == []
                assert connection.execute("SELECT count(*) FROM clarion.anomaly").fetchone() == (0,)


async def _mined_and_shown(flow: Flow, http: httpx.AsyncClient, settings: Settings, number: int) -> Any:
    """Mine what waits; then the policy as GraphQL shows it at the devnet's tip, or None while it is behind."""
    status = await flow.devnet.status()
    if status["mempool"]["size"]:
        await flow.devnet.mine()
        return None
    answer = await http.post(settings.keeper.graphql_url, json={"query": POLICY, "variables": {"id": number}})
    data = answer.json()["data"]
    chains = data["status"]["chains"]
    if not chains or chains[0]["receipt"]["hash"] != status["tip"]["index_block_hash"]:
        return None
    (policy,) = data["policies"]["nodes"]
    return policy
