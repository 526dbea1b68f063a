"""Spells whose proofs hold, under a key whose secret the tests know."""

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from zksnake._algebra import ec_bn254  # type: ignore[import-untyped]

from clarion.chains.bitcoin.charms import keys, proofs
from clarion.chains.bitcoin.charms.cbor import Value
from clarion.chains.bitcoin.charms.groth16 import ORDER, VerifyingKey
from clarion.chains.bitcoin.charms.spells import App, Spell, committed, public_values, write_payload
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction, parse_transaction
from clarion.chains.bitcoin.units import Sats

SPELL = b"\x05spell"
OWNER = b"\x00\x14" + bytes(20)


class Trapdoor:
    """A verifying key of which the secrets are known: whoever knows them can prove anything."""

    def __init__(self, inputs: int, seed: int = 1) -> None:
        draw = random.Random(seed)
        self._alpha, self._beta, self._gamma, self._delta = (draw.randrange(1, ORDER) for _ in range(4))
        self._inputs = [draw.randrange(1, ORDER) for _ in range(inputs + 1)]
        self._draw = draw
        self.key = VerifyingKey(
            alpha=_g1(self._alpha),
            beta=_g2(self._beta),
            gamma=_g2(self._gamma),
            delta=_g2(self._delta),
            inputs=tuple(_g1(number) for number in self._inputs),
        )

    def prove(self, *inputs: int) -> bytes:
        """The 256 bytes of a proof for these public inputs."""
        a, b = self._draw.randrange(1, ORDER), self._draw.randrange(1, ORDER)
        total = sum(number * times for number, times in zip(self._inputs, (1, *inputs), strict=True))
        c = (a * b - self._alpha * self._beta - total * self._gamma) * pow(self._delta, -1, ORDER) % ORDER
        (x0, x1), (y0, y1) = _g2(b)
        numbers = (*_g1(a), x1, x0, y1, y0, *_g1(c))
        return b"".join(number.to_bytes(32, "big") for number in numbers)


def _g1(times: int) -> tuple[int, int]:
    point = ec_bn254.g1() * times
    return point.x, point.y


def _g2(times: int) -> tuple[tuple[int, int], tuple[int, int]]:
    point = ec_bn254.g2() * times
    return (point.x[0], point.x[1]), (point.y[0], point.y[1])


class Prover:
    """Makes spells with proofs of any version from 1 on. Install it in the place of the protocol's keys."""

    NONCE = 7

    def __init__(self) -> None:
        self._trapdoors = {2: Trapdoor(2), 5: Trapdoor(5)}

    def generation(self, version: int) -> keys.Generation:
        """Takes the place of `keys.generation`."""
        return keys.Generation(b"toy!", self._trapdoor(version).key)

    def cast(self, spell: Spell, transaction: BitcoinTransaction, *, witness: bool = False) -> BitcoinTransaction:
        """The transaction with the spell: in an output that is added at the end, or in the last input's witness."""
        values = public_values(keys.program_key(spell.version), committed(spell, transaction))
        digest = int.from_bytes(hashlib.sha256(values).digest(), "big") & ((1 << 253) - 1)
        inputs = [int.from_bytes(keys.program_key(spell.version), "big"), digest]
        proof = b"toy!"
        if spell.version >= proofs.FIRST_WITH_EXIT_CODE:
            root = keys.vk_root(spell.version)
            inputs += [0, int.from_bytes(root, "big"), self.NONCE]
            proof += bytes(32) + root + self.NONCE.to_bytes(32, "big")
        proof += self._trapdoor(spell.version).prove(*inputs)
        payload = write_payload(spell, proof)
        return in_witness(transaction, payload) if witness else in_output(transaction, payload)

    def _trapdoor(self, version: int) -> Trapdoor:
        return self._trapdoors[5 if version >= proofs.FIRST_WITH_EXIT_CODE else 2]


def push(data: bytes) -> bytes:
    """The bytes that push these, as scripts mostly have them."""
    if len(data) <= 75:
        return bytes((len(data),)) + data
    return b"\x4d" + len(data).to_bytes(2, "little") + data


def in_output(transaction: BitcoinTransaction, payload: bytes) -> BitcoinTransaction:
    """The transaction with one output more, that holds the payload."""
    marked = Output(Sats(0), b"\x6a" + SPELL + push(payload))
    return new_transaction(transaction.inputs, (*transaction.outputs, marked))


def in_witness(transaction: BitcoinTransaction, payload: bytes) -> BitcoinTransaction:
    """The transaction with the payload in the witness of its last input."""
    pieces = b"".join(push(payload[at : at + 520]) for at in range(0, len(payload), 520))
    script = b"\x00\x63" + SPELL + pieces + b"\x68" + push(bytes(32)) + b"\xac"
    return with_witness(transaction, (bytes(64), script, b"\xc0" + bytes(32)))


def with_witness(transaction: BitcoinTransaction, witness: tuple[bytes, ...]) -> BitcoinTransaction:
    """The transaction with this witness of its last input."""
    *others, last = transaction.inputs
    return new_transaction((*others, replace(last, witness=witness)), transaction.outputs)


def plain_transaction(inputs: int = 2, outputs: int = 2, seed: int = 0) -> BitcoinTransaction:
    """A transaction without a spell."""
    draw = random.Random(seed)
    spent = tuple(Input(draw.randbytes(32), draw.randrange(9), b"", 0xFFFFFFFF) for _ in range(inputs))
    made = tuple(Output(Sats(draw.randrange(300, 10**9)), b"\x51\x20" + draw.randbytes(32)) for _ in range(outputs))
    return new_transaction(spent, made)


def app(tag: str, identity: int = 1, vk: int = 2) -> App:
    """An app with these numbers as its identity and key."""
    return App(tag, identity.to_bytes(32, "big"), vk.to_bytes(32, "big"))


def spell_of(version: int, outs: list[dict[int, Value]], apps: list[tuple[App, Value]], **fields: Any) -> Spell:
    """A spell, without what is not given."""
    nothing = {"inputs": None, "refs": None, "beamed_outs": None, "coins": None, "scrolls": None}
    return Spell(version=version, outs=outs, apps=apps, **{**nothing, "versioned_apps": None, "mock": False, **fields})


def genuine_spells(folder: Path) -> list[tuple[dict[str, Any], BitcoinTransaction]]:
    """What is known of each recorded transaction with a spell, and the transaction."""
    described = json.loads((folder / "charms" / "genuine-spells.json").read_text())
    return [(known, parse_transaction(bytes.fromhex(known["hex"]))) for known in described]
