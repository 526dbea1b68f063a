"""A live query, ``subscription { live { … } }``, as the query document that it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLResolveInfo,
    Node,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    Visitor,
    print_ast,
    visit,
)

from clarion_graphql.live.sources import LiveQuery


def live_query(info: GraphQLResolveInfo[Any]) -> LiveQuery:
    """What stands under the field that is being resolved, as a document of its own."""
    selected = tuple(
        node for field in info.field_nodes if field.selection_set for node in field.selection_set.selections
    )
    operation = info.operation
    query = OperationDefinitionNode(
        operation=OperationType.QUERY,
        name=operation.name,
        variable_definitions=operation.variable_definitions,
        directives=(),
        selection_set=SelectionSetNode(selections=selected),
    )
    used = _Fragments(info.fragments)
    used.visit(selected)
    text = print_ast(DocumentNode(definitions=(query, *used.found.values())))
    fields = [node.name.value for node in selected if isinstance(node, FieldNode)]
    roots = frozenset(fields) if len(fields) == len(selected) else None
    return LiveQuery(("live", info.path.key, text), str(info.path.key), text, roots)


class _Fragments(Visitor):
    """The fragments that are spread, also within others."""

    def __init__(self, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        super().__init__()
        self.found: dict[str, FragmentDefinitionNode] = {}
        self._fragments = fragments

    def visit(self, nodes: Iterable[Node]) -> None:
        """Look through nodes."""
        for node in nodes:
            visit(node, self)

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: Any) -> None:
        """Note a fragment."""
        name = node.name.value
        if name not in self.found:
            self.found[name] = self._fragments[name]
            self.visit([self._fragments[name]])
