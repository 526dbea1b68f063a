"""What the GraphQL benchmark asks: five queries with one variable each, for Clarion and for PostGraphile.

What PostGraphile itself has no field for, a filter by related rows and groups, it gets in two ways: as functions with
the statement, written by hand, in :data:`PREPARE`; and from its plugins, which make the statement of what a document
asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

POLICIES: Final = 3_000
"""Policies that are asked for by number."""

LAST: Final = 3_400
"""Policies up to this are summed: no more of them while others come."""

PREPARE: Final = """
COMMENT ON TABLE bithedge.allocation IS
    E'@foreignKey (policy) references bithedge.policy (id)|@fieldName policyRow|@foreignFieldName allocations';
CREATE SCHEMA bench;
CREATE FUNCTION bench.policies_of(who text) RETURNS SETOF bithedge.policy LANGUAGE sql STABLE AS $$
    SELECT p.* FROM bithedge.policy p
    WHERE EXISTS (SELECT FROM bithedge.allocation a WHERE a.policy = p.id AND a.provider = who) ORDER BY p.id
$$;
CREATE TYPE bench.premiums AS (hour timestamptz, count bigint, premium numeric);
CREATE FUNCTION bench.premiums_between(above bigint, last bigint) RETURNS SETOF bench.premiums LANGUAGE sql STABLE AS $$
    SELECT date_trunc('hour', to_timestamp(p.created_time)), count(*), sum(p.premium)
    FROM bithedge.policy p WHERE p.id > above AND p.id <= last GROUP BY 1 ORDER BY 1
$$;
"""

_COLUMNS: Final = "owner asset token strikeUsd8 notionalSat premium state createdTime expiryBurn"


def _number(name: str) -> Callable[[int], dict[str, Any]]:
    return lambda index: {name: index * 7_919 % POLICIES + 1}


_providers: list[str] = ["ST000000000000000000002AMW42H"]


def know_providers(addresses: list[str]) -> None:
    """Ask for policies of these."""
    _providers[:] = addresses


_cursors: list[str] = []


def know_cursors(cursors: list[str]) -> None:
    """PostGraphile's own, of the policies in order."""
    _cursors[:] = cursors


def _provider(index: int) -> dict[str, Any]:
    return {"who": _providers[index % len(_providers)]}


@dataclass(frozen=True)
class BenchQuery:
    """A query. ``variables`` are those of the request of that number; ``root`` is its only field.

    ``plugins`` is the document for PostGraphile with plugins, where it needs them, with PostGraphile's variables.
    """

    name: str
    root: str
    document: str
    variables: Callable[[int], Mapping[str, Any]]
    postgraphile: str
    postgraphile_variables: Callable[[int], Mapping[str, Any]]
    plugins: str | None = None


def _big(name: str) -> Callable[[int], dict[str, Any]]:
    return lambda index: {name: str(index * 7_919 % POLICIES + 1)}


def _after(index: int) -> dict[str, Any]:
    return {"after": _cursors[index * 7_919 % len(_cursors)]}


QUERIES: Final = [
    BenchQuery(
        "one by id",
        "policy",
        f"query($id: Int!) {{ policy(id: $id) {{ id {_COLUMNS} }} }}",
        _number("id"),
        f"query($id: BigInt!) {{ policyByRowId(rowId: $id) {{ rowId {_COLUMNS} }} }}",
        _big("id"),
    ),
    BenchQuery(
        "100 x 10 fields",
        "policies",
        "query($after: Int!) { policies(first: 100, filter: {id: {gt: $after}}) "
        f"{{ nodes {{ id {_COLUMNS} }} }} }}",
        _number("after"),
        f"query($after: Cursor!) {{ allPolicies(first: 100, after: $after) {{ nodes {{ rowId {_COLUMNS} }} }} }}",
        _after,
    ),
    BenchQuery(
        "three levels",
        "policies",
        "query($after: Int!) { policies(first: 20, filter: {id: {gt: $after}}) { nodes { id owner premium "
        "allocations(first: 5) { nodes { provider premium policy { owner state } } } } } }",
        _number("after"),
        "query($after: Cursor!) { allPolicies(first: 20, after: $after) { nodes { rowId owner premium "
        "allocations(first: 5) { nodes { provider premium policyRow { owner state } } } } } }",
        _after,
    ),
    BenchQuery(
        "filter by relation",
        "policies",
        "query($who: String!) { policies(first: 20, filter: {allocations: {some: {provider: {eq: $who}}}}) "
        "{ nodes { id owner premium state } } }",
        _provider,
        "query($who: String!) { benchPoliciesOf(who: $who, first: 20) { nodes { rowId owner premium state } } }",
        _provider,
        "query($who: String!) { allPolicies(first: 20, filter: {allocations: {some: {provider: {equalTo: $who}}}}) "
        "{ nodes { rowId owner premium state } } }",
    ),
    BenchQuery(
        "sums by hour",
        "policiesAggregate",
        f"query($above: Int!) {{ policiesAggregate(filter: {{id: {{gt: $above, lte: {LAST}}}}}, "
        "groupBy: [{field: CREATED_TIME, bucket: HOUR}]) { key { createdTime } count sum { premium } } }",
        _number("above"),
        f'query($above: BigInt!) {{ benchPremiumsBetween(above: $above, last: "{LAST}") '
        "{ nodes { hour count premium } } }",
        _big("above"),
        # the plugin counts the distinct values of a column, and has no other count of a group
        "query($above: BigInt!) "
        f'{{ allPolicies(filter: {{rowId: {{greaterThan: $above, lessThanOrEqualTo: "{LAST}"}}}}) '
        "{ groupedAggregates(groupBy: [CREATED_TIME_UNIX_HOUR]) { keys distinctCount { rowId } sum { premium } } } }",
    ),
]
