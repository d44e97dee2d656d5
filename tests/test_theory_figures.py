"""Figures of forecasts: what they show is what theory says, for every activation and scheme."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from runner.config.catalogue import choices
from runner.config.composition import Composer
from runner.modes.forecast import forecast
from runner.report.figures import forecast_figures, save
from runner.report.figures.theory import _critical_line, _phases
from tests.commands import typed
from tests.fitting import FITTING, OF_MODULES
from weightinit import activations
from weightinit.forecasting import Forecast
from weightinit.meanfield import critical_point, depth_scales

LEFT_OUT = ("custom", *FITTING, *OF_MODULES["scheme"])
SCHEMES = [choice.name for choice in choices("scheme") if choice.name not in LEFT_OUT]


def of(*lines: str) -> list[Forecast]:
    return [forecast(*each) for each in Composer().configurations([line.split() for line in lines])]


def words(figure: Figure) -> str:
    return " ".join(text.get_text() for axis in figure.axes for text in (*axis.texts, axis.title))


def legends(figure: Figure) -> list[str]:
    return [text.get_text() for axis in figure.axes if axis.get_legend() for text in axis.get_legend().get_texts()]


QUICK = ("linear", "tanh", "gelu", "softplus", "sine")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in activations.NAMES]
)
def test_every_activation_can_be_drawn_with_every_scheme_that_it_takes(name: str, tmp_path: Path) -> None:
    known = [one for one in SCHEMES if one != "mirrored" or name in ("linear", "gelu", "relu")]
    known = [one for one in known if not (one == "critical" and name in ("softplus", "sigmoid"))]
    some = known[::2] if name == "tanh" else known[::8]
    figures = forecast_figures(of(*(f"activation={name} scheme={one} architecture.depth=3" for one in some)))
    assert set(figures) == {"layers", "phase", "depth_scales"}
    for path in save({"phase": figures["phase"]}, tmp_path).values():
        with Image.open(path) as image:
            assert image.info["Description"].startswith("Phase diagram")


def test_lines_by_layer_are_the_predictions() -> None:
    xavier, he = of(*(f"scheme={name} architecture.depth=20" for name in ("xavier", "he")))
    figure = forecast_figures([xavier, he])["layers"]
    q, _, gradient = figure.axes
    falling, level = (line.get_ydata() for line in q.get_lines())
    np.testing.assert_allclose(falling, 0.5 ** np.arange(20.0))
    np.testing.assert_allclose(level, 2)
    ratio = np.divide(*gradient.get_lines()[0].get_ydata()[:2])
    assert ratio == pytest.approx(0.5)
    assert legends(figure) == ["xavier", "he"]
    assert "xavier from 1 to" in figure.get_label()


def test_the_critical_line_is_that_of_theory() -> None:
    sigma_w2, sigma_b2, holds = _critical_line(activations.get("tanh"))
    for index in (150, 200, 250):
        point = critical_point("tanh", sigma_b2=float(sigma_b2[index]))
        assert point is not None
        assert sigma_w2[index] == pytest.approx(point.sigma_w2, rel=1e-6)
    assert holds.all()
    assert not len(_critical_line(activations.get("softplus"))[0])
    _, gelu_b2, gelu_holds = _critical_line(activations.get("gelu"))
    assert not gelu_holds[gelu_b2 < 0.17].any()
    assert gelu_holds[gelu_b2 > 0.18].all()


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "selu", "softplus"])
def test_the_regions_are_the_phases_of_theory(name: str) -> None:
    phi = activations.get(name)
    sigma_w2, sigma_b2 = np.array([0.3, 0.9, 1.7, 2.6, 4.3]), np.array([0.01, 0.1])
    growth, endless = _phases(phi, sigma_w2, sigma_b2)
    for row, b2 in enumerate(sigma_b2):
        for column, w2 in enumerate(sigma_w2):
            exact = depth_scales(phi, float(w2), float(b2))
            assert bool(endless[row, column]) == np.isinf(exact.q)
            assert growth[row, column] == pytest.approx(exact.chi, rel=0.005)


def test_it_says_where_an_activation_has_no_critical_line_or_a_point_alone() -> None:
    names = ("softplus", "relu", "tanh")
    text = words(forecast_figures(of(*(f"activation={name}" for name in names)))["phase"])
    assert "no critical line" in text
    assert "critical at (2, 0) only" in text
    assert "critical from (1, 0) on" in text


def test_what_theory_does_not_cover_is_left_out_and_said_so() -> None:
    figures = forecast_figures(of("scheme=he", "scheme=constant"))
    captions = [figure.get_supxlabel() for figure in figures.values()]
    assert all("1 more without theory" in caption for caption in captions)
    with pytest.raises(ValueError, match="theory covers none of these networks"):
        forecast_figures(of("scheme=constant"))


def test_the_command_writes_them_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert typed("mode=forecast", "mode.figures=pictures", "scheme=xavier,critical", "activation=tanh", "-m") == 0
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == [
        "depth_scales.png",
        "layers.png",
        "phase.png",
    ]
    assert "pictures/phase.png" in capsys.readouterr().out
    assert not (tmp_path / "outputs").exists()
    assert typed("mode.figures=pictures") == 2
    assert "mode.figures is for mode=forecast" in capsys.readouterr().err
