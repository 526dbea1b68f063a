"""`clarion keeper`: what it would do, does, did and would have done, and how it is stopped."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from clarion.chains.model import Chain
from clarion.config import Settings, load_settings
from clarion_keeper.intents import Lane
from clarion_keeper.signers.command import signer

keeper: Final = typer.Typer(
    help="Runs the keeper, shows what it plans, does and did, and stops it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
Dev = Annotated[bool, typer.Option("--dev", help="Of the chain that `clarion dev` runs in this folder.")]
JobName = Annotated[str | None, typer.Argument(metavar="[JOB]", help="A job by name; without one everything.")]

#: What `pause` stops without a job: everything.
EVERYTHING: Final = "*"


def settings_for(*, dev: bool, **keeper_settings: Any) -> Settings:
    """The settings, with what the options say of the keeper; values of None are left to the settings."""
    if dev:
        from clarion.dev.run import settings_of_last_run

        return settings_of_last_run(load_settings())
    return load_settings({"keeper": {name: value for name, value in keeper_settings.items() if value is not None}})


@keeper.command("run")
def run(
    dry_run: Annotated[
        bool | None,
        typer.Option("--dry-run/--live", help="Sign nothing, or sign. Without either: nothing on mainnet alone."),
    ] = None,
    graphql_url: Annotated[str | None, typer.Option(help="Where to read what there is to do.")] = None,
) -> None:
    """Do what is due, until told to stop. Several keepers on one database stand by for each other."""
    from clarion_keeper.command.running import run_keeper

    run_keeper(settings_for(dev=False, dry_run=dry_run, graphql_url=graphql_url))


@keeper.command("plan")
def plan(
    graphql_url: Annotated[str | None, typer.Option(help="Where to read what there is to do.")] = None,
    as_json: AsJson = False,
    dev: Dev = False,
) -> None:
    """Show what would be sent now, in which order, with fees and profit, and why others wait. Signs nothing."""
    from clarion.telemetry import configure_logging
    from clarion_keeper.command import planning
    from clarion_keeper.signers.accounts import give_up_environment_keys

    settings = settings_for(dev=dev, graphql_url=graphql_url)
    configure_logging(settings.log)
    give_up_environment_keys(settings)
    found = planning.preview(settings)
    if as_json:
        typer.echo(json.dumps(planning.preview_json(found), indent=2))
    else:
        Console().print(planning.preview_view(found))


@keeper.command("replay")
def replay(
    block: Annotated[int, typer.Argument(metavar="BLOCK", min=0, help="Height of a canonical block.")],
    chain: Annotated[Chain, typer.Option("--chain", help="Whose block: stacks or bitcoin.")] = "stacks",
    as_json: AsJson = False,
    dev: Dev = False,
) -> None:
    """Show what the jobs would have decided at a block. The same block always gives the same answer."""
    from clarion.telemetry import configure_logging
    from clarion_keeper.command import replaying

    settings = settings_for(dev=dev)
    configure_logging(settings.log)
    found = replaying.replay_block(settings, chain, block)
    if as_json:
        typer.echo(json.dumps(replaying.replay_json(found), indent=2))
    else:
        Console().print(replaying.replay_view(found))


@keeper.command("feed")
def feed(as_json: AsJson = False, dev: Dev = False) -> None:
    """Show the oracle feed: what the sources quote, the prices that makes, and what would be submitted."""
    import asyncio

    from clarion_keeper.command.feeding import report

    found = asyncio.run(report(settings_for(dev=dev)))
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
    else:
        Console().print(found.to_table())


@keeper.command("intents")
def intents(
    job: Annotated[list[str] | None, typer.Option("--job", help="Only of this job; repeatable.")] = None,
    lane: Annotated[list[Lane] | None, typer.Option("--lane", help="Only in this lane; repeatable.")] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="planned, sent, done, failed or cancelled; repeatable.")
    ] = None,
    entity: Annotated[str | None, typer.Option("--about", help="Only about this, such as policy:7.")] = None,
    first: Annotated[int, typer.Option("--first", min=1, max=1_000, help="How many.")] = 50,
    as_json: AsJson = False,
    dev: Dev = False,
) -> None:
    """List intents: those that are open first, then the newest."""
    from clarion.store.database import connect
    from clarion_keeper.command import records
    from clarion_keeper.command.database import keeper_database

    if unknown := sorted(set(state or ()) - set(records.STATES)):
        raise typer.BadParameter(f"{', '.join(unknown)}: there are {', '.join(records.STATES)}", param_hint="--state")
    with keeper_database(settings_for(dev=dev)) as url, connect(url, autocommit=True) as connection:
        found = records.list_intents(
            connection, jobs=job or (), lanes=lane or (), states=state or (), entity=entity, first=first
        )
    if as_json:
        typer.echo(json.dumps([records.record_json(record) for record in found], indent=2))
    else:
        Console().print(records.intents_table(found))


@keeper.command("explain")
def explain(
    name: Annotated[str, typer.Argument(metavar="ID", help="An intent's number or key, or its transaction's id.")],
    psbt: Annotated[
        bool, typer.Option("--psbt", help="Only the unsigned Bitcoin transaction that others have to sign, in base64.")
    ] = False,
    as_json: AsJson = False,
    dev: Dev = False,
) -> None:
    """Show everything that happened to an intent: causes, waits, transactions, fees, blocks, and what came of it."""
    from clarion.store.database import connect
    from clarion_keeper.command import records
    from clarion_keeper.command.database import keeper_database

    with keeper_database(settings_for(dev=dev)) as url, connect(url, autocommit=True) as connection:
        found = records.explain(connection, name)
    if psbt:
        typer.echo(records.psbt_of(found))
    elif as_json:
        typer.echo(json.dumps(records.post_mortem_json(found), indent=2))
    else:
        Console().print(records.post_mortem_view(found))


@keeper.command("pause")
def pause(
    job: JobName = None,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is shown wherever something waits.")] = "by hand",
    dev: Dev = False,
) -> None:
    """Stop a job, or everything: nothing more is signed. What was sent is followed to its end."""
    from clarion_keeper.command.control import pause_job

    pause_job(settings_for(dev=dev), job or EVERYTHING, reason)
    typer.echo(f"{'Everything' if job is None else job} is paused: `clarion keeper resume{_named(job)}` lets it go on.")


@keeper.command("resume")
def resume(job: JobName = None, dev: Dev = False) -> None:
    """Let a job, or everything that was paused without a job, go on."""
    from clarion_keeper.command.control import resume_job

    still = resume_job(settings_for(dev=dev), job or EVERYTHING)
    typer.echo(f"{'Everything' if job is None else job} goes on.")
    for name, reason in still.items():
        typer.echo(f"{'everything' if name == EVERYTHING else name} stays paused: {reason}")


keeper.command("signer")(signer)


def _named(job: str | None) -> str:
    return "" if job is None else f" {job}"
