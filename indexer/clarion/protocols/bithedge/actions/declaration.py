"""How an action is declared: a public function of a contract, what it takes, moves and gives, and when it is refused.

A declaration is all there is of an action. The transaction, the API's mutation with its input type, and the
documentation follow from it. Parameters are written as ``docs/contracts.md`` has them, in Clarity's own types.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from clarion.chains.stacks.abi import ClarityType, function_arguments
from clarion.chains.stacks.clarity import Value, contract_principal, principal
from clarion.chains.stacks.post_conditions import (
    AmountCode,
    Asset,
    FtPostCondition,
    PostCondition,
    StxPostCondition,
)
from clarion.protocols.bithedge.outcomes import Check, Foretold, foretell
from clarion.protocols.bithedge.state import NotFoundError, State
from clarion.protocols.bithedge.tables import Governance, Token
from clarion.protocols.bithedge.units import BurnHeight

SENDER: Final = "sender"
"""In a :class:`Send`: whoever signs the transaction."""
MAX_AMOUNT: Final = 2**64 - 1
"""Greatest amount of a post-condition."""


class InputError(ValueError):
    """An argument has a value that no call can be made of. The message is for whoever gave it."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a public function."""

    name: str
    type: ClarityType


@dataclass(frozen=True, slots=True)
class Option:
    """Something that is asked besides the function's parameters: a number in basis points."""

    name: str
    description: str
    default: int
    greatest: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A read-only function of the contracts that says at a node what a call depends on.

    ``contract`` is a short name; ``arguments`` makes the function's arguments of a call.
    """

    contract: str
    function: str
    arguments: Callable[[Call], tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class Send:
    """Tokens that a call moves. ``who`` is :data:`SENDER` or a contract's short name, ``token`` a contract id.

    ``code`` says how what is sent compares with ``amount``.
    """

    who: str
    token: str
    code: AmountCode
    amount: int


def exactly(who: str, token: str, amount: int) -> Send:
    """So much is sent, no less and no more."""
    return Send(who, token, AmountCode.EQUAL, amount)


def at_most(who: str, token: str, amount: int) -> Send:
    """No more than this is sent."""
    return Send(who, token, AmountCode.LESS_OR_EQUAL, amount)


def at_least(who: str, token: str, amount: int) -> Send:
    """No less than this is sent."""
    return Send(who, token, AmountCode.GREATER_OR_EQUAL, amount)


@dataclass
class Call:
    """A call that somebody wants to make: arguments by their Clarity names, and options, on a state."""

    sender: str
    given: Mapping[str, Any]
    state: State

    def __getitem__(self, name: str) -> Any:
        return self.given[name]


def _no_sends(call: Call) -> Iterable[Send]:
    return ()


def no_check(call: Call) -> Check[None]:
    """Nothing is known that the contract would refuse."""
    yield from ()


Fill = Callable[[Call], Any]
"""What an argument is that was left out."""


@dataclass(frozen=True)
class Action:
    """Something that a user can do: one call of a public function.

    ``name`` is the action's own, ``caller`` says in words who may make the call. ``fills`` are the arguments that can
    be left out, each with what it is then; they are filled in the order in which they are declared, and see those
    filled before; ``not_asked`` are those that nobody needs to give. ``says`` describes arguments where
    :data:`DESCRIPTIONS` would not fit. ``check`` foretells the call; ``is_whole`` is false where the tables do not tell
    everything that the contract checks. ``reading`` is what a node can be asked besides.
    """

    name: str
    contract: str
    function: str
    parameters_text: str
    caller: str
    about: str
    check: Callable[[Call], Check[Any]]
    sends: Callable[[Call], Iterable[Send]] = _no_sends
    fills: Mapping[str, tuple[Fill, str]] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    not_asked: tuple[str, ...] = ()
    says: Mapping[str, str] = field(default_factory=dict)
    reading: Reading | None = None
    valid_until: Callable[[Call], BurnHeight | None] = lambda call: None
    is_whole: bool = True

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The function's parameters, in order."""
        return parse_parameters(self.parameters_text)

    def complete(self, call: Call) -> Call:
        """The call with everything filled in that was left out.

        Raises InputError where something is missing, and what the fills raise.
        """
        given = dict(call.given)
        for option in self.options:
            value = given.setdefault(option.name, option.default)
            if not 0 <= value <= option.greatest:
                raise InputError(f"{option.name} is from 0 to {option.greatest}, not {value}.")
        filled = Call(call.sender, given, call.state)
        for name, (fill, _) in self.fills.items():
            if given.get(name) is None:
                given[name] = fill(filled)
        for parameter in self.parameters:
            is_optional = isinstance(parameter.type, Mapping) and "optional" in parameter.type
            if given.get(parameter.name) is None and not is_optional:
                raise InputError(f"{self.function} needs {parameter.name}.")
        return filled

    def arguments(self, call: Call) -> tuple[Value, ...]:
        """The call's Clarity arguments, in order. Raises EncodeError where a value does not fit its type."""
        interface = {
            "functions": [
                {"name": self.function, "args": [{"name": one.name, "type": one.type} for one in self.parameters]}
            ]
        }
        given = {parameter.name: call.given.get(parameter.name) for parameter in self.parameters}
        return function_arguments(interface, self.function, given)

    def post_conditions(self, call: Call) -> tuple[PostCondition, ...]:
        """What the call may move; deny mode forbids everything else."""
        return tuple(post_condition(call, send) for send in self.sends(call))

    def foretell(self, call: Call) -> Foretold:
        """How the call would end on the state."""
        return foretell(lambda: self.check(call))


def post_condition(call: Call, send: Send) -> PostCondition:
    """A send as the post-condition that a wallet shows and the node checks. Raises InputError where it is too large."""
    if send.amount > MAX_AMOUNT:
        raise InputError(f"An amount of {send.amount} does not fit a post-condition, which holds {MAX_AMOUNT} at most.")
    subject = principal(call.sender if send.who == SENDER else call.state.contract(send.who))
    asset = asset_of(call.state, send.token)
    if asset is None:
        return StxPostCondition(subject, send.code, send.amount)
    return FtPostCondition(subject, asset, send.code, send.amount)


def asset_of(state: State, token: str) -> Asset | None:
    """What a token is called in post-conditions; None: native STX. Raises NotFoundError for one nobody names."""
    if token == state.stx:
        return None
    row = state.get(Token, token)
    if row is not None:
        return None if row.native else Asset(contract_principal(token), row.asset_name)
    governance = state.get(Governance, state.contract("bh-gov"))
    if governance is not None and governance.token == token and governance.asset_name is not None:
        return Asset(contract_principal(token), governance.asset_name)
    raise NotFoundError(f"{token} is no collateral token and not the governance token.")


_TOKENS: Final = re.compile(r"\s*([(){},:]|<[a-z-]+>|[A-Za-z0-9-]+)")


def parse_parameters(text: str) -> tuple[Parameter, ...]:
    """Parameters as a contract's source has them: ``(token <token>) (amt uint)``. Raises ValueError."""
    words = _TOKENS.findall(text)
    if _TOKENS.sub("", text).strip():
        raise ValueError(f"not parameters: {text}")
    reader = iter(words)
    found = []
    for word in reader:
        if word != "(":
            raise ValueError(f"a parameter begins with a parenthesis: {text}")
        found.append(Parameter(next(reader), _type(next(reader), reader)))
        _expect(next(reader), ")")
    return tuple(found)


def _expect(word: str, wanted: str) -> None:
    if word != wanted:
        raise ValueError(f"expected {wanted}, found {word}")


_PLAIN: Final[Mapping[str, ClarityType]] = {
    "uint": "uint128",
    "int": "int128",
    "bool": "bool",
    "principal": "principal",
    "<token>": "trait_reference",
}


def _type(word: str, words: Any) -> ClarityType:
    if word in _PLAIN:
        return _PLAIN[word]
    if word == "{":
        return {"tuple": list(_members(words))}
    _expect(word, "(")
    kind = next(words)
    found: ClarityType
    if kind == "optional":
        found = {"optional": _type(next(words), words)}
    elif kind == "list":
        length = int(next(words))
        found = {"list": {"type": _type(next(words), words), "length": length}}
    elif kind in ("buff", "string-ascii"):
        found = {"buffer" if kind == "buff" else kind: {"length": int(next(words))}}
    else:
        raise ValueError(f"unknown type {kind}")
    _expect(next(words), ")")
    return found


def _members(words: Any) -> Generator[Mapping[str, Any]]:
    while True:
        name = next(words)
        _expect(next(words), ":")
        yield {"name": name, "type": _type(next(words), words)}
        separator = next(words)
        if separator == "}":
            return
        _expect(separator, ",")
