"""The Bitcoin nodes that settings name."""

from __future__ import annotations

from clarion.chains.bitcoin.rpc import BitcoinRpc
from clarion.config import Bitcoin


def rpc_of(
    settings: Bitcoin,
    url: str | None = None,
    *,
    name: str = "bitcoin-rpc",
    timeout_seconds: float = 120.0,
    attempts: int = 5,
) -> BitcoinRpc:
    """The node of the settings, or another one that is signed in to in the same way."""
    return BitcoinRpc(
        url or settings.rpc_url or f"http://127.0.0.1:{settings.network.constants.rpc_port}",
        network=settings.network,
        user=settings.rpc_user,
        password=settings.rpc_password.get_secret_value() if settings.rpc_password else None,
        cookie_file=settings.rpc_cookie_file,
        poll_seconds=settings.poll_seconds,
        name=name,
        timeout_seconds=timeout_seconds,
        attempts=attempts,
    )
