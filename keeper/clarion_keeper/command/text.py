"""How the keeper's commands write things for people."""

from __future__ import annotations

import re
from typing import Final

from rich.table import Table
from rich.text import Text

_PRINCIPAL: Final = re.compile(r"\b(S[0-9A-Z]{4})[0-9A-Z]{30,35}([0-9A-Z]{4})\b")
_HEX: Final = re.compile(r"\b((?:0x)?[0-9a-f]{6})[0-9a-f]{48,58}([0-9a-f]{4})\b")


def short(text: str) -> Text:
    """The text with addresses and hashes cut in the middle."""
    return Text(_HEX.sub(r"\1…\2", _PRINCIPAL.sub(r"\1…\2", text)))


def usd(usd8: int) -> str:
    """US dollars x 10^8 to the cent."""
    sign, value = ("-", -usd8) if usd8 < 0 else ("", usd8)
    return f"{sign}{value // 10**8:,}.{value % 10**8 // 10**6:02} USD"


def listing(title: str, *narrow: str, wide: str) -> Table:
    """A table whose last column takes what room there is, in several lines."""
    table = Table(title=title, title_justify="left")
    for header in narrow:
        table.add_column(header, no_wrap=True)
    table.add_column(wide, overflow="fold", min_width=24)
    return table
