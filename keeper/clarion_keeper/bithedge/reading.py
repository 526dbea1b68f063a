"""BitHedge as GraphQL tells it at one block: rows for the pure functions that say what the contracts would do.

The API answers its what-if queries with the same functions on the same rows. Here they come over GraphQL, and only
those that a job asks for: :meth:`Look.learn` reads them, :meth:`Look.state` hands them on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import BigInteger, Numeric

from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.matching import Candidate
from clarion.protocols.bithedge.state import RULES, Pool, Selection, Source, State, choose
from clarion.protocols.bithedge.tables import (
    Allocation,
    Asset,
    Claim,
    ExpiryPrice,
    FeeShares,
    FundCover,
    FundEntry,
    FundHolding,
    FundPayment,
    FundTakeover,
    Governance,
    MarginCall,
    OracleProvider,
    Parameter,
    Policy,
    Position,
    PriceRound,
    Program,
    ProgramEpoch,
    ProgramFund,
    Proposal,
    ProposalAction,
    RecoveryPlan,
    Role,
    Switch,
    Tier,
    Token,
    TokenPool,
    TreasuryAllocation,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
    WithdrawRequest,
    YieldBalance,
)
from clarion.protocols.bithedge.units import BurnHeight
from clarion.store.rows import Row, RowType
from clarion_keeper.graph import Reader, Receipt, Snapshot

R = TypeVar("R", bound=Row)
Filter = Mapping[str, Any]
"""A filter of the API, such as ``{"state": {"eq": "active"}}``."""

#: Most rows of a page, and most values of a filter's list.
PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class BitHedgeState:
    """What a job decides on: ``chain`` holds the rows that it asked for, all of the block of ``receipt``."""

    receipt: Receipt
    chain: State

    @property
    def burn(self) -> int:
        """The Bitcoin height that contracts compare with; a transaction is mined at it or above."""
        return self.receipt.burn_height


@dataclass(frozen=True, slots=True)
class _Table:
    """How the API gives a table: its connection, and the columns that are read.

    ``renamed`` has the fields that are not simply the column's name in camel case.
    """

    connection: str
    columns: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    def field_of(self, column: str) -> str:
        """The API's name of a column."""
        first, *rest = column.split("_")
        return self.renamed.get(column, first + "".join(word.capitalize() for word in rest))

    @property
    def selection(self) -> str:
        """What a document selects."""
        return " ".join(self.field_of(column) for column in self.columns)


def _table(connection: str, columns: str, **renamed: str) -> _Table:
    return _Table(connection, tuple(columns.split()), renamed)


TABLES: Final[Mapping[type[Row], _Table]] = {
    Allocation: _table(
        "allocations",
        "policy provider place tier token expiry_burn state liability_usd8 collateral",
        policy="policyId",
    ),
    Asset: _table(
        "assets",
        "asset active insurable reference_usd8 next_round last_round price_usd8 opened_burn var_e12 "
        "candidate_usd8 fallback_usd8 fallback_from_burn",
    ),
    Claim: _table("claims", "policy state unpaid_usd8 approved_usd8", policy="policyId"),
    ExpiryPrice: _table("expiryPrices", "asset expiry_burn round price_usd8 fixed_height"),
    FeeShares: _table("allFeeShares", "contract provider_bp platform_bp reserve_bp"),
    FundCover: _table("fundCovers", "tier token left max_liability_usd8"),
    FundEntry: _table("fundEntries", "seq kind token burn_height"),
    FundHolding: _table("fundHoldings", "token balance cover state"),
    FundPayment: _table("fundPayments", "seq policy token amount", policy="policyId"),
    FundTakeover: _table("fundTakeovers", "seq policy liability_usd8 collateral", policy="policyId"),
    Governance: _table("governances", "contract token asset_name power"),
    MarginCall: _table("marginCalls", "id provider tier token state level issued_burn deadline_burn round"),
    OracleProvider: _table("oracleProviders", "provider weight"),
    Parameter: _table("parameters", "key kind value min max"),
    Policy: _table(
        "policies",
        "id owner type style tier asset token strike_usd8 notional_sat max_payout_usd8 collateral created_burn "
        "expiry_burn cancel_until_burn premium_usd8 state paid unpaid_usd8",
    ),
    Position: _table("positions", "provider tier token available locked requested liability_usd8"),
    PriceRound: _table(
        "priceRounds",
        "asset round state mode opened_burn count weight price_usd8 prev_round prev_opened_burn closed_burn",
    ),
    Program: _table(
        "programs",
        "id token start_burn epoch_burn epochs epoch_cap premium_bp budget ended",
        epochs="epochCount",
    ),
    ProgramEpoch: _table(
        "programEpoches",
        "program epoch state token root total leaves claimable_burn deadline_burn claimed posted_height",
        program="programId",
    ),
    ProgramFund: _table("programFunds", "program token amount", program="programId"),
    Proposal: _table(
        "proposals",
        "id state actions voting_ends_burn eta_burn grace_ends_burn for_power against_power abstain_power "
        "quorum_bp pass_bp total_power",
        actions="actionCount",
    ),
    ProposalAction: _table("proposalActions", "proposal index kind arguments", proposal="proposalId"),
    RecoveryPlan: _table("recoveryPlans", "id token target raised ends_burn state"),
    Role: _table("roles", "role who until_burn"),
    Switch: _table("switches", "name flag tripped since_burn is_open"),
    Tier: _table(
        "tiers",
        "name rank strike_min_bp strike_max_bp max_duration_burn premium_mult_bp ratio_min_bp ratio_warn_bp "
        "max_policy_bp max_expiry_bp active",
    ),
    Token: _table("tokens", "token asset asset_name native decimals haircut_bp cap active"),
    TokenPool: _table(
        "tokenPools", "token available locked unearned yield_payable platform_fees reserve_fees liability_usd8"
    ),
    TreasuryAllocation: _table("treasuryAllocations", "rank name receiver share_bp"),
    TreasuryEntry: _table("treasuryEntries", "seq kind token burn_height"),
    TreasuryHolding: _table("treasuryHoldings", "token collected shared programs"),
    TreasuryShare: _table("treasuryShares", "receiver token amount"),
    WithdrawRequest: _table("withdrawRequests", "id provider tier token amount state unlock_burn"),
    YieldBalance: _table("yieldBalances", "provider token claimable"),
}
"""The tables that jobs read, with the columns that the contracts' rules look at."""

_TYPES: Final[dict[type[Row], RowType]] = {row_type.model: row_type for row_type in protocol.row_types}


def _maker(model: type[Row]) -> Callable[[Mapping[str, Any]], Any]:
    """What makes a row of an answer: whole numbers come as strings where JSON's would lose digits."""
    table = TABLES[model]
    types = {column.name: column.type for column in _TYPES[model].table.columns}
    make = msgspec.defstruct(model.__name__, [(column, Any) for column in table.columns], frozen=True)
    numbers = tuple(
        (table.field_of(column), isinstance(types[column], BigInteger | Numeric)) for column in table.columns
    )

    def made(node: Mapping[str, Any]) -> Any:
        return make(*(int(node[name]) if number and node[name] is not None else node[name] for name, number in numbers))

    return made


_MAKERS: Final = {model: _maker(model) for model in TABLES}


class NotReadError(LookupError):
    """A pure function asked for a table that its job did not read."""


class Rows:
    """The rows that were read: a source of :class:`clarion.protocols.bithedge.state.State`.

    A row of a table that was read in part, and not among what was read, is not there.
    """

    def __init__(self, known: Mapping[type[Row], Mapping[tuple[Any, ...], Any]] | None = None) -> None:
        self._known: dict[type[Row], dict[tuple[Any, ...], Any]] = {
            model: dict(rows) for model, rows in (known or {}).items()
        }
        self._grouped: dict[tuple[type[Row], tuple[str, ...]], dict[tuple[Any, ...], list[Any]]] = {}

    def add(self, model: type[Row], rows: Iterable[Any]) -> None:
        """Add rows of a table; from then on it counts as read."""
        key_of = _TYPES[model].key_of
        self._known.setdefault(model, {}).update((key_of(row), row) for row in rows)
        self._grouped.clear()

    def known(self) -> Mapping[type[Row], Mapping[tuple[Any, ...], Any]]:
        """Everything that was read, by table and key."""
        return self._known

    def get(self, model: type[R], key: tuple[Any, ...]) -> R | None:
        """The row with this key."""
        found: R | None = self._of(model).get(key)
        return found

    def select(self, selection: Selection) -> Sequence[Any]:
        """The rows of a selection. Rows are grouped by the columns it compares, once."""
        columns = tuple(column for column, _ in selection.equal)
        groups = self._grouped.get((selection.model, columns))
        if groups is None:
            groups = self._grouped[selection.model, columns] = defaultdict(list)
            for row in self._of(selection.model).values():
                groups[tuple(getattr(row, column) for column in columns)].append(row)
        return choose(selection, groups.get(tuple(value for _, value in selection.equal), ()))

    def candidates(self, pool: Pool) -> Sequence[Candidate]:
        """Nothing that a keeper decides depends on who could cover a new policy."""
        raise NotReadError(f"candidates of {pool.tier} were not read")

    def _of(self, model: type[Row]) -> dict[tuple[Any, ...], Any]:
        try:
            return self._known[model]
        except KeyError:
            raise NotReadError(f"{model.__tablename__} was not read") from None


class ChangedRows:
    """Rows as they will be once what is decided has happened: a source whose rows differ where :meth:`add` said so."""

    def __init__(self, rows: Source) -> None:
        self._rows = rows
        self._changed: dict[tuple[type[Row], tuple[Any, ...]], Any] = {}

    def get(self, model: type[R], key: tuple[Any, ...]) -> R | None:
        """The row with this key, changed."""
        found: R | None = self._changed.get((model, key)) or self._rows.get(model, key)
        return found

    def select(self, selection: Selection) -> Sequence[Any]:
        """The rows of a selection, as they were."""
        return self._rows.select(selection)

    def candidates(self, pool: Pool) -> Sequence[Candidate]:
        """The positions of a pool, as they were."""
        return self._rows.candidates(pool)

    def add(self, model: type[Row], key: tuple[Any, ...], **differences: int) -> None:
        """Add to columns of a row; of one that is not there nothing is known, so nothing changes."""
        row: Any = self.get(model, key)
        if row is not None:
            values = {name: getattr(row, name) + difference for name, difference in differences.items()}
            self._changed[model, key] = msgspec.structs.replace(row, **values)


class Look:
    """One look at the index, at one block. The rules (parameters, switches, tiers, tokens, feeds) are read already."""

    def __init__(self, snapshot: Snapshot, deployer: str, rows: Rows) -> None:
        self._snapshot = snapshot
        self._deployer = deployer
        self._rows = rows

    @property
    def receipt(self) -> Receipt:
        """The block that is read."""
        return self._snapshot.receipt

    @property
    def burn(self) -> int:
        """Its Bitcoin height."""
        return self._snapshot.receipt.burn_height

    def state(self) -> BitHedgeState:
        """What was read so far."""
        receipt = self._snapshot.receipt
        return BitHedgeState(
            receipt, State(self._rows, self._deployer, receipt.height, BurnHeight(receipt.burn_height))
        )

    async def learn(self, model: type[Row], where: Filter | None = None) -> Sequence[Any]:
        """Read the rows of a table that a filter lets through, all of them; gives these. Raises what GraphQL raises."""
        table = TABLES[model]
        document = (
            f"query Keeper($filter: {model.__name__}Filter, $first: Int!, $after: String) "
            f"{{ {table.connection}(filter: $filter, first: $first, after: $after) "
            f"{{ nodes {{ {table.selection} }} pageInfo {{ hasNextPage endCursor }} }} }}"
        )
        nodes = await self._snapshot.pages(document, table.connection, {"filter": where})
        return self._add(model, nodes)

    async def ask(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Another question, at the same block. Raises what GraphQL raises."""
        return await self._snapshot.ask(document, variables)

    async def learn_each(
        self, model: type[Row], column: str, values: Iterable[Any], where: Filter | None = None
    ) -> Sequence[Any]:
        """Read the rows whose column has one of these values; asks nobody where there is none."""
        name, wanted = TABLES[model].field_of(column), sorted(set(values))
        self._rows.add(model, ())
        found: list[Any] = []
        for start in range(0, len(wanted), PAGE):
            found += await self.learn(model, {**(where or {}), name: {"in": wanted[start : start + PAGE]}})
        return found

    async def learn_newest(self, model: type[Row], where: Filter, *, by: str) -> None:
        """Read the one row that a filter lets through and that has the greatest value of a column."""
        table = TABLES[model]
        document = (
            f"query Keeper($filter: {model.__name__}Filter) {{ {table.connection}(filter: $filter, "
            f"orderBy: [{{field: {by.upper()}, direction: DESC}}], first: 1) {{ nodes {{ {table.selection} }} }} }}"
        )
        answer = await self._snapshot.ask(document, {"filter": where})
        self._add(model, answer[table.connection]["nodes"])

    def _add(self, model: type[Row], nodes: Iterable[Mapping[str, Any]]) -> list[Any]:
        rows = [_MAKERS[model](node) for node in nodes]
        self._rows.add(model, rows)
        return rows


_RULES: Final = "query KeeperRules { %s }" % " ".join(  # noqa: UP031 - braces belong to GraphQL
    f"{TABLES[model].connection}(first: {PAGE}) {{ nodes {{ {TABLES[model].selection} }} pageInfo {{ hasNextPage }} }}"
    for model in RULES
)


class TooManyRowsError(RuntimeError):
    """A table of rules is longer than any that the contracts can have."""


class Index:
    """BitHedge's index, as all its jobs share it: what all of them read is read once a block."""

    def __init__(self, deployer: str) -> None:
        self.deployer: Final = deployer
        self._reading = asyncio.Lock()
        self._at: Receipt | None = None
        self._rules = Rows()

    async def look(self, reader: Reader) -> Look:
        """Look at the newest block. Raises what GraphQL raises."""
        snapshot = await reader.snapshot()
        async with self._reading:
            if self._at != snapshot.receipt:
                self._rules = await _rules(snapshot, self.deployer)
                self._at = snapshot.receipt
        return Look(snapshot, self.deployer, Rows(self._rules.known()))


async def _rules(snapshot: Snapshot, deployer: str) -> Rows:
    """The tables of rules, and of each feed the last closed round and the one after it."""
    answer = await snapshot.ask(_RULES)
    rows = Rows()
    for model in RULES:
        connection = answer[TABLES[model].connection]
        if connection["pageInfo"]["hasNextPage"]:
            raise TooManyRowsError(f"{model.__tablename__} has more than {PAGE} rows")
        rows.add(model, map(_MAKERS[model], connection["nodes"]))
    rows.add(PriceRound, ())
    feeds = [
        {"asset": {"eq": asset.asset}, "round": {"in": [asset.last_round, asset.next_round]}}
        for asset in rows.known()[Asset].values()
    ]
    if feeds:
        await Look(snapshot, deployer, rows).learn(PriceRound, {"or": feeds})
    return rows
