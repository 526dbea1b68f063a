"""Every action as GraphQL prepares it over a recorded run: a transaction that both codecs read, and what it says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.graphql import Server, answering
from support.stacks_node import FakeNode

from clarion.chains.stacks.authorization import SingleSig
from clarion.chains.stacks.clarity import encode
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.messages import sign_message
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.transactions import decode_transaction
from clarion.dev.accounts import DEPLOYER, GUARDIAN, KEEPER
from clarion.node import find_node
from clarion.protocols.bithedge import protocol
from clarion.protocols.bithedge.actions import ACTIONS
from clarion.protocols.bithedge.actions.declaration import Action
from clarion.store.database import connect
from clarion_graphql.app import make_app
from clarion_graphql.bithedge.prepare import field_name
from clarion_graphql.entities import pascal
from clarion_graphql.transactions.store import MOST_LINKS

REPOSITORY = Path(__file__).resolve().parents[2]
STACKS_JS = REPOSITORY / "tests" / "vectors" / "stacks_js.mjs"
STX = f"{DEPLOYER.address}.bh-stx"
HASH = "0x" + "ab" * 32

SAMPLES: Mapping[str, Any] = {
    "active": True,
    "amount": "1000000",
    "approvedUsd8": "1",
    "asset": "BTC",
    "bp": 500,
    "breaker": "create",
    "changes": [{"key": "cancel-fee-bp", "value": "100"}],
    "choice": "for",
    "codeHash": HASH,
    "contract": f"{DEPLOYER.address}.bh-gov",
    "durationBurn": 100,
    "epoch": 1,
    "expiryBurn": 100,
    "from": "aggressive",
    "hash": HASH,
    "index": 0,
    "insurable": True,
    "items": [{"policy": 1, "token": STX}],
    "key": "new-param",
    "kind": "bp",
    "leaves": 2,
    "left": "5",
    "limit": "5",
    "max": "10",
    "maxLiabilityUsd8": "5",
    "memo": "0x00",
    "migration": 1,
    "min": "0",
    "module": "gov",
    "name": "create",
    "notionalSat": "1000000",
    "on": True,
    "plan": 1,
    "platformBp": 600,
    "policy": 1,
    "priceUsd8": "5",
    "program": 1,
    "proof": [HASH],
    "proposal": 1,
    "provider": KEEPER.address,
    "providerBp": 9000,
    "reason": "a reason",
    "reasonHash": HASH,
    "referenceUsd8": "5",
    "request": 1,
    "reserveBp": 400,
    "role": "arbiter",
    "root": HASH,
    "rows": [{"name": "all", "receiver": KEEPER.address, "shareBp": 10000}],
    "style": "european",
    "target": "5",
    "tier": "balanced",
    "titleHash": HASH,
    "to": KEEPER.address,
    "token": STX,
    "total": "5",
    "type": "put",
    "untilBurn": 10**6,
    "uri": "https://example.org",
    "user": KEEPER.address,
    "value": "5",
    "version": 1,
    "weight": 1,
    "who": KEEPER.address,
}
OWN: Mapping[str, Mapping[str, Any]] = {
    "change-tier": {"to": "balanced"},
    "create-program": {
        "terms": {
            "startBurn": 10**6,
            "epochBurn": 10,
            "epochs": 2,
            "epochCap": "5",
            "premiumBp": 5000,
            "vestingBurn": 5,
            "claimBurn": 5,
        }
    },
    "propose": {"items": [{"kind": "set-flag", "data": "0x00"}]},
    "set-tier": {
        "name": "calm",
        "row": {
            "strikeMinBp": 7000,
            "strikeMaxBp": 8000,
            "maxDurationBurn": 10,
            "premiumMultBp": 8000,
            "ratioMinBp": 11000,
            "ratioWarnBp": 11500,
            "maxPolicyBp": 2500,
            "maxExpiryBp": 2500,
            "active": True,
        },
    },
    "set-token": {
        "row": {
            "asset": "STX",
            "assetName": "stx",
            "native": True,
            "decimals": 6,
            "haircutBp": 1000,
            "cap": "5",
            "active": True,
        }
    },
}
PREPARED = """
prepared {
  id sender contract function transaction nonce fee postConditionMode validUntilBurn height burnHeight
  arguments { name value repr hex } postConditions { principal comparison amount asset text hex }
  simulation { ok isWhole result refusals { code name contract message } } hints { nonce fee problem }
}
"""


@pytest.fixture
async def server(recorded_bithedge_url: str) -> AsyncIterator[Server]:
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed={"bithedge": deployed})
    async with answering(app) as running:
        yield running


async def prepare(server: Server, action: Action, given: Mapping[str, Any]) -> dict[str, Any]:
    """The whole answer to a preparation."""
    name = f"repare{pascal(action.name.replace('-', '_'))}"
    document = (
        f"mutation($input: P{name}Input!) {{ {PREPARED.replace('prepared', f'prepared: p{name}(input: $input)')} }}"
    )
    return await server.query(document, {"input": dict(given)})


def samples(action: Action, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of an action: those that must be given."""
    asked = [
        field_name(parameter.name)
        for parameter in action.parameters
        if parameter.name not in action.fills and parameter.name != "allocations"
    ]
    values = {**SAMPLES, **facts, **OWN.get(action.name, {})}
    return {name: values[name] for name in asked}


def rewritten(transactions: list[str]) -> list[str]:
    """The transactions as the library that wallets use reads and writes them again, in hexadecimal."""
    done = subprocess.run(
        [find_node(), str(STACKS_JS), "check"],
        input=json.dumps({"values": [], "transactions": transactions}),
        capture_output=True,
        text=True,
        check=True,
    )
    return [one["hex"] for one in json.loads(done.stdout)["transactions"]]


async def test_every_action_is_a_transaction_that_both_codecs_read(server: Server, recorded_bithedge_url: str) -> None:
    with connect(recorded_bithedge_url) as connection:
        row = connection.execute(
            "SELECT (SELECT max(opened_burn) FROM bithedge.price_round WHERE asset = 'BTC' AND state = 'closed'), "
            "(SELECT price_usd8 FROM bithedge.asset WHERE asset = 'BTC'), "
            "(SELECT b.burn_height FROM clarion.cursor c JOIN clarion.block b ON b.hash = c.hash), "
            "(SELECT min(id) FROM bithedge.withdraw_request)"
        ).fetchone()
    assert row is not None
    opened, spot, burn, request = row
    facts = {"strikeUsd8": str(spot * 95 // 100), "request": request}
    transactions = []
    for action in ACTIONS.values():
        given = samples(action, facts)
        if action.name == "create-policy":
            given |= {"expiryBurn": burn + 5}
        if action.name == "fix-expiry-price":
            given |= {"expiryBurn": opened}
        answer = await prepare(server, action, {**given, "sender": GUARDIAN.address, "nonce": "7", "fee": "3000"})
        assert "errors" not in answer, (action.name, answer["errors"])
        prepared = answer["data"]["prepared"]
        raw = bytes.fromhex(prepared["transaction"][2:])
        transaction = decode_transaction(raw)
        payload = transaction.payload
        assert isinstance(payload, ContractCall)
        assert (str(payload.contract), payload.function) == (prepared["contract"], prepared["function"])
        assert prepared["contract"] == f"{DEPLOYER.address}.{action.contract}"
        assert [f"0x{encode(value).hex()}" for value in payload.arguments] == [
            argument["hex"] for argument in prepared["arguments"]
        ]
        assert transaction.post_condition_mode is PostConditionMode.DENY
        assert len(transaction.post_conditions) == len(prepared["postConditions"])
        origin = transaction.authorization.origin
        assert isinstance(origin, SingleSig)
        assert (origin.nonce, origin.fee, str(transaction.sender)) == (7, 3000, GUARDIAN.address)
        assert prepared["simulation"]["ok"] == (prepared["simulation"]["refusals"] == [])
        transactions.append(prepared["transaction"][2:])
    assert rewritten(transactions) == transactions


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"sender": "nonsense"}, "sender:"),
        ({"sender": STX}, "A contract cannot sign"),
        ({}, "Give the sender's address"),
        ({"sender": GUARDIAN.address, "publicKey": "0x02" + "11" * 32}, "public key is that of"),
        ({"publicKey": "0x0211"}, "publicKey:"),
        ({"sender": GUARDIAN.address, "tier": "x" * 17}, "deposit: tier: .*16"),
        ({"sender": GUARDIAN.address, "token": "x"}, "deposit: token: not a Stacks address"),
        ({"sender": GUARDIAN.address, "amount": str(2**70)}, "does not fit a post-condition"),
        ({"sender": GUARDIAN.address, "amount": "-1"}, "deposit: amount: "),
        ({"sender": GUARDIAN.address, "token": f"{DEPLOYER.address}.other"}, "no collateral token"),
    ],
)
async def test_what_no_transaction_can_be_made_of_is_refused(
    server: Server, given: dict[str, Any], complaint: str
) -> None:
    answer = await prepare(server, ACTIONS["deposit"], {"token": STX, "tier": "balanced", "amount": "5"} | given)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT", error
    assert re.search(complaint, error["message"]), error["message"]


async def test_what_the_contract_would_refuse_is_said_and_still_prepared(server: Server) -> None:
    given = {"token": STX, "tier": "nobody", "amount": "5", "sender": GUARDIAN.address}
    answer = await prepare(server, ACTIONS["deposit"], given)
    simulation = answer["data"]["prepared"]["simulation"]
    assert not simulation["ok"]
    assert simulation["refusals"][0] == {
        "code": 5002,
        "name": "ERR-UNKNOWN-TIER",
        "contract": "bh-vault",
        "message": "no such tier, or not active",
    }
    assert answer["data"]["prepared"]["hints"]["problem"].startswith("This server asks no node")


async def test_the_documentation_s_documents_are_answered(server: Server) -> None:
    text = (REPOSITORY / "docs" / "wallets.md").read_text(encoding="utf-8")
    documents = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)

    assert len(documents) == 3
    for document in documents:
        data = await server.data(document)
        assert all(value is not None for value in data.values())
    assert {action.name for action in ACTIONS.values()} >= {
        re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower() for name in re.findall(r"`prepare([A-Z]\w+)`", text)
    }


TRACK = "mutation($tx: Bytes!, $id: String) { trackTx(txId: $tx, preparedId: $id) { status txId preparedId matches } }"
TRACKED = (
    "query($tx: Bytes!) { trackedTransaction(txId: $tx) "
    "{ status contractError { name } result height finality droppedReason replacedBy function sender } }"
)


async def test_a_transaction_is_tracked_by_the_log_and_the_mempool_alone(
    server: Server, recorded_bithedge_url: str
) -> None:
    async def status_of(tx_id: bytes) -> dict[str, Any]:
        found: dict[str, Any] = (await server.data(TRACKED, {"tx": f"0x{tx_id.hex()}"}))["trackedTransaction"]
        return found

    with connect(recorded_bithedge_url, autocommit=True) as connection:
        seen = {}
        for status in ("success", "abort_by_response", "abort_by_post_condition"):
            row = connection.execute(
                "SELECT tx_id FROM clarion.transaction t JOIN clarion.canonical_block k ON k.hash = t.block_hash "
                "WHERE t.status = %s AND t.kind = 'contract_call' AND t.contract LIKE %s LIMIT 1",
                (status, f"{DEPLOYER.address}.%"),
            ).fetchone()
            assert row is not None, status
            seen[status] = row[0]
        connection.execute(
            "INSERT INTO clarion.mempool_transaction "
            "(tx_id, raw, sender, nonce, fee, dropped_reason, replaced_by) VALUES "
            "(%s, %s, 'ST1', 5, 6, NULL, NULL), (%s, %s, 'ST1', 6, 6, 'TooExpensive', NULL), "
            "(%s, %s, 'ST1', 7, 6, 'ReplaceByFee', %s)",
            (b"\1" * 32, b"", b"\2" * 32, b"", b"\3" * 32, b"", b"\1" * 32),
        )
    for tx_id in (*seen.values(), b"\1" * 32, b"\2" * 32, b"\3" * 32, b"\4" * 32):
        await server.data(TRACK, {"tx": f"0x{tx_id.hex()}"})
    assert (await status_of(seen["success"]))["status"] == "MINED_OK"
    refused = await status_of(seen["abort_by_response"])
    assert refused["status"] == "ABORT_RESPONSE"
    assert refused["contractError"]["name"].startswith("ERR-")
    assert refused["height"] is not None
    assert (await status_of(seen["abort_by_post_condition"]))["status"] == "ABORT_POST_CONDITION"
    assert (await status_of(b"\1" * 32))["status"] == "MEMPOOL"
    assert (await status_of(b"\2" * 32))["droppedReason"] == "TooExpensive"
    replaced = await status_of(b"\3" * 32)
    assert (replaced["status"], replaced["replacedBy"]) == ("REPLACED", "0x" + "01" * 32)
    assert (await status_of(b"\4" * 32))["status"] == "BROADCAST"
    assert (await server.data(TRACKED, {"tx": "0x" + "09" * 32}))["trackedTransaction"] is None

    unknown = await server.error(TRACK, {"tx": "0x" + "05" * 32, "id": "nothing"})
    assert "no prepared transaction nothing" in unknown["message"]
    short = await server.error(TRACK, {"tx": "0x05"})
    assert "32 bytes" in short["message"]


PREPARE_DEPOSIT = (
    "mutation($input: PrepareDepositInput!) { prepared: prepareDeposit(input: $input) { id transaction } }"
)
BECAME = "query($id: String!) { trackedTransaction(preparedId: $id) { status matches txId preparedId } }"
OF_TX = "query($tx: Bytes!) { trackedTransaction(txId: $tx) { status matches action preparedId } }"
OF_SENDER = (
    "query($sender: String!) { trackedTransactions(sender: $sender, first: 5) { status matches txId preparedId } }"
)
REAL, FALSE = b"\xaa" * 32, b"\xcd" * 32


class Links:
    """What a wallet and a stranger say was sent, and what the node shows of it."""

    def __init__(self, server: Server, database_url: str) -> None:
        self.server = server
        self.database_url = database_url

    async def prepare(self, wallet: PrivateKey, amount: str = "5000000") -> dict[str, Any]:
        given = {"sender": str(wallet.address(Network.TESTNET)), "token": STX, "tier": "balanced", "amount": amount}
        prepared: dict[str, Any] = (await self.server.data(PREPARE_DEPOSIT, {"input": given}))["prepared"]
        return prepared

    async def say(self, tx_id: bytes, prepared: Mapping[str, Any] | None) -> dict[str, Any]:
        variables = {"tx": f"0x{tx_id.hex()}", "id": None if prepared is None else prepared["id"]}
        said: dict[str, Any] = (await self.server.data(TRACK, variables))["trackTx"]
        return said

    async def became(self, prepared: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = (await self.server.data(BECAME, {"id": prepared["id"]}))["trackedTransaction"]
        assert found["preparedId"] == prepared["id"]
        return found

    async def of(self, tx_id: bytes) -> dict[str, Any]:
        found: dict[str, Any] = (await self.server.data(OF_TX, {"tx": f"0x{tx_id.hex()}"}))["trackedTransaction"]
        return found

    def show(self, tx_id: bytes, prepared: Mapping[str, Any], wallet: PrivateKey) -> None:
        """The mempool holds a prepared transaction as its sender's."""
        with connect(self.database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO clarion.mempool_transaction (tx_id, raw, sender, nonce, fee) VALUES (%s, %s, %s, 5, 6)",
                (tx_id, bytes.fromhex(prepared["transaction"][2:]), str(wallet.address(Network.TESTNET))),
            )


@pytest.fixture
def links(server: Server, recorded_bithedge_url: str) -> Links:
    return Links(server, recorded_bithedge_url)


async def test_nobody_else_says_what_became_of_a_prepared_transaction(links: Links) -> None:
    wallet = PrivateKey(b"\x21" * 32 + b"\1")
    mine = await links.prepare(wallet)
    assert await links.say(REAL, mine) == {
        "status": "BROADCAST",
        "txId": f"0x{REAL.hex()}",
        "preparedId": mine["id"],
        "matches": None,
    }
    await links.say(FALSE, mine)
    assert (await links.became(mine))["txId"] == f"0x{REAL.hex()}"  # nothing was seen: what was said first

    links.show(REAL, mine, wallet)
    shown = await links.became(mine)
    assert (shown["status"], shown["matches"], shown["txId"]) == ("MEMPOOL", True, f"0x{REAL.hex()}")

    # what is really there, but is another call, changes nothing either
    stranger = PrivateKey(b"\x22" * 32 + b"\1")
    other = await links.prepare(stranger)
    links.show(b"\xce" * 32, other, stranger)
    await links.say(b"\xce" * 32, mine)
    assert (await links.became(mine))["txId"] == f"0x{REAL.hex()}"


async def test_what_was_linked_before_gives_way_to_what_matches(links: Links) -> None:
    wallet, stranger = PrivateKey(b"\x23" * 32 + b"\1"), PrivateKey(b"\x24" * 32 + b"\1")
    mine, other = await links.prepare(wallet), await links.prepare(stranger)
    tx_id = b"\xab" * 32
    # a stranger is first: with a transaction of its own, and with the wallet's
    await links.say(FALSE, mine)
    await links.say(tx_id, other)
    assert (await links.became(mine))["status"] == "BROADCAST"
    links.show(tx_id, mine, wallet)
    assert (await links.of(tx_id))["matches"] is False
    said = await links.say(tx_id, mine)
    assert (said["status"], said["matches"], said["preparedId"]) == ("MEMPOOL", True, mine["id"])
    shown = await links.became(mine)
    assert (shown["status"], shown["txId"]) == ("MEMPOOL", f"0x{tx_id.hex()}")
    assert (await links.of(tx_id))["matches"] is True
    assert (await links.became(other))["matches"] is False


async def test_of_many_that_are_linked_the_newest_are_kept(links: Links) -> None:
    wallet = PrivateKey(b"\x25" * 32 + b"\1")
    mine = await links.prepare(wallet)
    tx_id = b"\xac" * 32
    links.show(tx_id, mine, wallet)
    await links.say(tx_id, mine)
    for number in range(MOST_LINKS):
        await links.say(bytes([number]) * 32, mine)
    assert (await links.became(mine))["status"] == "BROADCAST"
    await links.say(tx_id, mine)  # a wallet can always say it again
    assert (await links.became(mine))["matches"] is True


async def test_the_id_of_what_was_prepared_is_told_to_its_sender_alone(links: Links) -> None:
    wallet = PrivateKey(b"\x26" * 32 + b"\1")
    address = str(wallet.address(Network.TESTNET))
    mine = await links.prepare(wallet)
    tx_id = b"\xad" * 32
    await links.say(tx_id, mine)
    (listed,) = (await links.server.data(OF_SENDER, {"sender": address}))["trackedTransactions"]
    assert (listed["status"], listed["preparedId"]) == ("BROADCAST", None)
    assert (await links.of(tx_id))["preparedId"] is None
    assert (await links.say(tx_id, None))["preparedId"] is None

    created = await links.server.data(
        "mutation($address: String!, $host: String!) "
        "{ createSignInMessage(address: $address, host: $host) { message } }",
        {"address": address, "host": "localhost:8000"},
    )
    message = created["createSignInMessage"]["message"]
    signed = await links.server.data(
        "mutation($message: String!, $signature: Bytes!) "
        "{ signIn(message: $message, signature: $signature) { token } }",
        {"message": message, "signature": f"0x{sign_message(message, wallet).hex()}"},
    )
    links.server.client.headers["authorization"] = f"Bearer {signed['signIn']['token']}"
    (listed,) = (await links.server.data(OF_SENDER, {"sender": address}))["trackedTransactions"]
    assert listed["preparedId"] == mine["id"]


async def test_what_is_sponsored_has_no_fee_of_its_sender_s(
    recorded_bithedge_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clarion_graphql.app.node_of", lambda _: FakeNode().client())
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(recorded_bithedge_url, protocols=[protocol], deployed={"bithedge": deployed})
    given = {"token": STX, "tier": "balanced", "amount": "5", "sender": GUARDIAN.address}
    async with answering(app) as server:
        fees = {}
        for sponsored in (False, True):
            answer = await prepare(server, ACTIONS["deposit"], {**given, "sponsored": sponsored})
            prepared = answer["data"]["prepared"]
            transaction = decode_transaction(bytes.fromhex(prepared["transaction"][2:]))
            assert (transaction.authorization.sponsor is not None) == sponsored
            assert int(prepared["fee"]) == transaction.authorization.origin.fee
            assert prepared["hints"]["fee"] == "1000"
            fees[sponsored] = transaction.authorization.origin.fee
        assert fees == {False: 1_000, True: 0}
        answer = await prepare(server, ACTIONS["deposit"], {**given, "sponsored": True, "fee": "508"})
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "its sponsor's" in error["message"]
