"""Signs the cast's transactions, keeps their nonces in order, and sends what a node has lost again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from clarion.chains.stacks.clarity import contract_principal
from clarion.chains.stacks.node_client import NodeClient, TransactionRejectedError
from clarion.chains.stacks.payloads import ContractCall, Payload, SmartContract
from clarion.chains.stacks.post_conditions import PostCondition, PostConditionMode
from clarion.chains.stacks.signing import signed_transaction
from clarion.dev.accounts import NETWORK, Account
from clarion.dev.calls import Call
from clarion.protocols.bithedge.deployment import CLARITY_VERSION

FEE_MICRO_STX: Final = 2_000
FEE_MICRO_STX_PER_BYTE: Final = 2
KEPT: Final = 100
"""Sent transactions an account remembers: a fork may take back that many and lose them."""
PATIENCE: Final = 12
"""Looks at an account without progress, after which its transactions are sent again."""


@dataclass
class _Lane:
    """One account's transactions in order of nonce."""

    confirmed: int = 0
    next: int = 0
    sent: dict[int, bytes] = field(default_factory=dict)
    looks: int = 0


class Wallet:
    """Sends for many accounts through one node.

    A transaction that the node refuses is not remembered: its nonce goes to the next one.
    """

    def __init__(self, node: NodeClient, chain_id: int) -> None:
        self._node = node
        self._chain_id = chain_id
        self._lanes: dict[str, _Lane] = {}

    async def sync(self, account: Account) -> None:
        """Learn how far the chain is with the account; send again what has been waiting for too long."""
        address = account.address
        confirmed = (await self._node.account(address)).nonce
        lane = self._lanes.setdefault(address, _Lane(confirmed, confirmed))
        lane.looks = lane.looks + 1 if confirmed == lane.confirmed else 0
        lane.confirmed = confirmed
        lane.next = max(lane.next, confirmed)
        lane.sent = {nonce: raw for nonce, raw in lane.sent.items() if nonce >= confirmed - KEPT}
        if lane.next > confirmed and lane.looks >= PATIENCE:
            lane.looks = 0
            await self._send_again(lane)

    async def _send_again(self, lane: _Lane) -> None:
        for nonce in range(lane.confirmed, lane.next):
            raw = lane.sent.get(nonce)
            if raw is None:  # sent by an earlier process and lost since: the nonce is free
                lane.next = nonce
                return
            try:
                await self._node.send(raw)
            except TransactionRejectedError as error:
                if error.reason not in ("BadNonce", "ConflictingNonceInMempool"):
                    lane.next = nonce
                    return

    def is_busy(self, account: Account) -> bool:
        """Whether a transaction of the account is still to be mined."""
        lane = self._lanes.get(account.address)
        return lane is None or lane.next > lane.confirmed

    async def send(self, call: Call) -> bytes:
        """Sign and send a contract call; gives its transaction id.

        Raises:
            TransactionRejectedError: the node refused it.
        """
        payload = ContractCall(contract_principal(call.contract), call.function, call.arguments)
        return await self._send(call.sender, payload, call.post_conditions, call.post_condition_mode)

    async def deploy(self, account: Account, name: str, source: str) -> bytes:
        """Sign and send a contract's deployment; gives its transaction id.

        Raises:
            TransactionRejectedError: the node refused it.
        """
        return await self._send(account, SmartContract(name, source, CLARITY_VERSION), (), PostConditionMode.DENY)

    async def _send(
        self,
        account: Account,
        payload: Payload,
        post_conditions: tuple[PostCondition, ...],
        post_condition_mode: PostConditionMode,
    ) -> bytes:
        if account.address not in self._lanes:
            await self.sync(account)
        lane = self._lanes[account.address]
        raw = b""
        for _ in range(2):  # the fee depends on the size, which is known once it is signed
            raw = signed_transaction(
                payload,
                account.key,
                nonce=lane.next,
                fee=FEE_MICRO_STX + FEE_MICRO_STX_PER_BYTE * len(raw),
                network=NETWORK,
                post_conditions=post_conditions,
                post_condition_mode=post_condition_mode,
                chain_id=self._chain_id,
            ).encode()
        try:
            tx_id = await self._node.send(raw)
        except TransactionRejectedError as error:
            if error.reason in ("BadNonce", "ConflictingNonceInMempool"):
                lane.next += 1  # somebody else holds this nonce; the next look corrects it
            raise
        lane.sent[lane.next] = raw
        lane.next += 1
        return tx_id
