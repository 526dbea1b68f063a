"""Prepared transactions: a mutation for every declared action, with its input type, made of the declaration."""

from __future__ import annotations

import asyncio
import re
import types as python_types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.chains.stacks.abi import ClarityType
from clarion.chains.stacks.clarity import Value, contract_principal, encode
from clarion.chains.stacks.clarity_forms import decode_json, to_json, to_repr
from clarion.chains.stacks.codec_errors import CodecError
from clarion.chains.stacks.payloads import ContractCall, encode_payload
from clarion.chains.stacks.post_conditions import (
    AmountCode,
    FtPostCondition,
    PostCondition,
    StxPostCondition,
    write_post_condition,
)
from clarion.protocols.bithedge import actions
from clarion.protocols.bithedge.actions.declaration import Action, Call
from clarion.protocols.bithedge.actions.declaration import InputError as ActionInputError
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Foretold
from clarion.protocols.bithedge.state import NotFoundError, State
from clarion.protocols.bithedge.units import BurnHeight
from clarion_graphql.bithedge.quotes import ContractError, contract_error
from clarion_graphql.bithedge.states import ask
from clarion_graphql.context import Info
from clarion_graphql.entities import camel, pascal
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.scalars import BigInt, Bytes, Json
from clarion_graphql.transactions.store import NewPrepared, Prepared
from clarion_graphql.transactions.unsigned import Hints, asked_of_node, hints, signer_of, unsigned_bytes
from clarion_graphql.types import Types, make_field, make_type, with_arguments

#: Arguments that number or count something, and heights: an `Int`. Every other `uint` is a `BigInt`.
_SMALL: Final = frozenset(
    (
        *("policy", "request", "proposal", "program", "epoch", "epochs", "plan", "round", "migration", "version"),
        *("index", "leaves", "decimals", "weight"),
    )
)
_SMALL_SUFFIXES: Final = ("-burn", "-bp")
#: Longest that an unsigned transaction's authorization is, beside its payload and conditions: for the fee's estimate.
_ENVELOPE_BYTES: Final = 120


@strawberry.type(description="An argument of a prepared call.")
class PreparedArgument:
    """An argument as the transaction holds it."""

    name: str = strawberry.field(description="Name of the function's parameter.")
    value: Json | None = strawberry.field(description="Its value.")
    repr: str = strawberry.field(description="The same as Clarity writes it.")
    hex: Bytes = strawberry.field(description="The same as consensus bytes.")


@strawberry.type(description="What a transaction may move: the node aborts it where this does not hold.")
class PreparedPostCondition:
    """A post-condition."""

    principal: str = strawberry.field(description="Who sends.")
    comparison: str = strawberry.field(
        description="EQUAL, LESS_OR_EQUAL or GREATER_OR_EQUAL: what is sent, to `amount`."
    )
    amount: BigInt = strawberry.field(description="How much, in base units of the asset.")
    asset: str | None = strawberry.field(description="`contract::token`; null: STX.")
    text: str = strawberry.field(description="The condition in words.")
    hex: Bytes = strawberry.field(description="The same as the transaction holds it.")


@strawberry.type(
    description="What a node's contracts say now of what a call depends on: a read-only function's answer."
)
class NodeReading:
    """A read-only call at the node's tip, which may be another block than the receipt's."""

    contract: str = strawberry.field(description="Id of the contract that is asked.")
    function: str = strawberry.field(description="Read-only function that is asked.")
    result: Json | None = strawberry.field(description="What it gives; null where the node did not say.")
    problem: str | None = strawberry.field(description="Why the node did not say; null: it did.")


@strawberry.type(description="How the call would end, foretold from the rows at the receipt's block.")
class Simulation:
    """A call's end, by the contracts' own checks."""

    ok: bool = strawberry.field(description="Whether nothing that is known stands against it.")
    is_whole: bool = strawberry.field(
        description="Whether everything that the contract checks was looked at. Where false, a call that is ok here "
        "can still be refused, and the amount of the sender's tokens is never looked at."
    )
    refusals: list[ContractError] = strawberry.field(
        description="Everything that stands against it, in the contract's order: the first is the error it would give."
    )
    result: Json | None = strawberry.field(
        description="What is in the call's `(ok …)`; null where that is not foretold."
    )
    reading: NodeReading | None = strawberry.field(
        description="What the node's contracts say of it; null where there is no such function, or this server asks no "
        "node."
    )


@strawberry.type(description="What the server's node says of a transaction's fee and of the sender's next nonce.")
class TransactionHints:
    """Hints; a wallet may know better."""

    nonce: BigInt | None = strawberry.field(
        description="The sender's next nonce, after what waits in the mempool; null where no node said it."
    )
    fee_low: BigInt | None = strawberry.field(description="Fee to be mined late, in micro-STX; null: not known.")
    fee: BigInt | None = strawberry.field(description="Fee to be mined soon, in micro-STX; null: not known.")
    fee_high: BigInt | None = strawberry.field(description="Fee to be mined first, in micro-STX; null: not known.")
    problem: str | None = strawberry.field(description="Why something is not known; null: everything is.")


@strawberry.type(description="A transaction for its sender to sign: nothing was sent, and no key is held here.")
class PreparedTransaction:
    """A contract call with everything a wallet needs."""

    id: strawberry.ID = strawberry.field(description="For `trackTx`, once it was sent.")
    action: str = strawberry.field(description="The action that it is.")
    sender: str = strawberry.field(description="Whose transaction it is.")
    contract: str = strawberry.field(description="Id of the contract that is called.")
    function: str = strawberry.field(description="Public function that is called.")
    arguments: list[PreparedArgument] = strawberry.field(description="Its arguments, in order.")
    post_condition_mode: str = strawberry.field(description="deny: whatever no condition names aborts the transaction.")
    post_conditions: list[PreparedPostCondition] = strawberry.field(description="What it may move.")
    nonce: BigInt = strawberry.field(description="Nonce in `transaction`: the given one, else the hint, else 0.")
    fee: BigInt = strawberry.field(
        description="Fee that the sender signs in `transaction`, in micro-STX: the given one, else the hint, else 0; 0 "
        "where it is sponsored."
    )
    transaction: Bytes = strawberry.field(
        description="The unsigned transaction (SIP-005), for a wallet to sign: single signature, deny mode."
    )
    hints: TransactionHints = strawberry.field(description="What the node says of fee and nonce.")
    simulation: Simulation = strawberry.field(description="How it would end.")
    height: int = strawberry.field(description="Stacks block that it was prepared at.")
    burn_height: int = strawberry.field(description="Bitcoin block that it was prepared at.")
    valid_until_burn: int | None = strawberry.field(
        description="Last Bitcoin block in which it can still end as foretold; null: it depends on none."
    )


@dataclass(frozen=True)
class _Shape:
    """How an argument of a Clarity type is written in GraphQL, and read back."""

    annotation: Any
    read: Any


def field_name(name: str) -> str:
    """An argument's name in the API."""
    return "amount" if name == "amt" else camel(name.replace("-", "_"))


def attribute(name: str) -> str:
    """An argument's name in Python: no keyword."""
    return f"{name.replace('-', '_')}_"


def _described(action: Action, name: str) -> str:
    return action.says.get(name) or actions.DESCRIPTIONS[name]


def _shape(action: Action, name: str, kind: ClarityType, prefix: str) -> _Shape:
    if isinstance(kind, str):
        if kind == "uint128":
            is_small = name in _SMALL or name.endswith(_SMALL_SUFFIXES)
            return _Shape(int if is_small else BigInt, lambda value: value)
        return _Shape(bool if kind == "bool" else str, lambda value: value)
    ((word, detail),) = kind.items()
    if word == "buffer":
        return _Shape(Bytes, lambda value: value)
    if word == "string-ascii":
        return _Shape(str, lambda value: value)
    if word == "optional":
        inner = _shape(action, name, detail, prefix)
        return _Shape(inner.annotation | None, lambda value: None if value is None else inner.read(value))
    if word == "list":
        inner = _shape(action, name, detail["type"], prefix)
        return _Shape(
            python_types.GenericAlias(list, (inner.annotation,)), lambda value: [inner.read(one) for one in value]
        )
    members = {
        member["name"]: _shape(action, member["name"], member["type"], prefix + pascal(member["name"]))
        for member in detail
    }
    made = make_type(
        f"{prefix}Input",
        [
            make_field(field_name(member), shape.annotation, _described(action, member), attribute=attribute(member))
            for member, shape in members.items()
        ],
        f"Part of `{action.function}`'s arguments.",
        is_input=True,
    )
    return _Shape(
        made,
        lambda value: {member: shape.read(getattr(value, attribute(member))) for member, shape in members.items()},
    )


_COMMON: Final = (
    ("sender", str | None, None, "Whose transaction it is: a single-signature address. Or give its public key."),
    ("publicKey", Bytes | None, None, "Public key of the sender, 33 or 65 bytes."),
    ("nonce", BigInt | None, None, "Nonce to write into it; left out: the node's hint."),
    (
        "fee",
        BigInt | None,
        None,
        "Fee to write into it, in micro-STX; left out: the node's hint. Not for a sponsored one.",
    ),
    (
        "sponsored",
        bool,
        False,
        "Whether somebody else pays the fee and signs after the sender: the fee is 0 until then.",
    ),
)


class _Mutation:
    """The mutation of one action."""

    def __init__(self, action: Action) -> None:
        self.action = action
        self.name = pascal(action.name.replace("-", "_"))
        self.shapes = {
            parameter.name: _shape(action, parameter.name, parameter.type, self.name + _pascal(parameter.name))
            for parameter in action.parameters
            if parameter.name not in action.not_asked
        }
        self.input = make_type(
            f"Prepare{self.name}Input",
            [*self._own(), *self._options(), *self._common()],
            f"What `{action.contract}.{action.function}` is called with. Caller: {action.caller}.",
            is_input=True,
        )

    def field(self) -> StrawberryField:
        """The field of `Mutation`."""
        action = self.action

        async def resolve(root: Any, info: Info, **given: Any) -> PreparedTransaction:
            return await self._prepare(info, given["input"])

        return make_field(
            f"prepare{self.name}",
            PreparedTransaction,
            f"{action.about} Prepares a call of `{action.contract}.{action.function}`; caller: {action.caller}.",
            resolver=with_arguments(
                resolve, {"input": (self.input, Parameter.empty, "Who, and with which arguments.")}
            ),
        )

    def _own(self) -> list[StrawberryField]:
        fields = []
        for name, shape in self.shapes.items():
            filled = self.action.fills.get(name)
            described = _described(self.action, name)
            annotation = shape.annotation
            default: dict[str, Any] = {}
            if filled is not None:
                described = f"{described} Left out: {filled[1]}."
                annotation = annotation | None
            if filled is not None or _is_optional(self.action, name):
                default = {"default": None}
            fields.append(make_field(field_name(name), annotation, described, attribute=attribute(name), **default))
        return sorted(fields, key=lambda field: field.default is None)

    def _options(self) -> list[StrawberryField]:
        return [
            make_field(
                field_name(option.name),
                int,
                f"{option.description}.",
                default=option.default,
                attribute=attribute(option.name),
            )
            for option in self.action.options
        ]

    @staticmethod
    def _common() -> list[StrawberryField]:
        return [
            make_field(name, annotation, description, default=default, attribute=f"own_{attribute(name)}")
            for name, annotation, default, description in _COMMON
        ]

    async def _prepare(self, info: Info, asked: Any) -> PreparedTransaction:
        network = info.context.service.network
        if asked.own_sponsored_ and asked.own_fee_:
            raise InputError("The fee of a sponsored transaction is its sponsor's: leave fee out.")
        signer = signer_of(asked.own_sender_, asked.own_publicKey_, network)
        given = {
            name: shape.read(value)
            for name, shape in self.shapes.items()
            if (value := getattr(asked, attribute(name))) is not None
        }
        given |= {option.name: getattr(asked, attribute(option.name)) for option in self.action.options}
        made = await ask(info, lambda state: self._make(state, str(signer.address), given))
        length = len(encode_payload(made.payload)) + sum(map(len, made.condition_bytes)) + _ENVELOPE_BYTES
        said, reading = await asyncio.gather(
            hints(info, made.payload, str(signer.address), length), _reading(info, self.action, made)
        )
        nonce = _first(asked.own_nonce_, said.nonce)
        # the sponsor pays, and signs the fee: what the sender signs has none
        fee = 0 if asked.own_sponsored_ else _first(asked.own_fee_, None if said.fees is None else said.fees.middle)
        try:
            raw = unsigned_bytes(
                made.payload,
                signer,
                made.conditions,
                network=network,
                chain_id=said.chain_id,
                nonce=nonce,
                fee=fee,
                sponsored=asked.own_sponsored_,
            )
        except CodecError as error:
            raise InputError(f"{error}.") from None
        identifier = await Prepared(info.context.service.writes).add(
            NewPrepared(
                action=self.action.name,
                sender=str(signer.address),
                contract=str(made.payload.contract),
                function=self.action.function,
                payload=encode_payload(made.payload),
                height=made.height,
                valid_until_burn=made.valid_until,
            )
        )
        return self._shown(made, identifier, str(signer.address), said, reading, nonce, fee, raw)

    def _make(self, state: State, sender: str, given: Mapping[str, Any]) -> _Made:
        """Everything that follows from the state. Raises ApiError."""
        action = self.action
        try:
            call = action.complete(Call(sender, given, state))
            payload = ContractCall(
                contract_principal(state.contract(action.contract)), action.function, action.arguments(call)
            )
            foretold = action.foretell(call)
            conditions = action.post_conditions(call)
            asked = None if action.reading is None else action.reading.arguments(call)
            until = _valid_until(action, call)
            return _Made(payload, conditions, foretold, asked, until, state.height, state.burn_height)
        except RefusedError as refused:
            raise ApiError(
                Code.CONTRACT_REFUSES,
                f"The call cannot be made now: {refused.error.name}, {refused.error.when}.",
                contractError={"code": refused.code, "name": refused.error.name, "contract": refused.error.contract},
            ) from None
        except NotFoundError as error:
            raise InputError(str(error)) from None
        except ActionInputError as error:
            raise InputError(str(error)) from None
        except CodecError as error:
            raise InputError(f"{self._by_field_names(str(error))}.") from None

    def _by_field_names(self, error: str) -> str:
        """What an encoder says of an argument, ``deposit: amt: …``, with the name that the argument has in the API."""
        start = f"{self.action.function}: "
        for name in self.shapes:
            if re.match(re.escape(start + name) + r"(?![a-z0-9-])", error):
                return start + field_name(name) + error[len(start + name) :]
        return error

    def _shown(
        self,
        made: _Made,
        identifier: str,
        sender: str,
        said: Hints,
        reading: NodeReading | None,
        nonce: int,
        fee: int,
        raw: bytes,
    ) -> PreparedTransaction:
        action = self.action
        return PreparedTransaction(
            id=strawberry.ID(identifier),
            action=camel(action.name.replace("-", "_")),
            sender=sender,
            contract=str(made.payload.contract),
            function=action.function,
            arguments=[
                PreparedArgument(
                    name=parameter.name, value=Json(to_json(value)), repr=to_repr(value), hex=Bytes(encode(value))
                )
                for parameter, value in zip(action.parameters, made.payload.arguments, strict=True)
            ],
            post_condition_mode="deny",
            post_conditions=[
                shown_condition(condition, sender, raw_condition)
                for condition, raw_condition in zip(made.conditions, made.condition_bytes, strict=True)
            ],
            nonce=BigInt(nonce),
            fee=BigInt(fee),
            transaction=Bytes(raw),
            hints=TransactionHints(
                nonce=None if said.nonce is None else BigInt(said.nonce),
                fee_low=None if said.fees is None else BigInt(said.fees.low),
                fee=None if said.fees is None else BigInt(said.fees.middle),
                fee_high=None if said.fees is None else BigInt(said.fees.high),
                problem=said.problem,
            ),
            simulation=Simulation(
                ok=made.foretold.ok,
                is_whole=action.is_whole,
                refusals=[contract_error(code) for code in made.foretold.refusals],
                result=None if made.foretold.result is None else Json(made.foretold.result),
                reading=reading,
            ),
            height=made.height,
            burn_height=made.burn_height,
            valid_until_burn=made.valid_until,
        )


@dataclass(frozen=True)
class _Made:
    """What an action and a state give."""

    payload: ContractCall
    conditions: tuple[PostCondition, ...]
    foretold: Foretold
    asked: tuple[Value, ...] | None
    valid_until: BurnHeight | None
    height: int
    burn_height: BurnHeight

    @property
    def condition_bytes(self) -> list[bytes]:
        """The conditions as the transaction holds them."""
        found = []
        for condition in self.conditions:
            raw = bytearray()
            write_post_condition(condition, raw)
            found.append(bytes(raw))
        return found


async def _reading(info: Info, action: Action, made: _Made) -> NodeReading | None:
    """What the node says of a call; never an error."""
    node = info.context.service.node
    if node is None or action.reading is None or made.asked is None:
        return None
    contract = f"{made.payload.contract.issuer}.{action.reading.contract}"
    question = node.call_read_only(
        contract,
        action.reading.function,
        [encode(value) for value in made.asked],
        sender=str(made.payload.contract.issuer),
    )
    problems: list[str] = []
    raw = await asked_of_node(question, problems)
    return NodeReading(
        contract=contract,
        function=action.reading.function,
        result=None if raw is None else Json(decode_json(raw)),
        problem=" ".join(problems) or None,
    )


def _valid_until(action: Action, call: Call) -> BurnHeight | None:
    try:
        return action.valid_until(call)
    except RefusedError:
        return None


def _pascal(name: str) -> str:
    return pascal(name.replace("-", "_"))


def _is_optional(action: Action, name: str) -> bool:
    kind = next(parameter.type for parameter in action.parameters if parameter.name == name)
    return isinstance(kind, Mapping) and "optional" in kind


def _first(given: int | None, hint: int | None) -> int:
    if given is not None:
        return given
    return 0 if hint is None else hint


_WORDS: Final[Mapping[AmountCode, str]] = {
    AmountCode.EQUAL: "exactly",
    AmountCode.LESS_OR_EQUAL: "at most",
    AmountCode.GREATER_OR_EQUAL: "at least",
    AmountCode.LESS: "less than",
    AmountCode.GREATER: "more than",
}


def shown_condition(condition: PostCondition, sender: str, raw: bytes) -> PreparedPostCondition:
    """A condition of an action as the API shows it."""
    assert isinstance(condition, StxPostCondition | FtPostCondition)
    asset = str(condition.asset) if isinstance(condition, FtPostCondition) else None
    who = str(condition.subject)
    unit = "micro-STX" if asset is None else f"units of {asset}"
    return PreparedPostCondition(
        principal=who,
        comparison=condition.code.name,
        amount=BigInt(condition.amount),
        asset=asset,
        text=f"{'You send' if who == sender else f'{who} sends'} {_WORDS[condition.code]} {condition.amount} {unit}.",
        hex=Bytes(raw),
    )


def mutations(types: Types) -> Sequence[StrawberryField]:
    """`prepare…` for every action."""
    return [_Mutation(action).field() for action in actions.ACTIONS.values()]
