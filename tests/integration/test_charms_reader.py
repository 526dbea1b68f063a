"""Our reader of spells against the protocol's own, compiled, in the versions that a published package of it reads.

With mock spells accepted the protocol's reader takes any decodable proof, so that it can be asked about any spell.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from support.charms import app, genuine_spells, in_witness, plain_transaction, spell_of

from clarion.chains.bitcoin.charms.cbor import Float, Map, Tag, Value, decode, encode, head
from clarion.chains.bitcoin.charms.events import SpellEvent
from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.spells import Spell, read_payload, write_payload
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, write_transaction

PACKAGE = Path(__file__).resolve().parents[1] / "charms_js"
LATEST_READ = 7
MADE_UP = 120
WITHOUT_END = 2790
EXACT = 2**53
NO_JAVASCRIPT = "can't be represented as a JavaScript number"
#: What of the forms that the protocol's reader takes ours refuses: see `clarion.chains.bitcoin.charms.cbor`.
STRICTER = ("the simple value 23", "a field's name", "expected an array")


class ProtocolReader:
    """The protocol's own reader, asked about one transaction after the other."""

    def __init__(self, node: list[str]) -> None:
        self._process = subprocess.Popen(
            [*node, "read.js"], cwd=PACKAGE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def read(self, transaction: BitcoinTransaction) -> tuple[dict[str, Any] | None, str]:
        """The spell that it reads, or None and why not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(write_transaction(transaction).hex() + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer.get("spell"), answer.get("error", "")

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def protocol_reader(node_command: list[str]) -> Iterator[ProtocolReader]:
    if not (PACKAGE / "node_modules").is_dir():
        pytest.skip("tests/charms_js has no packages: `make test` installs them")
    reader = ProtocolReader(node_command)
    yield reader
    reader.stop()


@pytest.fixture(scope="module")
def mock_proof(chain_data: Path) -> bytes:
    """A proof that the protocol's reader can decode; it proves nothing of what it is used for here."""
    return next(_payload(tx)[1] for known, tx in genuine_spells(chain_data) if known["proof_verifies"] is None)


def _payload(transaction: BitcoinTransaction) -> tuple[Spell, bytes]:
    (envelope,) = envelopes(transaction)
    assert envelope.payload is not None
    return read_payload(envelope.payload)


def ours(transaction: BitcoinTransaction) -> SpellEvent:
    event = read_spell(transaction, BitcoinNetwork.MAINNET, accept_mock=True)
    assert event is not None
    return event


def assert_same(spell: Spell, transaction: BitcoinTransaction, theirs: dict[str, Any]) -> None:
    """What both have read is the same."""
    assert theirs["version"] == spell.version
    assert theirs.get("mock", False) == spell.mock
    apps = [(f"{app.tag}/{app.identity.hex()}/{app.vk.hex()}", loose(said)) for app, said in spell.apps]
    assert [tuple(pair) for pair in theirs["app_public_inputs"]["$map"]] == apps
    outs = [[[place, loose(data)] for place, data in sorted(out.items())] for out in spell.outs]
    assert [out["$map"] for out in theirs["tx"]["outs"]] == outs
    event = ours(transaction)
    assert theirs["tx"]["ins"] == event.inputs[:-1]
    assert theirs["tx"].get("refs") == event.refs
    beamed = theirs["tx"].get("beamed_outs")
    assert {str(place): to for place, to in (beamed or {"$map": []})["$map"]} == event.beamed_outs


def loose(value: Value) -> Any:
    """A value as it comes through JavaScript."""
    if isinstance(value, Map):
        merged: dict[str, list[Any]] = {}
        for key, item in value.pairs:
            pair = [loose(key), loose(item)]
            if isinstance(key, list | Map | bytes | Tag):  # told apart by what they are, not by what they hold
                merged[f"{len(merged)} {key!r}"] = pair
            elif json.dumps(pair[0]) in merged:
                merged[json.dumps(pair[0])][1] = pair[1]
            else:
                merged[json.dumps(pair[0])] = pair
        return {"$map": list(merged.values())}
    if isinstance(value, list):
        return [loose(item) for item in value]
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    return value


def comes_through(value: Value) -> bool:
    """Whether JavaScript can hold it: floats and integers are one, large integers and tags are none."""
    if isinstance(value, Float | Tag):
        return False
    if isinstance(value, int):
        return -EXACT < value < EXACT
    if isinstance(value, list):
        return all(map(comes_through, value))
    if isinstance(value, Map):
        return all(comes_through(key) and comes_through(item) for key, item in value.pairs)
    return True


def test_real_spells_are_read_alike(protocol_reader: ProtocolReader, chain_data: Path) -> None:
    read = 0
    for known, transaction in genuine_spells(chain_data):
        theirs, error = protocol_reader.read(transaction)
        event = ours(transaction)
        if known["spell_version"] > LATEST_READ:
            assert theirs is None, error
            continue
        read += 1
        assert theirs is not None, error
        assert event.acceptable
        assert_same(_payload(transaction)[0], transaction, theirs)
    assert read == 4


class Maker:
    """Makes up spells, and writes them in forms that mean the same and that do not."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)

    def spell(self) -> Spell:
        draw = self._draw
        apps = sorted(
            {app(draw.choice("tnb/\u00e9"), draw.randrange(3), draw.randrange(3)) for _ in range(draw.randrange(4))}
        )
        outs = [
            {draw.randrange(max(len(apps), 1)): self.value() for _ in range(draw.randrange(3))}
            for _ in range(draw.randrange(4))
        ]
        fields: dict[str, Any] = {"mock": True}
        if draw.random() < 0.4:
            fields["refs"] = [draw.randbytes(36) for _ in range(draw.randrange(3))]
        if draw.random() < 0.3:
            fields["beamed_outs"] = {draw.randrange(5): draw.randbytes(32) for _ in range(draw.randrange(3))}
        return spell_of(draw.randrange(1, LATEST_READ + 1), outs, [(one, self.value()) for one in apps], **fields)

    def value(self, nested: int = 0) -> Value:
        draw = self._draw
        kind = draw.randrange(8 if nested < 3 else 6)
        if kind < 6:
            scalars: list[Value] = [
                None,
                draw.random() < 0.5,
                draw.choice([0, 23, 24, 255, 256, 65535, 65536, 2**32, -1, -25, -257]),
                draw.choice(["", "ticker", "\u00e9\U0001f600", "x" * 300]),
                draw.randbytes(draw.choice([0, 1, 32])),
                draw.randrange(1 << 50),
            ]
            return scalars[kind]
        items = [self.value(nested + 1) for _ in range(draw.randrange(4))]
        return items if kind == 6 else Map([(draw.choice(["a", "b", "id", 7, None]), item) for item in items])

    def form(self, value: Value) -> bytes:
        """The value's bytes in some form that the protocol reads as the same."""
        draw = self._draw
        if isinstance(value, list | Map):
            items = value if isinstance(value, list) else [part for pair in value.pairs for part in pair]
            major, count = (4, len(items)) if isinstance(value, list) else (5, len(items) // 2)
            written = b"".join(self.form(item) for item in items)
            if draw.random() < 0.2:
                return bytes((major << 5 | 31,)) + written + b"\xff"
            return self._head(major, count) + written
        if isinstance(value, int) and not isinstance(value, bool):
            return self._head(0, value) if value >= 0 else self._head(1, ~value)
        if isinstance(value, str | bytes):
            data = value.encode() if isinstance(value, str) else value
            return self._head(3 if isinstance(value, str) else 2, len(data)) + data
        return encode(value)

    def _head(self, major: int, argument: int) -> bytes:
        if self._draw.random() < 0.9:
            return head(major, argument)
        return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")

    def payload(self, spell: Spell, proof: bytes) -> bytes:
        draw = self._draw
        payload = write_payload(spell, proof)
        if draw.random() < 0.5:
            payload = self.form(decode(payload))
        changed = bytearray(payload)
        reach = max(len(payload) - 2 * len(proof), 1)
        for _ in range(draw.choice([0, 0, 1, 1, 2])):
            at = draw.randrange(min(reach, len(changed)))
            change = draw.randrange(4)
            if change == 0:
                changed[at] ^= 1 << draw.randrange(8)
            elif change == 1:
                changed[at] = draw.choice(
                    [0xF6, 0xF7, 0xFF, 0x9F, 0xBF, 0x5F, 0x7F, 0xC1, 0xC2, 0xF4, 0xF5, 0xF9, 0x00]
                )
            elif change == 2:
                del changed[at]
            else:
                changed.insert(at, draw.choice(b"\xc1\xd8\xf6\x18\x00\x80\xa0\x60\x40"))
        return bytes(changed)


@pytest.mark.parametrize("seed", [*range(MADE_UP), WITHOUT_END])
def test_made_up_spells_are_read_alike(protocol_reader: ProtocolReader, mock_proof: bytes, seed: int) -> None:
    compare(protocol_reader, mock_proof, seed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_many_made_up_spells_are_read_alike(protocol_reader: ProtocolReader, mock_proof: bytes) -> None:
    for seed in range(MADE_UP, 50 * MADE_UP):
        compare(protocol_reader, mock_proof, seed)


def without_end(transaction: BitcoinTransaction, event: SpellEvent) -> bool:
    """Whether all that is wrong is that the array around spell and proof, which says no length, does not end."""
    (envelope,) = envelopes(transaction)
    payload = envelope.payload or b""
    return payload[:1] == b"\x9f" and event.failed_step == f"encoding: the bytes end at byte {len(payload)}"


def compare(protocol_reader: ProtocolReader, mock_proof: bytes, seed: int) -> None:
    maker = Maker(seed)
    transaction = in_witness(plain_transaction(outputs=4), maker.payload(maker.spell(), mock_proof))
    event = ours(transaction)
    theirs, error = protocol_reader.read(transaction)
    if "not in order" in (event.failed_step or ""):
        return  # a rule of later versions, for all versions
    if event.version is not None and not 1 <= event.version <= LATEST_READ:
        assert theirs is None
        return
    if (event.failed_step or "").startswith("encoding"):
        stricter = any(problem in (event.failed_step or "") for problem in STRICTER)
        assert theirs is None or stricter or without_end(transaction, event), (event.failed_step, seed)
        return
    spell, proof = _payload(transaction)
    if event.status == "mock":
        if theirs is None:  # the points of such a proof are no part of what is compared
            assert proof != mock_proof or NO_JAVASCRIPT in error, (error, seed)
            return
        if all(comes_through(value) for out in spell.outs for value in out.values()) and all(
            comes_through(said) for _, said in spell.apps
        ):
            assert_same(replace(spell, coins=None), transaction, theirs)
        return
    assert theirs is None, (event.failed_step, seed)
