"""A process that signs as the keeper's does: `python signing_process.py`, with settings from the environment.

It says ``ready`` with the address of each account. A line ``ACCOUNT NONCE FEE`` on its input asks for a signature; it
answers with ``signed TXID``, or with the kind of the error and its text.
"""

from __future__ import annotations

import asyncio
import sys

import structlog

from clarion.chains.stacks.clarity import UInt, contract_principal
from clarion.chains.stacks.payloads import ContractCall
from clarion.chains.stacks.signing import single_sig, unsigned_transaction
from clarion.chains.stacks.transactions import transaction_id
from clarion.config import Settings, load_settings
from clarion.telemetry import configure_logging
from clarion_keeper.signers import Purpose, Signer, SignerError
from clarion_keeper.signers.accounts import give_up_environment_keys, open_signers

log = structlog.get_logger()


async def sign(settings: Settings, signer: Signer, nonce: int, fee: int) -> str:
    payload = ContractCall(contract_principal(f"{settings.deployers['bithedge']}.bh-policy"), "settle", (UInt(nonce),))
    origin = single_sig(signer.public_key, nonce=nonce, fee=fee)
    transaction = unsigned_transaction(payload, origin, network=settings.network.constants)
    try:
        raw = await signer.sign_stacks(transaction.encode(), purpose=Purpose("settle", "settle", (f"settle:{nonce}",)))
    except SignerError as error:
        log.exception("not signed")
        return f"{type(error).__name__} {error}"
    return f"signed {transaction_id(raw).hex()}"


async def run(settings: Settings) -> None:
    async with open_signers(settings) as signers:
        print("ready", *[f"{name}={signer.address}" for name, signer in signers.items()], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            account, nonce, fee = line.split()
            print(await sign(settings, signers[account], int(nonce), int(fee)), flush=True)


def main() -> None:
    settings = load_settings()
    give_up_environment_keys(settings)
    configure_logging(settings.log)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
