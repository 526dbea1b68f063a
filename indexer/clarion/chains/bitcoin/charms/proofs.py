"""Proofs of spells: what is around the Groth16 proof, and what it is to be a proof of.

Until version 11 a proof is ``prefix (4) | A (64) | B (128) | C (64)`` with the public inputs (program key, H); from
version 12 on (SP1 6) it is ``prefix (4) | exit code (32) | root (32) | nonce (32) | A | B | C`` with the public inputs
(program key, H, exit code, root, nonce). H is the SHA-256 of the public values with its three highest bits cleared.
As in the protocol's own verifier, inputs are taken modulo the group's order, and what follows C is ignored.
"""

from __future__ import annotations

import hashlib
from typing import Final

from clarion.chains.bitcoin.charms import keys
from clarion.chains.bitcoin.charms.groth16 import ORDER, PROOF_BYTES, InvalidPointError, Statement, read_proof

FIRST_WITH_EXIT_CODE: Final = 12
"""From this version on proofs name their exit code, root of recursion keys and nonce."""
LEAST_MOCK_PROOF_BYTES: Final = 192
"""Of the proof that a spell carries which says of itself that it is a mock (another curve; it proves nothing)."""

_PREFIX_BYTES: Final = 4
_WORD: Final = 32
_HASH_BITS: Final = 253


class ProofError(ValueError):
    """A proof fails before any pairing. ``step`` says where."""

    def __init__(self, step: str, problem: str) -> None:
        self.step = step
        super().__init__(problem)


def statement(version: int, proof: bytes, public_values: bytes) -> Statement:
    """What is left to verify of the proof of a spell of this version (1 to the latest). Raises ProofError."""
    generation = keys.generation(version)
    prefix, rest = proof[:_PREFIX_BYTES], proof[_PREFIX_BYTES:]
    if prefix != generation.prefix:
        raise ProofError("proof_key", f"the proof is for the key 0x{prefix.hex()}, not 0x{generation.prefix.hex()}")
    inputs = [keys.program_key(version), _digest(public_values)]
    if version >= FIRST_WITH_EXIT_CODE:
        exit_code, vk_root, nonce = (rest[at : at + _WORD] for at in range(0, 3 * _WORD, _WORD))
        rest = rest[3 * _WORD :]
        if any(exit_code):
            raise ProofError("proof_exit_code", "the program that the proof is of has failed")
        if vk_root != keys.vk_root(version):
            raise ProofError("proof_vk_root", "the proof was not made with the released recursion keys")
        inputs += [exit_code, vk_root, nonce]
    try:
        points = read_proof(rest[:PROOF_BYTES])
    except InvalidPointError as error:
        raise ProofError("proof_points", str(error)) from error
    return Statement(generation.key, points, tuple(int.from_bytes(number, "big") % ORDER for number in inputs))


def _digest(public_values: bytes) -> bytes:
    digest = int.from_bytes(hashlib.sha256(public_values).digest(), "big")
    return (digest & ((1 << _HASH_BITS) - 1)).to_bytes(_WORD, "big")
