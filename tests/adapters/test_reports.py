"""Reports in a notebook and as data frames: one table each, all text escaped."""

from __future__ import annotations

import torch
from torch import nn

import weightinit.torch as wt


class Net(nn.Sequential):
    def __init__(self, width: int = 16) -> None:
        super().__init__(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def drawn() -> nn.Module:
    model = Net()
    nn.init.kaiming_normal_(model[0].weight)
    return model


def test_every_report_is_a_table_in_a_notebook_and_in_pandas() -> None:
    x = torch.randn(32, 8)
    with wt.trace() as seen:
        model = Net()
    reports = {
        "audit": (wt.audit(model), 6),
        "probe": (wt.probe(model, x, draws=2), 6),
        "trace": (seen.report(model), 6),
        "forecast": (wt.forecast(model, x), 5),
        "same law": (wt.same_law(Net, drawn, seeds=4), 1),
        "coordinates": (wt.coordinate_check(Net, x, widths=(16, 32, 64)), 3 * 4),
        "initialize": (wt.initialize_(model, [wt.rule("*.weight", "he")], seed=0), 6),
    }
    for name, (report, rows) in reports.items():
        html, frame = report._repr_html_(), report.to_frame()
        assert html.count("<table>") == html.count("</table>") == 1, name
        assert html.startswith("<p><b>"), name
        assert len(frame) >= rows, name
    assert "rule(&#x27;*.weight&#x27;, he)" in reports["initialize"][0]._repr_html_()
    assert set(reports["probe"][0].to_frame()["name"]) == {"", "0", "1", "2", "3", "4"}
