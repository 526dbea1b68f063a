"""docs/oracle-feed.md lists every exchange and every metric."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from clarion_keeper.feed import metrics
from clarion_keeper.feed.exchanges import EXCHANGES, MARKETS

PAGE = (Path(__file__).parents[4] / "docs" / "oracle-feed.md").read_text(encoding="utf-8")


def test_every_metric_is_named() -> None:
    there = {found._name for found in vars(metrics).values() if isinstance(found, MetricWrapperBase)}
    assert set(re.findall(r"`(clarion_feed_\w+?)(?:_total)?\{", PAGE)) == there


def test_every_exchange_is_listed_with_its_pairs() -> None:
    rows = dict(re.findall(r"^\| `([a-z]+)` \|(.+)\|$", PAGE, re.MULTILINE))
    assert rows.keys() == EXCHANGES.keys()
    for pairs in MARKETS.values():
        for name, pair in pairs.items():
            assert f" {pair}" in rows[name], (name, pair)
