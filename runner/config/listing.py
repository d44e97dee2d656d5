"""The runs of a sweep that lists its values: every combination, each run with the overrides that concern it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from hydra.core.override_parser.types import Override, RangeSweep, ValueType
from hydra.errors import HydraException

from runner.config import internals
from runner.config.schema import CUSTOM, VARIANTS

MOST = 100_000


def basic(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each run as Hydra's basic sweeper lists them; raises ValueError where it can't.

    A sweep has from 1 to ``MOST`` runs.
    """
    try:
        _check_number(overrides)
        (runs,) = internals.BasicSweeper.split_arguments(list(overrides), None)
    except HydraException as error:
        raise ValueError(
            f"this sweep can't be listed: {error}. Pass a,b or range(); interval() is for sweepers that optimize."
        ) from error
    return [list(run) for run in runs]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each run as the lab's sweeper lists them; raises as ``basic``.

    They are Hydra's, but for ``custom`` beside other choices of a group, as in ``activation=relu,custom``: the
    keys ``activation._target_``, ``activation.derivative`` and those added by ``+activation.`` belong to ``custom``
    alone, so that the others run without them, and once. ``glob(*)`` takes ``custom`` only where a target is given, and
    ``torch`` only where a module is.
    """
    runs = basic(overrides)
    if not any(override.key_or_group == "architecture.module" for override in overrides):
        asked = [o for o in overrides if o.key_or_group == "architecture"][-1:]
        if asked and asked[0].value_type is ValueType.GLOB_CHOICE_SWEEP:
            runs = [run for run in runs if "architecture=torch" not in run]
    for group in VARIANTS:
        chosen = [override for override in overrides if override.key_or_group == group][-1:]
        if chosen and chosen[0].is_sweep_override() and any(f"{group}={CUSTOM}" in run for run in runs):
            targeted = any(override.key_or_group == f"{group}._target_" for override in overrides)
            if chosen[0].value_type is ValueType.GLOB_CHOICE_SWEEP and not targeted:
                runs = [run for run in runs if f"{group}={CUSTOM}" not in run]
            runs = _once(run if f"{group}={CUSTOM}" in run else _without_custom(run, group) for run in runs)
    return runs


def _check_number(overrides: Sequence[Override]) -> None:
    """Raises ValueError where the sweep has no run, or too many to list."""
    counts = {}  # of a key that is given twice, the last counts
    for override in overrides:
        if override.is_sweep_override():
            counts[override.get_key_element()] = count = _count(override)
            if not count:
                raise ValueError(f"{override.input_line} lists no value. Pass some, as in seed='range(0,5)'.")
    if (runs := math.prod(counts.values())) > MOST:
        raise ValueError(f"a sweep has at most {MOST:,} runs; got {runs:,.0f}. Pass fewer values.")


def _count(override: Override) -> float:
    """Number of values that a sweep lists, without listing them where they are a range."""
    value = override.value()
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        if not value.step:
            raise ValueError(f"{override.input_line} needs a step other than 0. Leave it out for 1.")
        count = (value.stop - value.start) / value.step
        return max(0, math.ceil(count)) if math.isfinite(count) else count
    return sum(1 for _ in override.sweep_iterator())


def _without_custom(run: Sequence[str], group: str) -> list[str]:
    """The overrides of a run without those that belong to the custom choice of a group."""
    of_custom = (f"{group}._target_=", f"{group}.derivative=", f"+{group}.", f"++{group}.")
    return [text for text in run if not text.startswith(of_custom)]


def _once(runs: Iterable[list[str]]) -> list[list[str]]:
    return list({tuple(run): run for run in runs}.values())
