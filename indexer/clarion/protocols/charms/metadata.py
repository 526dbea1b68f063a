"""What a reference NFT says of its token (CHIP-420, "Charms token metadata")."""

from __future__ import annotations

from typing import Final

import msgspec

from clarion.chains.model import JsonValue

MOST_TICKER_CHARACTERS: Final = 64
MOST_DECIMALS: Final = 38


class Metadata(msgspec.Struct, frozen=True):
    """Null is what it does not say, or says in a form that is not the standard's."""

    name: str | None
    ticker: str | None
    decimals: int | None
    description: str | None
    url: str | None
    image: str | None
    image_hash: str | None


def read_metadata(data: JsonValue) -> Metadata | None:
    """What an NFT's data says of a token; None where it names neither a token's name nor its ticker."""
    if not isinstance(data, dict):
        return None
    ticker = _text(data, "ticker")
    found = Metadata(
        name=_text(data, "name"),
        ticker=None if ticker is None or len(ticker) > MOST_TICKER_CHARACTERS else ticker,
        decimals=_decimals(data.get("decimals")),
        description=_text(data, "description"),
        url=_text(data, "url"),
        image=_text(data, "image"),
        image_hash=_text(data, "image_hash"),
    )
    return None if found.name is None and found.ticker is None else found


def _text(data: dict[str, JsonValue], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def _decimals(value: JsonValue) -> int | None:
    return value if type(value) is int and 0 <= value <= MOST_DECIMALS else None
