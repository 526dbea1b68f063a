"""The text that is signed, and the tokens that come of it: neither can be made or changed by others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion_graphql.accounts.caller import CallerKind
from clarion_graphql.accounts.message import VALID_FOR, SignInMessage, new_message, read_message
from clarion_graphql.accounts.tokens import Token, new_token, parse_token

SECRET = bytes(32)
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
ADDRESS = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"


def test_what_the_wallet_shows() -> None:
    message = SignInMessage("app.example.com", ADDRESS, 2147483648, bytes(16), NOW, NOW + VALID_FOR)
    lines = message.text(SECRET).splitlines()
    assert lines[:6] == [
        "app.example.com wants you to sign in with your Stacks account:",
        ADDRESS,
        "",
        "Sign in to Clarion. This sends no transaction and costs nothing.",
        "",
        "Version: 1",
    ]
    assert lines[6] == "Chain ID: 2147483648"
    assert lines[7].startswith(f"Nonce: {bytes(16).hex()}")
    assert lines[8:] == ["Issued At: 2026-01-02T03:04:05Z", "Expiration Time: 2026-01-02T03:14:05Z"]


@given(
    st.from_regex(r"[a-z0-9.-]{1,60}(:[0-9]{1,5})?", fullmatch=True),
    st.integers(0, 2**32 - 1),
    st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    st.binary(min_size=1, max_size=64),
)
def test_what_was_written_is_read(host: str, chain_id: int, now: datetime, secret: bytes) -> None:
    message = new_message(host, ADDRESS, chain_id, now)
    assert read_message(message.text(secret), secret) == message
    assert read_message(message.text(secret), secret + b"\x00x") is None


@given(st.data())
def test_no_change_of_a_single_character_goes_unnoticed(data: st.DataObject) -> None:
    text = new_message("app.example.com", ADDRESS, 1, NOW).text(SECRET)
    place = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters().filter(lambda other: other != text[place]))
    assert read_message(text[:place] + character + text[place + 1 :], SECRET) is None


@pytest.mark.parametrize("changed", ["", "text", "\n", " {}", "{}\n", "{}{}"])
def test_other_texts_are_not_read(changed: str) -> None:
    text = new_message("app.example.com", ADDRESS, 1, NOW).text(SECRET)
    assert read_message(changed.format(text, text), SECRET) is None


def test_a_time_that_no_clock_shows_is_no_message() -> None:
    text = new_message("app.example.com", ADDRESS, 1, NOW).text(SECRET)
    assert read_message(text.replace("2026-01-02T03:04:05Z", "2026-13-02T03:04:05Z"), SECRET) is None


def test_nonces_differ() -> None:
    nonces = {new_message("host", ADDRESS, 1, NOW).nonce for _ in range(100)}
    assert len(nonces) == 100
    assert new_message("host", ADDRESS, 1, NOW.astimezone()).issued_at == NOW.replace(microsecond=0)
    assert timedelta(minutes=10) == VALID_FOR


@pytest.mark.parametrize("kind", [CallerKind.SESSION, CallerKind.API_KEY])
def test_a_token_is_known_by_its_text_and_hides_its_secret(kind: CallerKind) -> None:
    token, other = new_token(kind), new_token(kind)
    assert parse_token(token.text) == token
    assert token.fits(token.secret_hash)
    assert not other.fits(token.secret_hash)
    assert not Token(kind, token.id, other.secret).fits(token.secret_hash)
    assert token.secret not in repr(token)
    assert token.secret.encode() not in token.secret_hash


@pytest.mark.parametrize(
    "text",
    ["", "clarion_key_", "clarion_key_" + "0" * 18 + "_" + "a" * 42, "clarion_key_" + "0" * 18 + "_" + "é" * 43, "x"],
)
def test_other_texts_are_no_tokens(text: str) -> None:
    assert parse_token(text) is None
