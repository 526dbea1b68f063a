"""Made-up chains of spells and spends, and what follows from them by the simplest means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from hypothesis import strategies as st

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpendEvent
from clarion.chains.model import Block, EventKind
from clarion.protocols.charms import protocol
from clarion.protocols.charms.ledger import script_key
from clarion.protocols.charms.tables import Balance, Charm, Nft, Token, Transfer
from clarion.store.projector import Projector
from clarion.store.rows import Row
from support import coins

GOLD = AppUse("t", "aa" * 32, "01" * 32)
SILVER = AppUse("t", "bb" * 32, "02" * 32, public_input="op")
GOLD_REFERENCE = AppUse("n", "aa" * 32, "01" * 32)
VAULT = AppUse("s", "cc" * 32, "03" * 32)
APPS = (GOLD_REFERENCE, VAULT, GOLD, SILVER)
OWNERS = ("0x51", "0x0014" + "22" * 20, "0x" + "ab" * 300)
STATUSES = ("verified", "verified", "verified", "verified", "mock", "invalid", "unsupported")

_amounts = st.integers(0, 2**64 - 1) | st.integers(0, 5) | st.sampled_from([10, 20, 30])
_states = st.sampled_from([None, 1, "state", {"ticker": "AU", "decimals": 8}, {"name": "Gold"}, {"id": 7}])
_out = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(OWNERS),
        "charms": st.fixed_dictionaries(
            {}, optional={"0": _states, "1": _states, "2": _amounts, "3": _amounts | st.just("no amount")}
        ),
        "beamed": st.sampled_from([False, False, False, True]),
    }
)
_picks = st.lists(st.integers(0, 30), max_size=4)
casts = st.fixed_dictionaries(
    {
        "spends": _picks,
        "outs": st.lists(_out, max_size=4),
        "status": st.sampled_from(STATUSES),
        "version": st.sampled_from([2, 9, 10, 15]),
        "placeholder": st.booleans(),
    }
)
losses = st.fixed_dictionaries({"loses": _picks})
#: What happens, block by block.
chains = st.lists(st.lists(casts | losses, max_size=3), min_size=1, max_size=12)


def make_chain(
    happenings: Sequence[Sequence[Mapping[str, Any]]], on: Sequence[Block] = (), branch: str = "main"
) -> list[Block]:
    """Blocks in which this happens, after those that it builds on."""
    blocks: list[Block] = []
    for happening in happenings:
        before = [*on, *blocks]
        unspent = list(unspent_outpoints(before))
        events: list[SpellEvent | SpendEvent] = []
        for what in happening:
            picked = what.get("spends", what.get("loses", []))
            spends = {unspent[pick % len(unspent)] for pick in picked} if unspent else set()
            unspent = [outpoint for outpoint in unspent if outpoint not in spends]
            events.append(_event(what, sorted(spends)))
        blocks.append(coins.block(before[-1] if before else None, events, branch=branch))
    return blocks


def _event(what: Mapping[str, Any], spends: list[str]) -> SpellEvent | SpendEvent:
    if "loses" in what:
        return SpendEvent(spends, [Output(1, "0x51")], list(range(len(spends))))
    outs = what["outs"]
    return SpellEvent(
        inputs=[*spends, *(["ee" * 32 + ":0"] if what["placeholder"] else [])],
        outputs=[Output(546, out["owner"], f"address of {out['owner'][:6]}") for out in outs],
        status=what["status"],
        failed_step=None,
        version=what["version"],
        location="op_return",
        mock=what["status"] == "mock",
        apps=list(APPS),
        outs=[dict(out["charms"]) for out in outs],
        beamed_outs={str(place): "77" * 32 for place, out in enumerate(outs) if out["beamed"]},
        refs=None,
        scrolls=[],
    )


def happened(blocks: Iterable[Block]) -> Iterable[tuple[str, SpellEvent | SpendEvent]]:
    """The events of blocks, each with its transaction."""
    for block in blocks:
        for event in block.events:
            kind = SpellEvent if event.kind is EventKind.SPELL else SpendEvent
            yield block.transaction(event.tx_index).id.hex(), msgspec.convert(event.value, kind)


def unspent_outpoints(blocks: Iterable[Block]) -> dict[str, dict[str, tuple[str, Any]]]:
    """Outputs that are not spent, with their charms: app to script and data. What is beamed out has none."""
    unspent: dict[str, dict[str, tuple[str, Any]]] = {}
    for tx_id, event in happened(blocks):
        for outpoint in event.inputs:
            unspent.pop(outpoint, None)
        for vout, output in enumerate(event.outputs):
            charms: dict[str, tuple[str, Any]] = {}
            if isinstance(event, SpellEvent) and event.acceptable and str(vout) not in event.beamed_outs:
                charms = {use.id: (output.script, data) for use, data in event.charms(vout)}
            unspent[f"{tx_id}:{vout}"] = charms
    return unspent


def balances(blocks: Iterable[Block]) -> Counter[tuple[str, str]]:
    """What each script has of each token, by going through all that is unspent."""
    found: Counter[tuple[str, str]] = Counter()
    for charms in unspent_outpoints(blocks).values():
        for app, (script, data) in charms.items():
            if app.startswith("t/") and type(data) is int and 0 <= data < 1 << 64:
                found[app, script] += data
    return found


class Rows:
    """The protocol's rows after some blocks, in memory."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        projector = Projector([protocol.deployed_on("regtest")], lambda _type, _key: None)
        self._rows: dict[str, dict[Any, Any]] = {name: {} for name in projector.row_types}
        for block in blocks:
            projected = projector.project(block)
            assert not projected.anomalies
            for change in projected.changes:
                if change.after is None:
                    del self._rows[change.table][change.key]
                else:
                    self._rows[change.table][change.key] = change.after

    def of(self, table: type[Row]) -> list[dict[str, Any]]:
        """Every row of a table."""
        return list(self._rows[f"charms.{table.__tablename__}"].values())

    def assert_consistent(self, blocks: Sequence[Block]) -> None:
        """What the rows say agrees with each other, and with what is unspent."""
        expected = balances(blocks)
        holdings = {(row["app"], row["script"]): row["amount"] for row in self.of(Balance)}
        keyed = {(app, script_key(script)): amount for (app, script), amount in expected.items()}
        assert holdings == keyed
        live = [row for row in self.of(Charm) if row["state"] == "live"]
        unspent = unspent_outpoints(blocks)
        assert {(row["outpoint"], row["app"]) for row in live} == {
            (outpoint, app) for outpoint, charms in unspent.items() for app in charms
        }
        for token in self.of(Token):
            held = [amount for (app, _), amount in keyed.items() if app == token["app"]]
            assert token["held"] == sum(held)
            assert token["holders"] == len(held)
            assert token["supply"] == token["held"] + token["beamed_out"] + token["unknown"]
            made = token["minted"] + token["beamed_in"]
            assert token["supply"] == made - token["burned"] - token["destroyed"]
            self._assert_transfers(token)
        nfts = {(row["app"], row["origin"]): row for row in self.of(Nft)}
        for charm in live:
            if charm["tag"] != "t":
                nft = nfts[charm["app"], charm["origin"]]
                assert (nft["outpoint"], nft["state"], nft["data"]) == (charm["outpoint"], "live", charm["data"])
        assert sum(nft["state"] == "live" for nft in nfts.values()) == sum(row["tag"] != "t" for row in live)

    def _assert_transfers(self, token: Mapping[str, Any]) -> None:
        sums: Counter[str] = Counter()
        flows: Counter[str] = Counter()
        for row in self.of(Transfer):
            if row["app"] == token["app"]:
                assert row["amount"] > 0
                sums[row["kind"]] += row["amount"]
                if row["from_script"]:
                    flows[row["from_script"]] -= row["amount"]
                if row["to_script"]:
                    flows[row["to_script"]] += row["amount"]
        assert sums["burn"] == token["burned"]
        assert sums["destroy"] == token["destroyed"]
        assert sums["unknown"] == token["unknown"]
        assert sums["beam_out"] == token["beamed_out"]
        assert sums["mint"] <= token["minted"]
        assert sums["beam_in"] <= token["beamed_in"]
        holdings = {row["script"]: row["amount"] for row in self.of(Balance) if row["app"] == token["app"]}
        assert {script: amount for script, amount in flows.items() if amount} == {
            script: amount for script, amount in holdings.items() if amount
        }
