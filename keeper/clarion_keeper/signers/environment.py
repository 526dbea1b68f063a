"""Keys in the environment: handed to agents, and gone from the keeper before it does anything."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

import msgspec

from clarion_keeper.signers.agent_options import AgentOptions
from clarion_keeper.signers.errors import SignerUnavailableError
from clarion_keeper.signers.hardening import hide_memory
from clarion_keeper.signers.key_sources import ENVIRONMENT
from clarion_keeper.signers.processes import INHERITED_VARIABLE, start_agent, wait_until_ready


def give_up_keys(agents: Sequence[AgentOptions]) -> None:
    """Start the agents whose keys are in the environment, and become the same command without them.

    The process begins anew (execve) with an environment that has none of these keys, so neither its memory nor its
    `/proc/PID/environ` ever held one. Call it in the main thread before anything else that matters. Where no key is in
    the environment, or this was done already, it does nothing.

    Raises:
        SignerUnavailableError: a key is missing or unusable.
    """
    waiting = [options for options in agents if options.source.startswith(ENVIRONMENT)]
    if not waiting or INHERITED_VARIABLE in os.environ:
        return
    hide_memory()
    names = {options.source.removeprefix(ENVIRONMENT) for options in waiting}
    without_keys = {name: value for name, value in os.environ.items() if name not in names}
    sockets: dict[str, int] = {}
    for options in waiting:
        name = options.source.removeprefix(ENVIRONMENT)
        if name not in os.environ:
            raise SignerUnavailableError(f"The environment has no variable {name}, which is to hold a key")
        guarded = msgspec.structs.replace(options, guarded=True)
        _, owner = start_agent(guarded, {**without_keys, name: os.environ[name]})
        try:
            wait_until_ready(owner)
        except ConnectionResetError as error:
            raise SignerUnavailableError(f"{options.account}: {error}") from error
        owner.set_inheritable(True)
        sockets[options.account] = owner.detach()
    sys.stdout.flush()
    sys.stderr.flush()
    without_keys[INHERITED_VARIABLE] = json.dumps(sockets)
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], without_keys)
