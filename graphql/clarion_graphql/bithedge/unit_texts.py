"""How descriptions of the schema say the unit of a number."""

from __future__ import annotations

from typing import Final

USD8: Final = "Unit: US dollars x 10^8."
TOKEN: Final = "Unit: base units of the token."
BASIS: Final = "Unit: 1/10000."
