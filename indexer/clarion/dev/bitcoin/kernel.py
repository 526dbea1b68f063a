"""Bitcoin Core's consensus code (libbitcoinkernel through ``py-bitcoinkernel``), on regtest.

It says which blocks are valid and which chain is the best; it keeps its blocks in a temporary folder.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol

FOLDER_PREFIX: Final = "clarion-regtest-"
_REFUSAL_MARKS: Final = (" failed, ", "AcceptBlock FAILED (")
"""What stands before the reason in the lines that Core logs: its interface gives only a class of reasons."""


class KernelMissingError(Exception):
    """``py-bitcoinkernel`` is not installed; the message says how to install it."""


class BlockRejectedError(Exception):
    """The consensus rules refuse a block. ``reason`` is Core's word for it (``bad-txns-inputs-missingorspent``)."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the block was refused: {reason}")
        self.reason = reason


class SpentOutput(Protocol):
    """The output that an input spends."""

    @property
    def amount(self) -> int:
        """In satoshis."""

    @property
    def script(self) -> bytes:
        """Its locking script."""


def _load() -> ModuleType:
    try:
        return importlib.import_module("pbk")
    except ImportError as error:
        raise KernelMissingError(
            "Bitcoin's regtest needs the package py-bitcoinkernel, which is among the development dependencies. "
            "Install them with `make setup` or `pip install py-bitcoinkernel`."
        ) from error


def remove_leftovers(within: Path) -> None:
    """Remove the folders of kernels that were killed; none may run in ``within``."""
    for leftover in within.glob(f"{FOLDER_PREFIX}*"):
        shutil.rmtree(leftover)


class Kernel:
    """A regtest chain without a mempool. Hashes are in display order. Use it from one thread and close it.

    Its files are in a folder of their own in ``within`` (or where temporary files are), which goes when it is closed.

    Raises:
        KernelMissingError: the library is not installed.
    """

    def __init__(self, within: Path | None = None) -> None:
        self._pbk: Any = _load()
        self._folder = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=within)
        self._refusal: str | None = None
        self._said: list[str] = []
        pbk = self._pbk
        self._log = pbk.LoggingConnection(self._hear)
        context = pbk.ContextOptions()
        context.set_chainparams(pbk.ChainParameters(pbk.ChainType.REGTEST))
        context.set_validation_interface(pbk.ValidationInterfaceCallbacks(block_checked=self._checked))
        folder = self._folder.name
        options = pbk.ChainstateManagerOptions(pbk.Context(context), folder, str(Path(folder) / "blocks"))
        options.update_block_tree_db_in_memory(True)
        options.update_chainstate_db_in_memory(True)
        options.set_worker_threads_num(0)
        self._manager: Any = pbk.ChainstateManager(options)
        self._chain: Any = self._manager.get_active_chain()

    def close(self) -> None:
        """Forget the chain and its files."""
        self._chain = self._manager = self._log = None
        self._folder.cleanup()

    @property
    def height(self) -> int:
        """Of the best block."""
        return int(self._chain.height)

    def hash_at(self, height: int) -> bytes:
        """Hash of the best chain's block at this height."""
        return bytes(self._chain.block_tree_entries[height].block_hash)[::-1]

    def genesis(self) -> bytes:
        """The first block, serialized."""
        return bytes(self._manager.blocks[self._chain.block_tree_entries[0]])

    def submit(self, block: bytes) -> None:
        """Hand in a serialized block. One that is valid but not on the best chain is kept and validated later.

        Raises:
            BlockRejectedError: it breaks a rule, its parent is unknown, or it cannot be read. The chain is unchanged.
        """
        try:
            parsed = self._pbk.Block(block)
        except RuntimeError:
            raise BlockRejectedError("bad-block") from None
        self._refusal = None
        self._said.clear()
        try:
            self._manager.process_block(parsed)
        except self._pbk.ProcessBlockException:
            raise BlockRejectedError(self._reason("rejected")) from None
        if self._refusal is not None:
            raise BlockRejectedError(self._reason(self._refusal))

    def script_error(self, transaction: bytes, spent: Sequence[SpentOutput]) -> str | None:
        """Why the transaction may not spend these outputs, or None where every input's script is satisfied."""
        pbk = self._pbk
        parsed = pbk.Transaction(transaction)
        outputs = [pbk.TransactionOutput(pbk.ScriptPubkey(coin.script), coin.amount) for coin in spent]
        data = pbk.script.PrecomputedTransactionData(parsed, outputs)
        for index, coin in enumerate(spent):
            try:
                fine = pbk.ScriptPubkey(coin.script).verify(
                    coin.amount, parsed, data, index, pbk.ScriptVerificationFlags.ALL
                )
            except pbk.ScriptVerifyException as error:
                return f"input {index}: {error}"
            if not fine:
                return f"input {index}: its script is not satisfied"
        return None

    def _checked(self, _data: object, _block: object, state: Any) -> None:
        if state.validation_mode != self._pbk.ValidationMode.VALID:
            self._refusal = state.block_validation_result.name.lower().replace("_", "-")

    def _hear(self, message: str) -> None:
        self._said.append(message)

    def _reason(self, otherwise: str) -> str:
        for line in self._said:
            for mark in _REFUSAL_MARKS:
                _, found, rest = line.partition(mark)
                if found:
                    return rest.strip().split(" ")[0].rstrip(",)")
        return otherwise
