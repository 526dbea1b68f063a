"""Documents as they are sent, parsed and validated once, and the operations in them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import (
    ASTValidationRule,
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

#: Texts of documents that are remembered, in characters; parsed, they take several hundred times that in memory.
CACHED_CHARACTERS: Final = 400_000
#: How many of the largest documents that are remembered fit: one larger would push out those that clients do use.
LARGEST_THAT_FIT: Final = 4
#: Most documents that are remembered.
CACHED_DOCUMENTS: Final = 2_000

#: Errors after which validation of a document stops: what may have been meant takes long to find.
MOST_ERRORS: Final = 20

Check = Callable[[DocumentNode], Sequence[GraphQLError]]


class RequestError(Exception):
    """The document cannot be executed; ``errors`` say why."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(*errors)
        self.errors = list(errors)


@dataclass(eq=False, slots=True)
class Operation:
    """An operation of a document.

    ``notes`` is for what others work out of it once: a plan, a cost. It lives as long as the document is remembered.
    """

    document: DocumentNode
    node: OperationDefinitionNode
    notes: dict[Any, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """Its name, where it has one."""
        return None if self.node.name is None else self.node.name.value

    @property
    def type(self) -> OperationType:
        """Query, mutation or subscription."""
        return self.node.operation


@dataclass(eq=False, slots=True)
class Document:
    """A document that fits the schema."""

    node: DocumentNode
    operations: Sequence[Operation]

    def operation(self, name: str | None) -> Operation:
        """The operation of this name, or the only one. Raises RequestError where there is none."""
        if name is None:
            if len(self.operations) == 1:
                return self.operations[0]
            raise RequestError([GraphQLError(_NAME_MISSING if self.operations else "Must provide an operation.")])
        for operation in self.operations:
            if operation.name == name:
                return operation
        raise RequestError([GraphQLError(f"Unknown operation named '{name}'.")])


_NAME_MISSING: Final = "Must provide operation name if query contains multiple operations."


class Documents:
    """Reads documents for a schema, and remembers them and the errors of those that are none.

    ``check`` is asked after parsing and before validation: it may refuse what would take long to validate. ``rules``
    are GraphQL's and those beyond. ``suggest``: errors name what the client may have meant, also those of whoever
    executes a document.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        *,
        max_tokens: int | None = None,
        check: Check | None = None,
        rules: Sequence[type[ASTValidationRule]] = (),
        suggest: bool = True,
    ) -> None:
        self.suggest = suggest
        self._schema = schema
        self._max_tokens = max_tokens
        self._check = check
        self._rules = (*specified_rules, MaybeNullValidationRule, OneOfInputValidationRule, *rules)
        self._known: OrderedDict[str, Document | RequestError] = OrderedDict()
        self._characters = 0

    def read(self, text: str) -> Document:
        """The document. Raises RequestError where it is no GraphQL, goes over a limit or does not fit the schema."""
        found = self._known.get(text)
        if found is None:
            found = self._read(text)
            self._remember(text, found)
        else:
            self._known.move_to_end(text)
        if isinstance(found, RequestError):
            raise RequestError(found.errors)
        return found

    def _read(self, text: str) -> Document | RequestError:
        try:
            node = parse(text, max_tokens=self._max_tokens)
        except GraphQLError as error:
            return RequestError([error])
        except RecursionError:
            return RequestError([GraphQLError("The document is nested too deeply.")])
        errors = list(self._check(node)) if self._check is not None else []
        try:
            errors = errors or validate(
                self._schema, node, self._rules, max_errors=MOST_ERRORS, hide_suggestions=not self.suggest
            )
        except RecursionError:
            return RequestError([GraphQLError("The document is nested too deeply.")])
        if errors:
            return RequestError(errors)
        operations = [
            Operation(node, definition)
            for definition in node.definitions
            if isinstance(definition, OperationDefinitionNode)
        ]
        return Document(node, operations)

    def _remember(self, text: str, found: Document | RequestError) -> None:
        if len(text) * LARGEST_THAT_FIT > CACHED_CHARACTERS:
            return
        self._known[text] = found
        self._characters += len(text)
        while self._characters > CACHED_CHARACTERS or len(self._known) > CACHED_DOCUMENTS:
            forgotten, _ = self._known.popitem(last=False)
            self._characters -= len(forgotten)
