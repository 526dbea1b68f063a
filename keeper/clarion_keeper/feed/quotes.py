"""What exchanges say: pairs, quotes, and exact reading of decimal numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final, Self

import msgspec

from clarion.protocols.bithedge.actions.oracle import MAX_PRICE

#: Digits after the point of a price in usd8 and of a volume.
DECIMALS: Final = 8

_NUMBER: Final = re.compile(r"[0-9]{1,24}(\.[0-9]{0,40})?([eE][+-]?[0-9]{1,2})?", re.ASCII)
_EXACT: Final = Context(prec=200)
_PAIR: Final = re.compile(r"([A-Z0-9]{1,20})/(USD|USDT|USDC)", re.ASCII)


class AnswerError(ValueError):
    """An exchange's answer is not what its documentation says; the message names what is wrong."""


class Currency(StrEnum):
    """What a price is quoted in. Stablecoins are not dollars: their quotes need a rate."""

    USD = "USD"
    USDT = "USDT"
    USDC = "USDC"


@dataclass(frozen=True, slots=True)
class Pair:
    """What is quoted, in what: ``BTC/USDT``."""

    base: str
    currency: Currency

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pair of a text such as ``STX/USD``. Raises ValueError."""
        found = _PAIR.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no pair such as BTC/USD: the second part is USD, USDT or USDC")
        return cls(found[1], Currency(found[2]))

    def __str__(self) -> str:
        return f"{self.base}/{self.currency}"


@dataclass(frozen=True, slots=True)
class Quote:
    """One exchange's last price of a pair.

    ``price_e8``: units of the pair's currency x 10^8. ``volume_e8``: what was traded in 24 hours, in units of the base
    x 10^8; None where the exchange gives it in something else. ``time_ms``: when the exchange says the price was so, in
    Unix milliseconds; None where it does not say.
    """

    source: str
    pair: Pair
    price_e8: int
    volume_e8: int | None
    time_ms: int | None


def decode(body: bytes) -> object:
    """An answer's JSON, with every fraction as an exact Decimal. Raises AnswerError."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, ArithmeticError, RecursionError, ValueError) as error:
        raise AnswerError(f"no JSON: {str(error)[:200]}") from error


def member(answer: object, *path: str | int) -> object:
    """What stands at a path of names and places. Raises AnswerError that names the path."""
    found = answer
    for depth, step in enumerate(path):
        try:
            found = _within(found, step)
        except LookupError:
            where = ".".join(str(part) for part in path[: depth + 1])
            raise AnswerError(f"the answer has no {where}: {str(answer)[:200]}") from None
    return found


def _within(answer: object, step: str | int) -> object:
    if isinstance(answer, dict):
        return answer[step]
    if isinstance(answer, list) and isinstance(step, int):
        return answer[step]
    raise LookupError


def price(value: object) -> int:
    """A price as its units x 10^8, rounded half to even. Raises AnswerError where it is none, 0 or above 10^10."""
    found = scaled(value)
    if not 0 < found <= MAX_PRICE:
        raise AnswerError(
            f"{str(value)[:80]} is no price: it has to be above 0 and at most {MAX_PRICE // 10**DECIMALS}"
        )
    return found


def scaled(value: object) -> int:
    """A number that is not negative, as text or as JSON gives it, x 10^8, rounded half to even. Raises AnswerError."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise AnswerError(f"{str(value)[:80]} is no number")
    text = str(value)
    if len(text) > 80 or _NUMBER.fullmatch(text) is None:
        raise AnswerError(f"{text[:80]!r} is no number that is not negative")
    return int(_EXACT.scaleb(_EXACT.create_decimal(text), DECIMALS).to_integral_value(ROUND_HALF_EVEN, _EXACT))


def whole(value: object) -> int:
    """A whole number below 2^63, as text or as JSON gives it. Raises AnswerError."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,19}", value, re.ASCII):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise AnswerError(f"{str(value)[:80]!r} is no whole number below 2^63")
    return value


def _decimal(text: str) -> Decimal:
    return _EXACT.create_decimal(text)


_DECODER: Final = msgspec.json.Decoder(float_hook=_decimal)
