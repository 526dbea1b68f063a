"""What the contracts would say, asked of the index: pure functions of a state, over the operation's snapshot.

A function is run until it has every row that it asks for; each time it asks for one that was not read yet, that one is
read and the function run again. The rules, which nearly every function looks at, are read first and at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from psycopg import sql

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.matching import Candidate
from clarion.protocols.bithedge.state import (
    RULES,
    KnownRows,
    Pool,
    RowsWanted,
    Selection,
    State,
    UnknownStateError,
    Wanted,
)
from clarion.protocols.bithedge.tables import Exposure, Position, Provider
from clarion.protocols.bithedge.units import TokenAmount
from clarion.store.rows import Row, RowType
from clarion_graphql.bithedge.reading import known_burn, reading, table
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.session import Session
from clarion_graphql.sql import Sql, all_of, build, join, literal

A = TypeVar("A")

#: Most rows that one question may ask for, one after another.
MOST_ROUNDS: Final = 500
_TYPES: Final[dict[type[Row], RowType]] = {row_type.model: row_type for row_type in protocol.row_types}


async def ask(info: Info, question: Callable[[State], A]) -> A:
    """The answer of a pure function of the contracts' state, at the block that the operation reads.

    Raises ApiError where the index cannot tell, and what the function raises.
    """
    known = await _known(info)
    state = State(known, deployer_of(info), await _height(info), await known_burn(info))
    for _ in range(MOST_ROUNDS):
        try:
            return question(state)
        except RowsWanted as more:
            await _read(info.context.session, known, more.wanted)
        except UnknownStateError as error:
            raise ApiError(Code.UNAVAILABLE, str(error)) from None
    raise ApiError(Code.LIMIT_EXCEEDED, f"The answer depends on more than {MOST_ROUNDS} rows.")


def deployer_of(info: Info) -> str:
    """Whose contracts BitHedge's are. Raises ApiError where nobody says."""
    deployed = info.context.service.deployed.get(protocol.name)
    if deployed is None:
        raise ApiError(
            Code.UNAVAILABLE, "This server does not know where BitHedge's contracts are: set deployers.bithedge."
        )
    return next(iter(deployed.contracts)).partition(".")[0]


async def _height(info: Info) -> int:
    receipt = (await info.context.session.receipts()).get("stacks")
    return 0 if receipt is None or receipt.height is None else receipt.height


async def _known(info: Info) -> KnownRows:
    """What was read so far in this operation; the rules are."""
    known = KnownRows()
    loaded = info.context.session.loader("bithedge rules", lambda keys: _rules(info.context.session, keys))
    rules = await loaded.load(True)
    for model, rows in (rules or {}).items():
        known.learn_table(model, rows)
    return known


async def _rules(session: Session, keys: Iterable[bool]) -> dict[bool, dict[type[Row], dict[tuple[Any, ...], Any]]]:
    parts = [
        build("SELECT {number}, to_jsonb(t) FROM {table} t", number=sql.Literal(number), table=_table(model))
        for number, model in enumerate(RULES)
    ]
    rules: dict[type[Row], dict[tuple[Any, ...], Any]] = {model: {} for model in RULES}
    for number, image in await session.fetch(join(parts, " UNION ALL ")):
        model = RULES[number]
        row = _TYPES[model].make(**image)
        rules[model][_TYPES[model].key_of(row)] = row
    return dict.fromkeys(keys, rules)


def _table(model: type[Row]) -> sql.Composable:
    return table(_TYPES[model].table.name)


async def _read(session: Session, known: KnownRows, wanted: Wanted) -> None:
    if isinstance(wanted, Selection):
        known.learn(wanted, await _select(session, wanted))
    elif isinstance(wanted, Pool):
        known.learn(wanted, await _candidates(session, known, wanted))
    else:
        model, key = wanted
        equal = tuple(zip(_TYPES[model].key_columns, key, strict=True))
        rows = await _select(session, Selection(model, equal, (), 1))
        known.learn(wanted, rows[0] if rows else None)


async def _select(session: Session, selection: Selection) -> list[Any]:
    conditions = [_compare(column, "=", value) for column, value in selection.equal]
    if selection.at_least is not None:
        conditions.append(_compare(selection.at_least[0], ">=", selection.at_least[1]))
    if selection.at_most is not None:
        conditions.append(_compare(selection.at_most[0], "<=", selection.at_most[1]))
    terms = [
        build("t.{column} " + ("DESC" if descending else "ASC"), column=sql.Identifier(column))
        for column, descending in selection.order
    ]
    query = build(
        "SELECT to_jsonb(t) FROM {table} t WHERE {conditions} {order} LIMIT {limit}",
        table=_table(selection.model),
        conditions=all_of(conditions),
        order=build("ORDER BY {terms}", terms=join(terms, ", ")) if terms else literal(""),
        limit=sql.Literal(selection.limit),
    )
    make = _TYPES[selection.model].make
    return [make(**image) for (image,) in await session.fetch(query, at_most=1)]


def _compare(column: str, operator: str, value: Any) -> Sql:
    operators = {"=": "t.{column} = %s", ">=": "t.{column} >= %s", "<=": "t.{column} <= %s"}
    return Sql(sql.SQL(operators[operator]).format(column=sql.Identifier(column)), (value,))


async def _candidates(session: Session, known: KnownRows, pool: Pool) -> list[Candidate]:
    """The positions of a pool with most capacity: :func:`clarion.protocols.bithedge.matching.capacity` in SQL."""
    rows = await session.fetch(
        reading(
            """
            SELECT to_jsonb(p), to_jsonb(e), to_jsonb(v), coalesce(p.first_deposit_height, p.arrived_height, 0) AS since
            FROM {position} p
            JOIN {tier} r ON r.name = p.tier
            JOIN {token} k ON k.token = p.token
            LEFT JOIN {provider} v ON v.provider = p.provider
            LEFT JOIN {exposure} e ON e.provider = p.provider AND e.tier = p.tier AND e.token = p.token
                AND e.expiry_burn = %s
            CROSS JOIN LATERAL (SELECT
                least(
                    p.available - p.requested,
                    div((p.available + p.locked) * r.max_policy_bp, 10000),
                    div((p.available + p.locked) * r.max_expiry_bp, 10000) - coalesce(e.amount, 0)
                ) AS collateral,
                %s * (10000 - k.haircut_bp) AS value,
                power(10::numeric, k.decimals) * r.ratio_min_bp AS per
            ) x
            WHERE p.tier = %s AND p.token = %s AND coalesce(v.auto_match, true) AND x.collateral > 0
            ORDER BY least(
                div(x.collateral * x.value, x.per), div((p.available + p.locked) * x.value, x.per) - p.liability_usd8
            ) DESC, since, p.provider COLLATE "C" LIMIT %s
            """,
            pool.expiry_burn,
            pool.price,
            pool.tier,
            pool.token,
            pool.limit,
        )
    )
    found = []
    for position_image, exposure_image, provider_image, since in rows:
        position = _TYPES[Position].make(**position_image)
        exposure = None if exposure_image is None else _TYPES[Exposure].make(**exposure_image)
        provider = None if provider_image is None else _TYPES[Provider].make(**provider_image)
        key = (position.provider, position.tier, position.token)
        known.learn((Position, key), position)
        known.learn((Exposure, (*key, pool.expiry_burn)), exposure)
        known.learn((Provider, (position.provider,)), provider)
        found.append(
            Candidate(
                provider=position.provider,
                available=position.available,
                requested=position.requested,
                locked=position.locked,
                liability=position.liability_usd8,
                exposure=TokenAmount(exposure.amount if exposure else 0),
                since=since,
                auto_match=True,
            )
        )
    return found
