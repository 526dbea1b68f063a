"""The BitHedge contracts on Clarity's own virtual machine; what they print is folded into rows."""

from __future__ import annotations

import atexit
import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from clarion.chains.stacks.clarity import Value, bytes_from_hex, decode, encode_hex
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.node import find_node
from clarion.protocols.bithedge import deployment, protocol
from support.bithedge_rows import DEPLOYER, Folded

REPOSITORY = Path(__file__).parents[2]
PROGRAM = REPOSITORY / "tests" / "vectors" / "bithedge_simnet.mjs"
SDK = REPOSITORY / "contracts" / "node_modules" / "@stacks" / "clarinet-sdk"

ADDRESSES = (
    DEPLOYER,
    "ST1SJ3DTE5DN7X54YDH5D64R3BCB6A2AG2ZQ8YPD5",
    "ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG",
    "ST2JHG361ZXG51QTKY2NQCVBPPRRE2KZB1HR05NNC",
    "ST2NEB84ASENDXKYGJPQW86YXQCEFEX2ZQPG87ND",
    "ST2REHHS5J3CERCRBEPMGH7921Q6PYKAADT7JP2VB",
    "ST3AM1A56AK2C1XAFJ4115ZSV26EB49BVQ10MGCS0",
    "ST3PF13W7Z0RRM42A8VZRVFQ75SV1K26RXEP8YGKJ",
    "ST3NBRSFKX28FQ2ZJ1MAKX58HKHSDGNV5N7R21XCP",
    "STNHKEPYEPJ8ET55ZZ0M5A34J0R3N5FM2CMMMAZ6",
)
"""Accounts without keys that the machine lets call; the first deploys."""
SBTC = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token"


_idle: list[subprocess.Popen[str]] = []
"""Machines that nobody uses now: one takes a second to start."""


@atexit.register
def _end_machines() -> None:
    for process in _idle:
        _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


class RefusedError(Exception):
    """The machine could not do what it was asked: analysis or runtime error."""


@dataclass(frozen=True)
class Outcome:
    """What a call gave. ``value`` is inside the response; ``code`` the error's number, None where it succeeded.

    ``result`` is the whole response as a Clarity value.
    """

    value: Any
    code: int | None
    events: list[dict[str, Any]]
    result: Value


def _new_machine() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [find_node(), PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )


@dataclass
class Simnet:
    """A running machine. Use it as a context manager."""

    process: subprocess.Popen[str]
    asking: bool = False
    burn: int = 0
    height: int = 0
    printed: list[tuple[str, Any]] = field(default_factory=list)
    folded: Folded = field(default_factory=Folded)

    @classmethod
    def start(cls) -> Self:
        """Start an empty machine in epoch 4.0; skips the test where the contracts' packages are not installed."""
        if not SDK.exists():
            pytest.skip("needs the packages of contracts/package.json")
        machine = cls(_idle.pop() if _idle else _new_machine())
        machine.ask(op="begin")
        return machine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.asking:
            self.process.kill()
            _end(self.process)
        else:
            _idle.append(self.process)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and read its answer. Raises RefusedError."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asking = True
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the machine ended"
        self.asking = False
        answer: dict[str, Any] = json.loads(line)
        self.burn, self.height = answer["burn"], answer["height"]
        if "error" in answer:
            raise RefusedError(answer["error"])
        return answer

    def publish(self) -> None:
        """Deploy BitHedge's contracts, as DEPLOYER."""
        steps = deployment.publish(deployment.sources_folder())
        contracts = [{"name": step.name, "source": step.source} for step in steps]
        self.ask(op="publish", contracts=contracts, sender=DEPLOYER)

    def deploy(self, *names: str) -> None:
        """Deploy contracts of the repository, as DEPLOYER."""
        for name in names:
            source = (REPOSITORY / "contracts" / "contracts" / f"{name}.clar").read_text(encoding="ascii")
            self.deploy_source(name, source)

    def deploy_source(self, name: str, source: str) -> None:
        """Deploy a contract from source, as DEPLOYER."""
        self.ask(op="deploy", name=name, source=source, sender=DEPLOYER)

    def call(self, contract: str, function: str, *arguments: Value, sender: str = DEPLOYER) -> Outcome:
        """Call a public function; what the protocol's contracts print is folded as a block of its own."""
        answer = self.ask(
            op="call",
            contract=f"{DEPLOYER}.{contract}",
            function=function,
            arguments=[encode_hex(argument) for argument in arguments],
            sender=sender,
        )
        prints = [
            (event["contract"], decode_json(bytes_from_hex(event["value"])))
            for event in answer["events"]
            if event["kind"] == "print"
        ]
        ours = [event for event in prints if event[0].partition(".")[2] in protocol.short_names()]
        self.printed += ours
        self.folded.block(ours, burn=self.burn, sender=sender)
        raw = bytes_from_hex(answer["result"])
        response: Any = decode_json(raw)
        ok = "ok" in response
        return Outcome(response["ok" if ok else "err"], None if ok else response["err"], answer["events"], decode(raw))

    def must(self, contract: str, function: str, *arguments: Value, sender: str = DEPLOYER) -> Any:
        """Call a public function that has to succeed; gives what is inside its response."""
        outcome = self.call(contract, function, *arguments, sender=sender)
        assert outcome.code is None, f"{contract}.{function} gave error {outcome.code}"
        return outcome.value

    def read(self, contract: str, function: str, *arguments: Value) -> Any:
        """What a read-only function gives."""
        answer = self.ask(
            op="read",
            contract=f"{DEPLOYER}.{contract}",
            function=function,
            arguments=[encode_hex(argument) for argument in arguments],
            sender=DEPLOYER,
        )
        return decode_json(bytes_from_hex(answer["result"]))

    def evaluate(self, source: str) -> Any:
        """What a Clarity expression gives."""
        return decode_json(bytes_from_hex(self.ask(op="evaluate", source=source)["result"]))

    def mine(self, burn_blocks: int = 1) -> None:
        """Let Bitcoin blocks pass."""
        self.ask(op="mine", burn=burn_blocks)
