"""`clarion new-protocol`: what it writes works, whatever the contract has said."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import node_posts, toy

from clarion import cli
from clarion.chains.model import Block, EventKind
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.clarity_forms import to_json
from clarion.chains.stacks.node_client import NodeClient
from clarion.chains.stacks.node_payloads import NEW_BLOCK, decode_post
from clarion.chains.stacks.structure import topic_of_value
from clarion.config import NetworkName, Settings
from clarion.follower import Follower
from clarion.scaffold.command import plan_package, write_package
from clarion.scaffold.render import ScaffoldError, plan, render
from clarion.scaffold.samples import Sample, told_samples
from clarion.scaffold.shapes import ANY, NOTHING, ListOf, Optional, Plain, TupleOf, merge, shape_of
from clarion.store.database import connect
from clarion.store.store import Store
from hiro_api_client import HiroApiClient

CONTRACT = toy.CONTRACT
PRINCIPAL = cl.principal(toy.DEPLOYER)


def tuple_of(topic: str, **fields: cl.Value) -> cl.Value:
    return cl.Tuple({"topic": cl.StringUtf8(topic)} | {name.replace("_", "-"): value for name, value in fields.items()})


PRINTED = [
    tuple_of("deposited", who=PRINCIPAL, amount=cl.UInt(2**128 - 1), height=cl.UInt(3), txid=cl.Buffer(b"\x01\x02")),
    tuple_of("deposited", who=PRINCIPAL, amount=cl.UInt(0), txid=cl.Buffer(b""), memo=cl.StringAscii("hi")),
    tuple_of("route", hops=cl.List([cl.Tuple({"pool": PRINCIPAL, "amount-in": cl.Int(-5)})]), open=cl.Bool(True)),
    tuple_of("route", hops=cl.List([]), open=cl.Bool(False)),
    tuple_of("class", json=cl.OptionalNone(), metadata=cl.UInt(1), model_x=cl.UInt(2), tx_id=cl.Buffer(b"\x03")),
    tuple_of("Row", **{"def": cl.Some(cl.UInt(4)), "is-it?": cl.Bool(True)}),
    tuple_of("Row", **{"def": cl.NONE, "is-it?": cl.Bool(False)}),
    tuple_of('we"ird \\ \n topic ✓', at=cl.Tuple({"x": cl.UInt(1), "y": cl.Some(cl.Some(cl.UInt(2)))})),
    tuple_of("2nd", result=cl.Ok(cl.UInt(1))),
    tuple_of("mixed", value=cl.UInt(1)),
    tuple_of("mixed", value=PRINCIPAL),
    tuple_of("bare"),
    cl.UInt(7),
    cl.Buffer(b"memo"),
]


def sample(value: cl.Value) -> Sample:
    form = to_json(value)
    return Sample(EventKind.PRINT, topic_of_value(CONTRACT, cl.encode(value)), form, cl.encode(value))


def asset(kind: EventKind, **fields: Any) -> Sample:
    return Sample(kind, kind.value, {"asset": f"{CONTRACT}::coin", **fields}, None)


ASSETS = [
    asset(EventKind.FT_MINT, sender=None, recipient="A", amount=100),
    asset(EventKind.FT_TRANSFER, sender="A", recipient="B", amount=30),
    asset(EventKind.FT_BURN, sender="B", recipient=None, amount=30),
    asset(EventKind.NFT_MINT, sender=None, recipient="A", value=1),
    asset(EventKind.NFT_MINT, sender=None, recipient="A", value={"b": 1, "a": [2]}),
    asset(EventKind.NFT_TRANSFER, sender="A", recipient="B", value=1),
    asset(EventKind.NFT_BURN, sender="A", recipient=None, value={"b": 1, "a": [2]}),
]


@pytest.fixture
def indexed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> psycopg.Connection[Any]:
    """An index in which the contract has said all of it."""
    place = toy.block(None)
    call = node_posts.signed_call(1)
    txid = node_posts.hex_of(call.txid)
    events = [node_posts.print_event(txid, index, value) for index, value in enumerate(PRINTED)]
    for said in ASSETS:
        assert isinstance(said.value, dict)
        body = {"asset_identifier": said.value["asset"], "sender": said.value["sender"]}
        body["recipient"] = said.value["recipient"]
        if "amount" in said.value:
            body["amount"] = str(said.value["amount"])
        else:
            body["raw_value"] = node_posts.hex_of(cl.encode(nft_value(said.value["value"])))
        name = f"{said.kind.value}_event"
        events.append({"txid": txid, "event_index": len(events), "committed": True, "type": name, name: body})
    payload = node_posts.block_payload(place, [node_posts.transaction_entry(call)], events)
    (block,) = decode_post(NEW_BLOCK, node_posts.body(payload))
    assert isinstance(block, Block)
    with connect(database_url, autocommit=True) as connection:
        store = Store(connection, "stacks")
        store.open()
        with store.batch() as batch:
            Follower().ingest(batch, [block])
    monkeypatch.setenv("CLARION_DATABASE_URL", database_url)
    monkeypatch.setenv("CLARION_PROTOCOLS", "")
    monkeypatch.setenv("CLARION_NODE__URL", "http://127.0.0.1:9")
    return connection


def nft_value(value: Any) -> cl.Value:
    if isinstance(value, int):
        return cl.UInt(value)
    return cl.Tuple({"a": cl.List([cl.UInt(2)]), "b": cl.UInt(1)})


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        cli.app(list(arguments))
    code = exit_.value.code
    assert isinstance(code, int)
    return code


def passes(folder: Path, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("indexed")
@pytest.mark.parametrize("typed", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_written_package_passes_its_own_test_and_the_checkers(tmp_path: Path, typed: bool) -> None:
    folder = tmp_path / "package"
    assert run("new-protocol", "wild", "--contract", CONTRACT, "--out", str(folder)) == 0
    passes(folder, "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error")
    passes(folder, "ruff", "check", "--no-cache", ".")
    passes(folder, "ruff", "format", "--check", "--no-cache", ".")
    if typed:
        passes(folder, "mypy", "--no-incremental")
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["clarion.protocols"] == {"wild": "clarion_wild:protocol"}
    samples = json.loads((folder / "tests" / "samples.json").read_text())
    assert len(samples) == len(PRINTED) + len(ASSETS)


@pytest.mark.usefixtures("indexed")
def test_what_cannot_be_written_is_said_and_nothing_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, contract, problem in (
        ("Wild", CONTRACT, "cannot be a protocol's name"),
        ("wild", "no contract", "no contract id"),
        ("wild", f"{toy.DEPLOYER}.silent", "no event of"),
    ):
        assert run("new-protocol", name, "--contract", contract, "--out", str(tmp_path / "package")) == 1
        assert problem in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").write_text("kept")
    assert run("new-protocol", "wild", "--contract", CONTRACT, "--out", str(tmp_path)) == 1
    assert "is there already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_shapes_are_as_narrow_as_the_samples_allow() -> None:
    number, text = Plain("int"), Plain("str")
    assert shape_of(cl.NONE) == Optional(NOTHING)
    assert merge(shape_of(cl.NONE), shape_of(cl.Some(cl.UInt(1)))) == Optional(number)
    assert merge(number, Optional(text)) == ANY
    assert merge(Optional(number), number) == Optional(number)
    assert shape_of(cl.List([cl.UInt(1), cl.UInt(2)])) == ListOf(number)
    assert shape_of(cl.Some(cl.Some(cl.UInt(1)))) == ANY
    left, right = TupleOf((("a", number),)), TupleOf((("a", number), ("b", text)))
    assert merge(left, right) == TupleOf((("a", number), ("b", Optional(text))))


SHAPES = st.recursive(
    st.sampled_from([Plain("int"), Plain("bool"), Plain("str"), ANY, NOTHING]),
    lambda inner: (
        inner.map(ListOf)
        | inner.filter(lambda shape: not isinstance(shape, Optional) and shape != ANY).map(Optional)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3).map(lambda f: TupleOf(tuple(sorted(f.items()))))
    ),
    max_leaves=6,
)


@given(SHAPES, SHAPES)
def test_merging_does_not_depend_on_the_order(left: Any, right: Any) -> None:
    assert merge(left, right) == merge(right, left)
    assert merge(left, left) == left
    assert merge(merge(left, right), right) == merge(left, right)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_any_topic_makes_python(topics: list[str]) -> None:
    samples = [
        Sample(EventKind.PRINT, topic, {}, cl.encode(cl.Tuple({"amount": cl.UInt(1), "list": cl.List([])})))
        for topic in topics
    ]
    made = plan("wild", CONTRACT, "mainnet", None, samples)
    for path, content in render(made).items():
        if path.endswith(".py"):
            ast.parse(content)
    assert len({topic.class_name for topic in made.topics}) == len(set(topics))


def test_a_name_that_is_taken_is_refused() -> None:
    for name in ("clarion", "a__next", "public", "x" * 41, ""):
        with pytest.raises(ScaffoldError, match="cannot be a protocol's name"):
            plan(name, CONTRACT, "mainnet", None, [])


def told_log(value: cl.Value, index: int) -> dict[str, Any]:
    """A print as the API lists it in a contract's log."""
    return {
        "event_index": index,
        "event_type": "smart_contract_log",
        "tx_id": f"0x{index:064x}",
        "contract_log": {
            "contract_id": CONTRACT,
            "topic": "print",
            "value": {"hex": cl.encode_hex(value), "repr": ""},
        },
    }


async def test_prints_are_asked_of_an_api_page_by_page() -> None:
    newest_first = [told_log(value, index) for index, value in enumerate(PRINTED)][::-1]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        start = int(request.url.params.get("cursor", "0"))
        page = newest_first[start : start + 5]
        following = str(start + 5) if start + 5 < len(newest_first) else None
        body = {"limit": 5, "total": len(newest_first), "cursor": {"next": following, "previous": None, "current": ""}}
        return httpx.Response(200, json=body | {"results": page})

    async with HiroApiClient("http://127.0.0.1:9", transport=httpx.MockTransport(answer)) as api:
        samples = await told_samples(api, CONTRACT)

    assert set(asked) == {f"/extended/v2/smart-contracts/{CONTRACT}/logs"}
    assert samples == [sample(value) for value in PRINTED]


@pytest.mark.usefixtures("indexed")
async def test_the_nodes_interface_tells_of_tokens_without_events(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = f"{toy.DEPLOYER}.silent"
    interface = {"functions": [], "fungible_tokens": [{"name": "coin"}], "non_fungible_tokens": []}

    async def told(self: NodeClient, asked: str) -> Any:
        return interface if asked == contract else None

    monkeypatch.setattr(NodeClient, "contract_interface", told)
    with connect(database_url, autocommit=True) as connection:
        made = await plan_package(Settings(network=NetworkName.MAINNET, protocols=[]), connection, "silent", contract)
    assert (made.has_ft, made.has_nft, made.topics) == (True, False, ())
    for path, content in render(made).items():
        if path.endswith(".py"):
            ast.parse(content)


FT = [one for one in ASSETS if one.kind.value.startswith("ft")]
NFT = [one for one in ASSETS if one.kind.value.startswith("nft")]
TOKENS = {"functions": [], "fungible_tokens": [{"name": "coin"}], "non_fungible_tokens": [{"name": "ticket"}]}


def test_a_package_with_little_in_it_is_tidy_too(tmp_path: Path) -> None:
    for name, interface, said in (
        ("ft", None, FT),
        ("nft", None, NFT),
        ("silent", TOKENS, []),
        ("typed", None, [sample(PRINTED[0])]),
        ("nested", None, [sample(PRINTED[2])]),
        ("bare", None, [sample(PRINTED[11])]),
        ("number", None, [sample(PRINTED[12])]),
    ):
        write_package(plan(name, CONTRACT, "mainnet", interface, said), tmp_path / name)
    passes(tmp_path, "ruff", "check", "--no-cache", ".")
    passes(tmp_path, "ruff", "format", "--check", "--no-cache", ".")
