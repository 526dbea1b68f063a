"""An address' activity as CSV over HTTP, for accounts and tax: ``/statements/<address>.csv``.

A statement is of the blocks up to one, which its headers name. It is read and sent in pages, so it may be long and its
reader slow; if that block is taken back by a reorganisation meanwhile, the connection is cut, and what came is no
statement.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any, Final

import psycopg
import structlog
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from clarion.config import Scope
from clarion_graphql.accounts.errors import RefusedError
from clarion_graphql.bithedge.activity import Activity, ActivityKind, activity_count, activity_rows
from clarion_graphql.bithedge.addresses import require_principal
from clarion_graphql.bithedge.intervals import last_block_before
from clarion_graphql.bithedge.reading import read
from clarion_graphql.context import Service
from clarion_graphql.errors import ApiError, Code, InputError, show_errors
from clarion_graphql.receipt import Receipt
from clarion_graphql.scalars import hex_text
from clarion_graphql.session import Session

log = structlog.get_logger(__name__)

COLUMNS: Final = (
    "height",
    "burn_height",
    "time",
    "tx_id",
    "kind",
    "token",
    "decimals",
    "amount",
    "amount_usd8",
    "policy",
    "tier",
    "counterparty",
    "number",
    "detail",
)
"""The columns, in this order for ever; new ones come after."""

MOST_ROWS: Final = 100_000
_PAGE: Final = 500
#: What a statement costs of a caller's quota, per page, beside 1 for the request.
_COST: Final = 50
#: A spreadsheet takes a text that begins so for a formula; anybody can write the address of a proposal's text.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

_STATUS: Final[Mapping[str, int]] = {
    Code.BAD_USER_INPUT: 400,
    Code.LIMIT_EXCEEDED: 413,
    Code.UNAUTHENTICATED: 401,
    Code.FORBIDDEN: 403,
    Code.UNAVAILABLE: 503,
}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a statement is of."""

    address: str
    kinds: Sequence[ActivityKind] | None
    begin: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where a statement is read: blocks from ``first`` to ``last``, as of ``receipt``."""

    receipt: Receipt
    first: int
    last: int
    decimals: Mapping[str, int]


def route(service: Service) -> Route:
    """The route ``/statements/<address>.csv`` over a server."""

    async def endpoint(request: Request) -> Response:
        try:
            return await _answer(service, request)
        except RefusedError as refused:
            return _error(refused.status, refused.error, refused.headers)
        except ApiError as error:
            code = str((error.extensions or {})["code"])
            return _error(_STATUS.get(code, 400), error)
        except psycopg.OperationalError as failure:
            log.warning("statement.database_unavailable", error=str(failure).strip())
            return _error(503, ApiError(Code.UNAVAILABLE, "The database cannot be reached at the moment. Try again."))

    return Route("/statements/{address}.csv", endpoint, methods=["GET"])


def _error(status: int, error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    errors: list[GraphQLError] = [error]
    show_errors(errors)
    return JSONResponse({"errors": [shown.formatted for shown in errors]}, status, dict(headers or {}))


async def _answer(service: Service, request: Request) -> Response:
    caller = await service.accounts.caller_of(request.state.request)
    service.accounts.charge(caller, 1)
    caller.require(Scope.READ)
    wanted = _wanted(request)
    session = service.session()
    try:
        plan = await _plan(session, wanted)
        heights = (plan.first, plan.last)
        count = await activity_count(session, wanted.address, wanted.kinds, MOST_ROWS + 1, heights=heights)
    finally:
        await session.close()
    if count > MOST_ROWS:
        raise ApiError(
            Code.LIMIT_EXCEEDED,
            f"The statement would have more than {MOST_ROWS} rows: ask for it in parts with from and to.",
        )
    service.accounts.charge(caller, _COST * (count // _PAGE + 1))
    receipt = plan.receipt
    assert receipt.hash is not None
    return StreamingResponse(
        _lines(service, wanted, plan),
        media_type="text/csv; charset=utf-8; header=present",
        headers={
            "Content-Disposition": f'attachment; filename="statement-{wanted.address}.csv"',
            "Cache-Control": "no-store",
            "Clarion-Height": str(receipt.height),
            "Clarion-Hash": hex_text(receipt.hash),
            "Clarion-Digest": hex_text(receipt.digest),
            "Clarion-Rows": str(count),
        },
    )


def _wanted(request: Request) -> _Wanted:
    """What the request asks for. Raises InputError."""
    address = request.path_params["address"]
    require_principal(address)
    unknown = sorted(set(request.query_params) - {"from", "to", "kinds"})
    if unknown:
        raise InputError(f"There is no parameter {unknown[0][:80]!r}: there are from, to and kinds.")
    kinds = request.query_params.get("kinds")
    return _Wanted(
        address,
        None if kinds is None else [_kind(name) for name in kinds.split(",")],
        _moment(request, "from"),
        _moment(request, "to"),
    )


def _kind(name: str) -> ActivityKind:
    try:
        return ActivityKind(name.strip().lower().replace("_", "-"))
    except ValueError:
        raise InputError(f"There is no kind {name[:80]!r}: the type ActivityKind of the schema lists them.") from None


def _moment(request: Request, name: str) -> datetime | None:
    """A moment, or the beginning of a day, in UTC unless it says otherwise."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        if len(text) == len("2026-01-31"):
            return datetime.combine(date.fromisoformat(text), time(), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{name} is a day or a moment in ISO 8601, such as 2026-01-31, not {text[:80]!r}.") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


async def _plan(session: Session, wanted: _Wanted) -> _Plan:
    """Raises ApiError where the index is empty or holds no such block."""
    receipt = (await session.receipts()).get("stacks")
    if receipt is None or receipt.height is None:
        raise ApiError(Code.UNAVAILABLE, "The index is empty yet.")
    first, last = 0, receipt.height
    if wanted.begin is not None:
        first = await last_block_before(session, wanted.begin) + 1
    if wanted.end is not None:
        last = min(last, await last_block_before(session, wanted.end))
    decimals = dict(await read(session, "SELECT k.token, k.decimals FROM {token} k"))
    return _Plan(receipt, first, last, decimals)


async def _lines(service: Service, wanted: _Wanted, plan: _Plan) -> AsyncIterator[str]:
    """The statement's text in pieces, the oldest row first."""
    yield _csv([COLUMNS])
    after = None
    while True:
        session = service.session()
        try:
            await _require_canonical(session, plan.receipt)
            rows = await activity_rows(
                session,
                wanted.address,
                wanted.kinds,
                _PAGE,
                after=after,
                ascending=True,
                heights=(plan.first, plan.last),
            )
        finally:
            await session.close()
        if rows:
            yield _csv(_cells(row, plan.decimals) for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].place


async def _require_canonical(session: Session, receipt: Receipt) -> None:
    """Raise where the block that a statement is of was taken back: the connection is then cut."""
    rows = await read(
        session,
        "SELECT FROM {canonical_block} c WHERE c.chain = 'stacks' AND c.height = %s AND c.hash = %s",
        receipt.height,
        receipt.hash,
    )
    if not rows:
        raise RuntimeError(f"block {receipt.height} was taken back while a statement of it was sent")


def _cells(row: Activity, decimals: Mapping[str, int]) -> Sequence[Any]:
    detail = row.detail
    if detail is not None and detail.startswith(_FORMULA):
        detail = f"'{detail}"
    return (
        row.height,
        row.burn_height,
        None if row.time is None else row.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        row.tx_id,
        row.kind.value,
        row.token,
        None if row.token is None else decimals.get(row.token),
        row.amount,
        row.amount_usd8,
        row.policy_id,
        row.tier,
        row.counterparty,
        row.number,
        detail,
    )


def _csv(rows: Any) -> str:
    """Rows as RFC 4180 has them; nothing stands for null."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
