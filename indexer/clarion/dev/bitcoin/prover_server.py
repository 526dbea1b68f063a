"""Serves the stand-in for the prover on loopback, as Charms' own is served: ``POST /spells/prove``, ``GET /ready``.

Requests are JSON or, with the content type ``application/cbor``, CBOR; answers are alike (charms 15.1,
``charms-client/src/request.rs``, ``src/cli/server.rs``). 400 says why a spell is never proven.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from clarion.chains.bitcoin.charms.cbor import CborError, Float, Map, Value, decode, encode
from clarion.chains.bitcoin.charms.spells import App, Spell, SpellFormatError, read_spell_alone
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    TransactionError,
    parse_transaction,
    write_transaction,
)
from clarion.dev.bitcoin.prover import MockProver, ProofRefusedError, ProveRequest
from clarion.dev.bitcoin.server import GRACE_S, stop_signal
from clarion.serving import Server, listen, url_of

MAX_BODY_BYTES: Final = 32 << 20
NAME: Final = "clarion-mock-prover"
BANNER: Final = (
    "This is no prover: it stands in for one in tests, and its proofs mean nothing. It takes mock spells alone.\n"
)

_JSON, _CBOR = "application/json", "application/cbor"
_HEADERS: Final = {"server": NAME, "x-charms-mock": "true"}


class _Form(msgspec.Struct):
    """A request as JSON."""

    spell: str
    change_address: str
    chain: str
    fee_rate: Decimal = Decimal(0)
    app_private_inputs: dict[str, str] = {}
    tx_ins_beamed_source_utxos: dict[str, Any] = {}
    binaries: dict[str, str] = {}
    app_signatures: dict[str, Any] = {}
    prev_txs: list[dict[str, Any]] = []
    collateral_utxo: Any = None


def prover_app(prover: MockProver) -> Starlette:
    """The HTTP application."""

    async def prove(request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                return PlainTextResponse("length limit exceeded", status_code=413, headers=_HEADERS)
        as_cbor = _CBOR in request.headers.get("content-type", _JSON)
        try:
            proven = prover.prove(request_of(bytes(body), as_cbor=as_cbor))
        except ProofRefusedError as error:
            return PlainTextResponse(str(error), status_code=400, headers=_HEADERS)
        text = write_transaction(proven).hex()
        if as_cbor:
            return Response(encode([Map([("bitcoin", text)])]), media_type=_CBOR, headers=_HEADERS)
        return Response(msgspec.json.encode([{"bitcoin": text}]), media_type=_JSON, headers=_HEADERS)

    async def ready(request: Request) -> Response:
        return PlainTextResponse("OK", headers=_HEADERS)

    async def banner(request: Request) -> Response:
        return PlainTextResponse(BANNER, headers=_HEADERS)

    return Starlette(
        routes=[
            Route("/spells/prove", prove, methods=["POST"]),
            Route("/ready", ready, methods=["GET"]),
            Route("/", banner, methods=["GET"]),
        ]
    )


@contextlib.asynccontextmanager
async def serving(listening: socket.socket, prover: MockProver | None = None) -> AsyncIterator[str]:
    """Serve a stand-in within; gives where it is reached."""
    server = Server(prover_app(prover or MockProver()), graceful_seconds=GRACE_S)
    running = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield url_of(listening)
    finally:
        server.should_exit = True
        await running


@dataclass(frozen=True, slots=True)
class ProverOptions:
    """Where a stand-in listens."""

    host: str
    port: int


async def run_prover(options: ProverOptions, ready: Callable[[str], None]) -> None:
    """Run a stand-in until SIGINT or SIGTERM. Raises ServiceError where the port is taken."""
    listening = listen(
        options.host, options.port, what="mock prover", section="REGTEST", also=" (its port: PROVER_PORT)"
    )
    async with serving(listening) as url:
        ready(url)
        await stop_signal()


def request_of(body: bytes, *, as_cbor: bool = False) -> ProveRequest:
    """What a request's body asks for. Raises ProofRefusedError where that cannot be read."""
    return _from_cbor(body) if as_cbor else _from_json(body)


def _from_json(body: bytes) -> ProveRequest:
    try:
        form = msgspec.json.decode(body, type=_Form)
        spell = bytes.fromhex(form.spell)
        binaries = {bytes.fromhex(key): base64.b64decode(one, validate=True) for key, one in form.binaries.items()}
        given = {_app_of(name): decode(bytes.fromhex(data)) for name, data in form.app_private_inputs.items()}
    except (msgspec.DecodeError, ValueError) as error:
        raise ProofRefusedError(f"Invalid JSON: {error}") from error
    return _request(form, _spell(spell), binaries, given)


def _from_cbor(body: bytes) -> ProveRequest:
    """In CBOR the spell is a map in the request, apps are arrays, and bytes are arrays of integers."""
    try:
        fields = _fields(decode(body))
        spell = encode(fields["spell"])
        binaries = {_octets(key): _octets(one) for key, one in _optional(fields, "binaries")}
        given = {_app_from(key): data for key, data in _optional(fields, "app_private_inputs")}
        form = _Form(
            spell="",
            change_address=str(fields["change_address"]),
            chain=str(fields["chain"]),
            fee_rate=_rate(fields.get("fee_rate", 0)),
            tx_ins_beamed_source_utxos={str(key): 0 for key, _ in _optional(fields, "tx_ins_beamed_source_utxos")},
            app_signatures={str(key): 0 for key, _ in _optional(fields, "app_signatures")},
            prev_txs=[_fields(one) for one in _list(fields.get("prev_txs", []))],
        )
    except (KeyError, ValueError) as error:
        raise ProofRefusedError(f"Invalid CBOR: {error}") from error
    return _request(form, _spell(spell), binaries, given)


def _request(
    form: _Form, spell: Spell, binaries: Mapping[bytes, bytes], private_inputs: Mapping[App, Value]
) -> ProveRequest:
    if form.chain != "bitcoin":
        raise ProofRefusedError(f"this stand-in proves for bitcoin, not for {form.chain}")
    if form.tx_ins_beamed_source_utxos or form.app_signatures:
        raise ProofRefusedError("this stand-in knows neither beams nor versioned apps")
    if not 0 <= form.fee_rate < 1_000_000:
        raise ProofRefusedError(f"the fee rate {form.fee_rate} is none")
    return ProveRequest(
        spell=spell,
        previous=tuple(map(_transaction, form.prev_txs)),
        change_address=form.change_address,
        fee_rate=form.fee_rate,
        binaries=binaries,
        private_inputs=private_inputs,
    )


def _spell(data: bytes) -> Spell:
    try:
        return read_spell_alone(data)
    except SpellFormatError as error:
        raise ProofRefusedError(f"the spell cannot be read: {error}") from error


def _transaction(one: Mapping[str, Any]) -> BitcoinTransaction:
    content = one.get("bitcoin")
    if not isinstance(content, str):
        raise ProofRefusedError("prev_txs hold transactions of bitcoin, as hexadecimal")
    try:
        return parse_transaction(bytes.fromhex(content))
    except (ValueError, TransactionError) as error:
        raise ProofRefusedError(f"a transaction of prev_txs cannot be read: {error}") from error


def _app_of(name: str) -> App:
    tag, identity, vk = name.rsplit("/", 2)
    return App(tag, bytes.fromhex(identity), bytes.fromhex(vk))


def _app_from(value: Value) -> App:
    tag, identity, vk = _list(value)
    return App(str(tag), _octets(identity), _octets(vk))


def _pairs(value: Value) -> list[tuple[Value, Value]]:
    if not isinstance(value, Map):
        raise CborError("expected a map", 0)
    return value.pairs


def _fields(value: Value) -> dict[str, Value]:
    return {str(key): item for key, item in _pairs(value)}


def _optional(fields: Mapping[str, Value], name: str) -> list[tuple[Value, Value]]:
    """The pairs of a field that is a map, or none where it was left out."""
    return _pairs(fields.get(name, Map([])))


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise CborError("expected an array", 0)
    return value


def _octets(value: Value) -> bytes:
    return value if isinstance(value, bytes) else bytes(one for one in _list(value) if isinstance(one, int))


def _rate(value: Value) -> Decimal:
    if isinstance(value, Float):
        return Decimal(struct.unpack(">d", value.bits.to_bytes(8, "big"))[0])
    if not isinstance(value, int):
        raise CborError("expected a number", 0)
    return Decimal(value)
