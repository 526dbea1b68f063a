"""The transactions that a regtest node has taken and not yet mined, by the rules that a sender meets.

Of Bitcoin Core's policy (``validation.cpp``, ``policy/``): the least relay fee, replacement by fee without signalling,
packages of parents and a child, limits on chains of unconfirmed transactions, dust, sizes, maturity and time locks.
Scripts are checked by Core's own interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from clarion.chains.bitcoin.coins import COINBASE_MATURITY, Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit, is_unspendable
from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.chain import BlockChain, Switch, transaction_fee

MAX_STANDARD_WEIGHT: Final = 400_000
LEAST_STRIPPED_BYTES: Final = 65
MAX_RELATIVES: Final = 25
"""Unconfirmed transactions in a line, the transaction itself included."""
MAX_REPLACED: Final = 100
MAX_PACKAGE: Final = 25
MISSING_INPUTS: Final = "missing-inputs"
_FEE_TOO_LOW: Final = "min relay fee not met"
_LOCK_TIME_THRESHOLD: Final = 500_000_000
_SEQUENCE_FINAL: Final = 0xFFFFFFFF
_SEQUENCE_DISABLED: Final = 1 << 31
_SEQUENCE_IN_TIME: Final = 1 << 22
_SEQUENCE_MASK: Final = 0xFFFF
_SEQUENCE_SECONDS: Final = 512


@dataclass(frozen=True, slots=True)
class Policy:
    """What a node relays. Feerates in satoshis per 1,000 virtual bytes.

    ``data_carrier_bytes`` is the most that OP_RETURN scripts may take together (Core's default since version 30).
    """

    min_relay: int = 1_000
    incremental_relay: int = 1_000
    data_carrier_bytes: int = 100_000


class RejectedError(Exception):
    """A transaction is not taken. ``reason`` is Core's reject reason, ``detail`` what it adds."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}, {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction that waits."""

    transaction: BitcoinTransaction
    spent: tuple[Coin, ...]
    fee: Sats
    time: int
    height: int
    """Of the chain when it came."""

    @property
    def id(self) -> bytes:
        """The transaction's id, display order."""
        return self.transaction.id

    @property
    def size(self) -> int:
        """In virtual bytes."""
        return self.transaction.virtual_size


class Mempool:
    """Waiting transactions over a chain."""

    def __init__(self, chain: BlockChain, policy: Policy) -> None:
        self._chain = chain
        self.policy = policy
        self.entries: dict[bytes, Entry] = {}
        """By transaction id (display order), each after those it spends from."""
        self._spenders: dict[OutPoint, bytes] = {}

    def spender(self, outpoint: OutPoint) -> Entry | None:
        """What spends the output, if anything here does."""
        tx_id = self._spenders.get(outpoint)
        return None if tx_id is None else self.entries[tx_id]

    def parents(self, transaction: BitcoinTransaction) -> list[Entry]:
        """Waiting transactions that it spends from directly."""
        found = dict.fromkeys(spent.tx_id for spent in transaction.inputs)
        return [self.entries[tx_id] for tx_id in found if tx_id in self.entries]

    def children(self, entry: Entry) -> list[Entry]:
        """Waiting transactions that spend from it directly."""
        outpoints = (OutPoint(entry.id, index) for index in range(len(entry.transaction.outputs)))
        found = dict.fromkeys(self._spenders[outpoint] for outpoint in outpoints if outpoint in self._spenders)
        return [self.entries[tx_id] for tx_id in found]

    def ancestors(self, transaction: BitcoinTransaction) -> list[Entry]:
        """All waiting transactions that it depends on."""
        return _reach(self.parents(transaction), lambda entry: self.parents(entry.transaction))

    def descendants(self, entry: Entry) -> list[Entry]:
        """All waiting transactions that depend on it."""
        return _reach(self.children(entry), self.children)

    def coin(self, outpoint: OutPoint) -> Coin | None:
        """An output that exists on the chain or here, spent here or not."""
        on_chain = self._chain.coins.get(outpoint)
        if on_chain is not None or outpoint.tx_id not in self.entries:
            return on_chain
        outputs = self.entries[outpoint.tx_id].transaction.outputs
        if outpoint.vout >= len(outputs):
            return None
        return Coin(outputs[outpoint.vout].amount, outputs[outpoint.vout].script, None, coinbase=False)

    def accept(self, transaction: BitcoinTransaction, *, time: int) -> tuple[Entry, ...]:
        """Take a transaction that came at Unix time ``time``; gives what it replaced.

        Raises:
            RejectedError: it breaks a rule; nothing changes.
        """
        return self._accept(transaction, time=time)

    def accept_package(self, package: Sequence[BitcoinTransaction], *, time: int) -> tuple[Entry, ...]:
        """Take a child (the last) with its unconfirmed parents, which it may pay for; gives what they replaced.

        Raises:
            RejectedError: it is no such package, or breaks a rule; nothing changes.
        """
        self._check_package(package)
        replaced: list[Entry] = []
        with self._all_or_nothing():
            poor = []
            for transaction in package:
                if transaction.id in self.entries:
                    continue
                try:
                    replaced += self._accept(transaction, time=time)
                except RejectedError as error:
                    if error.reason != _FEE_TOO_LOW:
                        raise
                    poor.append(transaction)
                    replaced += self._accept(transaction, time=time, for_free=True)
            together = [self.entries[transaction.id] for transaction in (*poor, package[-1])]
            if poor and sum(entry.fee for entry in together) < self._least_fee(sum(entry.size for entry in together)):
                raise RejectedError(_FEE_TOO_LOW, "the package as a whole pays too little")
        return tuple(replaced)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Undo at the end whatever is done within."""
        before = dict(self.entries), dict(self._spenders)
        try:
            yield
        finally:
            self.entries, self._spenders = before

    def follow(self, switch: Switch, *, time: int) -> None:
        """Go along with the chain: what was mined goes, with what it conflicts with; what came off it comes back."""
        if switch.disconnected:
            waiting = [entry.transaction for entry in self.entries.values()]
            self.entries.clear()
            self._spenders.clear()
            back = [tx for block in reversed(switch.disconnected) for tx in block.transactions if not tx.is_coinbase]
            for transaction in (*back, *waiting):
                self._take_back(transaction, time)
            return
        for block in switch.connected:
            for transaction in block.transactions:
                if transaction.id in self.entries:
                    self._remove(self.entries[transaction.id])
                for spent in transaction.inputs:
                    conflicting = self.spender(OutPoint(spent.tx_id, spent.vout))
                    if conflicting:
                        self.remove(conflicting)

    def remove(self, entry: Entry) -> None:
        """Drop an entry and what depends on it."""
        for gone in (*self.descendants(entry), entry):
            self._remove(gone)

    def selection(self, weight: int) -> list[Entry]:
        """Entries for a block of this weight: the best paying first, each after those it spends from."""
        chosen: dict[bytes, Entry] = {}
        by_feerate = sorted(self.entries.values(), key=lambda entry: -entry.fee / entry.size)
        for entry in by_feerate:
            group = [one for one in (*self.ancestors(entry.transaction), entry) if one.id not in chosen]
            needed = sum(one.transaction.weight for one in group)
            if needed <= weight:
                weight -= needed
                chosen |= {one.id: one for one in group}
        return list(chosen.values())

    def _take_back(self, transaction: BitcoinTransaction, time: int) -> None:
        try:
            self._accept(transaction, time=time, for_free=True)
        except RejectedError:
            return  # mined on the new branch, or in conflict with it

    def _accept(self, transaction: BitcoinTransaction, *, time: int, for_free: bool = False) -> tuple[Entry, ...]:
        self._check_alone(transaction)
        spent = self._spent(transaction)
        self._check_locks(transaction, spent)
        fee = transaction_fee(transaction, spent)
        if fee < 0:
            raise RejectedError("bad-txns-in-belowout")
        entry = Entry(transaction, tuple(spent), Sats(fee), time, self._chain.height)
        if not for_free and fee < self._least_fee(entry.size):
            raise RejectedError(_FEE_TOO_LOW, f"{fee} < {self._least_fee(entry.size)}")
        conflicts = self._conflicts(transaction)
        replaced = self._check_replacement(entry, conflicts) if conflicts else []
        self._check_chain_limits(transaction, {one.id for one in replaced})
        failed = self._chain.script_error(transaction, spent)
        if failed:
            raise RejectedError("mempool-script-verify-flag-failed", failed)
        for gone in replaced:
            self._remove(gone)
        self.entries[transaction.id] = entry
        for taken in transaction.inputs:
            self._spenders[OutPoint(taken.tx_id, taken.vout)] = transaction.id
        return tuple(replaced)

    def _check_alone(self, transaction: BitcoinTransaction) -> None:
        """The rules that ask nothing of the chain."""
        if not transaction.inputs:
            raise RejectedError("bad-txns-vin-empty")
        if not transaction.outputs:
            raise RejectedError("bad-txns-vout-empty")
        if transaction.is_coinbase:
            raise RejectedError("coinbase")
        if len({(spent.tx_id, spent.vout) for spent in transaction.inputs}) < len(transaction.inputs):
            raise RejectedError("bad-txns-inputs-duplicate")
        if not 1 <= transaction.version <= 3:
            raise RejectedError("version")
        if transaction.weight > MAX_STANDARD_WEIGHT:
            raise RejectedError("tx-size")
        if transaction.stripped_size < LEAST_STRIPPED_BYTES:
            raise RejectedError("tx-size-small")
        carried = 0
        for output in transaction.outputs:
            if is_unspendable(output.script):
                carried += len(output.script)
            elif output.amount < dust_limit(output.script):
                raise RejectedError("dust")
        if carried > self.policy.data_carrier_bytes:
            raise RejectedError("datacarrier")
        if transaction.id in self.entries:
            raise RejectedError("txn-already-in-mempool")
        if transaction.id in self._chain.mined:
            raise RejectedError("txn-already-known")

    def _spent(self, transaction: BitcoinTransaction) -> list[Coin]:
        coins = []
        for spent in transaction.inputs:
            coin = self.coin(OutPoint(spent.tx_id, spent.vout))
            if coin is None:
                raise RejectedError(MISSING_INPUTS)
            if coin.coinbase and coin.height is not None:
                depth = self._chain.height + 1 - coin.height
                if depth < COINBASE_MATURITY:
                    raise RejectedError(
                        "bad-txns-premature-spend-of-coinbase", f"tried to spend coinbase at depth {depth}"
                    )
            coins.append(coin)
        return coins

    def _check_locks(self, transaction: BitcoinTransaction, spent: Sequence[Coin]) -> None:
        """Absolute (BIP 113) and relative (BIP 68) time locks, as of the next block."""
        chain = self._chain
        height, median = chain.height + 1, chain.median_time(chain.tip.hash)
        lock = transaction.lock_time
        limit = height if lock < _LOCK_TIME_THRESHOLD else median
        if lock >= limit and any(taken.sequence != _SEQUENCE_FINAL for taken in transaction.inputs):
            raise RejectedError("non-final")
        if transaction.version < 2:
            return
        for taken, coin in zip(transaction.inputs, spent, strict=True):
            if taken.sequence & _SEQUENCE_DISABLED:
                continue
            since = height if coin.height is None else coin.height
            wait = taken.sequence & _SEQUENCE_MASK
            if taken.sequence & _SEQUENCE_IN_TIME:
                before = chain.median_time(chain.active[max(since - 1, 0)]) if coin.height is not None else median
                met = median >= before + wait * _SEQUENCE_SECONDS
            else:
                met = height >= since + wait
            if not met:
                raise RejectedError("non-BIP68-final")

    def _least_fee(self, size: int) -> int:
        return -(-self.policy.min_relay * size // 1_000)

    def _conflicts(self, transaction: BitcoinTransaction) -> list[Entry]:
        found = (self.spender(OutPoint(spent.tx_id, spent.vout)) for spent in transaction.inputs)
        return list({entry.id: entry for entry in found if entry}.values())

    def _check_replacement(self, entry: Entry, conflicts: Sequence[Entry]) -> list[Entry]:
        """The rules of replacement (BIP 125 without its signal); gives everything that goes."""
        gone = list({one.id: one for conflict in conflicts for one in (*self.descendants(conflict), conflict)}.values())
        ids = {one.id for one in gone}
        if any(ancestor.id in ids for ancestor in self.ancestors(entry.transaction)):
            raise RejectedError("bad-txns-spends-conflicting-tx")
        if len(gone) > MAX_REPLACED:
            raise RejectedError("too many potential replacements", f"{len(gone)} > {MAX_REPLACED}")
        known = {spent.tx_id for conflict in conflicts for spent in conflict.transaction.inputs}
        if any(spent.tx_id in self.entries and spent.tx_id not in known for spent in entry.transaction.inputs):
            raise RejectedError("replacement-adds-unconfirmed")
        for conflict in conflicts:
            if entry.fee * conflict.size <= conflict.fee * entry.size:
                raise RejectedError(
                    "insufficient fee", "the feerate is not above that of what it would replace: " + conflict.id.hex()
                )
        least = sum(one.fee for one in gone) + -(-self.policy.incremental_relay * entry.size // 1_000)
        if entry.fee < least:
            raise RejectedError("insufficient fee", f"{entry.fee} satoshis are less than the {least} it takes")
        return gone

    def _check_chain_limits(self, transaction: BitcoinTransaction, leaving: set[bytes]) -> None:
        ancestors = [one for one in self.ancestors(transaction) if one.id not in leaving]
        if len(ancestors) + 1 > MAX_RELATIVES:
            raise RejectedError("too-long-mempool-chain", "too many unconfirmed ancestors")
        for ancestor in ancestors:
            if len([one for one in self.descendants(ancestor) if one.id not in leaving]) + 2 > MAX_RELATIVES:
                raise RejectedError("too-long-mempool-chain", f"exceeds descendant size limit for {ancestor.id.hex()}")

    def _check_package(self, package: Sequence[BitcoinTransaction]) -> None:
        if len(package) > MAX_PACKAGE:
            raise RejectedError("package-too-many-transactions")
        if len({transaction.id for transaction in package}) < len(package):
            raise RejectedError("package-contains-duplicates")
        needed = {spent.tx_id for spent in package[-1].inputs}
        if any(transaction.id not in needed for transaction in package[:-1]):
            raise RejectedError("package-not-child-with-parents")

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        before = dict(self.entries), dict(self._spenders)
        try:
            yield
        except RejectedError:
            self.entries, self._spenders = before
            raise

    def _remove(self, entry: Entry) -> None:
        if self.entries.pop(entry.id, None) is None:
            return
        for spent in entry.transaction.inputs:
            self._spenders.pop(OutPoint(spent.tx_id, spent.vout), None)


def _reach(first: Iterable[Entry], step: Callable[[Entry], list[Entry]]) -> list[Entry]:
    """Everything that steps lead to, nearest last: what is depended on comes before what depends on it."""
    found: dict[bytes, Entry] = {}

    def visit(entry: Entry) -> None:
        if entry.id not in found:
            for further in step(entry):
                visit(further)
            found[entry.id] = entry

    for entry in first:
        visit(entry)
    return list(found.values())
