"""Documents that clients name instead of sending: automatic persisted queries, and the list of a locked-down server.

The protocol of automatic persisted queries is Apollo's: ``extensions.persistedQuery.sha256Hash``, with the text once.
``documentId`` is that of GraphQL over HTTP's appendix on persisted documents: ``sha256:`` and the hash, or an id of the
server's list.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from graphql import GraphQLError, parse

from clarion.config import ConfigurationError
from clarion_graphql.errors import ApiError, BadRequestError, Code

#: What remembered documents may take in memory, in characters.
REMEMBERED_CHARACTERS: Final = 4_000_000

_HASH: Final = re.compile(r"[0-9a-f]{64}")
#: Clients that register a document on its own look for this text.
_NOT_FOUND: Final = "PersistedQueryNotFound"


def hash_of(document: str) -> str:
    """SHA-256 of a document's text, in hexadecimal."""
    return hashlib.sha256(document.encode()).hexdigest()


class PersistedQueries:
    """Finds the text of a document that a request names, and remembers those sent with their hash.

    With ``allowed`` (texts by id) no other document is answered.
    """

    def __init__(self, allowed: Mapping[str, str] | None = None, *, characters: int = REMEMBERED_CHARACTERS) -> None:
        self._allowed: Mapping[str, str] | None = None
        if allowed is not None:
            self._allowed = {**{hash_of(text): text for text in allowed.values()}, **allowed}
            self._allowed_texts = frozenset(allowed.values())
        self._remembered: OrderedDict[str, str] = OrderedDict()
        self._characters = characters
        self._free = characters

    def resolve(
        self, query: str | None, extensions: Mapping[str, Any] | None = None, document_id: str | None = None
    ) -> str:
        """The text of the document that a request means. Raises ApiError where there is none or it is not allowed."""
        name = _named(extensions, document_id)
        if self._allowed is not None:
            return self._on_list(query, name)
        if name is None:
            if not query:
                raise BadRequestError("The request has no `query`: the text of a GraphQL document.")
            return query
        if query is None:
            known = self._remembered.get(name)
            if known is None:
                raise ApiError(Code.PERSISTED_QUERY_NOT_FOUND, _NOT_FOUND)
            self._remembered.move_to_end(name)
            return known
        if not _is_hash_of(name, query):
            raise BadRequestError("The hash of `extensions.persistedQuery` is not the SHA-256 of `query`.")
        self._remember(name, query)
        return query

    def _on_list(self, query: str | None, name: str | None) -> str:
        assert self._allowed is not None
        found = self._allowed.get(name) if name is not None else query if query in self._allowed_texts else None
        if found is None or (query is not None and query != found):
            raise ApiError(
                Code.DOCUMENT_NOT_ALLOWED,
                "This server only answers the documents on its list, and this is none of them. Ask its operator to add "
                "it, and name it by its id or send its exact text.",
            )
        return found

    def _remember(self, name: str, text: str) -> None:
        if name in self._remembered or len(text) > self._characters // 8:
            return
        self._remembered[name] = text
        self._free -= len(text)
        while self._free < 0:
            _, forgotten = self._remembered.popitem(last=False)
            self._free += len(forgotten)


def _named(extensions: Mapping[str, Any] | None, document_id: str | None) -> str | None:
    """The id that a request names its document by."""
    if document_id is not None:
        return document_id.removeprefix("sha256:")
    given = (extensions or {}).get("persistedQuery")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("version") != 1 or not isinstance(given.get("sha256Hash"), str):
        raise BadRequestError('`extensions.persistedQuery` is {"version": 1, "sha256Hash": "…"}.')
    name: str = given["sha256Hash"]
    return name


def _is_hash_of(name: str, text: str) -> bool:
    if not _HASH.fullmatch(name):
        return False
    try:
        return hash_of(text) == name
    except UnicodeEncodeError:
        return False


def read_allowed(path: Path) -> dict[str, str]:
    """The documents of a list, by id: a JSON file, or a folder of ``.graphql`` files, whose ids are their hashes.

    A file holds ``{"id": "text", …}``, as Relay's and GraphQL Code Generator's persisted documents do, or Apollo's
    manifest of persisted queries.

    Raises:
        ConfigurationError: the list cannot be read, or a document of it is not GraphQL.
    """
    try:
        if path.is_dir():
            texts = [file.read_text(encoding="utf-8") for file in sorted(path.rglob("*.graphql"))]
            documents = {hash_of(text): text for text in texts}
        else:
            documents = _documents_in(msgspec.json.decode(path.read_bytes()))
    except (OSError, UnicodeError, msgspec.MsgspecError) as error:
        raise ConfigurationError(f"graphql.documents: {path} cannot be read: {error}") from error
    if not documents:
        raise ConfigurationError(f"graphql.documents: there is no document in {path}")
    for name, text in documents.items():
        try:
            parse(text, no_location=True)
        except GraphQLError as error:
            raise ConfigurationError(f"graphql.documents: {name} in {path} is no GraphQL document: {error}") from error
    return documents


class _Operation(msgspec.Struct):
    id: str
    body: str


class _Manifest(msgspec.Struct):
    operations: list[_Operation]


def _documents_in(value: Any) -> dict[str, str]:
    if isinstance(value, dict) and isinstance(value.get("operations"), list):
        return {operation.id: operation.body for operation in msgspec.convert(value, _Manifest).operations}
    return msgspec.convert(value, dict[str, str])
