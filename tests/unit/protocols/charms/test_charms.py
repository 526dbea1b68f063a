"""What single spells and spends do to charms."""

from __future__ import annotations

from typing import Any

import pytest
from support import coins
from support.charms_world import GOLD, GOLD_REFERENCE, SILVER, VAULT, Rows

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpendEvent
from clarion.chains.model import Block, JsonValue
from clarion.protocols.charms.ledger import script_key
from clarion.protocols.charms.metadata import Metadata, read_metadata
from clarion.protocols.charms.tables import App, Balance, Charm, Coin, Nft, Spell, Token, Transfer

ALICE, BOB, CAROL = "0x51", "0x52", "0x53"
PLACEHOLDER = "ee" * 32 + ":0"
DESTINATION = "77" * 32
Out = tuple[str, dict[AppUse, JsonValue]]


def spell(*outs: Out, spends: tuple[str, ...] = (), **fields: Any) -> SpellEvent:
    """A spell of the apps that its outputs have, and of those given as ``apps``."""
    named: set[AppUse] = {use for _, charms in outs for use in charms} | set(fields.pop("apps", ()))
    apps = sorted(named, key=lambda use: use.id)
    said: dict[str, Any] = {
        "status": "verified",
        "failed_step": None,
        "version": 15,
        "location": "op_return",
        "mock": False,
        "beamed_outs": {},
        "refs": None,
        "scrolls": [],
        **fields,
    }
    return SpellEvent(
        inputs=list(spends),
        outputs=[Output(1_000 + place, who, f"address of {who}") for place, (who, _) in enumerate(outs)],
        apps=apps,
        outs=[{str(apps.index(use)): data for use, data in charms.items()} for _, charms in outs],
        **said,
    )


class Chain:
    """Blocks with one event each."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []

    def add(self, event: SpellEvent | SpendEvent) -> str:
        """A block with this event more; gives the first output of its transaction."""
        self.blocks.append(coins.block(self.blocks[-1] if self.blocks else None, [event]))
        return self.outpoint(0)

    def outpoint(self, vout: int) -> str:
        """An output of the last transaction."""
        return coins.outpoint(self.blocks[-1], output=vout)

    @property
    def rows(self) -> Rows:
        rows = Rows(self.blocks)
        rows.assert_consistent(self.blocks)
        return rows

    def token(self, use: AppUse = GOLD) -> dict[str, Any]:
        return next(row for row in self.rows.of(Token) if row["app"] == use.id)

    def balances(self) -> dict[str, int]:
        return {row["script"]: row["amount"] for row in self.rows.of(Balance)}

    def transfers(self) -> list[tuple[Any, ...]]:
        """Of the last block."""
        height = self.blocks[-1].height
        rows = [row for row in self.rows.of(Transfer) if row["height"] == height]
        rows.sort(key=lambda row: row["number"])
        return [(row["kind"], row["from_script"], row["to_script"], row["amount"]) for row in rows]


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_what_is_made_with_evidence_is_minted(chain: Chain) -> None:
    outpoint = chain.add(spell((ALICE, {GOLD: 100}), (BOB, {GOLD_REFERENCE: None}), spends=(PLACEHOLDER,)))
    assert chain.transfers()[-1] == ("mint", None, ALICE, 100)
    token = chain.token()
    assert (token["minted"], token["beamed_in"], token["supply"]) == (100, 0, 100)
    assert (token["held"], token["holders"], token["outputs"]) == (100, 1, 1)
    charm = next(row for row in chain.rows.of(Charm) if row["tag"] == "t")
    assert (charm["outpoint"], charm["amount"], charm["data"], charm["sats"]) == (outpoint, 100, None, 1_000)
    assert (charm["script"], charm["address"], charm["state"]) == (ALICE, f"address of {ALICE}", "live")
    (coin,) = (row for row in chain.rows.of(Coin) if row["outpoint"] == outpoint)
    assert coin["apps"] == [GOLD.id]
    told = AppUse("t", GOLD.identity, GOLD.vk, public_input="mint")
    chain.add(spell((ALICE, {told: 5}), spends=(PLACEHOLDER,)))
    assert chain.transfers() == [("mint", None, ALICE, 5)]


def test_what_is_made_without_evidence_may_be_beamed_in(chain: Chain) -> None:
    chain.add(spell((ALICE, {GOLD: 100}), spends=(PLACEHOLDER,)))
    assert chain.transfers() == [("beam_in", None, ALICE, 100)]
    token = chain.token()
    assert (token["minted"], token["beamed_in"], token["supply"]) == (0, 100, 100)


def test_where_every_input_has_charms_nothing_is_beamed_in(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100}), spends=(PLACEHOLDER,)))
    chain.add(spell((ALICE, {GOLD: 130}), spends=(first,)))
    assert chain.transfers() == [("mint", None, ALICE, 30)]


def test_change_is_no_transfer(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100})))
    chain.add(spell((BOB, {GOLD: 30}), (ALICE, {GOLD: 50}), (CAROL, {GOLD: 20}), spends=(first,)))
    assert chain.transfers() == [("transfer", ALICE, BOB, 30), ("transfer", ALICE, CAROL, 20)]
    assert chain.balances() == {ALICE: 50, BOB: 30, CAROL: 20}
    spent = next(row for row in chain.rows.of(Charm) if row["outpoint"] == first)
    assert (spent["state"], spent["spent_tx"]) == ("spent", chain.outpoint(0)[:64])
    assert spent["spent_height"] == chain.blocks[-1].height


def test_what_goes_back_to_its_script_is_no_transfer(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100})))
    chain.add(spell((ALICE, {GOLD: 60}), (ALICE, {GOLD: 40}), spends=(first,)))
    assert chain.transfers() == []
    (balance,) = chain.rows.of(Balance)
    assert (balance["amount"], balance["outputs"]) == (100, 2)
    assert balance["since_height"] == chain.blocks[0].height


def test_several_give_to_several(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 10}), (BOB, {GOLD: 20})))
    chain.add(spell((CAROL, {GOLD: 25}), (BOB, {GOLD: 1}), spends=(first, first[:-1] + "1")))
    assert chain.transfers() == [("transfer", ALICE, CAROL, 10), ("transfer", BOB, CAROL, 15), ("burn", BOB, None, 4)]
    assert chain.token()["burned"] == 4


def test_tokens_are_apart(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 10, SILVER: 7})))
    chain.add(spell((BOB, {GOLD: 10}), (CAROL, {SILVER: 7}), spends=(first,)))
    assert chain.transfers() == [("transfer", ALICE, BOB, 10), ("transfer", ALICE, CAROL, 7)]


def test_beaming_out(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100})))
    beam = spell((BOB, {GOLD: 40}), (ALICE, {GOLD: 60}), spends=(first,), beamed_outs={"0": DESTINATION})
    placeholder = chain.add(beam)
    assert chain.transfers() == [("beam_out", ALICE, None, 40)]
    token = chain.token()
    assert (token["supply"], token["held"], token["beamed_out"], token["burned"]) == (100, 60, 40, 0)
    charm = next(row for row in chain.rows.of(Charm) if row["outpoint"] == placeholder)
    assert (charm["state"], charm["beamed_to"]) == ("beamed_out", DESTINATION)
    chain.add(SpendEvent([placeholder], [], [0]))
    assert chain.transfers() == []
    assert chain.token()["supply"] == 100
    charm = next(row for row in chain.rows.of(Charm) if row["outpoint"] == placeholder)
    assert (charm["state"], charm["spent_tx"]) == ("beamed_out", chain.blocks[-1].transactions[0].id.hex())


def test_a_spend_without_a_spell_destroys(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100, VAULT: {"id": 1}})))
    chain.add(SpendEvent([PLACEHOLDER, first], [Output(1, BOB)], [1]))
    assert chain.transfers() == [("destroy", ALICE, None, None), ("destroy", ALICE, None, 100)]
    token = chain.token()
    assert (token["supply"], token["destroyed"], token["burned"], token["holders"]) == (0, 100, 0, 0)
    assert chain.balances() == {}
    (nft,) = chain.rows.of(Nft)
    assert (nft["state"], nft["outpoint"], nft["data"]) == ("destroyed", first, {"id": 1})
    assert {row["state"] for row in chain.rows.of(Charm)} == {"destroyed"}
    assert {row["live_charms"] for row in chain.rows.of(App)} == {0}


@pytest.mark.parametrize(("status", "state"), [("invalid", "destroyed"), ("unsupported", "unknown")])
def test_a_spell_that_is_not_accepted_makes_nothing(chain: Chain, status: str, state: str) -> None:
    first = chain.add(spell((ALICE, {GOLD: 100, VAULT: 1})))
    chain.add(spell((BOB, {GOLD: 100, SILVER: 3}), spends=(first,), status=status, failed_step="a step: why"))
    token = chain.token()
    kind = "destroy" if state == "destroyed" else "unknown"
    assert token[state] == 100
    assert token["held"] == 0
    assert chain.transfers() == [(kind, ALICE, None, None), (kind, ALICE, None, 100)]
    assert {row["state"] for row in chain.rows.of(Charm)} == {state}
    assert SILVER.id not in {row["app"] for row in chain.rows.of(App)}
    row = next(row for row in chain.rows.of(Spell) if row["status"] == status)
    assert (row["failed_step"], row["charms_in"], row["charms_out"]) == ("a step: why", 2, 0)


def test_until_version_9_the_last_input_is_no_part_of_the_spell(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 10}), (ALICE, {GOLD: 5})))
    second = chain.outpoint(1)
    chain.add(spell((BOB, {GOLD: 10}), spends=(first, second), version=9))
    assert chain.transfers() == [("transfer", ALICE, BOB, 10), ("destroy", ALICE, None, 5)]
    assert (chain.token()["destroyed"], chain.token()["burned"]) == (5, 0)
    later = Chain()
    first = later.add(spell((ALICE, {GOLD: 10}), (ALICE, {GOLD: 5})))
    later.add(spell((BOB, {GOLD: 10}), spends=(first, later.outpoint(1)), version=10))
    assert later.transfers() == [("transfer", ALICE, BOB, 10), ("burn", ALICE, None, 5)]


def test_an_nft_through_its_life(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {VAULT: {"debt": 1}})))
    assert chain.transfers() == [("mint", None, ALICE, None)]
    second = chain.add(spell((ALICE, {VAULT: {"debt": 2}}), spends=(first,)))
    assert chain.transfers() == []
    third = chain.add(spell((BOB, {VAULT: {"debt": 2}}), spends=(second,)))
    assert chain.transfers() == [("transfer", ALICE, BOB, None)]
    (nft,) = chain.rows.of(Nft)
    assert (nft["origin"], nft["outpoint"], nft["script"], nft["moves"]) == (first, third, BOB, 2)
    chain.add(spell((BOB, {}), spends=(third,), apps=(VAULT,)))
    assert chain.transfers() == [("burn", BOB, None, None)]
    (nft,) = chain.rows.of(Nft)
    assert (nft["state"], nft["outpoint"], nft["data"]) == ("burned", third, {"debt": 2})
    assert [row["state"] for row in chain.rows.of(Charm)] == ["spent"] * 3
    assert {row["origin"] for row in chain.rows.of(Charm)} == {first}


def test_nfts_of_one_app_are_told_apart_by_their_data(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {VAULT: {"id": 1}}), (BOB, {VAULT: {"id": 2}})))
    second = chain.outpoint(1)
    chain.add(spell((CAROL, {VAULT: {"id": 2}}), (ALICE, {VAULT: {"id": 3}}), spends=(first, second)))
    origins = {row["data"]["id"]: row["origin"] for row in chain.rows.of(Nft)}
    assert origins == {2: second, 3: first}
    assert chain.transfers() == [("transfer", BOB, CAROL, None)]


def test_an_nft_beamed_out(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {VAULT: 1})))
    chain.add(spell((ALICE, {VAULT: 1}), spends=(first,), beamed_outs={"0": DESTINATION}))
    assert chain.transfers() == [("beam_out", ALICE, None, None)]
    (nft,) = chain.rows.of(Nft)
    assert nft["state"] == "beamed_out"


def test_two_spells_of_one_block(chain: Chain) -> None:
    first = chain.add(spell((ALICE, {GOLD: 10}), (BOB, {GOLD: 10})))
    second = chain.outpoint(1)
    moves = [spell((CAROL, {GOLD: 10}), spends=(outpoint,)) for outpoint in (first, second)]
    chain.blocks.append(coins.block(chain.blocks[-1], moves))
    assert chain.balances() == {CAROL: 20}
    (carol,) = chain.rows.of(Balance)
    assert carol["outputs"] == 2


def test_what_the_reference_nft_says(chain: Chain) -> None:
    about = {
        "name": "Gold",
        "ticker": "AU",
        "decimals": 8,
        "description": "d",
        "url": "u",
        "image": "i",
        "image_hash": "h",
    }
    first = chain.add(spell((ALICE, {GOLD_REFERENCE: about, GOLD: 5})))
    token = chain.token()
    assert {name: token[name] for name in about} == about
    assert token["reference"] == first
    second = chain.add(spell((ALICE, {GOLD_REFERENCE: {"name": "Gold", "ticker": "XAU"}, GOLD: 5}), spends=(first,)))
    token = chain.token()
    assert (token["ticker"], token["decimals"], token["reference"]) == ("XAU", None, second)
    chain.add(spell((ALICE, {GOLD_REFERENCE: {"remaining": 5}, GOLD: 5}), spends=(second,)))
    assert chain.token()["ticker"] == "XAU"


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (None, None),
        ("Gold", None),
        ({"decimals": 8}, None),
        ({"ticker": 5, "name": {"text": "0x00"}}, None),
        ({"ticker": "x" * 65}, None),
        ({"ticker": "AU", "decimals": True}, Metadata(None, "AU", None, None, None, None, None)),
        ({"ticker": "AU", "decimals": 39, "url": 1}, Metadata(None, "AU", None, None, None, None, None)),
        ({"name": "Gold", "decimals": 0}, Metadata("Gold", None, 0, None, None, None, None)),
    ],
)
def test_what_is_no_description(data: JsonValue, read: Metadata | None) -> None:
    assert read_metadata(data) == read


@pytest.mark.parametrize("data", [-1, 2**64, True, "5", None, {"amount": 5}])
def test_data_of_a_token_that_is_no_amount(chain: Chain, data: JsonValue) -> None:
    first = chain.add(spell((ALICE, {GOLD: data})))
    chain.add(spell((BOB, {GOLD: data}), spends=(first,)))
    assert chain.rows.of(Token) == chain.rows.of(Transfer) == []
    assert [(row["amount"], row["data"]) for row in chain.rows.of(Charm)] == [(None, data)] * 2


def test_places_without_an_app_hold_nothing(chain: Chain) -> None:
    event = spell((ALICE, {GOLD: 5}))
    chain.add(
        SpellEvent(**{**{name: getattr(event, name) for name in event.__struct_fields__}, "outs": [{"0": 5, "9": 1}]})
    )
    assert [row["app"] for row in chain.rows.of(Charm)] == [GOLD.id]


def test_a_long_script_is_known_by_its_hash(chain: Chain) -> None:
    long = "0x" + "ab" * 257
    assert script_key("0x" + "ab" * 256) == "0x" + "ab" * 256
    assert script_key(long).startswith("sha256:")
    chain.add(spell((long, {GOLD: 5})))
    assert chain.balances() == {script_key(long): 5}


def test_an_app_is_counted(chain: Chain) -> None:
    versioned = AppUse("s", "cc" * 32, "03" * 32, wasm_hash="04" * 32, version=2)
    first = chain.add(spell((ALICE, {VAULT: 1}), (ALICE, {VAULT: 2})))
    chain.add(spell((ALICE, {versioned: 1}), spends=(first,)))
    (app,) = chain.rows.of(App)
    assert (app["spells"], app["live_charms"], app["wasm_hash"], app["app_version"]) == (2, 2, "04" * 32, 2)
    assert (app["first_height"], app["last_height"]) == (100, 101)
    (last,) = (row for row in chain.rows.of(Spell) if row["height"] == 101)
    assert last["apps"] == [{"app": VAULT.id, "wasm_hash": "04" * 32, "version": 2}]
    assert (last["charms_in"], last["charms_out"], last["tx_index"]) == (1, 1, 1)
