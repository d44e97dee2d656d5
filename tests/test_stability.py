"""Stability of a signal: one label for the whole way, and the factor of a layer."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from weightinit.meanfield import signal_stability
from weightinit.meanfield.stability import Label


@pytest.mark.parametrize(
    ("growth", "gradient", "scatter", "label"),
    [
        (0.0, 0.0, 0.0, "stable"),
        (0.0, math.nan, 0.0, "stable"),
        (0.2, 0.0, 0.0, "stable"),
        (0.21, 0.0, 0.0, "grows"),
        (-0.21, 0.0, 0.0, "decays"),
        (0.5, 0.0, 0.2, "stable"),  # three standard errors
        (-5 * math.log(2) / 2, -2.0, 0.0, "decays"),
        (-5 * math.log(2) / 2, -7.0, 0.0, "gradient vanishes"),  # more than the signal does
        (5 * math.log(2) / 2, 7.0, 0.1, "gradient explodes"),
        (-6.9, 0.0, 0.0, "decays"),
        (-7.0, 0.0, 0.0, "vanishes"),
        (7.0, 9.0, 0.0, "explodes"),
        (math.inf, 0.0, 0.0, "explodes"),
        (-math.inf, -math.inf, 0.0, "vanishes"),
        (0.0, 2.3, 0.0, "stable"),
        (0.0, 2.4, 0.0, "gradient explodes"),
        (0.0, -math.inf, 0.0, "gradient vanishes"),
        (math.nan, 0.0, 0.0, "unknown"),
        (-1.72, 0.0, 3.0, "decays"),  # a thirtieth of the mean square is no level signal, whatever chance may do
        (1.2, 0.0, 3.0, "grows"),
        (-0.5, 0.0, 0.05, "decays"),
        (-0.5, 0.0, math.nan, "unknown"),  # chance might do that much; how much it does, nobody measured
        (-0.2, 0.0, math.nan, "stable"),
        (-1.2, 0.0, math.nan, "decays"),
    ],
)
def test_label_of_a_signal(growth: float, gradient: float, scatter: float, label: str) -> None:
    assert label in get_args(Label)
    assert signal_stability(1.0, growth, gradient, 5, scatter=scatter).label == label
    assert signal_stability(0.0, growth, gradient, 5, scatter=scatter).label == "vanishes"
    assert signal_stability(math.inf, growth, gradient, 5, scatter=scatter).label == "explodes"


def test_factor_is_that_of_the_mean_square_at_each_layer() -> None:
    for factor in (0.5, 1.0, 1.9):
        growth = math.log(factor**7) / 2
        assert signal_stability(1.0, growth, 0.0, 7).factor == pytest.approx(factor)
    assert math.isnan(signal_stability(1.0, 0.0, 0.0, 0).factor)
    assert signal_stability(1.0, 700.0, 0.0, 1).factor == math.inf


def test_more_networks_tell_smaller_changes() -> None:
    """Theory's level mean square lowers the mean of log rms by its variance; chance is what is left."""
    scatter = 0.3
    for networks in (1, 16, 64):
        for sign in (-1, 1):
            error = 3 * scatter / math.sqrt(networks)
            inside, outside = (-(scatter**2) + sign * error * by for by in (0.99, 1.01))
            label = signal_stability(1.0, inside, 0.0, 50, scatter=scatter, networks=networks).label
            assert label == "stable"
            if abs(outside) > 0.21:
                label = signal_stability(1.0, outside, 0.0, 50, scatter=scatter, networks=networks).label
                assert label == ("grows" if outside > 0 else "decays")


def test_trainable_is_what_gets_through() -> None:
    growths = np.linspace(-10, 10, 201)
    trainable = [signal_stability(1.0, growth, growth, 5).trainable for growth in growths]
    assert trainable == [abs(growth) < math.log(1000) for growth in growths]
    assert not signal_stability(1.0, 0.0, 9.0, 5).trainable
    assert not signal_stability(1.0, math.nan, 0.0, 5).trainable
