"""Contracts that a protocol does not know by name: found by the trait they declare, or by an event of a factory.

What was found is a row of a projection table that the protocol declares, so that undo, digest, time travel and restart
hold for it as for every other row::

    class Contract(DiscoveredContract, table=True):
        __tablename__ = "contract"
        __table_args__ = {"schema": "pools"}

    protocol = Protocol("pools", tables=[Contract, Pool])
    protocol.by_trait("pool", "SP2….pool-trait.pool-trait")
    protocol.by_factory("pool", factory="registry", topic="pool-created", field="pool")

A contract is followed from the event that made it known; what it said before is not read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from sqlalchemy import BigInteger, Text
from sqlmodel import Field

from clarion.chains.model import Transaction, TransactionStatus
from clarion.store.rows import Row

DEPLOY: Final = "smart_contract"

# Clarity's lexical grammar, as far as telling code from comments and texts takes: clarity/src/vm/ast/parser/v2/lexer.
_TOKEN: Final = re.compile(
    r"""
    ;[^\n]*                          # a comment, to the end of the line
    | u?"(?:\\.|[^"\\])*"            # a text, escapes within
    | [()]
    | [^\s()"{};,]+                  # an atom, a number, a principal
    """,
    re.VERBOSE | re.DOTALL,
)
_CONTRACT_ID: Final = re.compile(r"S[0-9A-Z]{27,41}\.[a-zA-Z][a-zA-Z0-9_-]{0,127}")


class DiscoveredContract(Row):
    """Base of the table that holds which contracts a protocol has found."""

    contract: str = Field(primary_key=True, sa_type=Text, description="The contract's id")
    name: str = Field(sa_type=Text, description="The short name that handlers know it by")
    found_by: str = Field(sa_type=Text, description="trait or factory")
    found_height: int = Field(sa_type=BigInteger, description="Height of the block that made it known")
    found_tx: str = Field(sa_type=Text, description="Id of the transaction that made it known")


def is_contract_id(text: object) -> bool:
    """Whether this is the id of a contract, ``ADDRESS.name``."""
    return isinstance(text, str) and _CONTRACT_ID.fullmatch(text) is not None


def declared_traits(source: str, deployer: str) -> list[str]:
    """The traits that a contract's Clarity source says it implements, as ``ADDRESS.contract.trait``.

    Only ``(impl-trait ..)`` at the top level counts, as for a node; ``.contract.trait`` is relative to ``deployer``.
    The node has checked that a contract which was deployed has the functions.
    """
    return [
        absolute_trait(form[1], deployer)
        for form in top_level_forms(source)
        if len(form) == 2 and form[0] == "impl-trait"
    ]


def top_level_forms(source: str) -> Iterator[list[str]]:
    """The forms of a Clarity source, each as the atoms that stand in it directly: ``[define-data-var, owner]``."""
    depth = 0
    form: list[str] = []
    for token in _tokens(source):
        if token == "(":
            depth += 1
            form = [] if depth == 1 else form
        elif token == ")":
            depth -= 1
            if depth == 0:
                yield form
        elif depth == 1:
            form.append(token)


def absolute_trait(trait: str, deployer: str) -> str:
    """``'ADDRESS.contract.trait`` or ``.contract.trait`` as ``ADDRESS.contract.trait``."""
    trait = trait.removeprefix("'")
    return deployer + trait if trait.startswith(".") else trait


def deployments(transactions: tuple[Transaction, ...]) -> Iterator[tuple[Transaction, str, str]]:
    """Transactions that deployed a contract, each with the contract's id and source."""
    for transaction in transactions:
        if transaction.kind != DEPLOY or transaction.status is not TransactionStatus.SUCCESS:
            continue
        payload = transaction.payload
        if transaction.contract is not None and isinstance(payload, dict) and isinstance(payload.get("source"), str):
            yield transaction, transaction.contract, str(payload["source"])


def _tokens(source: str) -> Iterator[str]:
    for match in _TOKEN.finditer(source):
        token = match.group()
        if not token.startswith((";", '"', 'u"')):
            yield token
