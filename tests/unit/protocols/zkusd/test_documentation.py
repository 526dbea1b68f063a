"""What users read names every table and every kind of event."""

import re
from pathlib import Path

from clarion.protocols.zkusd.events import KINDS
from clarion.protocols.zkusd.tables import TABLES, DayScript, Outpoint, RiskBand

PAGE = (Path(__file__).parents[4] / "docs" / "zkusd.md").read_text()
BOOKKEEPING = {DayScript, Outpoint, RiskBand}


def test_every_kind_of_event_is_described_where_it_belongs() -> None:
    ordinary, _, anomalies = PAGE.partition("**Anomalies**")
    for name, kind in KINDS.items():
        assert (f"`{name}`" in anomalies.partition("## ")[0]) is kind.anomaly, name
        assert (f"`{name}`" in ordinary) is not kind.anomaly, name


def test_no_other_kind_is_described() -> None:
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", PAGE))
    assert named == set(KINDS)


def test_every_table_is_described() -> None:
    for table in TABLES:
        name = table.__table__.name  # type: ignore[attr-defined]
        assert table in BOOKKEEPING or f"`{name}`" in PAGE, name
