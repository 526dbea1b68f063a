"""Where a call goes: jobs name contracts by the short names of their protocol."""

from __future__ import annotations

from collections.abc import Mapping

from clarion.chains.stacks.clarity import ContractPrincipal, contract_principal
from clarion.protocol import installed_protocol


class UnknownContractError(ValueError):
    """A job calls a contract whose deployer nobody knows."""


class Contracts:
    """Contracts by short name. ``deployers``: the settings', by protocol."""

    def __init__(self, deployers: Mapping[str, str]) -> None:
        self._by_name = {
            short: f"{deployer}.{short}"
            for protocol, deployer in deployers.items()
            for short in installed_protocol(protocol).short_names()
        }

    def resolve(self, name: str) -> ContractPrincipal:
        """The principal of a full one or a short name. Raises UnknownContractError."""
        try:
            return contract_principal(name if "." in name else self._by_name[name])
        except KeyError:
            raise UnknownContractError(
                f"nobody knows where the contract {name} is: set deployers of its protocol, or name it in full"
            ) from None
