"""The answers to a live query, and what is sent of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
import psycopg
from graphql import GraphQLError

from clarion.chains.model import Chain
from clarion_graphql.accounts.caller import Caller
from clarion_graphql.errors import Code
from clarion_graphql.execution import Executor, GraphQLRequest
from clarion_graphql.feed import CHAINS
from clarion_graphql.live.sources import LiveQuery, State, StateSource
from clarion_graphql.live.touched import TouchedTables

#: Errors that say nothing of the query: it is asked again.
_PASSING: Final = frozenset({Code.UNAVAILABLE.value})
#: Errors of what was asked: without an answer beside them there is nothing to wait for.
_LASTING: Final = frozenset({Code.BAD_USER_INPUT.value, Code.BAD_CURSOR.value, Code.LIMIT_EXCEEDED.value})


class _Answer(msgspec.Struct):
    data: msgspec.Raw = msgspec.Raw(b"null")
    errors: list[dict[str, Any]] = []
    extensions: msgspec.Raw = msgspec.Raw(b"")


class LiveAnswers:
    """The answers to a live query, for one caller or for all that are not known.

    ``reads``: the tables that it reads and their chain, where the answer depends on nothing else.
    """

    def __init__(
        self,
        query: LiveQuery,
        variables: Mapping[str, Any],
        executor: Executor,
        touched: TouchedTables,
        reads: tuple[Chain, frozenset[str]] | None,
        caller: Caller,
    ) -> None:
        self._query = query
        self._variables = variables
        self._executor = executor
        self._touched = touched
        self._reads = reads
        # a run is for all that share it, each of whom was charged what it costs when subscribing
        self._caller = msgspec.structs.replace(caller, quota_key="")
        self._last: State | None = None

    def source(self) -> StateSource:
        """The answers as a source; each is made anew after a commit to a chain that the query reads.

        Where the query reads what is in no chain, also after each notification of that.
        """
        asked = GraphQLRequest(self._query.text, self._variables)
        chains, channels = self._executor.chains_of(asked), self._executor.channels_of(asked)
        heard_of = (*(sorted(chains) if chains else CHAINS), *sorted(channels))
        return StateSource(self._query.what, heard_of, self._read)

    async def _read(self) -> list[State]:
        if self._last is not None and self._reads is not None:
            chain, tables = self._reads
            touched = await self._touched.since(chain, self._last.sequence)
            if not touched.any_of(tables):
                self._last = replace(self._last, sequence=touched.sequence)
                return [self._last]
        self._last = await self._answer()
        return [self._last]

    async def _answer(self) -> State:
        asked = GraphQLRequest(self._query.text, self._variables)
        answer = await self._executor.execute(asked, self._caller)
        said = msgspec.json.decode(answer.body, type=_Answer)
        if any(_code(error) in _PASSING for error in said.errors):
            raise psycopg.OperationalError(said.errors[0]["message"])
        name = msgspec.json.encode(self._query.response_key)
        data = bytes(said.data)
        if not answer.executed or (data == b"null" and all(_code(error) in _LASTING for error in said.errors)):
            raise self._refusal(said.errors[0])
        parts = [b'{"data":', data if data == b"null" else b"{%b:%b}" % (name, data)]
        errors = msgspec.json.encode([self._shown(error) for error in said.errors]) if said.errors else b""
        if errors:
            parts += [b',"errors":', errors]
        if said.extensions:
            parts += [b',"extensions":', bytes(said.extensions)]
        parts.append(b"}")
        receipt = next(iter(answer.receipts.values()), None)
        return State("answer", data + errors, b"".join(parts), 0 if receipt is None else receipt.sequence)

    def _refusal(self, error: dict[str, Any]) -> GraphQLError:
        """What ends the subscription: it says the first of the errors that the query is refused with."""
        shown = self._shown(error)
        return GraphQLError(shown["message"], path=shown.get("path"), extensions=shown.get("extensions"))

    def _shown(self, error: dict[str, Any]) -> dict[str, Any]:
        """An error as it is of the subscription: its path begins there, and its place is none of the client's text."""
        shown = {name: value for name, value in error.items() if name != "locations"}
        if "path" in shown:
            shown["path"] = [self._query.response_key, *shown["path"]]
        return shown


def _code(error: dict[str, Any]) -> Any:
    return error.get("extensions", {}).get("code")
