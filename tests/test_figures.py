from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from runner.analysis.intervals import intervals
from runner.report.figures import run_figures, save, sweep_figures
from runner.report.figures.canvas import LOOKS, number
from runner.report.figures.layers import layer_ticks
from runner.report.figures.tables import completed, network_order, over_runs, smooth

STEPS = 60


def names(depth: int) -> list[str]:
    return [*(f"hidden/{i}" for i in range(1, depth + 1)), "output"]


def rows(
    key: str = "a",
    *,
    depth: int = 6,
    rms: Callable[[int], float] = lambda layer: 0.7**layer,
    theory: Callable[[int], float] | None = lambda layer: 0.71**layer,
    loss: Callable[[int], float] = lambda step: 2.3 * math.exp(-step / 20),
    steps: int = STEPS,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows of one made run: ``rms`` by layer (from 1), ``loss`` by step; in an order that is nobody's."""
    rng = np.random.default_rng(seed)
    made: list[tuple[int, str, str, float]] = []
    for number_, layer in enumerate(names(depth), start=1):
        for quantity, value in (("activation_rms", rms(number_)), ("gradient_std", 0.1 * rms(number_))):
            made.append((0, f"init_{quantity}", layer, value))
            made += [(step, quantity, layer, value * 1.01**step) for step in range(0, steps, 10)]
        made.append((0, "init_activation_correlation", layer, 1 - 0.5**number_))
        made.append((0, "init_weight_std", layer, 0.1))
        made.append((0, "init_weight_expected_std", layer, 0.1))
        if theory is not None:
            made.append((0, "predicted_activation_rms", layer, theory(number_)))
            made.append((0, "predicted_scatter", layer, 0.1 * math.sqrt(number_)))
            made.append((0, "predicted_gradient_std", layer, 0.1 * theory(number_)))
            made.append((0, "predicted_gradient_scatter", layer, 0.2))
            made.append((0, "reference_activation_rms", layer, 0.9 * theory(number_)))
            made.append((0, "reference_gradient_std", layer, 0.09 * theory(number_)))
            made.append((0, "predicted_activation_correlation", layer, 1 - 0.6**number_))
    made += [(step, "train_loss", "", loss(step)) for step in range(steps)]
    for step in range(0, steps + 1, 20):
        made += [(step, "validation_loss", "", loss(step)), (step, "validation_accuracy", "", 0.9)]
    rng.shuffle(made)
    table = pd.DataFrame(made, columns=["step", "quantity", "layer", "value"]).astype({"step": int, "value": float})
    table.insert(0, "key", key)
    return table


def histograms(depth: int, draw: Callable[[np.random.Generator], np.ndarray]) -> dict[str, np.ndarray]:
    rng, arrays = np.random.default_rng(0), {}
    for quantity, layer in itertools.product(("weight", "preactivation", "gradient"), names(depth)):
        counts, edges = np.histogram(draw(rng), bins=64)
        arrays[f"histogram/{quantity}/{layer}"] = np.stack([(edges[1:] + edges[:-1]) / 2, counts])
    return arrays


def table(groups: Mapping[str, int], **columns: Sequence[object]) -> pd.DataFrame:
    """A table of runs: so many of each scheme, keys ``SCHEME SEED``."""
    keys = [(scheme, seed) for scheme, count in groups.items() for seed in range(count)]
    made = {
        "key": [f"{scheme} {seed}" for scheme, seed in keys],
        "scheme": [scheme for scheme, _ in keys],
        "seed": [seed for _, seed in keys],
        "activation": "relu",
        "data": "digits",
        "network": "64-6x128-10",
        "fate": "finished",
        "test_accuracy": [0.9 + 0.01 * seed for _, seed in keys],
    }
    return pd.DataFrame(made | columns)


def curves(runs: pd.DataFrame, **kwargs: object) -> pd.DataFrame:
    """Rows of every run of ``runs``, as recorded: text as categories."""
    made = pd.concat([rows(key, seed=i, **kwargs) for i, key in enumerate(runs["key"])], ignore_index=True)
    return made.astype({"key": "category", "quantity": "category", "layer": "category"})


def lines(figure: Figure, axis: int = 0) -> list[np.ndarray]:
    """Heights of what is drawn as a line, without markers."""
    return [np.asarray(a.get_ydata()) for a in figure.axes[axis].lines if a.get_linestyle() != "None"]


def points(figure: Figure, axis: int = 0) -> list[np.ndarray]:
    """Heights of what is drawn as points alone."""
    return [np.asarray(a.get_ydata()) for a in figure.axes[axis].lines if a.get_linestyle() == "None"]


def caption(figure: Figure) -> str:
    return " ".join(figure.get_supxlabel().split())


def test_order_is_the_networks_whatever_the_order_of_the_rows() -> None:
    shuffled = names(12)
    np.random.default_rng(0).shuffle(shuffled)
    assert network_order(shuffled) == names(12)
    blocks = ["embedding", "block/1/attention", "block/1/mlp", "block/2/attention", "block/2/mlp", "output"]
    assert network_order(["output", *blocks[:-1]]) == blocks


@pytest.mark.parametrize("depth", [0, 1, 6, 11, 12, 50, 999])
def test_ticks_are_few_and_hold_both_ends(depth: int) -> None:
    ticks, labels = layer_ticks(names(depth))
    assert ticks[0] == 1
    assert ticks[-1] == depth + 1
    assert labels[-1] == "out"
    assert labels[:-1] == [str(tick) for tick in ticks[:-1]]
    assert len(ticks) <= 14
    assert min(np.diff(ticks), default=1) >= 0.3 * max(np.diff(ticks), default=1)


def test_theory_is_a_line_and_measurement_points() -> None:
    figure = run_figures("he", rows(depth=12), {})["layers"]
    theory, measured = 0.71 ** np.arange(1, 14), 0.7 ** np.arange(1, 14)
    np.testing.assert_allclose(lines(figure)[0], theory)
    np.testing.assert_allclose(points(figure)[0], measured)
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    scatter = 0.1 * np.sqrt(np.arange(1, 14))
    for layer in range(13):
        heights = band[np.isclose(band[:, 0], layer + 1), 1]
        expected = 0.9 * theory[layer] * np.exp(2 * scatter[layer] * np.array([-1, 1]))
        np.testing.assert_allclose([heights.min(), heights.max()], expected)
    np.testing.assert_allclose(lines(figure, 1)[0], 0.1 * theory)
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(np.unique(band[np.isclose(band[:, 0], 1), 1]), 0.9 * 0.071 * np.exp([-0.4, 0.4]))
    np.testing.assert_allclose(points(figure, 2)[0], 1 - 0.5 ** np.arange(1, 14))
    np.testing.assert_allclose(lines(figure, 2)[0], 1 - 0.6 ** np.arange(1, 14))
    np.testing.assert_allclose(lines(figure, 3)[0], 0.1)  # the weights' law
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "log", "linear", "log"]


def test_without_theory_none_is_drawn_or_named() -> None:
    figure = run_figures("lsuv", rows(theory=None).query("quantity != 'init_weight_expected_std'"), {})["layers"]
    np.testing.assert_allclose(lines(figure)[0], points(figure)[0])  # joins the points
    assert not any(axis.get_legend() for axis in figure.axes)


def test_the_probe_counts_before_the_first_training_batch() -> None:
    made = rows()
    made.loc[(made["quantity"] == "activation_rms") & (made["step"] == 0), "value"] = 123.0
    np.testing.assert_allclose(points(run_figures("he", made, {})["layers"])[0], 0.7 ** np.arange(1, 8))
    without = made[made["quantity"] != "init_activation_rms"]
    np.testing.assert_allclose(points(run_figures("he", without, {})["layers"])[0], 123.0)


def test_a_layer_without_a_number_keeps_its_place() -> None:
    made = rows()
    gone = (made["quantity"] == "init_activation_rms") & (made["layer"] == "hidden/2")
    figure = run_figures("he", made[~gone], {})["layers"]
    (drawn,) = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert list(drawn.get_xdata()) == [1, 3, 4, 5, 6, 7]


def test_zero_and_overflow_stand_at_the_edges() -> None:
    figure = run_figures("zeros", rows(rms=lambda layer: [1.0, 0.0, math.inf][layer % 3], theory=None), {})["layers"]
    drawn = [line for line in figure.axes[0].lines if line.get_linestyle() == "None"]
    assert {line.get_marker(): list(line.get_xdata()) for line in drawn} == {"o": [3, 6], "v": [1, 4, 7], "^": [2, 5]}
    assert "exactly zero" in caption(figure)
    assert "too large" in caption(figure)


def test_theory_of_zero_runs_along_the_lower_edge() -> None:
    figure = run_figures("zeros", rows(rms=lambda layer: 0.0, theory=lambda layer: 0.0), {})["layers"]
    np.testing.assert_allclose(lines(figure)[0], figure.axes[0].get_ylim()[0])
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0"]


def test_a_dollar_in_a_name_is_a_dollar(tmp_path: Path) -> None:
    runs = table({r"costs $\frac{$": 2})
    made = curves(runs)
    assert len(save(run_figures(r"costs $\frac{$", made[made["key"] == runs["key"][0]], {}), tmp_path)) == 3
    save({"accuracy": sweep_figures(runs, made, group=["scheme"])["accuracy"]}, tmp_path)


WEIRD: dict[str, dict[str, object]] = {
    "zeros": {"rms": lambda layer: 0.0, "theory": lambda layer: 0.0, "loss": lambda step: 2.3},
    "vanished": {"rms": lambda layer: 1e-30**layer, "theory": lambda layer: 1e-30**layer},
    "exploded": {"rms": lambda layer: 1e40**layer, "theory": lambda layer: 1e40**layer, "loss": lambda step: 1e300},
    "infinite": {"rms": lambda layer: math.inf, "theory": lambda layer: math.inf, "loss": lambda step: math.inf},
    "nothing but NaN": {"rms": lambda layer: math.nan, "theory": lambda layer: math.nan, "loss": lambda step: math.nan},
    "fitted exactly": {"loss": lambda step: max(0.0, 1 - step / 20)},
    "diverged": {"loss": lambda step: 10.0 ** min(step, 300) if step < 40 else math.nan},
    "no hidden layer": {"depth": 0},
    "one hidden layer": {"depth": 1},
    "50 layers": {"depth": 50},
    "one step": {"steps": 1},
    "no training": {"steps": 0},
}
EVEN = np.linspace(-1, 1, 6400)
DRAWS: dict[str, tuple[Callable[[np.random.Generator], np.ndarray], str]] = {
    "one value": (lambda rng: np.zeros(640), "all equal"),
    "vanished": (lambda rng: 1e-200 * EVEN, "std 5.8·10⁻²⁰¹"),
    "exploded": (lambda rng: 1e200 * EVEN, "std 5.8·10¹⁹⁹"),
    "far from zero": (lambda rng: 5 + EVEN, "std 0.58"),
    "nothing finite": (lambda rng: np.zeros(0), "not finite"),
}


@pytest.mark.parametrize("kind", WEIRD)
def test_every_kind_of_run_can_be_drawn(kind: str) -> None:
    step = 40 if kind == "diverged" else None
    figures = run_figures(kind, rows(**WEIRD[kind]), {}, diverged_at_step=step)
    assert ("loss" in figures) == (kind not in ("infinite", "nothing but NaN"))
    assert "layers" in figures
    for figure in figures.values():
        figure.draw_without_rendering()


def test_a_sweep_of_every_kind_of_run_can_be_drawn(tmp_path: Path) -> None:
    runs = table(dict.fromkeys(WEIRD, 1))
    runs["fate"] = np.where(runs["scheme"] == "diverged", "diverged", "finished")
    made = pd.concat([rows(key, **kind) for key, kind in zip(runs["key"], WEIRD.values(), strict=True)])
    assert len(save(sweep_figures(runs, made, group=["scheme"]), tmp_path)) == 5


@pytest.mark.parametrize("kind", DRAWS)
def test_every_kind_of_histogram_can_be_drawn(kind: str) -> None:
    draw, text = DRAWS[kind]
    figure = run_figures(kind, rows().iloc[:0], histograms(0, draw))["histograms"]
    figure.draw_without_rendering()
    assert [axis.texts[0].get_text() for axis in figure.axes] == [text] * 3


def test_what_has_no_data_is_absent() -> None:
    assert run_figures("he", rows().iloc[:0], {}) == {}
    runs = table({"he": 2})
    assert set(sweep_figures(runs, curves(runs).iloc[:0], group=["scheme"])) == {"accuracy"}
    assert sweep_figures(runs.assign(fate="failed"), curves(runs), group=["scheme"]) == {}
    assert sweep_figures(runs.iloc[:0], curves(runs).iloc[:0], group=["scheme"]) == {}
    regression = runs.drop(columns="test_accuracy").assign(test_r2=[-50.0, 0.5])
    assert "R²" in sweep_figures(regression, curves(runs), group=["scheme"])["accuracy"].get_label()


def test_histograms_show_six_layers_from_the_first_to_the_last() -> None:
    arrays = histograms(20, lambda rng: 3 * rng.standard_normal(10_000))
    figure = run_figures("he", rows(depth=20), arrays)["histograms"]
    texts = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert texts[0][6:] == ["layer 1", "layer 5", "layer 9", "layer 13", "layer 17", "output"]
    widths = [text for row in (texts[0][:6], *texts[1:]) for text in row]
    assert len(widths) == 18
    assert set(widths) <= {"std 2.9", "std 3", "std 3.1"}
    for axis in figure.axes:  # each panel keeps to its place and fills its height
        (bars,), (normal, _) = axis.collections, axis.lines
        x = bars.get_paths()[0].vertices[:, 0]
        assert set(np.floor(x[np.isfinite(x)])) <= set(range(6))
        peaks = [np.nanmax(normal.get_ydata()[np.floor(normal.get_xdata()) == column]) for column in range(6)]
        np.testing.assert_allclose(peaks, 1 / 1.4, rtol=0.2)


def test_histogram_of_one_value_names_it() -> None:
    # Even bins: the value lies on an edge, so that no bin's centre is it.
    figure = run_figures("constant", rows(depth=0), histograms(0, lambda rng: np.full(9, 0.25)))["histograms"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["0.25"]
    assert figure.axes[0].texts[0].get_text() == "all equal"


def test_divergence_is_marked_and_said() -> None:
    made = rows(loss=lambda step: 10.0**step if step < 7 else math.nan)
    figure = run_figures("random", made, {}, diverged_at_step=7)["loss"]
    (cross,) = [line for line in figure.axes[0].lines if line.get_marker() == "X"]
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([7], [10.0**6])
    assert "diverged at step 7" in caption(figure)
    assert "diverged at step 7" in figure.get_label()


def test_median_over_runs_takes_the_infinite_as_largest_and_the_absent_as_absent() -> None:
    nan, inf = math.nan, math.inf
    values = np.array([[3, 1, 2], [1, 2, inf], [1, inf, inf], [nan, 4, nan], [nan] * 3, [0, 0, 0]])
    low, middle, high = over_runs(values)
    np.testing.assert_array_equal(middle, [2, 2, inf, 4, nan, 0])
    np.testing.assert_allclose(low, [1.1, 1.1, inf, 4, nan, 0])
    np.testing.assert_allclose(high, [2.9, inf, inf, 4, nan, 0])


def test_only_a_diverged_run_counts_as_infinite_after_its_end() -> None:
    nan = math.nan
    recorded = {"lost": [1.0, nan, 3.0, nan], "short": [1.0, 2.0, nan, nan], "whole": 1.0}
    filled = completed(pd.DataFrame(recorded, index=[0, 1, 2, 4]), {"lost"})
    np.testing.assert_array_equal(filled["lost"], [1, 2, 3, math.inf])
    np.testing.assert_array_equal(filled["short"], [1, 2, nan, nan])


def test_smoothing_keeps_a_straight_line_and_does_not_smear_divergence() -> None:
    line = pd.DataFrame({"a": np.arange(100.0)})
    np.testing.assert_array_equal(smooth(line)["a"][2:-2], line["a"][2:-2])
    line.loc[60:, "a"] = math.inf
    assert np.isinf(smooth(line)["a"]).tolist() == [False] * 60 + [True] * 40
    assert smooth(line)["a"][59] < 60


def test_groups_are_medians_of_their_runs() -> None:
    runs = table({"he": 3, "xavier": 2})
    scale = {key: 1.0 + index for index, key in enumerate(runs["key"])}
    made = pd.concat([rows(key, rms=lambda layer, s=s: s, loss=lambda step, s=s: s) for key, s in scale.items()])
    figures = sweep_figures(runs, made, group=["scheme"])
    assert [float(heights[0]) for heights in points(figures["layers"])] == [2.0, 4.5]
    assert [float(heights[0]) for heights in lines(figures["loss"])] == [2.0, 4.5]
    assert "he 2 at hidden/1 to 2 at output; xavier 4.5 at" in figures["layers"].get_label()
    labels = [text.get_text() for text in figures["loss"].axes[-1].get_legend().get_texts()]
    assert labels == ["he (3 runs)", "xavier (2 runs)"]


def test_a_group_that_diverged_leaves_the_axis_to_the_others() -> None:
    runs = table({"he": 1, "random": 1}, fate=["finished", "diverged"])
    made = pd.concat([rows("he 0"), rows("random 0", loss=lambda step: 1e20 if step < 3 else math.nan)])
    axis = sweep_figures(runs, made, group=["scheme"])["loss"].axes[0]
    assert axis.get_ylim()[1] < 100
    (cross,) = [line for line in axis.lines if line.get_marker() == "X"]
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([2], [axis.get_ylim()[1]])


def test_groups_of_networks_of_different_depth_share_one_axis() -> None:
    runs = table({"he": 2}).assign(**{"architecture.depth": [2, 12], "network": ["a", "b"]})
    made = pd.concat([rows(key, depth=depth) for key, depth in zip(runs["key"], (2, 12), strict=True)])
    figure = sweep_figures(runs, made, group=["architecture.depth"])["layers"]
    assert [len(heights) for heights in points(figure)] == [3, 13]
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "depth 2"
    assert "he · relu · digits" in figure.get_suptitle()


def test_of_many_groups_twelve_are_told_apart_and_the_rest_is_owned_up_to() -> None:
    runs = table({f"scheme{i}": 1 for i in range(30)})
    figure = sweep_figures(runs, curves(runs), group=["scheme"])["layers"]
    entries = figure.axes[0].get_legend().legend_handles[:LOOKS]
    looks = {(e.get_color(), e.get_marker(), e.get_linestyle(), e.get_markerfacecolor()) for e in entries}
    assert len(looks) == LOOKS
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert (labels[0], labels[LOOKS - 1]) == ("scheme0", "scheme29")
    assert "12 of 30 groups are shown" in caption(figure)


def test_accuracy_shows_each_run_and_the_interval_of_the_comparison() -> None:
    runs = table({"he": 4, "random": 2})
    runs.loc[runs["key"] == "random 1", ["fate", "test_accuracy"]] = ["diverged", math.nan]
    figure = sweep_figures(runs, curves(runs), group=["scheme"])["accuracy"]
    axis = figure.axes[0]
    drawn = [np.asarray(line.get_xdata()) for line in axis.lines]
    np.testing.assert_allclose(drawn[0], [0.9, 0.91, 0.92, 0.93])
    mean, low, high = (float(value[0]) for value in intervals(np.array([[0.9, 0.91, 0.92, 0.93]])))
    np.testing.assert_allclose(drawn[1], [low, high])
    np.testing.assert_allclose(drawn[2], [mean])
    np.testing.assert_allclose(drawn[3], [0.9])
    assert len(drawn) == 4  # one number has neither mean nor interval
    assert [label.get_text() for label in axis.get_yticklabels()] == ["he (4 runs)", "random (2 runs, 1 diverged)"]


def test_one_run_a_group_is_no_ranking() -> None:
    runs = table({"he": 1, "xavier": 1})
    assert "no ranking" in caption(sweep_figures(runs, curves(runs), group=["scheme"])["accuracy"])


def test_a_run_recorded_twice_counts_once() -> None:
    runs = table({"he": 2})
    twice = pd.concat([runs, runs])
    figure = sweep_figures(twice, pd.concat([curves(runs), curves(runs)]), group=["scheme"])["accuracy"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["he (2 runs)"]


def test_unknown_group_is_the_users_mistake() -> None:
    runs = table({"he": 1})
    with pytest.raises(ValueError, match="group must name columns of runs; got scheme_gain"):
        sweep_figures(runs, curves(runs), group=["scheme", "scheme_gain"])


@pytest.fixture(scope="module")
def everything() -> dict[str, Figure]:
    """The figures of a run, and of a sweep with as many groups of as long names as can be shown."""
    arrays = histograms(50, lambda rng: 1e-12 * rng.standard_normal(1000))
    single = run_figures("a scheme with a $long$ name " * 5, rows(depth=50, rms=lambda i: 0.5**i), arrays)
    runs = table({f"my.own_scheme_with_a_long_name variant {i} of $x_{i}$ or so": 2 for i in range(15)})
    many = sweep_figures(runs, curves(runs), group=["scheme"])
    return {f"run {k}": f for k, f in single.items()} | {f"sweep {k}": f for k, f in many.items()}


def test_texts_neither_overlap_nor_leave_the_page(everything: Mapping[str, Figure]) -> None:
    for name, figure in everything.items():
        figure.draw_without_rendering()
        texts = [*figure.texts]
        boxes = [text.get_window_extent() for text in texts if text.get_text()]
        for axis in figure.axes:
            ticks = [*axis.get_xticklabels(), *axis.get_yticklabels(), axis.xaxis.label, axis.yaxis.label, axis.title]
            shown = [text for text in [*ticks, axis._left_title, *axis.texts] if text.get_text()]
            boxes += [text.get_window_extent() for text in shown if inside(axis, text)]
            if legend := axis.get_legend():
                boxes += [legend.get_window_extent()]
                assert legend.get_window_extent().x0 >= axis.get_window_extent().x1, f"{name}: legend on the data"
            assert axis.get_window_extent().width > 50 or axis.get_label() == "<colorbar>", f"{name}: no room for data"
        for box in boxes:
            assert box.x0 >= 0, name
            assert box.y0 >= 0, name
            assert box.x1 <= figure.bbox.x1, name
            assert box.y1 <= figure.bbox.y1, name
        assert not [pair for pair in itertools.combinations(boxes, 2) if pair[0].overlaps(pair[1])], name


def inside(axis: object, text: object) -> bool:
    """Whether a tick's label belongs to a tick within the limits; other texts always do."""
    for labels, limits, place in (
        (axis.get_xticklabels(), axis.get_xlim(), 0),
        (axis.get_yticklabels(), axis.get_ylim(), 1),
    ):
        if text in labels:
            return min(limits) <= text.get_position()[place] <= max(limits)
    return True


def test_every_figure_says_how_to_read_it_and_what_it_shows(everything: Mapping[str, Figure]) -> None:
    for name, figure in everything.items():
        assert caption(figure).endswith("."), name
        assert figure.get_label().endswith("."), name
        assert figure.get_suptitle(), name


def test_saved_figures_carry_their_alternative_text(tmp_path: Path) -> None:
    runs = table({"he": 2, "xavier": 2})
    loss, again = (sweep_figures(runs, curves(runs), group=["scheme"])["loss"] for _ in range(2))
    paths = save({"loss": loss}, tmp_path / "new" / "folder", formats=("png", "svg", "pdf"))
    assert list(paths) == ["loss.png", "loss.svg", "loss.pdf"]
    assert Image.open(paths["loss.png"]).text["Description"] == loss.get_label()
    assert "Loss by training step; validation loss at the end" in paths["loss.svg"].read_text(encoding="utf-8")
    repeated = save({"loss": again}, tmp_path, formats=("png", "svg", "pdf"))
    assert all(repeated[name].read_bytes() == path.read_bytes() for name, path in paths.items())


def test_drawing_leaves_matplotlib_as_it_was() -> None:
    before = dict(matplotlib.rcParams)
    run_figures("he", rows(), {})
    assert dict(matplotlib.rcParams) == before


def test_matplotlib_waits_for_the_first_figure_and_pyplot_for_ever() -> None:
    program = """
import sys, pandas as pd
from runner.report.figures import run_figures
assert "matplotlib" not in sys.modules
curves = pd.DataFrame({"step": [0, 1], "quantity": "train_loss", "layer": "", "value": [2.0, 1.0]})
assert list(run_figures("he", curves, {})) == ["loss"]
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (0.025, "0.025"), (1000, "1000"), (1e5, "10⁵"), (-3e-10, "−3·10⁻¹⁰"), (-1e-10, "−10⁻¹⁰"),
     (0.99996, "1"), (9999.6, "10⁴"), (math.inf, "not finite")],
)  # fmt: skip
def test_numbers_are_written_for_readers(value: float, text: str) -> None:
    assert number(value, 4) == text
