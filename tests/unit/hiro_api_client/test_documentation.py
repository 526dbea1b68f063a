"""docs/hiro-api.md: its example runs."""

from __future__ import annotations

import re
from pathlib import Path

from support import toy
from support.hiro_api import HiroApi, serving
from support.node_posts import body, moves_payload

PAGE = Path(__file__).parents[3] / "docs" / "hiro-api.md"


async def test_the_example_runs() -> None:
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    api = HiroApi([("/new_block", body(moves_payload(toy.block(None), [toy.move("anna", 1)])))])
    async with serving(api) as server:
        program = found[1].replace("http://127.0.0.1:3999", server.url).replace("SP….vault", toy.CONTRACT)
        program = program.replace("...  # wakeup", "break  # wakeup").replace(
            "            ...", "            seen.append(log)"
        )
        lines = program.splitlines()
        start = next(number for number, line in enumerate(lines) if line.startswith("async with"))
        wrapped = [*lines[:start], "async def main(seen):", *(f"    {line}" for line in lines[start:])]
        wrapped.append("        return tip, header, wakeup")
        names: dict[str, object] = {}
        exec("\n".join(wrapped), names)
        seen: list[object] = []
        tip, header, wakeup = await names["main"](seen)  # type: ignore[operator]
    assert tip.index_block_hash == header.index_block_hash == api.tip.hash
    assert len(seen) == 1
    assert wakeup.reason == "connected"
