"""The page of a sweep: whole in itself, readable, escaped, and it answers to clicks."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.analysis.best_rates import compared
from runner.report import page
from runner.report.artifacts import drawn
from runner.report.judgements import theory_sentence
from runner.tracking.address import silence
from runner.tracking.frames import frames
from runner.training.judging import SCATTER
from tests.browser import INSTALLED, Browser, browser
from tests.commands import started
from tests.recorded import run, seeds
from weightinit.reference import JACOBIAN

VOID = {"meta", "link", "br", "img", "input", "hr", "circle", "rect", "path"}
SESSION = {
    "name": "scheme=xavier,he", "overrides": ["scheme=xavier,he", "tracking.uri=http://me:secret@host"],
    "multirun": True, "sweep_id": "abcdef0123456789", "started": 1_700_000_000.0, "versions": {"numpy": "2.0"},
}  # fmt: skip


class Page(HTMLParser):
    """What a page holds; opened and closed as it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def script(self, identity: str) -> str:
        places = [index for index, (tag, _) in enumerate(self.elements) if tag == "script"]
        order = [self.elements[index][1].get("id") for index in places].index(identity)
        return [data for tag, data in self.words if tag == "script"][order]


def with_rows(recorded: Any, more: list[Any]) -> Any:
    """A recorded run with more rows."""
    trial, outcome = recorded
    rows = list(zip(outcome.rows.step, outcome.rows.quantity, outcome.rows.layer, outcome.rows.value, strict=True))
    return trial, type(outcome)(**{**outcome.__dict__, "rows": type(outcome.rows).of([*rows, *more])})


def with_layers(recorded: list[Any]) -> list[Any]:
    """The runs with statistics through training, as the runner records them."""
    more = [
        (step, "activation_rms", layer, 0.5 + step / 1000)
        for step in (0, 100, 200, 300)
        for layer in ("hidden/1", "hidden/2", "output")
    ]
    return [with_rows(one, more) for one in recorded]


def charts(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Page(text).script("data"))["charts"]
    return found


def swept() -> list[Any]:
    """Three schemes, three learning rates, four seeds; one scheme diverges at the largest."""
    made = []
    for rate, better in ((0.01, 0.0), (0.1, 0.03), (1.0, -0.1)):
        for scheme, accuracy in (("he", 0.9), ("xavier", 0.88), ("random", 0.3)):
            lost = rate == 1.0 and scheme == "he"
            made += seeds(
                4, scheme, accuracy + better, config={"optimizer.learning_rate": rate},
                **({"fate": "diverged", "step": 7} if lost else {}),
            )  # fmt: skip
    return with_layers(made)


def arrays(key: str) -> dict[str, Any]:
    centres, counts = np.linspace(-3, 3, 41), np.exp(-(np.linspace(-3, 3, 41) ** 2) / 2)
    shape = np.stack([centres, counts])
    return {f"histogram/{quantity}/hidden/{n}": shape for quantity in ("weight", "gradient") for n in (1, 2)}


def rendered(recorded: list[Any], **session: Any) -> str:
    tables = frames(recorded)
    return page.render(*compared(*tables), tables[1], [SESSION | session], arrays)


@pytest.fixture(scope="module")
def text() -> str:
    return rendered([*swept(), run("zeros", seed=0, fate="failed", error="ValueError: <b>no</b>")])


def test_the_page_asks_the_network_for_nothing(text: str) -> None:
    found = Page(text)
    for tag, attributes in found.elements:
        assert not {"src", "srcset", "action", "data"} & set(attributes), tag
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not any((value or "").startswith(("http", "//")) for value in attributes.values() if tag != "a")
    policy = next(meta["content"] for meta in found.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert not re.search(r"url\(|@import", text.partition("</style>")[0])
    script = gzip.decompress(base64.b64decode(found.script("plotly")))
    assert b"plotly.js" in script[:100]


def test_charts_are_ordered_as_the_ranking_and_repeat_no_colour() -> None:
    names = ["random", "lecun", "he", "xavier", "orthogonal", "normal", "uniform", "sparse", "siren", "lsuv"]
    places = np.random.default_rng(0).permutation(len(names))
    made = [one for name, place in zip(names, places, strict=True) for one in seeds(3, name, 0.9 - 0.05 * int(place))]
    tables = frames(made)
    ranked = compared(*tables)[0].groups.sort_values("place")["label"].tolist()
    assert ranked != names
    page = rendered(made)
    scores = charts(page)["chart-0-0"]
    assert scores["layout"]["yaxis"]["ticktext"] == ranked
    colors = [trace["marker"]["color"] for trace in scores["traces"] if len(trace["x"]) == 3]
    assert len(set(colors)) == len(colors) == len(names)
    legend = re.findall(r"</svg>([^<]+)</button>", page)
    inks = re.findall(r'<path class="ink-(\d+)', page)
    assert legend == ranked
    assert len(set(inks)) == len(inks) == len(names)
    assert all(f".ink-{ink}{{" in page for ink in inks)
    runs, curves = tables
    axis = drawn(Path(), runs, curves.iloc[:0], compared(*tables))["accuracy"].axes[0]
    assert [tick.get_text().partition(" (")[0] for tick in axis.get_yticklabels()] == ranked


def test_every_figure_says_how_to_read_it_and_what_it_shows(text: str) -> None:
    found = Page(text)
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert len(figures) == len(found.of("figure")) == 7
    for figure in figures:
        how = re.search(
            r'<figcaption id="([\w-]+)"><strong>[^<]+</strong> <span class="how">([^<]{30,})</span>', figure
        )
        assert how, figure[:300]
        assert f'aria-labelledby="{how[1]}"' in figure
        alt = re.search(r'role="img" aria-label="([^"]{30,})"', figure)
        assert alt, figure[:300]
    charts = json.loads(found.script("data"))["charts"]
    assert set(charts) == {div["id"] for div in found.of("div") if div.get("class") == "chart"}
    for table in re.findall(r"<table>.*?</table>", text, re.DOTALL):
        assert 'scope="' in table


def test_charts_are_what_plotly_takes(text: str) -> None:
    import plotly.graph_objects as go

    quantities = set()
    for name, chart in json.loads(Page(text).script("data"))["charts"].items():
        plain = json.loads(re.sub(r'"@\w+(/[\d.]+)?"', '"#123456"', json.dumps(chart)))
        go.Figure({"data": plain["traces"], "layout": plain["layout"]})  # raises for what it doesn't know
        assert plain["traces"], name
        quantities |= {trace.get("type", "scatter") for trace in plain["traces"]}
    assert quantities == {"scatter", "heatmap"}


def test_charts_by_layer_show_where_correct_networks_lie(text: str) -> None:
    """Two scatters about the median, as the recorded rows say."""
    by_layer = [chart for chart in charts(text).values() if chart["layout"]["xaxis"].get("title") == {"text": "layer"}]
    traces = [trace for trace in by_layer[0]["traces"] if trace.get("fill") == "toself"]
    assert {trace["name"] for trace in traces} == {"he", "xavier", "random"}
    x, y = np.array(traces[0]["x"]), np.array(traces[0]["y"])
    assert y[np.flatnonzero(x == 6)] == pytest.approx(np.exp([-0.2, 0.2]), rel=1e-4)
    assert y[np.flatnonzero(x == 1)] == pytest.approx(np.exp([-0.2 / 6**0.5, 0.2 / 6**0.5]), rel=1e-4)


def test_the_jacobian_stands_beside_its_theory_and_correct_networks() -> None:
    measured = {"init": 2.0, "predicted": 1.0, "reference": 1.5}
    rows = [(0, f"{side}_{name}", "", value) for side, value in measured.items() for name in JACOBIAN]
    rows += [(0, SCATTER[name], "", 0.25) for name in JACOBIAN]
    text = rendered([with_rows(run("he", seed=0), rows)])
    panels = [
        chart["traces"] for chart in charts(text).values() if chart["layout"].get("xaxis", {}).get("ticktext") == ["he"]
    ]
    for (band, point, theory), edges in zip(panels, ([0.91, 2.473], [1.0, 2.0]), strict=True):
        assert (min(band["y"]), max(band["y"])) == pytest.approx(edges, rel=1e-3)
        assert (point["y"], theory["y"]) == ([2.0], [1.0, 1.0])


def test_the_page_says_that_not_every_run_of_a_large_group_has_a_mark() -> None:
    assert "the first 60 runs have marks" in rendered(seeds(61, "he", 0.9))
    assert "runs have marks" not in rendered(seeds(60, "he", 0.9))


def test_the_page_says_why_theory_has_no_number() -> None:
    recorded = [run("lsuv", seed=seed, labels={"no_theory": "the law is unknown"}) for seed in range(3)]
    said = "At initialization, theory lacks numbers for 3 of 5 runs: the law is unknown."
    assert said in rendered([*recorded, *seeds(2, "he", 0.9)])
    assert "theory lacks" not in rendered(seeds(2, "he", 0.9))
    assert "theory lacks" in theory_sentence(frames(recorded)[0])


def test_the_answer_comes_first_and_each_scheme_is_at_its_own_best_rate(text: str) -> None:
    shown = re.sub(r"<[^>]+>", " ", text.partition("<main>")[0])
    assert re.search(r"he and xavier are not distinguished|he is best", shown)
    assert text.index('class="answer"') < text.index("Each at its best learning rate") < text.index("Ranking")
    for title in (
        "Sensitivity to the learning rate",
        "Distributions at initialization",
        "Activation rms through training",
    ):
        assert title in text
    assert "failed" in text.partition("Diverged and failed")[2]


def test_an_experiment_is_answered_in_the_first_sentence_and_its_columns_stand_in_the_table() -> None:
    runs, curves = frames([run("zeros", distinct_units=1.0), run("he", distinct_units=32.0)])
    words = {"report.question": "Do units differ?", "report.answer.distinct_units": "Distinct <units>"}
    shown = page.render(*compared(runs.assign(**words, **{"report.columns": '["distinct_units"]'}), curves), curves, [])
    said = [data for tag, data in Page(shown).words if tag == "p"]
    assert said[:2] == ["Do units differ?", "Distinct <units>: zeros 1, he 32."]
    headers = [data for tag, data in Page(shown).words if tag == "th"]
    assert "distinct units" in headers


def test_what_users_write_is_escaped() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    recorded = [
        run("he", seed=s, config={"scheme.note": f"{evil}{n}", "report.title": evil}, test_accuracy=0.9, name=evil)
        for s in range(2)
        for n in "ab"
    ]
    recorded += [run("he", seed=9, fate="failed", error=evil)]
    text = rendered(recorded, name=evil, overrides=[f"x={evil}"])
    found = Page(text)
    assert not found.of("img")
    assert "<" not in found.script("data")
    assert len(found.of("script")) == 3
    assert "secret" not in rendered(recorded)
    charts = json.dumps(json.loads(found.script("data"))["charts"])
    assert "<img" not in charts  # Plotly takes tags for markup
    assert "&lt;img" in charts


@pytest.mark.parametrize(
    "recorded",
    [
        [run("he", test_accuracy=0.9)],
        [run("he", fate="failed", error="no")],
        [run("he", seed=s, fate="diverged", step=1, factor=9.0) for s in range(3)],
        [run("he", depth=0, test_r2=-40.0), run("xavier", depth=0, test_r2=0.3)],
        [run(s, factor=0.0, test_loss=3.0) for s in ("zeros", "he")],
        [run("he", seed=s, expected=None, test_accuracy=0.1, factor=1e30) for s in range(12)],
    ],
    ids=["one run", "failed", "diverged", "regression", "zeros", "huge"],
)
def test_whatever_happened_there_is_a_page(recorded: list[Any]) -> None:
    found = Page(rendered(recorded))
    assert "NaN" not in found.script("data")
    assert len(found.of("h1")) == 1


def test_a_page_of_a_thousand_runs_is_small_and_quick(tmp_path: Path) -> None:
    made = [
        one
        for depth in range(1, 11)
        for scheme in "abcde"
        for one in seeds(20, scheme, 0.9, config={"architecture.depth": depth}, depth=depth)
    ]
    tables = frames(with_layers(made))
    start = time.process_time()
    path = page.write(tmp_path / "report.html", *compared(*tables), tables[1], [SESSION], arrays)
    assert time.process_time() - start < 10
    assert path.stat().st_size < 4e6


# ---------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def window(text: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not INSTALLED:
        pytest.skip("needs Chromium and its driver")
    folder = tmp_path_factory.mktemp("browser")
    (folder / "report.html").write_text(text, encoding="utf-8")
    with browser(folder / "profile") as opened:
        opened.call("POST", "/url", url=(folder / "report.html").as_uri())
        opened.wait("return document.documentElement.dataset.ready")
        yield opened


DRAWN = "return document.querySelectorAll('.chart .main-svg').length > 0"
LINES = "return document.querySelectorAll('#chart-0-0 .scatterlayer .trace').length"


def test_a_click_on_a_group_takes_it_out_of_the_charts(window: Browser) -> None:
    window.wait(DRAWN)
    before = window.wait(LINES)
    window.click(".switches button[data-group='0']")
    assert window.run("return document.querySelector('.switches button').getAttribute('aria-pressed')") == "false"
    assert window.wait(f"{LINES} < {before} && {LINES.removeprefix('return ')}") < before
    assert window.run("return document.querySelectorAll('.panel[data-group=\"0\"]:not([hidden])').length") == 0
    window.click(".switches button[data-group='0']")
    window.wait(f"{LINES} == {before}")


def test_charts_are_drawn_as_they_come_into_view_and_nothing_is_complained_of(window: Browser) -> None:
    charts = window.run("return document.querySelectorAll('.chart').length")
    window.run(
        "document.querySelectorAll('.chart').forEach((chart, n) => setTimeout(() => chart.scrollIntoView(), 60 * n))"
    )
    window.wait(f"return document.querySelectorAll('.chart .main-svg:first-child').length >= {charts}")
    complaints = [line for line in window.call("POST", "/se/log", type="browser") if line["level"] == "SEVERE"]
    assert complaints == []


def test_on_a_phone_nothing_stands_out_of_the_page(window: Browser) -> None:
    device = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    window.call("POST", "/goog/cdp/execute", cmd="Emulation.setDeviceMetricsOverride", params=device)
    window.wait("return innerWidth == 390")
    assert window.run("return document.documentElement.scrollWidth") <= 390
    window.wait("return !document.querySelector('.more').open")
    assert window.run("return document.documentElement.scrollHeight") <= 5 * 844
    window.run("document.querySelector('.more summary').click()")
    window.run("document.querySelector('.more .chart').scrollIntoView()")
    window.wait("return document.querySelectorAll('.more[open] .main-svg').length > 0")


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="needs Chromium and its driver")
def test_mlflow_shows_the_page_of_a_sweep(tmp_path: Path) -> None:
    port = 5983
    words = ("architecture.depth=2", "architecture.width=8", "training.steps=3", f"outputs={tmp_path / 'outputs'}")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db", "--artifacts-destination", f"{tmp_path}/kept"]
    server = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 90
        while silence(uri := f"http://127.0.0.1:{port}"):
            assert time.monotonic() < deadline
        sweep = started("scheme=xavier,he", "seed=0,1", *words, f"tracking.uri={uri}", "-m")
        sweep.communicate(timeout=120)
        assert sweep.returncode == 0
        found = json.loads(ask(f"{uri}/api/2.0/mlflow/runs/search", experiment_ids=["1"]))["runs"]
        (parent,) = (one["info"] for one in found if all(tag["key"] != "trial_key" for tag in one["data"]["tags"]))
        with browser(tmp_path / "profile") as opened:
            place = f"#/experiments/{parent['experiment_id']}/runs/{parent['run_id']}/artifacts/report.html"
            opened.call("POST", "/url", url=f"{uri}/{place}")
            opened.wait("return document.querySelector('iframe.mlflow-html-iframe') !== null", 60)
            frame = opened.call("POST", "/element", using="css selector", value="iframe.mlflow-html-iframe")
            opened.call("POST", "/frame", id=frame)
            opened.wait("return document.documentElement.dataset.ready")
            opened.run("document.querySelector('.chart').scrollIntoView()")
            opened.wait(DRAWN)
            opened.click(".switches button[data-group='1']")
            opened.wait("return document.querySelectorAll('.switches button[aria-pressed=false]').length == 1")
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def ask(address: str, **body: Any) -> bytes:
    """What a server answers."""
    request = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        content: bytes = answer.read()
    return content


def test_in_the_dark_the_page_and_its_charts_are_dark(window: Browser) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    window.call("POST", "/goog/cdp/execute", cmd="Emulation.setEmulatedMedia", params={"features": features})
    brightness = "match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)"
    assert window.run(f"return getComputedStyle(document.body).backgroundColor.{brightness}") < 150
    tick = "getComputedStyle(document.querySelector('.chart .xtick text')).fill"
    window.wait(f"return {tick}.{brightness} > 500")


def test_blocks_have_charts_of_their_stream_where_a_run_has_some() -> None:
    shares = {"block/1/attention": 0.4, "block/1/mlp": 0.2, "block/2/attention": 0.25, "block/2/mlp": 0.1}
    rows = [(0, "init_branch_share", layer, value) for layer, value in shares.items()]
    rows += [(0, "init_attention_entropy", layer, 0.6) for layer in shares if layer.endswith("attention")]
    text = rendered([with_rows(run("he", seed=seed), rows) for seed in range(2)])
    share, entropy = (
        c for c in charts(text).values() if c["layout"].get("xaxis", {}).get("title") == {"text": "block"}
    )
    (points,) = share["traces"]
    assert (points["y"], points["text"]) == (list(shares.values()), list(shares))
    assert entropy["traces"][0]["y"] == [0.6, 0.6]
    assert share["layout"]["xaxis"]["ticktext"] == ["1/attention", "1/mlp", "2/attention", "2/mlp"]
    assert "Residual blocks" not in rendered([run("he")])
