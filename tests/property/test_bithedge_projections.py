"""BitHedge's projections over made-up chains: a vault that behaves, and events in no order at all."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect
from sqlalchemy import BigInteger, Numeric
from support.bithedge_rows import DEPLOYER, Folded
from support.bithedge_vault import Vault

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.events import EVENTS, Event
from clarion.protocols.bithedge.tables import PolicyTotals

PROVIDERS = ("ST1", "ST2", "ST3")
TIERS = ("balanced", "aggressive")
TOKENS = (f"{DEPLOYER}.bh-stx", "SM3.sbtc-token")

keys = st.tuples(st.sampled_from(PROVIDERS), st.sampled_from(TIERS), st.sampled_from(TOKENS))
percents = st.integers(0, 100)
amounts = st.integers(1, 10**15)
covers = st.dictionaries(st.sampled_from(PROVIDERS), st.tuples(percents, st.integers(1, 10**12)), min_size=1)
ends = st.sampled_from(["settled-itm", "exercised", "expired-otm", "cancelled"])
actions = st.one_of(
    st.tuples(st.just("deposit"), keys, amounts),
    st.tuples(st.just("request"), keys, percents),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
    st.tuples(st.just("change_tier"), keys, st.sampled_from(TIERS), percents),
    st.tuples(st.just("move_allocation"), st.integers(0, 9), st.sampled_from(PROVIDERS), percents),
    st.tuples(st.just("claim_rest"), st.integers(0, 9), st.integers(0, 3)),
    st.tuples(
        st.just("create"),
        st.sampled_from(TIERS),
        st.sampled_from(TOKENS),
        covers,
        st.integers(5, 7),
        st.integers(0, 999),
    ),
    st.tuples(st.just("end"), st.integers(0, 9), ends, percents),
    st.tuples(st.just("claim"), st.sampled_from((*PROVIDERS, "STBOUNTY", "STFUND")), st.sampled_from(TOKENS)),
    st.tuples(st.just("collect"), st.sampled_from(TOKENS), st.sampled_from(["platform", "reserve"])),
)
chains = st.lists(actions, min_size=1, max_size=40)


def live(chain: list[tuple[Any, ...]]) -> Vault:
    vault = Vault()
    for name, *arguments in chain:
        getattr(vault, name)(*arguments)
    return vault


@given(chains)
def test_positions_pools_and_policies_tell_the_same_story(chain: list[tuple[Any, ...]]) -> None:
    vault = live(chain)
    folded = Folded()
    for event in vault.printed:
        folded.block([event])
    folded.assert_invariants()
    for token in TOKENS:
        assert folded.owed(token) == vault.owed(token)
    ended = [policy.get("ended", "active") for policy in vault.policies.values()]
    totals = folded.one(PolicyTotals, "BTC")
    if totals is not None:
        assert totals["active"] == ended.count("active")


@given(chain=chains, cuts=st.sets(st.integers(0, 60)))
def test_where_blocks_end_makes_no_difference(chain: list[tuple[Any, ...]], cuts: set[int]) -> None:
    printed = live(chain).printed
    one, several = Folded(), Folded()
    one.block(printed)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(printed)), len(printed)]
    for start, stop in pairwise(bounds):
        several.block(printed[start:stop])
    for row_type in protocol.row_types:
        assert timeless(one, row_type.model) == timeless(several, row_type.model)


def timeless(folded: Folded, table: Any) -> list[dict[str, Any]]:
    """Rows without the columns that say where in the chain they changed."""
    places = ("_height", "height", "_time", "time", "tx_id", "_tx")
    return [{name: value for name, value in row.items() if not name.endswith(places)} for row in folded.all(table)]


def values_of(kind: inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case inspect.UnionType(types=types):
            return st.one_of(*map(values_of, types))
        case inspect.NoneType():
            return st.none()
        case inspect.IntType(le=None):
            return st.one_of(st.integers(0, 3), st.integers(0, 2**120))
        case inspect.IntType():
            return st.one_of(st.integers(0, 3), st.integers(0, 2**62))
        case inspect.BoolType():
            return st.booleans()
        case inspect.StrType():
            return st.sampled_from(["ST1", "ST2", "BTC", "platform", "fallback", "deviation"])
        case inspect.LiteralType(values=values):
            return st.sampled_from(values)
    raise AssertionError(kind)


def any_event(contract: str, topic: str, event: type[Event]) -> st.SearchStrategy[tuple[str, Any]]:
    info = inspect.type_info(event)
    assert isinstance(info, inspect.StructType)
    fields = {part.encode_name: values_of(part.type) for part in info.fields} | {"topic": st.just(topic)}
    return st.tuples(st.just(f"{DEPLOYER}.{contract}"), st.fixed_dictionaries(fields))


any_events = st.one_of([any_event(*source, event) for source, event in EVENTS.items()])


@settings(max_examples=300)
@given(st.lists(any_events, max_size=12))
def test_nothing_that_decodes_stops_the_index_or_overflows_a_column(events: list[tuple[str, Any]]) -> None:
    folded = Folded()
    for event in events:
        folded.block([event])
    for row_type in protocol.row_types:
        columns = row_type.model.__table__.columns  # type: ignore[attr-defined]
        for row in folded.all(row_type.model):
            for name, value in row.items():
                if isinstance(columns[name].type, BigInteger) and value is not None:
                    assert -(2**63) <= value < 2**63, (row_type.name, name)
                elif isinstance(columns[name].type, Numeric) and value is not None:
                    assert abs(value) < 10**39, (row_type.name, name)
                assert value is not None or columns[name].nullable, (row_type.name, name)
