"""Writes `fixtures/bithedge-devnet.tsv.zst`: what a node posts while BitHedge goes through everything it can do.

    python -m clarion.dev.record

A devnet that mines on request only, a fixed seed and a fixed clock: the same code writes the same posts. `tests/e2e`
compares them with the file, so a change of the contracts, the devnet or the cast ends with running this again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import socket
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import uvicorn
import zstandard

from clarion.chains.stacks.clarity import (
    Bool,
    OptionalNone,
    StringAscii,
    Tuple,
    UInt,
    Value,
    contract_principal,
    principal,
)
from clarion.chains.stacks.observer import observer_app
from clarion.config import Devnet, Observer, Settings
from clarion.dev.calls import SBTC_TOKEN, Call, PolicyTerms
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.planner import Purchase
from clarion.dev.run import devnet_command
from clarion.dev.scenario import Scenario, open_scenario
from clarion.dev.settlement import settlement_calls
from clarion.dev.world import World

SEED: Final = 1
GENESIS_TIME: Final = 1_767_225_600  # 2026-01-01
STEPS_PER_BURN_BLOCK: Final = 4
BEFORE_FIRST_FORK: Final = 50
BETWEEN_FORKS: Final = 32
AFTER_FORKS: Final = 24
AFTER_DELAY: Final = 24
FORK_DEPTHS: Final = (3, 14)
BURN_AT_ONCE: Final = 500
CRASH_ROUNDS: Final = 4
LAST_POLICY_BLOCKS: Final = 50
FIXTURES: Final = Path(__file__).resolve().parents[3] / "fixtures"
RECORDING: Final = FIXTURES / "bithedge-devnet.tsv.zst"
MAX_BODY_BYTES: Final = 64 << 20
MODULE_SOURCE: Final = FIXTURES / "module.clar"


class RecordError(Exception):
    """The recording could not be made; the message says at which point."""


@dataclass
class Recording:
    """Posts in the order they came."""

    posts: list[tuple[str, bytes]] = field(default_factory=list)

    async def keep(self, path: str, body: bytes, *, source: str, error: str | None = None) -> None:
        """Take a post from the observer."""
        if error is not None:
            raise RecordError(error)
        self.posts.append((path, body))

    def lines(self) -> bytes:
        """The posts as a table's COPY text: number, a made-up time, path, JSON."""
        first = datetime.fromtimestamp(GENESIS_TIME, UTC)
        out = []
        for number, (path, body) in enumerate(self.posts, start=1):
            when = (first + timedelta(seconds=number)).strftime("%Y-%m-%d %H:%M:%S+00")
            out.append(b"\t".join((str(number).encode(), when.encode(), path.encode(), body.replace(b"\\", b"\\\\"))))
        return b"\n".join(out) + b"\n"


async def record(seed: int = SEED) -> Recording:
    """Play the whole story on a devnet of its own, and give what it posted.

    Raises:
        RecordError: the devnet did not start, or the story did not come out as it has to.
    """
    recording = Recording()
    async with _observer(recording) as port, _devnet(seed, port) as url:

        def mine_on_request(devnet: DevnetClient) -> _Miner:
            return _Miner(devnet)

        async with (
            open_scenario(url, seed=seed, mine=mine_on_request, handover=False) as scenario,
            DevnetClient(url) as devnet,
        ):
            await _Story(scenario, devnet).tell()
            while (await devnet.status())["posts"]["queued"]:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)
    return recording


class _Miner:
    """Mines a block when called, every few blocks with a new Bitcoin block before it."""

    def __init__(self, devnet: DevnetClient) -> None:
        self._devnet = devnet
        self._mined = 0

    async def __call__(self) -> None:
        self._mined += 1
        if self._mined % STEPS_PER_BURN_BLOCK:
            await self._devnet.mine()
        else:
            await self._devnet.burn()


class _Story:
    """What happens in the recording, in order."""

    def __init__(self, scenario: Scenario, devnet: DevnetClient) -> None:
        self._scenario = scenario
        self._devnet = devnet
        self._calls = scenario.calls
        self._deployer, self._guardian = scenario.cast.deployer, scenario.cast.guardian
        self._treasury = self._calls.contract("fixture-treasury")
        self._fund = self._calls.contract("fixture-fund")

    async def tell(self) -> None:
        """Play everything."""
        await self._scenario.prepare()
        await self._play(BEFORE_FIRST_FORK)
        await self._devnet.fork(FORK_DEPTHS[0])
        await self._play(BETWEEN_FORKS)
        await self._devnet.fork(FORK_DEPTHS[1])
        await self._mistakes()
        await self._register_modules()
        await self._play(AFTER_FORKS)
        await self._govern()
        await self._fall_back()
        await self._wait_for_modules()
        await self._activate_modules()
        await self._play(AFTER_DELAY)
        await self._crash()
        await self._buy_put(LAST_POLICY_BLOCKS)

    async def _play(self, steps: int) -> None:
        """Let the cast play, with everything settled that is due."""
        for _ in range(steps):
            world = await self._scenario.look()
            await self._scenario.act(world)
            await self._settle(world)
            await self._scenario.next_block()

    async def _settle(self, world: World) -> int:
        keeper = self._scenario.cast.keeper
        if self._scenario.wallet.is_busy(keeper):
            await self._scenario.wallet.sync(keeper)
        due = await settlement_calls(self._scenario.reader, self._calls, keeper, world)
        for call in due:
            await self._scenario.send(call)
        return len(due)

    async def _do(self, *calls: Call) -> None:
        """Send calls and mine them."""
        for call in calls:
            if not await self._scenario.send(call):
                raise RecordError(f"The devnet refused a call of the recording: {call.note}")
        await self._scenario.next_block()

    def _govern_call(self, contract: str, function: str, *arguments: Value) -> Call:
        return self._calls.call(self._deployer, contract, function, *arguments, note=f"governance: {function}")

    def _guard_call(self, contract: str, function: str, *arguments: Value) -> Call:
        return self._calls.call(self._guardian, contract, function, *arguments, note=f"guardian: {function}")

    async def _mistakes(self) -> None:
        """Transactions that fail, each in its own way."""
        provider, buyer = self._scenario.cast.providers[0], self._scenario.cast.buyers[0]
        stx = self._calls.stx_token
        await self._do(
            self._calls.deposit(provider, stx, "balanced", 1_000_000, promised=999_999),
            self._calls.deposit(provider, stx, "balanced", 0),
            self._calls.set_params(buyer, {"cancel-fee-bp": 0}),
        )

    async def _register_modules(self) -> None:
        source = MODULE_SOURCE.read_text(encoding="ascii")
        for contract in (self._treasury, self._fund):
            await self._scenario.wallet.deploy(self._deployer, contract.partition(".")[2], source)
        await self._scenario.next_block()
        await self._scenario.next_block()
        modules = [("treasury", self._treasury), ("fund", self._fund), ("arbiter", self._fund)]
        await self._do(
            *(
                self._govern_call("bh-registry", "register-module", StringAscii(name), UInt(1), principal(contract))
                for name, contract in modules
            )
        )
        await self._do(self._govern_call("bh-registry", "deprecate-module", StringAscii("arbiter"), UInt(1)))

    async def _govern(self) -> None:
        """Everything that governance and guardian can change, and change back."""
        provider, spare = self._scenario.cast.providers[0], principal(self._scenario.cast.buyers[0].address)
        helper = StringAscii("helper")
        none = OptionalNone()
        tier = Tuple(
            {
                "strike-min-bp": UInt(9_000),
                "strike-max-bp": UInt(10_001),
                "max-duration-burn": UInt(12_000),
                "premium-mult-bp": UInt(12_500),
                "ratio-min-bp": UInt(13_000),
                "ratio-warn-bp": UInt(13_500),
                "max-policy-bp": UInt(5_000),
                "max-expiry-bp": UInt(5_000),
                "active": Bool(True),
            }
        )
        token = Tuple(
            {
                "asset": StringAscii("BTC"),
                "asset-name": StringAscii("sbtc-token"),
                "native": Bool(False),
                "decimals": UInt(8),
                "haircut-bp": UInt(100),
                "cap": UInt(50_000_000_000),
                "active": Bool(True),
            }
        )
        await self._do(
            self._govern_call("bh-registry", "grant-role", helper, spare, none),
            self._govern_call("bh-registry", "revoke-role", helper, spare),
            self._govern_call("bh-params", "set-flag", StringAscii("cancel"), Bool(False), none),
            self._govern_call("bh-params", "set-flag", StringAscii("cancel"), Bool(True), none),
            self._govern_call("bh-params", "set-tier", StringAscii("aggressive"), tier, none),
            self._govern_call("bh-params", "set-token", principal(SBTC_TOKEN), token, none),
            self._govern_call("bh-params", "set-fees", UInt(8_900), UInt(650), UInt(450), none),
            self._govern_call("bh-oracle", "set-provider", spare, UInt(1)),
            self._govern_call("bh-oracle", "set-provider", spare, UInt(0)),
            self._govern_call(
                "bh-oracle", "set-asset", StringAscii("ETH"), Bool(False), UInt(3_000 * 10**8), Bool(True)
            ),
            self._guard_call("bh-params", "trip-breaker", StringAscii("deposit"), StringAscii("drill")),
            self._calls.call(provider, "bh-vault", "set-auto-match", Bool(False), note="automatch off"),
        )
        await self._do(
            self._govern_call("bh-params", "reset-breaker", StringAscii("deposit"), none),
            self._calls.call(provider, "bh-vault", "set-auto-match", Bool(True), note="automatch on"),
        )

    async def _fall_back(self) -> None:
        """The oracle is stopped; the guardian announces prices, one is withdrawn and one is applied."""
        stx, oracle = StringAscii("STX"), StringAscii("oracle")
        price = UInt(self._scenario.planner.market_price("STX", 1))
        announce = self._guard_call("bh-oracle", "set-fallback", stx, price, StringAscii("drill"))
        await self._do(self._calls.set_params(self._deployer, {"fallback-delay": 6}))
        await self._do(self._guard_call("bh-params", "trip-breaker", oracle, StringAscii("drill")))
        await self._do(announce)
        await self._do(self._govern_call("bh-oracle", "cancel-fallback", stx))
        await self._do(announce)
        await self._devnet.burn(7)
        await self._do(self._guard_call("bh-oracle", "apply-fallback", stx))
        await self._do(self._govern_call("bh-params", "reset-breaker", oracle, OptionalNone()))

    async def _wait_for_modules(self) -> None:
        """Bitcoin blocks go by until modules that were registered may be activated."""
        row = await self._scenario.reader.ask("bh-registry", "get-module", StringAscii("fund"), UInt(1))
        while left := row["active-from-burn"] - (await self._scenario.look()).burn_height:
            await self._devnet.burn(min(left, BURN_AT_ONCE))

    async def _activate_modules(self) -> None:
        for name in ("treasury", "fund"):
            await self._do(self._govern_call("bh-registry", "activate-module", StringAscii(name), UInt(1)))
        for contract in (self._treasury, self._fund):
            await self._do(self._module_call(contract, "collect-fees", contract_principal(self._calls.stx_token)))

    def _module_call(self, contract: str, function: str, *arguments: Value) -> Call:
        keeper = self._scenario.cast.keeper
        return self._calls.call(
            keeper, contract.partition(".")[2], function, *arguments, note=f"{contract}: {function}"
        )

    async def _crash(self) -> None:
        """Prices fall so far that a policy's collateral does not pay it; the fund pays the rest."""
        await self._do(self._calls.set_params(self._deployer, {"oracle-max-deviation-bp": 5_000}))
        await self._buy_put(CRASH_ROUNDS)
        for _ in range(CRASH_ROUNDS):
            await self._devnet.burn()
            await self._fall(percent_left={"BTC": 75, "STX": 55})
        while await self._settle(await self._scenario.look()):
            await self._scenario.next_block()
        policy = await self._scenario.reader.ask("bh-policy", "get-last-policy")
        unpaid = (await self._scenario.reader.ask("bh-policy", "get-policy", UInt(policy)))["unpaid-usd8"]
        if not unpaid:
            raise RecordError("The crash left nothing unpaid")
        await self._do(self._module_call(self._fund, "reduce-unpaid", UInt(policy), UInt(unpaid)))

    async def _buy_put(self, blocks_ahead: int) -> None:
        """A put near the money that expires so many Bitcoin blocks ahead."""
        world = await self._scenario.look()
        terms = PolicyTerms(
            type="put",
            style="european",
            asset="BTC",
            strike_usd8=world.assets["BTC"].price_usd8 * 99 // 100,
            notional_sat=1_000_000,
            expiry_burn=world.burn_height + blocks_ahead,
            token=self._calls.stx_token,
        )
        purchase = await self._scenario.order(Purchase(self._scenario.cast.buyers[0], terms))
        if purchase is None:
            raise RecordError(f"Nobody sells the policy that is to expire at Bitcoin block {terms.expiry_burn}")
        await self._do(purchase)

    async def _fall(self, percent_left: dict[str, int]) -> None:
        """A round of each asset at a part of its last price."""
        world = await self._scenario.look()
        submitters = self._scenario.cast.submitters
        await self._do(
            *(
                self._calls.submit_price(
                    submitter, asset, view.next_round, view.price_usd8 * percent_left[asset] // 100, world.burn_height
                )
                for submitter in submitters
                for asset, view in world.assets.items()
                if submitter.address not in view.submitted
            )
        )
        await self._do(
            *(self._calls.close_round(submitters[0], asset, view.next_round) for asset, view in world.assets.items())
        )


@contextlib.asynccontextmanager
async def _observer(recording: Recording) -> AsyncIterator[int]:
    """An observer that keeps what it is sent; gives its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    app = observer_app(recording.keep, max_body_bytes=MAX_BODY_BYTES, max_memory_bytes=MAX_BODY_BYTES)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def _devnet(seed: int, observer_port: int) -> AsyncIterator[str]:
    """A devnet that mines on request; gives its URL."""
    with tempfile.TemporaryDirectory(prefix="clarion-record-") as folder:
        settings = Settings(
            state_dir=Path(folder),
            devnet=Devnet(port=0, block_interval_ms=0, burn_interval_ms=0, seed=seed),
            observer=Observer(port=observer_port),
        )
        # a post that is answered late is sent again: on a slow machine the recording would differ
        command = [*devnet_command(settings), "--genesis-time", str(GENESIS_TIME), "--observer-timeout-ms", "600000"]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None
        try:
            ready = await process.stdout.readline()
            if not ready:
                raise RecordError("The devnet ended before it was ready; what it said is above")
            yield json.loads(ready)["url"]
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the recording."""
    parser = argparse.ArgumentParser(prog="python -m clarion.dev.record", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=RECORDING, help="file to write (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="what the cast decides follows from it (%(default)s)")
    options = parser.parse_args(arguments)
    recording = asyncio.run(record(options.seed))
    packed = zstandard.ZstdCompressor(level=19, write_checksum=True).compress(recording.lines())
    options.out.write_bytes(packed)
    print(f"{options.out}: {len(recording.posts)} posts, {len(packed)} bytes")


if __name__ == "__main__":
    main()
