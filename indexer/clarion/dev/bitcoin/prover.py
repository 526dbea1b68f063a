"""A stand-in for the prover of Charms, for regtest: it checks what the prover checks and makes mock proofs.

Mock proofs prove nothing, and this says so: it refuses every spell that does not say of itself that it is a mock. What
it takes and answers, and how it makes transactions, is as in charms 15.1 (``src/spell/validate.rs``,
``src/spell/prove_spell_tx.rs``, ``src/tx/bitcoin_tx.rs``), its trap included: a spell is known by its CBOR alone, so
that asking again with another fee rate gives the first answer. What it cannot do: beams, versioned apps, other chains,
and the scripts of Scrolls' canister, which a request has to name here. What it charges is fixed, and not by the work of
contracts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec

from clarion.chains.bitcoin.addresses import AddressError, address_of, script_of
from clarion.chains.bitcoin.charms.apps import (
    AppInput,
    AppOutput,
    AppRefusedError,
    AppTransaction,
    InvalidModuleError,
    SpellNotAllowedError,
    app_text,
    check_contracts,
    is_simple_transfer,
    module_key,
)
from clarion.chains.bitcoin.charms.cbor import Value
from clarion.chains.bitcoin.charms.drafts import SCROLL_TAG, charms_made
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.locate import spell_output
from clarion.chains.bitcoin.charms.spells import App, Coin, Spell, write_payload, write_spell
from clarion.chains.bitcoin.charms.values import from_json
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.spell_builder import MOCK_PROOF

DUST_LIMIT: Final = 300
"""Change below this is left to the miners, and as much is paid on top of what is charged."""

_SEQUENCE_FINAL: Final = 0xFFFFFFFF
_INPUT_WEIGHT, _CHANGE_WEIGHT = 65, 172
_GUESSED_PROOF: Final = b"\xff" * 128


class ProofRefusedError(ValueError):
    """The prover will never prove this; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProveRequest:
    """What is asked for. ``fee_rate`` in satoshis per virtual byte."""

    spell: Spell
    previous: tuple[BitcoinTransaction, ...]
    change_address: str
    fee_rate: Decimal = Decimal(0)
    binaries: Mapping[bytes, bytes] = field(default_factory=dict)
    private_inputs: Mapping[App, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What is charged for a spell: so many satoshis and `DUST_LIMIT` to an address."""

    address: str
    base: Sats


class MockProver:
    """Proves by saying so. Answers are kept for as long as it lives."""

    def __init__(self, *, charge: Charge | None = None) -> None:
        self._charge = charge
        self.answers: dict[bytes, BitcoinTransaction] = {}
        """What was proven so far, by the hash of the spell."""

    def prove(self, request: ProveRequest) -> BitcoinTransaction:
        """The unsigned transaction of a spell. Raises ProofRefusedError."""
        key = hashlib.sha256(write_spell(request.spell)).digest()
        if key not in self.answers:
            self._check(request)
            self.answers[key] = self._transaction(request)
        return self.answers[key]

    def _check(self, request: ProveRequest) -> None:
        spell = request.spell
        if not spell.mock:
            raise ProofRefusedError(
                "cannot prove a mock==false spell on a mock==true prover: this is a stand-in for tests, whose proofs "
                "mean nothing"
            )
        if spell.version != LATEST_VERSION:
            raise ProofRefusedError(f"the spell is of version {spell.version}, and this prover of {LATEST_VERSION}")
        if spell.versioned_apps or spell.beamed_outs:
            raise ProofRefusedError("this stand-in knows neither versioned apps nor beams")
        _check_coins(spell)
        made_by = _check_previous(spell, request.previous)
        transaction = _app_transaction(spell, made_by)
        _check_binaries(transaction, request)
        try:
            check_contracts(transaction, request.binaries, request.private_inputs)
        except (AppRefusedError, SpellNotAllowedError, InvalidModuleError) as error:
            raise ProofRefusedError(f"spell verification failed: {error}") from error
        self._check_amounts(request, sum(one.coin.amount for one in transaction.ins))

    def _check_amounts(self, request: ProveRequest, spent: int) -> None:
        """By the prover's own guess of the size, whole satoshis per virtual byte."""
        spell = request.spell
        plain = _plain(spell)
        guessed = len(write_payload(msgspec.structs.replace(spell, inputs=None), _GUESSED_PROOF))
        size = 111 + (guessed + 372) // 4 + plain.virtual_size + 28 * len(plain.inputs)
        charged = self._charge.base if self._charge else 0
        needed = sum(coin.amount for coin in spell.coins or ()) + charged + size * int(request.fee_rate)
        if spent <= needed:
            raise ProofRefusedError(
                f"spell inputs must have sufficient value to cover outputs and fees: {spent}, more than {needed} needed"
            )

    def _transaction(self, request: ProveRequest) -> BitcoinTransaction:
        change = _script(request.change_address)
        plain = _plain(request.spell)
        outputs = list(plain.outputs)
        if self._charge is not None:
            outputs += _charged(self._charge, outputs)
        outputs.append(spell_output(write_payload(_truncated(request.spell), MOCK_PROOF)))
        bare = new_transaction(plain.inputs, tuple(outputs))
        weight = 4 * bare.stripped_size + _INPUT_WEIGHT * len(bare.inputs) + _CHANGE_WEIGHT
        fee = -(-weight * int(request.fee_rate * 250) // 1_000)
        amounts = {(one.id, vout): made.amount for one in request.previous for vout, made in enumerate(one.outputs)}
        spent = sum(amounts[taken.tx_id, taken.vout] for taken in bare.inputs)
        left = spent - sum(output.amount for output in outputs) - fee
        if left < 0:
            raise ProofRefusedError(f"the inputs lack {-left} satoshis for the fee")
        if left >= DUST_LIMIT:
            outputs.append(Output(Sats(left), change))
        return new_transaction(bare.inputs, tuple(outputs))


def _check_coins(spell: Spell) -> None:
    coins = spell.coins
    if coins is None:
        raise ProofRefusedError("coins must be present")
    if len(coins) != len(spell.outs):
        raise ProofRefusedError(f"coins length ({len(coins)}) must match outs length ({len(spell.outs)})")
    places = [place for place, out in enumerate(spell.outs) if any(_app(spell, at).tag == SCROLL_TAG for at in out)]
    if places != (spell.scrolls or []):
        raise ProofRefusedError(
            f"the outputs {places} have charms of tag s, and tx.scrolls names {spell.scrolls or []}"
        )
    for place, coin in enumerate(coins):
        if coin.content is not None:
            raise ProofRefusedError(f"coins[{place}].content must be None for Bitcoin")
        if not coin.script:
            raise ProofRefusedError(f"coins[{place}].dest is empty, and this stand-in has no Scrolls canister to ask")
        if address_of(coin.script, BitcoinNetwork.REGTEST) is None:
            raise ProofRefusedError("all output addresses must be valid for the network")


def _check_previous(spell: Spell, previous: Iterable[BitcoinTransaction]) -> dict[bytes, BitcoinTransaction]:
    """The transactions that made the inputs, by id in internal order."""
    if spell.inputs is None:
        raise ProofRefusedError("spell.tx.ins must be present")
    if len(set(spell.inputs)) < len(spell.inputs):
        raise ProofRefusedError("spell.tx.ins contains a duplicate UTXO")
    found = {one.id[::-1]: one for one in previous}
    if {outpoint[:32] for outpoint in spell.inputs} != found.keys():
        raise ProofRefusedError("prev_txs must contain exactly the transactions producing spell inputs")
    if any(outpoint[:32] not in found for outpoint in spell.refs or ()):
        raise ProofRefusedError("a ref is to an output of a transaction that made no input")
    return found


def _check_binaries(transaction: AppTransaction, request: ProveRequest) -> None:
    try:
        needed = {
            app.vk
            for app, public in transaction.public_inputs.items()
            if public is not None
            or request.private_inputs.get(app) is not None
            or not is_simple_transfer(app, transaction)
        }
    except SpellNotAllowedError as error:
        raise ProofRefusedError(f"spell verification failed: {error}") from error
    if needed != request.binaries.keys():
        keys = [sorted(key.hex() for key in some) for some in (needed, request.binaries)]
        raise ProofRefusedError(f"binaries must contain exactly the required app binaries: {keys[0]}, not {keys[1]}")
    for key, module in request.binaries.items():
        if module_key(module) != key:
            raise ProofRefusedError(f"the binary of {key.hex()} is another one")
    unlisted = request.private_inputs.keys() - transaction.public_inputs.keys()
    if unlisted:
        raise ProofRefusedError(
            f"private inputs of apps that the spell does not list: {', '.join(map(app_text, unlisted))}"
        )


def _app_transaction(spell: Spell, made_by: Mapping[bytes, BitcoinTransaction]) -> AppTransaction:
    charms: dict[bytes, dict[int, dict[App, Value]]] = {}
    for tx_id, one in made_by.items():
        event = read_spell(one, BitcoinNetwork.REGTEST, accept_mock=True)
        made = {} if event is None else charms_made(event)
        charms[tx_id] = {vout: {app: from_json(data) for app, data in on.items()} for vout, on in made.items()}

    def charms_at(outpoint: bytes) -> dict[App, Value]:
        return charms[outpoint[:32]].get(_vout(outpoint), {})

    ins = []
    for outpoint in spell.inputs or ():
        outputs = made_by[outpoint[:32]].outputs
        if _vout(outpoint) >= len(outputs):
            raise ProofRefusedError(f"utxo not found in prev_txs: {outpoint.hex()}")
        output = outputs[_vout(outpoint)]
        ins.append(AppInput(outpoint, Coin(output.amount, output.script), charms_at(outpoint)))
    outs = [
        AppOutput(coin, {_app(spell, at): data for at, data in out.items()})
        for coin, out in zip(spell.coins or (), spell.outs, strict=True)
    ]
    refs = [(outpoint, charms_at(outpoint)) for outpoint in spell.refs or ()]
    return AppTransaction(ins=ins, outs=outs, public_inputs=dict(spell.apps), refs=refs)


def _app(spell: Spell, place: int) -> App:
    if place >= len(spell.apps):
        raise ProofRefusedError(f"an output has a charm of the app {place}, of which there are {len(spell.apps)}")
    return spell.apps[place][0]


def _vout(outpoint: bytes) -> int:
    return int.from_bytes(outpoint[32:], "little")


def _plain(spell: Spell) -> BitcoinTransaction:
    """The spell's inputs and outputs, without the spell."""
    inputs = tuple(Input(one[:32][::-1], _vout(one), b"", _SEQUENCE_FINAL) for one in spell.inputs or ())
    return new_transaction(inputs, tuple(Output(Sats(coin.amount), coin.script) for coin in spell.coins or ()))


def _truncated(spell: Spell) -> Spell:
    """As it stands in a transaction, which says itself what is spent and what outputs hold."""
    return msgspec.structs.replace(spell, inputs=None, coins=None)


def _charged(charge: Charge, outputs: Iterable[Output]) -> list[Output]:
    """The output that pays what is charged, less what the spell pays to that address anyway."""
    script = _script(charge.address)
    missing = charge.base - sum(output.amount for output in outputs if output.script == script)
    return [Output(Sats(missing + DUST_LIMIT), script)] if missing > 0 else []


def _script(address: str) -> bytes:
    try:
        return script_of(address, BitcoinNetwork.REGTEST)
    except AddressError as error:
        raise ProofRefusedError(f"Unsupported network of change address: {error}") from error
