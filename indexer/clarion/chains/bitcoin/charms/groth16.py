"""Groth16 proofs on the curve BN254 (alt_bn128), as gnark and SP1 write them.

A proof (A, B, C) holds for public inputs x where ``e(A, B) = e(alpha, beta) e(L, gamma) e(C, delta)`` with
``L = inputs[0] + x[0] inputs[1] + ..`` (Groth, "On the Size of Pairing-based Non-interactive Arguments", 2016).

Many proofs of one key are verified at once: each equation is raised to a weight of its own, and their product is
checked, which costs one pairing a proof instead of three. The weights follow from a hash of all the proofs, so that
nobody can choose proofs whose errors cancel, and the result is the same wherever it is worked out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Final, Protocol

from msgspec import Struct

FIELD: Final = 21888242871839275222246405745257275088696311157297823662689037894645226208583
"""What coordinates are counted modulo."""
ORDER: Final = 21888242871839275222246405745257275088548364400416034343698204186575808495617
"""How many points each group has; public inputs are counted modulo it."""
PROOF_BYTES: Final = 256

_WEIGHT_BYTES: Final = 16

Fp2 = tuple[int, int]
"""``c0 + c1 u`` with ``u**2 = -1``, as (c0, c1)."""
G1 = tuple[int, int]
"""A point of the first group, as its coordinates."""
G2 = tuple[Fp2, Fp2]
"""A point of the second group, as its coordinates."""


class VerifyingKey(Struct, frozen=True):
    """What proofs of one circuit are verified with."""

    alpha: G1
    beta: G2
    gamma: G2
    delta: G2
    inputs: tuple[G1, ...]
    """One more than there are public inputs: the first stands for the constant one."""


class Proof(Struct, frozen=True):
    """A proof whose points are on their curves; whether B is in its group is not said."""

    a: G1
    b: G2
    c: G1


class Statement(Struct, frozen=True):
    """A proof, and what it is to be a proof of."""

    key: VerifyingKey
    proof: Proof
    inputs: tuple[int, ...]


class InvalidPointError(ValueError):
    """A proof's bytes are no points of the curves."""


class Pairings(Protocol):
    """The arithmetic of the curve. Points are on their curves."""

    def in_subgroup(self, point: G2) -> bool:
        """Whether the point is one of the second group: the curve has others."""
        ...

    def holds(self, statement: Statement) -> bool:
        """Whether the proof holds. Its points are in their groups."""
        ...

    def all_hold(self, statements: Sequence[Statement], weights: Sequence[int]) -> bool:
        """Whether all these proofs, of one key, hold, but for one chance in as many as there are weights."""
        ...


def read_proof(data: bytes) -> Proof:
    """The proof of 256 bytes: A, B and C uncompressed, big-endian, of B each coordinate's second part first.

    Raises InvalidPointError where a coordinate is not below the field's modulus or a point is not on its curve; the
    point at infinity is on neither in this form.
    """
    if len(data) != PROOF_BYTES:
        raise InvalidPointError(f"a proof has {PROOF_BYTES} bytes, not {len(data)}")
    numbers = [int.from_bytes(data[at : at + 32], "big") for at in range(0, PROOF_BYTES, 32)]
    if max(numbers) >= FIELD:
        raise InvalidPointError("a coordinate is not below the field's modulus")
    ax, ay, bx1, bx0, by1, by0, cx, cy = numbers
    proof = Proof((ax, ay), ((bx0, bx1), (by0, by1)), (cx, cy))
    for name, on_curve in (("A", g1_on_curve(proof.a)), ("B", g2_on_curve(proof.b)), ("C", g1_on_curve(proof.c))):
        if not on_curve:
            raise InvalidPointError(f"the point {name} is not on its curve")
    return proof


def g1_on_curve(point: G1) -> bool:
    """Whether ``y**2 = x**3 + 3``."""
    x, y = point
    return (y * y - x * x * x - 3) % FIELD == 0


def g2_on_curve(point: G2) -> bool:
    """Whether ``y**2 = x**3 + 3 / (9 + u)``."""
    x, y = point
    cube = _multiply(_multiply(x, x), x)
    square = _multiply(y, y)
    return all((left - right - b) % FIELD == 0 for left, right, b in zip(square, cube, _twist_b(), strict=True))


@cache
def _twist_b() -> Fp2:
    inverse = pow(9 * 9 + 1, -1, FIELD)
    return 27 * inverse % FIELD, -3 * inverse % FIELD


def _multiply(left: Fp2, right: Fp2) -> Fp2:
    return (
        (left[0] * right[0] - left[1] * right[1]) % FIELD,
        (left[0] * right[1] + left[1] * right[0]) % FIELD,
    )


@cache
def pairings() -> Pairings:
    """The fastest arithmetic that is installed here."""
    try:
        from clarion.chains.bitcoin.charms.pairings_zksnake import ZksnakePairings
    except ImportError:
        from clarion.chains.bitcoin.charms.pairings_py_ecc import PyEccPairings

        return PyEccPairings()
    return ZksnakePairings()


def verify(statement: Statement, *, by: Pairings | None = None) -> bool:
    """Whether the proof holds."""
    by = by or pairings()
    return by.in_subgroup(statement.proof.b) and by.holds(statement)


def verify_all(statements: Sequence[Statement], *, by: Pairings | None = None) -> list[bool]:
    """Which of the proofs hold. Where all do, as they mostly do, this costs less than asking one by one."""
    by = by or pairings()
    held = [by.in_subgroup(statement.proof.b) for statement in statements]
    of_keys: dict[VerifyingKey, list[int]] = {}
    for place, statement in enumerate(statements):
        if held[place]:
            of_keys.setdefault(statement.key, []).append(place)
    for places in of_keys.values():
        batch = [statements[place] for place in places]
        if len(batch) > 1 and by.all_hold(batch, weights(batch)):
            continue
        for place in places:
            held[place] = by.holds(statements[place])
    return held


def weights(statements: Sequence[Statement]) -> list[int]:
    """A weight for each of these, of 128 bits and never zero, that follow from all of them."""
    everything = hashlib.sha256(b"clarion groth16 batch")
    for statement in statements:
        proof = statement.proof
        for number in (*proof.a, *proof.b[0], *proof.b[1], *proof.c, *statement.inputs):
            everything.update(number.to_bytes(32, "big"))
    seed = everything.digest()
    digests = (hashlib.sha256(seed + place.to_bytes(8, "big")).digest() for place in range(len(statements)))
    return [int.from_bytes(digest[:_WEIGHT_BYTES], "big") or 1 for digest in digests]
