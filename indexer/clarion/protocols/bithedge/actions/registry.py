"""Roles and modules: bh-registry."""

from __future__ import annotations

from typing import Any, Final

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.protocols.bithedge.actions.declaration import Action, Call
from clarion.protocols.bithedge.actions.roles import check_governance
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.tables import Migration, Module, Role

_BY_HANDOVER: Final = ("governance", "candidate")


def _check_stand(call: Call) -> Check[bool]:
    yield from ()
    return True


def _check_handover(call: Call) -> Check[bool]:
    yield from check_governance(call, 1003)
    if not call.state.has_role("candidate", call["to"]):
        yield 1019
    return True


def _check_grant(call: Call) -> Check[bool]:
    yield from check_governance(call, 1003)
    if call["role"] in _BY_HANDOVER:
        yield 1004
    until = call.given.get("until-burn")
    if until is not None and until <= call.state.burn_height:
        yield 1006
    return True


def _check_revoke(call: Call) -> Check[bool]:
    yield from check_governance(call, 1003)
    if call["role"] in _BY_HANDOVER:
        yield 1004
    if call.state.get(Role, call["role"], call["who"]) is None:
        yield 1005
    return True


def _check_expire(call: Call) -> Check[bool]:
    if call.state.get(Role, call["role"], call["who"]) is None:
        raise RefusedError(1005)
    if call.state.has_role(call["role"], call["who"]):
        yield 1013
    return True


def _module(call: Call) -> Any:
    row = call.state.get(Module, call["module"], call["version"])
    if row is None:
        raise RefusedError(1009)
    return row


def _is_migrating(call: Call) -> bool:
    rows = call.state.select(Migration, module=call["module"], version=call["version"], order=[("id", True)], limit=1)
    return bool(rows) and not rows[0].done


def _check_register(call: Call) -> Check[bool]:
    """Whether the contract has this code is not foretold."""
    yield from check_governance(call, 1003)
    if call.state.get(Module, call["module"], call["version"]) is not None:
        yield 1008
    return True


def _check_activate(call: Call) -> Check[bool]:
    row = _module(call)
    yield from check_governance(call, 1003)
    if row.state != "registered":
        yield 1010
    if row.active_from_burn is not None and call.state.burn_height < row.active_from_burn:
        yield 1011
    if _is_migrating(call):
        yield 1014
    return True


def _check_deprecate(call: Call) -> Check[bool]:
    row = _module(call)
    yield from check_governance(call, 1003)
    if row.state not in ("registered", "draining"):
        yield 1010
    if _is_migrating(call):
        yield 1014
    return True


def _check_begin(call: Call) -> Check[None]:
    row = _module(call)
    yield from check_governance(call, 1003)
    if row.state != "registered":
        yield 1010
    if call.state.select(Migration, module=row.module, version=row.version, order=[("id", True)], limit=1):
        yield 1014


def _check_finish(call: Call) -> Check[bool]:
    row = call.state.get(Migration, call["migration"])
    if row is None:
        raise RefusedError(1015)
    yield from check_governance(call, 1003)
    if row.done:
        yield 1015
    if call["hash"] != bytes_from_hex(row.hash):
        yield 1018
    return True


_VERSION: Final = "(module (string-ascii 16)) (version uint)"

ACTIONS: Final = (
    Action(
        "stand-for-governance",
        "bh-registry",
        "stand-for-governance",
        "",
        caller="anyone, for themselves",
        about="Says that governance can be handed over to the sender.",
        check=_check_stand,
    ),
    Action(
        "handover",
        "bh-registry",
        "handover",
        "(to principal)",
        caller="governance; to whom has stood for it",
        about="Gives governance away, for good.",
        check=_check_handover,
        says={"to": "Who governs from then on."},
    ),
    Action(
        "grant-role",
        "bh-registry",
        "grant-role",
        "(role (string-ascii 16)) (who principal) (until-burn (optional uint))",
        caller="governance",
        about="Gives somebody a role.",
        check=_check_grant,
        says={"until-burn": "Last Bitcoin block it holds in. Left out: without end."},
    ),
    Action(
        "revoke-role",
        "bh-registry",
        "revoke-role",
        "(role (string-ascii 16)) (who principal)",
        caller="governance",
        about="Takes a role back.",
        check=_check_revoke,
    ),
    Action(
        "expire-role",
        "bh-registry",
        "expire-role",
        "(role (string-ascii 16)) (who principal)",
        caller="anyone, once the role's height has passed",
        about="Removes a role that has ended.",
        check=_check_expire,
    ),
    Action(
        "register-module",
        "bh-registry",
        "register-module",
        "(module (string-ascii 16)) (version uint) (contract principal) (code-hash (buff 32))",
        caller="governance",
        about="Announces a new version of a module.",
        check=_check_register,
        is_whole=False,
    ),
    Action(
        "activate-module",
        "bh-registry",
        "activate-module",
        _VERSION,
        caller="governance, `MODULE-DELAY` (2016) blocks after registration, when no migration to it is open",
        about="Makes an announced version of a module the active one.",
        check=_check_activate,
        is_whole=False,
    ),
    Action(
        "deprecate-module",
        "bh-registry",
        "deprecate-module",
        _VERSION,
        caller="governance",
        about="Ends a version of a module that is not active.",
        check=_check_deprecate,
    ),
    Action(
        "begin-migration",
        "bh-registry",
        "begin-migration",
        _VERSION,
        caller="governance; gives the migration's number",
        about="Begins a copy of the active version's rows into an announced one.",
        check=_check_begin,
    ),
    Action(
        "finish-migration",
        "bh-registry",
        "finish-migration",
        "(migration uint) (hash (buff 32))",
        caller="governance",
        about="Ends a migration by naming the hash of what was copied.",
        check=_check_finish,
    ),
)
