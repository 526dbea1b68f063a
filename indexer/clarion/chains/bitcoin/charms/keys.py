"""Verification keys of the Charms protocol. ``keys.json`` beside this module says what its figures are, and whose."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from clarion.chains.bitcoin.charms.groth16 import G1, G2, VerifyingKey

LATEST_VERSION: Final = 15
"""The latest version of spells that this release can verify."""


class Generation(msgspec.Struct, frozen=True):
    """What the proofs of some versions of spells are verified with."""

    prefix: bytes
    """The first four bytes of such a proof: of the SHA-256 of the key."""
    key: VerifyingKey


class _Figures(msgspec.Struct):
    first_version: int
    last_version: int
    prefix: str
    alpha: tuple[str, str]
    beta: tuple[tuple[str, str], tuple[str, str]]
    gamma: tuple[tuple[str, str], tuple[str, str]]
    delta: tuple[tuple[str, str], tuple[str, str]]
    inputs: list[tuple[str, str]]


class _File(msgspec.Struct):
    generations: list[_Figures]
    program_keys: dict[str, str]
    vk_roots: dict[str, str]


def generation(version: int) -> Generation:
    """What proofs of spells of this version are verified with. Raises KeyError for a version that is not known."""
    return _generations()[version]


@cache
def program_key(version: int) -> bytes:
    """The key of the program that a proof of this version says was run: 32 bytes. Raises KeyError."""
    return bytes.fromhex(_file().program_keys[str(version)])


@cache
def vk_root(version: int) -> bytes:
    """The root of the recursion keys that a proof of this version (12 and later) has to name. Raises KeyError."""
    return bytes.fromhex(_file().vk_roots[str(version)])


@cache
def _file() -> _File:
    return msgspec.json.decode(files(__package__).joinpath("keys.json").read_bytes(), type=_File)


@cache
def _generations() -> dict[int, Generation]:
    return {
        version: Generation(bytes.fromhex(figures.prefix), _key(figures))
        for figures in _file().generations
        for version in range(figures.first_version, figures.last_version + 1)
    }


def _key(figures: _Figures) -> VerifyingKey:
    return VerifyingKey(
        alpha=_g1(figures.alpha),
        beta=_g2(figures.beta),
        gamma=_g2(figures.gamma),
        delta=_g2(figures.delta),
        inputs=tuple(_g1(point) for point in figures.inputs),
    )


def _g1(point: tuple[str, str]) -> G1:
    return int(point[0], 16), int(point[1], 16)


def _g2(point: tuple[tuple[str, str], tuple[str, str]]) -> G2:
    return _g1(point[0]), _g1(point[1])
