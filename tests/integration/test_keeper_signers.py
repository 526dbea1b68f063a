"""Signers as the keeper reaches them: agents in processes of their own, external signers, kills, hangs and restarts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest
from support.signing import ADDRESS, DEPLOYER, KEY, LIMITS, PURPOSE, SECRET, freeing_transfer, key_file, unsigned
from support.signing_run import WAIT_SECONDS, SigningProcess, agents_of, running_signers, until

from clarion.chains.stacks.signing import sign, verify
from clarion.chains.stacks.transactions import decode_transaction
from clarion.config import ConfigurationError, Settings
from clarion_keeper.signers import (
    Signer,
    SignerProtocolError,
    SignerUnavailableError,
    SigningRefusedError,
    open_signer,
)
from clarion_keeper.signers.accounts import open_signers
from clarion_keeper.signers.agent_options import AgentOptions
from clarion_keeper.signers.limits import StacksLimits
from clarion_keeper.signers.processes import AGENT_MODULE

REPOSITORY = Path(__file__).resolve().parents[2]


class Opened:
    """Opens signers, and closes them when the test ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.signers: list[Signer] = []

    async def __call__(
        self,
        url: str,
        limits: StacksLimits = LIMITS,
        timeout_seconds: float = WAIT_SECONDS,
        rest_seconds: float = 0,
    ) -> Signer:
        signer = await open_signer(
            url,
            limits,
            account="keeper",
            ledger=self.folder / "{key}.sqlite",
            timeout_seconds=timeout_seconds,
            rest_seconds=rest_seconds,
        )
        self.signers.append(signer)
        return signer


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = Opened(tmp_path / "ledgers")
    yield opened
    for signer in opened.signers:
        await signer.aclose()


def only_agent() -> psutil.Process:
    (agent,) = agents_of(psutil.Process())
    return agent


async def check_signs(signer: Signer, nonce: int = 3) -> None:
    transaction = unsigned(nonce=nonce)
    signed = decode_transaction(await signer.sign_stacks(transaction.encode(), purpose=PURPOSE))
    assert verify(signed).origin == ADDRESS
    assert signed == sign(transaction, KEY)


# agents


async def test_an_agent_signs_in_a_process_of_its_own(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}")
    assert (signer.address, signer.public_key) == (str(ADDRESS), KEY.public_key)
    await check_signs(signer)
    agent = only_agent()
    assert agent.rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert SECRET[:32].hex() not in " ".join(agent.cmdline())
    await signer.aclose()
    until(lambda: not agent.is_running())


async def test_what_is_over_a_limit_or_another_contract_is_refused(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}")
    for transaction, limit in ((unsigned(fee=20_001), "max_fee"), (unsigned(freeing_transfer(9)), "calls")):
        with pytest.raises(SigningRefusedError) as caught:
            await signer.sign_stacks(transaction.encode(), purpose=PURPOSE)
        assert caught.value.limit == limit
    await check_signs(signer)


async def test_a_key_that_cannot_be_used_says_why(tmp_path: Path, opened: Opened) -> None:
    path = key_file(tmp_path)
    path.chmod(0o644)
    with pytest.raises(SignerUnavailableError, match=f"chmod 600 {path}"):
        await opened(f"file:{path}")
    with pytest.raises(SignerUnavailableError, match="give_up_keys has to be called first"):
        await opened("env:SOME_KEY")


async def test_a_killed_agent_is_started_again_and_the_hour_goes_on(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}")
    for nonce in range(5):
        await signer.sign_stacks(unsigned(nonce=nonce, fee=20_000).encode(), purpose=PURPOSE)
    for _ in range(2):
        only_agent().kill()
        with pytest.raises(SigningRefusedError) as caught:
            await signer.sign_stacks(unsigned(nonce=5, fee=1).encode(), purpose=PURPOSE)
        assert caught.value.limit == "max_hourly"
    await signer.sign_stacks(unsigned(nonce=4, fee=20_000).encode(), purpose=PURPOSE)


async def test_an_agent_that_hangs_is_replaced(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}", timeout_seconds=5)
    agent = only_agent()
    agent.suspend()
    with pytest.raises(SignerUnavailableError, match="within 5 seconds"):
        await signer.sign_stacks(unsigned().encode(), purpose=PURPOSE)
    assert not agent.is_running()
    await check_signs(signer)


async def test_one_that_hung_is_not_waited_for_again_and_again(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}", timeout_seconds=5, rest_seconds=3_600)
    only_agent().suspend()
    with pytest.raises(SignerUnavailableError, match="within 5 seconds"):
        await signer.sign_stacks(unsigned().encode(), purpose=PURPOSE)
    for _ in range(100):
        with pytest.raises(SignerUnavailableError, match="a moment ago"):
            await signer.sign_stacks(unsigned().encode(), purpose=PURPOSE)


async def test_many_ask_at_once_while_the_agent_is_killed(tmp_path: Path, opened: Opened) -> None:
    signer = await opened(f"file:{key_file(tmp_path)}", msgspec.structs.replace(LIMITS, max_hourly=10**9))
    asking = [asyncio.create_task(check_signs(signer, nonce)) for nonce in range(200)]
    await asking[20]
    only_agent().kill()
    await asyncio.gather(*asking)


async def test_two_accounts_have_two_keys(tmp_path: Path) -> None:
    key = f"file:{key_file(tmp_path)}"
    accounts = {"one": {"signer": key, "lanes": ["settle"]}, "other": {"signer": key, "lanes": ["oracle"]}}
    settings = Settings.model_validate({"state_dir": tmp_path, "keeper": {"accounts": accounts}})
    with pytest.raises(ConfigurationError, match="one and other have one key"):
        async with open_signers(settings):
            pass
    assert agents_of(psutil.Process()) == []


async def test_a_signer_that_is_known_and_gone_holds_up_nobody_else(tmp_path: Path) -> None:
    key, other = key_file(tmp_path), key_file(tmp_path, bytes(31) + b"\x07\x01", "other")
    accounts = {
        "one": {"signer": f"file:{key}", "lanes": ["settle"], "limits": {"calls": [f"{DEPLOYER}.*.*"]}},
        "other": {"signer": f"file:{other}", "lanes": ["oracle"]},
    }
    settings = Settings.model_validate({"state_dir": tmp_path, "keeper": {"accounts": accounts}})
    hidden = key.with_name("hidden")
    key.rename(hidden)
    with pytest.raises(SignerUnavailableError, match="cannot be read"):
        async with open_signers(settings):
            pass
    hidden.rename(key)
    async with open_signers(settings):
        pass
    key.rename(hidden)
    async with open_signers(settings) as signers:
        assert signers["one"].address == str(ADDRESS)
        with pytest.raises(SignerUnavailableError, match="cannot be read"):
            await check_signs(signers["one"])
        hidden.rename(key)
        await check_signs(signers["one"])
    assert SECRET[:32].hex() not in "".join(path.read_text("latin-1") for path in (tmp_path / "signers").iterdir())


# sockets


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Callable[[Path], subprocess.Popen[bytes]]]:
    running: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "signer.sock"

    def start(key: Path) -> subprocess.Popen[bytes]:
        options = AgentOptions(
            account="keeper",
            source=f"file:{key}",
            limits=LIMITS,
            ledger=str(tmp_path / "{key}.sqlite"),
            listen=str(path),
        )
        arguments = [sys.executable, "-P", "-m", AGENT_MODULE, msgspec.json.encode(options).decode()]
        process = subprocess.Popen(arguments, stderr=subprocess.PIPE)
        running.append(process)
        assert process.stderr is not None
        assert b"listening on" in process.stderr.readline()
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


async def test_a_signer_at_a_socket_is_found_again(
    tmp_path: Path, opened: Opened, listening: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    path = tmp_path / "signer.sock"
    key = key_file(tmp_path)
    first = listening(key)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    signer = await opened(f"unix:{path}")
    await check_signs(signer)
    first.kill()
    first.wait()
    with pytest.raises(SignerUnavailableError, match="cannot be reached"):
        await check_signs(signer)
    second = listening(key)
    await check_signs(signer)
    second.terminate()
    assert second.wait(WAIT_SECONDS) == 0
    assert not path.exists()
    listening(key_file(tmp_path, bytes(31) + b"\x07\x01", "other"))
    with pytest.raises(SignerProtocolError, match=f"was {ADDRESS} and is now"):
        await check_signs(signer)


def signer_command(folder: Path, *more: str) -> subprocess.Popen[str]:
    """`clarion keeper signer` at ``signer.sock`` in the folder."""
    path = folder / "signer.sock"
    account = {"signer": f"unix:{path}", "limits": {"calls": [f"{DEPLOYER}.bh-policy.*"], "max_fee": 20_000}}
    settings = {
        "CLARION_STATE_DIR": str(folder / "state"),
        "CLARION_KEEPER__ACCOUNTS": json.dumps({"keeper": account}),
        "SOME_KEY": SECRET.hex(),
    }
    command = [sys.executable, "-m", "clarion", "keeper", "signer", "keeper", "--socket", str(path), *more]
    return subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.PIPE, text=True)


async def test_the_command_holds_a_key_for_a_keeper_of_another_user(tmp_path: Path, opened: Opened) -> None:
    path = tmp_path / "signer.sock"
    with signer_command(tmp_path, "--key", "env:SOME_KEY") as process:
        assert process.stderr is not None
        assert "listening on" in process.stderr.readline()
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
        signer = await opened(f"unix:{path}")
        await check_signs(signer)
        with pytest.raises(SigningRefusedError) as caught:
            await signer.sign_stacks(unsigned(fee=20_001).encode(), purpose=PURPOSE)
        assert caught.value.limit == "max_fee"
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
    assert not path.exists()


def test_the_command_asks_where_the_key_is(tmp_path: Path) -> None:
    with signer_command(tmp_path) as process:
        _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 2
    assert "Say with --key where the key of keeper is" in said


async def test_a_signer_of_another_network_is_not_used(
    tmp_path: Path, opened: Opened, listening: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    listening(key_file(tmp_path))
    limits = msgspec.structs.replace(LIMITS, network="mainnet", chain_id=1)
    with pytest.raises(SignerProtocolError, match="another network"):
        await opened(f"unix:{tmp_path / 'signer.sock'}", limits)


async def test_lines_without_end_are_cut_off(
    tmp_path: Path, listening: Callable[[Path], subprocess.Popen[bytes]]
) -> None:
    listening(key_file(tmp_path))
    reader, writer = await asyncio.open_unix_connection(tmp_path / "signer.sock")
    writer.write(b"x" * (6 << 20))
    answer = json.loads(await reader.readline())
    assert answer["id"] is None
    assert answer["error"]["code"] == "bad_request"
    writer.write(b"x" * (6 << 20))
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()


# external signers


@pytest.fixture
def example(tmp_path: Path) -> str:
    """The signer of docs/signers.md, as a command."""
    text = (REPOSITORY / "docs" / "signers.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "example_signer.py"
    script.write_text(code)
    return f"process:{shlex.join([sys.executable, str(script), str(key_file(tmp_path))])}"


async def test_the_example_of_the_documentation_works(example: str, opened: Opened) -> None:
    signer = await opened(example)
    await check_signs(signer)
    with pytest.raises(SigningRefusedError) as caught:
        await signer.sign_stacks(unsigned(fee=200_001).encode(), purpose=PURPOSE)
    assert caught.value.limit == "max_fee"
    with pytest.raises(SignerProtocolError, match="unsupported"):
        await signer.sign_bitcoin(b"psbt\xff", purpose=PURPOSE)
    (process,) = running_examples()
    process.kill()
    await check_signs(signer)
    await signer.aclose()
    assert running_examples() == []


def running_examples() -> list[psutil.Process]:
    """This process has other children too: the tests' database is one."""
    children = psutil.Process().children()
    return [child for child in children if any(part.endswith("example_signer.py") for part in child.cmdline())]


IMPOSTOR = """
import json, sys

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.chains.stacks.signing import sign
from clarion.chains.stacks.transactions import decode_transaction_hex
from msgspec.structs import replace

KEY = PrivateKey.from_hex(sys.argv[1])
ANSWERS = [
    lambda asked: {"transaction": asked.encode().hex()},
    lambda asked: signed(replace(asked, post_condition_mode=PostConditionMode.ORIGINATOR)),
    lambda asked: signed(replace(asked, payload=replace(asked.payload, function="other"))),
    lambda asked: signed(replace(asked, chain_id=7)),
    lambda asked: {"transaction": "00"},
    lambda asked: {"transaction": "xy"},
    lambda asked: {"transaction": 7},
    lambda asked: [],
    lambda asked: signed(asked),
]

def signed(transaction):
    return {"transaction": sign(transaction, KEY).encode().hex()}

for line in sys.stdin:
    request = json.loads(line)
    answer = {"version": 1, "name": "x", "chain": "stacks", "address": str(KEY.address(Network.TESTNET)),
              "public_key": KEY.public_key.hex()}
    if request["method"] == "sign-stacks":
        transaction = decode_transaction_hex(request["transaction"])
        answer = ANSWERS[transaction.nonce](transaction)
    print(json.dumps({"id": request["id"], "result": answer}), flush=True)
"""


async def test_what_is_not_the_transaction_signed_is_not_taken(tmp_path: Path, opened: Opened) -> None:
    script = tmp_path / "impostor.py"
    script.write_text(IMPOSTOR)
    signer = await opened(f"process:{shlex.join([sys.executable, str(script), SECRET.hex()])}")
    problems = [
        "has not signed",
        "not the transaction",
        "not the transaction",
        "not the transaction",
        "no signature that holds",
        "no signature that holds",
        "wrong form",
        "wrong form",
    ]
    for nonce, problem in enumerate(problems):
        with pytest.raises(SignerProtocolError, match=problem):
            await signer.sign_stacks(unsigned(nonce=nonce).encode(), purpose=PURPOSE)
    await check_signs(signer, nonce=len(problems))


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        ("exit()", SignerUnavailableError),
        ("print('not JSON', flush=True); input(); input()", SignerUnavailableError),
        ("print('x' * 6_000_000, flush=True); input(); input()", SignerUnavailableError),
        ("""input(); print('{"id": 1, "result": {}}', flush=True); input()""", SignerProtocolError),
        (
            """input(); print('{"id": 1, "error": {"code": "failed", "message": "locked"}}', flush=True); input()""",
            SignerUnavailableError,
        ),
    ],
)
async def test_what_does_not_speak_the_protocol_is_no_signer(opened: Opened, program: str, kind: type) -> None:
    with pytest.raises(kind):
        await opened(f"process:{shlex.join([sys.executable, '-c', program])}")
    assert opened.signers == []


async def test_a_command_that_is_not_there_is_said(opened: Opened) -> None:
    with pytest.raises(SignerUnavailableError, match="no-such-signer"):
        await opened("process:/no-such-signer")
    with pytest.raises(SignerUnavailableError, match="cannot be reached"):
        await opened("unix:/no-such-signer.sock")


# whole processes


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., SigningProcess]]:
    with running_signers(tmp_path) as start:
        yield start


def environ(process: psutil.Process) -> bytes:
    return Path(f"/proc/{process.pid}/environ").read_bytes()


def test_an_agent_ends_with_its_owner(tmp_path: Path, run: Callable[..., SigningProcess]) -> None:
    keeper = run(f"file:{key_file(tmp_path)}")
    (agent,) = agents_of(keeper.process)
    keeper.close()
    until(lambda: not agent.is_running())


def test_a_key_in_the_environment_is_gone_from_the_keeper(run: Callable[..., SigningProcess]) -> None:
    keeper = run("env:SOME_KEY", SOME_KEY=SECRET.hex())
    assert b"SOME_KEY=" not in environ(keeper.process)
    assert keeper.sign(1).startswith("signed")
    guard, agent = agents_of(keeper.process)
    agent.kill()
    assert keeper.sign(2).startswith("signed")
    guard_again, another = agents_of(keeper.process)
    assert (guard_again, another.pid == agent.pid) == (guard, False)
    guard.kill()
    until(lambda: not another.is_running())
    assert keeper.sign(3).startswith("SignerUnavailableError")
    assert "start the keeper again" in keeper.sign(4)


def test_guarded_agents_end_with_their_owner(run: Callable[..., SigningProcess]) -> None:
    keeper = run("env:SOME_KEY", SOME_KEY=SECRET.hex())
    agents = agents_of(keeper.process)
    assert len(agents) == 2
    keeper.close()
    until(lambda: not any(agent.is_running() for agent in agents))
