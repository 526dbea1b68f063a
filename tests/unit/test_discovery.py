"""Contracts found on the chain: by the traits that a source declares, and by what a factory prints."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support import toy
from support.pools import TRAIT, Deposited, Found, pools

from clarion.chains.model import Block, Event, EventKind, JsonValue, Transaction, TransactionStatus
from clarion.discovery import declared_traits, is_contract_id
from clarion.protocol import DeployedProtocol, Protocol, UndecodableEventError, UnknownTopicError
from clarion.store.rows import Rows, RowType

DEPLOYER = toy.DEPLOYER
OTHER = "SP3FBR2AGK5H9QBDH3EEN6DF8EK8JY7RX8QJ5SVTE"


def empty_rows() -> Rows:
    return Rows([RowType(Found), RowType(Deposited)], lambda row_type, key: None)


def printed(contract: str, value: dict[str, JsonValue], index: int) -> Event:
    return Event(0, index, EventKind.PRINT, contract, str(value["topic"]), value, b"\x0c")


def block_of(*events: tuple[str, dict[str, JsonValue]], transactions: tuple[Transaction, ...] = ()) -> Block:
    block = toy.block(None, [{"topic": "x"}])
    made = tuple(printed(contract, value, index) for index, (contract, value) in enumerate(events))
    return replace(block, events=made, transactions=transactions or block.transactions)


def project(deployed: DeployedProtocol, block: Block, rows: Rows) -> list[tuple[str, Any, Any]]:
    deployed.begin_block(block, rows)
    for event in block.events:
        deployed.project(event, block, block.transactions[event.tx_index], rows)
    return [(change.table, change.key, change.after) for change in rows.end_block(block.height)]


def deploy(name: str, source: str, *, status: TransactionStatus = TransactionStatus.SUCCESS) -> Transaction:
    block = toy.block(None, [{"topic": "x"}])
    return msgspec.structs.replace(
        block.transactions[0],
        kind="smart_contract",
        contract=f"{DEPLOYER}.{name}",
        status=status,
        function=None,
        stored_payload={"name": name, "clarity_version": 3, "source": source},
    )


@pytest.mark.parametrize(
    ("source", "traits"),
    [
        (f"(impl-trait '{TRAIT})", [TRAIT]),
        ("(impl-trait .pool-trait.pool)", [f"{DEPLOYER}.pool-trait.pool"]),
        (f";; (impl-trait '{TRAIT})\n(define-constant a u1)", []),
        (f'(define-constant a "(impl-trait \'{TRAIT})")', []),
        (f'(define-constant a u"\\"(impl-trait \'{TRAIT})")', []),
        (f"( impl-trait ;; which\n\t'{TRAIT} )\n(impl-trait .a.b)", [TRAIT, f"{DEPLOYER}.a.b"]),
        (f"(begin (impl-trait '{TRAIT}))", []),
        (f"(define-map m {{a: uint}} uint)(impl-trait '{TRAIT})", [TRAIT]),
        (f"(use-trait pool '{TRAIT})", []),
        ("(impl-trait", []),
        (")(impl-trait .a.b)", []),
        ("", []),
    ],
)
def test_traits_are_read_as_the_chain_reads_them(source: str, traits: list[str]) -> None:
    assert declared_traits(source, DEPLOYER) == traits


@given(st.text(alphabet="();\"\\u {}\n',.ab-implrt", max_size=80))
def test_any_source_can_be_read(source: str) -> None:
    assert all("." in trait or trait for trait in declared_traits(source, DEPLOYER))


@given(st.text(alphabet="();\\ab \n'.", max_size=30).filter(lambda text: '"' not in text and "\n" not in text))
def test_what_a_comment_says_declares_nothing(comment: str) -> None:
    assert declared_traits(f";; {comment}\n(impl-trait '{TRAIT})", DEPLOYER) == [TRAIT]


def test_a_contract_id_is_told_from_other_text() -> None:
    assert is_contract_id(f"{OTHER}.pool-1")
    for other in (OTHER, "pool", f"{OTHER}.1pool", f"{OTHER}.a b", None, 5, f"{OTHER}.pool\n"):
        assert not is_contract_id(other)


def test_a_deployed_contract_with_the_trait_is_followed_from_its_own_transaction_on() -> None:
    deployed = pools(trait=TRAIT).deployed_at({})
    pool = f"{DEPLOYER}.pool-7"
    block = block_of(
        (pool, {"topic": "deposit", "amount": 5}),
        (pool, {"topic": "anything else"}),
        (f"{OTHER}.stranger", {"topic": "deposit", "amount": 9}),
        transactions=(deploy("pool-7", f"(impl-trait '{TRAIT})"),),
    )
    changes = project(deployed, block, empty_rows())
    assert [(table, key) for table, key, _ in changes] == [("pools.contract", (pool,)), ("pools.deposited", (pool,))]
    assert changes[0][2]["found_by"] == "trait"
    assert changes[1][2]["amount"] == 5


def test_a_failed_deployment_and_another_trait_are_none() -> None:
    deployed = pools(trait=TRAIT).deployed_at({})
    aborted = deploy("a", f"(impl-trait '{TRAIT})", status=TransactionStatus.ABORT_BY_RESPONSE)
    for transaction in (aborted, deploy("b", f"(impl-trait '{TRAIT}x)")):
        assert project(deployed, block_of(transactions=(transaction,)), empty_rows()) == []


def test_a_trait_may_differ_by_network_or_be_the_deployers() -> None:
    by_network = pools(trait={"mainnet": TRAIT})
    assert by_network.deployed_at({}, network="mainnet").traits == {TRAIT: "pool"}
    with pytest.raises(ValueError, match="testnet"):
        by_network.deployed_at({}, network="testnet")
    assert pools(trait=".t.pool").deployed_by(DEPLOYER).traits == {f"{DEPLOYER}.t.pool": "pool"}


def test_what_a_factory_names_is_followed_from_the_next_event_on() -> None:
    deployed = pools(factory=True).deployed_by(DEPLOYER)
    assert deployed.contracts == {f"{DEPLOYER}.registry": "registry"}
    assert deployed.open_ended
    pool = f"{OTHER}.pool"
    rows = empty_rows()
    block = block_of(
        (pool, {"topic": "deposit", "amount": 1}),
        (f"{DEPLOYER}.registry", {"topic": "pool-created", "pool": pool}),
        (pool, {"topic": "deposit", "amount": 2}),
    )
    changes = project(deployed, block, rows)
    assert {table: row["amount"] for table, _, row in changes if table == "pools.deposited"} == {"pools.deposited": 2}
    again = block_of((f"{DEPLOYER}.registry", {"topic": "pool-created", "pool": pool}))
    assert project(deployed, again, rows) == [], "a contract is found once"


def test_a_factory_that_names_no_contract_and_unknown_topics_are_reported() -> None:
    deployed = pools(factory=True).deployed_by(DEPLOYER)
    registry = f"{DEPLOYER}.registry"
    for named in ("not a contract", None, 7):
        with pytest.raises(UndecodableEventError, match="pool names no contract"):
            project(deployed, block_of((registry, {"topic": "pool-created", "pool": named})), empty_rows())
    with pytest.raises(UnknownTopicError):
        project(deployed, block_of((registry, {"topic": "retired"})), empty_rows())


def test_a_protocol_that_finds_contracts_needs_a_table_for_them() -> None:
    protocol = Protocol("pools", tables=[Deposited])
    protocol.by_trait("pool", TRAIT)
    with pytest.raises(ValueError, match="DiscoveredContract"):
        protocol.deployed_at({})
