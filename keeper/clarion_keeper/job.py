"""What a job is, and where jobs come from: packages' entry points, and single files that settings name.

A job decides with a pure function on a state that it reads through GraphQL. It never reads a clock or a database, signs
nothing and sends nothing.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NoReturn, Protocol, TypeAlias, TypeVar

from clarion.chains.model import Chain
from clarion.chains.stacks.clarity import Value
from clarion.chains.stacks.networks import Network
from clarion.config import Settings
from clarion_keeper.graph import Reader, Receipt
from clarion_keeper.intents import Call, Intent, Item, Lane, Outcome

ENTRY_POINTS: Final = "clarion.keeper_jobs"
"""Entry points of this group are functions ``jobs(context) -> Sequence[Job]``; their name is that of a protocol."""

JobChain: TypeAlias = Literal["stacks", "bitcoin", "none"]
"""Where a job's transactions go. ``none``: its intents are for people to see (reminders, drift, a stale price). They
stay open for as long as they are due, raise an alert, and no transaction is made for them."""


class JobsError(Exception):
    """The jobs cannot be loaded; the message says which, and why."""


class State(Protocol):
    """What a job decides on. ``receipt`` is the block that all of it was read at."""

    @property
    def receipt(self) -> Receipt:
        """The block."""


S = TypeVar("S", bound=State)


class Job(Protocol[S]):
    """A kind of work. Subclass it and give ``name`` and ``lane``; the rest has defaults that fit most jobs.

    ``batch_size``: how many intents one transaction may carry, all of them of one :meth:`group`. ``depth``: for how
    many Bitcoin blocks an intent must have stayed due before it is sent; 0 sends at the tip (settings ``keeper.depths``
    have the last word). ``holds``: for jobs of chain ``none`` that find something wrong: while an intent of it is open,
    no job acts on its ``entity``. ``reads``: the chain whose index it reads; None: that of its transactions, Stacks
    where it makes none. ``replayable``: it reads GraphQL alone, so that it can be asked again as of an earlier block.
    ``needs_account``: its call ends otherwise for the keeper's account than for anybody else, because it asks for a
    role or is about what the account has; a stranger's simulation says nothing of it. ``renews``: its items hold
    something that gets old, such as a price. A transaction that is replaced then says what the last look found;
    ``outcomes`` may not depend on it.
    """

    name: str
    lane: Lane
    batch_size: int = 1
    depth: int = 0
    chain: JobChain = "stacks"
    reads: Chain | None = None
    holds: bool = False
    replayable: bool = True
    needs_account: bool = False
    renews: bool = False

    async def read(self, reader: Reader) -> S:
        """Everything that ``check`` looks at, all of it at one block. The only part of a job that asks anybody."""
        ...

    def check(self, state: S) -> Sequence[Intent]:
        """Everything of this kind that is due at the state's block. Pure."""
        ...

    def group(self, item: Item) -> str:
        """Intents of different groups never share a transaction. Pure; the same for as long as an intent is open."""
        return ""

    def call(self, items: Sequence[Item]) -> Call:
        """The contract call for up to ``batch_size`` intents of one group, in the planner's order."""
        return _none_made(self.name)

    def outcomes(self, items: Sequence[Item], result: Value | None) -> Sequence[Outcome]:
        """What a mined (or simulated) call means for each of its intents; ``result`` is None where none was kept."""
        return _none_made(self.name)


def chain_read_by(job: Job[Any]) -> Chain:
    """The chain whose blocks a job decides at."""
    return job.reads or ("bitcoin" if job.chain == "bitcoin" else "stacks")


def _none_made(job: str) -> NoReturn:
    raise NotImplementedError(f"the job {job} makes no contract calls")


@dataclass(frozen=True, slots=True)
class JobContext:
    """What jobs are told when they are made.

    ``deployers``: who deployed a protocol's contracts, by protocol. ``addresses``: the keeper's own account of each
    lane on Stacks, ``bitcoin_addresses`` on Bitcoin; a lane without an account is not in them.
    """

    settings: Settings
    network: Network
    deployers: Mapping[str, str]
    addresses: Mapping[Lane, str] = field(default_factory=dict)
    bitcoin_addresses: Mapping[Lane, str] = field(default_factory=dict)

    #: Name of the function that a file in ``keeper.job_files`` has to have.
    FUNCTION: ClassVar[str] = "jobs"


def load_jobs(context: JobContext) -> list[Job[Any]]:
    """Every enabled job: those of installed packages for the protocols that are indexed, then those of files.

    Entry points of other names than protocols' are always loaded. ``keeper.jobs`` narrows the list by name.

    Raises:
        JobsError: a package or file cannot be loaded, two jobs have one name, or ``keeper.jobs`` names an unknown one.
    """
    found: list[Job[Any]] = []
    protocols = {entry.name for entry in importlib.metadata.entry_points(group="clarion.protocols")}
    for entry in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        if entry.name not in protocols or entry.name in context.settings.protocols:
            found += _made(entry.load, context, f"the entry point {entry.name}")
    for path in context.settings.keeper.job_files:
        found += _made(functools.partial(_function_of, path), context, str(path))
    return _enabled(found, context.settings.keeper.jobs)


def _made(
    load: Callable[[], Callable[[JobContext], Sequence[Job[Any]]]], context: JobContext, origin: str
) -> list[Job[Any]]:
    try:
        return list(load()(context))
    except JobsError:
        raise
    except Exception as error:
        raise JobsError(f"The jobs of {origin} cannot be loaded: {error!r}") from error


def _function_of(path: Path) -> Callable[[JobContext], Sequence[Job[Any]]]:
    if not path.is_file():
        raise JobsError(f"keeper.job_files names {path}, which is no file")
    spec = importlib.util.spec_from_file_location(f"clarion_keeper_job_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise JobsError(f"keeper.job_files names {path}, which is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    function = getattr(module, JobContext.FUNCTION, None)
    if function is None:
        raise JobsError(f"{path} has no function {JobContext.FUNCTION}(context) that gives its jobs")
    return function  # type: ignore[no-any-return]


def _enabled(found: Sequence[Job[Any]], wanted: Sequence[str] | None) -> list[Job[Any]]:
    by_name: dict[str, Job[Any]] = {}
    for job in found:
        if job.name in by_name:
            raise JobsError(f"Two jobs are named {job.name}")
        by_name[job.name] = job
    if wanted is None:
        return list(by_name.values())
    if unknown := sorted(set(wanted) - by_name.keys()):
        raise JobsError(f"keeper.jobs names {', '.join(unknown)}. There are: {', '.join(sorted(by_name)) or 'none'}.")
    return [by_name[name] for name in wanted]
