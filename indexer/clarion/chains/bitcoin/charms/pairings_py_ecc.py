"""Pairings by py_ecc, in Python alone: the check on the compiled ones, and for where these cannot be installed.

About half a second a proof.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

# Importing py_ecc lets Python recurse a hundred times deeper, which JSON of a hostile node can then use to overflow the
# stack. Nothing here recurses deeper than an integer has bits.
_RECURSION_LIMIT = sys.getrecursionlimit()

from py_ecc.fields import optimized_bn128_FQ as FQ  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ2 as FQ2  # noqa: E402
from py_ecc.fields import optimized_bn128_FQ12 as FQ12  # noqa: E402
from py_ecc.optimized_bn128.optimized_curve import add, is_inf, multiply, neg  # noqa: E402
from py_ecc.optimized_bn128.optimized_pairing import final_exponentiate, pairing  # noqa: E402

sys.setrecursionlimit(_RECURSION_LIMIT)

from clarion.chains.bitcoin.charms.groth16 import G1, G2, ORDER, Statement, VerifyingKey  # noqa: E402


class PyEccPairings:
    """See :class:`clarion.chains.bitcoin.charms.groth16.Pairings`."""

    def in_subgroup(self, point: G2) -> bool:
        """Whether the point is one of the second group."""
        return is_inf(multiply(_g2(point), ORDER))

    def holds(self, statement: Statement) -> bool:
        """Whether the proof holds."""
        return self.all_hold([statement], [1])

    def all_hold(self, statements: Sequence[Statement], weights: Sequence[int]) -> bool:
        """Whether all these proofs, of one key, hold."""
        key = statements[0].key
        weighed = list(zip(statements, weights, strict=True))
        pairs = [(multiply(_g1(s.proof.a), weight), _g2(s.proof.b)) for s, weight in weighed]
        inputs = _sum(multiply(_sum_of_inputs(key, s.inputs), weight) for s, weight in weighed)
        thirds = _sum(multiply(_g1(s.proof.c), weight) for s, weight in weighed)
        pairs.append((neg(inputs), _g2(key.gamma)))
        pairs.append((neg(thirds), _g2(key.delta)))
        pairs.append((neg(multiply(_g1(key.alpha), sum(weights) % ORDER)), _g2(key.beta)))
        product = FQ12.one()
        for first, second in pairs:
            product *= pairing(second, first, final_exponentiate=False)
        return bool(final_exponentiate(product) == FQ12.one())


def _sum_of_inputs(key: VerifyingKey, inputs: Sequence[int]) -> Any:
    constant, *points = key.inputs
    return _sum([_g1(constant), *(multiply(_g1(point), number) for point, number in zip(points, inputs, strict=True))])


def _sum(points: Iterable[Any]) -> Any:
    first, *others = points
    for point in others:
        first = add(first, point)
    return first


def _g1(point: G1) -> Any:
    x, y = point
    return FQ(x), FQ(y), FQ(1)


def _g2(point: G2) -> Any:
    (x0, x1), (y0, y1) = point
    return FQ2([x0, x1]), FQ2([y0, y1]), FQ2([1, 0])
