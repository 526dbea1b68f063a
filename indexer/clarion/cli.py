"""The `clarion` command. Each subcommand is one process; what they share is a database.

`serve` and `keeper` belong to other packages and are found through the entry points `clarion.commands`; a package is
imported when its command is used. `docs/commands.md` describes the commands and their exit codes.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, get_args

import httpx
import psycopg
import typer
from msgspec import to_builtins
from rich.console import Console

from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.model import Chain
from clarion.config import ConfigurationError, NetworkName, Settings, load_settings

if TYPE_CHECKING:
    from clarion.protocol import DeployedProtocol
    from clarion.verify import Verified

COMMANDS_GROUP: Final = "clarion.commands"
FAILED: Final = 1
WRONG_USAGE: Final = 2

commands = typer.Typer(
    name="clarion",
    help="Reads what contracts on Stacks and Bitcoin say into Postgres, serves GraphQL, and keeps protocols settled.",
    epilog="Settings come from CLARION_… variables and clarion.toml: see docs/configuration.md.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
database = typer.Typer(help="Prepare the database, or show where it is.", no_args_is_help=True)
commands.add_typer(database, name="db")

Dev = Annotated[bool, typer.Option("--dev", help="Of the chain that `clarion dev` runs in this folder.")]
Deployers = Annotated[
    list[str] | None,
    typer.Option("--deployer", metavar="PROTOCOL=ADDRESS", help="Who deployed a protocol's contracts; repeatable."),
]

ChainName = Annotated[
    Chain | None, typer.Option("--chain", help="Of this chain: stacks or bitcoin. Else of all that are indexed.")
]
ProtocolNames = Annotated[
    list[str] | None, typer.Option("--protocol", metavar="NAME", help="Only of this protocol; repeatable.")
]


def app(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, `sys.argv` unless given, and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    _add_installed_commands(words)
    try:
        commands(words, prog_name="clarion")
    except ConfigurationError as error:
        _fail(error, WRONG_USAGE)
    except Exception as error:
        if not _is_foreseen(error):
            raise
        _fail(error, FAILED)


def _add_installed_commands(words: Sequence[str]) -> None:
    """Add the commands of other packages: the one that is asked for, or all where none is.

    An entry point names a function, or a `typer.Typer` with commands of its own.
    """
    asked = next((word for word in words if not word.startswith("-")), None)
    known = {command.name for command in commands.registered_commands}
    known |= {group.name for group in commands.registered_groups}
    for entry in sorted(importlib.metadata.entry_points(group=COMMANDS_GROUP)):
        if asked in (None, entry.name) and entry.name not in known:
            found = entry.load()
            if isinstance(found, typer.Typer):
                commands.add_typer(found, name=entry.name)
            else:
                commands.command(entry.name)(found)


def _is_foreseen(error: Exception) -> bool:
    """Whether the message was written for whoever runs the command: Clarion's own errors are, and the database's."""
    package = type(error).__module__.partition(".")[0]
    return package.startswith("clarion") or isinstance(error, psycopg.OperationalError)


def _fail(error: Exception, code: int) -> NoReturn:
    typer.echo(f"clarion: {str(error).strip() or type(error).__name__}", err=True)
    sys.exit(code)


def _settings(*, dev: bool = False, deployers: Sequence[str] | None = None, **sections: dict[str, Any]) -> Settings:
    """The settings, with what the options say; values of None are left to the settings."""
    if dev:
        from clarion.dev.run import settings_of_last_run

        return settings_of_last_run(load_settings())
    given: dict[str, Any] = {}
    for section, values in sections.items():
        given[section] = {name: value for name, value in values.items() if value is not None}
    if deployers:
        pairs = dict(text.partition("=")[::2] for text in deployers)
        if not all(pairs.values()):
            raise ConfigurationError("--deployer takes PROTOCOL=ADDRESS, such as bithedge=ST1…")
        given["deployers"] = pairs
    settings = load_settings(given)
    if settings.network is not NetworkName.DEVNET or "bithedge" not in settings.protocols:
        return settings
    from clarion.dev.accounts import DEPLOYER

    # on a devnet everybody knows who deploys; elsewhere it has to be said
    return settings.model_copy(update={"deployers": {"bithedge": DEPLOYER.address} | settings.deployers})


@commands.command()
def dev(
    seed: Annotated[int, typer.Option(min=0, help="What happens follows from it.")] = 1,
    headless: Annotated[bool, typer.Option("--headless", help="Plain lines instead of the live view.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Continue the last run's chain and index.")] = False,
    no_scenario: Annotated[bool, typer.Option("--no-scenario", help="Leave the chain to you: no contracts.")] = False,
    exit_after_settlements: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="End once N policies were settled.")
    ] = None,
    graphql_port: Annotated[int | None, typer.Option(help="Port of GraphQL; 0: any free one.")] = None,
    devnet_port: Annotated[int | None, typer.Option(help="Port of the chain's RPC; 0: any free one.")] = None,
    observer_port: Annotated[int | None, typer.Option(help="Port of the event observer; 0: any free one.")] = None,
    block_interval_ms: Annotated[int, typer.Option(min=50, help="Between Stacks blocks.")] = 1_000,
    burn_interval_ms: Annotated[int, typer.Option(min=50, help="Between the blocks Stacks is anchored to.")] = 3_000,
    no_bithedge: Annotated[bool, typer.Option("--no-bithedge", help="Leave out Stacks and BitHedge.")] = False,
    no_zkusd: Annotated[bool, typer.Option("--no-zkusd", help="Leave out Bitcoin and zkUSD.")] = False,
    bitcoin_port: Annotated[int | None, typer.Option(help="Port of Bitcoin's RPC; 0: any free one.")] = None,
    bitcoin_interval_ms: Annotated[int, typer.Option(min=50, help="Between the blocks of zkUSD's Bitcoin.")] = 3_000,
) -> None:
    """Run everything here: local chains with BitHedge and zkUSD and a busy cast, the indexer, GraphQL and the keeper.

    Starts from nothing every time, unless told to --keep.
    """
    from clarion.dev.run import DevOptions, run_dev

    settings = _settings(
        graphql={"port": graphql_port},
        devnet={"port": devnet_port},
        observer={"port": observer_port},
        regtest={"port": bitcoin_port},
    )
    run_dev(
        settings,
        DevOptions(
            seed=seed,
            headless=headless,
            keep=keep,
            scenario=not no_scenario,
            exit_after_settlements=exit_after_settlements,
            block_interval_ms=block_interval_ms,
            burn_interval_ms=burn_interval_ms,
            bithedge=not no_bithedge,
            zkusd=not no_zkusd,
            bitcoin_interval_ms=bitcoin_interval_ms,
        ),
    )


@commands.command()
def index(
    observer_port: Annotated[int | None, typer.Option(help="Port the node posts its events to.")] = None,
    node_url: Annotated[str | None, typer.Option(help="RPC address of the node.")] = None,
    deployer: Deployers = None,
) -> None:
    """Index what a Stacks node posts, what Bitcoin's blocks hold, or both, as the settings say, until told to stop."""
    from clarion.indexing import run_indexer
    from clarion.telemetry import configure_logging

    settings = _settings(deployers=deployer, observer={"port": observer_port}, node={"url": node_url})
    configure_logging(settings.log)
    asyncio.run(run_indexer(settings))


@commands.command()
def devnet(
    port: Annotated[int | None, typer.Option(help="Port of the chain's RPC; 0: any free one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="What hashes and keys follow from.")] = None,
    observer: Annotated[bool, typer.Option(help="Post events to the indexer's observer.")] = True,
) -> None:
    """Run a local Stacks chain that takes signed transactions. It continues what it finds in the state folder."""
    from clarion.dev.run import devnet_command

    settings = _settings(devnet={"port": port, "seed": seed})
    command = devnet_command(settings, observe=observer)
    os.execv(command[0], command)


@commands.command()
def regtest(
    port: Annotated[int | None, typer.Option(help="Port of the RPC; 0: any free one.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="What coins and activity follow from.")] = None,
    scenario: Annotated[bool, typer.Option(help="Deploy zkUSD and play a cast.")] = True,
) -> None:
    """Run a local Bitcoin with Core's consensus code and RPC. It continues what it finds in the state folder."""
    from clarion.dev.bitcoin.server import RegtestOptions, run_regtest
    from clarion.telemetry import configure_logging

    settings = _settings(regtest={"port": port, "seed": seed})
    configure_logging(settings.log)
    chosen = settings.regtest
    options = RegtestOptions(
        host=chosen.host,
        port=chosen.port,
        folder=settings.state_dir / "regtest",
        seed=chosen.seed,
        interval_ms=chosen.block_interval_ms,
        scenario=scenario,
        keeper_blocks=chosen.keeper_blocks,
    )
    asyncio.run(run_regtest(options, lambda access: typer.echo(f"Bitcoin's RPC: {access.url} ({access.cookie_file})")))


@commands.command()
def prover(
    port: Annotated[int | None, typer.Option(help="Port it listens on; 0: any free one.")] = None,
) -> None:
    """Run a stand-in for the prover of Charms, for regtest: it makes mock proofs, which prove nothing."""
    from clarion.dev.bitcoin.prover_server import ProverOptions, run_prover
    from clarion.telemetry import configure_logging

    settings = _settings(regtest={"prover_port": port})
    configure_logging(settings.log)
    options = ProverOptions(settings.regtest.host, settings.regtest.prover_port)
    asyncio.run(run_prover(options, lambda url: typer.echo(f"Mock prover: {url}")))


@commands.command()
def scenario(
    seed: Annotated[int, typer.Option(min=0, help="What the cast decides follows from it.")] = 1,
    node_url: Annotated[str | None, typer.Option(help="RPC address of a devnet.")] = None,
) -> None:
    """Play a cast on a devnet: deploy BitHedge, then price, deposit, buy, exercise, claim and withdraw."""
    from clarion.dev.scenario import play
    from clarion.telemetry import configure_logging

    settings = _settings(node={"url": node_url})
    configure_logging(settings.log)
    asyncio.run(play(settings.node.url, seed=seed))


@commands.command()
def replay(
    file: Annotated[
        Path,
        typer.Argument(
            help="A recording: .tsv, .tsv.gz, .tsv.zst, or what `clarion record` made.", exists=True, dir_okay=False
        ),
    ],
    deployer: Deployers = None,
) -> None:
    """Index a recorded file into the database. Fails where some of it could not be read; the rest is indexed."""
    from clarion.indexing import deployed_protocols
    from clarion.replay import replay as replay_file
    from clarion.replay_bar import replay_bar
    from clarion.store.database import open_database

    settings = _settings(deployers=deployer)
    if _is_bitcoin_recording(file):
        _replay_bitcoin(settings, file)
        return
    with open_database(settings) as url, replay_bar(Console(stderr=True)) as show:
        done = replay_file(
            file, url, deployed_protocols(settings, "stacks"), final_depth=settings.finality_burn_depth, progress=show
        )
    lines = {
        "posts": done.posts,
        "blocks": done.blocks,
        "transactions": done.transactions,
        "events": done.events,
        "canonical": done.canonical,
        "orphaned": done.orphaned,
        "waiting": done.waiting,
        "anomalies": done.anomalies,
        "undecodable": len(done.undecodable),
        "digest": done.tip.digest.hex() if done.tip else "",
    }
    for name, value in lines.items():
        typer.echo(f"{name:<13} {value}")
    for problem in done.undecodable:
        typer.echo(problem, err=True)
    if done.undecodable:
        raise typer.Exit(FAILED)


def _is_bitcoin_recording(path: Path) -> bool:
    from clarion.chains.bitcoin.recording import is_bitcoin_recording

    with path.open("rb") as file:
        return is_bitcoin_recording(file)


def _replay_bitcoin(settings: Settings, path: Path) -> None:
    from clarion.bitcoin_replay import ReplayedBlocks, replay_bitcoin
    from clarion.indexing import deployed_protocols
    from clarion.store.database import open_database

    console = Console(stderr=True)

    def show(done: ReplayedBlocks) -> None:
        console.print(f"{done.blocks} blocks, {done.bytes / 2**20:.0f} MiB, {done.events} events", highlight=False)

    with open_database(settings) as url:
        protocols = deployed_protocols(settings, "bitcoin")
        done = replay_bitcoin(path, url, settings.bitcoin, protocols, progress=show if console.is_terminal else None)
    typer.echo(f"blocks        {done.blocks}")
    typer.echo(f"bytes         {done.bytes}")
    typer.echo(f"events        {done.events}")
    typer.echo(f"digest        {done.tip.digest.hex() if done.tip else ''}")


@commands.command()
def record(
    out: Annotated[Path, typer.Option(metavar="FILE", help="The recording to make.", dir_okay=False)],
    first: Annotated[int | None, typer.Option("--from", metavar="HEIGHT", help="First block; else the first.")] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="HEIGHT", help="Last block; else the tip.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Record what a node posts to the observer's address, until told to stop.")
    ] = False,
    observer_port: Annotated[int | None, typer.Option(help="With --live: port the node posts its events to.")] = None,
    chain: Annotated[
        Chain, typer.Option("--chain", help="stacks: out of the index; bitcoin: whole blocks, out of the source.")
    ] = "stacks",
) -> None:
    """Record the canonical blocks of the index, or with --live what a node posts. `clarion replay` reads it back."""
    from clarion.recorder import record_index, record_live
    from clarion.store.database import open_database

    settings = _settings(observer={"port": observer_port})
    if chain == "bitcoin":
        from clarion.bitcoin_replay import record_bitcoin

        if live:
            raise ConfigurationError("--live records what a Stacks node posts: leave --chain out")
        lowest, highest = asyncio.run(record_bitcoin(settings.bitcoin, out, first=first, last=last))
        typer.echo(f"recorded {highest - lowest + 1} blocks ({lowest} to {highest})")
        return
    if live:
        if first is not None or last is not None:
            raise ConfigurationError("--live records what comes: leave --from and --to out")
        posts = asyncio.run(record_live(settings.observer, out, ready=lambda url: typer.echo(f"recording at {url}")))
        typer.echo(f"recorded {posts} posts")
        return
    with open_database(settings) as url:
        done = record_index(url, out, first=first, last=last)
    typer.echo(f"recorded {done.blocks} blocks ({done.first} to {done.last}) with {done.events} events")


@commands.command()
def rewind(
    to: Annotated[int, typer.Option(metavar="HEIGHT", min=0, help="The block to go back to.")],
    accept_final_loss: Annotated[
        bool, typer.Option("--accept-final-loss", help="Give up blocks that are final: readers relied on them.")
    ] = False,
    chain: ChainName = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Of Bitcoin: read the blocks above from the source again.")
    ] = False,
    deployer: Deployers = None,
) -> None:
    """Take the index back to an earlier block and choose anew what follows: the way out after a source was wrong."""
    from clarion.indexing import deployed_protocols
    from clarion.rewind import rewind as take_back
    from clarion.store.database import connect, open_database

    settings = _settings(deployers=deployer)
    with open_database(settings) as url:
        with connect(url, autocommit=True) as connection:
            one, *others = _chains(connection, chain, ())
        if others:
            raise ConfigurationError(f"--chain says of which chain the block is: {' or '.join([one, *others])}")
        done = take_back(
            url,
            deployed_protocols(settings, one),
            chain=one,
            to=to,
            accept_final_loss=accept_final_loss,
            final_depth=settings.finality_burn_depth if one == "stacks" else settings.bitcoin.finality_depth,
            forget=forget,
        )
    typer.echo(f"Took {done.rolled_back} blocks back and applied {done.followed}; the tip is block {done.tip.height}.")
    if done.refill:
        typer.echo(f"`clarion index` fills {', '.join(done.refill)} anew: empty until then.")


@commands.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    dev: Dev = False,
) -> None:
    """Show where the index stands: tips, finality, lag, what waits, what could not be understood."""
    from clarion.status import ask_node_height, read_status, status_json, status_tables
    from clarion.store.database import connect, open_database

    settings = _settings(dev=dev)
    with open_database(settings) as url, connect(url, autocommit=True) as connection:
        found = read_status(connection, protocols=settings.protocols)
    with httpx.Client() as client:
        node_height = ask_node_height(client, settings.node.url)
    if as_json:
        typer.echo(json.dumps(status_json(found, node_height), indent=2))
        return
    console = Console()
    for table in status_tables(found, node_height):
        console.print(table)


@commands.command()
def protocols(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    dev: Dev = False,
) -> None:
    """List protocols: installed or indexed, their version, state, height and rows."""
    from clarion.protocol import installed_protocols
    from clarion.protocol_list import protocols_json, protocols_table, read_protocols
    from clarion.store.database import connect, migrate, open_database

    settings = _settings(dev=dev)
    with open_database(settings) as url:
        migrate(url)
        with connect(url, autocommit=True) as connection:
            installed = installed_protocols()
            listed = [
                one
                for chain in get_args(Chain)
                for one in read_protocols(connection, chain, installed, settings.protocols)
            ]
    if as_json:
        typer.echo(json.dumps(protocols_json(listed), indent=2))
    else:
        Console().print(protocols_table(listed))


@commands.command()
def backfill(
    name: Annotated[str, typer.Argument(help="An enabled protocol.")],
    deployer: Deployers = None,
    dev: Dev = False,
) -> None:
    """Make a protocol's tables anew from the chain log. The indexer switches to them; the old ones serve until then."""
    from clarion.backfill import fill
    from clarion.indexing import deployed_protocols
    from clarion.store.database import migrate, open_database

    settings = _settings(dev=dev, deployers=deployer)
    deployed = {found.protocol.name: found for found in deployed_protocols(settings)}
    if name not in deployed:
        enabled = ", ".join(sorted(deployed)) or "none"
        raise ConfigurationError(f"protocols: {name} is not enabled; enabled are {enabled}")
    console = Console(stderr=True)
    with open_database(settings) as url:
        migrate(url)
        for progress in fill(url, deployed[name].protocol.chain, deployed[name], forced=True):
            if console.is_terminal:
                console.print(f"block {progress.height} of {progress.final_height}", highlight=False)
    typer.echo(f"{name} is filled in. A running indexer switches to it within seconds, else the next one that starts.")


@commands.command()
def verify(
    first: Annotated[int | None, typer.Option("--from", metavar="HEIGHT", help="First block; else the first.")] = None,
    last: Annotated[int | None, typer.Option("--to", metavar="HEIGHT", help="Last block; else the tip.")] = None,
    chain: ChainName = None,
    names: ProtocolNames = None,
    deployer: Deployers = None,
    dev: Dev = False,
) -> None:
    """Derive blocks again from the chain log, beside the live tables, and name the first thing that differs."""
    from clarion.store.database import connect, migrate, open_database
    from clarion.verify import verify as verify_blocks

    settings = _settings(dev=dev, deployers=deployer)
    console = Console(stderr=True)

    def show(done: int, total: int) -> None:
        console.print(f"{done} of {total} blocks", highlight=False)

    chosen = _chosen_protocols(settings, names)
    with open_database(settings) as url:
        migrate(url)
        with connect(url, autocommit=True) as connection:
            chains = _chains(connection, chain, chosen if names else ())
            if len(chains) > 1 and (first is not None or last is not None):
                raise ConfigurationError(f"--chain says of which chain the blocks are: {' or '.join(chains)}")
            differ = False
            for one in chains:
                of_chain = [deployed for deployed in chosen if deployed.protocol.chain == one]
                found = verify_blocks(
                    connection,
                    one,
                    of_chain if names else _live_protocols(connection, one, of_chain),
                    from_height=first,
                    to_height=last,
                    progress=show if console.is_terminal else None,
                )
                differ |= found.difference is not None
                _echo_verified(one, found)
    if differ:
        raise typer.Exit(FAILED)


def _echo_verified(chain: Chain, found: Verified) -> None:
    from clarion.verify import describe

    if found.difference is None:
        typer.echo(
            f"{chain}: blocks {found.from_height} to {found.to_height} are right: {found.changes} row changes of "
            f"{', '.join(found.protocols) or 'no protocol'} derived again."
        )
        return
    typer.echo(f"{chain}: " + "\n".join(describe(found.difference)))


@commands.command()
def drill(
    depth: Annotated[int, typer.Option(min=1, metavar="N", help="How many blocks to roll back.")],
    chain: ChainName = None,
    names: ProtocolNames = None,
    deployer: Deployers = None,
    dev: Dev = False,
) -> None:
    """Rehearse a reorganisation on copies of the tables: roll back, apply again, compare. The index goes on."""
    from clarion.drill import describe
    from clarion.drill import drill as rehearse
    from clarion.store.database import connect, migrate, open_database

    settings = _settings(dev=dev, deployers=deployer)
    chosen = _chosen_protocols(settings, names)
    with open_database(settings) as url:
        migrate(url)
        with connect(url, autocommit=True) as connection:
            passed = True
            for one in _chains(connection, chain, chosen if names else ()):
                of_chain = [deployed for deployed in chosen if deployed.protocol.chain == one]
                done = rehearse(
                    connection, one, of_chain if names else _live_protocols(connection, one, of_chain), depth
                )
                passed &= done.passed
                typer.echo(one)
                for line in describe(done):
                    typer.echo(line)
    if not passed:
        raise typer.Exit(FAILED)


@commands.command()
def spell(
    transaction: Annotated[str, typer.Argument(metavar="HEX", help="The transaction's bytes; - reads standard input.")],
    network: Annotated[
        BitcoinNetwork | None,
        typer.Option("--network", help="Whose addresses are shown; else as settings say."),
    ] = None,
) -> None:
    """Show what a Bitcoin transaction's spell says, and whether its proof holds. No index is needed."""
    from clarion.chains.bitcoin.charms.verify import read_spell
    from clarion.chains.bitcoin.transactions import parse_transaction

    settings = _settings().bitcoin
    text = "".join((sys.stdin.read() if transaction == "-" else transaction).split())
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise typer.BadParameter("a transaction is hexadecimal digits, two a byte") from None
    event = read_spell(parse_transaction(data), network or settings.network, accept_mock=settings.mock_spells)
    if event is None:
        typer.echo("The transaction is not marked as having a spell.", err=True)
        raise typer.Exit(FAILED)
    typer.echo(json.dumps(to_builtins(event), indent=2, ensure_ascii=False))
    if not event.acceptable:
        typer.echo(f"The spell is {event.status}: {event.failed_step}.", err=True)
        raise typer.Exit(FAILED)


@commands.command()
def prune(dev: Dev = False) -> None:
    """Delete what the settings under `retention` do not keep. A running indexer does it too."""
    from clarion.pruning import prune_database, retention_of
    from clarion.store.database import connect, migrate, open_database

    settings = _settings(dev=dev)
    retention = retention_of(settings)
    if retention.keeps_everything:
        typer.echo("The settings under `retention` keep everything: there is nothing to delete.")
        return
    with open_database(settings) as url:
        migrate(url)
        with connect(url, autocommit=True) as connection:
            chains = _chains(connection, None, ())
        for chain in chains:
            done = prune_database(url, chain, retention)
            typer.echo(
                f"{chain}: deleted {done.changes} changes, {done.history} rows of history, {done.steps} steps, "
                f"{done.blocks} blocks that lost and {done.mempool_transactions} dropped transactions."
            )


def _chosen_protocols(settings: Settings, names: Sequence[str] | None) -> list[DeployedProtocol]:
    """The enabled protocols of these names; all of them without names."""
    from clarion.indexing import deployed_protocols

    deployed = {found.protocol.name: found for found in deployed_protocols(settings)}
    unknown = [name for name in names or () if name not in deployed]
    if unknown:
        enabled = ", ".join(sorted(deployed)) or "none"
        raise ConfigurationError(f"protocols: {', '.join(unknown)} is not enabled; enabled are {enabled}")
    return [deployed[name] for name in names or deployed]


def _chains(connection: psycopg.Connection[Any], asked: Chain | None, named: Sequence[DeployedProtocol]) -> list[Chain]:
    """The chain that is asked for, those of the protocols that are named, or else all that are indexed."""
    if asked is not None:
        return [asked]
    if named:
        return sorted({deployed.protocol.chain for deployed in named})
    found = connection.execute(
        "SELECT chain FROM clarion.cursor WHERE height IS NOT NULL ORDER BY chain DESC"
    ).fetchall()
    return [chain for (chain,) in found] or ["stacks"]


def _live_protocols(
    connection: psycopg.Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol]
) -> list[DeployedProtocol]:
    """Those that have rows; of the others it is said why they have not."""
    from clarion.store.shadow import not_live

    reasons = not_live(connection, chain, protocols)
    for reason in reasons.values():
        typer.echo(f"left out: {reason}", err=True)
    return [deployed for deployed in protocols if deployed.protocol.name not in reasons]


@commands.command("new-protocol")
def new_protocol(
    name: Annotated[str, typer.Argument(help="The protocol's name, which is its schema's name too.")],
    contract: Annotated[str, typer.Option("--contract", metavar="ID", help="The contract to follow: ADDRESS.name.")],
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder; else clarion-NAME here.")] = None,
    dev: Dev = False,
) -> None:
    """Write a package for a contract: tables, handlers and a test, from its interface and recent events."""
    from clarion.scaffold.command import plan_package, write_package
    from clarion.store.database import connect, migrate, open_database

    settings = _settings(dev=dev)
    with open_database(settings) as url:
        migrate(url)
        with connect(url, autocommit=True) as connection:
            plan = asyncio.run(plan_package(settings, connection, name, contract))
    folder = out or Path(f"clarion-{name}")
    for path in write_package(plan, folder):
        typer.echo(path)


@database.command("migrate")
def db_migrate(dev: Dev = False) -> None:
    """Bring the tables to this version of Clarion."""
    from clarion.store.database import database_name, migrate, open_database

    with open_database(_settings(dev=dev)) as url:
        migrate(url)
        typer.echo(f"The database {database_name(url)} is up to date.")


@database.command("url")
def db_url(dev: Dev = False) -> None:
    """Print the database's URL, for psql and other clients. An embedded database answers while something runs it."""
    from clarion.store.database import open_database

    with open_database(_settings(dev=dev)) as url:
        typer.echo(url)


@database.command("roles")
def db_roles(
    dev: Dev = False,
    keeper: Annotated[
        bool, typer.Option("--keeper", help="Let `clarion_reader` see what the keeper plans and sends.")
    ] = False,
) -> None:
    """Make the database roles `clarion_reader`, `clarion_account` and `clarion_keeper`, which may do less."""
    from clarion.store.database import database_name, migrate, open_database
    from clarion.store.roles import make_roles

    with open_database(_settings(dev=dev)) as url:
        migrate(url)
        make_roles(url, keeper=keeper)
        typer.echo(f"The roles clarion_reader, clarion_account and clarion_keeper fit {database_name(url)}.")
