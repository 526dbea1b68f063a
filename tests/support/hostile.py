"""Documents that are short to send and long to read: for a schema whose fields they are told the names of."""

from __future__ import annotations

from collections.abc import Mapping


def hostile_documents(*, leaf: str, node: str, inner: str, field: str, pages: str, type_name: str) -> Mapping[str, str]:
    """Such documents by what they are.

    ``leaf`` is a scalar field of ``Query``, ``node`` one of the type ``type_name``, which has the scalar ``field`` and
    in ``inner`` a node like itself; ``pages`` is a connection with ``first`` and ``after``.
    """
    on_query = "on Query"
    return {
        "fragments that double": _doubling(40, leaf),
        "fragments that double within the limit": _doubling(10, leaf),
        "a cycle of fragments": _cycle(190),
        "a long cycle of fragments": _cycle(900),
        "every fragment spreads every other": "{ ...F0 } "
        + " ".join(f"fragment F{n} {on_query} {{ {' '.join(f'...F{m}' for m in range(60))} }}" for n in range(60)),
        "many fragments with the same fields": _all_pairs(190, node, field, inner),
        "some fragments with the same fields": _all_pairs(60, node, field, inner),
        "one field again and again": "{ " + f"{leaf} " * 4990 + "}",
        "one field with selections again and again": "{ " + f"{node} {{ {field} }} " * 500 + "}",
        "nested repetition": "{ " + f"{node} {{ {inner} {{ {inner} {{ {field} {field} {field} }} }} }} " * 200 + "}",
        "unknown fields": "{ " + " ".join(f"field{n}OfNothing" for n in range(4990)) + " }",
        "unknown fields like known ones": "{ " + " ".join(f"{pages}{n}" for n in range(4990)) + " }",
        "unknown fields inside": f"{{ {node} {{ " + " ".join(f"{field}{n}" for n in range(4980)) + " } }",
        "unknown arguments": f"{{ {pages}(" + " ".join(f"firs{n}: 1" for n in range(1600)) + ") { totalCount } }",
        "unknown types": " ".join(f"fragment F{n} on {type_name}{n} {{ x }}" for n in range(190)),
        "many directives": f"{{ {leaf} " + "@include(if: true) " * 800 + "}",
        "many unknown directives": f"{{ {leaf} " + "".join(f"@inc{n} " for n in range(2000)) + "}",
        "many operations": " ".join(f"query Q{n} {{ ...F }}" for n in range(700))
        + f" fragment F {on_query} {{ "
        + f"{leaf} {node} {{ {field} }} " * 50
        + "}",
        "many variables": "query(" + " ".join(f"$v{n}: Int" for n in range(1200)) + f") {{ {leaf} }}",
        "many aliases": "{ " + " ".join(f"a{n}: {leaf}" for n in range(1600)) + " }",
        "deep selections": f"{{ {node} {{ " + f"{inner} {{ " * 1000 + field + " }" * 1000 + " } }",
        "deep values": f"{{ {pages}(first: " + "[" * 2000 + "]" * 2000 + ") { totalCount } }",
        "deep objects": f"{{ {pages}(filter: " + "{not: " * 1200 + "{}" + "}" * 1200 + ") { totalCount } }",
        "deep inline fragments": "{ ... " * 1500 + f"{{ {leaf} }}" + "}" * 1500,
        "deep types": "query($a: " + "[" * 2000 + "Int" + "]" * 2000 + f") {{ {leaf} }}",
        "many tokens": "{ " + "a " * 200_000 + "}",
        "a long name": "{ " + "a" * 500_000 + " }",
        "a long text": f'{{ {pages}(after: "' + "a" * 500_000 + '") { totalCount } }',
        "a long text of escapes": f'{{ {pages}(after: "' + "\\u0041" * 80_000 + '") { totalCount } }',
        "a long number": f"{{ {pages}(first: " + "9" * 500_000 + ") { totalCount } }",
        "a long comment": "#" * 900_000 + f"\n{{ {leaf} }}",
        "long block texts": f'{{ {pages}(after: """' + "\n  a" * 200_000 + '""") { totalCount } }',
        "deep introspection": "{ __schema { types { " + "fields { type { " * 10 + "name" + "} }" * 10 + "} } }",
        "wide introspection": "{ "
        + " ".join(f"a{n}: __schema {{ types {{ fields {{ type {{ fields {{ name }} }} }} }} }}" for n in range(50))
        + " }",
        "introspection of wrapped types": "{ __schema { types { fields { type { "
        + "ofType { " * 50
        + "name"
        + " }" * 54,
        "lone surrogates": f'{{ {pages}(after: "\\uD800") {{ totalCount }} }}',
        "no such character": f'{{ {pages}(after: "\\u{{110000}}") {{ totalCount }} }}',
        "a zero character": f"{{ {leaf} \0 }}",
        "nothing": " ",
        "only fragments": f"fragment F {on_query} {{ {leaf} }}",
        "a schema": "type Query { a: Int }",
        "two without names": f"{{ {leaf} }} {{ {leaf} }}",
        "defer": f"{{ ... @defer {{ {leaf} }} }}",
        "stream": f"{{ {pages} {{ nodes @stream {{ {field} }} }} }}",
    }


def _doubling(levels: int, leaf: str) -> str:
    parts = [f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} a{n}: {leaf} }}" for n in range(levels)]
    return "{ ...F0 } " + " ".join(parts) + f" fragment F{levels} on Query {{ {leaf} }}"


def _cycle(length: int) -> str:
    return "{ ...F0 } " + " ".join(f"fragment F{n} on Query {{ ...F{(n + 1) % length} }}" for n in range(length))


def _all_pairs(count: int, node: str, field: str, inner: str) -> str:
    spreads = " ".join(f"...F{n}" for n in range(count))
    fragment = f"{{ {node} {{ {field} {inner} {{ {field} }} }} }}"
    return f"{{ {spreads} }} " + " ".join(f"fragment F{n} on Query {fragment}" for n in range(count))
