"""What BitHedge's contracts know at one block, by the projections: rows by key, and the contracts' own lookups.

Everything that answers "what would the contract say now" is a pure function of a :class:`State`. It asks for
the rows it needs as it goes; :class:`KnownRows` lets it be run over a database without knowing beforehand which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from clarion.protocols.bithedge.errors import require
from clarion.protocols.bithedge.matching import Candidate
from clarion.protocols.bithedge.pricing import annual_volatility_bp
from clarion.protocols.bithedge.tables import (
    Asset,
    ExpiryPrice,
    FeeDiscount,
    FeeShares,
    Governance,
    Parameter,
    PriceRound,
    Provider,
    Role,
    Switch,
    Tier,
    Token,
)
from clarion.protocols.bithedge.units import BasisPoints, BurnHeight, Usd8
from clarion.store.rows import Row

RULES: Final[tuple[type[Row], ...]] = (Parameter, Switch, Tier, Token, FeeShares, Asset, Governance)
"""Small tables that nearly every question looks at; they are read whole."""

R = TypeVar("R", bound=Row)
A = TypeVar("A")


class UnknownStateError(LookupError):
    """The index does not know what the answer depends on, because it began after that was set."""


class NotFoundError(LookupError):
    """What the question is about does not exist."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of a table: those with these values, in this order (column, descending), at most ``limit``.

    ``at_least`` and ``at_most`` bound one column each.
    """

    model: type[Row]
    equal: tuple[tuple[str, Any], ...]
    order: tuple[tuple[str, bool], ...]
    limit: int
    at_least: tuple[str, int] | None = None
    at_most: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The positions that could cover a policy: of a tier and token, with what limits each of them.

    ``price`` is the token's. The most capable come first, at most ``limit``.
    """

    tier: str
    token: str
    expiry_burn: BurnHeight
    price: Usd8
    limit: int


Wanted = tuple[type[Row], tuple[Any, ...]] | Selection | Pool


class Source(Protocol):
    """Where a state's rows come from."""

    def get(self, model: type[R], key: tuple[Any, ...]) -> R | None:
        """The row with this key."""

    def select(self, selection: Selection) -> Sequence[Any]:
        """The rows of a selection."""

    def candidates(self, pool: Pool) -> Sequence[Candidate]:
        """The positions of a pool, by :func:`clarion.protocols.bithedge.matching.capacity`, the largest first."""


class RowsWanted(Exception):  # noqa: N818 - a request, not a fault
    """A pure function asked for something that was not read yet."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(f"not read yet: {wanted}")
        self.wanted = wanted


class KnownRows:
    """Rows read so far. Asking for others raises :class:`RowsWanted`; :meth:`learn` then says what they are."""

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self._whole: dict[type[Row], dict[tuple[Any, ...], Any]] = {}

    def learn(self, wanted: Wanted, found: Any) -> None:
        """What was found: a row or None, the rows of a selection, the candidates of a pool."""
        self._known[wanted] = found

    def learn_table(self, model: type[Row], rows: Mapping[tuple[Any, ...], Any]) -> None:
        """A whole table, by key."""
        self._whole[model] = dict(rows)

    def get(self, model: type[R], key: tuple[Any, ...]) -> R | None:
        """The row with this key."""
        whole = self._whole.get(model)
        found: R | None = self._find((model, key)) if whole is None else whole.get(key)
        return found

    def select(self, selection: Selection) -> Sequence[Any]:
        """The rows of a selection."""
        whole = self._whole.get(selection.model)
        found: Sequence[Any] = self._find(selection) if whole is None else choose(selection, whole.values())
        return found

    def candidates(self, pool: Pool) -> Sequence[Candidate]:
        """The positions of a pool."""
        found: Sequence[Candidate] = self._find(pool)
        return found

    def _find(self, wanted: Wanted) -> Any:
        try:
            return self._known[wanted]
        except KeyError:
            raise RowsWanted(wanted) from None


def choose(selection: Selection, rows: Iterable[Any]) -> list[Any]:
    """The rows of a selection among all of its table."""
    chosen = [
        row
        for row in rows
        if all(getattr(row, column) == value for column, value in selection.equal)
        and (selection.at_least is None or getattr(row, selection.at_least[0]) >= selection.at_least[1])
        and (selection.at_most is None or getattr(row, selection.at_most[0]) <= selection.at_most[1])
    ]
    for column, descending in reversed(selection.order):
        chosen.sort(key=lambda row: getattr(row, column), reverse=descending)
    return chosen[: selection.limit]


@dataclass(frozen=True, slots=True)
class Price:
    """A closed price of an asset, from the round of this number."""

    round: int
    usd8: Usd8
    opened_burn: BurnHeight


@dataclass(frozen=True, slots=True)
class State:
    """The contracts' state after a block. ``burn_height`` is what ``burn-block-height`` gives at it.

    A transaction is mined in a later block, so at this height or above.
    """

    rows: Source
    deployer: str
    height: int
    burn_height: BurnHeight

    def contract(self, name: str) -> str:
        """The id of one of BitHedge's contracts."""
        return f"{self.deployer}.{name}"

    @property
    def stx(self) -> str:
        """The token contract of native STX."""
        return self.contract("bh-stx")

    def get(self, model: type[R], *key: Any) -> R | None:
        """The row with this key, or None."""
        return self.rows.get(model, key)

    def need(self, model: type[R], *key: Any) -> R:
        """The row with this key. Raises NotFoundError."""
        row = self.get(model, *key)
        if row is None:
            raise NotFoundError(f"There is no {model.__tablename__} {', '.join(map(str, key))}.")
        return row

    def select(
        self,
        model: type[R],
        *,
        order: Sequence[tuple[str, bool]],
        limit: int,
        at_least: tuple[str, int] | None = None,
        at_most: tuple[str, int] | None = None,
        **equal: Any,
    ) -> Sequence[R]:
        """Rows with these values, in order."""
        return self.rows.select(
            Selection(model, tuple(sorted(equal.items())), tuple(order), limit, at_least, at_most),
        )

    def parameter(self, key: str) -> int:
        """A parameter's value. Raises RefusedError where there is none."""
        row = self.get(Parameter, key)
        require(row is not None, 2004)
        assert row is not None
        return int(row.value)

    def is_open(self, name: str) -> bool:
        """Whether a switch is open; one that does not exist is not."""
        row = self.get(Switch, name)
        if row is None:
            return False
        return bool(_known(row.is_open, f"switch {name}"))

    def is_tripped(self, name: str) -> bool:
        """Whether a breaker is tripped; one that does not exist is not."""
        row = self.get(Switch, name)
        return row is not None and bool(_known(row.tripped, f"breaker {name}"))

    def has_role(self, role: str, who: str) -> bool:
        """Whether somebody holds a role now."""
        row = self.get(Role, role, who)
        return row is not None and (row.until_burn is None or self.burn_height <= row.until_burn)

    def is_auto_match(self, provider: str) -> bool:
        """Whether policies may be put on a provider's positions."""
        row = self.get(Provider, provider)
        return row is None or row.auto_match

    def tiers(self) -> Sequence[Tier]:
        """All tiers, in the order in which they are tried."""
        return self.select(Tier, order=[("rank", False)], limit=8)

    def tier(self, name: str, code: int) -> Tier:
        """A tier. Raises RefusedError with ``code`` where there is none."""
        row = self.get(Tier, name)
        require(row is not None, code)
        assert row is not None
        return row

    def token(self, token: str, code: int) -> Token:
        """A row of the token table. Raises RefusedError with ``code`` where there is none."""
        row = self.get(Token, token)
        require(row is not None, code)
        assert row is not None
        return row

    def asset(self, name: str) -> Asset:
        """An active price feed. Raises RefusedError."""
        row = self.get(Asset, name)
        require(row is not None and bool(_known(row.active, f"asset {name}")), 3004)
        assert row is not None
        return row

    def price(self, asset: str) -> Price:
        """The last closed price, however old. Raises RefusedError."""
        row = self.asset(asset)
        require(row.last_round > 0, 3015)
        return Price(row.last_round, row.price_usd8, row.opened_burn)

    def fresh_until(self, price: Price) -> BurnHeight:
        """The last Bitcoin block at which a price is not stale."""
        return BurnHeight(price.opened_burn + self.parameter("price-max-age"))

    def fresh_price(self, asset: str) -> Price:
        """The last closed price, if it is not stale. Raises RefusedError."""
        price = self.price(asset)
        require(self.burn_height <= self.fresh_until(price), 3016)
        return price

    def market_price(self, asset: str) -> Price:
        """The last closed price, if it is not stale and comes from providers. Raises RefusedError."""
        price = self.fresh_price(asset)
        row = self.get(PriceRound, asset, price.round)
        require(row is None or row.mode != "fallback", 3024)
        return price

    def expiry_price(self, asset: str, expiry_burn: int) -> ExpiryPrice | None:
        """The fixed price of an expiry, or None while it is not fixed."""
        return self.get(ExpiryPrice, asset, expiry_burn)

    def volatility(self, asset: str) -> BasisPoints:
        """Annual volatility within the parameters' bounds. Raises RefusedError."""
        row = self.asset(asset)
        least, most = self.parameter("vol-min-bp"), self.parameter("vol-max-bp")
        return annual_volatility_bp(row.var_e12, BasisPoints(least), BasisPoints(most))

    def discount(self, user: str) -> BasisPoints:
        """The part of the platform's fee that a user does not pay now."""
        row = self.get(FeeDiscount, user)
        if row is None or (row.until_burn is not None and self.burn_height > row.until_burn):
            return BasisPoints(0)
        return row.discount_bp

    def fees(self) -> FeeShares:
        """How premiums are shared."""
        return self.need(FeeShares, self.contract("bh-params"))

    def first_round_from(self, asset: str, burn: int) -> PriceRound | None:
        """The first closed round that was opened at or after a Bitcoin block: the one that fixes an expiry there."""
        rounds = self.select(
            PriceRound,
            asset=asset,
            state="closed",
            at_least=("opened_burn", burn),
            order=[("opened_burn", False), ("round", False)],
            limit=1,
        )
        return rounds[0] if rounds else None


def _known(value: A | None, what: str) -> A:
    if value is None:
        raise UnknownStateError(f"The index does not know {what}: it began after that was set.")
    return value
