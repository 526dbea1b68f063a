"""Which errors a function of BitHedge's contracts can come back with, found in their sources."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).parents[2] / "contracts" / "contracts"

_WORD: Final = re.compile(r"[A-Za-z0-9?!*<>=+/.-]+")
_ERROR: Final = re.compile(r"\(define-constant (ERR-[A-Z0-9-]+) \(err u(\d+)\)\)")
_DEFINED: Final = re.compile(r"\(define-(?:public|private|read-only) \(?([a-z0-9-]+)")
_CALLED: Final = re.compile(r"contract-call\? \.([a-z-]+) ([a-z0-9-]+)")


@functools.cache
def _source(contract: str) -> str:
    text = (SOURCES / f"{contract}.clar").read_text(encoding="ascii")
    return re.sub(r'"[^"\n]*"', '""', re.sub(r";;[^\n]*", "", text))


@functools.cache
def _functions(contract: str) -> dict[str, str]:
    source = _source(contract)
    return {found[1]: _form(source, found.start()) for found in _DEFINED.finditer(source)}


def _form(source: str, start: int) -> str:
    """The parenthesised form that begins at a place."""
    depth = 0
    for place in range(start, len(source)):
        depth += {"(": 1, ")": -1}.get(source[place], 0)
        if depth == 0:
            return source[start : place + 1]
    raise AssertionError("a form without end")


def reachable_errors(contract: str, function: str) -> frozenset[int]:
    """The numbers of all errors that a function names, or a function that it calls, here or in another contract.

    Some cannot come back in fact, because nothing that the function does leads there.
    """
    return frozenset(_walk(contract, function, set()))


def _walk(contract: str, function: str, seen: set[tuple[str, str]]) -> Iterator[int]:
    if (contract, function) in seen:
        return
    seen.add((contract, function))
    body = _functions(contract)[function]
    numbers = {name: int(number) for name, number in _ERROR.findall(_source(contract))}
    inside = body[body.index(function) + len(function) :]
    without_calls = _CALLED.sub("", inside)
    for word in set(_WORD.findall(without_calls)):
        if word in numbers:
            yield numbers[word]
        elif word in _functions(contract):
            yield from _walk(contract, word, seen)
    for other, called in set(_CALLED.findall(inside)):
        yield from _walk(other, called, seen)
