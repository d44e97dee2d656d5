"""How trials are divided into stacks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runner.config.composition import Composer
from runner.config.trial import Trial
from runner.training import stacks

NETWORKS = {
    "small": ["architecture.widths=[32,32]", "training.batch_size=32"],
    "deep": ["architecture.depth=10", "architecture.width=100", "training.batch_size=64"],
    "wide": ["architecture.widths=[1500,1500]", "training.batch_size=128"],
}


def trials(name: str, count: int, *overrides: str) -> list[Trial]:
    return Composer().trials([["tracking=none", *NETWORKS[name], *overrides]]) * count


def sizes(runs: Sequence[Trial], **options: float) -> list[int]:
    planned = stacks.plan(runs, **options)  # type: ignore[arg-type]
    assert sorted(index for indices in planned for index in indices) == list(range(len(runs)))
    return [len(indices) for indices in planned]


@pytest.mark.parametrize("workers", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 5, 37, 128, 130])
@pytest.mark.parametrize("name", NETWORKS)
def test_stacks_are_even_and_no_worker_is_without_one(name: str, count: int, workers: int) -> None:
    runs = trials(name, count)
    largest, found = stacks.capacity(runs[0]), sizes(runs, workers=workers)
    assert max(found) <= largest
    assert max(found) - min(found) <= 1
    smallest = -(-largest // 8)
    if count >= workers * smallest:
        assert len(found) % workers == 0 or len(found) == count // smallest
    else:
        assert min(found) >= min(smallest, count)


def test_small_networks_share_larger_stacks_and_large_ones_share_none_with_many() -> None:
    small, deep, wide = (stacks.capacity(trials(name, 1)[0]) for name in NETWORKS)
    assert small == stacks.MOST
    assert 2 < deep < small
    assert wide == 2


def test_memory_bounds_the_stacks_of_all_workers() -> None:
    (trial,) = trials("small", 1)
    one = next(size for size in range(10**3, 10**6, 10**3) if stacks.capacity(trial, 2 * size) == 2)
    assert sizes([trial] * 32, workers=2, memory=2 * 8.5 * one) == [8] * 4
    assert sizes([trial] * 3, memory=1) == [1, 1, 1]


def test_the_longest_stacks_come_first() -> None:
    runs = [*trials("small", 3, "training.steps=10"), *trials("wide", 2), *trials("small", 3, "training.steps=50")]
    assert stacks.plan(runs) == [[3, 4], [5, 6, 7], [0, 1, 2]]
