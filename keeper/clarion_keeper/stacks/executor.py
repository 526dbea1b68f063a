"""One account's way to Stacks: room for nonces, a draft that would succeed, a signature, the nodes, and what follows.

What the account has sent is stored by the engine; in memory there is nothing that anybody would miss.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from clarion.chains.stacks.clarity import StandardPrincipal
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.keys import address_of_public_key
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.payloads import ContractCall, Payload, TokenTransfer, encode_payload
from clarion.chains.stacks.post_conditions import PostCondition, PostConditionMode
from clarion.chains.stacks.signing import single_sig, unsigned_transaction
from clarion.chains.stacks.transactions import transaction_id
from clarion.config import Settings
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
from clarion_keeper.graph import GraphError, Reader, Receipt
from clarion_keeper.intents import Outcome, Verdict
from clarion_keeper.signers import Purpose, Signer, SignerProtocolError, SignerUnavailableError
from clarion_keeper.stacks.broadcast import broadcast
from clarion_keeper.stacks.contracts import Contracts, UnknownContractError
from clarion_keeper.stacks.fees import FeeCapError, FeePolicy, Fixed, Pricing, fee_policy
from clarion_keeper.stacks.following import follow
from clarion_keeper.stacks.nodes import Nodes
from clarion_keeper.stacks.nonces import free_nonces
from clarion_keeper.stacks.simulation import Certainty, Foretold, Simulator

log = structlog.get_logger()

RELEASE_MICRO_STX: Final = 1
"""What a transaction sends that only uses up a nonce: nodes take none of 0, and none to oneself."""

SHORTEST_BURN_BLOCKS: Final = 2
"""A deadline counts as no earlier than this after something was found due: the fee begins with the estimate."""

NODE_ATTEMPTS: Final = 2
"""A node that stalls must not hold up a rescue; the next turn asks again."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A transaction without nonce and fee, and what its simulation said."""

    payload: Payload
    conditions: tuple[PostCondition, ...]
    foretold: Foretold


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A job's call. ``size``: bytes of the transaction that makes it."""

    payload: ContractCall
    conditions: tuple[PostCondition, ...]
    size: int


class StacksExecutor:
    """An `clarion_keeper.executor.Executor` for one account on Stacks."""

    chain: Final = "stacks"

    def __init__(
        self,
        *,
        nodes: Nodes,
        reader: Reader,
        signer: Signer,
        network: Network,
        policy: FeePolicy,
        contracts: Contracts,
        replace_after_blocks: int,
    ) -> None:
        self.address = signer.address
        self.nodes: Final = nodes
        self._reader = reader
        self._signer = signer
        self._network = network
        self._policy = policy
        self._contracts = contracts
        self._replace_after = replace_after_blocks
        self._simulator = Simulator(nodes, network, address_of_public_key(signer.public_key, network))
        self._height = 0

    async def room(self, live: Sequence[Outgoing]) -> Room:
        """Free nonces as far as nodes chain them, gaps first, and what is left beside the fees of what waits."""
        with _nobody_answers():
            tip = await self.nodes.tip_height()
            account = await self.nodes.account(self.address)
        if tip < self._height:
            # Its nonces may be ones that were used long ago.
            raise ExecutorError(f"the nodes are at block {tip}, behind the index at {self._height}")
        nonces = {outgoing.nonce for outgoing in live if outgoing.nonce is not None}
        pending = sum(
            max(attempt.fee for attempt in outgoing.attempts)
            for outgoing in live
            if outgoing.nonce is not None and outgoing.nonce >= account.nonce
        )
        return Room(
            balance=account.balance - pending,
            nonces=free_nonces(account.nonce, nonces),
            confirmed=account.nonce,
        )

    async def draft(self, work: Work, receipt: Receipt, *, nonce: int | None) -> Draft | Declined:
        """Find the fee and simulate at the tip. Nothing is signed with the account's key."""
        del nonce  # neither the fee nor the end of a call depends on it
        draft = await self._drafted(work, receipt, replaced=None)
        assert draft is not None, "only a replacement can be at the cap"
        return draft

    async def over(self, work: Work) -> Sequence[Outcome | None]:
        """What a simulation at the tip says, where it is sure."""
        prepared = self._prepared(work)
        if isinstance(prepared, Declined):
            return [None for _ in work.items]
        foretold = await self._simulator.call(work, prepared.payload, prepared.conditions)
        if foretold.certainty is not Certainty.SURE:
            return [None for _ in work.items]
        return [outcome if outcome.benign else None for outcome in foretold.outcomes]

    async def sign(self, draft: Draft, work: Work, *, nonce: int | None) -> Signed | Declined:
        """The draft, signed, where it still would succeed.

        Where the simulation could not be sure, the signed transaction is simulated. Where a block came since, the call
        is simulated once more: somebody else may have been in it.
        """
        unsigned: Unsigned = draft.unsigned
        signed = await self._signed(draft, nonce, Purpose(work.job.name, work.job.lane.value, work.keys))
        foretold = await self._foretold_by_now(work, unsigned, signed, nonce)
        if foretold.forbids:
            log.info("signed and not sent", job=work.job.name, intents=work.keys, reason=foretold.reason)
            return Declined(outcomes=foretold.outcomes, too_large=foretold.too_large)
        return signed

    async def broadcast(self, signed: Signed | Attempt) -> Broadcast:
        """Give stored bytes to all nodes at once."""
        return await broadcast(self.nodes, signed.raw)

    async def follow(self, outgoings: Sequence[Outgoing]) -> tuple[Mapping[int, Seen], Receipt]:
        """What became of these, by id, and where the index stood."""
        with _nobody_answers():
            seen, receipt = await follow(self.nodes, self._reader, outgoings, self.address)
        self._height = receipt.height
        return seen, receipt

    async def replacement(
        self, outgoing: Outgoing, work: Work | None, receipt: Receipt, *, wanted: bool
    ) -> Draft | Declined | None:
        """A draft that pays more than every earlier attempt, once the newest has waited long enough."""
        if receipt.height - outgoing.height < self._replace_after and not wanted:
            return None
        replaced = max(attempt.fee for attempt in outgoing.attempts)
        if replaced >= self._policy.cap:
            return None
        if work is not None:
            return await self._drafted(work, receipt, replaced=replaced)
        payload = TokenTransfer(_nobody(self._network), RELEASE_MICRO_STX)
        cheapest = Fixed(RELEASE_MICRO_STX, self._policy.cap, self._policy.raise_percent)
        try:
            fee = cheapest.fee(Pricing(size=self._size(payload, ()), replaced=replaced))
        except FeeCapError:
            return None
        assert fee is not None, "what it replaces is below the cap"
        return Draft(
            fee=fee, contract="", function="transfer", unsigned=Unsigned(payload, (), Foretold(Certainty.SURE))
        )

    async def sign_release(self, draft: Draft, outgoing: Outgoing) -> Signed:
        """A transfer of 1 micro-STX to nobody, with the outgoing's nonce."""
        return await self._signed(draft, outgoing.nonce, Purpose(outgoing.job, outgoing.lane.value, ()))

    def _prepared(self, work: Work) -> _Prepared | Declined:
        """The call of a work's job; Declined where it makes none that could be sent."""
        try:
            call = work.job.call(work.items)
            payload = ContractCall(self._contracts.resolve(call.contract), call.function, call.arguments)
            return _Prepared(payload, call.post_conditions, self._size(payload, call.post_conditions))
        except (UnknownContractError, CodecError) as error:
            return _declined(work, Verdict.FAILED, f"it makes no call that can be sent: {error}")
        except Exception as error:
            log.exception("a job cannot make its call", job=work.job.name, intents=work.keys)
            return _declined(work, Verdict.FAILED, f"it cannot make its call: {error!r}")

    async def _drafted(self, work: Work, receipt: Receipt, *, replaced: int | None) -> Draft | Declined | None:
        prepared = self._prepared(work)
        if isinstance(prepared, Declined):
            return prepared
        payload, size = prepared.payload, prepared.size
        foretold = await self._simulator.call(work, payload, prepared.conditions)
        if foretold.forbids:
            return Declined(outcomes=foretold.outcomes, too_large=foretold.too_large)
        left, given = _time(work, receipt)
        estimate = await self.nodes.estimate_fees(encode_payload(payload), size)
        try:
            fee = self._policy.fee(
                Pricing(size=size, estimate=estimate, burn_blocks_left=left, burn_blocks_given=given, replaced=replaced)
            )
        except FeeCapError as error:
            return _declined(work, Verdict.AGAIN, str(error))
        if fee is None:
            return None
        return Draft(
            fee=fee,
            contract=str(payload.contract),
            function=payload.function,
            unsigned=Unsigned(payload, prepared.conditions, foretold),
            outcomes=foretold.outcomes if foretold.certainty is Certainty.SURE else (),
            detail={"simulated": foretold.certainty.value, "says": foretold.reason},
        )

    async def _signed(self, draft: Draft, nonce: int | None, purpose: Purpose) -> Signed:
        assert nonce is not None, "on Stacks every transaction has a nonce"
        unsigned: Unsigned = draft.unsigned
        bare = self._bytes(unsigned.payload, unsigned.conditions, nonce=nonce, fee=draft.fee)
        try:
            raw = await self._signer.sign_stacks(bare, purpose=purpose)
        except (SignerUnavailableError, SignerProtocolError) as error:
            raise ExecutorError(str(error)) from error
        return Signed(tx_id=transaction_id(raw), raw=raw, fee=draft.fee)

    async def _foretold_by_now(self, work: Work, unsigned: Unsigned, signed: Signed, nonce: int | None) -> Foretold:
        """How a signed transaction would end, as far as it can be told before it is sent."""
        foretold = unsigned.foretold
        with _nobody_answers():
            if foretold.certainty is Certainty.UNSURE:
                # nodes can say so of the next nonce alone
                if (await self.nodes.account(self.address)).nonce == nonce:
                    return await self._simulator.signed(work, signed.raw)
            elif foretold.height is not None and await self.nodes.first_tip_height() >= foretold.height:
                assert isinstance(unsigned.payload, ContractCall), "nothing else is simulated"
                return await self._simulator.call(work, unsigned.payload, unsigned.conditions)
        return foretold

    def _size(self, payload: Payload, conditions: tuple[PostCondition, ...]) -> int:
        """Bytes of the transaction, which a signature does not change."""
        return len(self._bytes(payload, conditions, nonce=0, fee=0))

    def _bytes(self, payload: Payload, conditions: tuple[PostCondition, ...], *, nonce: int, fee: int) -> bytes:
        origin = single_sig(self._signer.public_key, nonce=nonce, fee=fee)
        return unsigned_transaction(
            payload,
            origin,
            network=self._network,
            post_conditions=conditions,
            post_condition_mode=PostConditionMode.ORIGINATOR,
        ).encode()


@contextlib.asynccontextmanager
async def open_executor(
    settings: Settings, account: str, signer: Signer, reader: Reader
) -> AsyncIterator[StacksExecutor]:
    """The executor of an account of the settings, with its own connections to the nodes.

    Only ``node.url`` is told ``node.auth_token``; the other nodes may be anybody's.
    """
    token = settings.node.auth_token
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                NodeClient(
                    url,
                    auth_token=token.get_secret_value() if token and url == settings.node.url else None,
                    timeout_seconds=settings.keeper.node_timeout_seconds,
                    attempts=NODE_ATTEMPTS,
                )
            )
            for url in settings.keeper_node_urls
        ]
        log.debug("executor", account=account, address=signer.address, nodes=[client.url for client in clients])
        nodes = Nodes(clients, settings.keeper.breaker)
        stack.push_async_callback(nodes.aclose)
        yield StacksExecutor(
            nodes=nodes,
            reader=reader,
            signer=signer,
            network=settings.network.constants,
            policy=fee_policy(settings.keeper),
            contracts=Contracts(settings.deployers),
            replace_after_blocks=settings.keeper.replace_after_blocks,
        )


@contextlib.contextmanager
def _nobody_answers() -> Iterator[None]:
    """Faults of nodes and of the index as the engine knows them."""
    try:
        yield
    except (NodeError, GraphError) as error:
        raise ExecutorError(str(error)) from error


def _declined(work: Work, verdict: Verdict, reason: str) -> Declined:
    return Declined(outcomes=tuple(Outcome(verdict, reason) for _ in work.items))


def _nobody(network: Network) -> StandardPrincipal:
    """The address whose key nobody has: all zeros."""
    return StandardPrincipal(network.single_sig_version, bytes(20))


def _time(work: Work, receipt: Receipt) -> tuple[int | None, int | None]:
    """How many Bitcoin blocks are left for the work, and how many were given; None where it is not known."""
    if work.deadline_burn is None:
        return None, None
    if work.first_burn is None:
        return work.deadline_burn - receipt.burn_height, None
    deadline = max(work.deadline_burn, work.first_burn + SHORTEST_BURN_BLOCKS)
    return deadline - receipt.burn_height, deadline - work.first_burn
