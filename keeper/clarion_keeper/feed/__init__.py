"""The oracle feed: prices from exchanges' public APIs, submitted when they are due.

| Question | File |
|---|---|
| How is an exchange asked, and what does its answer mean? | `exchanges/` |
| How is one asked that lies, stalls or blocks? | `fetch.py`, `quotes.py` |
| How do many quotes become one price? | `aggregate.py` |
| How do sources do? | `metrics.py` |
| When is a price submitted, when not? | `rules.py`, `oracle.py`, `job.py` |
| What does `clarion keeper feed` show? | `report.py` |
"""

from clarion_keeper.feed.aggregate import Aggregate
from clarion_keeper.feed.feed import PriceFeed
from clarion_keeper.feed.job import jobs

__all__ = ["Aggregate", "PriceFeed", "jobs"]
