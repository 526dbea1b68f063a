"""What an adapter is: where to ask an exchange for a pair's last price, and how to read its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clarion_keeper.feed.quotes import Pair, Quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One public API. ``route`` gives path and query for a pair; ``read`` a quote, or AnswerError, from the answer.

    ``key_header``: the header that takes an API key, where the API knows keys.
    """

    name: str
    url: str
    documentation: str
    route: Callable[[Pair], str]
    read: Callable[[Pair, object], Quote]
    key_header: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
