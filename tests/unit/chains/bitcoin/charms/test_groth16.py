"""Proofs on BN254, by compiled code and by Python alone."""

import random
import subprocess
import sys
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from support.charms import Trapdoor

from clarion.chains.bitcoin.charms import keys
from clarion.chains.bitcoin.charms.groth16 import (
    FIELD,
    G2,
    ORDER,
    InvalidPointError,
    Pairings,
    Statement,
    VerifyingKey,
    g1_on_curve,
    g2_on_curve,
    pairings,
    read_proof,
    verify,
    verify_all,
    weights,
)
from clarion.chains.bitcoin.charms.pairings_py_ecc import PyEccPairings
from clarion.chains.bitcoin.charms.pairings_zksnake import ZksnakePairings

FAST, SLOW = ZksnakePairings(), PyEccPairings()
#: Python alone takes seconds a proof where others use the machine.
WAYS = [FAST, pytest.param(SLOW, marks=pytest.mark.slow)]
TWO, FIVE = Trapdoor(2), Trapdoor(5)


def statement(trapdoor: Trapdoor, *inputs: int) -> Statement:
    return Statement(trapdoor.key, read_proof(trapdoor.prove(*inputs)), inputs)


def outside_the_group() -> G2:
    """A point of the twisted curve that is not in the group of the order."""
    draw = random.Random(3)
    while True:
        x = (draw.randrange(FIELD), draw.randrange(FIELD))
        y = _root(_plus_b(_times(_times(x, x), x)))
        if y is not None:
            assert g2_on_curve((x, y))
            return x, y


def _times(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return (a[0] * b[0] - a[1] * b[1]) % FIELD, (a[0] * b[1] + a[1] * b[0]) % FIELD


def _plus_b(a: tuple[int, int]) -> tuple[int, int]:
    inverse = pow(82, -1, FIELD)
    return (a[0] + 27 * inverse) % FIELD, (a[1] - 3 * inverse) % FIELD


def _root(a: tuple[int, int]) -> tuple[int, int] | None:
    """By the norm: the field's modulus is 3 modulo 4."""
    norm = (a[0] * a[0] + a[1] * a[1]) % FIELD
    root = pow(norm, (FIELD + 1) // 4, FIELD)
    for sign in (root, -root):
        half = (a[0] + sign) * pow(2, -1, FIELD) % FIELD
        first = pow(half, (FIELD + 1) // 4, FIELD)
        if first and first * first % FIELD == half:
            second = a[1] * pow(2 * first, -1, FIELD) % FIELD
            if _times((first, second), (first, second)) == a:
                return first, second
    return None


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("trapdoor", [TWO, FIVE])
def test_a_proof_holds_for_its_inputs_alone(by: Pairings, trapdoor: Trapdoor) -> None:
    inputs = tuple(range(1, len(trapdoor.key.inputs)))
    held = statement(trapdoor, *inputs)
    assert verify(held, by=by)
    assert not verify(replace(held, inputs=(*inputs[:-1], inputs[-1] + 1)), by=by)
    assert verify(replace(held, inputs=(inputs[0] + ORDER, *inputs[1:])), by=by)


@pytest.mark.parametrize("by", WAYS)
def test_every_part_of_a_proof_matters(by: Pairings) -> None:
    held, other = statement(TWO, 5, 6), statement(TWO, 5, 6)
    assert held.proof != other.proof
    for mixed in (
        replace(held.proof, a=other.proof.a),
        replace(held.proof, b=other.proof.b),
        replace(held.proof, c=other.proof.c),
        replace(held.proof, a=(held.proof.a[0], FIELD - held.proof.a[1])),
        replace(held.proof, c=(held.proof.c[0], FIELD - held.proof.c[1])),
    ):
        assert not verify(replace(held, proof=mixed), by=by)


@pytest.mark.parametrize("by", WAYS)
def test_points_outside_the_group_are_refused(by: Pairings) -> None:
    held = statement(TWO, 1, 2)
    assert by.in_subgroup(held.proof.b)
    (x, (y0, y1)) = held.proof.b
    assert by.in_subgroup((x, (FIELD - y0, FIELD - y1)))
    outside = outside_the_group()
    assert not by.in_subgroup(outside)
    forged = replace(held, proof=replace(held.proof, b=outside))
    assert not verify(forged, by=by)
    assert verify_all([held, forged, held], by=by) == [True, False, True]


@pytest.mark.parametrize(
    ("place", "number", "problem"),
    [
        (0, FIELD, "not below"),
        (3, 2**256 - 1, "not below"),
        (7, FIELD + 2, "not below"),
        (0, 1, "A is not on"),
        (2, 1, "B is not on"),
        (5, 1, "B is not on"),
        (7, 1, "C is not on"),
    ],
)
def test_bytes_that_are_no_points_are_refused(place: int, number: int, problem: str) -> None:
    data = bytearray(TWO.prove(1, 2))
    data[32 * place : 32 * place + 32] = number.to_bytes(32, "big")
    with pytest.raises(InvalidPointError, match=problem):
        read_proof(bytes(data))


def test_the_same_coordinate_written_otherwise_is_refused() -> None:
    data = bytearray(TWO.prove(1, 2))
    x = int.from_bytes(data[:32], "big")
    if x + FIELD < 1 << 256:
        data[:32] = (x + FIELD).to_bytes(32, "big")
        with pytest.raises(InvalidPointError, match="not below"):
            read_proof(bytes(data))


@pytest.mark.parametrize("data", [b"", bytes(255), bytes(257), bytes(256)])
def test_infinity_and_other_lengths_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidPointError):
        read_proof(data)


@pytest.mark.parametrize("place", [0, 64, 192])
def test_a_point_at_infinity_is_refused(place: int) -> None:
    data = bytearray(TWO.prove(1, 2))
    size = 128 if place == 64 else 64
    data[place : place + size] = bytes(size)
    with pytest.raises(InvalidPointError, match="not on its curve"):
        read_proof(bytes(data))


@pytest.mark.parametrize("wrong", [[], [0], [6], [2, 3], list(range(7))])
def test_a_batch_says_of_each_whether_it_holds(wrong: Sequence[int]) -> None:
    statements = [statement(TWO if place % 2 else FIVE, *range(2 if place % 2 else 5)) for place in range(7)]
    for place in wrong:
        statements[place] = replace(statements[place], inputs=(99, *statements[place].inputs[1:]))
    assert verify_all(statements) == [place not in wrong for place in range(7)]


@pytest.mark.parametrize("by", WAYS)
def test_a_batch_holds_where_all_do(by: Pairings) -> None:
    statements = [statement(TWO, 1, 2), statement(TWO, 3, 4)]
    wrong = [statements[0], replace(statements[1], inputs=(3, 5))]
    assert by.all_hold(statements, weights(statements))
    assert not by.all_hold(wrong, weights(wrong))


def test_python_alone_comes_to_the_same() -> None:
    held = statement(TWO, 1, 2)
    assert SLOW.holds(held)
    assert not SLOW.holds(replace(held, inputs=(1, 3)))


@pytest.mark.parametrize("by", WAYS)
def test_errors_that_cancel_are_found(by: Pairings) -> None:
    """C of one proof moved by what C of the other is moved back: without weights the product would hold."""
    first, second = statement(TWO, 1, 2), statement(TWO, 3, 4)
    swapped = [
        replace(first, proof=replace(first.proof, c=second.proof.c)),
        replace(second, proof=replace(second.proof, c=first.proof.c)),
    ]
    assert by.all_hold(swapped, [1, 1])
    assert not by.all_hold(swapped, weights(swapped))
    assert verify_all(swapped, by=by) == [False, False]


def test_weights_follow_from_all_statements() -> None:
    statements = [statement(TWO, 1, 2), statement(TWO, 3, 4)]
    assert weights(statements) == weights(list(statements))
    changed = [statements[0], replace(statements[1], inputs=(3, 5))]
    assert all(one != other for one, other in zip(weights(statements), weights(changed), strict=True))
    assert all(0 < weight < 1 << 128 for weight in weights(statements))


def test_nothing_is_verified_at_once() -> None:
    assert verify_all([]) == []


def test_the_fast_way_is_taken() -> None:
    assert isinstance(pairings(), ZksnakePairings)


@pytest.mark.parametrize("version", range(keys.LATEST_VERSION + 1))
def test_the_protocols_keys_are_points(version: int) -> None:
    key: VerifyingKey = keys.generation(version).key
    assert all(g1_on_curve(point) for point in (key.alpha, *key.inputs))
    assert all(
        g2_on_curve(point) and ZksnakePairings().in_subgroup(point) for point in (key.beta, key.gamma, key.delta)
    )
    assert len(key.inputs) == (6 if version >= 12 else 3)
    assert len(keys.program_key(version)) == 32
    if version >= 12:
        assert len(keys.vk_root(version)) == 32


def test_later_versions_have_no_keys() -> None:
    for read in (keys.generation, keys.program_key, keys.vk_root):
        with pytest.raises(KeyError):
            read(keys.LATEST_VERSION + 1)


def test_the_slow_way_leaves_python_its_depth() -> None:
    program = (
        "import sys; before = sys.getrecursionlimit(); import clarion.chains.bitcoin.charms.pairings_py_ecc; "
        "assert 'py_ecc' in sys.modules; sys.exit(sys.getrecursionlimit() != before)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
