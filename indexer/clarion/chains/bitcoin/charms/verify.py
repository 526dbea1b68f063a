"""From a block's transactions to what they say of charms: spells found, read, and their proofs verified together.

The steps and their order are those of ``extract_and_verify_spell`` in charms-client 15.1. What it proves holds without
the transactions before: a spell's proof is also a proof of the spells that made what it spends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.charms import keys, proofs
from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpellStatus
from clarion.chains.bitcoin.charms.groth16 import Pairings, Statement, verify_all
from clarion.chains.bitcoin.charms.locate import Envelope, envelopes
from clarion.chains.bitcoin.charms.spells import Spell, SpellFormatError, committed, public_values, read_payload
from clarion.chains.bitcoin.charms.values import to_json
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import outpoint_text

_NOT_REPRODUCIBLE: Final = 0
"""The version whose public values are in a form that only its own program writes."""


class _Verdict(Struct):
    status: SpellStatus
    failed_step: str | None = None
    statement: Statement | None = None
    """Of a proof that is yet to be verified."""


class _Unreadable(Struct):
    envelope: Envelope
    version: int | None
    verdict: _Verdict


def read_spells(
    transactions: Sequence[BitcoinTransaction],
    network: BitcoinNetwork,
    *,
    accept_mock: bool,
    by: Pairings | None = None,
) -> list[SpellEvent | None]:
    """What each transaction says of charms; None where it is not marked as having a spell.

    ``accept_mock``: whether spells that say that their proof means nothing are taken as true (status ``mock``).
    """
    events: list[SpellEvent | None] = []
    open_proofs: list[tuple[int, Statement]] = []
    for place, transaction in enumerate(transactions):
        event, statement = _decode(transaction, network, accept_mock)
        events.append(event)
        if statement is not None:
            open_proofs.append((place, statement))
    held = verify_all([statement for _, statement in open_proofs], by=by)
    for (place, _), holds in zip(open_proofs, held, strict=True):
        event = events[place]
        if event is not None and not holds:
            events[place] = replace(event, status="invalid", failed_step="proof_pairing: the proof does not hold")
    return events


def read_spell(transaction: BitcoinTransaction, network: BitcoinNetwork, *, accept_mock: bool) -> SpellEvent | None:
    """What one transaction says of charms: see :func:`read_spells`."""
    (event,) = read_spells([transaction], network, accept_mock=accept_mock)
    return event


def _decode(
    transaction: BitcoinTransaction, network: BitcoinNetwork, accept_mock: bool
) -> tuple[SpellEvent | None, Statement | None]:
    unreadable: list[_Unreadable] = []
    for envelope in envelopes(transaction):
        if envelope.payload is None:
            unreadable.append(_Unreadable(envelope, None, _Verdict("invalid", f"envelope: {envelope.problem}")))
            continue
        try:
            spell, proof = read_payload(envelope.payload)
        except SpellFormatError as error:
            verdict = _unsupported(error.version) or _Verdict("invalid", f"encoding: {error}")
            unreadable.append(_Unreadable(envelope, error.version, verdict))
            continue
        verdict = _verdict(spell, proof, transaction, accept_mock)
        return _event(transaction, envelope, spell, verdict, network), verdict.statement
    if not unreadable:
        return None, None
    later = (tried for tried in unreadable if tried.verdict.status == "unsupported")
    return _unreadable_event(transaction, next(later, unreadable[0]), network), None


def _verdict(spell: Spell, proof: bytes, transaction: BitcoinTransaction, accept_mock: bool) -> _Verdict:
    unsupported = _unsupported(spell.version)
    if unsupported is not None:
        return unsupported
    if spell.mock and not accept_mock:
        return _Verdict("invalid", "mock: the spell says that it is a mock, and mocks are not accepted here")
    if spell.inputs is not None:
        return _Verdict("invalid", "inputs: the spell names inputs, and has to take the transaction's")
    if len(spell.outs) > len(transaction.outputs):
        return _Verdict(
            "invalid", f"outputs: charms for {len(spell.outs)} outputs, of which there are {len(transaction.outputs)}"
        )
    if spell.mock:
        if len(proof) < proofs.LEAST_MOCK_PROOF_BYTES:
            return _Verdict("invalid", f"proof_points: a mock proof of {len(proof)} bytes is cut off")
        return _Verdict("mock")
    values = public_values(keys.program_key(spell.version), committed(spell, transaction))
    try:
        return _Verdict("verified", None, proofs.statement(spell.version, proof, values))
    except proofs.ProofError as error:
        return _Verdict("invalid", f"{error.step}: {error}")


def _unsupported(version: int | None) -> _Verdict | None:
    if version is not None and version > keys.LATEST_VERSION:
        return _Verdict("unsupported", f"version: {version} is later than {keys.LATEST_VERSION}, the latest known here")
    if version == _NOT_REPRODUCIBLE:
        return _Verdict("unsupported", "version: what proofs of version 0 commit to cannot be written anew")
    return None


def _event(
    transaction: BitcoinTransaction, envelope: Envelope, spell: Spell, verdict: _Verdict, network: BitcoinNetwork
) -> SpellEvent:
    versioned = spell.versioned_apps or {}
    apps: list[AppUse] = []
    for app, public_input in spell.apps:
        current = versioned.get(app.vk)
        apps.append(
            AppUse(
                tag=app.tag.replace("\x00", "\\0"),
                identity=app.identity.hex(),
                vk=app.vk.hex(),
                public_input=to_json(public_input),
                wasm_hash=None if current is None else current.wasm_hash.hex(),
                version=None if current is None else current.version,
            )
        )
    return SpellEvent(
        inputs=[spent.outpoint for spent in transaction.inputs],
        outputs=outputs(transaction, network),
        status=verdict.status,
        failed_step=verdict.failed_step,
        version=spell.version,
        location=envelope.location,
        mock=spell.mock,
        apps=apps,
        outs=[{str(place): to_json(data) for place, data in sorted(out.items())} for out in spell.outs],
        beamed_outs={str(place): to.hex() for place, to in sorted((spell.beamed_outs or {}).items())},
        refs=None if spell.refs is None else [_outpoint(ref) for ref in spell.refs],
        scrolls=spell.scrolls or [],
    )


def _unreadable_event(transaction: BitcoinTransaction, tried: _Unreadable, network: BitcoinNetwork) -> SpellEvent:
    return SpellEvent(
        inputs=[spent.outpoint for spent in transaction.inputs],
        outputs=outputs(transaction, network),
        status=tried.verdict.status,
        failed_step=tried.verdict.failed_step,
        version=tried.version,
        location=tried.envelope.location,
        mock=False,
        apps=[],
        outs=[],
        beamed_outs={},
        refs=None,
        scrolls=[],
    )


def outputs(transaction: BitcoinTransaction, network: BitcoinNetwork) -> list[Output]:
    """The transaction's outputs as events hold them."""
    return [
        Output(output.amount, output.script_text, address_of(output.script, network)) for output in transaction.outputs
    ]


def _outpoint(ref: bytes) -> str:
    return outpoint_text(ref[:32][::-1], int.from_bytes(ref[32:], "little"))
