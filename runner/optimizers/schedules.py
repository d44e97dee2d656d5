"""Learning-rate schedules: a factor of the learning rate at each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightinit.arrays import Array

SHAPES = ("constant", "cosine", "step")


@dataclass(frozen=True)
class Schedule:
    """A shape, after ``warmup_steps`` of linear warm-up from 1/warmup_steps to 1.

    ``constant``; ``cosine``: half a cosine from 1 to 0 over the steps after the warm-up (Loshchilov & Hutter 2017,
    eq. 5); ``step``: times ``decay_factor`` every ``decay_every`` steps.
    """

    shape: str = "constant"
    warmup_steps: int = 0
    decay_every: int | None = None
    decay_factor: float = 0.1

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(
                f"optimizer.schedule must be one of {', '.join(SHAPES)}; got {self.shape!r}. "
                "Pass optimizer.schedule=constant."
            )
        _check_whole("warmup_steps", self.warmup_steps, "Pass 0 for none.")
        if self.decay_every is not None:
            _check_whole("decay_every", self.decay_every, "Pass optimizer.decay_every=100.", least=1)
        if self.shape == "step" and self.decay_every is None:
            raise ValueError(
                "optimizer.schedule=step needs optimizer.decay_every, a number of steps of at least 1; "
                f"got {self.decay_every}. Pass optimizer.decay_every=100."
            )
        if not (isinstance(self.decay_factor, int | float) and 0 < self.decay_factor <= 1):
            raise ValueError(f"optimizer.decay_factor must be in (0, 1]; got {self.decay_factor!r}. Pass 0.1.")

    def factors(self, steps: int) -> Array:
        """Return the factor at each of ``steps`` steps (steps,), float64."""
        step = np.arange(steps, dtype=np.float64)
        after = np.maximum(step - self.warmup_steps, 0.0)
        if self.shape == "cosine":
            shape = 0.5 * (1.0 + np.cos(np.pi * after / max(steps - self.warmup_steps, 1)))
        elif self.shape == "step" and self.decay_every is not None:
            shape = self.decay_factor ** (after // self.decay_every)
        else:
            shape = np.ones(steps)
        return shape * np.minimum((step + 1.0) / self.warmup_steps, 1.0) if self.warmup_steps else shape


def _check_whole(name: str, value: object, mend: str, *, least: int = 0) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"optimizer.{name} must be a whole number of at least {least}; got {value!r}. {mend}")
