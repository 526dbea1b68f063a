"""Makes a chain as large as wanted, written to a file as a node's posts: `generate(path, events=…, seed=…)`.

Blocks are small and many, as Nakamoto's are, with a tenure and a Bitcoin block every sixty. Most transactions are a
mix like mainnet's: transfers, swaps that print and move tokens, mints, burns, NFT sales, locks, calls that the contract
or a post-condition aborts, deployments, among users and contracts of which few are busy and most are not. The rest is
BitHedge: the recorded chain's life cycle, once as it was (deployment and bootstrap) and then again and again with other
people, policies, rounds and heights, so that tables grow as they do in use.

The same seed gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import zstandard

from clarion.chains.stacks import c32
from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import Authorization, HashMode, SingleSig
from clarion.chains.stacks.hashing import sha512_256
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import ContractCall, Payload, SmartContract, TokenTransfer
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    Asset,
    FtPostCondition,
    PostCondition,
    StxPostCondition,
)
from clarion.chains.stacks.recording import read_recording
from clarion.chains.stacks.transactions import Transaction

FIXTURE: Final = Path(__file__).resolve().parents[2] / "fixtures" / "bithedge-devnet.tsv.zst"
BITHEDGE_DEPLOYER: Final = "ST30BMHJG7M1F0JPXY24RQSB43150RRYEDAQTXHAQ"
TENURE_BLOCKS: Final = 60
"""Stacks blocks between two Bitcoin blocks."""
BLOCK_SECONDS: Final = 10
TRANSACTIONS_OF_BLOCK: Final = 4.0
"""Mean number, besides BitHedge's. Exponentially distributed, so some blocks are empty and some large."""
USERS: Final = 20_000
CONTRACTS: Final = 300

_USER_VERSION: Final = Network.TESTNET.single_sig_version
_NUMBER_MARK: Final = "c1a0c1a0c1a0c1a0c1a0c1a0"
"""First 12 bytes of the 16-byte integers that stand in templates for numbers to be filled in."""
_TXID: Final = "7c" * 32


@dataclass
class Mix:
    """What a generated chain holds."""

    blocks: int = 0
    burn_blocks: int = 0
    transactions: int = 0
    events: int = 0
    bithedge_events: int = 0
    json_bytes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """Events by type."""
    templates: Counter[str] = field(default_factory=Counter)
    """Transactions by what they do."""

    def __str__(self) -> str:
        kinds = ", ".join(f"{name.removesuffix('_event')} {count}" for name, count in self.kinds.most_common())
        made = ", ".join(f"{name} {count}" for name, count in self.templates.most_common())
        return (
            f"{self.events} events ({self.bithedge_events} of BitHedge), {self.transactions} transactions, "
            f"{self.blocks} blocks, {self.burn_blocks} Bitcoin blocks, {self.json_bytes / 1e6:.0f} MB of JSON\n"
            f"  events: {kinds}\n  transactions: {made}"
        )


@dataclass(frozen=True)
class User:
    """An account: its address and the hex of its hash, as both appear in payloads."""

    hash160: str
    address: str

    @staticmethod
    def numbered(number: int, domain: str = "user") -> User:
        hash160 = hashlib.sha256(f"{domain} {number}".encode()).digest()[:20]
        return User(hash160.hex(), c32.encode_address(_USER_VERSION, hash160))


def _number(index: int) -> int:
    """What stands for the number ``index`` in a template."""
    return int(f"{_NUMBER_MARK}{index:08x}", 16)


_NUMBER_HEX = re.compile(_NUMBER_MARK + r"([0-9a-f]{8})")
_NUMBER_DECIMAL = re.compile(rf"{str(_number(0))[:-10]}\d{{10}}")
"""The same in decimal: the last four bytes change no more than the last ten digits."""


class Template:
    """A transaction with its events as JSON text with holes: users, numbers, the transaction's id and places."""

    def __init__(
        self,
        name: str,
        transaction: dict[str, Any],
        events: Sequence[dict[str, Any]],
        users: Sequence[User],
        numbers: int,
    ) -> None:
        self.name = name
        self.kinds = Counter(event["type"] for event in events)
        self.events = len(events)
        numbered = [event | {"event_index": f"@E{index}@"} for index, event in enumerate(events)]
        self._transaction = _Holes(transaction | {"tx_index": "@P0@"}, users, numbers)
        self._events = _Holes(numbered, users, numbers) if events else None

    def render(
        self, txid: str, tx_index: int, first_event: int, users: Sequence[User], numbers: Sequence[int]
    ) -> tuple[str, str]:
        """The transaction's JSON, and its events' without the brackets."""
        values: list[Any] = [txid, tx_index]
        for user in users:
            values += user.address, user.hash160
        for number in numbers:
            values += number, f"{number:032x}"
        values += range(first_event, first_event + self.events)
        return self._transaction.fill(values), "" if self._events is None else self._events.fill(values)[1:-1]


class _Holes:
    """JSON text that lacks some of these values: the transaction's id and index, address and hash of each user, each
    number in decimal and in hex, the index of each event.
    """

    def __init__(self, content: Any, users: Sequence[User], numbers: int) -> None:
        text = json.dumps(content, separators=(",", ":")).replace("%", "%%").replace(_TXID, "@T0@")
        for index, user in enumerate(users):
            text = text.replace(user.address, f"@A{index}@").replace(user.hash160, f"@H{index}@")
        text = _NUMBER_HEX.sub(lambda found: f"@X{int(found[1], 16)}@", text)
        text = _NUMBER_DECIMAL.sub(lambda found: f"@D{int(found[0]) - _number(0)}@", text)
        text = re.sub(r'"(@[PE]\d+@)"', r"\1", text)
        first_number = 2 + 2 * len(users)
        place = {"T": (0, 0), "P": (1, 0), "A": (2, 2), "H": (3, 2), "D": (first_number, 2), "X": (first_number + 1, 2)}
        place["E"] = (first_number + 2 * numbers, 1)
        holes = [(place[code], int(index)) for code, index in re.findall(r"@([TPEAHXD])(\d+)@", text)]
        self._text = re.sub(r"@[TPEAHXD]\d+@", "%s", text)
        self._chosen = itemgetter(*[first + each * index for (first, each), index in holes])

    def fill(self, values: Sequence[Any]) -> str:
        return self._text % self._chosen(values)


# The general mix


def _hex(raw: bytes) -> str:
    return f"0x{raw.hex()}"


def _transaction(sender: User, payload: Payload, *, status: str = "success", result: cl.Value | None = None) -> Any:
    signer = SingleSig(HashMode.P2PKH, bytes.fromhex(sender.hash160), 7, 3000)
    conditions: tuple[PostCondition, ...] = ()
    if isinstance(payload, ContractCall):
        asset = Asset(payload.contract, "coin")
        conditions = (
            StxPostCondition(ORIGIN, AmountCode.LESS_OR_EQUAL, 1_000_000),
            FtPostCondition(payload.contract, asset, AmountCode.GREATER_OR_EQUAL, 1),
        )
    raw = Transaction(Network.TESTNET, Network.TESTNET.chain_id, Authorization(signer), payload, conditions).encode()
    return {
        "txid": f"0x{_TXID}",
        "tx_index": 0,
        "status": status,
        "raw_result": _hex(cl.encode(cl.Ok(cl.TRUE) if result is None else result)),
        "raw_tx": _hex(raw),
        "contract_interface": None,
        "burnchain_op": None,
        "execution_cost": {
            "read_count": 31,
            "read_length": 91_240,
            "runtime": 104_873,
            "write_count": 8,
            "write_length": 411,
        },
        "microblock_sequence": None,
        "microblock_hash": None,
        "microblock_parent_hash": None,
        "vm_error": None,
    }


def _event(kind: str, **fields: Any) -> dict[str, Any]:
    return {"txid": f"0x{_TXID}", "event_index": 0, "committed": True, "type": kind, kind: fields}


def _print(contract: str, value: cl.Tuple) -> dict[str, Any]:
    spelled = {name: {type(inside).__name__: "as it is"} for name, inside in value.fields.items()}
    return _event(
        "contract_event",
        contract_identifier=contract,
        topic="print",
        value={"Tuple": {"data_map": spelled, "type_signature": {"type_map": dict.fromkeys(spelled, "UIntType")}}},
        raw_value=_hex(cl.encode(value)),
    )


_SOURCE: Final = ";; A token.\n" + "\n".join(
    f"(define-public (move-{index} (amount uint) (to principal))\n"
    f"  (begin (asserts! (> amount u0) (err u{index})) (ft-transfer? coin amount tx-sender to)))"
    for index in range(24)
)

#: Share of transactions: roughly a day of mainnet.
_SHARES: Final = {
    "stx transfer": 26,
    "token transfer": 18,
    "swap": 21,
    "two-hop swap": 9,
    "farm": 6,
    "nft sale": 5,
    "nft mint": 5,
    "aborted by contract": 6,
    "aborted by post-condition": 2,
    "stack": 1,
    "deploy": 1,
}


def _general_templates(contract: str) -> dict[str, Template]:
    """One template of each kind around a contract."""
    users = [User.numbered(index, "template") for index in range(3)]
    alice, bob, pool = users
    me, other = cl.principal(alice.address), cl.principal(bob.address)
    here = cl.contract_principal(contract)
    coin, share, badge = f"{contract}::coin", f"{contract}::share", f"{contract}::badge"
    vault = f"{pool.address}.liquidity"
    one, two, three = _number(0), _number(1), _number(2)

    def call(function: str, *arguments: cl.Value, **how: Any) -> Any:
        return _transaction(alice, ContractCall(here, function, arguments), **how)

    def moved(kind: str, asset: str, amount: int, **who: str) -> dict[str, Any]:
        return _event(kind, asset_identifier=asset, amount=str(amount), **who)

    def swapped(amount_in: int, amount_out: int) -> list[dict[str, Any]]:
        said = {
            "action": cl.StringAscii("swap-x-for-y"),
            "object": cl.StringAscii("pool"),
            "data": cl.Tuple(
                {
                    "balance-x": cl.UInt(amount_in),
                    "balance-y": cl.UInt(amount_out),
                    "fee-rate-x": cl.UInt(300_000),
                    "fee-rate-y": cl.UInt(300_000),
                    "pool-token": here,
                    "total-supply": cl.UInt(three),
                    "sender": me,
                    "oracle-enabled": cl.TRUE,
                }
            ),
        }
        return [
            moved("ft_transfer_event", coin, amount_in, sender=alice.address, recipient=vault),
            moved("ft_transfer_event", share, amount_out, sender=vault, recipient=alice.address),
            _print(contract, cl.Tuple(said)),
        ]

    def sold(name: str, topic: str) -> dict[str, Any]:
        return _print(
            contract, cl.Tuple({"topic": cl.StringAscii(topic), name: cl.UInt(one), "who": me, "price": cl.UInt(two)})
        )

    token = {"value": {"UInt": 1}, "raw_value": _hex(cl.encode(cl.UInt(one)))}
    transfer = TokenTransfer(other, 1_000_000, b"\0" * 34)
    paid = _event("stx_transfer_event", sender=alice.address, recipient=bob.address, amount=str(one), memo="00" * 34)
    kinds: dict[str, tuple[Any, list[dict[str, Any]]]] = {
        "stx transfer": (_transaction(alice, transfer), [paid]),
        "token transfer": (
            call("transfer", cl.UInt(one), me, other, cl.NONE),
            [
                moved("ft_transfer_event", coin, one, sender=alice.address, recipient=bob.address),
                _print(contract, cl.Tuple({"memo": cl.Buffer(b"thanks"), "amount": cl.UInt(one)})),
            ],
        ),
        "swap": (call("swap-x-for-y", here, cl.UInt(one), cl.Some(cl.UInt(two))), swapped(one, two)),
        "two-hop swap": (
            call("swap-helper", here, here, cl.UInt(one), cl.UInt(two)),
            [*swapped(one, two), *swapped(two, three), paid],
        ),
        "farm": (
            call("stake", cl.UInt(one), cl.List([cl.UInt(number) for number in range(12)])),
            [
                moved("ft_mint_event", share, one, recipient=alice.address),
                moved("ft_burn_event", coin, two, sender=alice.address),
                moved("ft_mint_event", coin, three, recipient=vault),
                moved("ft_transfer_event", coin, one, sender=vault, recipient=alice.address),
            ],
        ),
        "nft sale": (
            call("buy-in-ustx", cl.UInt(one), here),
            [
                paid,
                _event("nft_transfer_event", asset_identifier=badge, sender=bob.address, recipient=alice.address)
                | {
                    "nft_transfer_event": {"asset_identifier": badge, "sender": bob.address, **token}
                    | {"recipient": alice.address}
                },
                sold("id", "buy-in-ustx"),
            ],
        ),
        "nft mint": (
            call("mint", me),
            [
                _event("nft_mint_event", asset_identifier=badge, recipient=alice.address, **token),
                _event("stx_burn_event", sender=alice.address, amount=str(two)),
            ],
        ),
        "aborted by contract": (
            call("swap-x-for-y", here, cl.UInt(one), cl.NONE, status="abort_by_response", result=cl.Err(cl.UInt(2003))),
            [],
        ),
        "aborted by post-condition": (
            call("transfer", cl.UInt(one), me, other, cl.NONE, status="abort_by_post_condition"),
            [],
        ),
        "stack": (
            call("delegate-stx", cl.UInt(one), other, cl.NONE, cl.NONE),
            [
                _event(
                    "stx_lock_event",
                    locked_address=alice.address,
                    locked_amount=str(one),
                    unlock_height="900000",
                    contract_identifier=contract,
                ),
                sold("cycle", "delegate-stx"),
            ],
        ),
        "deploy": (_transaction(alice, SmartContract("a-token", _SOURCE, 3)), []),
    }
    return {name: Template(name, *parts, users, numbers=3) for name, parts in kinds.items()}


class General:
    """Transactions of the general mix."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._users = [User.numbered(number) for number in range(USERS)]
        self._owners = [User.numbered(number, "owner") for number in range(CONTRACTS)]
        self._names = list(_SHARES)
        self._weights = list(accumulate(_SHARES.values()))
        self.templates = cache(self._templates)

    def _templates(self, number: int) -> dict[str, Template]:
        return _general_templates(f"{self._owners[number].address}.contract-{number}")

    def _few_busy(self, count: int) -> int:
        """An index of which low ones are far more frequent."""
        return int(count * self._chance.random() ** 4)

    def next(self) -> tuple[Template, list[User], list[int]]:
        """A transaction: its template, users and numbers."""
        few_busy, random = self._few_busy, self._chance.random
        templates = self.templates(few_busy(CONTRACTS))
        template = templates[self._names[bisect(self._weights, random() * self._weights[-1])]]
        users = [self._users[few_busy(USERS)] for _ in range(3)]
        return template, users, [int(10 ** (2 + 11 * random())) for _ in range(3)]


# BitHedge


@dataclass(frozen=True)
class _Shift:
    """A number of a template in cycle k (from 1 on): ``base + (k - 1) * step``."""

    base: int
    step: int


class BitHedge:
    """BitHedge's transactions: those of the recorded chain, then its activity again with other people and numbers."""

    _REPEATED: Final = frozenset(
        {"price.submitted", "round.closed", "expiry-price.fixed", "capital.deposited", "capital.withdrawn"}
        | {"withdraw.requested", "collateral.locked", "collateral.released", "premium.escrowed", "premium.earned"}
        | {"premium.refunded", "lock.closed", "yield.claimed", "payout.debited", "policy.created", "policy.cancelled"}
        | {"policy.exercised", "policy.expired-otm", "policy.settled-itm", "discount.used"}
    )
    _BY_CYCLE: Final = {"policy": "policy", "request": "request"} | dict.fromkeys(
        ("round", "prev-round", "token-round"), "round"
    )

    def __init__(self) -> None:
        self._said: list[tuple[dict[str, Any], list[dict[str, Any]], list[cl.Tuple]]] = _recorded()
        self._highest: Counter[str] = Counter()
        users: dict[str, User] = {}
        for _, _, values in self._said:
            for value in values:
                self._note(value, users)
        self._users = list(users.values())
        self._repeated = self._templates()

    def _note(self, value: cl.Tuple, users: dict[str, User]) -> None:
        for name, inside in value.fields.items():
            if isinstance(inside, cl.UInt):
                kind = self._BY_CYCLE.get(name) or ("burn" if name.endswith("-burn") else None)
                if kind is not None:
                    self._highest[kind] = max(self._highest[kind], inside.value)
            if name in ("provider", "owner") and isinstance(inside, cl.StandardPrincipal):
                topic = value.fields["topic"]
                if (
                    isinstance(topic, cl.StringAscii | cl.StringUtf8)
                    and "." in topic.value
                    and "price" not in topic.value
                ):
                    users[inside.address] = User(inside.hash160.hex(), inside.address)

    def _templates(self) -> list[tuple[Template, list[_Shift]]]:
        total: Counter[str] = Counter()
        repeated: Counter[str] = Counter()
        chosen = []
        partial = self._partial_policies()
        for transaction, events, values in self._said:
            contracts = [
                event["contract_event"]["contract_identifier"] for event in events if "contract_event" in event
            ]
            total.update(contracts)
            topics = {_topic(value) for value in values}
            if values and topics <= self._REPEATED and not _policies(values) & partial:
                repeated.update(contracts)
                chosen.append((transaction, events))
        place: Counter[str] = Counter()
        made = []
        for transaction, events in chosen:
            shifts: list[_Shift] = []
            altered = []
            for event in events:
                said = event.get("contract_event")
                if said is None:
                    altered.append(event)
                    continue
                contract = said["contract_identifier"]
                place[contract] += 1
                fields: dict[str, cl.Value] = {}
                for name, inside in _tuple(said["raw_value"]).fields.items():
                    shift = None
                    kind = self._BY_CYCLE.get(name) or ("burn" if name.endswith("-burn") else None)
                    if name == "seq":
                        shift = _Shift(total[contract] + place[contract], repeated[contract])
                    elif kind is not None and isinstance(inside, cl.UInt) and inside.value:
                        step = self._highest[kind] + (1 if kind == "burn" else 0)
                        shift = _Shift(inside.value + step, step)
                    if shift is not None:
                        fields[name] = cl.UInt(_number(len(shifts)))
                        shifts.append(shift)
                    else:
                        fields[name] = inside
                raw = _hex(cl.encode(cl.Tuple(fields)))
                altered.append(event | {"contract_event": said | {"raw_value": raw}})
            made.append((Template("bithedge", transaction, altered, self._users, len(shifts)), shifts))
        return made

    def _partial_policies(self) -> set[int]:
        """Policies that something happens to which is not repeated: nothing of them is."""
        partial: set[int] = set()
        while True:
            more = {
                policy
                for _, _, values in self._said
                if not {_topic(value) for value in values} <= self._REPEATED or _policies(values) & partial
                for policy in _policies(values)
            }
            if more == partial:
                return partial
            partial = more

    def transactions(self) -> Iterator[tuple[Template, list[User], list[int]]]:
        """Without end."""
        for transaction, events, _ in self._said:
            yield Template("bithedge", transaction, events, self._users, 0), self._users, []
        cycle = 0
        while True:
            users = [User.numbered(cycle * len(self._users) + index, "cast") for index in range(len(self._users))]
            for template, shifts in self._repeated:
                yield template, users, [shift.base + cycle * shift.step for shift in shifts]
            cycle += 1


def _policies(values: Sequence[cl.Tuple]) -> set[int]:
    """The policies that events are about."""
    fields = (value.fields.get("policy") for value in values)
    return {field.value for field in fields if isinstance(field, cl.UInt)}


def _recorded() -> list[tuple[dict[str, Any], list[dict[str, Any]], list[cl.Tuple]]]:
    """The recorded chain's transactions with their events and what BitHedge printed, in the order of the chain."""
    blocks = {}
    tip = ""
    for post in read_recording(FIXTURE):
        if post.path == "/new_block":
            block = json.loads(post.body)
            blocks[block["index_block_hash"]] = block
            tip = block["index_block_hash"]
    chain = []
    while tip in blocks:
        chain.append(blocks[tip])
        tip = chain[-1]["parent_index_block_hash"]
    found = []
    for block in reversed(chain):
        events: dict[str, list[dict[str, Any]]] = {}
        for event in sorted(block["events"], key=lambda event: event["event_index"]):
            events.setdefault(event["txid"], []).append(event)
        for transaction in sorted(block["transactions"], key=lambda transaction: transaction["tx_index"]):
            own = events.get(transaction["txid"], [])
            values = [
                _tuple(event["contract_event"]["raw_value"])
                for event in own
                if event["type"] == "contract_event"
                and event["contract_event"]["contract_identifier"].startswith(f"{BITHEDGE_DEPLOYER}.bh-")
            ]
            if own:
                text = json.dumps([transaction, own]).replace(transaction["txid"], f"0x{_TXID}")
                found.append((*json.loads(text), values))
    return found


def _tuple(raw: str) -> cl.Tuple:
    value = cl.decode(bytes.fromhex(raw.removeprefix("0x")))
    assert isinstance(value, cl.Tuple)
    return value


def _topic(value: cl.Tuple) -> str:
    topic = value.fields["topic"]
    assert isinstance(topic, cl.StringAscii | cl.StringUtf8)
    return topic.value


# The chain


class _BlockText:
    """A block's transactions and events as JSON, one after the other."""

    def __init__(self, named: Callable[[str, int, int], str], height: int) -> None:
        self._named = named
        self._height = height
        self._transactions: list[str] = []
        self._events: list[str] = []
        self.event_count = 0

    def add(self, template: Template, users: Sequence[User], numbers: Sequence[int]) -> None:
        index = len(self._transactions)
        txid = self._named("tx", self._height, index)
        transaction, events = template.render(txid, index, self.event_count, users, numbers)
        self._transactions.append(transaction)
        if events:
            self._events.append(events)
        self.event_count += template.events

    def __str__(self) -> str:
        return f'"transactions": [{",".join(self._transactions)}], "events": [{",".join(self._events)}]'


def generate(
    path: Path,
    *,
    events: int,
    seed: int = 1,
    bithedge_share: float = 0.1,
) -> Mix:
    """Write a chain of at least ``events`` events to ``path`` (``.tsv.zst``); ``bithedge_share`` of them BitHedge's.

    What it takes of memory does not grow with the chain.
    """
    chance = random.Random(seed)
    mix = Mix()
    general = General(chance) if bithedge_share < 1 else None
    bithedge = BitHedge().transactions()
    used: Counter[Template] = Counter()
    number = 0

    def line(where: str, body: str) -> bytes:
        nonlocal number
        number += 1
        mix.json_bytes += len(body)
        escaped = body.replace("\\", "\\\\")
        return f"{number}\t2026-01-01 00:00:00\t{where}\t{escaped}\n".encode()

    def named(kind: str, height: int, index: int = 0) -> str:
        return hashlib.sha256(f"{seed} {kind} {height} {index}".encode()).hexdigest()

    with path.open("wb") as file, zstandard.ZstdCompressor(level=1).stream_writer(file) as out:
        height = 0
        parent_hash, parent_id = named("header", 0), named("block", 0)
        while mix.events < events:
            height += 1
            burn = 800_000 + height // TENURE_BLOCKS
            burn_hash = named("burn", burn)
            if height == 1 or height % TENURE_BLOCKS == 0:
                mix.burn_blocks += 1
                burn_post = {
                    "burn_block_hash": f"0x{burn_hash}",
                    "burn_block_height": burn,
                    "parent_burn_block_hash": f"0x{named('burn', burn - 1)}",
                    "burn_amount": 0,
                    "reward_recipients": [],
                    "reward_slot_holders": [],
                }
                out.write(line("/new_burn_block", json.dumps(burn_post)))
            block = _BlockText(named, height)
            if general is not None:
                for _ in range(int(chance.expovariate(1 / TRANSACTIONS_OF_BLOCK))):
                    drawn = general.next()
                    used[drawn[0]] += 1
                    block.add(*drawn)
            before = block.event_count
            target = mix.events * bithedge_share if general is not None else mix.bithedge_events + 12
            while mix.bithedge_events + block.event_count - before < target:
                drawn = next(bithedge)
                used[drawn[0]] += 1
                block.add(*drawn)
            mix.events += block.event_count
            mix.bithedge_events += block.event_count - before
            mix.blocks += 1
            block_hash, consensus_hash = named("header", height), burn_hash[:40]
            block_id = sha512_256(bytes.fromhex(block_hash + consensus_hash)).hex()
            head = {
                "block_height": height,
                "block_hash": f"0x{block_hash}",
                "index_block_hash": f"0x{block_id}",
                "parent_block_hash": f"0x{parent_hash}",
                "parent_index_block_hash": f"0x{parent_id}",
                "block_time": 1_800_000_000 + height * BLOCK_SECONDS,
                "burn_block_height": burn,
                "burn_block_hash": f"0x{burn_hash}",
                "burn_block_time": 1_800_000_000 + height // TENURE_BLOCKS * TENURE_BLOCKS * BLOCK_SECONDS,
                "consensus_hash": f"0x{consensus_hash}",
                "miner_txid": f"0x{named('miner', burn)}",
                "tenure_height": height // TENURE_BLOCKS,
                "matured_miner_rewards": [],
            }
            out.write(line("/new_block", f"{json.dumps(head)[:-1]}, {block}}}"))
            parent_hash, parent_id = block_hash, block_id
    for template, times in used.items():
        mix.transactions += times
        mix.templates[template.name] += times
        mix.kinds.update({kind: count * times for kind, count in template.kinds.items()})
    return mix
