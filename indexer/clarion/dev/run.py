"""`clarion dev`: starts the processes, watches them, and ends them together."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from clarion.config import CONFIG_FILE_VARIABLE, ENV_PREFIX, Keeper, Scope, Settings
from clarion.dev.accounts import DEPLOYER, KEEPER
from clarion.dev.processes import ProcessTree
from clarion.dev.snapshot import SnapshotReader
from clarion.dev.view import Lines, LiveView, View
from clarion.node import find_node
from clarion.store.database import EMBEDDED_DATABASE, connect, create_database, drop_database, migrate
from clarion.store.embedded import EmbeddedPostgres
from clarion.store.roles import KEEPER as KEEPER_ROLE
from clarion.store.roles import make_roles

SETTINGS_NAME: Final = "clarion.toml"
KEEPER_KEY_NAME: Final = "keeper.key"
KEEPER_LANES: Final = ["rescue", "settle", "upkeep"]
"""What the keeper does here. Prices and reward roots are the scenario's, whose accounts have these roles."""
KEEPER_TRANSACTIONS: Final = 4
"""For how many transactions of the highest fee it has money in a block, on average. The cast makes work for about one;
up to a third of them pay the highest fee, as a deadline a few Bitcoin blocks ahead is over within seconds here."""
VAULT_KEEPER_KEY_NAME: Final = "zkusd-keeper.key"
SCROLLS_KEY_NAME: Final = "zkusd-scrolls.key"
KEEPER_BLOCKS: Final = 6
"""How long zkUSD's cast gives the keeper to liquidate a vault, in Bitcoin blocks."""
DEVNET_TOKEN: Final = "devnet"
"""What the devnet wants to hear before it simulates a transaction. It is on loopback, and its money is play money."""
POLL_INTERVAL_S: Final = 0.5
HOUR_MS: Final = 3_600_000


class DevError(Exception):
    """`clarion dev` cannot run; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What the command line of `clarion dev` says."""

    seed: int = 1
    headless: bool = False
    keep: bool = False
    scenario: bool = True
    exit_after_settlements: int | None = None
    block_interval_ms: int = 1_000
    burn_interval_ms: int = 3_000
    bithedge: bool = True
    """Whether a Stacks chain runs, with BitHedge on it."""
    zkusd: bool = True
    """Whether a Bitcoin runs, with zkUSD on it."""
    bitcoin_interval_ms: int = 3_000


def dev_folder(settings: Settings) -> Path:
    """Folder of everything that a dev run writes."""
    return settings.state_dir.resolve() / "dev"


def settings_of_last_run(settings: Settings) -> Settings:
    """What the processes of the dev run in this folder were given; the database is to be attached to, or started.

    Raises:
        DevError: there has been no run.
    """
    path = dev_folder(settings) / SETTINGS_NAME
    if not path.exists():
        raise DevError(f"There is no dev run in {path.parent}. Start one with `clarion dev`.")
    given = tomllib.loads(path.read_text(encoding="utf-8"))
    del given["database_url"]  # it leads to a server that ends with the run
    return Settings.model_validate(given)


def check_installed(settings: Settings) -> None:
    """Whether everything is there that a dev run by these settings needs.

    Raises:
        DevError, NodeNotFoundError: something is missing; the message says how to get it, or how to do without.
    """
    if "bithedge" in settings.protocols:
        devnet_command(settings)
    if "zkusd" in settings.protocols and importlib.util.find_spec("pbk") is None:
        raise DevError(
            "zkUSD's Bitcoin needs the package py-bitcoinkernel, which is among the development dependencies. Run "
            "`make setup`, or leave it out with --no-zkusd."
        )


def devnet_command(settings: Settings, *, observe: bool = True) -> list[str]:
    """Command line of a devnet by the settings; its chain is kept in the state folder.

    Raises:
        DevError: this Clarion was installed without the devnet, or the devnet without its packages.
        NodeNotFoundError: there is no Node.js.
    """
    devnet, observer = settings.devnet, settings.observer
    command = [str(find_node()), str(_devnet_program()), "--host", devnet.host, "--port", str(devnet.port)]
    command += ["--block-interval-ms", str(devnet.block_interval_ms)]
    command += ["--burn-interval-ms", str(devnet.burn_interval_ms)]
    command += ["--seed", str(devnet.seed), "--state", str(settings.state_dir / "devnet")]
    if settings.node.auth_token is not None:
        command += ["--auth-token", settings.node.auth_token.get_secret_value()]
    if observe:
        command += ["--observer", f"http://{observer.host}:{observer.port}"]
    return command


def _devnet_program() -> Path:
    program = Path(__file__).resolve().parents[3] / "contracts" / "devnet" / "main.js"
    if not program.exists():
        raise DevError(f"The devnet is not in {program.parent}. Run this from a checkout of Clarion.")
    if not (program.parents[1] / "node_modules").is_dir():
        raise DevError("The packages that the devnet needs are not installed. Run `make setup`.")
    return program


def run_dev(settings: Settings, options: DevOptions) -> None:
    """Run the tree until Ctrl-C, SIGTERM, or the settlements that were asked for.

    Raises:
        DevError: a port is taken, another run is going on, or what was kept cannot be continued.
        EmbeddedPostgresError: the database does not start.
    """
    if not options.bithedge and (not options.zkusd or options.exit_after_settlements):
        raise DevError("Without BitHedge there are no policies to settle, and without zkUSD too nothing to run.")
    folder = dev_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder), _stopped_by_signals() as stopping, contextlib.ExitStack() as stack:
        tree = ProcessTree(folder / "logs")
        leftovers = tree.end_leftovers()
        ran = settings_of_run(settings, options, folder)
        check_installed(ran)  # what is missing is said before anything is changed
        view: View = Lines() if options.headless or not sys.stdout.isatty() else LiveView(ran)
        stack.enter_context(view)
        if leftovers:
            view.say(f"ended what an earlier run had left behind: {', '.join(leftovers)}")
        server = stack.enter_context(EmbeddedPostgres(folder / "postgres"))
        continued = _prepare(ran, options, folder, server, view)
        stack.callback(tree.stop)
        start_index(tree, folder)
        if options.bithedge:
            start_devnet(tree, ran, folder)
            if options.scenario:
                tree.start("scenario", _clarion("scenario", "--seed", str(options.seed)), _environment(folder))
        else:
            start_bitcoin(tree, folder, scenario=options.scenario, prover=_keeps_vaults(options))
        _watch(tree, server, ran, options, view, stopping, continued=continued)
        view.say("stopping")


def settings_of_run(settings: Settings, options: DevOptions, folder: Path) -> Settings:
    """The settings of a dev run in ``folder``: the user's addresses, everything else its own.

    Raises:
        DevError: a port is taken.
    """
    graphql = settings.graphql
    graphql_port = _usable_port(graphql.host, graphql.port, "GraphQL", "--graphql-port")
    given: dict[str, Any] = {
        "state_dir": folder,
        "network": "devnet",
        "protocols": [],
        "sources": [],
        "graphql": {"host": graphql.host, "port": graphql_port},
        # whoever can reach a run on this machine may see what its keeper plans
        "accounts": {"anonymous": [scope.value for scope in Scope]},
        "keeper": {
            "graphql_url": f"http://{graphql.host}:{graphql_port}/graphql",
            "accounts": {"keeper": _keeper_account(options, folder)},
            "role": KEEPER_ROLE,
        },
        "log": {"level": settings.log.level, "format": settings.log.format},
    }
    for wanted, protocols, settings_of in (
        (options.bithedge, ["bithedge"], _stacks_settings),
        (options.zkusd, ["charms", "zkusd"], _bitcoin_settings),
    ):
        if wanted:
            given |= settings_of(settings, options, folder)
            given["protocols"] += protocols
    if _keeps_vaults(options):
        _add_vault_keeper(given, folder)
    return Settings.model_validate(given)


def _keeper_account(options: DevOptions, folder: Path) -> dict[str, Any]:
    """The keeper's account on Stacks. What it may spend in an hour goes by how many blocks there are in one."""
    account: dict[str, Any] = {"signer": f"file:{folder / KEEPER_KEY_NAME}", "lanes": KEEPER_LANES}
    if options.block_interval_ms:
        most = KEEPER_TRANSACTIONS * Keeper().fee_cap * HOUR_MS // options.block_interval_ms
        account["limits"] = {"max_hourly": most}
    return account


def _stacks_settings(settings: Settings, options: DevOptions, folder: Path) -> dict[str, Any]:
    """Settings of the devnet and of its index."""
    del folder
    devnet, observer = settings.devnet, settings.observer
    port = _usable_port(devnet.host, devnet.port, "the devnet", "--devnet-port")
    observer_port = _usable_port(observer.host, observer.port, "the indexer", "--observer-port")
    return {
        "sources": ["observer"],
        "deployers": {"bithedge": DEPLOYER.address},
        "observer": {"host": observer.host, "port": observer_port},
        "node": {"url": f"http://{devnet.host}:{port}", "auth_token": DEVNET_TOKEN},
        "devnet": {
            "host": devnet.host,
            "port": port,
            "block_interval_ms": options.block_interval_ms,
            "burn_interval_ms": options.burn_interval_ms,
            "seed": options.seed,
        },
    }


def _bitcoin_settings(settings: Settings, options: DevOptions, folder: Path) -> dict[str, Any]:
    """Settings of the regtest and of its index. The apps that will be deployed follow from the seed."""
    from clarion.dev.bitcoin.premine import zkusd_apps

    host = settings.regtest.host
    port = _usable_port(host, settings.regtest.port, "Bitcoin", "--bitcoin-port")
    return {
        "parameters": {"zkusd": zkusd_apps(options.seed).parameters("dev")},
        "bitcoin": {
            "sources": ["rpc"],
            "network": "regtest",
            "rpc_url": f"http://{host}:{port}",
            "rpc_cookie_file": folder / "regtest" / ".cookie",
            "mock_spells": True,
            "processes": 0,
        },
        "regtest": {
            "host": host,
            "port": port,
            "block_interval_ms": options.bitcoin_interval_ms,
            "seed": options.seed,
        },
    }


def _keeps_vaults(options: DevOptions) -> bool:
    """Whether the keeper liquidates zkUSD's vaults: it runs with BitHedge, and the cast has vaults."""
    return options.bithedge and options.zkusd and options.scenario


def _add_vault_keeper(given: dict[str, Any], folder: Path) -> None:
    """Let the keeper liquidate zkUSD's vaults, with the prover's stand-in and the key that stands in for Scrolls'."""
    regtest, keeper = given["regtest"], given["keeper"]
    prover_port = _usable_port(regtest["host"], 0, "the mock prover", "CLARION_REGTEST__PROVER_PORT")
    regtest |= {"prover_port": prover_port, "keeper_blocks": KEEPER_BLOCKS}
    keeper["prover_url"] = f"http://{regtest['host']}:{prover_port}"
    keeper["accounts"]["vaults"] = {
        "signer": f"file:{folder / VAULT_KEEPER_KEY_NAME}",
        "chain": "bitcoin",
        "lanes": ["rescue"],
    }
    keeper["zkusd"] = {"cosigners": [f"file:{folder / SCROLLS_KEY_NAME}"], "charms_fee": 0}


def _usable_port(host: str, port: int, who: str, option: str) -> int:
    """The port, or a free one for 0.

    Raises:
        DevError: something listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as listening:
            return int(listening.getsockname()[1])
    except OSError as error:
        raise DevError(
            f"Port {port} of {host}, for {who}, cannot be used: {error.strerror or error}. Choose another one with "
            f"{option}, or {option} 0 for any free one."
        ) from error


def _prepare(settings: Settings, options: DevOptions, folder: Path, server: EmbeddedPostgres, view: View) -> bool:
    """Make the database ready, empty unless the last run is continued; gives whether it is."""
    url = server.url(EMBEDDED_DATABASE)
    kept = folder / "kept.json"
    this_run = {"seed": options.seed, "observer": settings.observer.port}
    continued = options.keep and kept.exists()
    if continued:
        last_run = json.loads(kept.read_text())
        if last_run != this_run:
            raise DevError(
                f"What was kept comes from a run with --seed {last_run['seed']} and --observer-port "
                f"{last_run['observer']}. Give the same ones, or leave out --keep to start afresh."
            )
        view.say("continuing the last run's chain and index")
    else:
        # the marker goes first and comes last: what a kill leaves between the two is not continued
        kept.unlink(missing_ok=True)
        for leftover in ("devnet", "regtest", "logs"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        drop_database(url)
        view.say("starting afresh: a new chain, an empty index")
    create_database(url)
    migrate(url)
    write_settings(folder, settings, url)
    kept.write_text(json.dumps(this_run))
    return continued


def write_settings(folder: Path, settings: Settings, url: str) -> None:
    """Write the settings and the keeper's key for the child processes, and for `--dev` of other commands.

    The database gets the role that the keeper has: it sees its own tables and no other.
    """
    make_roles(url)
    _write_key(folder / KEEPER_KEY_NAME, KEEPER.secret)
    if "vaults" in settings.keeper.accounts:
        from clarion.dev.bitcoin.zkusd_apps import SCROLLS
        from clarion.dev.bitcoin.zkusd_scenario import KEEPER as VAULT_KEEPER

        _write_key(folder / VAULT_KEEPER_KEY_NAME, VAULT_KEEPER.secret)
        _write_key(folder / SCROLLS_KEY_NAME, SCROLLS.secret)
    given = settings.model_dump(mode="json", exclude_unset=True) | {"database_url": url}
    if settings.node.auth_token is not None:
        given["node"]["auth_token"] = settings.node.auth_token.get_secret_value()
    sections = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    lines = [_toml_line(name, value) for name, value in given.items() if name not in sections]
    for section, values in sections.items():
        lines += ["", f"[{section}]", *(_toml_line(name, value) for name, value in values.items())]
    (folder / SETTINGS_NAME).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_key(path: Path, secret: bytes) -> None:
    path.touch(mode=0o600)
    path.write_text(secret.hex())


def _toml_line(name: str, value: Any) -> str:
    return f"{name} = {_toml(value)}"


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(_toml_line(json.dumps(name), inner) for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)  # texts, whole numbers, true and false read the same in both


def start_index(tree: ProcessTree, folder: Path) -> None:
    """Start the indexer, with the settings that `write_settings` left in ``folder``."""
    tree.start("index", _clarion("index"), _environment(folder))


def start_devnet(tree: ProcessTree, settings: Settings, folder: Path) -> None:
    """Start the Stacks devnet."""
    tree.start("devnet", devnet_command(settings), _environment(folder))


def start_bitcoin(tree: ProcessTree, folder: Path, *, scenario: bool, prover: bool) -> None:
    """Start the regtest, with zkUSD and its cast if there is to be a ``scenario``; ``prover``: and the stand-in."""
    if prover:
        tree.start("prover", _clarion("prover"), _environment(folder))
    tree.start("regtest", _clarion("regtest", *(() if scenario else ("--no-scenario",))), _environment(folder))


def start_readers(tree: ProcessTree, folder: Path, *, keeper: bool) -> None:
    """Start what reads the index: GraphQL, and the keeper."""
    tree.start("serve", _clarion("serve"), _environment(folder))
    if keeper:
        tree.start("keeper", _clarion("keeper", "run"), _environment(folder))


def _clarion(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "clarion", *arguments]


def _environment(folder: Path) -> dict[str, str]:
    """The environment of a process that is to read its settings from ``folder`` and from nowhere else."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    return outside | {CONFIG_FILE_VARIABLE: str(folder / SETTINGS_NAME), "PYTHONUNBUFFERED": "1"}


def _watch(
    tree: ProcessTree,
    server: EmbeddedPostgres,
    settings: Settings,
    options: DevOptions,
    view: View,
    stopping: threading.Event,
    *,
    continued: bool,
) -> None:
    """Show what happens until told to stop, or until enough policies were settled."""
    started = time.monotonic()
    url = server.url(EMBEDDED_DATABASE)
    reader = SnapshotReader(connect(url, autocommit=True), settings.node.url)
    first_block, first_settlement = True, not continued
    home = settings.keeper.graphql_url.removesuffix("graphql")
    view.say(f"GraphQL: {home} has examples to run, {settings.keeper.graphql_url} is the endpoint and GraphiQL")
    try:
        while not stopping.wait(POLL_INTERVAL_S):
            for change in tree.poll():
                view.changed(change)
            try:
                snapshot = reader.read()
            except psycopg.OperationalError as error:
                view.say(f"the database went away ({str(error).strip()}); starting it again")
                reader.close()
                server.start()
                reader = SnapshotReader(connect(url, autocommit=True), settings.node.url)
                continue
            view.show(snapshot, tuple(tree.children.values()))
            elapsed = time.monotonic() - started
            if first_block and (snapshot.height if options.bithedge else snapshot.zkusd) is not None:
                first_block = False
                if not continued:
                    view.say(f"first block indexed after {elapsed:.1f} s")
                # not earlier: where processors are few, starting everything at once would make all of it late
                start_readers(tree, settings.state_dir, keeper=options.bithedge)
                if options.zkusd and options.bithedge:
                    start_bitcoin(tree, settings.state_dir, scenario=options.scenario, prover=_keeps_vaults(options))
            if first_settlement and snapshot.settled:
                first_settlement = False
                view.say(f"first policy settled after {elapsed:.1f} s")
            if options.exit_after_settlements and snapshot.settled >= options.exit_after_settlements:
                view.say(f"{snapshot.settled} policies are settled")
                return
    finally:
        reader.close()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder."""
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevError(
                f"Another `clarion dev` runs in {folder}. Stop it, or name another folder in CLARION_STATE_DIR."
            ) from None
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts the shutdown."""
    stopping = threading.Event()

    def stop(_number: int, _frame: object) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
