"""Balances, owners and the views of the chain log, on recorded blocks of mainnet and on made-up ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from psycopg import sql
from support import tokens, toy
from support.index import truncate_index

from clarion.chains.model import Block, Event, EventKind
from clarion.chains.stacks.node_payloads import interface_form
from clarion.chains.stacks.recording import read_recording
from clarion.config import ConfigurationError, load_settings
from clarion.follower import Follower
from clarion.indexing import deployed_protocols
from clarion.protocol import DeployedProtocol
from clarion.protocols.stacks import protocol
from clarion.replay import replay
from clarion.store.database import connect, migrate
from clarion.store.generation import Filling, require_tables, switch
from clarion.store.log_indexes import LogIndexKeeper, keep_log_indexes
from clarion.store.registry import fingerprint
from clarion.store.store import Store

MANY_EVENTS = "stacks/mainnet-2023-585-events.tsv"
NAKAMOTO = "stacks/nakamoto-2025.tsv"
FIXTURE = Path(__file__).resolve().parents[2] / "fixtures" / "bithedge-devnet.tsv.zst"

Sums = dict[tuple[str, str], tuple[int, int]]


@pytest.fixture
def other_database_url(empty_database_url: str) -> str:
    migrate(empty_database_url)
    return empty_database_url


def raw_events(recording: Path) -> list[dict[str, Any]]:
    """The events of a recording's blocks as the node told them, each block once."""
    blocks: dict[str, list[dict[str, Any]]] = {}
    for line in recording.read_text(encoding="utf-8").splitlines():
        _, _, path, payload = line.split("\t")
        if path == "/new_block":
            block = json.loads(payload.replace("\\\\", "\\"))
            blocks[block["index_block_hash"]] = block["events"]
    return [event for events in blocks.values() for event in events if event["committed"]]


def sums(events: list[dict[str, Any]]) -> Sums:
    """What every address received and sent of every asset, added up from the node's own words."""
    received: Counter[tuple[str, str]] = Counter()
    sent: Counter[tuple[str, str]] = Counter()
    for event in events:
        if event["type"].startswith(("ft_", "stx_")) and event["type"] != "stx_lock_event":
            said = event[event["type"]]
            asset = said.get("asset_identifier", "STX")
            if "recipient" in said:
                received[asset, said["recipient"]] += int(said["amount"])
            if "sender" in said:
                sent[asset, said["sender"]] += int(said["amount"])
    return {key: (received[key], sent[key]) for key in received.keys() | sent.keys()}


@pytest.mark.parametrize("recording", [MANY_EVENTS, NAKAMOTO])
def test_balances_are_the_sums_of_what_the_node_said(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], recording: str
) -> None:
    replay(chain_data / recording, database_url, [protocol.deployed_at({})])
    expected = sums(raw_events(chain_data / recording))
    found = connection.execute("SELECT asset, address, received, sent, amount FROM stacks.balance").fetchall()
    assert {(asset, address): (received, sent) for asset, address, received, sent, _ in found} == expected
    assert len(expected) >= 3
    # none of these assets' contracts was deployed in the recording
    assert {amount for *_, amount in found} == {None}


def state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Rows and digests of the tokens, as any index of the same chain must have them."""
    found: dict[str, Any] = {
        table: connection.execute(f"SELECT to_jsonb(t) FROM stacks.{table} t ORDER BY to_jsonb(t)::text").fetchall()
        for table in ("balance", "fungible_token", "nft")
    }
    found["digests"] = connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
    ).fetchall()
    return found


def opened(connection: psycopg.Connection[Any], protocols: Sequence[DeployedProtocol]) -> Store:
    require_tables(connection, "stacks", protocols)
    store = Store(connection, "stacks", protocols)
    store.open()
    return store


def ingest(store: Store, blocks: Sequence[Block]) -> None:
    with store.batch() as batch:
        Follower().ingest(batch, [item for block in blocks for item in (block.burn, block) if item is not None])


def grown(length: int, *, on: Block | None = None, branch: str = "main") -> list[Block]:
    """Blocks in which gold, STX and art move; every third deploys a contract and nothing else happens."""
    blocks: list[Block] = []
    for _ in range(length):
        parent = blocks[-1] if blocks else on
        height = 1 if parent is None else parent.height + 1
        if height % 3 == 0:
            contract = f"{toy.DEPLOYER}.coin-{height}"
            empty = tokens.block(parent, branch=branch)
            blocks.append(replace(empty, transactions=(tokens.deployment(0, contract),)))
            continue
        owner = f"SP-{(height + len(branch)) % 4}"
        coin = f"{toy.DEPLOYER}.coin-{height // 3 * 3}::gold"
        events = [
            tokens.moved(EventKind.FT_MINT, coin, recipient=owner, amount=2**127 + height),
            tokens.moved(EventKind.FT_TRANSFER, coin, sender=owner, recipient="SP-X", amount=height),
            tokens.moved(EventKind.STX_TRANSFER, sender=owner, recipient="SP-Y", amount=1),
            tokens.moved(EventKind.NFT_MINT, tokens.ART, token=height, recipient=owner),
            tokens.moved(EventKind.NFT_BURN, tokens.ART, token=height - 1, sender=owner),
        ]
        blocks.append(tokens.block(parent, events, branch=branch))
    return blocks


def test_a_fork_leaves_what_a_fresh_index_has(connection: psycopg.Connection[Any], other_database_url: str) -> None:
    common, lost = grown(8), grown(3, on=grown(8)[-1], branch="lost")
    won = grown(5, on=common[-1], branch="won")
    deployed = protocol.deployed_at({})
    store = opened(connection, [deployed])
    ingest(store, common)
    at_fork = state(connection)
    ingest(store, lost)
    assert state(connection) != at_fork
    ingest(store, won)

    with connect(other_database_url, autocommit=True) as other:
        ingest(opened(other, [deployed]), [*common, *won])
        expected = state(other)
    assert state(connection) == expected
    assert len(expected["balance"]) > 8
    # coin-0 moves from the first block on, coin-3 was deployed in the third
    complete = {row["asset"].partition(".")[2]: row["complete"] for (row,) in expected["fungible_token"]}
    assert (complete["coin-0::gold"], complete["coin-3::gold"]) == (False, True)


_branch = st.lists(st.lists(tokens.movements(), max_size=4), min_size=1, max_size=3)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(common=_branch, lost=_branch, won=_branch)
def test_whatever_a_lost_branch_moved_is_undone(
    connection: psycopg.Connection[Any], common: list[list[Event]], lost: list[list[Event]], won: list[list[Event]]
) -> None:
    def branch(parts: list[list[Event]], on: Block | None, name: str) -> list[Block]:
        blocks: list[Block] = []
        for events in parts:
            parent = blocks[-1] if blocks else on
            deploy = [tokens.deployment(1)] if parent is None or (parent is on and name == "won") else []
            blocks.append(tokens.block(parent, events, deploy=deploy, branch=name))
        return blocks

    first = branch(common, None, "main")
    loser = branch(lost, first[-1], "lost")
    winner = branch([*won, *[[]] * len(lost)], first[-1], "won")
    ends = []
    for runs in ([first, loser, winner], [[*first, *winner]]):
        truncate_index(connection, "stacks.balance", "stacks.fungible_token", "stacks.nft")
        store = opened(connection, [protocol.deployed_at({})])
        for blocks in runs:
            ingest(store, blocks)
        ends.append(state(connection))
    assert ends[0] == ends[1]


def test_enabled_later_it_ends_where_a_fresh_index_does(
    connection: psycopg.Connection[Any], other_database_url: str
) -> None:
    blocks = grown(20)
    ingest(opened(connection, []), blocks)
    deployed = protocol.deployed_at({})
    store = opened(connection, [deployed])
    assert store.waiting == (deployed,)
    filling = Filling(connection, "stacks", deployed, chunk_blocks=3)
    while filling.step():
        pass
    assert filling.progress.height is not None
    assert switch(store, deployed)
    ingest(store, grown(4, on=blocks[-1]))

    with connect(other_database_url, autocommit=True) as other:
        ingest(opened(other, [deployed]), [*blocks, *grown(4, on=blocks[-1])])
        assert state(connection) == state(other)
    # another filter is another projection
    assert opened(connection, [protocol.deployed_at({}, only=["STX"])]).waiting


def test_the_settings_narrow_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLARION_PROTOCOLS", "stacks")
    (everything,) = deployed_protocols(load_settings())
    monkeypatch.setenv("CLARION_ONLY__STACKS", f"STX, {tokens.COIN}")
    (narrowed,) = deployed_protocols(load_settings())
    assert (everything.only, narrowed.only) == (None, {"STX", tokens.COIN})
    assert fingerprint(everything) != fingerprint(narrowed)
    monkeypatch.setenv("CLARION_ONLY__STACKS", tokens.GOLD)
    with pytest.raises(ConfigurationError, match=f"only: stacks: {tokens.GOLD}: neither"):
        deployed_protocols(load_settings())


def test_indexes_on_the_chain_log_are_there_while_it_is_enabled(connection: psycopg.Connection[Any]) -> None:
    def own() -> set[str]:
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'clarion'").fetchall()
        return {name for (name,) in found if name.startswith("stacks__")}

    ingest(opened(connection, [protocol.deployed_at({})]), grown(3))
    assert own() == set()
    for _ in range(2):
        keep_log_indexes(connection, [protocol])
        assert own() == {f"stacks__{name}" for name in protocol.log_indexes}
    for view, condition, index in (
        ("ft_transfer", "sender = 'SP-1'", "by_sender"),
        ("stx_transfer", "recipient = 'SP-Y'", "by_recipient"),
        ("asset_event", "recipient = 'SP-Y'", "by_recipient"),
        ("ft_mint", "asset = 'x::gold'", "by_asset"),
        ("asset_event", "asset = 'STX'", "by_asset"),
        ("nft_burn", "token = '0x00'", "by_token"),
        ("stx_lock", "locked_address = 'SP-1'", "by_locked_address"),
    ):
        # with so few rows reading all of them is cheaper, unless that is forbidden
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL enable_seqscan = off")
            connection.execute("DROP INDEX clarion.event_by_contract, clarion.stacks__rare_kinds")
            plan = connection.execute(
                f"EXPLAIN SELECT * FROM clarion.{view} WHERE {condition} ORDER BY height DESC LIMIT 50"
            ).fetchall()
            assert f"stacks__{index}" in str(plan), (view, condition, plan)
    # one that broke off while it was made
    connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'clarion.stacks__by_sender'::regclass"
    )
    keep_log_indexes(connection, [protocol])
    assert connection.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone() == (0,)
    assert own() == {f"stacks__{name}" for name in protocol.log_indexes}
    keep_log_indexes(connection, [])
    assert own() == set()


def recorded_as_views(events: list[dict[str, Any]]) -> dict[str, Counter[tuple[Any, ...]]]:
    """What the views have to show of the node's own events: by view the fields of every event."""
    shown: dict[str, Counter[tuple[Any, ...]]] = {}
    for event in events:
        kind = "print" if event["type"] == "contract_event" else event["type"].removesuffix("_event")
        said = event[event["type"]]
        fields: dict[str, Any] = {name: said[name] for name in ("sender", "recipient") if name in said}
        if kind == "print":
            fields |= {"contract": said["contract_identifier"], "raw": bytes.fromhex(said["raw_value"][2:])}
        else:
            fields |= {"amount": int(said["amount"])} if "amount" in said else {}
            fields |= {"asset": said["asset_identifier"]} if "asset_identifier" in said else {}
            fields |= {"token": said["raw_value"]} if "raw_value" in said else {}
        fields["tx_id"] = bytes.fromhex(event["txid"].removeprefix("0x"))
        shown.setdefault(kind, Counter())[tuple(sorted(fields.items()))] += 1
    return shown


@pytest.mark.parametrize("recording", [MANY_EVENTS, NAKAMOTO])
def test_the_views_show_what_the_node_said(
    chain_data: Path, database_url: str, connection: psycopg.Connection[Any], recording: str
) -> None:
    replay(chain_data / recording, database_url)
    expected = recorded_as_views(raw_events(chain_data / recording))
    assert expected
    for view, events in expected.items():
        names = sorted(name for name, _ in next(iter(events)))
        columns = sql.SQL(", ").join(map(sql.Identifier, names))
        query = sql.SQL("SELECT {} FROM {}").format(columns, sql.Identifier("clarion", view))
        found = connection.execute(query).fetchall()
        assert Counter(tuple(zip(names, row, strict=True)) for row in found) == events, view
    moved = sum(sum(events.values()) for view, events in expected.items() if view not in ("print", "stx_lock"))
    assert connection.execute("SELECT count(*) FROM clarion.asset_event").fetchone() == (moved,)


def test_calls_and_contracts_of_a_recorded_devnet(database_url: str, connection: psycopg.Connection[Any]) -> None:
    replay(FIXTURE, database_url)
    told = {}
    for post in read_recording(FIXTURE):
        if post.path == "/new_block":
            for tx in json.loads(post.body)["transactions"]:
                if tx["contract_interface"] is not None:
                    told[bytes.fromhex(tx["txid"][2:])] = tx["contract_interface"]
    execute = connection.execute
    deployed = execute("SELECT tx_id, contract, deployer, name, source, interface FROM clarion.contract").fetchall()
    assert len(deployed) > 5
    parameters = {}
    for tx_id, contract, deployer, name, source, interface in deployed:
        assert contract == f"{deployer}.{name}"
        assert interface == told[tx_id]
        names = {function["name"] for function in interface["functions"]}
        assert names == set(re.findall(r"\(define-(?:public|read-only|private)\s+\(([^\s()]+)", source))
        for function in interface["functions"]:
            parameters[contract, function["name"]] = [argument["name"] for argument in function["args"]]
    calls = execute("SELECT contract, function, arguments, named_arguments FROM clarion.contract_call").fetchall()
    known = [call for call in calls if (call[0], call[1]) in parameters]
    assert len(known) > 100
    for contract, function, arguments, named in known:
        assert (named or {}) == dict(zip(parameters[contract, function], arguments, strict=True))
    # sBTC's contracts were there before the recording
    unnamed = [named for contract, function, _, named in calls if (contract, function) not in parameters]
    assert set(unnamed) == {None}
    # a list of another kind is as long as the chain log says
    assert (
        execute("SELECT count(*) FROM clarion.print").fetchone()
        == execute(
            "SELECT count(*) FROM clarion.event e JOIN clarion.canonical_block c ON c.hash = e.block_hash "
            "WHERE e.kind = 'print'"
        ).fetchone()
    )


def test_an_interface_of_no_known_form_is_not_known() -> None:
    argument = {"name": "a", "type": "uint128"}
    assert interface_form({"functions": [{"name": "f\0", "args": [argument]}], "epoch": "Epoch31"}) == {
        "functions": [{"name": "f\\0", "args": [argument]}],
        "epoch": "Epoch31",
    }
    for form in (None, 5, [], {}, {"functions": 5}, {"functions": [{"name": "f", "args": [5]}]}):
        assert interface_form(form) is None


async def test_a_running_index_makes_them_when_nothing_waits(
    database_url: str, connection: psycopg.Connection[Any]
) -> None:
    def made() -> int:
        (count,) = connection.execute(
            "SELECT count(*) FROM pg_indexes WHERE schemaname = 'clarion' AND indexname LIKE 'stacks\\_\\_%'"
        ).fetchone() or (0,)
        return int(count)

    ingest(opened(connection, [protocol.deployed_at({})]), grown(1))
    connection.execute("INSERT INTO clarion.inbox (path, body) VALUES ('/new_block', '')")
    keeper = LogIndexKeeper(database_url, [protocol])
    async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as other:
        await keeper.look(other)
        assert made() == 0
        connection.execute("UPDATE clarion.inbox SET error = 'put aside'")
        await keeper.look(other)
        assert made() == len(protocol.log_indexes)


def test_the_documented_queries_run(connection: psycopg.Connection[Any]) -> None:
    ingest(opened(connection, [protocol.deployed_at({})]), grown(4))
    page = (FIXTURE.parents[1] / "docs" / "generic-tables.md").read_text(encoding="utf-8")
    statements = [
        statement for block in re.findall(r"```sql\n(.*?)```", page, re.DOTALL) for statement in block.split(";\n")
    ]
    assert len(statements) >= 6
    for statement in filter(None, statements):
        connection.execute(statement.encode())
    # every view that the page lists, with the columns it says
    for names, columns in re.findall(r"^\| ((?:`[a-z_]+`,? ?)+) \| [^|]+ \| (.*) \|$", page, re.MULTILINE):
        for name in re.findall(r"`([a-z_]+)`", names):
            found = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_name = %s "
                "AND table_schema = ANY(ARRAY['clarion', 'stacks'])",
                (name,),
            ).fetchall()
            assert found, name
            if " or " not in columns and "`ft_" not in names and "`nft_" not in names:
                said = set(re.findall(r"`([a-z_]+)`", columns))
                assert said <= {column for (column,) in found}, name
