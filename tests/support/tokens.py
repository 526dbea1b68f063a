"""Blocks in which tokens move and contracts that define them are deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace

from clarion.chains.model import Block, Event, EventKind, JsonValue, Transaction, TransactionStatus
from clarion.chains.stacks import clarity as cl
from support import toy

COIN = f"{toy.DEPLOYER}.coin"
GOLD, SILVER = f"{COIN}::gold", f"{COIN}::silver"
ELSEWHERE = f"{toy.DEPLOYER}.elsewhere::coin"
ART = f"{toy.DEPLOYER}.art::piece"
SOURCE = """
;; (define-fungible-token not-this-one)
(define-constant text "(define-fungible-token nor-this)")
(define-fungible-token gold)
(define-fungible-token silver u1000)
(define-read-only (f) (ok (begin (define-fungible-token never) u1)))
"""


def moved(
    kind: EventKind, asset: str | None = None, *, index: int = 0, token: int | None = None, **fields: JsonValue
) -> Event:
    """An asset event as the chain log has it; ``asset`` None: STX. ``token`` is an NFT's number."""
    value: dict[str, JsonValue] = dict(fields)
    raw = None
    if asset is not None:
        value = {"asset": asset, "sender": None, "recipient": None, **value}
    if token is not None:
        value, raw = {**value, "value": token}, cl.encode(cl.UInt(token))
    contract = None if asset is None else asset.partition("::")[0]
    return Event(0, index, kind, contract, kind.value, value, raw)


_amounts = st.integers(0, 2**128 - 1)
_addresses = st.sampled_from(["SP-A", "SP-B", f"{toy.DEPLOYER}.pool"])
_assets = st.sampled_from([GOLD, SILVER, ELSEWHERE])


@st.composite
def movements(draw: st.DrawFn) -> Event:
    """Any movement of any asset, also ones that no chain would allow."""
    verb = draw(st.sampled_from(["transfer", "mint", "burn"]))
    kind = draw(st.sampled_from(["stx", "ft", "nft"]))
    fields: dict[str, Any] = {}
    if verb != "mint":
        fields["sender"] = draw(_addresses)
    if verb != "burn":
        fields["recipient"] = draw(_addresses)
    if kind == "nft":
        return moved(EventKind(f"nft_{verb}"), ART, token=draw(st.integers(1, 3)), **fields)
    fields["amount"] = draw(_amounts)
    return moved(EventKind(f"{kind}_{verb}"), None if kind == "stx" else draw(_assets), **fields)


def deployment(index: int, contract: str = COIN, source: str = SOURCE, **fields: Any) -> Transaction:
    """A transaction that deploys a contract."""
    deployer, _, name = contract.partition(".")
    return Transaction(
        index=index,
        id=toy.digest_of("deploy", contract),
        status=TransactionStatus.SUCCESS,
        kind="smart_contract",
        sender=deployer,
        sponsor=None,
        nonce=0,
        fee=1,
        contract=contract,
        function=None,
        stored_payload={"name": name, "clarity_version": 3, "source": source},
        result=None,
        raw=b"\x00",
        **fields,
    )


def block(
    parent: Block | None, events: Sequence[Event] = (), *, deploy: Sequence[Transaction] = (), branch: str = "main"
) -> Block:
    """A block whose first transaction emits ``events`` in this order, and whose others deploy contracts."""
    made = toy.block(parent, [None], branch=branch)
    ordered = tuple(structs.replace(event, index=index) for index, event in enumerate(events))
    return replace(made, transactions=(*made.transactions, *deploy), events=ordered)
