"""What there is of every Charms app on Bitcoin: tables that spells, and spends without one, become.

Outpoints are ``txid:vout`` and transactions plain hex. An app is ``tag/identity/vk``. Amounts of tokens are in their
smallest unit, of which a token with ``decimals`` has 10^decimals. A holder is the script of an output: as ``0x`` hex,
one of more than 256 bytes as its hash after ``sha256:``; ``address`` is what the network calls it, where it has a name.

All that there is of a token is in one of three places: ``supply = held + beamed_out + unknown``, where ``held`` is the
sum of its balances.
"""

from __future__ import annotations

from typing import Any, Final, NewType

from sqlalchemy import BigInteger, Boolean, Index, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from clarion.chains.bitcoin.units import Sats
from clarion.store.rows import UINT128, Row

SCHEMA: Final = "charms"

TokenAmount = NewType("TokenAmount", int)
"""An amount of a token in its smallest unit."""

_args: Final = {"schema": SCHEMA}


class Spell(Row, table=True):
    """A transaction with a spell, of whatever status."""

    __tablename__ = "spell"
    __table_args__ = (Index("spell_by_place", "height", "tx_index"), Index("spell_by_status", "status"), _args)
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    tx_index: int = Field(sa_type=BigInteger, description="Place of the transaction in the block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")
    status: str = Field(
        sa_type=Text,
        description="verified: its proof holds; mock: taken without a proof (development only); invalid: a step of the "
        "verification failed; unsupported: of a version that this release cannot verify",
    )
    failed_step: str | None = Field(
        default=None, sa_type=Text, description="What failed or is unsupported; null for an accepted spell"
    )
    version: int | None = Field(
        default=None, sa_type=BigInteger, description="Version of the protocol; null: nothing of it could be read"
    )
    location: str = Field(sa_type=Text, description="op_return (an output) or witness (of the last input)")
    mock: bool = Field(sa_type=Boolean, description="Whether it says that its proof means nothing")
    apps: Any = Field(
        sa_type=JSONB,
        description="Its table of apps, in order: app, public_input and, of a versioned app, wasm_hash and version",
    )
    refs: Any = Field(default=None, sa_type=JSONB, nullable=True, description="Outpoints it refers to; null: none said")
    scrolls: Any = Field(sa_type=JSONB, description="Places of the outputs that the Scrolls canister controls")
    charms_in: int = Field(default=0, sa_type=BigInteger, description="Live charms that it spends")
    charms_out: int = Field(default=0, sa_type=BigInteger, description="Charms that it makes")


class App(Row, table=True):
    """An app that an accepted spell named."""

    __tablename__ = "app"
    __table_args__ = (Index("app_by_vk", "vk"), Index("app_by_identity", "identity"), _args)
    app: str = Field(primary_key=True, sa_type=Text, description="`tag/identity/vk`")
    tag: str = Field(sa_type=Text, description="t: token; n: NFT; s: scroll; others are legal")
    identity: str = Field(sa_type=Text, description="What tells it from others of the same contract, 64 hex digits")
    vk: str = Field(sa_type=Text, description="Verification key, which stands for the contract, 64 hex digits")
    wasm_hash: str | None = Field(
        default=None, sa_type=Text, description="Of a versioned app: hash of its program as last named, 64 hex digits"
    )
    app_version: int | None = Field(
        default=None, sa_type=BigInteger, description="Of a versioned app: version of its program as last named"
    )
    first_tx: str = Field(sa_type=Text, description="Transaction that named it first")
    first_height: int = Field(sa_type=BigInteger, description="Bitcoin block of that")
    last_height: int = Field(sa_type=BigInteger, description="Last Bitcoin block with a spell that names it")
    spells: int = Field(default=0, sa_type=BigInteger, description="Accepted spells that name it")
    live_charms: int = Field(default=0, sa_type=BigInteger, description="Outputs that hold charms of it")


class Token(Row, table=True):
    """A fungible token: an app with the tag t, what there is of it, and what its reference NFT says of it.

    The reference NFT (CHIP-420) is the app with the same identity and key and the tag n. What it does not say, or says
    in another form, is null.
    """

    __tablename__ = "token"
    __table_args__ = (Index("token_by_ticker", "ticker"), _args)
    app: str = Field(primary_key=True, sa_type=Text, description="`t/identity/vk`")
    identity: str = Field(sa_type=Text, description="What tells it from others of the same contract, 64 hex digits")
    vk: str = Field(sa_type=Text, description="Verification key, which stands for the contract, 64 hex digits")
    name: str | None = Field(default=None, sa_type=Text, description="What it is called")
    ticker: str | None = Field(default=None, sa_type=Text, description="Short name")
    decimals: int | None = Field(default=None, sa_type=BigInteger, description="One is 10^decimals smallest units")
    description: str | None = Field(default=None, sa_type=Text, description="What it says that it is")
    url: str | None = Field(default=None, sa_type=Text, description="Where there is more about it")
    image: str | None = Field(default=None, sa_type=Text, description="Picture: an address or data")
    image_hash: str | None = Field(default=None, sa_type=Text, description="Hash of the picture")
    reference: str | None = Field(default=None, sa_type=Text, description="Outpoint the reference NFT was last seen on")
    minted: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="What spells made, with their contract's evidence"
    )
    beamed_in: TokenAmount = Field(
        default=TokenAmount(0),
        sa_type=UINT128,
        description="What spells made without evidence that the contract ran: beamed from another chain, most likely",
    )
    burned: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="What spells left out")
    destroyed: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="What was spent without an accepted spell"
    )
    supply: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="minted + beamedIn - burned - destroyed"
    )
    held: TokenAmount = Field(default=TokenAmount(0), sa_type=UINT128, description="Sum of the balances")
    beamed_out: TokenAmount = Field(
        default=TokenAmount(0), sa_type=UINT128, description="What was beamed to another chain; part of the supply"
    )
    unknown: TokenAmount = Field(
        default=TokenAmount(0),
        sa_type=UINT128,
        description="What was spent by spells of versions that this release cannot verify; part of the supply",
    )
    holders: int = Field(default=0, sa_type=BigInteger, description="Scripts that hold some of it")
    outputs: int = Field(default=0, sa_type=BigInteger, description="Outputs that hold some of it")


class Balance(Row, table=True):
    """What a script holds of a token. One that holds nothing has no row."""

    __tablename__ = "balance"
    __table_args__ = (
        Index("balance_by_script", "script"),
        Index("balance_by_address", "address"),
        Index("balance_by_amount", "app", "amount"),
        _args,
    )
    app: str = Field(primary_key=True, sa_type=Text, description="Token")
    script: str = Field(primary_key=True, sa_type=Text, description="Script that holds it")
    address: str | None = Field(default=None, sa_type=Text, description="Its address, where it has one")
    amount: TokenAmount = Field(sa_type=UINT128, description="How much it holds")
    outputs: int = Field(sa_type=BigInteger, description="In how many outputs")
    since_height: int = Field(sa_type=BigInteger, description="Bitcoin block since which it holds some")


class Charm(Row, table=True):
    """A charm: what an output holds, or held, of one app."""

    __tablename__ = "charm"
    __table_args__ = (
        Index("charm_by_app", "app", "state", "height"),
        Index("charm_by_script", "script"),
        Index("charm_by_address", "address"),
        Index("charm_by_tx", "tx_id"),
        Index("charm_by_spender", "spent_tx"),
        Index("charm_by_origin", "app", "origin"),
        _args,
    )
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Output, `txid:vout`")
    app: str = Field(primary_key=True, sa_type=Text, description="App")
    tag: str = Field(sa_type=Text, description="The app's tag")
    tx_id: str = Field(sa_type=Text, description="Transaction that made it")
    vout: int = Field(sa_type=BigInteger, description="Place of the output in that")
    amount: TokenAmount | None = Field(
        default=None, sa_type=UINT128, description="Of a token; null where the charm is no amount"
    )
    data: Any = Field(default=None, sa_type=JSONB, nullable=True, description="Charm data; null for an amount")
    origin: str | None = Field(
        default=None,
        sa_type=Text,
        description="Of what is no token: the output on which it first was, which names it through its life",
    )
    sats: Sats = Field(sa_type=UINT128, description="Satoshis in the output")
    script: str = Field(sa_type=Text, description="Script of the output")
    address: str | None = Field(default=None, sa_type=Text, description="Its address, where it has one")
    state: str = Field(
        sa_type=Text,
        description="live; spent: by an accepted spell; beamed_out: to another chain; destroyed: spent without an "
        "accepted spell; unknown: spent by a spell of a version that this release cannot verify",
    )
    beamed_to: str | None = Field(
        default=None, sa_type=Text, description="Hash of the place it was beamed to, 64 hex digits"
    )
    height: int = Field(sa_type=BigInteger, description="Bitcoin block that made it")
    tx_index: int = Field(sa_type=BigInteger, description="Place of the transaction in that block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of that block")
    spent_tx: str | None = Field(default=None, sa_type=Text, description="Transaction that spent the output")
    spent_height: int | None = Field(default=None, sa_type=BigInteger, description="Bitcoin block of that")


class Coin(Row, table=True):
    """An output with charms, spent or not: which charms it holds."""

    __tablename__ = "coin"
    __table_args__ = _args
    outpoint: str = Field(primary_key=True, sa_type=Text, description="Output, `txid:vout`")
    apps: Any = Field(sa_type=JSONB, description="The apps whose charms it holds, in the order of the spell's table")
    spent_tx: str | None = Field(default=None, sa_type=Text, description="Transaction that spent it")


class Nft(Row, table=True):
    """A charm that is no token, followed through its life: an NFT, or an app's state.

    A spell may have several charms of an app. Which of those it makes continues which of those it spends is not said:
    charms with the same data are taken to be the same, the others in the order of inputs and outputs.
    """

    __tablename__ = "nft"
    __table_args__ = (
        Index("nft_by_script", "script"),
        Index("nft_by_address", "address"),
        Index("nft_by_place", "outpoint"),
        _args,
    )
    app: str = Field(primary_key=True, sa_type=Text, description="App")
    origin: str = Field(primary_key=True, sa_type=Text, description="Output on which it first was; names it")
    tag: str = Field(sa_type=Text, description="The app's tag")
    outpoint: str = Field(sa_type=Text, description="Output it is on, or was on last")
    script: str = Field(sa_type=Text, description="Script of that output")
    address: str | None = Field(default=None, sa_type=Text, description="Its address, where it has one")
    data: Any = Field(default=None, sa_type=JSONB, nullable=True, description="Charm data as it is, or was last")
    state: str = Field(
        sa_type=Text, description="live, burned (left out by a spell), beamed_out, destroyed or unknown: see charms"
    )
    moves: int = Field(default=0, sa_type=BigInteger, description="Spells that continued it")
    first_height: int = Field(sa_type=BigInteger, description="Bitcoin block it first was in")
    last_height: int = Field(sa_type=BigInteger, description="Bitcoin block of the last that happened to it")


class Transfer(Row, table=True):
    """Who got what from whom. What comes back to the script it came from is no transfer.

    A transaction says what was spent and what was made, not who gave to whom: of a token, what each script has less is
    set against what each script has more, in the order of inputs and outputs.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        Index("transfer_by_app", "app", "height"),
        Index("transfer_by_sender", "from_script", "height"),
        Index("transfer_by_recipient", "to_script", "height"),
        Index("transfer_by_from_address", "from_address", "height"),
        Index("transfer_by_to_address", "to_address", "height"),
        Index("transfer_by_place", "height", "tx_index", "number"),
        _args,
    )
    tx_id: str = Field(primary_key=True, sa_type=Text, description="Transaction")
    number: int = Field(primary_key=True, sa_type=BigInteger, description="Counts from 0 within the transaction")
    app: str = Field(sa_type=Text, description="App")
    tag: str = Field(sa_type=Text, description="The app's tag")
    kind: str = Field(
        sa_type=Text,
        description="transfer; mint: made by a spell, with evidence that the contract ran; beam_in: made without such; "
        "burn: left out by a spell; beam_out: to another chain; destroy: spent without an accepted spell; unknown: "
        "spent by a spell of a version that this release cannot verify",
    )
    from_script: str | None = Field(default=None, sa_type=Text, description="Script that had it; null: nobody had it")
    from_address: str | None = Field(default=None, sa_type=Text, description="Its address, where it has one")
    to_script: str | None = Field(default=None, sa_type=Text, description="Script that has it; null: nobody has it")
    to_address: str | None = Field(default=None, sa_type=Text, description="Its address, where it has one")
    amount: TokenAmount | None = Field(default=None, sa_type=UINT128, description="Of a token")
    origin: str | None = Field(default=None, sa_type=Text, description="Of what is no token: names it, see nfts")
    height: int = Field(sa_type=BigInteger, description="Bitcoin block")
    tx_index: int = Field(sa_type=BigInteger, description="Place of the transaction in the block")
    time: int = Field(sa_type=BigInteger, description="Unix seconds of the block")
