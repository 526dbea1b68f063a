"""zkUSD tokens: coins, balances, and who gave whom how much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from clarion.protocols.zkusd.events import (
    CharmBurned,
    SupplyMismatch,
    TokenBurn,
    TokenMint,
    TokensBeamed,
    TokenTransfer,
)
from clarion.protocols.zkusd.projections.reading import Made, View
from clarion.protocols.zkusd.shapes import TokenState
from clarion.protocols.zkusd.tables import TokenBalance, TokenUtxo
from clarion.protocols.zkusd.units import Base, Sats


def read_flow(view: View) -> None:
    """Note in ``view.flow`` what tokens the transaction spends and makes."""
    flow = view.flow
    for spent in view.of_kind("token"):
        script = spent.coin.script
        flow.spent[script] = Base(flow.spent.get(script, 0) + spent.holding.amount)
    for made in view.tokens:
        amount, script = _amount(made), made.output.script
        if made.beamed_to is None:
            flow.made[script] = Base(flow.made.get(script, 0) + amount)
        else:
            flow.beamed = Base(flow.beamed + amount)


def follow_tokens(view: View) -> None:
    """Move the tokens from coin to coin, and make events of it."""
    _move(view)
    _tell(view)
    _judge(view)


def _amount(made: Made) -> Base:
    assert isinstance(made.charm, int)
    return made.charm


def _move(view: View) -> None:
    at, protocol = view.at, view.protocol
    for spent in view.of_kind("token"):
        coin = view.rows.get(TokenUtxo, view.app_set.name, spent.coin.outpoint)
        if coin is not None:  # else it is about to be loaded, and all this done again
            coin.live = False
            coin.spent_by, coin.spent_height = at.tx_text, at.height
        _add(view, spent.coin.script, spent.coin.address, Base(-spent.holding.amount), -1)
    for made in view.tokens:
        amount, output = _amount(made), made.output
        beamed = made.beamed_to is not None
        view.rows.insert(
            TokenUtxo,
            app_set=view.app_set.name,
            outpoint=made.outpoint,
            amount=amount,
            script=output.script,
            address=output.address,
            sats=Sats(output.amount),
            live=not beamed,
            beamed=beamed,
            height=at.height,
            tx_id=at.tx_text,
        )
        view.hold(made, "token", amount=amount)
        if beamed:
            protocol.beamed_out = Base(protocol.beamed_out + amount)
        else:
            _add(view, output.script, output.address, amount, 1)


def _add(view: View, script: str, address: str | None, amount: Base, coins: int) -> None:
    at, protocol = view.at, view.protocol
    balance = view.rows.get(TokenBalance, view.app_set.name, script)
    if balance is None:
        balance = view.rows.insert(
            TokenBalance,
            app_set=view.app_set.name,
            script=script,
            address=address,
            first_height=at.height,
            last_height=at.height,
        )
    held = balance.amount > 0
    balance.amount = Base(balance.amount + amount)
    balance.utxos += coins
    balance.last_height = at.height
    protocol.holders += (balance.amount > 0) - held
    protocol.token_supply = Base(protocol.token_supply + amount)


def _tell(view: View) -> None:
    flow = view.flow
    if view.lost == "unreadable":
        return
    if view.lost or (flow.spent and "token" not in view.listed):
        for script, amount in sorted(flow.spent.items()):
            view.emit(CharmBurned(amount=amount), account=script)
        view.protocol.burned_without_spell = Base(view.protocol.burned_without_spell + flow.before)
        return
    supply = view.steps["token"].after
    new_total = supply.total_supply if isinstance(supply, TokenState) else view.protocol.reported_supply
    for sender, recipient, moved in _movements(view):
        if recipient is None:
            assert sender is not None
            view.emit(TokenBurn(amount=moved, new_total_supply=new_total), account=sender)
        elif sender is None:
            view.emit(TokenMint(amount=moved, new_total_supply=new_total), account=recipient)
        else:
            view.emit(TokenTransfer(amount=moved), account=sender, counterparty=recipient)
    for made in view.tokens:
        if made.beamed_to is not None:
            event = TokensBeamed(amount=_amount(made), destination=made.beamed_to)
            view.emit(event, account=made.output.script)


def _movements(view: View) -> Iterator[tuple[str | None, str | None, Base]]:
    """From whom to whom how much, None being nobody: what scripts have less goes to those that have more, in order."""
    flow = view.flow
    change: dict[str, int] = defaultdict(int)
    for script, amount in flow.spent.items():
        change[script] -= amount
    for script, amount in flow.made.items():
        change[script] += amount
    takers = [(script, amount) for script, amount in change.items() if amount > 0]
    beamed: int = flow.beamed
    for giver, owed in change.items():
        # what is beamed has an event of its own
        left = max(-owed, 0)
        part = min(beamed, left)
        beamed, left = beamed - part, left - part
        while left and takers:
            taker, wanted = takers.pop(0)
            moved = min(left, wanted)
            yield giver, taker, Base(moved)
            left -= moved
            if wanted > moved:
                takers.insert(0, (taker, wanted - moved))
        if left:
            yield giver, None, Base(left)
    for taker, wanted in takers:
        yield None, taker, Base(wanted)


def _judge(view: View) -> None:
    """Compare what the tokens of a spell come to with what the token's state reports."""
    if view.lost or (view.flow.spent and "token" not in view.listed):
        return
    step = view.steps["token"]
    old = step.before.total_supply if isinstance(step.before, TokenState) else 0
    reported = step.after.total_supply - old if isinstance(step.after, TokenState) else 0
    if view.flow.after - view.flow.before != reported:
        view.emit(
            SupplyMismatch(tokens_before=view.flow.before, tokens_after=view.flow.after, reported_change=Base(reported))
        )
