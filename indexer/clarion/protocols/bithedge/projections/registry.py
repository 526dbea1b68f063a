"""bh-registry: roles, modules and migrations."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    MigrationBegun,
    MigrationFinished,
    MigrationStepped,
    ModuleActivated,
    ModuleDeprecated,
    ModuleRegistered,
    RoleExpired,
    RoleGranted,
    RoleRevoked,
)
from clarion.protocols.bithedge.protocol import on
from clarion.protocols.bithedge.tables import Migration, Module, Role
from clarion.store.rows import Rows


@on(RoleGranted)
def role_granted(event: RoleGranted, at: EventContext, rows: Rows) -> None:
    """Somebody has a role, or has it until another block."""
    role = rows.get(Role, event.role, event.who)
    if role is None:
        role = rows.insert(Role, role=event.role, who=event.who, granted_height=at.height)
    role.until_burn = event.until_burn
    role.granted_height = at.height


@on(RoleRevoked)
def role_revoked(event: RoleRevoked, at: EventContext, rows: Rows) -> None:
    """Somebody no longer has a role."""
    rows.delete(Role, event.role, event.who)


@on(RoleExpired)
def role_expired(event: RoleExpired, at: EventContext, rows: Rows) -> None:
    """A role that had ended is cleared away."""
    rows.delete(Role, event.role, event.who)


@on(ModuleRegistered)
def module_registered(event: ModuleRegistered, at: EventContext, rows: Rows) -> None:
    """A contract waits to become a module's version."""
    module = _module(event.module, event.version, event.contract, "registered", rows)
    module.code_hash = event.code_hash
    module.active_from_burn = event.active_from_burn


@on(ModuleActivated)
def module_activated(event: ModuleActivated, at: EventContext, rows: Rows) -> None:
    """A version is the active one; the one before it drains."""
    _module(event.module, event.version, event.contract, "active", rows)
    former = None if event.from_version is None else rows.get(Module, event.module, event.from_version)
    if former is not None:
        former.state = "draining"


@on(ModuleDeprecated)
def module_deprecated(event: ModuleDeprecated, at: EventContext, rows: Rows) -> None:
    """A version is out of use."""
    _module(event.module, event.version, event.contract, "deprecated", rows)


@on(MigrationBegun)
def migration_begun(event: MigrationBegun, at: EventContext, rows: Rows) -> None:
    """A version is being filled."""
    _migration(event, rows).begun_height = at.height


@on(MigrationStepped)
def migration_stepped(event: MigrationStepped, at: EventContext, rows: Rows) -> None:
    """A copy got further."""
    _migration(event, rows).steps += 1


@on(MigrationFinished)
def migration_finished(event: MigrationFinished, at: EventContext, rows: Rows) -> None:
    """A version is filled."""
    _migration(event, rows).finished_height = at.height


def _migration(event: MigrationBegun | MigrationStepped | MigrationFinished, rows: Rows) -> Migration:
    migration = rows.get(Migration, event.migration)
    if migration is None:
        return rows.insert(
            Migration,
            id=event.migration,
            module=event.module,
            from_version=event.from_version,
            version=event.version,
            cursor=event.cursor,
            hash=event.hash,
            done=event.done,
        )
    migration.cursor = event.cursor
    migration.hash = event.hash
    migration.done = event.done
    return migration


def _module(name: str, version: int, contract: str, state: str, rows: Rows) -> Module:
    module = rows.get(Module, name, version)
    if module is None:
        return rows.insert(Module, module=name, version=version, contract=contract, state=state)
    module.contract = contract
    module.state = state
    return module
