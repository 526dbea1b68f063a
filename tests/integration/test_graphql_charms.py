"""The API over Charms: tokens with their names, balances, NFTs through their life, outputs, spells, accounts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
import pytest
from support import coins
from support.graphql import NO_CACHE, Server, serving

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpellStatus
from clarion.chains.model import Block, JsonValue
from clarion.protocols.charms import protocol
from clarion.store.database import connect
from clarion.store.store import Store
from clarion_graphql.app import make_app
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.home import examples
from clarion_graphql.schema import build_schema

IDENTITY, KEY = "11" * 32, "22" * 32
NFT, TOKEN = f"n/{IDENTITY}/{KEY}", f"t/{IDENTITY}/{KEY}"
ALICE, BOB = "0x0014aa", "0x0014bb"
METADATA = {"name": "Bitcoin Cat", "ticker": "CAT", "decimals": 2, "url": "https://cat.example"}


def spell(
    *outs: tuple[str, Mapping[str, JsonValue]],
    spends: tuple[str, ...] = (),
    status: SpellStatus = "verified",
    evidence: JsonValue = None,
) -> SpellEvent:
    """A spell whose outputs, each of somebody, hold charms by app."""
    names = sorted({NFT, *(app for _, charms in outs for app in charms)})
    return SpellEvent(
        inputs=list(spends),
        outputs=[Output(1_000 + place, who, f"address-{who}") for place, (who, _) in enumerate(outs)],
        status=status,
        failed_step=None if status == "verified" else "proof",
        version=14,
        location="op_return",
        mock=False,
        apps=[AppUse(*name.split("/"), public_input=evidence if name == TOKEN else None) for name in names],
        outs=[{str(names.index(app)): data for app, data in charms.items()} for _, charms in outs],
        beamed_outs={},
        refs=None,
        scrolls=[],
    )


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store of the protocol, open."""
    with connect(database_url, autocommit=True) as connection:
        opened = Store(connection, "bitcoin", [protocol.deployed_on("regtest")])
        opened.open()
        yield opened


@pytest.fixture
async def server(database_url: str, store: Store) -> AsyncIterator[Server]:
    async with serving(make_app(database_url, protocols=[protocol], deployed={}, graphql=NO_CACHE)) as running:
        yield running


def apply(store: Store, block: Block) -> Block:
    with store.batch() as batch:
        batch.append(block)
        batch.apply(block)
    return block


@pytest.fixture
def blocks(store: Store) -> list[Block]:
    """A token is made, some of it given away, of which some is lost; its NFT moves on; a spell does not hold."""
    minted = apply(
        store, coins.block(None, [spell((ALICE, {NFT: METADATA}), (ALICE, {TOKEN: 1_000}), evidence={"op": "mint"})])
    )
    given = apply(
        store,
        coins.block(
            minted,
            [
                spell((ALICE, {TOKEN: 650}), (BOB, {TOKEN: 350}), spends=(coins.outpoint(minted, 0, 1),)),
                spell((BOB, {NFT: METADATA}), spends=(coins.outpoint(minted, 0, 0),)),
            ],
        ),
    )
    lost = apply(
        store,
        coins.block(
            given,
            [
                coins.lose(coins.outpoint(given, 0, 0)),
                spell((ALICE, {TOKEN: 9}), status="invalid"),
            ],
        ),
    )
    return [minted, given, lost]


@pytest.mark.usefixtures("blocks")
async def test_a_token_is_told_with_its_figures_in_whole_ones(server: Server) -> None:
    document = """query($app: String!) { charmsToken(appId: $app) {
      name ticker decimals supply supplyDecimal minted destroyed destroyedDecimal heldDecimal holders
      app { id tag token { ticker } }
      balances { nodes { address amount amountDecimal shareBps token { ticker } } }
      transfers(orderBy: [{field: HEIGHT}, {field: TX_INDEX}, {field: NUMBER}]) {
        nodes { kind fromAddress toAddress amountDecimal height }
      }
    } }"""
    found = (await server.data(document, {"app": TOKEN}))["charmsToken"]
    transfers = found.pop("transfers")["nodes"]
    assert found == {
        "name": "Bitcoin Cat",
        "ticker": "CAT",
        "decimals": 2,
        "supply": "350",
        "supplyDecimal": "3.5",
        "minted": "1000",
        "destroyed": "650",
        "destroyedDecimal": "6.5",
        "heldDecimal": "3.5",
        "holders": 1,
        "app": {"id": TOKEN, "tag": "t", "token": {"ticker": "CAT"}},
        "balances": {
            "nodes": [
                {
                    "address": f"address-{BOB}",
                    "amount": "350",
                    "amountDecimal": "3.5",
                    "shareBps": "10000",
                    "token": {"ticker": "CAT"},
                }
            ]
        },
    }
    assert [(t["kind"], t["amountDecimal"], t["height"]) for t in transfers] == [
        ("mint", "10", 100),
        ("transfer", "3.5", 101),
        ("destroy", "6.5", 102),
    ]


@pytest.mark.usefixtures("blocks")
async def test_balances_as_of_a_block_and_their_receipt(server: Server) -> None:
    document = "query @asOf(height: 101) { charmsBalances(orderBy: [{field: AMOUNT}]) { nodes { address amount } } }"
    answer = await server.query(document)
    assert answer["data"]["charmsBalances"]["nodes"] == [
        {"address": f"address-{BOB}", "amount": "350"},
        {"address": f"address-{ALICE}", "amount": "650"},
    ]
    assert (answer["extensions"]["receipt"]["chain"], answer["extensions"]["receipt"]["height"]) == ("bitcoin", 101)


async def test_an_nft_through_its_life(server: Server, blocks: list[Block]) -> None:
    document = """{ charmsNfts { nodes { state address moves origin outpoint data
      history { nodes { outpoint state spentTx confirmations spell { txId status } nft { moves } } }
      coin { outpoint appIds charms { totalCount } } } } }"""
    (nft,) = (await server.data(document))["charmsNfts"]["nodes"]
    first, second = coins.outpoint(blocks[0]), coins.outpoint(blocks[1], 1)
    assert (nft["state"], nft["address"], nft["moves"]) == ("live", f"address-{BOB}", 1)
    assert (nft["origin"], nft["outpoint"], nft["data"]["ticker"]) == (first, second, "CAT")
    assert nft["coin"] == {"outpoint": second, "appIds": [NFT], "charms": {"totalCount": 1}}
    newest, oldest = nft["history"]["nodes"]
    assert (newest["outpoint"], newest["state"], newest["confirmations"]) == (second, "live", 2)
    assert (oldest["outpoint"], oldest["state"], oldest["confirmations"]) == (first, "spent", 3)
    assert oldest["spentTx"] == newest["spell"]["txId"] == second.partition(":")[0]


@pytest.mark.usefixtures("blocks")
async def test_spells_of_whatever_status(server: Server) -> None:
    document = """{ charmsSpells(orderBy: [{field: HEIGHT}, {field: TX_INDEX}]) { nodes {
      status failedStep confirmations charms { nodes { vout tag amount sats satsBtc } } spentCharms { totalCount }
      transfers { totalCount } } } }"""
    listed = (await server.data(document))["charmsSpells"]["nodes"]
    assert [(s["status"], s["failedStep"], s["confirmations"]) for s in listed] == [
        ("verified", None, 3),
        ("verified", None, 2),
        ("verified", None, 2),
        ("invalid", "proof", 1),
    ]
    assert listed[0]["charms"]["nodes"] == [
        {"vout": 0, "tag": "n", "amount": None, "sats": "1000", "satsBtc": "0.00001"},
        {"vout": 1, "tag": "t", "amount": "1000", "sats": "1001", "satsBtc": "0.00001001"},
    ]
    assert [s["spentCharms"]["totalCount"] for s in listed] == [0, 1, 1, 0]
    assert listed[3]["charms"]["nodes"] == []


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("holder", [BOB, f"address-{BOB}"])
async def test_an_account_by_its_address_or_script(server: Server, holder: str) -> None:
    document = """query($holder: String!) { charmsAccount(holder: $holder) {
      holder outputs sats satsBtc firstHeight lastHeight balances { appId amountDecimal } nfts { appId data } } }"""
    assert (await server.data(document, {"holder": holder}))["charmsAccount"] == {
        "holder": holder,
        "outputs": 2,
        "sats": "2001",
        "satsBtc": "0.00002001",
        "firstHeight": 101,
        "lastHeight": 101,
        "balances": [{"appId": TOKEN, "amountDecimal": "3.5"}],
        "nfts": [{"appId": NFT, "data": {**METADATA, "decimals": "2"}}],
    }


@pytest.mark.usefixtures("blocks")
async def test_an_account_that_holds_nothing(server: Server) -> None:
    document = """{ charmsAccount(holder: "address-of-nobody") {
      outputs sats firstHeight balances { appId } nfts { appId } } }"""
    nothing: dict[str, Any] = {"outputs": 0, "sats": "0", "firstHeight": None, "balances": [], "nfts": []}
    assert (await server.data(document))["charmsAccount"] == nothing


async def test_balances_as_they_change_and_are_taken_back(server: Server, store: Store, blocks: list[Block]) -> None:
    document = """subscription { charmsBalanceChanged(filter: {address: {eq: "address-0x0014aa"}}) {
      op retraction before { amountDecimal } after { amountDecimal } } }"""
    async with server.subscribe(document) as messages:
        assert (await messages.next())["op"] == "START"
        apply(store, coins.block(blocks[-1], [spell((ALICE, {TOKEN: 350}), spends=(coins.outpoint(blocks[1], 0, 1),))]))
        told = await messages.next()
        assert (told["op"], told["after"]) == ("INSERT", {"amountDecimal": "3.5"})
        with store.batch() as batch:
            batch.rollback(102)
        back = await messages.next()
        assert (back["op"], back["retraction"], back["before"]) == ("DELETE", True, {"amountDecimal": "3.5"})


@pytest.mark.usefixtures("blocks")
async def test_the_examples_are_answered_alike_with_plans_and_without(server: Server) -> None:
    resolvers = Executor(build_schema([protocol]), server.app.state.service, plans=False)
    for example in examples(["charms"]):
        if example.name.startswith("charms/") and "\nquery" in example.document:
            answer = await server.query(example.document)
            assert "errors" not in answer, (example.name, answer["errors"])
            reference = await resolvers.execute(GraphQLRequest(example.document))
            assert msgspec.json.decode(reference.body)["data"] == answer["data"], example.name
