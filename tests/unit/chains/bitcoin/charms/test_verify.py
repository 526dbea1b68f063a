"""Spells of every version: what is verified of them, step by step."""

import pytest
from msgspec.structs import replace
from support.charms import Prover, app, in_output, in_witness, plain_transaction, spell_of

from clarion.chains.bitcoin.charms.cbor import Map, Tag, Value, decode, encode
from clarion.chains.bitcoin.charms.events import AppUse, SpellEvent
from clarion.chains.bitcoin.charms.keys import LATEST_VERSION
from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.spells import Coin, Spell, VersionedApp, read_payload, write_payload
from clarion.chains.bitcoin.charms.verify import read_spell, read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats

VERSIONS = range(1, LATEST_VERSION + 1)


def a_spell(version: int, **fields: object) -> Spell:
    outs: list[dict[int, Value]] = [{0: Map([("price", 5)]), 1: 12}, {}]
    return spell_of(version, outs, [(app("n"), None), (app("t"), Map([("fee", 1)]))], **fields)


def read(transaction: BitcoinTransaction, *, accept_mock: bool = False) -> SpellEvent:
    event = read_spell(transaction, BitcoinNetwork.REGTEST, accept_mock=accept_mock)
    assert event is not None
    return event


def failed_step(transaction: BitcoinTransaction, *, accept_mock: bool = False) -> str:
    event = read(transaction, accept_mock=accept_mock)
    assert not event.acceptable
    assert event.failed_step is not None
    return event.failed_step.partition(":")[0]


def changed_inputs(transaction: BitcoinTransaction, place: int) -> BitcoinTransaction:
    inputs = list(transaction.inputs)
    inputs[place] = replace(inputs[place], vout=inputs[place].vout + 1)
    return new_transaction(tuple(inputs), transaction.outputs)


def changed_output(transaction: BitcoinTransaction, place: int, output: Output) -> BitcoinTransaction:
    outputs = list(transaction.outputs)
    outputs[place] = output
    return new_transaction(transaction.inputs, tuple(outputs))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("witness", [False, True])
def test_every_version_is_verified_at_either_place(prover: Prover, version: int, witness: bool) -> None:
    transaction = prover.cast(a_spell(version), plain_transaction(inputs=3, outputs=4), witness=witness)
    event = read(transaction)
    assert (event.status, event.failed_step) == ("verified", None)
    assert event.version == version
    assert event.location == ("witness" if witness else "op_return")
    assert event.inputs == [spent.outpoint for spent in transaction.inputs]
    assert [output.amount for output in event.outputs] == [output.amount for output in transaction.outputs]
    assert event.apps == [
        AppUse("n", f"{1:064x}", f"{2:064x}"),
        AppUse("t", f"{1:064x}", f"{2:064x}", public_input={"fee": 1}),
    ]
    assert event.outs == [{"0": {"price": 5}, "1": 12}, {}]
    assert [(use.tag, data) for use, data in event.charms(0)] == [("n", {"price": 5}), ("t", 12)]
    assert event.charms(1) == event.charms(2) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_inputs_are_committed_to(prover: Prover, version: int) -> None:
    transaction = prover.cast(a_spell(version), plain_transaction(inputs=3))
    assert failed_step(changed_inputs(transaction, 0)) == "proof_pairing"
    assert failed_step(changed_inputs(transaction, 1)) == "proof_pairing"
    last = changed_inputs(transaction, 2)
    if version < 10:
        assert read(last).status == "verified"
    else:
        assert failed_step(last) == "proof_pairing"
    swapped = new_transaction(
        (transaction.inputs[1], transaction.inputs[0], transaction.inputs[2]), transaction.outputs
    )
    assert failed_step(swapped) == "proof_pairing"
    resigned = new_transaction(
        tuple(replace(spent, script=b"\x51", sequence=1) for spent in transaction.inputs), transaction.outputs
    )
    assert read(resigned).status == "verified"


@pytest.mark.parametrize("version", VERSIONS)
def test_outputs_of_the_spell_are_committed_to_from_version_8_on(prover: Prover, version: int) -> None:
    transaction = prover.cast(a_spell(version), plain_transaction(outputs=3))
    first, second, third, marked = transaction.outputs
    for place, output in (
        (0, replace(first, amount=Sats(first.amount + 1))),
        (1, replace(second, script=second.script[:-1] + b"!")),
    ):
        changed = changed_output(transaction, place, output)
        if version < 8:
            assert read(changed).status == "verified"
        else:
            assert failed_step(changed) == "proof_pairing"
    assert read(changed_output(transaction, 2, replace(third, amount=Sats(1)))).status == "verified"
    appended = new_transaction(transaction.inputs, (first, second, third, marked, third))
    assert read(appended).status == "verified"


@pytest.mark.parametrize("version", VERSIONS)
def test_all_that_a_spell_says_is_committed_to(prover: Prover, version: int) -> None:
    full = a_spell(
        version,
        refs=[bytes(36), b"\x01" * 36],
        beamed_outs={0: bytes(range(32))},
        scrolls=[0],
        versioned_apps={(2).to_bytes(32, "big"): VersionedApp(3, b"\x05" * 32)},
    )
    plain = plain_transaction()
    transaction = prover.cast(full, plain)
    event = read(transaction)
    assert event.status == "verified"
    assert event.refs == [f"{bytes(32).hex()}:0", f"{'01' * 32}:{0x01010101}"]
    assert event.beamed_outs == {"0": bytes(range(32)).hex()}
    assert event.scrolls == [0]
    assert [(use.version, use.wasm_hash) for use in event.apps] == [(3, "05" * 32)] * 2
    proof = _proof_of(transaction)
    for other in (
        replace(full, refs=[bytes(36)]),
        replace(full, refs=None),
        replace(full, refs=[b"\x01" * 36, bytes(36)]),
        replace(full, beamed_outs={1: bytes(range(32))}),
        replace(full, beamed_outs=None),
        replace(full, scrolls=[1]),
        replace(full, scrolls=None),
        replace(full, versioned_apps=None),
        replace(full, outs=[{0: Map([("price", 5)]), 1: 13}, {}]),
        replace(full, outs=[*full.outs, {}]),
        replace(full, outs=full.outs[:1]),
        replace(full, apps=[(app("n"), None), (app("t"), None)]),
        replace(full, apps=[(app("n"), None), (app("t", 3), Map([("fee", 1)]))]),
    ):
        assert failed_step(in_output(plain, write_payload(other, proof))) == "proof_pairing"
    for later in range(1, LATEST_VERSION + 1):
        if later != version:
            same_proof = in_output(plain, write_payload(replace(full, version=later), proof))
            assert not read(same_proof).acceptable


def _proof_of(transaction: BitcoinTransaction) -> bytes:
    (envelope,) = envelopes(transaction)
    assert envelope.payload is not None
    return read_payload(envelope.payload)[1]


def test_an_empty_list_of_references_is_not_none(prover: Prover) -> None:
    plain = plain_transaction()
    transaction = prover.cast(a_spell(4, refs=[]), plain)
    assert read(transaction).refs == []
    assert read(transaction).status == "verified"
    without = in_output(plain, write_payload(a_spell(4), _proof_of(transaction)))
    assert failed_step(without) == "proof_pairing"


def test_coins_that_an_early_spell_names_are_kept(prover: Prover) -> None:
    named = a_spell(7, coins=[Coin(5, b"\x51"), Coin(6, b"", content=[1])])
    assert read(prover.cast(named, plain_transaction())).status == "verified"
    assert read(prover.cast(replace(named, version=8), plain_transaction())).status == "verified"


# Steps before the proof.


def test_a_spell_may_not_name_inputs(prover: Prover) -> None:
    payload = write_payload(a_spell(9, inputs=[bytes(36)]), bytes(260))
    assert failed_step(in_output(plain_transaction(), payload)) == "inputs"
    assert failed_step(in_output(plain_transaction(), write_payload(a_spell(9, inputs=[]), bytes(260)))) == "inputs"


def test_a_spell_may_have_no_more_outputs_than_the_transaction(prover: Prover) -> None:
    plain = plain_transaction(outputs=1)
    assert read(prover.cast(spell_of(7, [{}] * 2, []), plain)).status == "verified"
    assert failed_step(prover.cast(spell_of(7, [{}] * 3, []), plain)) == "outputs"


@pytest.mark.parametrize("version", [0, 16, 17, 2**32 - 1])
def test_other_versions_are_unsupported(version: int) -> None:
    event = read(in_output(plain_transaction(), write_payload(a_spell(version), b"whatever")))
    assert (event.status, event.version) == ("unsupported", version)
    assert (event.failed_step or "").startswith("version:")
    assert event.outs == [{"0": {"price": 5}, "1": 12}, {}]
    assert not event.acceptable


def test_a_later_version_may_be_of_another_form() -> None:
    later = encode([Map([("version", 16), ("tx", "of another form")]), 1])
    event = read(in_output(plain_transaction(), later))
    assert (event.status, event.version, event.outs) == ("unsupported", 16, [])
    of_witness = in_output(in_witness(plain_transaction(), b"nothing"), later)
    assert read(of_witness).status == "unsupported"


def test_what_is_no_spell_is_invalid() -> None:
    event = read(in_output(plain_transaction(), b"\x00"))
    assert (event.status, event.version, event.location) == ("invalid", None, "op_return")
    assert event.failed_step == "encoding: expected an array at byte 0"
    assert failed_step(in_output(in_output(plain_transaction(), b"\x00"), b"\x00")) == "envelope"
    known = encode([Map([("version", 9), ("tx", 1)]), []])
    assert read(in_output(plain_transaction(), known)).version == 9
    assert failed_step(in_output(plain_transaction(), known)) == "encoding"


def test_a_transaction_that_is_not_marked_says_nothing() -> None:
    assert read_spell(plain_transaction(), BitcoinNetwork.MAINNET, accept_mock=True) is None
    assert read_spells([], BitcoinNetwork.MAINNET, accept_mock=True) == []


def test_the_witness_is_read_where_the_output_cannot_be(prover: Prover) -> None:
    cast = prover.cast(a_spell(9), plain_transaction(), witness=True)
    event = read(in_output(cast, b"garbage"))
    assert (event.status, event.location) == ("verified", "witness")
    two = in_output(in_output(cast, b"garbage"), b"garbage")
    assert read(two).location == "witness"


def test_a_spell_in_the_output_that_fails_hides_the_witness(prover: Prover) -> None:
    cast = prover.cast(a_spell(9), plain_transaction(), witness=True)
    failing = in_output(cast, write_payload(a_spell(9), bytes(260)))
    assert failed_step(failing) == "proof_key"


@pytest.mark.parametrize(
    ("version", "change", "step"),
    [
        (9, lambda proof: b"TOY!" + proof[4:], "proof_key"),
        (9, lambda proof: b"", "proof_key"),
        (9, lambda proof: proof[:-1], "proof_points"),
        (9, lambda proof: proof[:4] + bytes(256), "proof_points"),
        (9, lambda proof: proof[:4] + b"\xff" * 32 + proof[36:], "proof_points"),
        (14, lambda proof: proof[:4] + bytes(31) + b"\x01" + proof[36:], "proof_exit_code"),
        (14, lambda proof: proof[:36] + bytes(32) + proof[68:], "proof_vk_root"),
        (14, lambda proof: proof[:68] + bytes(32) + proof[100:], "proof_pairing"),
        (14, lambda proof: proof[:100], "proof_points"),
        (14, lambda proof: proof[:4] + proof[100:], "proof_exit_code"),
    ],
)
def test_what_is_around_a_proof_is_checked(prover: Prover, version: int, change: object, step: str) -> None:
    plain = plain_transaction()
    proof = _proof_of(prover.cast(a_spell(version), plain))
    assert callable(change)
    assert failed_step(in_output(plain, write_payload(a_spell(version), change(proof)))) == step


def test_what_follows_a_proof_is_ignored(prover: Prover) -> None:
    plain = plain_transaction()
    proof = _proof_of(prover.cast(a_spell(9), plain))
    assert read(in_output(plain, write_payload(a_spell(9), proof + b"more"))).status == "verified"
    assert read(in_output(plain, write_payload(a_spell(9), proof) + b"more")).status == "verified"


# Mocks.


def test_mocks_are_taken_only_where_they_are_accepted() -> None:
    mock = in_output(plain_transaction(), write_payload(a_spell(15, mock=True), bytes(192)))
    assert failed_step(mock) == "mock"
    event = read(mock, accept_mock=True)
    assert (event.status, event.mock, event.acceptable, event.failed_step) == ("mock", True, True, None)
    cut = in_output(plain_transaction(), write_payload(a_spell(15, mock=True), bytes(191)))
    assert failed_step(cut, accept_mock=True) == "proof_points"
    named = in_output(plain_transaction(), write_payload(a_spell(15, mock=True, inputs=[]), bytes(192)))
    assert failed_step(named, accept_mock=True) == "inputs"


def test_accepting_mocks_takes_nothing_else_for_true(prover: Prover) -> None:
    unproven = in_output(plain_transaction(), write_payload(a_spell(15), bytes(356)))
    assert failed_step(unproven, accept_mock=True) == "proof_key"
    assert read(prover.cast(a_spell(15), plain_transaction()), accept_mock=True).status == "verified"


# Encodings.


def rewritten(spell: Spell, proof: bytes, change: object) -> bytes:
    """The payload with its fields changed."""
    assert callable(change)
    value = decode(write_payload(spell, proof))
    assert isinstance(value, list)
    return encode(change(value))


def in_map(value: Value, name: str, new: Value) -> Map:
    assert isinstance(value, Map)
    return Map([(key, new if key == name else old) for key, old in value.pairs])


def get(value: Value, name: str) -> Value:
    assert isinstance(value, Map)
    return {key: item for key, item in value.pairs if isinstance(key, str)}[name]


def extended(value: Value, *pairs: tuple[Value, Value]) -> Map:
    assert isinstance(value, Map)
    return Map([*value.pairs, *pairs])


@pytest.mark.parametrize(
    "change",
    [
        lambda v: [v[0], bytes(v[1])],
        lambda v: Tag(7, v),
        lambda v: [extended(v[0], ("later", [1])), v[1]],
        lambda v: [Map(v[0].pairs[::-1]), v[1]],
        lambda v: [in_map(v[0], "version", Tag(2, b"\x00\x09")), v[1]],
        lambda v: [extended(v[0], ("mock", False)), v[1]],
        lambda v: [extended(v[0], ("versioned_apps", None)), v[1]],
        lambda v: [in_map(v[0], "tx", extended(get(v[0], "tx"), ("refs", None), ("scrolls", None), ("x", 1))), v[1]],
        lambda v: [in_map(v[0], "tx", Map([("outs", [Map([(1, 12), (0, Map([("price", 5)]))]), Map([])])])), v[1]],
        lambda v: [
            in_map(v[0], "tx", Map([("outs", [Map([(1, 9), (0, Map([("price", 5)])), (1, 12)]), Map([])])])),
            v[1],
        ],
    ],
)
def test_other_forms_of_the_same_spell_hold(prover: Prover, change: object) -> None:
    plain = plain_transaction()
    proof = _proof_of(prover.cast(a_spell(9), plain))
    payload = rewritten(a_spell(9), proof, change)
    assert read(in_output(plain, payload)).status == "verified"


def test_an_array_that_does_not_say_its_length_may_be_the_whole_and_no_app(prover: Prover) -> None:
    plain = plain_transaction()
    payload = write_payload(a_spell(9), _proof_of(prover.cast(a_spell(9), plain)))
    assert read(in_output(plain, b"\x9f" + payload[1:] + b"\xff")).status == "verified"
    assert failed_step(in_output(plain, b"\x9f" + payload[1:])) == "encoding"
    named = app("t")
    key = encode([named.tag, list(named.identity), list(named.vk)])
    assert payload.count(key) == 1
    assert failed_step(in_output(plain, payload.replace(key, b"\x9f" + key[1:] + b"\xff"))) == "encoding"


def with_tx(value: Value, *pairs: tuple[Value, Value]) -> Value:
    assert isinstance(value, list)
    return [in_map(value[0], "tx", extended(get(value[0], "tx"), *pairs)), value[1]]


def with_apps(value: Value, *pairs: tuple[Value, Value]) -> Value:
    assert isinstance(value, list)
    return [in_map(value[0], "app_public_inputs", Map(list(pairs))), value[1]]


HASH: list[Value] = [0] * 32


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda v: v[:1], "an array of 2"),
        (lambda v: [*v, 5], "an array of 2"),
        (lambda v: [Map([(key.encode(), item) for key, item in v[0].pairs]), v[1]], "a field's name"),
        (lambda v: [v[0], [256]], "from 0 to 255"),
        (lambda v: [v[0], [-1]], "from 0 to 255"),
        (lambda v: [v[0], "text"], "an array"),
        (lambda v: [v[0], None], "an array"),
        (lambda v: [Map(v[0].pairs[1:]), v[1]], "the field version is missing"),
        (lambda v: [Map(v[0].pairs[:2]), v[1]], "the field app_public_inputs is missing"),
        (lambda v: [in_map(v[0], "tx", Map([])), v[1]], "the field outs is missing"),
        (lambda v: [extended(v[0], ("version", 9)), v[1]], "comes twice"),
        (lambda v: with_tx(v, ("outs", [])), "comes twice"),
        (lambda v: [in_map(v[0], "version", "9"), v[1]], "an integer"),
        (lambda v: [in_map(v[0], "version", 2**32), v[1]], "from 0 to"),
        (lambda v: [extended(v[0], ("mock", None)), v[1]], "true or false"),
        (lambda v: with_tx(v, ("refs", [bytes(35)])), "a byte string of 36"),
        (lambda v: with_tx(v, ("refs", [[0] * 36])), "a byte string of 36"),
        (lambda v: with_tx(v, ("beamed_outs", Map([(0, bytes(32))]))), "an array"),
        (lambda v: with_tx(v, ("beamed_outs", Map([(0, [0] * 33)]))), "32 bytes"),
        (lambda v: with_tx(v, ("beamed_outs", Map([("0", HASH)]))), "an integer"),
        (lambda v: with_tx(v, ("scrolls", [2**32])), "from 0 to"),
        (lambda v: with_tx(v, ("coins", [Map([("amount", 1)])])), "the field dest is missing"),
        (lambda v: with_apps(v, (["tt", HASH, HASH], None)), "one character"),
        (lambda v: with_apps(v, (["t", HASH], None)), "an array of 3"),
        (lambda v: with_apps(v, (["t", HASH, HASH, 1], None)), "an array of 3"),
        (lambda v: with_apps(v, (["t", HASH, bytes(32)], None)), "an array"),
        (lambda v: with_apps(v, (["t", HASH, HASH[1:]], None)), "32 bytes"),
        (lambda v: with_apps(v, (["t", HASH, HASH], None), (["t", HASH, HASH], 1)), "not in order"),
        (lambda v: with_apps(v, (["t", HASH, HASH], None), (["n", HASH, HASH], None)), "not in order"),
        (lambda v: with_apps(v, ("t/00/00", None)), "an array"),
        (lambda v: [in_map(v[0], "app_public_inputs", []), v[1]], "a map"),
        (lambda v: [in_map(v[0], "app_public_inputs", None), v[1]], "a map"),
    ],
)
def test_what_is_not_of_the_form_is_invalid(change: object, problem: str) -> None:
    payload = rewritten(a_spell(9), bytes(260), change)
    event = read(in_output(plain_transaction(), payload))
    assert event.status == "invalid"
    assert (event.failed_step or "").startswith("encoding:")
    assert problem in (event.failed_step or "")


def test_apps_are_in_the_order_of_characters_and_bytes(prover: Prover) -> None:
    apps = [app("/"), app("n", 1, 3), app("n", 2, 1), app("t"), app("\u00e9"), app("\U0001f600")]
    spell = spell_of(13, [dict.fromkeys(range(len(apps)), 1)], [(one, None) for one in apps])
    event = read(prover.cast(spell, plain_transaction()))
    assert event.status == "verified"
    assert [use.tag for use in event.apps] == ["/", "n", "n", "t", "\u00e9", "\U0001f600"]
    assert event.apps[0].id == f"//{1:064x}/{2:064x}"


def test_what_text_cannot_hold_is_written_otherwise(prover: Prover) -> None:
    spell = spell_of(13, [{0: "a\x00b", 7: 1}], [(app("\x00"), "\x00")])
    event = read(prover.cast(spell, plain_transaction()))
    assert event.apps == [AppUse("\\0", f"{1:064x}", f"{2:064x}", public_input={"text": "0x00"})]
    assert event.outs == [{"0": {"text": "0x610062"}, "7": 1}]
    assert event.charms(0) == [(event.apps[0], {"text": "0x610062"})]


def test_a_transaction_without_inputs_is_read() -> None:
    nothing = new_transaction((), plain_transaction().outputs)
    assert failed_step(in_output(nothing, write_payload(a_spell(9), bytes(260)))) == "proof_key"


def test_an_input_is_named_as_elsewhere() -> None:
    transaction = new_transaction((Input(bytes(range(32)), 7, b"", 0),), ())
    event = read(in_output(transaction, b""))
    assert event.inputs == [f"{bytes(range(32)).hex()}:7"]
