"""The command `clarion keeper signer`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from clarion.config import ConfigurationError, load_settings
from clarion_keeper.signers.accounts import agent_options
from clarion_keeper.signers.key_sources import ENVIRONMENT, KEY_SOURCES
from clarion_keeper.signers.processes import AGENT_MODULE


def signer(
    account: Annotated[str, typer.Argument(help="Name of the account in keeper.accounts, whose limits hold.")],
    socket: Annotated[Path, typer.Option(help="Socket to listen on; the keeper's signer is then unix:PATH.")],
    key: Annotated[
        str | None, typer.Option(help="Where the key is: file:PATH, env:NAME or keyring:SERVICE/USER.")
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Group whose members may connect. Without it: this user alone.")
    ] = None,
) -> None:
    """Hold the key of an account and sign for the keeper what the account's limits allow."""
    options = agent_options(load_settings(), account)
    source = options.source if key is None else key
    if not source.startswith(KEY_SOURCES):
        raise ConfigurationError(
            f"Say with --key where the key of {account} is: file:PATH, env:NAME or keyring:SERVICE/USER"
        )
    options = msgspec.structs.replace(options, source=source, listen=str(socket.resolve()), group=group)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CLARION_")}
    if source.startswith(ENVIRONMENT):
        name = source.removeprefix(ENVIRONMENT)
        kept |= {name: os.environ[name]} if name in os.environ else {}
    sys.stdout.flush()
    sys.stderr.flush()
    module = [sys.executable, "-P", "-m", AGENT_MODULE, msgspec.json.encode(options).decode()]
    os.execve(sys.executable, module, kept)
