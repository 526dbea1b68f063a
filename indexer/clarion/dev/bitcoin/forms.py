"""Blocks and transactions as Bitcoin Core's RPC shows them.

Disassembled scripts (``asm``) and descriptors (``desc``) are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scripts import script_type
from clarion.chains.bitcoin.transactions import BitcoinTransaction, double_sha256, write_transaction
from clarion.chains.bitcoin.units import SATS_PER_BITCOIN
from clarion.dev.bitcoin.chain import BlockChain, ChainBlock, block_fees
from clarion.dev.bitcoin.mempool import Entry, Mempool
from clarion.dev.bitcoin.miner import REGTEST_BITS, TARGET

Form = dict[str, Any]

_PLACES = Decimal("0.00000001")


def bitcoins(sats: int) -> Decimal:
    """An amount in bitcoins, with eight places."""
    return (Decimal(sats) / SATS_PER_BITCOIN).quantize(_PLACES)


def chain_work(height: int) -> str:
    """The work of a chain up to this height; each block of regtest stands for two hashes."""
    return f"{2 * (height + 1):064x}"


def header_form(chain: BlockChain, block: ChainBlock) -> Form:
    """As `getblockheader` shows it."""
    on_chain = chain.on_chain(block)
    form: Form = {
        "hash": block.hash.hex(),
        "confirmations": chain.height - block.height + 1 if on_chain else -1,
        "height": block.height,
        "version": block.header.version,
        "versionHex": f"{block.header.version:08x}",
        "merkleroot": block.header.merkle_root.hex(),
        "time": block.header.time,
        "mediantime": chain.median_time(block.hash),
        "nonce": block.header.nonce,
        "bits": f"{REGTEST_BITS:08x}",
        "target": f"{TARGET:064x}",
        "difficulty": Decimal("4.656542373906925e-10"),
        "chainwork": chain_work(block.height),
        "nTx": len(block.transactions),
    }
    if block.height:
        form["previousblockhash"] = block.parent.hex()
    if on_chain and block.height < chain.height:
        form["nextblockhash"] = chain.active[block.height + 1].hex()
    return form


def block_form(chain: BlockChain, block: ChainBlock, *, verbosity: int) -> Form:
    """As `getblock` shows it: 1 with ids, 2 with transactions, 3 also with the outputs that they spend."""
    stripped = sum(transaction.stripped_size for transaction in block.transactions)
    around = len(block.raw) - sum(transaction.size for transaction in block.transactions)
    form = header_form(chain, block) | {
        "strippedsize": stripped + around,
        "size": len(block.raw),
        "weight": 3 * (stripped + around) + len(block.raw),
        "tx": [transaction.id.hex() for transaction in block.transactions],
    }
    if verbosity >= 2:
        known = len(block.spent) == len(block.transactions)
        fees = block_fees(block) if known else [0] * len(block.transactions)
        form["tx"] = []
        for index, transaction in enumerate(block.transactions):
            spent = block.spent[index] if known and verbosity >= 3 else None
            shown = transaction_form(transaction, spent=spent)
            if known and not transaction.is_coinbase:
                shown["fee"] = bitcoins(fees[index])
            form["tx"].append(shown)
    return form


def transaction_form(transaction: BitcoinTransaction, *, spent: Sequence[Coin] | None = None) -> Form:
    """As `decoderawtransaction` shows it, with ``hex``; with ``spent`` also the outputs that it spends."""
    raw = write_transaction(transaction)
    return {
        "txid": transaction.id.hex(),
        "hash": double_sha256(raw)[::-1].hex(),
        "version": transaction.version,
        "size": transaction.size,
        "vsize": transaction.virtual_size,
        "weight": transaction.weight,
        "locktime": transaction.lock_time,
        "vin": [_input_form(transaction, index, spent) for index in range(len(transaction.inputs))],
        "vout": [
            {"value": bitcoins(output.amount), "n": index, "scriptPubKey": script_form(output.script)}
            for index, output in enumerate(transaction.outputs)
        ],
        "hex": raw.hex(),
    }


def script_form(script: bytes) -> Form:
    """A locking script."""
    form: Form = {"hex": script.hex(), "type": script_type(script)}
    address = address_of(script, BitcoinNetwork.REGTEST)
    return form | {"address": address} if address else form


def entry_form(mempool: Mempool, entry: Entry) -> Form:
    """As `getmempoolentry` shows it."""
    ancestors, descendants = mempool.ancestors(entry.transaction), mempool.descendants(entry)
    return {
        "vsize": entry.size,
        "weight": entry.transaction.weight,
        "time": entry.time,
        "height": entry.height,
        "descendantcount": len(descendants) + 1,
        "descendantsize": sum(one.size for one in descendants) + entry.size,
        "ancestorcount": len(ancestors) + 1,
        "ancestorsize": sum(one.size for one in ancestors) + entry.size,
        "wtxid": double_sha256(write_transaction(entry.transaction))[::-1].hex(),
        "fees": {
            "base": bitcoins(entry.fee),
            "modified": bitcoins(entry.fee),
            "ancestor": bitcoins(sum(one.fee for one in ancestors) + entry.fee),
            "descendant": bitcoins(sum(one.fee for one in descendants) + entry.fee),
        },
        "depends": [one.id.hex() for one in mempool.parents(entry.transaction)],
        "spentby": [one.id.hex() for one in mempool.children(entry)],
        "bip125-replaceable": True,
        "unbroadcast": False,
    }


def _input_form(transaction: BitcoinTransaction, index: int, spent: Sequence[Coin] | None) -> Form:
    taken = transaction.inputs[index]
    form: Form
    if transaction.is_coinbase:
        form = {"coinbase": taken.script.hex()}
    else:
        form = {"txid": taken.tx_id.hex(), "vout": taken.vout, "scriptSig": {"hex": taken.script.hex()}}
    if taken.witness:
        form["txinwitness"] = [item.hex() for item in taken.witness]
    if spent:
        coin = spent[index]
        form["prevout"] = {
            "generated": coin.coinbase,
            "height": coin.height,
            "value": bitcoins(coin.amount),
            "scriptPubKey": script_form(coin.script),
        }
    return form | {"sequence": taken.sequence}
