"""Whatever a spell says comes back from its bytes; whatever bytes arrive, the codec answers or refuses them."""

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.charms import in_output, plain_transaction, with_witness

from clarion.chains.bitcoin.charms.cbor import CborError, Float, Map, Tag, Value, decode, encode
from clarion.chains.bitcoin.charms.locate import MARKER, envelopes
from clarion.chains.bitcoin.charms.spells import (
    App,
    Coin,
    Spell,
    SpellFormatError,
    VersionedApp,
    read_payload,
    write_payload,
)
from clarion.chains.bitcoin.charms.values import from_json, to_json
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import Output, new_transaction
from clarion.chains.bitcoin.units import Sats

UINT32, UINT64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
HASHES = st.binary(min_size=32, max_size=32)
INTEGERS = st.integers(-(2**127), 2**128 - 1) | st.sampled_from(
    [23, 24, 255, 256, 65535, 65536, 2**32, 2**64, -(2**64)]
)


FLOATS = UINT64.map(Float) | st.floats(width=16).map(lambda x: Float(int.from_bytes(struct.pack(">d", x), "big")))
SCALARS: st.SearchStrategy[Value] = (
    st.none() | st.booleans() | INTEGERS | st.text(max_size=30) | st.binary(max_size=40) | FLOATS
)
FORMS = st.sampled_from(["bytes", "text", "float", "map", "cbor", "tag", "value", "a"])
TAGS = st.integers(0, 2**64 - 1).filter(lambda number: number not in (2, 3))
VALUES: st.SearchStrategy[Value] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(st.tuples(inner | st.sampled_from(["bytes", "map", "tag", "value", "a"]), inner), max_size=5).map(
            Map
        )
        | st.builds(Tag, TAGS, inner)
    ),
    max_leaves=30,
)
APPS = st.lists(st.builds(App, st.characters(codec="utf-8"), HASHES, HASHES), max_size=4, unique=True).map(sorted)


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


OUTPOINTS = st.lists(st.binary(min_size=36, max_size=36), max_size=3)
COINS = st.tuples(UINT64, st.binary(max_size=30), VALUES).map(lambda coin: Coin(*coin))
VERSIONED = st.tuples(UINT32, HASHES).map(lambda app: VersionedApp(*app))
SPELLS: st.SearchStrategy[Spell] = st.fixed_dictionaries(
    {
        "version": UINT32,
        "inputs": maybe(OUTPOINTS),
        "refs": maybe(OUTPOINTS),
        "outs": st.lists(st.dictionaries(UINT32, VALUES, max_size=3), max_size=4),
        "beamed_outs": maybe(st.dictionaries(UINT32, HASHES, max_size=3)),
        "coins": maybe(st.lists(COINS, max_size=2)),
        "scrolls": maybe(st.lists(UINT32, max_size=3)),
        "apps": APPS.flatmap(lambda apps: st.tuples(*(st.tuples(st.just(app), VALUES) for app in apps)).map(list)),
        "versioned_apps": maybe(st.dictionaries(HASHES, VERSIONED, max_size=2)),
        "mock": st.booleans(),
    }
).map(lambda fields: Spell(**fields))

#: Where others use the machine everything takes long.
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow])


@given(VALUES)
@PATIENT
def test_values_come_back_from_their_bytes(value: Value) -> None:
    assert decode(encode(value)) == value


@given(VALUES)
@PATIENT
def test_values_come_back_from_their_json(value: Value) -> None:
    assert encode(from_json(to_json(value))) == encode(value)


@given(st.binary(max_size=300))
@PATIENT
def test_any_bytes_are_a_value_or_refused(data: bytes) -> None:
    try:
        value = decode(data)
    except CborError:
        return
    anew = encode(value)
    assert encode(decode(anew)) == anew
    assert len(anew) <= len(data)


@given(SPELLS, st.binary(max_size=400))
@PATIENT
def test_spells_come_back_from_their_payloads(spell: Spell, proof: bytes) -> None:
    payload = write_payload(spell, proof)
    assert read_payload(payload) == (spell, proof)
    assert read_payload(payload + b"anything") == (spell, proof)


@given(SPELLS, st.data())
@PATIENT
def test_a_payload_that_is_cut_off_is_refused(spell: Spell, data: st.DataObject) -> None:
    payload = write_payload(spell, bytes(10))
    end = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(SpellFormatError):
        read_payload(payload[:end])


@given(SPELLS, st.binary(max_size=400))
@PATIENT
def test_what_no_proof_holds_for_is_never_accepted(spell: Spell, proof: bytes) -> None:
    event = read_spell(
        in_output(plain_transaction(), write_payload(spell, proof)), BitcoinNetwork.MAINNET, accept_mock=False
    )
    assert event is not None
    assert not event.acceptable
    assert event.version == spell.version


@given(st.binary(max_size=600))
@PATIENT
def test_any_payload_is_answered(payload: bytes) -> None:
    event = read_spell(in_output(plain_transaction(), payload), BitcoinNetwork.MAINNET, accept_mock=True)
    assert event is not None


@given(st.lists(st.binary(max_size=60) | st.just(MARKER) | st.just(b"\x05" + MARKER), max_size=6).map(b"".join))
@PATIENT
def test_any_script_is_answered(script: bytes) -> None:

    plain = plain_transaction()
    for transaction in (
        new_transaction(plain.inputs, (Output(Sats(0), script),)),
        with_witness(plain, (script, b"\xc0" + bytes(32))),
        with_witness(plain, (b"\x00\x63\x05spell" + script, b"\xc0" + bytes(32))),
    ):
        assert len(envelopes(transaction)) <= 1
