"""Every transaction and value that real nodes sent: read, write, compare."""

from collections import Counter
from typing import Any

from clarion.chains.stacks import clarity
from clarion.chains.stacks.clarity_forms import decode_json, decode_python, to_json, to_python
from clarion.chains.stacks.payloads import TokenTransfer
from clarion.chains.stacks.signing import verify
from clarion.chains.stacks.transactions import decode_transaction_hex

Payloads = list[tuple[str, Any]]


def test_every_mined_transaction_is_rewritten_identically_and_signed_by_its_sender(recorded_payloads: Payloads) -> None:
    kinds: Counter[str] = Counter()
    for path, block in recorded_payloads:
        if path != "/new_block":
            continue
        for mined in block["transactions"]:
            if mined["raw_tx"] == "0x00":
                continue
            transaction = decode_transaction_hex(mined["raw_tx"])
            assert "0x" + transaction.encode().hex() == mined["raw_tx"]
            assert "0x" + transaction.txid.hex() == mined["txid"]
            assert verify(transaction).origin == transaction.sender
            kinds[transaction.payload.kind] += 1
    assert kinds.total() > 200
    assert {"contract_call", "poison_microblock", "smart_contract", "tenure_change", "nakamoto_coinbase"} <= set(kinds)


def test_every_pending_transaction_is_rewritten_identically(recorded_payloads: Payloads) -> None:
    pending = [raw for path, batch in recorded_payloads if path == "/new_mempool_tx" for raw in batch]
    for raw in pending:
        transaction = decode_transaction_hex(raw)
        assert "0x" + transaction.encode().hex() == raw
        assert verify(transaction).origin == transaction.sender
    assert len(pending) > 10


def test_every_event_value_and_result_is_rewritten_identically(recorded_payloads: Payloads) -> None:
    texts = []
    for path, block in recorded_payloads:
        if path == "/new_block":
            texts += [mined["raw_result"] for mined in block["transactions"]]
            details = [event[event["type"]] for event in block["events"]]
            texts += [detail["raw_value"] for detail in details if "raw_value" in detail]
    for text in texts:
        value = clarity.decode_hex(text)
        raw = clarity.encode(value)
        assert "0x" + raw.hex() == text
        assert decode_python(raw) == to_python(value)
        assert decode_json(raw) == to_json(value)
    assert len(texts) > 300


def test_transfers_in_a_block_match_the_transactions_that_asked_for_them(recorded_payloads: Payloads) -> None:
    checked = 0
    for path, block in recorded_payloads:
        if path != "/new_block":
            continue
        transactions = {mined["txid"]: mined for mined in block["transactions"]}
        for event in block["events"]:
            mined = transactions.get(event["txid"])
            if event["type"] != "stx_transfer_event" or mined is None or mined["raw_tx"] == "0x00":
                continue
            transaction = decode_transaction_hex(mined["raw_tx"])
            if not isinstance(transaction.payload, TokenTransfer):
                continue
            moved = event["stx_transfer_event"]
            assert str(transaction.sender) == moved["sender"]
            assert str(transaction.payload.recipient) == moved["recipient"]
            assert transaction.payload.amount == int(moved["amount"])
            checked += 1
    assert checked > 10
