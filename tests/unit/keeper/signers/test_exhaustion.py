"""When it is news that an hour's limit is used up, and when that it is over."""

from __future__ import annotations

from clarion_keeper.signers.exhaustion import QUIET_SECONDS, Exhaustion


def test_it_is_news_once_and_over_when_nothing_was_refused_for_a_while() -> None:
    now = [100.0]
    exhaustion = Exhaustion(lambda: now[0])
    assert not exhaustion.signed()
    assert exhaustion.refused()
    for _ in range(3):
        now[0] += QUIET_SECONDS - 1
        assert not exhaustion.signed(), "a bit came free"
        assert not exhaustion.refused()
    now[0] += QUIET_SECONDS
    assert exhaustion.signed()
    assert not exhaustion.signed()
    assert exhaustion.refused()
