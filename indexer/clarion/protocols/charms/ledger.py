"""What a transaction does to the rows: coins and charms, tokens and balances, NFTs, and who got what from whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent
from clarion.chains.bitcoin.units import Sats, script_key
from clarion.chains.model import JsonValue
from clarion.protocol import EventContext
from clarion.protocols.charms.metadata import read_metadata
from clarion.protocols.charms.moves import Holder, Part, continued, token_moves
from clarion.protocols.charms.tables import App, Balance, Charm, Coin, Nft, Token, TokenAmount, Transfer
from clarion.store.rows import Rows

TOKEN: Final = "t"
NFT: Final = "n"

LIVE: Final = "live"
SPENT: Final = "spent"
BEAMED_OUT: Final = "beamed_out"
DESTROYED: Final = "destroyed"
UNKNOWN: Final = "unknown"
BURNED: Final = "burned"

_MOST_AMOUNT: Final = (1 << 64) - 1


class Ledger:
    """The rows, for one transaction."""

    def __init__(self, at: EventContext, rows: Rows) -> None:
        self._at = at
        self._rows = rows
        self._transfers = 0

    def spend(self, outpoints: Iterable[str]) -> list[Charm]:
        """Mark what these outputs hold as spent. Gives the charms of it that were live."""
        live: list[Charm] = []
        for outpoint in outpoints:
            coin = self._rows.get(Coin, outpoint)
            if coin is None:
                continue
            coin.spent_tx = self._at.tx_text
            for app in coin.apps:
                charm = self._rows.get(Charm, outpoint, app)
                assert charm is not None
                charm.spent_tx = self._at.tx_text
                charm.spent_height = self._at.height
                if charm.state == LIVE:
                    charm.state = SPENT
                    live.append(charm)
                    self._count_live(app, -1)
        return live

    def lose(self, charms: Iterable[Charm], state: str) -> None:
        """What was spent of these (see :meth:`spend`) is ``destroyed``, or it is ``unknown`` what became of it."""
        for charm in charms:
            charm.state = state
            kind = "destroy" if state == DESTROYED else UNKNOWN
            if charm.amount is not None:
                amount = charm.amount
                token = self._token(charm.app)
                if state == DESTROYED:
                    token.destroyed = _plus(token.destroyed, amount)
                    token.supply = _plus(token.supply, -amount)
                else:
                    token.unknown = _plus(token.unknown, amount)
                self._hold(token, holder_of(charm), -amount, -1)
                if amount:
                    self._transfer(charm.app, kind, holder_of(charm), None, amount=amount)
            elif charm.origin is not None:
                self._end_nft(charm, state, kind)

    def name_apps(self, event: SpellEvent) -> None:
        """Note that an accepted spell names these apps."""
        for use in event.apps:
            app = self._rows.get(App, use.id)
            if app is None:
                app = self._rows.insert(
                    App,
                    app=use.id,
                    tag=use.tag,
                    identity=use.identity,
                    vk=use.vk,
                    first_tx=self._at.tx_text,
                    first_height=self._at.height,
                    last_height=self._at.height,
                )
            app.last_height = self._at.height
            app.spells += 1
            if use.wasm_hash is not None:
                app.wasm_hash, app.app_version = use.wasm_hash, use.version

    def make(self, event: SpellEvent) -> list[Charm]:
        """The charms that an accepted spell makes, as new rows."""
        made: list[Charm] = []
        for vout, output in enumerate(event.outputs[: len(event.outs)]):
            charms = event.charms(vout)
            if not charms:
                continue
            outpoint = f"{self._at.tx_text}:{vout}"
            self._rows.insert(Coin, outpoint=outpoint, apps=[use.id for use, _ in charms])
            beamed_to = event.beamed_outs.get(str(vout))
            made += [self._charm(use, data, outpoint, vout, output, beamed_to) for use, data in charms]
        return made

    def _charm(
        self, use: AppUse, data: JsonValue, outpoint: str, vout: int, output: Output, beamed_to: str | None
    ) -> Charm:
        amount = amount_of(use.tag, data)
        if beamed_to is None:
            self._count_live(use.id, 1)
        return self._rows.insert(
            Charm,
            outpoint=outpoint,
            app=use.id,
            tag=use.tag,
            tx_id=self._at.tx_text,
            vout=vout,
            amount=amount,
            data=data if amount is None else None,
            sats=Sats(output.amount),
            script=script_key(output.script),
            address=output.address,
            state=LIVE if beamed_to is None else BEAMED_OUT,
            beamed_to=beamed_to,
            height=self._at.height,
            tx_index=self._at.tx_index,
            time=self._at.time,
        )

    def move_token(self, app: str, spent: Sequence[Charm], made: Sequence[Charm], *, evidence: bool) -> None:
        """What an accepted spell does to a token: what it spends and makes of it.

        ``evidence``: whether the spell shows that the token's contract ran, where it makes more than it spends.
        """
        token = self._token(app)
        before = sum(_amount(charm) for charm in spent)
        after = sum(_amount(charm) for charm in made)
        created = "mint" if evidence else "beam_in"
        if after > before:
            token.supply = _plus(token.supply, after - before)
            if evidence:
                token.minted = _plus(token.minted, after - before)
            else:
                token.beamed_in = _plus(token.beamed_in, after - before)
        else:
            token.supply = _plus(token.supply, after - before)
            token.burned = _plus(token.burned, before - after)
        more: dict[Holder, tuple[int, int]] = {}
        for sign, charms in ((-1, spent), (1, made)):
            for charm in charms:
                if charm.state == BEAMED_OUT:
                    token.beamed_out = _plus(token.beamed_out, _amount(charm))
                    continue
                amount, outputs = more.get(holder_of(charm), (0, 0))
                more[holder_of(charm)] = (amount + sign * _amount(charm), outputs + sign)
        for holder, (amount, outputs) in more.items():
            self._hold(token, holder, amount, outputs)
        for move in token_moves(
            [Part(holder_of(charm), _amount(charm)) for charm in spent],
            [Part(None if charm.state == BEAMED_OUT else holder_of(charm), _amount(charm)) for charm in made],
        ):
            kind = "beam_out" if move.beamed else "transfer"
            if not move.beamed and move.sender is None:
                kind = created
            elif not move.beamed and move.recipient is None:
                kind = "burn"
            self._transfer(app, kind, move.sender, move.recipient, amount=move.amount)

    def move_nfts(self, app: str, spent: Sequence[Charm], made: Sequence[Charm]) -> None:
        """What an accepted spell does to the charms of an app that is no token."""
        for step in continued([(charm.data, charm) for charm in spent], [(charm.data, charm) for charm in made]):
            if step.made is None:
                assert step.spent is not None
                self._end_nft(step.spent, BURNED, "burn")
                continue
            charm = step.made
            recipient = None if charm.state == BEAMED_OUT else holder_of(charm)
            if step.spent is None:
                charm.origin = charm.outpoint
                self._begin_nft(charm)
                kind = "mint" if recipient else "beam_out"
                self._transfer(app, kind, None, recipient, origin=charm.origin)
                continue
            charm.origin = step.spent.origin
            self._continue_nft(charm)
            sender = holder_of(step.spent)
            if recipient != sender:
                kind = "transfer" if recipient else "beam_out"
                self._transfer(app, kind, sender, recipient, origin=charm.origin)

    def describe_token(self, reference: Charm) -> None:
        """Take over what an NFT says of the token with its identity and key, where it says something."""
        metadata = read_metadata(reference.data)
        if metadata is None:
            return
        token = self._token(reference.app.replace(NFT, TOKEN, 1))
        token.name, token.ticker, token.decimals = metadata.name, metadata.ticker, metadata.decimals
        token.description, token.url = metadata.description, metadata.url
        token.image, token.image_hash = metadata.image, metadata.image_hash
        token.reference = reference.outpoint

    def _begin_nft(self, charm: Charm) -> None:
        self._rows.insert(
            Nft,
            app=charm.app,
            origin=charm.outpoint,
            tag=charm.tag,
            outpoint=charm.outpoint,
            script=charm.script,
            address=charm.address,
            data=charm.data,
            state=charm.state,
            first_height=self._at.height,
            last_height=self._at.height,
        )

    def _continue_nft(self, charm: Charm) -> None:
        nft = self._nft(charm)
        nft.outpoint, nft.script, nft.address = charm.outpoint, charm.script, charm.address
        nft.data, nft.state = charm.data, charm.state
        nft.moves += 1
        nft.last_height = self._at.height

    def _end_nft(self, charm: Charm, state: str, kind: str) -> None:
        nft = self._nft(charm)
        nft.state = state
        nft.last_height = self._at.height
        self._transfer(charm.app, kind, holder_of(charm), None, origin=charm.origin)

    def _nft(self, charm: Charm) -> Nft:
        nft = self._rows.get(Nft, charm.app, charm.origin)
        assert nft is not None
        return nft

    def _token(self, app: str) -> Token:
        token = self._rows.get(Token, app)
        if token is None:
            _, identity, vk = app.rsplit("/", 2)
            token = self._rows.insert(Token, app=app, identity=identity, vk=vk)
        return token

    def _hold(self, token: Token, holder: Holder, amount: int, outputs: int) -> None:
        """Change what a holder has, and in how many outputs."""
        token.held = _plus(token.held, amount)
        token.outputs += outputs
        balance = self._rows.get(Balance, token.app, holder.script)
        if balance is None:
            token.holders += 1
            balance = self._rows.insert(
                Balance,
                app=token.app,
                script=holder.script,
                address=holder.address,
                amount=TokenAmount(0),
                outputs=0,
                since_height=self._at.height,
            )
        balance.amount = _plus(balance.amount, amount)
        balance.outputs += outputs
        if not balance.outputs:
            token.holders -= 1
            self._rows.delete(Balance, token.app, holder.script)

    def _count_live(self, app: str, more: int) -> None:
        row = self._rows.get(App, app)
        assert row is not None
        row.live_charms += more

    def _transfer(
        self,
        app: str,
        kind: str,
        sender: Holder | None,
        recipient: Holder | None,
        *,
        amount: int | None = None,
        origin: str | None = None,
    ) -> None:
        columns: dict[str, Any] = {}
        if sender is not None:
            columns |= {"from_script": sender.script, "from_address": sender.address}
        if recipient is not None:
            columns |= {"to_script": recipient.script, "to_address": recipient.address}
        self._rows.insert(
            Transfer,
            tx_id=self._at.tx_text,
            number=self._transfers,
            app=app,
            tag=app.partition("/")[0] or "/",
            kind=kind,
            amount=None if amount is None else TokenAmount(amount),
            origin=origin,
            height=self._at.height,
            tx_index=self._at.tx_index,
            time=self._at.time,
            **columns,
        )
        self._transfers += 1


def amount_of(tag: str, data: JsonValue) -> TokenAmount | None:
    """How much of a token a charm is; None for what is no token, and for data that is no amount."""
    if tag == TOKEN and type(data) is int and 0 <= data <= _MOST_AMOUNT:
        return TokenAmount(data)
    return None


def holder_of(charm: Charm) -> Holder:
    """Who holds a charm."""
    return Holder(charm.script, charm.address)


def _amount(charm: Charm) -> int:
    assert charm.amount is not None
    return charm.amount


def _plus(amount: TokenAmount, more: int) -> TokenAmount:
    return TokenAmount(amount + more)
