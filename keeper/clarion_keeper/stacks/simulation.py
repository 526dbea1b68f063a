"""Would it succeed? Asked before anything is signed with the account's key.

A node simulates signed transactions only. So the call is signed by a key that is made up for this one question, with no
fee, and run at the tip: nothing that could ever be mined exists yet. Most calls of a keeper may be made by anybody, and
end for a made-up sender as for the keeper. Those that ask for a role, or name the account, do not: they are simulated
when they are signed, where their nonce is the account's next.

Where no node simulates, the job's own rules are what is known: an intent is due only while they say that its call would
succeed.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import structlog

from clarion.chains.stacks.clarity import StandardPrincipal, encode
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.node_client import NodeError, Simulated, SimulationRefusedError
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.post_conditions import PostCondition, PostConditionMode
from clarion.chains.stacks.signing import signed_transaction
from clarion_keeper.executor import Work
from clarion_keeper.intents import Outcome, Verdict
from clarion_keeper.stacks.nodes import Nodes

log = structlog.get_logger()

TOO_LARGE: Final = (
    "Too much data in transaction",
    "Too much data in block",
    "Cost overflow",
    "Block execution budget exceeded",
)
"""How nodes say that a transaction costs more than a block allows (stacks-core, ``chainstate/stacks/mod.rs``)."""


class Certainty(StrEnum):
    """What an answer says about the transaction that is to be sent."""

    SURE = "sure"
    """It would end so at the tip."""
    UNSURE = "unsure"
    """What a made-up sender is told says nothing of the account, or is nothing that the job expects."""
    NONE = "none"
    """No node simulates."""


@dataclass(frozen=True, slots=True)
class Foretold:
    """How a call would end. ``outcomes``: for each intent, empty where nobody says. ``reason``: in words.

    ``too_large``: it costs more than a block allows. ``height``: of the block that it would be in, where a node ran it.
    """

    certainty: Certainty
    outcomes: tuple[Outcome, ...] = ()
    reason: str = ""
    too_large: bool = False
    height: int | None = None

    @property
    def forbids(self) -> bool:
        """Whether the transaction must not be signed: it would do nothing for any of its intents."""
        return self.certainty is Certainty.SURE and not any(
            outcome.verdict is Verdict.DONE and not outcome.benign for outcome in self.outcomes
        )


class Simulator:
    """Asks the nodes how calls would end."""

    def __init__(self, nodes: Nodes, network: Network, address: StandardPrincipal) -> None:
        self._nodes = nodes
        self._network = network
        self._address = encode(address)[1:]

    async def call(self, work: Work, payload: ContractCall, conditions: Sequence[PostCondition]) -> Foretold:
        """How a call would end, as far as a made-up sender can say."""
        if work.job.needs_account or any(self._address in encode(argument) for argument in payload.arguments):
            return Foretold(Certainty.UNSURE, reason="it depends on the account: it is simulated when it is signed")
        stranger = signed_transaction(
            payload,
            _made_up_key(),
            nonce=0,
            fee=0,
            network=self._network,
            post_conditions=conditions,
            post_condition_mode=PostConditionMode.ORIGINATOR,
        )
        try:
            simulated = await self._nodes.simulate(stranger.encode())
        except SimulationRefusedError as error:
            return _refused(work, str(error))
        except NodeError as error:
            return Foretold(Certainty.NONE, reason=f"by the job's own rules, for no node simulates: {error}")
        outcomes = outcomes_of(work, simulated)
        refused = simulated.status != "success" and any(o.verdict is Verdict.FAILED for o in outcomes)
        certainty = Certainty.UNSURE if refused else Certainty.SURE
        return Foretold(certainty, outcomes, _in_words(simulated), height=simulated.height)

    async def signed(self, work: Work, raw: bytes) -> Foretold:
        """How a signed transaction would end, whose nonce is the account's next."""
        try:
            simulated = await self._nodes.simulate(raw)
        except SimulationRefusedError as error:
            return _refused(work, str(error))
        except NodeError as error:
            return Foretold(Certainty.NONE, reason=f"no node simulates: {error}")
        return Foretold(Certainty.SURE, outcomes_of(work, simulated), _in_words(simulated), height=simulated.height)


def outcomes_of(work: Work, simulated: Simulated) -> tuple[Outcome, ...]:
    """What the end of a simulated call means for each of its intents."""
    if simulated.status == "abort_by_post_condition":
        reason = f"would send more than its post-conditions allow: {simulated.error or 'a post-condition failed'}"
        return tuple(Outcome(Verdict.FAILED, reason) for _ in work.items)
    try:
        outcomes = tuple(work.job.outcomes(work.items, simulated.result))
    except Exception as error:
        log.exception("a job cannot tell what its call means", job=work.job.name, intents=work.keys)
        return tuple(Outcome(Verdict.FAILED, f"its job cannot tell what that means: {error!r}") for _ in work.items)
    if len(outcomes) != len(work.items):
        return tuple(Outcome(Verdict.FAILED, f"its job tells of {len(outcomes)} intents") for _ in work.items)
    return outcomes


def _refused(work: Work, reason: str) -> Foretold:
    if not any(words in reason for words in TOO_LARGE):
        return Foretold(Certainty.UNSURE, reason=reason)
    # A single one will not become smaller by itself.
    verdict = Verdict.AGAIN if len(work.items) > 1 else Verdict.FAILED
    outcomes = tuple(Outcome(verdict, reason) for _ in work.items)
    return Foretold(Certainty.SURE, outcomes, reason, too_large=True)


def _in_words(simulated: Simulated) -> str:
    said = f"{simulated.status} in a block at {simulated.height}: {simulated.result!r}"
    return f"{said} ({simulated.error})" if simulated.error else said


def _made_up_key() -> PrivateKey:
    return PrivateKey(bytes((1,)) + secrets.token_bytes(31) + bytes((1,)))
