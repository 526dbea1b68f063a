"""Which coins pay for a spell, what it then pays, and how that is raised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, SpellOutput
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit, is_unspendable
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion_keeper.charms.answer import PROOF_BYTES, ChangeError, CharmsFee, Proven
from clarion_keeper.charms.psbt import PsbtError, psbt_of, write_psbt
from clarion_keeper.charms.replace import FeeCapError, NewProofNeededError, raised_fee
from clarion_keeper.charms.sizes import FeeRate, UnknownScriptError, fee_for, signed_size
from clarion_keeper.charms.wallet import PROVER_MARGIN, NotEnoughCoinsError, funded, others, signed

ALICE, BOB = key("alice"), key("bob")
TOKEN = App("t", b"\x01" * 32, b"\x02" * 32)
SCRIPTS = (ALICE.taproot_script, ALICE.segwit_script)
CHANGE = ALICE.taproot_script
FEE = CharmsFee(script=BOB.segwit_script, most=Sats(2_500))

scripts = st.sampled_from(SCRIPTS)
rates = st.integers(100, 200_000).map(FeeRate)


def coin(amount: int, script: bytes = CHANGE) -> Coin:
    return Coin(Sats(amount), script, 1, coinbase=False)


def outpoint(number: int) -> OutPoint:
    return OutPoint(number.to_bytes(32, "big"), number % 3)


def coins_of(amounts: Sequence[tuple[int, bytes]]) -> dict[OutPoint, Coin]:
    return {outpoint(number): coin(amount, script) for number, (amount, script) in enumerate(amounts, 100)}


@st.composite
def drafts(draw: st.DrawFn) -> SpellDraft:
    inputs = [
        SpellInput(outpoint(number), coin(draw(st.integers(330, 50_000)), draw(scripts)), {TOKEN: 5})
        for number in range(draw(st.integers(1, 3)))
    ]
    outputs = [
        SpellOutput(draw(scripts), {TOKEN: draw(st.integers(1, 9))}, Sats(draw(st.integers(330, 50_000))))
        for _ in range(draw(st.integers(1, 3)))
    ]
    return SpellDraft(inputs, outputs)


purses = st.lists(st.tuples(st.integers(300, 3_000_000), scripts), max_size=8).map(coins_of)


def proven(draft: SpellDraft, charged: int = 0, proof: bytes = bytes(PROOF_BYTES)) -> Proven:
    paid = Output(Sats(charged), FEE.script) if charged else None
    return Proven(draft=draft, change=CHANGE, proof=proof, charged=paid, mock=False)


def fee_of(transaction: BitcoinTransaction, draft: SpellDraft) -> int:
    spent = sum(one.coin.amount for one in draft.inputs)
    return spent - sum(output.amount for output in transaction.outputs)


@settings(max_examples=60)
@given(drafts(), purses, rates, rates, st.booleans(), st.sets(st.integers(100, 107)), st.binary(min_size=1))
def test_coins_pay_for_a_spell_and_nothing_is_lost(
    draft: SpellDraft,
    coins: Mapping[OutPoint, Coin],
    rate: FeeRate,
    higher: FeeRate,
    charged: bool,
    held: set[int],
    seed: bytes,
) -> None:
    most_rate = max(rate, higher)
    fee = FEE if charged else None
    reserved = {outpoint(number) for number in held}
    try:
        paid = funded(draft, coins, change=CHANGE, rate=rate, most_rate=most_rate, fee=fee, reserved=reserved)
    except NotEnoughCoinsError:
        free = [SpellInput(one, holds) for one, holds in coins.items() if one not in reserved]
        for count in range(len(free) + 1):
            for some in combinations(free, count):
                rich = proven(
                    replace(draft, inputs=[*draft.inputs, *some]), FEE.most if charged else 0, b"\xff" * PROOF_BYTES
                )
                size = rich.size(change=True) + PROVER_MARGIN
                assert rich.spare < fee_for(size, rate) + dust_limit(CHANGE)
        return
    assert list(paid.inputs[: len(draft.inputs)]) == list(draft.inputs)
    assert paid.outputs == draft.outputs
    added = paid.inputs[len(draft.inputs) :]
    assert len({one.outpoint for one in paid.inputs}) == len(paid.inputs)
    for one in added:
        assert one.outpoint not in reserved
        assert not one.charms
        assert one.coin == coins[one.outpoint]
    proof = (seed * PROOF_BYTES)[:PROOF_BYTES]
    for spell in (proven(paid, FEE.most if charged else 0, proof), proven(paid, 0, proof)):
        fee_paid = spell.fee_at(rate)
        transaction = spell.transaction(fee_paid)
        # no satoshi comes or goes but as the fee, and no output is too small to be relayed
        assert fee_of(transaction, paid) == fee_paid
        scripts_spent = [holds.script for holds in paid.coins]
        assert fee_paid >= fee_for(signed_size(transaction, scripts_spent), rate)
        for output in transaction.outputs:
            assert is_unspendable(output.script) or output.amount >= dust_limit(output.script)


def test_the_smallest_coin_that_suffices_pays_alone() -> None:
    draft = SpellDraft([SpellInput(outpoint(1), coin(1_000))], [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))])
    coins = coins_of([(900_000, CHANGE), (40_000, CHANGE), (70_000, CHANGE), (400, CHANGE)])
    rate = FeeRate(1_000)
    paid = funded(draft, coins, change=CHANGE, rate=rate, most_rate=rate)
    assert [one.coin.amount for one in paid.inputs] == [1_000, 40_000]
    # so that the fee can be raised later
    paid = funded(draft, coins, change=CHANGE, rate=rate, most_rate=FeeRate(40_000))
    assert [one.coin.amount for one in paid.inputs] == [1_000, 70_000]
    # where no coin is enough the largest go first
    paid = funded(draft, coins, change=CHANGE, rate=rate, most_rate=FeeRate(600_000))
    assert [one.coin.amount for one in paid.inputs] == [1_000, 900_000, 70_000, 40_000]
    # what cannot be raised so far is paid for now at least
    del coins[outpoint(100)]
    paid = funded(draft, coins, change=CHANGE, rate=rate, most_rate=FeeRate(600_000))
    assert [one.coin.amount for one in paid.inputs] == [1_000, 40_000]


def test_a_spell_that_pays_for_itself_takes_no_coin() -> None:
    draft = SpellDraft([SpellInput(outpoint(1), coin(500_000))], [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))])
    assert (
        funded(draft, coins_of([(90_000, CHANGE)]), change=CHANGE, rate=FeeRate(1_000), most_rate=FeeRate(9_000))
        is draft
    )


def test_too_few_coins_are_refused_with_what_is_missing() -> None:
    draft = SpellDraft([SpellInput(outpoint(1), coin(1_000))], [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))])
    with pytest.raises(NotEnoughCoinsError, match="satoshis are missing for the spell at 5000 satoshis") as poor:
        funded(draft, {}, change=CHANGE, rate=FeeRate(5_000), most_rate=FeeRate(5_000))
    enough = coins_of([(poor.value.missing + fee_for(58, FeeRate(5_000)), CHANGE)])
    funded(draft, enough, change=CHANGE, rate=FeeRate(5_000), most_rate=FeeRate(5_000))


def test_nobody_guesses_the_size_of_an_unknown_witness() -> None:
    draft = SpellDraft([SpellInput(outpoint(1), coin(9_000, b"\x00\x20" + bytes(32)))], [SpellOutput(CHANGE)])
    with pytest.raises(UnknownScriptError, match="witness_v0_scripthash"):
        proven(draft).size(change=True)


@settings(max_examples=60)
@given(drafts(), st.integers(1_000, 3_000_000), rates, rates, st.integers(100, 5_000), st.integers(0, 20_000))
def test_a_replacement_pays_more_by_the_rules_or_says_why_not(
    draft: SpellDraft, more: int, rate: FeeRate, wanted: FeeRate, incremental: int, on_top: int
) -> None:
    paid = replace(draft, inputs=[*draft.inputs, SpellInput(outpoint(99), coin(more))])
    spell = proven(paid)
    try:
        before = spell.fee_at(rate)
    except ChangeError:
        assume(False)
    replaced = Sats(before + on_top)
    most = FeeRate(150_000)
    first = spell.transaction(before)
    scripts_spent = [holds.script for holds in paid.coins]
    try:
        fee = raised_fee(
            spell, paid=before, rate=wanted, most_rate=most, incremental=FeeRate(incremental), replaced=replaced
        )
    except NewProofNeededError:
        least = replaced + fee_for(spell.size(change=False), FeeRate(incremental))
        assert spell.spare < least
        return
    except FeeCapError:
        assert max(wanted, replaced * 1_000 // spell.size(change=True) + incremental) * 2 > most
        return
    second = spell.transaction(fee)
    size_before, size = signed_size(first, scripts_spent), signed_size(second, scripts_spent)
    assert fee * size_before > before * size  # more for each byte
    assert fee >= replaced + fee_for(size, FeeRate(incremental))  # and in all, with what relaying costs
    assert fee <= fee_for(size, most)
    assert second.inputs == first.inputs
    assert second.outputs[: len(draft.outputs) + 1] == first.outputs[: len(draft.outputs) + 1]
    for output in second.outputs:
        assert is_unspendable(output.script) or output.amount >= dust_limit(output.script)


def test_the_change_is_used_up_to_the_last() -> None:
    draft = SpellDraft([SpellInput(outpoint(1), coin(10_000))], [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))])
    spell = proven(draft)

    def raised(paid: Sats, rate: int) -> Sats:
        return raised_fee(spell, paid=paid, rate=FeeRate(rate), most_rate=FeeRate(100_000), incremental=FeeRate(1_000))

    fees = [spell.fee_at(FeeRate(1_000))]
    for rate in (2_000, 5_000, 9_000, 14_000):
        fees.append(raised(fees[-1], rate))
    with pytest.raises(NewProofNeededError, match="which has to be proven anew"):
        raised(fees[-1], 20_000)
    assert fees == sorted(set(fees))
    assert fees[-1] == spell.spare == 9_000
    assert len(spell.transaction(fees[-1]).outputs) == 2


def test_change_that_would_be_dust_is_not_made() -> None:
    spell = proven(SpellDraft([SpellInput(outpoint(1), coin(10_000))], [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))]))
    with pytest.raises(ChangeError, match="329 satoshis of change are too few"):
        spell.transaction(Sats(9_000 - 329))
    assert spell.transaction(Sats(9_000 - 330)).outputs[-1] == Output(Sats(330), CHANGE)
    assert len(spell.transaction(Sats(9_000)).outputs) == 2
    with pytest.raises(ChangeError, match="the inputs leave 9000"):
        spell.transaction(Sats(9_001))


def test_what_a_signer_gives_back_is_what_it_was_given() -> None:
    draft = SpellDraft(
        [SpellInput(outpoint(1), coin(10_000)), SpellInput(outpoint(2), coin(900, BOB.segwit_script))],
        [SpellOutput(CHANGE, {TOKEN: 1}, Sats(1_000))],
    )
    spell = proven(draft)
    asked = psbt_of(spell.transaction(Sats(5_000)), draft.coins, {})
    assert signed(asked, write_psbt(asked)) == asked
    assert others(asked, SCRIPTS) == {f"{bytes(31).hex()}02:2": BOB.segwit_script}
    with pytest.raises(PsbtError, match="another transaction"):
        signed(asked, write_psbt(psbt_of(spell.transaction(Sats(5_001)), draft.coins, {})))
    lied = [draft.coins[0], coin(901, BOB.segwit_script)]
    with pytest.raises(PsbtError, match="another transaction"):
        signed(asked, write_psbt(psbt_of(spell.transaction(Sats(5_000)), lied, {})))
