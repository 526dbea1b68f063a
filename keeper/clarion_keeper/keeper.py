"""The keeper's loop: follow what was sent, look at the chain, decide, sign, store, send."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import structlog

from clarion.chains.stacks.clarity import Value, contract_principal, decode
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient, NodeError, TransactionRejectedError
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.signing import signed_transaction
from clarion_keeper.former_graph import Graph, MinedTransaction, NothingIndexedError
from clarion_keeper.jobs import Job, Outcome, Verdict
from clarion_keeper.outbox import Outbox, Outgoing, Planned
from clarion_keeper.state import BitHedgeState, Receipt

log = structlog.get_logger()

#: The account's nonce is already past this transaction's: it was mined, or another transaction took its place.
BAD_NONCE: Final = "BadNonce"
#: Refusals that pass by themselves; the same bytes are sent again at the next turn.
PASSING: Final = frozenset({"TooMuchChaining", "NotEnoughFunds", "ConflictingNonceInMempool", "ServerFailureDatabase"})


class Keeper:
    """One account's keeper.

    ``deployer`` is the address that deployed the BitHedge contracts; ``fee`` is in micro-STX. Every turn
    (:meth:`turn`) is complete in itself: whatever interrupts it, the next one goes on from what is stored.
    """

    def __init__(
        self,
        *,
        graph: Graph,
        nodes: Sequence[NodeClient],
        outbox: Outbox,
        key: PrivateKey,
        network: Network,
        deployer: str,
        fee: int,
        jobs: Sequence[Job],
    ) -> None:
        self._graph = graph
        self._nodes = nodes
        self._outbox = outbox
        self._key = key
        self._network = network
        self._deployer = deployer
        self._fee = fee
        self._jobs = {job.name: job for job in jobs}
        self._stopped: set[str] = set()
        self.address: Final = key.address(network).address

    async def turn(self) -> None:
        """Follow, decide and send once. Faults of the server or the nodes end the turn; the next one tries again."""
        try:
            await self._follow()
            state = await self._graph.bithedge_state()
        except NothingIndexedError:
            return
        await self._decide(state)
        await self._send_planned()

    async def _decide(self, state: BitHedgeState) -> None:
        due = [intent for job in self._jobs.values() if job.name not in self._stopped for intent in job.check(state)]
        await self._outbox.cancel_undue(due)
        new = await self._outbox.plan(due, state.receipt)
        if new:
            log.info("decided", intents=new, height=state.receipt.height, burn_height=state.receipt.burn_height)

    async def _send_planned(self) -> None:
        planned = await self._outbox.planned()
        for name, job in self._jobs.items():
            own = [intent for intent in planned if intent.job == name]
            for start in range(0, len(own), job.batch_size):
                if not await self._sign_and_send(job, own[start : start + job.batch_size]):
                    return

    async def _sign_and_send(self, job: Job, intents: list[Planned]) -> bool:
        """Sign one call, store it, send it. False where nothing more can be sent this turn."""
        call = job.call([intent.item for intent in intents])
        account = await self._nodes[0].account(self.address)
        nonce = await self._outbox.next_nonce(self.address, account.nonce)
        contract = contract_principal(f"{self._deployer}.{call.contract}")
        transaction = signed_transaction(
            ContractCall(contract, call.function, call.arguments),
            self._key,
            nonce=nonce,
            fee=self._fee,
            network=self._network,
            # The keeper's own account sends nothing but the fee; what the vault pays out is the contract's business.
            post_condition_mode=PostConditionMode.ORIGINATOR,
        )
        raw = transaction.encode()
        outgoing = Outgoing(transaction.txid, job.name, self.address, nonce, raw, "signed")
        await self._outbox.store_signed(
            outgoing, fee=self._fee, contract=str(contract), function=call.function, intents=intents
        )
        return await self._send(outgoing)

    async def _send(self, outgoing: Outgoing) -> bool:
        """Give the stored bytes to the first node that takes them. False where sending must wait."""
        about = {"tx": f"0x{outgoing.tx_id.hex()}", "job": outgoing.job, "nonce": outgoing.nonce}
        fault: NodeError | None = None
        for node in self._nodes:
            try:
                await node.send(outgoing.raw)
            except TransactionRejectedError as rejected:
                return await self._refused(outgoing, rejected)
            except NodeError as error:
                fault = error
                continue
            await self._outbox.broadcast(outgoing.tx_id)
            if outgoing.state == "signed":
                log.info("sent", **about)
            return True
        await self._outbox.note_error(outgoing.tx_id, str(fault))
        log.warning("no node takes transactions; trying again next turn", error=str(fault), **about)
        return False

    async def _refused(self, outgoing: Outgoing, rejected: TransactionRejectedError) -> bool:
        about = {"tx": f"0x{outgoing.tx_id.hex()}", "job": outgoing.job, "nonce": outgoing.nonce}
        if rejected.reason == BAD_NONCE:
            await self._outbox.note_error(outgoing.tx_id, str(rejected))
            return True
        if rejected.reason in PASSING:
            await self._outbox.note_error(outgoing.tx_id, str(rejected))
            log.warning("refused for now", reason=rejected.reason, data=rejected.data, **about)
            return False
        await self._outbox.reject(outgoing.tx_id, str(rejected), intents=Verdict.FAILED)
        self._stop(outgoing.job, str(rejected))
        return False

    def _stop(self, job: str, reason: str) -> None:
        self._stopped.add(job)
        log.error("job stopped: look into the reason, then start the keeper again", job=job, reason=reason)

    async def _follow(self) -> None:
        """Bring every unfinished transaction up to what the chain says, sending again what is in no block."""
        unfinished = await self._outbox.unfinished(self.address)
        if not unfinished:
            return
        # Asked before the index is read: an index at least this far that does not have a transaction whose nonce is
        # used up proves that another one took its place.
        tip = await self._nodes[0].info()
        account = await self._nodes[0].account(self.address)
        found, receipt = await self._graph.transactions([outgoing.tx_id for outgoing in unfinished])
        for outgoing in unfinished:
            mined = found.get(outgoing.tx_id)
            if mined is not None:
                await self._mined(outgoing, mined)
            elif outgoing.nonce < account.nonce:
                if receipt.height >= tip.stacks_tip_height:
                    await self._replaced(outgoing, receipt)
            else:
                if outgoing.state == "mined":
                    log.info("block orphaned, sending again", tx=f"0x{outgoing.tx_id.hex()}", job=outgoing.job)
                    await self._outbox.orphaned(outgoing.tx_id)
                if not await self._send(outgoing):
                    return

    async def _replaced(self, outgoing: Outgoing, receipt: Receipt) -> None:
        error = f"nonce {outgoing.nonce} was used by another transaction, seen at {receipt.height} {receipt.hash}"
        if outgoing.state == "mined":
            await self._outbox.orphaned(outgoing.tx_id)
        log.warning("replaced", tx=f"0x{outgoing.tx_id.hex()}", job=outgoing.job, nonce=outgoing.nonce)
        await self._outbox.reject(outgoing.tx_id, error, intents=Verdict.AGAIN)

    async def _mined(self, outgoing: Outgoing, mined: MinedTransaction) -> None:
        if outgoing.state == "mined" and not mined.final:
            return
        intents = await self._outbox.items(outgoing.tx_id)
        outcomes = self._outcomes(outgoing, mined, intents)
        await self._outbox.mined(
            outgoing.tx_id,
            height=mined.height,
            block_hash=mined.block_hash,
            outcomes=list(zip(intents, outcomes, strict=True)),
            final=mined.final,
        )
        if outgoing.state == "mined":
            return
        for reason, group in groupby(sorted(outcomes, key=lambda o: (o.verdict, o.reason)), key=lambda o: o):
            log.info(
                "mined",
                tx=f"0x{outgoing.tx_id.hex()}",
                job=outgoing.job,
                height=mined.height,
                verdict=reason.verdict.value,
                reason=reason.reason,
                intents=len(list(group)),
            )
        for outcome in outcomes:
            if outcome.verdict is Verdict.FAILED:
                self._stop(outgoing.job, outcome.reason)

    def _outcomes(self, outgoing: Outgoing, mined: MinedTransaction, intents: Sequence[Planned]) -> list[Outcome]:
        result: Value | None = None
        if mined.result is not None:
            try:
                result = decode(mined.result)
            except DecodeError:
                log.exception("result cannot be decoded", tx=f"0x{outgoing.tx_id.hex()}")
        if mined.status not in ("success", "abort_by_response"):
            return [Outcome(Verdict.FAILED, f"transaction ended {mined.status}") for _ in intents]
        job = self._jobs.get(outgoing.job)
        if job is None:
            return [Outcome(Verdict.DONE, "mined; its job is not enabled") for _ in intents]
        return job.outcomes([intent.item for intent in intents], result)
