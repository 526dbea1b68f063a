"""The stand-in for the prover: it speaks the protocol, checks as the prover does, and says that it is none."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
from support.submission import NETWORK, World, world

from clarion.chains.bitcoin.charms.cbor import Float, Map, Value, decode, encode
from clarion.chains.bitcoin.charms.spells import Spell, read_spell_alone, write_spell
from clarion.chains.bitcoin.transactions import parse_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.prover import MockProver
from clarion.dev.bitcoin.prover_server import ProverOptions, prover_app, run_prover, serving
from clarion.serving import ServiceError
from clarion_keeper.charms.proof_order import ProofOrder, request_form
from clarion_keeper.charms.prover import Prover

Form = dict[str, Any]


@pytest_asyncio.fixture
async def regtest() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture(scope="module")
def form() -> Form:
    """A request for an update of the oracle's price, as JSON."""

    async def made() -> ProofOrder:
        async with world() as regtest:
            return await regtest.order()

    found: Form = json.loads(
        msgspec.json.Encoder(decimal_format="number").encode(request_form(asyncio.run(made()), NETWORK))
    )
    return found


@pytest_asyncio.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(prover_app(MockProver()))
    async with httpx.AsyncClient(transport=transport, base_url="http://prover") as client:
        yield client


async def refusal(http: httpx.AsyncClient, form: Form) -> str:
    answer = await http.post("/spells/prove", json=form)
    assert answer.status_code == 400, answer.text
    return answer.text


def with_spell(form: Form, **changes: Any) -> Form:
    spell = read_spell_alone(bytes.fromhex(form["spell"]))
    return form | {"spell": write_spell(msgspec.structs.replace(spell, **changes)).hex()}


async def test_it_is_ready_and_says_what_it_is(http: httpx.AsyncClient) -> None:
    ready = await http.get("/ready")
    assert (ready.status_code, ready.text) == (200, "OK")
    assert (ready.headers["server"], ready.headers["x-charms-mock"]) == ("clarion-mock-prover", "true")
    assert "This is no prover" in (await http.get("/")).text


async def test_a_spell_that_claims_to_be_real_is_refused(http: httpx.AsyncClient, form: Form) -> None:
    said = await refusal(http, with_spell(form, mock=False))
    assert said.startswith("cannot prove a mock==false spell on a mock==true prover")
    assert "proofs mean nothing" in said


async def test_the_same_spell_is_the_same_answer(http: httpx.AsyncClient, form: Form) -> None:
    """Whatever fee and change are asked for: as the prover does, which knows a spell by its CBOR."""
    first = await http.post("/spells/prove", json=form)
    other = form | {"fee_rate": 50, "change_address": key("alice").address}
    again = await http.post("/spells/prove", json=other)
    assert first.json() == again.json()
    (answer,) = first.json()
    fresh = httpx.ASGITransport(prover_app(MockProver()))
    async with httpx.AsyncClient(transport=fresh, base_url="http://prover") as client:
        dearer = (await client.post("/spells/prove", json=other)).json()
    before, after = (parse_transaction(bytes.fromhex(one["bitcoin"])) for one in (answer, *dearer))
    assert after.outputs[-1].amount < before.outputs[-1].amount
    assert after.outputs[-1].script == key("alice").taproot_script


async def test_cbor_is_taken_as_json_is(http: httpx.AsyncClient, form: Form) -> None:
    def octets(data: bytes) -> Value:
        return list(data)

    modules = [(octets(bytes.fromhex(key)), octets(base64.b64decode(one))) for key, one in form["binaries"].items()]
    body = Map(
        [
            ("spell", decode(bytes.fromhex(form["spell"]))),
            ("binaries", Map(modules)),
            ("prev_txs", [Map([("bitcoin", one["bitcoin"])]) for one in form["prev_txs"]]),
            ("change_address", form["change_address"]),
            ("fee_rate", Float(0x4000_0000_0000_0000)),  # 2.0
            ("chain", "bitcoin"),
        ]
    )
    as_json = await http.post("/spells/prove", json=form)
    headers = {"content-type": "application/cbor"}
    as_cbor = await http.post("/spells/prove", content=encode(body), headers=headers)
    assert as_cbor.headers["content-type"] == "application/cbor"
    assert decode(as_cbor.content) == [Map([("bitcoin", as_json.json()[0]["bitcoin"])])]
    broken = await http.post("/spells/prove", content=b"\xa1", headers=headers)
    assert (broken.status_code, broken.text.partition(":")[0]) == (400, "Invalid CBOR")


CASES: dict[str, Callable[[Form], Form]] = {
    "of version 14, and this prover of 15": lambda form: with_spell(form, version=14),
    "ins must be present": lambda form: with_spell(form, inputs=None),
    "coins must be present": lambda form: with_spell(form, coins=None),
    "coins length (0) must match outs length (1)": lambda form: with_spell(form, coins=[]),
    "have charms of tag s, and tx.scrolls names []": lambda form: with_spell(form, scrolls=None),
    "neither versioned apps nor beams": lambda form: with_spell(form, beamed_outs={0: bytes(32)}),
    "prev_txs must contain exactly": lambda form: form | {"prev_txs": form["prev_txs"][:1]},
    "prev_txs must contain exactly the": lambda form: form | {"prev_txs": []},
    "binaries must contain exactly": lambda form: form | {"binaries": {}},
    "is another one": lambda form: (
        form | {"binaries": {next(iter(form["binaries"])): base64.b64encode(b"wasm").decode()}}
    ),
    "a transaction of prev_txs cannot be read": lambda form: form | {"prev_txs": [{"bitcoin": "00"}]},
    "as hexadecimal": lambda form: form | {"prev_txs": [{"cardano": "00"}]},
    "proves for bitcoin, not for cardano": lambda form: form | {"chain": "cardano"},
    "Unsupported network": lambda form: form | {"change_address": "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"},
    "neither beams nor versioned": lambda form: form | {"tx_ins_beamed_source_utxos": {"0": []}},
    "must have sufficient value": lambda form: form | {"fee_rate": 900_000},
    "the fee rate -1 is none": lambda form: form | {"fee_rate": -1},
    "the spell cannot be read": lambda form: form | {"spell": "00"},
    "Invalid JSON": lambda form: form | {"spell": {"version": 15}},
    "Invalid JSON: ": lambda form: {},
}


@pytest.mark.parametrize("why", CASES)
async def test_what_is_refused(http: httpx.AsyncClient, form: Form, why: str) -> None:
    assert why in await refusal(http, CASES[why](form))


def changed_coin(spell: Spell, **changes: Any) -> dict[str, Any]:
    return {"coins": [msgspec.structs.replace((spell.coins or [])[0], **changes)]}


async def test_coins_are_looked_at(http: httpx.AsyncClient, form: Form) -> None:
    spell = read_spell_alone(bytes.fromhex(form["spell"]))
    cases = {
        "has no Scrolls canister": changed_coin(spell, script=b""),
        "valid for the network": changed_coin(spell, script=b"\x51"),
        "content must be None": changed_coin(spell, content=1),
    }
    for why, changes in cases.items():
        assert why in await refusal(http, with_spell(form, **changes))
    twice = (spell.inputs or [])[:1] * 2
    assert "duplicate" in await refusal(http, with_spell(form, inputs=twice))
    nowhere = [*(spell.inputs or [])[:-1], (spell.inputs or [])[-1][:32] + b"\xff\x00\x00\x00"]
    assert "utxo not found" in await refusal(http, with_spell(form, inputs=nowhere))
    assert "made no input" in await refusal(http, with_spell(form, refs=[bytes(36)]))


async def test_contracts_are_run(http: httpx.AsyncClient, form: Form) -> None:
    spell = read_spell_alone(bytes.fromhex(form["spell"]))
    ((app, _),) = spell.apps
    assert "spell verification failed: the app s/" in await refusal(http, with_spell(form, apps=[(app, "use")]))
    assert "an output has a charm of the app 0" in await refusal(http, with_spell(form, apps=[]))
    unlisted = app.__class__("n", app.identity, app.vk)
    apps = [(unlisted, "update")]
    assert "which it does not list" in await refusal(http, with_spell(form, apps=apps, scrolls=None))


async def test_a_body_without_end_is_refused(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * (1 << 20)

    answer = await http.post("/spells/prove", content=endless())
    assert answer.status_code == 413


async def test_it_serves_on_a_socket(regtest: World) -> None:
    order = await regtest.order()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with serving(listening) as url, Prover(url, network=NETWORK, accept_mock=True) as client:
            proven = await client.prove(order)
    assert proven.spare > 0
    assert proven.proof == (await regtest.prover.prove(order)).proof


async def test_the_change_is_left_out_where_it_is_dust(regtest: World) -> None:
    order = await regtest.order()
    answer = parse_transaction(await regtest.prover.answer(order))
    change = answer.outputs[-1].amount
    (output,) = order.asked.draft.outputs
    for left, outputs in ((300, 3), (299, 2)):
        taken = replace(output, amount=Sats(output.amount + change - left))
        other = replace(order, asked=replace(order.asked, draft=replace(order.asked.draft, outputs=[taken])))
        found = parse_transaction(await regtest.prover.answer(other))
        assert len(found.outputs) == outputs


async def test_the_command_serves_until_it_is_told_to_stop() -> None:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    running = asyncio.create_task(run_prover(ProverOptions("127.0.0.1", 0), ready.set_result))
    async with httpx.AsyncClient(base_url=await ready) as client:
        assert (await client.get("/ready")).text == "OK"
    os.kill(os.getpid(), signal.SIGTERM)
    await running


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        options = ProverOptions("127.0.0.1", listening.getsockname()[1])
        with pytest.raises(ServiceError, match=r"mock prover cannot listen .* \(its port: PROVER_PORT\)"):
            asyncio.run(run_prover(options, lambda url: None))
