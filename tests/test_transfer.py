"""Transfer: best learning rates over width and depth, on tables whose best rates are known."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import runner
from runner.analysis.comparison import compare
from runner.analysis.transfer import Transfer, level, transfers
from runner.report import figures, page
from runner.report.transfer import transfer_lines

RATES = [2.0**power for power in range(-12, -2)]
WIDTHS = (64, 128, 256, 512)


def recorded(
    powers: dict[str, float], *, noise: float = 0.0, seeds: Sequence[int] = range(5), rates: Sequence[float] = RATES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs and curves of losses that are least at 2^-6 (width / 64)^power."""
    rng = np.random.default_rng(0)
    rows = []
    for scheme, power in powers.items():
        for width in WIDTHS:
            for seed in seeds:
                best = -6.2 + power * math.log2(width / 64) + noise * rng.standard_normal()
                for rate in rates:
                    loss = 0.1 + 0.02 * (math.log2(rate) - best) ** 2
                    rows.append({
                        "key": f"{scheme} {width} {seed} {rate}", "name": scheme, "scheme": scheme,
                        "architecture.width": width, "optimizer.learning_rate": rate, "seed": seed,
                        "fate": "finished", "train_loss": loss, "validation_loss": loss, "test_accuracy": 0.5,
                        "validation_accuracy": 0.5, "diverged_at_step": math.nan, "error": "",
                    })  # fmt: skip
    curves = pd.DataFrame(
        {"key": [row["key"] for row in rows], "step": 1, "quantity": "train_loss", "layer": "", "value": 1.0}
    )
    return pd.DataFrame(rows), curves


def table(powers: dict[str, float], **options: Any) -> list[Transfer]:
    return transfers(compare(*recorded(powers, **options)))


def test_the_best_rate_is_interpolated_and_its_drift_fitted() -> None:
    he, mup = table({"he": -1.0, "mup": 0.0})
    assert (he.label, mup.label, he.along, he.sizes) == ("he", "mup", "width", WIDTHS)
    for width, best in zip(WIDTHS, he.best, strict=True):
        assert best.mean == pytest.approx(-6.2 - math.log2(width / 64))
    assert he.drift.mean == pytest.approx(-3)
    assert he.power.mean == pytest.approx(-1)
    assert mup.drift.mean == pytest.approx(0, abs=1e-9)
    assert not any(he.at_edge)
    assert (level(he), level(mup)) == (False, True)
    assert level(mup, within=0.0) is None


def test_intervals_hold_the_drift_and_edges_are_told() -> None:
    held = [
        one.drift.low < -0.9 < one.drift.high
        for one in table({f"scheme {number}": -0.3 for number in range(10)}, noise=0.3)
    ]
    assert sum(held) >= 7  # of 10 at 95%; fewer by chance once in 1,000
    (one,) = table({"he": -1.0}, rates=RATES[4:])
    assert one.at_edge == (False, False, True, True)
    assert level(one) is None
    assert "at width 256, 512 the best rate is at the edge of those tried" in "\n".join(transfer_lines([one]))
    assert table({"he": 0.0}, rates=RATES[:3]) == []
    (few,) = table({"he": 0.0}, seeds=[0, 1])
    assert level(few) is None


def test_words_and_figure(tmp_path: Path) -> None:
    found = table({"he": -1.0, "mup": 0.0}, noise=0.1)
    said = "\n".join(transfer_lines(found))
    assert "best rate at width" in said
    assert "mup: log2 of the best rate drifts by" in said
    assert "from width 64 to 512: less than one doubling." in said
    assert "from width 64 to 512: more than one doubling." in said
    assert figures.transfer_figures([]) == {}
    drawn = figures.transfer_figures(found)
    assert "Training loss over the learning rate by width" in drawn["transfer"].get_label()
    assert list(figures.save(drawn, tmp_path)) == ["transfer.png"]


def test_the_page_shows_best_rates_with_their_intervals() -> None:
    runs, curves = recorded({"he": -1.0, "mup": 0.0}, noise=0.1)
    text = page.render(compare(runs, curves), None, curves, [])
    head, _, data = text.partition('id="data">')
    assert "mup: log2 of the best rate drifts by" in head
    assert "Best learning rate by width" in head
    assert re.search(r"<td>\.\d+ \(\.\d+ to \.\d+\)</td>", head)
    (found,) = [
        chart
        for chart in json.loads(data.partition("</script>")[0])["charts"].values()
        if chart["layout"].get("yaxis", {}).get("title") == {"text": "best learning rate"}
    ]
    assert [trace["name"] for trace in found["traces"]] == ["he", "mup"]
    assert found["traces"][0]["x"] == list(WIDTHS)
    assert found["traces"][0]["y"][0] == pytest.approx(2**-6.2, rel=0.1)


# Claims on real runs, committed before the runs they are judged by. docs/transfer.md shows what was measured.

WIDE = [
    "experiment=transfer",
    "architecture.width=64,128,256,512,1024",
    f"optimizer.learning_rate={','.join(map(str, RATES))}",
    "tracking=none",
]


@pytest.mark.slow
def test_the_best_rate_of_mup_drifts_by_less_than_one_doubling_from_width_64_to_1024(tmp_path: Path) -> None:
    """In 20 new seeds: the whole 95% interval of the drift within one doubling, no best rate at the edge.

    The five seeds 0 to 4 left it undecided: -.57, -1.05 to -.10.
    """
    (mup,) = transfers(compare(*runner.run([*WIDE, "scheme=mup", "seed=range(5,25)", f"outputs={tmp_path}"])))
    print("\n".join(transfer_lines([mup])))
    assert mup.sizes == (64, 128, 256, 512, 1024)
    assert not any(mup.at_edge)
    assert level(mup)
