"""What the regtest node answers: Bitcoin Core's methods by their names, parameters, results and errors.

``fork`` and ``mineonblock`` are its own: they make the reorganizations that Core has no method for.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from clarion.chains.bitcoin.addresses import AddressError, script_of
from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    TransactionError,
    double_sha256,
    parse_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import SATS_PER_BITCOIN
from clarion.dev.bitcoin.chain import ChainBlock, UnknownBlockError, block_fees
from clarion.dev.bitcoin.forms import (
    Form,
    bitcoins,
    block_form,
    chain_work,
    entry_form,
    header_form,
    script_form,
    transaction_form,
)
from clarion.dev.bitcoin.kernel import BlockRejectedError
from clarion.dev.bitcoin.mempool import MAX_PACKAGE, MISSING_INPUTS, Entry, RejectedError
from clarion.dev.bitcoin.miner import REGTEST_BITS, TARGET
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.rpc_errors import Code, RpcError

VERSION: Final = 300_000
"""The release of Core whose answers these are: 30.0."""
SUBVERSION: Final = "/Clarion regtest:30.0.0/"
MAX_FEE_RATE: Final = Decimal("0.10")
"""Bitcoins per 1,000 virtual bytes above which a transaction is taken for a mistake."""
MAX_BLOCKS_A_CALL: Final = 1_000
FEE_BLOCKS: Final = 25
"""Newest blocks that feerates are estimated from."""

Clock = Callable[[], int]


class RpcMethods:
    """The methods of one node. ``clock`` gives the Unix time of what is done now."""

    def __init__(self, node: RegtestNode, clock: Clock) -> None:
        self._node = node
        self._chain = node.chain
        self._mempool = node.mempool
        self._clock = clock
        self._tip_changed = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Answer those who wait for a block: the node ends."""
        self._stopping = True
        self._announce()

    def names(self) -> Iterator[str]:
        """Of all methods."""
        ours = ("names", "stop")
        return (name for name in vars(type(self)) if name.islower() and not name.startswith("_") and name not in ours)

    # --- the chain

    def getblockchaininfo(self) -> Form:
        """State of the chain."""
        tip = self._chain.tip
        return {
            "chain": "regtest",
            "blocks": tip.height,
            "headers": tip.height,
            "bestblockhash": tip.hash.hex(),
            "bits": f"{REGTEST_BITS:08x}",
            "target": f"{TARGET:064x}",
            "difficulty": Decimal("4.656542373906925e-10"),
            "time": tip.header.time,
            "mediantime": self._chain.median_time(tip.hash),
            "verificationprogress": 1,
            "initialblockdownload": False,
            "chainwork": chain_work(tip.height),
            "size_on_disk": sum(len(block.raw) for block in self._chain.blocks.values()),
            "pruned": False,
            "warnings": [],
        }

    def getblockcount(self) -> int:
        """Height of the tip."""
        return self._chain.height

    def getbestblockhash(self) -> str:
        """Hash of the tip."""
        return self._chain.tip.hash.hex()

    def getblockhash(self, height: int) -> str:
        """Hash of the chain's block at a height."""
        _whole(height, "height")
        if not 0 <= height <= self._chain.height:
            raise RpcError(Code.INVALID_PARAMETER, "Block height out of range")
        return self._chain.active[height].hex()

    def getblockheader(self, blockhash: str, verbose: bool = True) -> Form | str:
        """A block's header, in hexadecimal unless ``verbose``."""
        block = self._block(blockhash)
        return header_form(self._chain, block) if verbose else block.raw[:80].hex()

    def getblock(self, blockhash: str, verbosity: int | bool = 1) -> Form | str:
        """A block, in hexadecimal or with more the higher ``verbosity`` (0 to 3) is."""
        block = self._block(blockhash)
        return block_form(self._chain, block, verbosity=int(verbosity)) if int(verbosity) else block.raw.hex()

    def getchaintips(self) -> list[Form]:
        """The last block of every branch, the highest first."""
        tips = sorted(self._chain.tips(), key=lambda block: -block.height)
        if self._chain.tip not in tips:
            tips.append(self._chain.tip)
        return [self._tip_form(block) for block in tips]

    def gettxout(self, txid: str, n: int, include_mempool: bool = True) -> Form | None:
        """An output that is not spent, or nothing."""
        outpoint = OutPoint(_hash(txid, "txid"), _whole(n, "n"))
        coin = self._chain.coins.get(outpoint)
        if include_mempool:
            coin = None if self._mempool.spender(outpoint) else self._mempool.coin(outpoint)
        if coin is None:
            return None
        return {
            "bestblock": self._chain.tip.hash.hex(),
            "confirmations": 0 if coin.height is None else self._chain.height - coin.height + 1,
            "value": bitcoins(coin.amount),
            "scriptPubKey": script_form(coin.script),
            "coinbase": coin.coinbase,
        }

    def scantxoutset(self, action: str, scanobjects: Sequence[str] = ()) -> Form:
        """All unspent outputs under ``addr(..)`` or ``raw(..)`` scripts."""
        if action != "start":
            raise RpcError(Code.INVALID_PARAMETER, f"Invalid action '{action}'")
        scripts = {_described_script(text): text for text in scanobjects}
        found: list[Form] = [
            {
                "txid": outpoint.tx_id.hex(),
                "vout": outpoint.vout,
                "scriptPubKey": coin.script.hex(),
                "desc": scripts[coin.script],
                "amount": bitcoins(coin.amount),
                "coinbase": coin.coinbase,
                "height": coin.height,
                "blockhash": self._chain.active[coin.height].hex(),
                "confirmations": self._chain.height - coin.height + 1,
            }
            for outpoint, coin in self._chain.coins.items()
            if coin.script in scripts and coin.height is not None
        ]
        return {
            "success": True,
            "txouts": len(self._chain.coins),
            "height": self._chain.height,
            "bestblock": self._chain.tip.hash.hex(),
            "unspents": found,
            "total_amount": sum((one["amount"] for one in found), Decimal(0)),
        }

    async def waitfornewblock(self, timeout: int = 0, current_tip: str | None = None) -> Form:  # noqa: ASYNC109 (Core's)
        """The tip, once it is another than ``current_tip`` or than now; ``timeout`` in milliseconds, 0: for ever."""
        seen = _hash(current_tip, "current_tip") if current_tip else self._chain.tip.hash
        try:
            async with asyncio.timeout(_whole(timeout, "timeout") / 1_000 or None):
                while self._chain.tip.hash == seen and not self._stopping:
                    await self._tip_changed.wait()
        except TimeoutError:
            pass
        return {"hash": self._chain.tip.hash.hex(), "height": self._chain.height}

    def submitblock(self, hexdata: str, dummy: str = "") -> str | None:
        """Take a block; gives why not, or nothing."""
        del dummy
        try:
            self._node.submit(_bytes(hexdata, "Block decode failed"), time=self._clock())
        except BlockRejectedError as error:
            if error.reason == "block decode failed":
                raise RpcError(Code.DESERIALIZATION, "Block decode failed") from None
            return error.reason
        self._announce()
        return None

    def invalidateblock(self, blockhash: str) -> None:
        """Treat a block as invalid."""
        try:
            self._node.invalidate(self._block(blockhash).hash, time=self._clock())
        except BlockRejectedError as error:
            raise RpcError(Code.INVALID_PARAMETER, error.reason) from None
        self._announce()

    def reconsiderblock(self, blockhash: str) -> None:
        """Take back `invalidateblock`."""
        self._node.reconsider(self._block(blockhash).hash, time=self._clock())
        self._announce()

    # --- transactions

    def getrawtransaction(self, txid: str, verbosity: int | bool = 0, blockhash: str | None = None) -> Form | str:
        """A transaction that waits or is mined (or is in the given block)."""
        tx_id = _hash(txid, "parameter 1")
        block: ChainBlock | None
        if blockhash is not None:
            block = self._block(blockhash)
            transaction = next((one for one in block.transactions if one.id == tx_id), None)
            if transaction is None:
                raise RpcError(
                    Code.INVALID_ADDRESS_OR_KEY, "No such transaction found in the provided block. Use gettransaction "
                    "for wallet transactions."
                )  # fmt: skip
        else:
            mined = self._chain.mined.get(tx_id)
            block = self._chain.blocks[mined] if mined else None
            transaction = self._node.transaction(tx_id) if mined or tx_id in self._mempool.entries else None
            if transaction is None:
                raise RpcError(
                    Code.INVALID_ADDRESS_OR_KEY,
                    "No such mempool or blockchain transaction. Use gettransaction for wallet transactions.",
                )
        if not int(verbosity):
            return write_transaction(transaction).hex()
        spent = None
        if int(verbosity) >= 2 and block and len(block.spent) == len(block.transactions):
            spent = block.spent[block.transactions.index(transaction)]
        form = transaction_form(transaction, spent=spent)
        if block is None:
            return form
        on_chain = self._chain.on_chain(block)
        if blockhash is not None:
            form["in_active_chain"] = on_chain
        return form | {
            "blockhash": block.hash.hex(),
            "confirmations": self._chain.height - block.height + 1 if on_chain else 0,
            "time": block.header.time,
            "blocktime": block.header.time,
        }

    def decoderawtransaction(self, hexstring: str) -> Form:
        """What serialized bytes say."""
        form = transaction_form(_transaction(hexstring))
        del form["hex"]
        return form

    def getrawmempool(self, verbose: bool = False) -> list[str] | Form:
        """Ids of what waits; ``verbose`` with entries."""
        entries = self._mempool.entries.values()
        if verbose:
            return {entry.id.hex(): entry_form(self._mempool, entry) for entry in entries}
        return [entry.id.hex() for entry in entries]

    def getmempoolentry(self, txid: str) -> Form:
        """A transaction that waits."""
        entry = self._mempool.entries.get(_hash(txid, "txid"))
        if entry is None:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Transaction not in mempool")
        return entry_form(self._mempool, entry)

    def getmempoolinfo(self) -> Form:
        """State of what waits."""
        entries, policy = self._mempool.entries.values(), self._mempool.policy
        return {
            "loaded": True,
            "size": len(entries),
            "bytes": sum(entry.size for entry in entries),
            "total_fee": bitcoins(sum(entry.fee for entry in entries)),
            "mempoolminfee": bitcoins(policy.min_relay),
            "minrelaytxfee": bitcoins(policy.min_relay),
            "incrementalrelayfee": bitcoins(policy.incremental_relay),
            "unbroadcastcount": 0,
            "fullrbf": True,
            "permitbaremultisig": True,
            "maxdatacarriersize": policy.data_carrier_bytes,
        }

    def gettxspendingprevout(self, outputs: Sequence[dict[str, Any]]) -> list[Form]:
        """Which waiting transactions spend these outputs."""
        if not outputs:
            raise RpcError(Code.INVALID_PARAMETER, "Invalid parameter, outputs are missing")
        forms = []
        for output in outputs:
            spender = self._mempool.spender(
                OutPoint(_hash(output.get("txid"), "txid"), _whole(output.get("vout"), "vout"))
            )
            form: Form = {"txid": output["txid"], "vout": output["vout"]}
            forms.append(form | {"spendingtxid": spender.id.hex()} if spender else form)
        return forms

    def sendrawtransaction(
        self, hexstring: str, maxfeerate: Decimal | str | float = MAX_FEE_RATE, maxburnamount: Decimal | str | float = 0
    ) -> str:
        """Take a transaction; gives its id."""
        del maxburnamount  # Charms burn nothing, and nobody else's mistakes are made here
        transaction = _transaction(hexstring)
        if transaction.id in self._mempool.entries:
            return transaction.id.hex()
        if transaction.id in self._chain.mined:
            raise RpcError(Code.VERIFY_ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set")
        try:
            with self._mempool.trial():
                self._mempool.accept(transaction, time=self._clock())
                entry = self._mempool.entries[transaction.id]
            if _is_absurd(entry, maxfeerate):
                raise RpcError(Code.VERIFY, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)")
            self._mempool.accept(transaction, time=self._clock())
        except RejectedError as error:
            raise _rejection(error) from None
        return transaction.id.hex()

    def testmempoolaccept(self, rawtxs: Sequence[str], maxfeerate: Decimal | str | float = MAX_FEE_RATE) -> list[Form]:
        """What would become of transactions if they were sent, one after the other."""
        if not 1 <= len(rawtxs) <= MAX_PACKAGE:
            raise RpcError(Code.INVALID_PARAMETER, f"Array must contain between 1 and {MAX_PACKAGE} transactions.")
        transactions = [_transaction(text) for text in rawtxs]
        with self._mempool.trial():
            return [self._tried(transaction, maxfeerate) for transaction in transactions]

    def submitpackage(self, package: Sequence[str], maxfeerate: Decimal | str | float = MAX_FEE_RATE) -> Form:
        """Take a child with the parents that it pays for."""
        if not 1 <= len(package) <= MAX_PACKAGE:
            raise RpcError(Code.INVALID_PARAMETER, f"Array must contain between 1 and {MAX_PACKAGE} transactions.")
        transactions = [_transaction(text) for text in package]
        try:
            replaced = self._mempool.accept_package(transactions, time=self._clock())
        except RejectedError as error:
            failed = {_witness_id(one): {"txid": one.id.hex(), "error": error.reason} for one in transactions}
            return {"package_msg": "transaction failed", "tx-results": failed, "replaced-transactions": []}
        del maxfeerate
        results = {}
        for transaction in transactions:
            entry = self._mempool.entries[transaction.id]
            results[_witness_id(transaction)] = {
                "txid": transaction.id.hex(),
                "vsize": entry.size,
                "fees": {"base": bitcoins(entry.fee)},
            }
        return {
            "package_msg": "success",
            "tx-results": results,
            "replaced-transactions": [entry.id.hex() for entry in replaced],
        }

    def estimatesmartfee(self, conf_target: int, estimate_mode: str = "economical") -> Form:
        """The median feerate of what the newest blocks mined, in bitcoins per 1,000 virtual bytes."""
        del estimate_mode
        _whole(conf_target, "conf_target")
        rates = []
        for digest in self._chain.active[-FEE_BLOCKS:]:
            block = self._chain.blocks[digest]
            fees = block_fees(block)
            sizes = [transaction.virtual_size for transaction in block.transactions]
            rates += [fee * 1_000 // size for fee, size in zip(fees[1:], sizes[1:], strict=True)]
        if not rates:
            return {"errors": ["Insufficient data or no feerate found"], "blocks": conf_target}
        rate = max(statistics.median_low(rates), self._mempool.policy.min_relay)
        return {"feerate": bitcoins(rate), "blocks": conf_target}

    # --- mining

    def generatetoaddress(self, nblocks: int, address: str, maxtries: int = 1_000_000) -> list[str]:
        """Mine blocks of what waits."""
        del maxtries
        if not 0 <= _whole(nblocks, "nblocks") <= MAX_BLOCKS_A_CALL:
            raise RpcError(Code.INVALID_PARAMETER, f"0 to {MAX_BLOCKS_A_CALL} blocks a call")
        blocks = self._node.mine(nblocks, _script(address), time=self._clock())
        self._announce()
        return [block.hash.hex() for block in blocks]

    def generateblock(self, output: str, transactions: Sequence[str], submit: bool = True) -> Form:
        """Mine one block of exactly these transactions: raw, or ids of such that wait."""
        if not submit:
            raise RpcError(Code.INVALID_PARAMETER, "blocks are made to be submitted here")
        return self.mineonblock(self._chain.tip.hash.hex(), output, transactions)

    def mineonblock(self, blockhash: str, output: str, transactions: Sequence[str] = ()) -> Form:
        """Mine one block of exactly these transactions on any block."""
        chosen = [self._given(text) for text in transactions]
        try:
            block = self._node.mine_on(self._block(blockhash).hash, chosen, _script(output), time=self._clock())
        except BlockRejectedError as error:
            raise RpcError(Code.VERIFY, f"TestBlockValidity failed: {error.reason}") from None
        self._announce()
        return {"hash": block.hash.hex()}

    def fork(self, depth: int, address: str, blocks: int | None = None, keep_transactions: bool = True) -> Form:
        """Replace the newest blocks by a longer branch; see `RegtestNode.fork`."""
        try:
            switch = self._node.fork(
                _whole(depth, "depth"), _script(address), time=self._clock(), blocks=blocks,
                keep_transactions=keep_transactions,
            )  # fmt: skip
        except ValueError as error:
            raise RpcError(Code.INVALID_PARAMETER, str(error)) from None
        self._announce()
        return {
            "disconnected": [block.hash.hex() for block in switch.disconnected],
            "connected": [block.hash.hex() for block in switch.connected],
        }

    # --- the node

    def getnetworkinfo(self) -> Form:
        """What the node is."""
        policy = self._mempool.policy
        return {
            "version": VERSION,
            "subversion": SUBVERSION,
            "protocolversion": 70_016,
            "localrelay": True,
            "networkactive": False,
            "connections": 0,
            "connections_in": 0,
            "connections_out": 0,
            "networks": [],
            "relayfee": bitcoins(policy.min_relay),
            "incrementalfee": bitcoins(policy.incremental_relay),
            "localaddresses": [],
            "warnings": [],
        }

    def getzmqnotifications(self) -> list[Form]:
        """None: `waitfornewblock` tells of new blocks."""
        return []

    def getindexinfo(self) -> Form:
        """All transactions are indexed."""
        return {"txindex": {"synced": True, "best_block_height": self._chain.height}}

    def _announce(self) -> None:
        self._tip_changed.set()
        self._tip_changed = asyncio.Event()

    def _block(self, text: object) -> ChainBlock:
        try:
            return self._chain.block(_hash(text, "blockhash"))
        except UnknownBlockError:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, "Block not found") from None

    def _tip_form(self, block: ChainBlock) -> Form:
        length = next(at for at, one in enumerate(self._chain.ancestors(block.hash)) if self._chain.on_chain(one))
        status = "active" if length == 0 else "invalid" if self._chain.is_invalid(block) else "valid-fork"
        return {"height": block.height, "hash": block.hash.hex(), "branchlen": length, "status": status}

    def _given(self, text: str) -> BitcoinTransaction:
        if len(text) != 64:
            return _transaction(text)
        entry = self._mempool.entries.get(_hash(text, "transaction"))
        if entry is None:
            raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"Transaction {text} not in mempool.")
        return entry.transaction

    def _tried(self, transaction: BitcoinTransaction, maxfeerate: Decimal | str | float) -> Form:
        form: Form = {"txid": transaction.id.hex(), "wtxid": _witness_id(transaction)}
        try:
            self._mempool.accept(transaction, time=self._clock())
        except RejectedError as error:
            refused = {"allowed": False, "reject-reason": error.reason}
            return form | refused | ({"reject-details": str(error)} if error.detail else {})
        entry = self._mempool.entries[transaction.id]
        if _is_absurd(entry, maxfeerate):
            return form | {"allowed": False, "reject-reason": "max-fee-exceeded"}
        return form | {"allowed": True, "vsize": entry.size, "fees": {"base": bitcoins(entry.fee)}}


def _rejection(error: RejectedError) -> RpcError:
    if error.reason == MISSING_INPUTS:
        return RpcError(Code.VERIFY, "bad-txns-inputs-missingorspent")
    return RpcError(Code.VERIFY_REJECTED, str(error))


def _is_absurd(entry: Entry, maxfeerate: Decimal | str | float) -> bool:
    limit = Decimal(str(maxfeerate)) * SATS_PER_BITCOIN
    return limit > 0 and entry.fee * 1_000 > limit * entry.size


def _witness_id(transaction: BitcoinTransaction) -> str:
    return double_sha256(write_transaction(transaction))[::-1].hex()


def _transaction(text: str) -> BitcoinTransaction:
    failed = "TX decode failed. Make sure the tx has at least one input."
    try:
        return parse_transaction(_bytes(text, failed))
    except TransactionError:
        raise RpcError(Code.DESERIALIZATION, failed) from None


def _bytes(text: object, failed: str) -> bytes:
    if not isinstance(text, str):
        raise RpcError(Code.TYPE, f"JSON value of type {_json_type(text)} is not of expected type string")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RpcError(Code.DESERIALIZATION, failed) from None


def _hash(text: object, name: str) -> bytes:
    if not isinstance(text, str):
        raise RpcError(Code.TYPE, f"JSON value of type {_json_type(text)} is not of expected type string")
    if len(text) != 64:
        raise RpcError(Code.INVALID_PARAMETER, f"{name} must be of length 64 (not {len(text)}, for '{text}')")
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise RpcError(Code.INVALID_PARAMETER, f"{name} must be hexadecimal string (not '{text}')") from None


def _whole(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise RpcError(Code.TYPE, f"JSON value of type {_json_type(value)} for {name} is not of expected type number")
    return value


def _json_type(value: object) -> str:
    names = {str: "string", bool: "bool", int: "number", float: "number", list: "array", dict: "object"}
    return "null" if value is None else names.get(type(value), "object")


def _script(text: str) -> bytes:
    """The script of an address, or of ``raw(hex)``."""
    if text.startswith("raw(") and text.endswith(")"):
        return _bytes(text[4:-1], "script is not hexadecimal")
    try:
        return script_of(text, BitcoinNetwork.REGTEST)
    except AddressError as error:
        raise RpcError(Code.INVALID_ADDRESS_OR_KEY, f"Error: Invalid address: {error}") from None


def _described_script(text: str) -> bytes:
    return _script(text[5:-1] if text.startswith("addr(") and text.endswith(")") else text)
