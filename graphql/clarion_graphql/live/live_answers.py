"""The answers to a live query, and what is sent of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import psycopg

from clarion_graphql.accounts.caller import Caller
from clarion_graphql.errors import Code
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.feed import CHAINS
from clarion_graphql.live.sources import LiveQuery, State, StateSource

#: Errors that say nothing of the query: it is asked again.
_PASSING: Final = frozenset({Code.UNAVAILABLE.value})


class _Answer(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[dict[str, Any]] = []
    extensions: msgspec.Raw = msgspec.Raw(b"")


@dataclass(frozen=True)
class LiveAnswers:
    """The answers to a live query, for one caller or for all that are not known."""

    query: LiveQuery
    executor: Executor
    variables: Mapping[str, Any]
    caller: Caller

    def source(self) -> StateSource:
        """The answers as a source; each is made anew after a commit."""
        return StateSource(self.query.what, CHAINS, self._read)

    async def _read(self) -> list[State]:
        # whoever asks first pays for nobody: what it costs was charged when it was subscribed to
        caller = msgspec.structs.replace(self.caller, quota_key="")
        answer = await self.executor.execute(GraphQLRequest(self.query.text, self.variables), caller)
        said = msgspec.json.decode(answer.body, type=_Answer)
        if any(error.get("extensions", {}).get("code") in _PASSING for error in said.errors):
            raise psycopg.OperationalError(said.errors[0]["message"])
        name = msgspec.json.encode(self.query.response_key)
        data = bytes(said.data)
        parts = [b'{"data":', data if data == b"null" else b"{%b:%b}" % (name, data)]
        errors = msgspec.json.encode([self._shown(error) for error in said.errors]) if said.errors else b""
        if errors:
            parts += [b',"errors":', errors]
        if said.extensions:
            parts += [b',"extensions":', bytes(said.extensions)]
        parts.append(b"}")
        receipt = next(iter(answer.receipts.values()), None)
        return [State("answer", data + errors, b"".join(parts), 0 if receipt is None else receipt.sequence)]

    def _shown(self, error: dict[str, Any]) -> dict[str, Any]:
        """An error as it is of the subscription: its path begins there, and its place is none of the client's text."""
        shown = {name: value for name, value in error.items() if name != "locations"}
        if "path" in shown:
            shown["path"] = [self.query.response_key, *shown["path"]]
        return shown
