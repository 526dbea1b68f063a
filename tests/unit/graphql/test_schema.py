"""The schema as a whole: what is committed, that everything is described, that examples fit, that names are unique."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import strawberry
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLObjectType,
    parse,
    validate,
)
from strawberry.schema.config import StrawberryConfig
from support import toy
from support.committed_schema import COMMITTED, committed_schema

from clarion.protocol import Protocol, installed_protocols
from clarion_graphql.core import CORE
from clarion_graphql.home import Example, examples, home_page
from clarion_graphql.protocols import ProtocolApi, entities_of
from clarion_graphql.scalars import SCALARS
from clarion_graphql.schema import build_schema, sdl
from clarion_graphql.types import Types, make_type

REPOSITORY = Path(__file__).resolve().parents[3]
PROTOCOLS = list(installed_protocols().values())


def test_the_committed_schema_is_the_code_s() -> None:
    assert sdl(build_schema(PROTOCOLS)) == COMMITTED.read_text(encoding="utf-8"), (
        "the schema changed: python -m clarion_graphql.schema > graphql/schema.graphql"
    )


def test_everything_is_described() -> None:
    schema = committed_schema()
    bare = []
    for name, kind in schema.type_map.items():
        if name.startswith("__") or name in ("Int", "Float", "String", "Boolean", "ID"):
            continue
        if not kind.description:
            bare.append(name)
        if isinstance(kind, GraphQLObjectType | GraphQLInputObjectType):
            for field_name, member in kind.fields.items():
                if not member.description:
                    bare.append(f"{name}.{field_name}")
                for argument_name, argument in getattr(member, "args", {}).items():
                    if not argument.description:
                        bare.append(f"{name}.{field_name}({argument_name})")

    assert bare == []


def test_amounts_are_big_integers_and_say_their_unit() -> None:
    schema = committed_schema()
    policy = schema.type_map["Policy"]
    assert isinstance(policy, GraphQLObjectType)

    assert str(policy.fields["strikeUsd8"].type) == "BigInt!"
    assert "Unit: US dollars x 10^8." in (policy.fields["strikeUsd8"].description or "")
    assert "Unit: base units of the token." in (policy.fields["premium"].description or "")
    status = schema.type_map["PolicyStatus"]
    assert isinstance(status, GraphQLEnumType)
    assert {"EXPIRING", "AWAITING_PRICE", "SETTLEABLE"} <= status.values.keys()


@pytest.mark.parametrize(
    "example", examples(["bithedge", "charms", "stacks", "zkusd"]), ids=lambda example: example.name
)
def test_examples_fit_the_schema(example: Example) -> None:
    schema = committed_schema()

    assert validate(schema, parse(example.document)) == []
    assert example.title


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/graphql.md",
        "docs/graphql-bitcoin.md",
        "docs/generic-tables.md",
        "docs/wallets.md",
        "docs/accounts.md",
    ],
)
def test_documents_in_the_documentation_fit_the_schema(page: str) -> None:
    schema = committed_schema()
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    documents = re.findall(r"```graphql\n(.*?)```", text, re.DOTALL)

    assert documents
    for document in documents:
        assert validate(schema, parse(document)) == [], document


def test_the_home_page_shows_the_examples_of_the_protocols_served() -> None:
    assert "NewestBlocks" in home_page("/graphql", [])
    assert "FollowPolicies" not in home_page("/graphql", [])
    assert "FollowPolicies" in home_page("/graphql", ["bithedge"])
    # an example cannot end the script element that carries it
    assert home_page("/graphql", ["bithedge"]).count("</script>") == 2


def test_a_schema_without_protocols() -> None:
    text = sdl(build_schema([]))

    assert "type Event implements Node {" in text
    assert "ProjectionTable" not in text


def test_a_protocol_without_declarations_is_named_after_itself() -> None:
    text = sdl(build_schema([toy.toy]))

    assert "type ToyAccount implements Node {" in text
    assert "toyAccountChanged(" in text
    assert "TOY_ACCOUNT" in text


def test_a_column_that_will_go_says_what_to_use_instead() -> None:
    api = ProtocolApi(prefix="toy", deprecated={"account": {"note": "Use balance."}})
    types = Types([*CORE, *entities_of(toy.toy, api)])
    query = make_type("Query", types.root_fields(types.entities["ToyAccount"]), "What can be read.")

    text = sdl(strawberry.Schema(query, config=StrawberryConfig(scalar_map=SCALARS)))

    assert 'note: String @deprecated(reason: "Use balance.")' in text
    assert 'note: TextComparison @deprecated(reason: "Use balance.")' in text
    assert text.count("Use balance.") == 2


def test_two_tables_of_one_name_are_refused() -> None:
    same = Protocol("toy", tables=[toy.Account])

    with pytest.raises(ValueError, match="two tables would both be toyAccount, toyAccounts"):
        build_schema([toy.toy, same])
