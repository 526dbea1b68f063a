"""Writes `fixtures/bithedge-devnet.tsv.zst`: what a node posts while BitHedge goes through everything it can do.

    python -m clarion.dev.record

A devnet that mines on request only, a fixed seed and a fixed clock: the same code writes the same posts. `tests/e2e`
compares them with the file, so a change of the contracts, the devnet or the cast ends with running this again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
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
    NONE,
    Bool,
    Buffer,
    List,
    OptionalNone,
    Some,
    StringAscii,
    Tuple,
    UInt,
    Value,
    encode,
    principal,
)
from clarion.chains.stacks.observer import observer_app
from clarion.config import Devnet, Observer, Settings
from clarion.dev.accounts import Account
from clarion.dev.calls import SBTC_TOKEN, Call, PolicyTerms
from clarion.dev.devnet_client import DevnetClient
from clarion.dev.planner import Purchase
from clarion.dev.run import devnet_command
from clarion.dev.scenario import Scenario, open_scenario
from clarion.dev.settlement import settlement_calls
from clarion.dev.world import World

SEED: Final = 1
GENESIS_TIME: Final = 1_767_225_600  # 2026-01-01
STEPS_PER_BURN_BLOCK: Final = 3
BEFORE_FIRST_FORK: Final = 50
BETWEEN_FORKS: Final = 32
AFTER_FORKS: Final = 24
AFTER_DELAY: Final = 24
FORK_DEPTHS: Final = (3, 14)
BURN_AT_ONCE: Final = 500
CRASH_ROUNDS: Final = 4
SUCCESSION_DELAY: Final = 144
"""bh-registry SUCCESSION-DELAY, in Bitcoin blocks."""
LAST_POLICY_BLOCKS: Final = 50
GIFT_MICRO_STX: Final = 10 * 10**6
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
        self._module = self._calls.contract("fixture-module")

    async def tell(self) -> None:
        """Play everything."""
        await self._scenario.prepare()
        await self._play(BEFORE_FIRST_FORK)
        await self._devnet.fork(FORK_DEPTHS[0])
        await self._play(BETWEEN_FORKS)
        await self._devnet.fork(FORK_DEPTHS[1])
        await self._mistakes()
        await self._register_module()
        await self._play(AFTER_FORKS)
        await self._govern()
        await self._fall_back()
        await self._wait_for_module()
        await self._migrate()
        await self._play(AFTER_DELAY)
        await self._fund_program()
        await self._end_program()
        await self._end_recovery()
        await self._exercise()
        await self._crash()
        await self._replace_treasury_and_fund()
        await self._govern_by_stake()
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

    async def _register_module(self) -> None:
        """A module is announced, and another one taken back."""
        source = MODULE_SOURCE.read_text(encoding="ascii")
        await self._scenario.wallet.deploy(self._deployer, self._module.partition(".")[2], source)
        await self._scenario.next_block()
        await self._scenario.next_block()
        code_hash = Buffer(hashlib.new("sha512_256", source.encode()).digest())
        await self._do(
            *(
                self._govern_call(
                    "bh-registry", "register-module", StringAscii(name), UInt(1), self._module_id, code_hash
                )
                for name in ("lending", "escrow")
            ),
            *(
                self._govern_call(
                    "bh-registry", "register-module", StringAscii(name), UInt(2), self._module_id, code_hash
                )
                for name in ("treasury", "fund")
            ),
        )
        await self._do(self._govern_call("bh-registry", "deprecate-module", StringAscii("escrow"), UInt(1)))

    async def _govern(self) -> None:
        """Everything that governance and guardian can change, and change back."""
        provider, spare = self._scenario.cast.providers[0], principal(self._scenario.cast.buyers[0].address)
        helper, guest = StringAscii("helper"), StringAscii("guest")
        stx = principal(self._calls.stx_token)
        soon = Some(UInt((await self._scenario.look()).burn_height + 1))
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
            self._govern_call("bh-registry", "grant-role", guest, spare, soon),
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
            self._gift(provider),
        )
        await self._do(
            self._govern_call("bh-params", "reset-breaker", StringAscii("deposit"), none),
            self._calls.call(provider, "bh-vault", "set-auto-match", Bool(True), note="automatch on"),
            self._govern_call("bh-treasury", "spend", stx, spare, UInt(GIFT_MICRO_STX), none),
            self._calls.call(
                self._scenario.cast.providers[-1],
                "bh-vault",
                "change-tier",
                stx,
                StringAscii("balanced"),
                StringAscii("conservative"),
                UInt(1_000_000),
                note="change of tier",
            ),
        )
        await self._devnet.burn(2)
        await self._do(self._calls.call(provider, "bh-registry", "expire-role", guest, spare, note="role over"))

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

    @property
    def _module_id(self) -> Value:
        return principal(self._module)

    async def _wait_for_module(self) -> None:
        """Bitcoin blocks go by until the module that was registered may be activated."""
        row = await self._scenario.reader.ask("bh-registry", "get-module", StringAscii("lending"), UInt(1))
        while left := row["active-from-burn"] - (await self._scenario.look()).burn_height:
            await self._devnet.burn(min(left, BURN_AT_ONCE))

    async def _migrate(self) -> None:
        """Rows are copied into the new module, which is activated then."""
        version, items = (StringAscii("lending"), UInt(1)), bytes(range(32))
        await self._do(self._govern_call("bh-registry", "begin-migration", *version))
        name, provider = self._module.partition(".")[2], self._scenario.cast.providers[0]
        step = (UInt(1), UInt(1), Buffer(items))
        await self._do(self._calls.call(provider, name, "step-migration", *step, note="a step of the migration"))
        digest = hashlib.sha256(bytes(32) + items).digest()
        await self._do(self._govern_call("bh-registry", "finish-migration", UInt(1), Buffer(digest)))
        await self._do(self._govern_call("bh-registry", "activate-module", *version))

    async def _fund_program(self) -> None:
        """Part of the treasury's own share goes to the programme."""
        provider, stx = self._scenario.cast.providers[0], principal(self._calls.stx_token)
        await self._do(self._gift(provider))
        fund = self._govern_call("bh-treasury", "fund-program", UInt(1), stx, UInt(GIFT_MICRO_STX // 2), NONE)
        await self._do(fund)
        await self._do(self._govern_call("bh-treasury", "unfund-program", UInt(1), stx, NONE))
        await self._do(fund)
        await self._do(self._keeper_call("bh-incentives", "draw-funds", UInt(1), stx))

    def _gift(self, provider: Account) -> Call:
        return self._calls.pay(
            provider,
            "bh-treasury",
            "contribute",
            principal(self._calls.stx_token),
            UInt(GIFT_MICRO_STX),
            token=self._calls.stx_token,
            amount=GIFT_MICRO_STX,
            note="gift to the treasury",
        )

    async def _end_recovery(self) -> None:
        """The fund's plan gets what it still lacks, and is over."""
        steward, token = self._scenario.cast.steward, self._calls.stx_token
        plan = await self._scenario.reader.ask("bh-fund", "get-plan", UInt(1))
        lacking = plan["target"] - plan["raised"]
        gift = (UInt(1), principal(token), UInt(lacking))
        if lacking:
            await self._do(
                self._calls.pay(
                    steward, "bh-fund", "contribute", *gift, token=token, amount=lacking, note="last contribution"
                )
            )
        await self._do(self._calls.call(steward, "bh-fund", "complete-recovery", UInt(1), note="recovery complete"))

    async def _exercise(self) -> None:
        """An American put comes into the money and is exercised."""
        await self._buy_put(LAST_POLICY_BLOCKS, style="american")
        await self._devnet.burn()
        await self._fall(percent_left={"BTC": 96, "STX": 100})
        policy = await self._scenario.reader.ask("bh-policy", "get-last-policy")
        buyer, stx = self._scenario.cast.buyers[0], self._calls.stx_token
        await self._do(self._calls.end_policy(buyer, "exercise", policy, stx))

    async def _end_program(self) -> None:
        """The rewards that nobody claimed, and those that were never given, go back."""
        program, ask, keeper = UInt(1), self._scenario.reader.ask, self._scenario.cast.keeper
        burn_height = (await self._scenario.look()).burn_height
        row = await ask("bh-incentives", "get-program", program)
        last = (burn_height - row["start-burn"]) // row["epoch-burn"]
        over = []
        for number in range(1, last + 1):
            epoch = await ask("bh-incentives", "get-epoch", program, UInt(number))
            if epoch and epoch["deadline-burn"] < burn_height and not epoch["closed"]:
                over.append(self._keeper_call("bh-incentives", "close-epoch", program, UInt(number)))
        await self._do(*over, self._govern_call("bh-incentives", "end-program", program, NONE))
        stx = principal(self._calls.stx_token)
        await self._do(self._calls.call(keeper, "bh-incentives", "return-budget", program, stx, note="budget returned"))

    def _keeper_call(self, contract: str, function: str, *arguments: Value) -> Call:
        keeper = self._scenario.cast.keeper
        return self._calls.call(keeper, contract, function, *arguments, note=f"keeper: {function}")

    async def _replace_treasury_and_fund(self) -> None:
        """Other versions of treasury and fund become active and get what the first ones own."""
        row = await self._scenario.reader.ask("bh-registry", "get-module", StringAscii("fund"), UInt(2))
        stx = principal(self._calls.stx_token)
        await self._do(
            *(
                self._govern_call("bh-registry", "activate-module", StringAscii(name), UInt(2))
                for name in ("treasury", "fund")
            )
        )
        await self._until_burn(row["active-from-burn"] + SUCCESSION_DELAY)
        await self._do(
            self._govern_call("bh-treasury", "pass-on-fees", stx, NONE),
            self._govern_call("bh-fund", "pass-on-capital", stx, NONE),
        )

    async def _govern_by_stake(self) -> None:
        """Governance passes to the stakers: of four proposals one is executed, the others fail, each in its own way."""
        await self._do(self._govern_call("bh-registry", "handover", principal(self._calls.contract("bh-gov"))))
        stakers, ask = self._scenario.cast.providers, self._scenario.reader.ask
        fee = List((Tuple({"key": StringAscii("cancel-fee-bp"), "value": UInt(600)}),))
        item = Tuple({"kind": StringAscii("set-params"), "data": Buffer(encode(fee))})

        def gov(who: Account, function: str, *arguments: Value) -> Call:
            return self._calls.call(who, "bh-gov", function, *arguments, note=f"{who.name}: {function}")

        text = (Buffer(bytes(32)), StringAscii("devnet:proposal"), List((item,)))
        await self._do(*(gov(who, "propose", *text) for who in stakers[:4]))
        executed, defeated, stopped, forgotten = map(UInt, range(1, 5))
        choices = {executed: "for", defeated: "against", stopped: "for", forgotten: "for"}
        await self._do(
            *(
                gov(who, "vote", proposal, StringAscii("abstain" if who == stakers[3] else choice))
                for who in stakers[:4]
                for proposal, choice in choices.items()
            )
        )
        row = await ask("bh-gov", "get-proposal", executed)
        await self._until_burn(row["voting-ends-burn"] + 1)
        await self._do(*(gov(self._scenario.cast.keeper, "finalize", proposal) for proposal in choices))
        await self._do(gov(self._guardian, "cancel", stopped))
        await self._until_burn(row["eta-burn"])
        brought = List((principal(self._calls.stx_token),))
        await self._do(gov(stakers[4], "execute", executed, brought))
        await self._until_burn(row["grace-ends-burn"] + 1)
        await self._do(
            gov(stakers[4], "expire", forgotten),
            gov(stakers[5], "unstake", principal(self._calls.stx_token), UInt(1_000_000)),
        )

    async def _until_burn(self, burn_height: int) -> None:
        """Bitcoin blocks go by."""
        left = burn_height - (await self._scenario.look()).burn_height
        if left > 0:
            await self._devnet.burn(left)

    async def _crash(self) -> None:
        """Prices fall so far that a policy's collateral does not pay it; its owner claims, and the fund pays."""
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
        owner, steward = self._scenario.cast.buyers[0], self._scenario.cast.steward
        claim = (UInt(policy), Buffer(bytes(32)))
        await self._do(self._calls.call(owner, "bh-policy", "open-claim", *claim, note="claim"))
        decision = (UInt(policy), UInt(unpaid), Buffer(bytes(32)))
        await self._do(self._calls.call(steward, "bh-policy", "resolve-claim", *decision, note="claim approved"))
        cover = (UInt(policy), principal(self._calls.stx_token))
        await self._do(self._calls.call(steward, "bh-fund", "cover-shortfall", *cover, note="shortfall covered"))

    async def _buy_put(self, blocks_ahead: int, style: str = "european") -> None:
        """A put near the money that expires so many Bitcoin blocks ahead."""
        world = await self._scenario.look()
        terms = PolicyTerms(
            type="put",
            style=style,
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
