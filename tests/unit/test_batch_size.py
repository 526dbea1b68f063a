"""Batches grow while they are quick and full, and shrink when one took long."""

from __future__ import annotations

from clarion.batch_size import LEAST_SECONDS, MOST_SECONDS, BatchSize


def test_full_quick_batches_grow_up_to_the_most() -> None:
    size = BatchSize(posts=100, most_posts=350)
    seen = []
    for _ in range(4):
        size.took(LEAST_SECONDS / 2, size.posts)
        seen.append(size.posts)
    assert seen == [200, 350, 350, 350]


def test_what_has_come_at_the_tip_changes_nothing() -> None:
    size = BatchSize(posts=100)
    size.took(0.001, 1)
    assert size.posts == 100


def test_slow_batches_shrink_down_to_the_first_size() -> None:
    size = BatchSize(posts=100, most_posts=800)
    for _ in range(3):
        size.took(LEAST_SECONDS / 2, size.posts)
    size.took((LEAST_SECONDS + MOST_SECONDS) / 2, 800)
    assert size.posts == 800
    for _ in range(5):
        size.took(MOST_SECONDS * 2, size.posts)
    assert size.posts == 100


def test_fewer_may_be_asked_for() -> None:
    assert BatchSize(most_posts=1).posts == 1
