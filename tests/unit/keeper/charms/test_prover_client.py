"""The prover's client: what it asks, and what it makes of provers that refuse, fail, stall or talk nonsense."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.submission import CHANGE, NETWORK, World

from clarion.chains.bitcoin.charms.apps import module_key, packaged_apps
from clarion.chains.bitcoin.charms.drafts import proposal
from clarion.chains.bitcoin.charms.spells import read_spell_alone
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import write_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.config import ConfigurationError, load_settings
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.zkusd_apps import ORACLE
from clarion_keeper.charms.answer import AnswerError
from clarion_keeper.charms.opening import charms_fee_of, prover_of
from clarion_keeper.charms.preflight import PreflightError
from clarion_keeper.charms.proof_order import OrderError, ProofOrder, request_form, request_key
from clarion_keeper.charms.prover import MAX_ANSWER_BYTES, Prover, ProverRefusedError, ProverUnavailableError
from clarion_keeper.charms.sizes import FeeRate

ORACLE_KEY = module_key(packaged_apps("zkusd")["oracle"])


def client_of(answer: Callable[[httpx.Request], httpx.Response] | httpx.AsyncBaseTransport, **options: Any) -> Prover:
    transport = answer if isinstance(answer, httpx.AsyncBaseTransport) else httpx.MockTransport(answer)
    return Prover("http://prover", network=NETWORK, accept_mock=True, transport=transport, **options)


class Scripted:
    """Answers with what it is given, one after the other, the last for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_what_is_asked(order: ProofOrder) -> None:
    form = request_form(order, NETWORK)
    draft = order.asked.draft
    spell = read_spell_alone(bytes.fromhex(form["spell"]))
    assert spell == proposal(draft, mock=True)
    assert spell.inputs is not None
    assert [outpoint[:32][::-1] for outpoint in spell.inputs] == [spent.outpoint.tx_id for spent in draft.inputs]
    assert [(one.amount, one.script) for one in spell.coins or ()] == [(o.amount, o.script) for o in draft.outputs]
    assert (spell.version, spell.mock, spell.scrolls) == (15, True, [0])
    assert form["prev_txs"] == [{"bitcoin": write_transaction(one).hex()} for one in order.previous.values()]
    module = packaged_apps("zkusd")["oracle"]
    assert form["binaries"] == {ORACLE_KEY.hex(): base64.b64encode(module).decode()}
    assert (form["change_address"], form["chain"], str(form["fee_rate"])) == (ORACLE.address, "bitcoin", "2")
    assert request_key(order) == hashlib.sha256(bytes.fromhex(form["spell"])).digest()


async def test_it_is_sent_as_json_with_exact_numbers(order: ProofOrder) -> None:
    answering = Scripted(httpx.Response(400, text="no"))
    async with client_of(answering) as client:
        with pytest.raises(ProverRefusedError):
            await client.answer(replace(order, asked=replace(order.asked, fee_rate=FeeRate(1_234))))
    (request,) = answering.asked
    assert (request.method, request.url.path) == ("POST", "/spells/prove")
    assert request.headers["content-type"] == "application/json"
    assert b'"fee_rate":1.234,' in request.content
    assert json.loads(request.content)["chain"] == "bitcoin"


async def test_a_fee_rate_or_address_makes_no_other_request(order: ProofOrder) -> None:
    other = replace(order.asked, fee_rate=FeeRate(9_000), change=ORACLE.segwit_script)
    assert request_key(replace(order, asked=other)) == request_key(order)


async def test_what_is_missing_is_said_before_anybody_is_asked(order: ProofOrder) -> None:
    with pytest.raises(OrderError, match=f"the contract of s/.*/{ORACLE_KEY.hex()} is needed"):
        request_form(replace(order, contracts={}), NETWORK)
    with pytest.raises(OrderError, match="which made what the spell spends"):
        request_form(replace(order, previous={}), NETWORK)
    with pytest.raises(OrderError, match="has no address"):
        request_form(replace(order, asked=replace(order.asked, change=b"\x51")), NETWORK)


async def test_what_fails_for_now_is_asked_again(order: ProofOrder, prover: Prover) -> None:
    answer = (await prover.answer(order)).hex()
    good = httpx.Response(200, json=[{"bitcoin": answer}])
    for passing in (httpx.Response(500, text="busy"), httpx.Response(429), httpx.ConnectError("refused")):
        answering = Scripted(passing, passing, good)
        async with client_of(answering) as client:
            assert await client.answer(order) == bytes.fromhex(answer)
        assert len(answering.asked) == 3


async def test_what_keeps_failing_is_unavailable(order: ProofOrder) -> None:
    answering = Scripted(httpx.Response(500, text="out of memory"))
    async with client_of(answering) as client:
        with pytest.raises(ProverUnavailableError, match=r"prover does not answer: .* HTTP 500: out of memory"):
            await client.prove(order)
    assert len(answering.asked) == 3


async def test_what_is_refused_is_not_asked_again(order: ProofOrder) -> None:
    answering = Scripted(httpx.Response(400, text="spell verification failed"))
    async with client_of(answering) as client:
        with pytest.raises(ProverRefusedError, match=r"refuses .HTTP 400.: spell verification failed"):
            await client.prove(order)
    assert len(answering.asked) == 1


class Stalling(httpx.AsyncBaseTransport):
    """Takes requests and never answers, or begins to and never ends."""

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.begins:
            await asyncio.Event().wait()
        return httpx.Response(200, stream=Trickle())


class Trickle(httpx.AsyncByteStream):
    async def __aiter__(self) -> Any:
        while True:
            yield b" "
            await asyncio.sleep(0)


@pytest.mark.parametrize("begins", [False, True])
async def test_a_prover_that_stalls_is_given_up(order: ProofOrder, begins: bool) -> None:
    async with client_of(Stalling(begins=begins), timeout_seconds=0.02) as client:
        with pytest.raises(ProverUnavailableError, match=r"longer than 0\.02 seconds"):
            await client.prove(order)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'[{"cardano":"00"}]',
        b'[{"bitcoin":"0"}]',
        b'[{"bitcoin":{"tx":"00"}}]',
        b'[{"bitcoin":"00"},{"bitcoin":"00"}]',
        b"<html>",
        b"\xff",
    ],
)
async def test_other_answers_are_none(order: ProofOrder, content: bytes) -> None:
    async with client_of(Scripted(httpx.Response(200, content=content))) as client:
        with pytest.raises(ProverRefusedError, match="what is not one transaction of Bitcoin"):
            await client.prove(order)


async def test_an_answer_that_does_not_end_is_refused(order: ProofOrder) -> None:
    async with client_of(Scripted(httpx.Response(200, content=b" " * (MAX_ANSWER_BYTES + 1)))) as client:
        with pytest.raises(ProverRefusedError, match="answers more than 2097152 bytes"):
            await client.prove(order)


async def test_bytes_that_are_no_transaction_are_an_answer_that_is_not_taken(order: ProofOrder) -> None:
    async with client_of(Scripted(httpx.Response(200, json=[{"bitcoin": "00"}]))) as client:
        with pytest.raises(AnswerError, match="is no transaction"):
            await client.prove(order)


async def test_a_prover_of_another_version_is_not_asked(order: ProofOrder) -> None:
    answering = Scripted(httpx.Response(500))
    async with client_of(answering, version=16) as client:
        with pytest.raises(ProverRefusedError, match=r"of version 15, and the prover .* proves version 16"):
            await client.prove(order)
    assert not answering.asked


async def test_what_is_compressed_is_not_unpacked(order: ProofOrder) -> None:
    packed = gzip.compress(b"[]")
    answering = Scripted(httpx.Response(200, content=packed, headers={"content-encoding": "gzip"}))
    async with client_of(answering) as client:
        with pytest.raises(ProverRefusedError, match="packs its answer"):
            await client.answer(order)
    assert answering.asked[0].headers["accept-encoding"] == "identity"


async def test_contracts_are_asked_first(regtest: World) -> None:
    """The draft says a price that is ten percent off, the contract allows five."""
    draft = await regtest.draft()
    (output,) = draft.outputs
    (app,) = output.charms
    data: Any = output.charms[app]
    data = data | {"price": data["price"] | {"price": data["price"]["price"] * 9 // 10}}
    order = await regtest.order(replace(draft, outputs=[replace(output, charms={app: data})]))
    answering = Scripted(httpx.Response(500))
    async with client_of(answering) as client:
        with pytest.raises(PreflightError, match="refuses the transaction"):
            await client.prove(order)
    assert not answering.asked


async def changed(order: ProofOrder, change: Callable[[ProofOrder], ProofOrder]) -> str:
    answering = Scripted(httpx.Response(500))
    async with client_of(answering) as client:
        with pytest.raises(PreflightError) as refused:
            await client.prove(change(order))
    assert not answering.asked
    return str(refused.value)


async def test_what_is_spent_is_looked_at_first(order: ProofOrder) -> None:
    def with_first(order: ProofOrder, **changes: Any) -> ProofOrder:
        first, *others = order.asked.draft.inputs
        draft = replace(order.asked.draft, inputs=[replace(first, **changes), *others])
        return replace(order, asked=replace(order.asked, draft=draft))

    coin = order.asked.draft.inputs[0].coin
    assert "the charms on input 0 are not those" in await changed(order, lambda o: with_first(o, charms={}))
    richer = coin._replace(amount=Sats(coin.amount + 1))
    assert f"input 0 holds {coin.amount} satoshis" in await changed(order, lambda o: with_first(o, coin=richer))
    assert "that made input 0 is not there" in await changed(order, lambda o: replace(o, previous={}))

    def doubled(order: ProofOrder) -> ProofOrder:
        draft = replace(order.asked.draft, inputs=[*order.asked.draft.inputs] * 2)
        return replace(order, asked=replace(order.asked, draft=draft))

    assert "an outpoint is spent twice" in await changed(order, doubled)


async def test_charms_of_mock_proofs_are_none_elsewhere(order: ProofOrder) -> None:
    for network, accept_mock in ((BitcoinNetwork.MAINNET, True), (NETWORK, False)):
        client = Prover("http://prover", network=network, accept_mock=accept_mock)
        async with client:
            with pytest.raises(PreflightError, match="charms on input 0"):
                await client.prove(order)


def test_the_prover_of_the_settings(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def settings(network: str, **keeper: Any) -> Any:
        return load_settings({"bitcoin": {"network": network}, "keeper": keeper})

    with pytest.raises(ConfigurationError, match="no public prover for regtest: `clarion prover` runs one"):
        prover_of(settings("regtest"))
    assert prover_of(settings("mainnet")).url == "https://v15.charms.dev"
    assert prover_of(settings("regtest", prover_url="http://here:1/")).url == "http://here:1"
    assert charms_fee_of(settings("regtest")) is None
    fee = charms_fee_of(settings("regtest", bitcoin={"charms_fee_address": ORACLE.address, "charms_fee_most": 7}))
    assert fee is not None
    assert (fee.script, fee.most) == (CHANGE, 7)
    with pytest.raises(ConfigurationError, match="charms_fee_address"):
        charms_fee_of(settings("mainnet", bitcoin={"charms_fee_address": key("alice").address}))
