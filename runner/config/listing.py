"""The runs of a sweep that lists its values: every combination, each run with the overrides that concern it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from runner.config import internals
from runner.config.schema import VARIANTS

CUSTOM = "custom"


def basic(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each run as Hydra's basic sweeper lists them; raises ValueError where it can't."""
    try:
        (runs,) = internals.BasicSweeper.split_arguments(list(overrides), None)
    except HydraException as error:
        raise ValueError(
            f"this sweep can't be listed: {error}. Pass a,b or range(); interval() is for sweepers that optimize."
        ) from error
    return [list(run) for run in runs]


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of each run as the lab's sweeper lists them; raises as ``basic``.

    They are Hydra's, with one exception: where ``custom`` is one of several choices of a group, as in
    ``activation=relu,custom``, the keys ``activation._target_``, ``activation.derivative`` and those added by
    ``+activation.`` belong to ``custom`` alone. The other choices run without them, and once.
    """
    mixed = [group for group in VARIANTS if _mixes(overrides, group)]
    runs = (tuple(_concerning(run, mixed)) for run in basic(overrides))
    return [list(run) for run in dict.fromkeys(runs)] if mixed else list(map(list, runs))


def _mixes(overrides: Sequence[Override], group: str) -> bool:
    """Whether the last override of a group lists ``custom`` beside other choices."""
    chosen = [override for override in overrides if override.key_or_group == group]
    if not chosen or not chosen[-1].is_sweep_override():
        return False
    names = {str(name) for name in chosen[-1].sweep_string_iterator()}
    return CUSTOM in names and len(names) > 1


def _concerning(run: Sequence[str], mixed: Sequence[str]) -> Iterator[str]:
    """The overrides of a run without those that belong to a custom choice which the run didn't take."""
    for text in run:
        left_out = False
        for group in mixed:
            of_custom = text.startswith((f"{group}._target_=", f"{group}.derivative=", f"+{group}.", f"++{group}."))
            left_out |= of_custom and f"{group}={CUSTOM}" not in run
        if not left_out:
            yield text
