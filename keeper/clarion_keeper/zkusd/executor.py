"""One account's way to Bitcoin: an order becomes a spell, is checked, proven, paid for, signed, sent and followed.

A spell spends the states of its apps, so a second one of the same account would have to wait for the first: there is
room for one at a time. Where somebody else spends a state first, the spell is worth nothing and costs nothing either.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.charms.drafts import SpellDraft
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.rpc import RpcError
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    parse_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats, outpoint_text
from clarion.chains.model import Chain
from clarion.config import Settings
from clarion.protocols.zkusd.apps import contracts, owner_of
from clarion.protocols.zkusd.terms import NotPossibleError, OwnerUnknownError
from clarion_keeper.charms.answer import AnswerError, Asked, ChangeError, CharmsFee, Proven
from clarion_keeper.charms.broadcast import broadcast
from clarion_keeper.charms.coins import OwnCoins, bears_charms, previous_transactions
from clarion_keeper.charms.nodes import BitcoinNodes
from clarion_keeper.charms.opening import charms_fee_of, open_nodes, prover_of
from clarion_keeper.charms.preflight import PreflightError
from clarion_keeper.charms.proof_order import OrderError, ProofOrder, request_key
from clarion_keeper.charms.prover import Prover, ProverRefusedError
from clarion_keeper.charms.psbt import Psbt, PsbtError, write_psbt
from clarion_keeper.charms.replace import FeeCapError as ReplacementCapError
from clarion_keeper.charms.replace import NewProofNeededError, raised_fee
from clarion_keeper.charms.signing import own_scripts
from clarion_keeper.charms.sizes import FeeRate, signed_size
from clarion_keeper.charms.wallet import NotEnoughCoinsError, funded, others, to_sign
from clarion_keeper.charms.wallet import signed as checked_signature
from clarion_keeper.executor import (
    Attempt,
    Broadcast,
    Declined,
    Draft,
    ExecutorError,
    Outgoing,
    Room,
    Seen,
    Signed,
    Work,
)
from clarion_keeper.graph import GraphError, Reader, Receipt, Snapshot
from clarion_keeper.intents import Outcome, Verdict
from clarion_keeper.signers import (
    Purpose,
    Signer,
    SignerProtocolError,
    SignerUnavailableError,
)
from clarion_keeper.signers.accounts import open_cosigners
from clarion_keeper.zkusd.fees import FeeCapError, first_rate, next_rate
from clarion_keeper.zkusd.following import follow, spends_of
from clarion_keeper.zkusd.jobs import ZkUsdJob
from clarion_keeper.zkusd.orders import SpellOrder
from clarion_keeper.zkusd.proofs import NotOursError, proven_of
from clarion_keeper.zkusd.spells import (
    BehindError,
    Parts,
    VaultEndedError,
    check_vault,
    draft_of,
    read_parts,
    request_of,
)
from clarion_keeper.zkusd.turns import Turns

log = structlog.get_logger()

MOST_DRAFTS: Final = 25
"""Orders that are looked at in a round: all want the same states, and the first that can be signed is."""
_PSBT: Final = "psbt"
CONTRACT: Final = "zkusd"
"""What stands for a contract in records of a spell."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A proven spell, the transaction that is to be signed, and those that made what it spends, by id."""

    proven: Proven
    transaction: BitcoinTransaction
    previous: Mapping[bytes, BitcoinTransaction]

    @property
    def psbt(self) -> Psbt:
        """What signers are given."""
        return to_sign(self.proven, self.transaction, self.previous)


class BitcoinExecutor:
    """An `clarion_keeper.executor.Executor` for one account on Bitcoin, and its jobs on zkUSD.

    ``cosigners`` sign what states and vaults lie at. ``charms_fee`` is what the prover may charge; None for nothing.
    """

    chain: Chain = "bitcoin"

    def __init__(
        self,
        settings: Settings,
        *,
        reader: Reader,
        signer: Signer,
        cosigners: Sequence[Signer],
        nodes: BitcoinNodes,
        prover: Prover,
        charms_fee: CharmsFee | None,
    ) -> None:
        self.address = signer.address
        self.nodes: Final = nodes
        self._settings = settings
        self._network: BitcoinNetwork = settings.bitcoin.network
        self._mock = settings.bitcoin.mock_spells
        self._reader = reader
        self._signers = (signer, *cosigners)
        self._prover = prover
        self._charms_fee = charms_fee
        scripts = own_scripts(signer.public_key)
        self._script = next(iter(scripts))
        self._coins = OwnCoins(nodes, list(scripts), self._network)
        self._ours: dict[OutPoint, set[bytes]] = {}
        self._proven: dict[bytes, Proven] = {}
        self._drafting = asyncio.Lock()
        self._turns = Turns()

    async def room(self, live: Sequence[Outgoing]) -> Room:
        """Room for orders to be drafted, of which one will be signed, or none while a spell of the account waits.

        The balance is of its free coins, and of the change that comes back once what waits is mined.
        """
        self._ours = _by_outpoint(live)
        self._turns.new_round()
        waiting = any(outgoing.state in ("signed", "broadcast") for outgoing in live)
        with _nobody_answers():
            purse = await self._coins.read()
        free = sum(coin.amount for outpoint, coin in purse.coins.items() if outpoint not in self._ours)
        change = sum(self._change(outgoing) for outgoing in live if outgoing.state in ("signed", "broadcast"))
        return Room(balance=free + change, nonces=() if waiting else (None,) * MOST_DRAFTS)

    def _change(self, outgoing: Outgoing) -> int:
        """What a transaction of the account's own leaves it, charms and what lies under them aside."""
        transaction = parse_transaction(outgoing.newest.raw)
        return sum(
            output.amount
            for place, output in enumerate(transaction.outputs)
            if output.script == self._script and not bears_charms(transaction, place, self._network)
        )

    async def draft(self, work: Work, receipt: Receipt, *, nonce: int | None) -> Draft | Declined:
        """Build the spell as of now, ask the contracts, have it proven, and find who has to sign it.

        One order gets as far as that: the next one would spend the same states.
        """
        del nonce  # there is none on Bitcoin
        (key,) = work.keys
        self._turns.ask(key)
        await asyncio.sleep(0)  # until all that are asked for at once have said so
        async with self._drafting:
            if reason := self._turns.why_not(key, receipt.height):
                return _declined(Verdict.AGAIN, reason)
            found = await self._draft(work, receipt)
            self._turns.drafted(key, proven=isinstance(found, Draft) or _PSBT in (found.handed_out or {}))
            return found

    async def _draft(self, work: Work, receipt: Receipt) -> Draft | Declined:
        assert isinstance(work.job, ZkUsdJob), f"{work.job.name} makes no spells"
        order = work.job.spell(work.items)
        with _nobody_answers():
            snapshot = await self._reader.snapshot()
            if not order.known:
                return await self._not_known(snapshot, order)
            try:
                return await self._drafted(snapshot, order, work, receipt)
            except VaultEndedError as error:
                return _declined(Verdict.DONE if error.done else Verdict.AGAIN, str(error), benign=error.done)
            except (BehindError, NotPossibleError, NotEnoughCoinsError, ChangeError, FeeCapError) as error:
                return _declined(Verdict.AGAIN, str(error))
            except (OrderError, PreflightError, ProverRefusedError, AnswerError) as error:
                return _declined(Verdict.FAILED, str(error))

    async def over(self, work: Work) -> Sequence[Outcome | None]:
        """Whether somebody else ended the vault as the order would have. Nothing is built, and no prover is asked."""
        assert isinstance(work.job, ZkUsdJob), f"{work.job.name} makes no spells"
        with _nobody_answers():
            try:
                await check_vault(await self._reader.snapshot(), work.job.spell(work.items))
            except VaultEndedError as error:
                return [Outcome(Verdict.DONE, str(error), benign=True) if error.done else None]
        return [None]

    async def sign(self, draft: Draft, work: Work, *, nonce: int | None) -> Signed:
        """Have everybody sign whose key is asked for, and put it together."""
        del nonce
        unsigned: Unsigned = draft.unsigned
        purpose = Purpose(work.job.name, work.job.lane.value, work.keys)
        psbt = unsigned.psbt
        try:
            for signer in self._signers:
                if _has_inputs_of(psbt, signer):
                    psbt = checked_signature(psbt, await signer.sign_bitcoin(write_psbt(psbt), purpose=purpose))
            complete = psbt.signed_transaction()
        except (SignerUnavailableError, SignerProtocolError, PsbtError) as error:
            raise ExecutorError(str(error)) from error
        self._turns.signed()
        return Signed(
            tx_id=complete.id,
            raw=write_transaction(complete),
            fee=draft.fee,
            coins=tuple(taken.outpoint for taken in complete.inputs),
        )

    async def broadcast(self, signed: Signed | Attempt) -> Broadcast:
        """Give stored bytes to all nodes at once."""
        return await broadcast(self.nodes, parse_transaction(signed.raw))

    async def follow(self, outgoings: Sequence[Outgoing]) -> tuple[Mapping[int, Seen], Receipt]:
        """What became of these, by id, and where the index stood."""
        with _nobody_answers():
            return await follow(self.nodes, self._reader, outgoings)

    async def replacement(
        self, outgoing: Outgoing, work: Work | None, receipt: Receipt, *, wanted: bool
    ) -> Draft | Declined | None:
        """The same spell with less change, where it waits for too long or nodes ask for more.

        A spell that is not due any more is left: it is worth nothing as soon as any of its states moves on.
        """
        waited = receipt.height - outgoing.height
        if work is None or not (wanted or waited >= self._settings.keeper.replace_after_blocks):
            return None
        with _nobody_answers():
            transaction = parse_transaction(outgoing.newest.raw)
            spent = spends_of(outgoing)
            previous = await previous_transactions(self.nodes, spent)
            coins = [_coin(previous, outpoint) for outpoint in spent]
            rates = await self.nodes.rates(self._settings.keeper.bitcoin.fee_blocks)
            replaced = await self.nodes.replaced_fees(outgoing.newest.tx_id)
        try:
            proven = proven_of(
                transaction,
                coins,
                change=self._script,
                fee=self._charms_fee,
                network=self._network,
                accept_mock=self._mock,
            )
            paid = max(attempt.fee for attempt in outgoing.attempts)
            size = signed_size(transaction, [coin.script for coin in coins])
            rate = next_rate(
                self._settings.keeper,
                rates,
                paid=FeeRate(paid * 1_000 // size),
                blocks_left=_blocks_left(work, receipt),
            )
            fee = raised_fee(
                proven,
                paid=Sats(paid),
                rate=rate,
                most_rate=FeeRate(self._settings.keeper.bitcoin.fee_rate_cap),
                incremental=rates.incremental,
                replaced=replaced,
            )
        except (NotOursError, NewProofNeededError, ReplacementCapError, FeeCapError) as error:
            log.warning("spell stays as it is", tx=outgoing.newest.tx_id.hex(), reason=str(error))
            return None
        unsigned = Unsigned(proven, proven.transaction(fee), previous)
        return self._made(unsigned, fee, work, costs=0)

    async def sign_release(self, draft: Draft, outgoing: Outgoing) -> Signed:
        """There is nothing to free: a spell that is not due any more is left to itself."""
        raise ExecutorError(f"the transaction of {outgoing.job} takes up nothing that could be freed")

    async def _drafted(self, snapshot: Snapshot, order: SpellOrder, work: Work, receipt: Receipt) -> Draft | Declined:
        keeper = self._settings.keeper
        parts = await read_parts(snapshot, order, script=self._script, network=self._network, accept_mock=self._mock)
        draft = await self._spell(order, parts)
        if reason := await self._contended(draft):
            return _declined(Verdict.AGAIN, reason)
        rates = await self.nodes.rates(keeper.bitcoin.fee_blocks)
        rate = first_rate(keeper, rates, blocks_left=_blocks_left(work, receipt))
        purse = await self._coins.read()
        paid_for = funded(
            draft,
            purse.coins,
            change=self._script,
            rate=rate,
            most_rate=FeeRate(keeper.bitcoin.fee_rate_cap),
            fee=self._charms_fee,
            mock=self._mock,
            reserved=self._ours,
        )
        previous = {**purse.made_by, **parts.previous}
        asked = Asked(draft=paid_for, change=self._script, fee_rate=rate, mock=self._mock)
        proven = await self._prove(ProofOrder(asked=asked, previous=previous, contracts=contracts()))
        fee = proven.fee_at(rate)
        unsigned = Unsigned(proven, proven.transaction(fee), previous)
        missing = self._missing_signers(unsigned)
        if missing:
            return self._handed_out(unsigned, fee, order, missing)
        return self._made(unsigned, fee, work, costs=self._costs(proven))

    async def _spell(self, order: SpellOrder, parts: Parts) -> SpellDraft:
        try:
            return draft_of(order, parts, script=self._script)
        except OwnerUnknownError:
            return draft_of(order, parts, script=self._script, owner=await self._owner(parts))

    async def _owner(self, parts: Parts) -> bytes | None:
        """The script of the vault's owner, which signed the transaction that opened it; None where none matches."""
        try:
            (opened,) = (await previous_transactions(self.nodes, [OutPoint(parts.opened_tx, 0)])).values()
            spent = [OutPoint(taken.tx_id, taken.vout) for taken in opened.inputs]
            made = await previous_transactions(self.nodes, spent)
        except RpcError as error:
            raise NotPossibleError(
                f"the vault's owner is paid, and the node does not give the transaction that opened it ({error.said}): "
                "run it with txindex=1"
            ) from error
        scripts = {_coin(made, outpoint).script for outpoint in spent}
        return next((script for script in scripts if owner_of(script) == parts.vault["owner"]), None)

    async def _contended(self, draft: SpellDraft) -> str:
        """Why the states cannot be spent now; empty where they can."""
        found = await self.nodes.contention([spent.outpoint for spent in draft.inputs])
        for outpoint, tx_id in found.waiting.items():
            whose = "our own" if tx_id in self._ours.get(outpoint, ()) else "somebody else's"
            return f"{outpoint_text(*outpoint)} is spent by {whose} transaction {tx_id.hex()} in the mempool"
        for outpoint in found.gone:
            return f"{outpoint_text(*outpoint)} is spent in a block that the index does not have yet"
        return ""

    async def _prove(self, order: ProofOrder) -> Proven:
        """The proof of what the contracts accept; asked for once for a spell."""
        key = request_key(order)
        if key in self._proven:
            return self._proven[key]
        proven = await self._prover.prove(order)
        if len(self._proven) >= MOST_DRAFTS:  # with every block spells are of other states
            self._proven.clear()
        self._proven[key] = proven
        return proven

    def _made(self, unsigned: Unsigned, fee: Sats, work: Work, *, costs: int) -> Draft:
        assert isinstance(work.job, ZkUsdJob)
        return Draft(
            fee=fee,
            contract=CONTRACT,
            function=work.job.spell(work.items).operation.value,
            unsigned=unsigned,
            costs=costs,
            taken=self._taken(unsigned),
            detail=_figures(unsigned, fee),
        )

    def _taken(self, unsigned: Unsigned) -> int:
        """What the account has less of afterwards, charms and what lies under them aside; negative: it has more."""
        draft = unsigned.proven.draft
        paid = sum(one.coin.amount for one in draft.inputs if one.coin.script == self._script and not one.charms)
        given = sum(output.amount for output in draft.outputs if output.script == self._script and not output.charms)
        behind = unsigned.transaction.outputs[len(draft.outputs) :]
        return paid - given - sum(output.amount for output in behind if output.script == self._script)

    def _costs(self, proven: Proven) -> int:
        """What a spell costs beside the fee: the prover, and what lies under the keeper's own charms from now on."""
        draft = proven.draft
        charged = 0 if proven.charged is None else proven.charged.amount
        made = sum(output.amount for output in draft.outputs if output.script == self._script and output.charms)
        had = sum(spent.coin.amount for spent in draft.inputs if spent.coin.script == self._script and spent.charms)
        return charged + max(made - had, 0) + self._settings.keeper.zkusd.prover_cost

    def _missing_signers(self, unsigned: Unsigned) -> dict[str, bytes]:
        ours = {script for signer in self._signers for script in own_scripts(signer.public_key)}
        return others(unsigned.psbt, ours)

    def _handed_out(self, unsigned: Unsigned, fee: Sats, order: SpellOrder, missing: Mapping[str, bytes]) -> Declined:
        signers = {outpoint: self._name(script) for outpoint, script in missing.items()}
        who = ", ".join(sorted(set(signers.values())))
        return _declined(
            Verdict.AGAIN,
            # with its id, which signatures do not change: another one is another reason, and subscribers hear of it
            f"proven and handed out unsigned: {who} has to sign {unsigned.transaction.id.hex()}",
            handed_out={
                "operation": order.operation.value,
                "tx": unsigned.transaction.id.hex(),
                _PSBT: base64.b64encode(write_psbt(unsigned.psbt)).decode(),
                "signers": signers,
                **_figures(unsigned, fee),
            },
        )

    async def _not_known(self, snapshot: Snapshot, order: SpellOrder) -> Declined:
        """What is known of an order whose apps are not those that come with Clarion."""
        request = await request_of(snapshot, order)
        return _declined(
            Verdict.AGAIN,
            f"the apps of {order.app_set} are not known here: no spell of theirs can be built, and what it would have "
            "to do is handed out",
            handed_out={"operation": order.operation.value, "request": dict(request)},
        )

    def _name(self, script: bytes) -> str:
        return address_of(script, self._network) or script.hex()


@contextlib.asynccontextmanager
async def open_executor(
    settings: Settings, account: str, signer: Signer, reader: Reader
) -> AsyncIterator[BitcoinExecutor]:
    """The executor of an account of the settings, with its own connections to nodes, prover and cosigners.

    Raises:
        ConfigurationError: there is no prover for the network.
        SignerUnavailableError, SignerProtocolError: a cosigner cannot be asked.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield BitcoinExecutor(
            settings,
            reader=reader,
            signer=signer,
            cosigners=await stack.enter_async_context(open_cosigners(settings)),
            nodes=await stack.enter_async_context(open_nodes(settings)),
            prover=await stack.enter_async_context(prover_of(settings)),
            charms_fee=charms_fee_of(settings),
        )


def _declined(
    verdict: Verdict, reason: str, *, benign: bool = False, handed_out: Mapping[str, Any] | None = None
) -> Declined:
    return Declined(outcomes=(Outcome(verdict, reason, benign=benign),), handed_out=handed_out)


def _by_outpoint(live: Sequence[Outgoing]) -> dict[OutPoint, set[bytes]]:
    """What the account's own unfinished transactions spend, with their ids."""
    found: dict[OutPoint, set[bytes]] = {}
    for outgoing in live:
        for outpoint in spends_of(outgoing):
            found.setdefault(outpoint, set()).update(attempt.tx_id for attempt in outgoing.attempts)
    return found


def _coin(made: Mapping[bytes, BitcoinTransaction], outpoint: OutPoint) -> Coin:
    output = made[outpoint.tx_id].outputs[outpoint.vout]
    return Coin(output.amount, output.script, None, coinbase=False)


def _has_inputs_of(psbt: Psbt, signer: Signer) -> bool:
    scripts = own_scripts(signer.public_key)
    return any(psbt.inputs[place].script in scripts for place in psbt.unsigned)


def _blocks_left(work: Work, receipt: Receipt) -> int | None:
    return None if work.deadline_burn is None else work.deadline_burn - receipt.burn_height


def _figures(unsigned: Unsigned, fee: Sats) -> dict[str, Any]:
    """What a record shows of a spell's transaction."""
    return {
        "inputs": [taken.outpoint for taken in unsigned.transaction.inputs],
        "fee": fee,
        "virtual_size": unsigned.proven.size(change=True),
    }


@contextlib.contextmanager
def _nobody_answers() -> Iterator[None]:
    """Faults of nodes and of the index as the engine knows them."""
    try:
        yield
    except (RpcError, GraphError) as error:
        raise ExecutorError(str(error)) from error
