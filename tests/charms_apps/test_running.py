"""How contracts of apps are run: what they are given, what stops them, and when they are asked."""

import hashlib
import pickle
from typing import Any

import pytest
import wasmtime
from charms_apps.world import BY_KEY, CHARM_SATS, MODULES, ONE, Draft, Out, World, script
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.chains.bitcoin.charms.apps import (
    AppInput,
    AppOutput,
    AppRefusedError,
    AppTransaction,
    InvalidModuleError,
    SpellNotAllowedError,
    check_contracts,
    encoded_call,
    is_simple_transfer,
    module_key,
    packaged_apps,
    run_app,
    run_encoded,
)
from clarion.chains.bitcoin.charms.cbor import Map, decode, encode
from clarion.chains.bitcoin.charms.spells import App, Coin

APP = App("s", bytes([1] * 32), bytes([2] * 32))
NOTHING = AppTransaction(ins=[], outs=[], public_inputs={APP: None})
WASI = "wasi_snapshot_preview1"


def module(body: str, imports: str = "", memory: str = '(memory (export "memory") 1)') -> bytes:
    return bytes(wasmtime.wat2wasm(f'(module {imports} {memory} (func (export "_start") {body}))'))


def test_what_a_contract_is_given() -> None:
    token = App("t", bytes([3] * 32), bytes([4] * 32))
    tx = AppTransaction(
        ins=[AppInput(b"o" * 36, Coin(546, b"\x51"), {token: 7})],
        outs=[AppOutput(Coin(1_000, b"\x52\x53"), {token: 7, APP: Map([("a", [1])])})],
        public_inputs={token: None, APP: "x"},
        refs=[(b"r" * 36, {})],
        previous=[(b"p" * 32, "tx")],
    )
    app, said, x, w = decode(encoded_call(APP, tx, "x", None))  # type: ignore[misc]
    assert (app, x, w) == (["s", [1] * 32, [2] * 32], "x", None)
    # the apps in the order of the protocol: tag, identity, key
    first, second = ["s", [1] * 32, [2] * 32], ["t", [3] * 32, [4] * 32]
    assert said == Map(
        [
            ("ins", [[b"o" * 36, Map([(second, 7)])]]),
            ("refs", [[b"r" * 36, Map([])]]),
            ("outs", [Map([(first, Map([("a", [1])])), (second, 7)])]),
            ("coin_ins", [Map([("amount", 546), ("dest", [0x51])])]),
            ("coin_outs", [Map([("amount", 1_000), ("dest", [0x52, 0x53])])]),
            ("prev_txs", Map([(b"p" * 32, "tx")])),
            ("app_public_inputs", Map([(first, "x"), (second, None)])),
        ]
    )


def test_not_trapping_is_consent_and_costs_work() -> None:
    assert 0 < run_app(module("(drop (i32.const 1))"), APP, NOTHING) < 100


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("(unreachable)", "unreachable"),
        ("(loop (br 0))", "more work"),
        ("(drop (i32.load (i32.const 0x7fffffff)))", "out of bounds"),
        ("(if (i32.eq (memory.grow (i32.const 2000)) (i32.const -1)) (then (unreachable)))", "unreachable"),
        ("(drop (i32.div_u (i32.const 1) (i32.const 0)))", "divide by zero"),
    ],
)
def test_what_stops_a_contract(body: str, reason: str) -> None:
    with pytest.raises(AppRefusedError, match=reason) as error:
        run_app(module(body), APP, NOTHING, fuel=1_000_000)
    assert pickle.loads(pickle.dumps(error.value)).reason == error.value.reason


FD = "(param i32 i32 i32 i32) (result i32)"


def test_standard_input_is_the_call_and_standard_error_the_reason() -> None:
    """Reads into two pieces of memory, and writes them back."""
    imports = f'(import "{WASI}" "fd_read" (func $read {FD})) (import "{WASI}" "fd_write" (func $write {FD}))'
    body = """
        (i32.store (i32.const 0) (i32.const 100)) (i32.store (i32.const 4) (i32.const 3))
        (i32.store (i32.const 8) (i32.const 103)) (i32.store (i32.const 12) (i32.const 2000))
        (drop (call $read (i32.const 0) (i32.const 0) (i32.const 2) (i32.const 20)))
        (i32.store (i32.const 12) (i32.sub (i32.load (i32.const 20)) (i32.const 3)))
        (drop (call $write (i32.const 2) (i32.const 0) (i32.const 2) (i32.const 24)))
        (if (i32.ne (i32.load (i32.const 20)) (i32.load (i32.const 24))) (then (return)))
        (unreachable)"""
    with pytest.raises(AppRefusedError) as error:
        run_app(module(body, imports), APP, NOTHING, "what is asked", None)
    assert "what is asked" in error.value.reason
    assert "app_public_inputs" in error.value.reason


@pytest.mark.parametrize("call", ["fd_read", "fd_write"])
@pytest.mark.parametrize("vectors", [65_530, -4])
def test_pieces_that_are_not_in_memory(call: str, vectors: int) -> None:
    imports = f'(import "{WASI}" "{call}" (func $call {FD}))'
    descriptor = 0 if call == "fd_read" else 2
    body = f"(drop (call $call (i32.const {descriptor}) (i32.const {vectors}) (i32.const 1) (i32.const 8)))"
    with pytest.raises(AppRefusedError, match="not in memory"):
        run_app(module(body, imports), APP, NOTHING)


def test_random_bytes_are_those_of_the_call() -> None:
    """As the protocol's runner gives them: SHA-256 of the call's SHA-256 and a counter."""
    imports = (
        f'(import "{WASI}" "random_get" (func $random (param i32 i32) (result i32)))'
        f'(import "{WASI}" "fd_write" (func $write {FD}))'
    )
    seed = hashlib.sha256(encoded_call(APP, NOTHING, None, None)).digest()
    expected = b"".join(hashlib.sha256(seed + counter.to_bytes(8, "little")).digest() for counter in range(2))[:40]
    words = [int.from_bytes(expected[at : at + 4], "little") for at in range(0, 40, 4)]
    checks = "".join(
        f"(if (i32.ne (i32.load (i32.const {100 + 4 * at})) (i32.const {word})) (then (unreachable)))"
        for at, word in enumerate(words)
    )
    run_app(module(f"(drop (call $random (i32.const 100) (i32.const 40))) {checks}", imports), APP, NOTHING)


def test_leaving_with_a_code_is_not_a_refusal() -> None:
    """As in the protocol's runner: a contract that refuses must trap."""
    imports = f'(import "{WASI}" "proc_exit" (func $exit (param i32)))'
    run_app(module("(call $exit (i32.const 1))", imports), APP, NOTHING)


@pytest.mark.parametrize(
    "wasm",
    [
        b"",
        b"\x00asm",
        module("", '(import "wasi_snapshot_preview1" "sock_send" (func (param i32)))'),
        module("", '(import "env" "fetch" (func))'),
        bytes(wasmtime.wat2wasm('(module (memory (export "memory") 1))')),
    ],
)
def test_what_is_no_contract(wasm: bytes) -> None:
    with pytest.raises(InvalidModuleError):
        run_app(wasm, APP, NOTHING)


def test_packaged_apps() -> None:
    modules = packaged_apps("zkusd")
    assert set(modules) == {"oracle", "token", "vault_manager", "stability_pool"}
    assert module_key(modules["oracle"]) == hashlib.sha256(modules["oracle"]).digest()
    with pytest.raises(LookupError, match="nothing"):
        packaged_apps("nothing")


TOKEN = App("t", bytes([3] * 32), bytes([4] * 32))
NFT = App("n", bytes([3] * 32), bytes([4] * 32))


def moving(app: App, ins: list[object], outs: list[object]) -> AppTransaction:
    coin = Coin(546, b"")
    return AppTransaction(
        ins=[AppInput(bytes([place]) * 36, coin, {app: data}) for place, data in enumerate(ins)],  # type: ignore[dict-item]
        outs=[AppOutput(coin, {app: data}) for data in outs],  # type: ignore[dict-item]
        public_inputs={app: None},
    )


@pytest.mark.parametrize(
    ("app", "ins", "outs", "simple"),
    [
        (TOKEN, [1, 2], [3], True),
        (TOKEN, [1, 2], [4], False),
        (TOKEN, [1], [], False),
        (NFT, ["a", "b"], ["b", "a"], True),
        (NFT, ["a"], ["a", "a"], False),
        (NFT, [1], [True], False),
        (APP, ["a"], ["a"], False),
    ],
)
def test_simple_transfers(app: App, ins: list[object], outs: list[object], simple: bool) -> None:
    tx = moving(app, ins, outs)
    assert is_simple_transfer(app, tx) is simple
    refusing = {app.vk: module("(unreachable)")}
    if simple:
        assert check_contracts(tx, refusing) == []
    else:
        with pytest.raises(AppRefusedError):
            check_contracts(tx, refusing)
        assert check_contracts(tx, {app.vk: module("")}) == [app]
        with pytest.raises(SpellNotAllowedError, match="is needed"):
            check_contracts(tx, {})
    # an input has the contract asked, however simple the transfer is
    with pytest.raises(AppRefusedError):
        check_contracts(tx, refusing, {app: 1})


@pytest.mark.parametrize("amount", [0, -1, 1 << 64, True, "1", None])
def test_what_is_no_amount(amount: object) -> None:
    with pytest.raises(SpellNotAllowedError, match="no amount"):
        check_contracts(moving(TOKEN, [1], [amount]), {})


def test_a_charm_of_an_app_that_the_spell_does_not_list() -> None:
    for tx in (moving(TOKEN, [1], []), moving(TOKEN, [], [1])):
        unlisted = AppTransaction(ins=tx.ins, outs=tx.outs, public_inputs={})
        with pytest.raises(SpellNotAllowedError, match="does not list"):
            check_contracts(unlisted, {})


@pytest.fixture(scope="module")
def calls() -> list[tuple[bytes, App, bytes]]:
    """Calls that the contracts allow: module, app and input."""
    world = World()
    world.open_vault("bob", 10**9, 100_000 * ONE)
    drafts: list[Draft] = [
        world.deployment,
        world.open("ann", 10**8, 1_000 * ONE),
        world.position("bob", None, 5 * ONE),
        world.update_price(101_000 * ONE),
    ]
    found = []
    for draft in drafts:
        if draft is world.deployment:
            continue
        tx = world.transaction(draft)
        for app, x in tx.public_inputs.items():
            wasm = BY_KEY[app.vk]
            given_ = encoded_call(app, tx, x, None)
            if not is_simple_transfer(app, tx):
                assert 0 < run_encoded(wasm, app, given_) < 20_000_000
                found.append((wasm, app, given_))
    assert len({app.vk for _, app, _ in found}) == len(MODULES)
    return found


@settings(max_examples=300)
@given(data=st.data())
def test_calls_that_are_damaged(calls: list[tuple[bytes, App, bytes]], data: st.DataObject) -> None:
    """Whatever stands in the call, a contract ends, within bounds; what is cut or too long is refused."""
    wasm, app, call = data.draw(st.sampled_from(calls))
    kind = data.draw(st.sampled_from(["change", "cut", "append", "splice"]))
    place = data.draw(st.integers(0, len(call) - 1))
    piece = data.draw(st.binary(min_size=1, max_size=12))
    if kind == "cut":
        damaged = call[:place]
    elif kind == "append":
        damaged = call + piece
    elif kind == "change":
        damaged = call[:place] + piece + call[place + len(piece) :]
    else:
        damaged = call[:place] + piece + call[place:]
    reason = None
    try:
        run_encoded(wasm, app, damaged, fuel=50_000_000)
    except AppRefusedError as error:
        reason = error.reason
    assert reason is not None or kind in ("change", "splice")
    assert reason is None or "more work" not in reason


@pytest.mark.parametrize(
    "given_",
    [
        b"",
        b"\x84" * 100_000,
        b"\x9b" + b"\xff" * 8,
        b"\x84\x83\x61s\x98\x20" + b"\x9a\xff\xff\xff\xff",
        b"\x5b" + b"\xff" * 8,
        b"\x9f\xff",
        b"\xfb" + bytes(8),
        bytes(20 << 20),
    ],
    ids=["empty", "nested", "long array", "long identity", "long bytes", "indefinite", "float", "20 MiB"],
)
@pytest.mark.parametrize("name", list(MODULES))
def test_calls_that_are_hostile(name: str, given_: bytes) -> None:
    with pytest.raises(AppRefusedError) as error:
        run_encoded(MODULES[name], APP, given_, fuel=50_000_000)
    assert "more work" not in error.value.reason


def test_what_contracts_do_not_know_of_a_transaction_is_skipped(calls: list[tuple[bytes, App, bytes]]) -> None:
    """A later version of Charms may say more of a transaction; coins must not be locked by that."""
    for wasm, app, call in calls:
        said = decode(call)
        assert isinstance(said, list)
        assert isinstance(said[1], Map)
        more = Map([("scrolls", [0, Map([])]), *said[1].pairs, ("later", Map([(1, [None])]))])  # type: ignore[list-item]
        run_encoded(wasm, app, encode([said[0], more, *said[2:]]))
        for place in range(len(said[1].pairs)):
            name = said[1].pairs[place][0]
            twice = Map([*said[1].pairs, said[1].pairs[place]])
            less = Map([pair for pair in said[1].pairs if pair[0] != name])
            if name not in ("refs", "prev_txs"):
                for wrong in (twice, less):
                    with pytest.raises(AppRefusedError, match=r"twice|lacks"):
                        run_encoded(wasm, app, encode([said[0], wrong, *said[2:]]))


def without(pairs: list[Any], name: str, value: Any) -> Map:
    return Map([(key, value if key == name else item) for key, item in pairs])


def test_transactions_that_are_not_whole(calls: list[tuple[bytes, App, bytes]]) -> None:
    """Inputs and outputs without their coins, twice, or in other forms."""
    for wasm, app, call in calls:
        _, said, x, w = parts = decode(call)  # type: ignore[misc]
        assert isinstance(said, Map)
        fields = dict(said.pairs)
        (outpoint, charms), *more = fields["ins"]
        listed = fields["app_public_inputs"]
        coin = fields["coin_ins"][0]
        for name, value, why in (
            ("coin_ins", fields["coin_ins"][1:], "not every input has its coin"),
            ("coin_outs", fields["coin_outs"][1:], "not every output has its coin"),
            ("coin_ins", [Map([*coin.pairs, coin.pairs[0]]), *fields["coin_ins"][1:]], "twice"),
            ("coin_ins", [Map(coin.pairs[:1]), *fields["coin_ins"][1:]], "an amount and a script"),
            ("coin_ins", [Map(coin.pairs[1:]), *fields["coin_ins"][1:]], "an amount and a script"),
            ("ins", [[outpoint[:35], charms], *more], "36 bytes"),
            ("ins", [[outpoint + b"0", charms], *more], "36 bytes"),
            ("ins", [[outpoint], *more], "an outpoint and charms"),
            ("ins", [[outpoint, charms], [outpoint, charms], *more[1:]], "spent twice"),
            ("app_public_inputs", Map([*listed.pairs, listed.pairs[0]]), "an app stands twice"),
            ("app_public_inputs", Map([]), "not the one that the transaction lists"),
            ("app_public_inputs", Map([(key, 7) for key, _ in listed.pairs]), "not the one that the transaction lists"),
            ("app_public_inputs", Map([(["tt", *key[1:]], item) for key, item in listed.pairs]), "one character"),
            ("app_public_inputs", Map([(key[:2], item) for key, item in listed.pairs]), "a tag, an identity and a key"),
            (
                "app_public_inputs",
                Map([([*key, 1], item) for key, item in listed.pairs]),
                "a tag, an identity and a key",
            ),
        ):
            with pytest.raises(AppRefusedError, match=why):
                run_encoded(wasm, app, encode([parts[0], without(said.pairs, name, value), x, w]))  # type: ignore[index]
        for wrong in (parts[:3], [*parts, None], [*parts[:3], 1]):  # type: ignore[index,misc]
            with pytest.raises(AppRefusedError, match=r"four parts|no private input"):
                run_encoded(wasm, app, encode(wrong))


def test_large_previous_transactions_cost_little(calls: list[tuple[bytes, App, bytes]]) -> None:
    world = World()
    tx = world.transaction(world.open("ann", 10**8, 1_000 * ONE))
    large = AppTransaction(
        ins=tx.ins,
        outs=tx.outs,
        public_inputs=tx.public_inputs,
        previous=[(bytes([at]) * 32, Map([("bitcoin", "00" * 400_000)])) for at in range(5)],
    )
    used = run_app(MODULES["vault_manager"], world.vaults, large, "open")
    assert used < run_app(MODULES["vault_manager"], world.vaults, tx, "open") + 10_000


def test_an_output_of_nothing_is_fine() -> None:
    world = World()
    draft = world.open("ann", 10**8, 1_000 * ONE)
    draft.outs.append(Out(script("ann"), CHARM_SATS))
    world.apply(draft)
    world.check_invariants()
