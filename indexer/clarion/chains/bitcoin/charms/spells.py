"""Spells: what a transaction says of its charms, and the public values that its proof commits to.

The payload is CBOR: an array of the spell and its proof. The spell says nothing of the transaction's inputs and coins;
whoever verifies the proof puts them in from the transaction and writes the spell anew. Fields, their order and what is
left out are those of ``NormalizedSpell`` in charms-client 15.1. Its reader takes one form of all versions, skips fields
that it does not know, and so does this one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from msgspec import Struct

from clarion.chains.bitcoin.charms.cbor import CborError, Map, Reader, Value, encode
from clarion.chains.bitcoin.transactions import BitcoinTransaction

FIRST_WITH_ALL_INPUTS: Final = 10
"""Before this version the last input, which paid the fees, was no part of the spell."""
FIRST_WITH_COINS: Final = 8
"""From this version on the spell commits to the amounts and scripts of its outputs."""
FIRST_WITH_KEY_AS_NUMBERS: Final = 15
"""From this version on the program's key is an array of bytes in the public values, before it was text."""

_UINT32: Final = (1 << 32) - 1
_UINT64: Final = (1 << 64) - 1
_HASH_BYTES: Final = 32
_OUTPOINT_BYTES: Final = 36


class SpellFormatError(ValueError):
    """A payload is no spell. ``version`` is what it says its version is, where that could be read."""

    def __init__(self, problem: str, version: int | None) -> None:
        self.version = version
        super().__init__(problem)


class App(Struct, frozen=True, order=True):
    """An app: its contract's key, what tells it from others of that contract, and what kind of charms it has."""

    tag: str
    """One character."""
    identity: bytes
    vk: bytes


class Coin(Struct, frozen=True):
    """What a spell's output holds besides charms."""

    amount: int
    script: bytes
    content: Value = None
    """Of another chain's outputs."""


class VersionedApp(Struct, frozen=True):
    """An app whose program may be replaced: which one it is now."""

    version: int
    wasm_hash: bytes


class Spell(Struct, frozen=True):
    """A spell as it is in a transaction."""

    version: int
    inputs: list[bytes] | None
    """Outpoints of 36 bytes: the transaction's id in internal order, the index in 4 bytes little-endian."""
    refs: list[bytes] | None
    outs: list[dict[int, Value]]
    """By output: place of the app in :attr:`apps` to charm data."""
    beamed_outs: dict[int, bytes] | None
    coins: list[Coin] | None
    scrolls: list[int] | None
    apps: list[tuple[App, Value]]
    """The table of apps with their public inputs, strictly in order."""
    versioned_apps: dict[bytes, VersionedApp] | None
    mock: bool


def read_payload(payload: bytes) -> tuple[Spell, bytes]:
    """The spell and the proof. What follows them is ignored, as the protocol does. Raises SpellFormatError."""
    draft = _Draft(payload)
    try:
        return draft.read()
    except CborError as error:
        raise SpellFormatError(str(error), draft.version) from error


def read_spell_alone(data: bytes) -> Spell:
    """The spell that the bytes are, without a proof: as a prover is given it. Raises SpellFormatError."""
    draft = _Draft(data)
    try:
        return draft.read_alone()
    except CborError as error:
        raise SpellFormatError(str(error), draft.version) from error


class _Draft:
    """What has been read so far: a later version may be of another form, and still says which it is."""

    def __init__(self, payload: bytes) -> None:
        self._reader = Reader(payload)
        self._size = len(payload)
        self.version: int | None = None
        self._inputs: list[bytes] | None = None
        self._refs: list[bytes] | None = None
        self._outs: list[dict[int, Value]] = []
        self._beamed_outs: dict[int, bytes] | None = None
        self._coins: list[Coin] | None = None
        self._scrolls: list[int] | None = None
        self._apps: list[tuple[App, Value]] = []
        self._versioned_apps: dict[bytes, VersionedApp] | None = None
        self._mock = False
        self._proof = b""

    def read(self) -> tuple[Spell, bytes]:
        self._reader.items(self._read_spell, self._read_proof)
        return self._spell(), self._proof

    def read_alone(self) -> Spell:
        start = self._reader.offset
        self._read_spell()
        if self._reader.offset != self._size:
            raise CborError("bytes follow the spell", start)
        return self._spell()

    def _spell(self) -> Spell:
        assert self.version is not None
        return Spell(
            version=self.version,
            inputs=self._inputs,
            refs=self._refs,
            outs=self._outs,
            beamed_outs=self._beamed_outs,
            coins=self._coins,
            scrolls=self._scrolls,
            apps=self._apps,
            versioned_apps=self._versioned_apps,
            mock=self._mock,
        )

    def _read_spell(self) -> None:
        self._fields(
            required={
                "version": self._read_version,
                "tx": self._read_transaction,
                "app_public_inputs": self._read_apps,
            },
            optional={"versioned_apps": self._read_versioned_apps, "mock": self._read_mock},
        )

    def _read_transaction(self) -> None:
        self._fields(
            required={"outs": self._read_outs},
            optional={
                "ins": self._read_inputs,
                "refs": self._read_refs,
                "beamed_outs": self._read_beamed_outs,
                "coins": self._read_coins,
                "scrolls": self._read_scrolls,
            },
        )

    def _fields(self, required: dict[str, Callable[[], None]], optional: dict[str, Callable[[], None]]) -> None:
        start = self._reader.offset
        found = self._reader.fields({**required, **optional})
        for name in required:
            if name not in found:
                raise CborError(f"the field {name} is missing in the map", start)

    def _read_proof(self) -> None:
        self._proof = self._reader.octets()

    def _read_version(self) -> None:
        self.version = self._reader.unsigned(_UINT32)

    def _read_mock(self) -> None:
        self._mock = self._reader.boolean()

    def _read_inputs(self) -> None:
        self._inputs = self._reader.optional(self._outpoints)

    def _read_refs(self) -> None:
        self._refs = self._reader.optional(self._outpoints)

    def _outpoints(self) -> list[bytes]:
        return self._reader.array(partial(self._reader.fixed_bytes, _OUTPOINT_BYTES))

    def _read_outs(self) -> None:
        self._outs = self._reader.array(lambda: dict(self._reader.map(self._uint32, self._reader.value)))

    def _read_beamed_outs(self) -> None:
        self._beamed_outs = self._reader.optional(lambda: dict(self._reader.map(self._uint32, self._hash)))

    def _read_coins(self) -> None:
        self._coins = self._reader.optional(lambda: self._reader.array(self._coin))

    def _coin(self) -> Coin:
        amount = 0
        script = b""
        content: Value = None

        def read_amount() -> None:
            nonlocal amount
            amount = self._reader.unsigned(_UINT64)

        def read_script() -> None:
            nonlocal script
            script = self._reader.octets()

        def read_content() -> None:
            nonlocal content
            content = self._reader.value()

        self._fields(required={"amount": read_amount, "dest": read_script}, optional={"content": read_content})
        return Coin(amount, script, content)

    def _read_scrolls(self) -> None:
        self._scrolls = self._reader.optional(lambda: self._reader.array(self._uint32))

    def _read_apps(self) -> None:
        start = self._reader.offset
        self._apps = self._reader.map(self._app, self._reader.value)
        for (earlier, _), (later, _) in zip(self._apps, self._apps[1:], strict=False):
            if not earlier < later:
                raise CborError("the table of apps is not in order", start)

    def _app(self) -> App:
        tag = ""
        hashes: list[bytes] = []

        def read_tag() -> None:
            nonlocal tag
            tag = self._reader.character()

        def read_hash() -> None:
            hashes.append(self._hash())

        self._reader.items(read_tag, read_hash, read_hash, definite=True)
        return App(tag, *hashes)

    def _read_versioned_apps(self) -> None:
        self._versioned_apps = self._reader.optional(lambda: dict(self._reader.map(self._hash, self._versioned_app)))

    def _versioned_app(self) -> VersionedApp:
        version = 0
        wasm_hash = b""

        def read_version() -> None:
            nonlocal version
            version = self._uint32()

        def read_wasm_hash() -> None:
            nonlocal wasm_hash
            wasm_hash = self._hash()

        self._fields(required={"version": read_version, "wasm_hash": read_wasm_hash}, optional={})
        return VersionedApp(version, wasm_hash)

    def _uint32(self) -> int:
        return self._reader.unsigned(_UINT32)

    def _hash(self) -> bytes:
        return self._reader.fixed_octets(_HASH_BYTES)


def write_payload(spell: Spell, proof: bytes) -> bytes:
    """The payload of a spell and its proof, as the protocol's prover writes it."""
    return encode([_spell(spell), list(proof)])


def write_spell(spell: Spell) -> bytes:
    """The spell alone, as a prover is given it."""
    return encode(_spell(spell))


def committed(spell: Spell, transaction: BitcoinTransaction) -> Spell:
    """The spell with what its proof commits to of the transaction: its inputs, and its outputs' amounts and scripts."""
    inputs = transaction.inputs if spell.version >= FIRST_WITH_ALL_INPUTS else transaction.inputs[:-1]
    coins = spell.coins
    if spell.version >= FIRST_WITH_COINS:
        coins = [Coin(output.amount, output.script) for output in transaction.outputs[: len(spell.outs)]]
    return Spell(
        version=spell.version,
        inputs=[spent.tx_id[::-1] + spent.vout.to_bytes(4, "little") for spent in inputs],
        refs=spell.refs,
        outs=spell.outs,
        beamed_outs=spell.beamed_outs,
        coins=coins,
        scrolls=spell.scrolls,
        apps=spell.apps,
        versioned_apps=spell.versioned_apps,
        mock=spell.mock,
    )


def public_values(program_key: bytes, spell: Spell) -> bytes:
    """What the proof of a spell (see :func:`committed`) commits to, from version 1 on."""
    if spell.version >= FIRST_WITH_KEY_AS_NUMBERS:
        return encode([list(program_key), _spell(spell)])
    return encode([f"0x{program_key.hex()}", _spell(spell)])


def _spell(spell: Spell) -> Value:
    apps: list[tuple[Value, Value]] = [
        ([app.tag, list(app.identity), list(app.vk)], public_input) for app, public_input in spell.apps
    ]
    fields: list[tuple[Value, Value]] = [
        ("version", spell.version),
        ("tx", _transaction(spell)),
        ("app_public_inputs", Map(apps)),
    ]
    if spell.versioned_apps is not None:
        versions: list[tuple[Value, Value]] = [
            (list(key), Map([("version", app.version), ("wasm_hash", list(app.wasm_hash))]))
            for key, app in sorted(spell.versioned_apps.items())
        ]
        fields.append(("versioned_apps", Map(versions)))
    if spell.mock:
        fields.append(("mock", True))
    return Map(fields)


def _transaction(spell: Spell) -> Value:
    fields: list[tuple[Value, Value]] = []
    if spell.inputs is not None:
        fields.append(("ins", list(spell.inputs)))
    if spell.refs is not None:
        fields.append(("refs", list(spell.refs)))
    fields.append(("outs", [Map(sorted(out.items())) for out in spell.outs]))
    if spell.beamed_outs is not None:
        fields.append(("beamed_outs", Map([(place, list(to)) for place, to in sorted(spell.beamed_outs.items())])))
    if spell.coins is not None:
        fields.append(("coins", [_coin(coin) for coin in spell.coins]))
    if spell.scrolls is not None:
        fields.append(("scrolls", list(spell.scrolls)))
    return Map(fields)


def _coin(coin: Coin) -> Value:
    fields: list[tuple[Value, Value]] = [("amount", coin.amount), ("dest", list(coin.script))]
    if coin.content is not None:
        fields.append(("content", coin.content))
    return Map(fields)
