"""Pairings by zksnake: arkworks, compiled. A few milliseconds a proof.

Its constructors of points check that these are on the curve and in the group, and end the thread with a panic where
they are not; :func:`read_proof` has checked the first, and reading a compressed point says the second with an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from zksnake._algebra import ec_bn254  # type: ignore[import-untyped]

from clarion.chains.bitcoin.charms.groth16 import FIELD, G1, G2, ORDER, Statement, VerifyingKey

_KEYS_KEPT: Final = 8
_POINTS_KEPT: Final = 1_000


class ZksnakePairings:
    """See :class:`clarion.chains.bitcoin.charms.groth16.Pairings`."""

    def in_subgroup(self, point: G2) -> bool:
        """Whether the point is one of the second group."""
        return _checked_g2(point) is not None

    def holds(self, statement: Statement) -> bool:
        """Whether the proof holds."""
        key, proof = _key(statement.key), statement.proof
        left = [_g1(proof.a), -key.sum_of_inputs([(1, *statement.inputs)], [1]), -_g1(proof.c)]
        product = ec_bn254.multi_pairing(left, [_checked_g2(proof.b), key.gamma, key.delta])
        return bool(product == key.alpha_beta)

    def all_hold(self, statements: Sequence[Statement], weights: Sequence[int]) -> bool:
        """Whether all these proofs, of one key, hold."""
        key = _key(statements[0].key)
        left = ec_bn254.batch_multi_scalar_g1([_g1(s.proof.a) for s in statements], list(weights))
        right = [_checked_g2(statement.proof.b) for statement in statements]
        inputs = [(1, *statement.inputs) for statement in statements]
        left.append(-key.sum_of_inputs(inputs, weights))
        left.append(-ec_bn254.multiscalar_mul_g1([_g1(s.proof.c) for s in statements], list(weights)))
        left.append(key.alpha * (ORDER - sum(weights) % ORDER))
        right += (key.gamma, key.delta, key.beta)
        return bool(ec_bn254.multi_pairing(left, right) == ec_bn254.multi_pairing([], []))


class _Key:
    """A verifying key's points, and what can be worked out beforehand."""

    def __init__(self, key: VerifyingKey) -> None:
        self.alpha = _g1(key.alpha)
        self.beta, self.gamma, self.delta = (_g2(point) for point in (key.beta, key.gamma, key.delta))
        self.alpha_beta = ec_bn254.pairing(self.alpha, self.beta)
        self._inputs = [_g1(point) for point in key.inputs]

    def sum_of_inputs(self, inputs: Sequence[Sequence[int]], weights: Sequence[int]) -> Any:
        """The points of the inputs, each times the sum over the statements of input times weight."""
        times = [sum(map(int.__mul__, of_place, weights)) % ORDER for of_place in zip(*inputs, strict=True)]
        return ec_bn254.multiscalar_mul_g1(self._inputs, times)


@lru_cache(_KEYS_KEPT)
def _key(key: VerifyingKey) -> _Key:
    return _Key(key)


def _g1(point: G1) -> Any:
    return ec_bn254.PointG1(*point)


def _g2(point: G2) -> Any:
    (x0, x1), (y0, y1) = point
    return ec_bn254.PointG2(x0, x1, y0, y1)


@lru_cache(_POINTS_KEPT)
def _checked_g2(point: G2) -> Any | None:
    """The point, or None where it is not one of the group. Kept between the questions: to find out costs the most."""
    try:
        return ec_bn254.PointG2.from_bytes(_compressed(point))
    except ValueError:
        return None


def _compressed(point: G2) -> bytes:
    """arkworks' form: x little-endian, the last bit says which y; the greater of two is so by its second part first."""
    (x0, x1), (y0, y1) = point
    greater = (y1, y0) > ((FIELD - y1) % FIELD, (FIELD - y0) % FIELD)
    return x0.to_bytes(32, "little") + (x1 | greater << 255).to_bytes(32, "little")
