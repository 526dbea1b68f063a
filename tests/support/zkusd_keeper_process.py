"""Keepers of zkUSD as processes of their own, beside a regtest that the test itself runs; `keeper_process` says how."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from clarion.config import Settings
from clarion.dev.bitcoin.zkusd_apps import SCROLLS
from clarion_keeper.engine import Engine
from clarion_keeper.observer import Observer
from support.keeper_process import serve
from support.keeper_regtest import in_process_parts

PROGRAM: Final = "support.zkusd_keeper_process"
WAKE_SECONDS: Final = 0.1


async def keep_zkusd(order: dict[str, Any], observer: Observer, stopping: asyncio.Event) -> None:
    """A keeper with all keys, of settings as `Settings.model_dump` wrote them."""
    settings = Settings.model_validate({**order["settings"], "database_url": order["url"]})
    async with in_process_parts(settings, SCROLLS, observer=observer) as parts:
        await Engine(settings, order["url"], parts, observer, wake_seconds=WAKE_SECONDS).run(stopping)


if __name__ == "__main__":
    serve(keep_zkusd)
