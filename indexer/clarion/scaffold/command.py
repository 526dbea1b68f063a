"""Gathers what is known of a contract and writes a package for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg import Connection

from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.config import Settings, SourceName
from clarion.discovery import is_contract_id
from clarion.hiro_feed import hiro_client
from clarion.scaffold.render import Plan, ScaffoldError, plan, render
from clarion.scaffold.samples import Sample, indexed_interface, indexed_samples, told_samples
from hiro_api_client import HiroApiError


async def plan_package(settings: Settings, connection: Connection[Any], name: str, contract: str) -> Plan:
    """What to write for a contract. Raises ScaffoldError where nothing is known of it."""
    if not is_contract_id(contract):
        raise ScaffoldError(f"{contract} is no contract id: ADDRESS.name")
    samples = indexed_samples(connection, contract)
    interface = indexed_interface(connection, contract)
    problems: list[str] = []
    if interface is None:
        interface = await _ask_node(settings, contract, problems)
    if not samples and (SourceName.HIRO in settings.sources or settings.hiro.url is not None):
        samples = await _ask_api(settings, contract, problems)
    made = plan(name, contract, settings.network.value, interface, samples)
    if not (made.topics or made.has_ft or made.has_nft):
        known = "the contract defines no token and" if interface is not None else "there"
        raise ScaffoldError(
            f"{known} is no event of {contract} to start from. Index blocks in which it said something, or set "
            "CLARION_HIRO__URL to ask a Stacks Blockchain API." + "".join(f" ({problem})" for problem in problems)
        )
    return made


async def _ask_node(settings: Settings, contract: str, problems: list[str]) -> Any:
    async with NodeClient(settings.node.url, attempts=1) as node:
        try:
            return await node.contract_interface(contract)
        except NodeError as error:
            problems.append(str(error))
            return None


async def _ask_api(settings: Settings, contract: str, problems: list[str]) -> list[Sample]:
    async with hiro_client(settings) as api:
        try:
            return await told_samples(api, contract)
        except (HiroApiError, CodecError) as error:
            problems.append(str(error))
            return []


def write_package(made: Plan, folder: Path) -> list[Path]:
    """Write the package into ``folder``, which must be empty or not there. Raises ScaffoldError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ScaffoldError(f"{folder} is there already; name another folder with --out")
    written = []
    for path, content in render(made).items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content, encoding="utf-8")
        written.append(target)
    return written
