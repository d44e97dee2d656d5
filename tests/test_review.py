"""``mode=compare``: recorded sweeps are found, shown again, together, as tables, and held against each other."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from runner.analysis.best_rates import RATE, tuned
from runner.analysis.comparison import compare
from runner.analysis.diff import changes
from runner.records import Rows, Tracking
from runner.report.best_rates import tuned_lines
from runner.report.diff import changes_lines
from runner.report.ranking import csv, latex, markdown, ranked, ranking
from runner.report.sentences import answer
from runner.tracking import files, read, sessions
from runner.tracking.frames import frames
from runner.tracking.recorded import find
from tests.commands import directories, mlflow_runs, typed
from tests.recorded import run, seeds
from weightinit.meanfield.stability import Label

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

QUICK = ("architecture.depth=2", "architecture.width=8", "training.steps=3", "training.probe.size=16")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs with two sweeps by files alone: of two schemes and two seeds, then of a third scheme."""
    outputs = tmp_path_factory.mktemp("compare") / "outputs"
    common = (f"outputs={outputs}", "tracking=none", *QUICK)
    assert typed("scheme=xavier,he", "seed=0,1", *common, "-m") == 0
    assert typed("scheme=orthogonal", "seed=0,1", *common, "-m") == 0
    return outputs


def compared(outputs: Path, *words: str) -> int:
    return typed("mode=compare", f"outputs={outputs}", *words)


# ------------------------------------------------------------------------------------------------------- finding


def test_a_sweep_is_found_by_whatever_names_it(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, last = directories(recorded)
    state = sessions.read(first)
    assert state is not None
    assert state["versions"]["numpy"] == np.__version__
    names = [first.name, str(first), state["sweep_id"], state["sweep_id"][:10], state["id"], state["name"], "latest"]
    found = find(names, Tracking("none", None, "weightinit", False, recorded))
    assert [command.directory for command in found] == [*[first] * 6, last]
    capsys.readouterr()
    assert compared(recorded, f"sweep='{state['name']}'") == 0
    printed = capsys.readouterr().out
    assert re.search(r"^xavier +2 ", printed, re.MULTILINE)
    assert f"page:     {first / 'report.html'}" in printed


def test_what_was_recorded_stays_as_it_was(recorded: Path) -> None:
    before = {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()}
    assert compared(recorded, "sweep=latest") == 0
    after = {path: path.read_bytes() for path in recorded.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"report.html"}
    assert set(after) - set(before) == set()


def test_several_sweeps_are_compared_as_one(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(path.name for path in directories(recorded))
    assert compared(recorded, f"sweep=[{names},{directories(recorded)[0].name}]") == 0
    printed = capsys.readouterr().out
    assert all(re.search(rf"^{scheme} +2 ", printed, re.MULTILINE) for scheme in ("xavier", "he", "orthogonal"))
    (page,) = (recorded / "comparisons").glob("*/report.html")
    assert all(scheme in page.read_text() for scheme in ("xavier", "orthogonal"))
    assert len(directories(recorded)) == 2


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            "sweep=nowhere",
            r"^sweep must be latest, .*; got 'nowhere', .*there are: .*scheme=orthogonal.*; .*scheme=xav",
        ),
        ("sweep=null", r"^sweep needs a value\. Pass sweep=latest\.$"),
        ("sweep=12e45", r"reads as a number\. Quote it"),
        ("against=nowhere", r"got 'nowhere'"),
        ("against=[a,b]", r"^against takes one sweep; got 2\."),
        ("format=pdf", r"^format must be one of text, latex, csv, markdown; got 'pdf'\."),
        ("figures=gif", r"^figures must be of png, svg, pdf; got 'gif'\. Pass figures=\[png,svg\]\.$"),
        ("swep=latest", r"^swep is not a key here; .* Did you mean sweep\?$"),
        ("outputs=/tmp/empty-of-everything", r"below /tmp/empty-of-everything is that; there is none\."),
        ("tracking.uri=http://127.0.0.1:1", r"^tracking\.uri must be an MLflow server that answers; got http://127"),
    ],
)
def test_a_mistake_is_answered_by_one_sentence(
    recorded: Path, words: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = set(recorded.rglob("*"))
    assert compared(recorded, *words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert re.search(answer, err.removeprefix("runner: ").rstrip("\n")), err
    assert set(recorded.rglob("*")) == before


def test_other_modes_have_no_such_keys(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed("sweep=latest", f"outputs={recorded}") == 2
    assert "sweep is not a key here" in capsys.readouterr().err


def test_a_sweep_is_read_back_from_mlflow_where_its_files_are_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    there, here = tmp_path / "there", tmp_path / "here"
    assert typed("scheme=xavier,he", "seed=0,1", f"outputs={there}", *QUICK, "-m") == 0
    (directory,) = directories(there)
    own = read(directory)
    parent = next(run for run in mlflow_runs(there) if "trial_key" not in run.data.tags)
    uri = f"sqlite:///{there}/mlflow.db"
    held = {item.path for item in MlflowClient(uri).list_artifacts(parent.info.run_id)}
    assert {"report.html", files.RUNS, files.CURVES} <= held
    assert json.loads(parent.data.tags["overrides"])[:2] == ["scheme=xavier,he", "seed=0,1"]
    # by MLflow's ID the files that are there are found
    capsys.readouterr()
    assert compared(there, f"sweep={parent.info.run_id[:12]}") == 0
    assert str(directory) in capsys.readouterr().out
    shutil.rmtree(directory)
    for name in ("latest", parent.info.run_id, parent.data.tags["sweep_id"][:12]):
        assert compared(here, f"tracking.uri={uri}", f"sweep={name}") == 0
    copied = here / "comparisons" / parent.info.run_id
    assert f"page:     {copied / 'report.html'}" in capsys.readouterr().out
    for mine, theirs in zip(read(copied), own, strict=True):
        pd.testing.assert_frame_equal(mine, theirs)
    assert "python -m runner scheme=xavier,he seed=0,1" in (copied / "report.html").read_text()
    assert not (here / "sweeps").exists()


# -------------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("kind", ["latex", "csv", "markdown"])
def test_a_table_is_printed_alone_and_kept(recorded: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(recorded, f"sweep={directories(recorded)[0].name}", f"format={kind}") == 0
    ending = {"latex": "tex", "csv": "csv", "markdown": "md"}[kind]
    directory = directories(recorded)[0]
    assert capsys.readouterr().out == (directory / f"ranking.{ending}").read_text()


def test_figures_are_drawn_in_the_formats_asked_for(recorded: Path) -> None:
    directory = directories(recorded)[1]
    assert compared(recorded, "figures=[svg,pdf]") == 0
    assert {path.suffix for path in (directory / "figures").iterdir()} == {".png", ".svg", ".pdf"}


def test_tables_hold_the_groups_best_first() -> None:
    comparison = compare(*frames([*seeds(6, "xa_v&ier|", 0.8), *seeds(6, "he", 0.9), *seeds(6, "ho", 0.9)]))
    names = next(column for column in ranking(comparison) if column.header == "scheme").cells
    assert set(names[:2]) == {"he", "ho"}
    assert names[2] == "xa_v&ier|"
    rows = [line.split(" | ") for line in markdown(comparison).splitlines()]
    assert len({len(row) for row in rows}) == 1
    assert r"xa\_v&ier\|" in rows[4][0]
    body = latex(comparison)
    assert r"xa\_v\&ier|" in body
    assert body.count(r"\textbf") == 2
    lines = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    import io

    table = pd.read_csv(io.StringIO(csv(comparison)))
    assert list(table["scheme"]) == list(names)
    np.testing.assert_allclose(table["test"], ranked(comparison)["test"])
    medians = comparison.runs.groupby("scheme")["test_accuracy"].median()
    np.testing.assert_allclose(table["median"], medians[table["scheme"]])


# ------------------------------------------------------------------------------------------------------ fairness


def rates(table: dict[str, dict[float, float]], **settings: object) -> list[object]:
    """Runs of schemes at learning rates; ``table``: validation accuracy by scheme and rate, test .01 below it."""
    return [
        run(
            scheme, seed=seed, config={"optimizer.learning_rate": rate}, validation_accuracy=accuracy + seed / 1000,
            test_accuracy=accuracy - 0.01 + seed / 1000, **settings,
        )
        for scheme, row in table.items() for rate, accuracy in row.items() for seed in range(4)
    ]  # fmt: skip


def test_each_scheme_is_at_the_rate_that_is_best_for_it_on_validation() -> None:
    tables = frames(rates({"he": {0.01: 0.9, 0.1: 0.7, 1.0: 0.2}, "xavier": {0.01: 0.4, 0.1: 0.8, 1.0: 0.95}}))
    found = tuned(compare(*tables), *tables)
    assert found is not None
    best = found.best.groups.set_index("scheme")
    assert dict(best[RATE]) == {"he": 0.01, "xavier": 1.0}
    assert best.loc["xavier", "verdict"] == "best"
    assert best.loc["he", "test"] == pytest.approx(0.8915)
    # .75 on average at .1, .65 and .575 at the others
    assert set(found.common.groups[RATE]) == {0.1}
    assert found.best.by == ("scheme",)
    assert "xavier is best" in answer(found.best)
    text = "\n".join(tuned_lines(found))
    assert re.search(r"^he +\.01 .*\.1 ", text, re.MULTILINE)


def test_test_data_chooses_no_rate_and_a_diverged_run_counts_as_worst() -> None:
    lucky = rates({"he": {0.01: 0.8, 0.1: 0.9}, "xavier": {0.01: 0.7, 0.1: 0.6}})
    changed = [
        (trial, replace(outcome, summary={**outcome.summary, "test_accuracy": 0.99}))  # type: ignore[attr-defined]
        if trial.config["optimizer"]["learning_rate"] == 0.01 else (trial, outcome)  # type: ignore[attr-defined]
        for trial, outcome in lucky
    ]  # fmt: skip
    # two of four seeds of he diverge at the rate where the others do best
    lost = [
        (t, replace(o, fate="diverged", diverged_at_step=3)) if t.config["scheme"]["_target_"].endswith("he")
        and t.config["optimizer"]["learning_rate"] == 0.1 and t.config["seed"] < 2 else (t, o)
        for t, o in changed
    ]  # fmt: skip
    failed = [
        (t, o if t.config["optimizer"]["learning_rate"] == 0.01 else replace(o, fate="failed", summary={}, error="no"))
        for t, o in changed
    ]
    for recorded, expected in ((changed, 0.1), (lost, 0.01), (failed, 0.01)):
        tables = frames(recorded)
        found = tuned(compare(*tables), *tables)
        assert found is not None
        assert found.best.groups.set_index("scheme").loc["he", RATE] == expected


def test_rates_are_chosen_network_by_network_and_only_where_swept_beside_something() -> None:
    made = [
        one
        for activation, best in (("relu", 0.01), ("tanh", 0.1))
        for one in rates(
            {s: {rate: 0.9 if rate == best else 0.5 for rate in (0.01, 0.1)} for s in ("he", "xavier")},
            choices={"activation": activation},
        )
    ]
    tables = frames(made)
    found = tuned(compare(*tables), *tables)
    assert found is not None
    for side in (found.best, found.common):
        assert dict(side.groups.groupby("activation")[RATE].first()) == {"relu": 0.01, "tanh": 0.1}
        assert side.context == ("activation",)
    for alone in (rates({"he": {0.01: 0.9, 0.1: 0.8}}), rates({"he": {0.01: 0.9}, "xavier": {0.01: 0.8}})):
        tables = frames(alone)
        assert tuned(compare(*tables), *tables) is None


def test_one_seed_never_ranks_at_any_rate() -> None:
    made = list(rates({"he": {0.01: 0.9, 0.1: 0.2}, "xavier": {0.01: 0.1, 0.1: 0.2}}))[::4]
    tables = frames(made)
    found = tuned(compare(*tables), *tables)
    assert found is not None
    assert set(found.best.groups["verdict"]) == {""}
    assert "No ranking" in answer(found.best)


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ([run("he", seed=s, test_accuracy=0.9) for s in range(3)], r"^he reaches test accuracy \.900 .* over 3 seeds"),
        ([run("he", fate="failed", error="no")], "^Every run failed"),
        ([run("he", seed=s, fate="diverged", step=2) for s in range(2)], "^he diverged in every run"),
        ([run("he"), run("xavier")], "^No ranking: one seed each"),
        ([*seeds(3, "he", 0.9), *seeds(6, "xavier", 0.9)[3:]], "no two groups"),
        (
            [*seeds(5, "he", 0.9), *seeds(5, "xavier", 0.9, steps=60)],
            r"^he and xavier are not distinguished; he has .*; xavier is slower than he\.$",
        ),
        ([*seeds(5, "he", 0.9), *seeds(5, "xavier", 0.5)], r"^he is best: .*; xavier is worse\.$"),
    ],
)
def test_the_answer_is_a_sentence(recorded: list[object], said: str) -> None:
    assert re.search(said, answer(compare(*frames(recorded))))


# ------------------------------------------------------------------------------------------------------- changes


def altered(recorded: list[object], place: int, *, by: float, quantity: str = "init_activation_rms") -> list[object]:
    """The runs, of which one has its first row of a quantity changed by a factor."""
    trial, outcome = recorded[place]  # type: ignore[misc]
    rows = outcome.rows
    value = rows.value.copy()
    value[rows.quantity.index(quantity)] *= by
    changed = Rows(rows.step, rows.quantity, rows.layer, value)
    return [*recorded[:place], (trial, replace(outcome, rows=changed)), *recorded[place + 1 :]]


def test_equal_recordings_have_not_changed() -> None:
    made = [*seeds(3, "he", 0.9), run("normal", fate="diverged", step=3), run("zeros", fate="failed", error="no")]
    found = changes(frames(made), frames(made[::-1]))
    assert found.same
    assert found.by_key == 5
    assert found.quantities.empty
    assert "equal to the last bit" in changes_lines(found)[-1]


def test_the_last_bit_counts_and_is_told() -> None:
    made = seeds(3, "he", 0.9)
    now = altered(altered(made, 1, by=1 + 2**-52, quantity="train_loss"), 2, by=1.5)
    found = changes(frames(now), frames(made))
    assert not found.same
    assert found.changed == ("he s1", "he s2")
    rows = found.quantities.set_index("quantity")
    assert list(rows.index) == ["init_activation_rms", "train_loss"]  # of the initialization first
    assert rows.loc["train_loss", "difference"] == pytest.approx(2**-52)
    assert rows.loc["init_activation_rms", "difference"] == pytest.approx(0.5)
    assert rows.loc["init_activation_rms", "layer"] == "hidden/1"
    text = "\n".join(changes_lines(found))
    assert "2 trials changed, 1 equal to the last bit" in text
    assert re.search(r"init_activation_rms +1 +step 0 hidden/1 +\.500 +he s2", text)


def test_a_zero_that_changes_its_sign_has_changed() -> None:
    made = seeds(1, "he", 0.9)
    positive, negative = (altered(made, 0, by=zero) for zero in (0.0, -0.0))
    assert not changes(frames(positive), frames(negative)).same


def test_what_is_missing_has_changed_and_what_is_new_has_not() -> None:
    made = seeds(4, "he", 0.9)
    fewer, more = changes(frames(made[:3]), frames(made)), changes(frames(made), frames(made[:3]))
    assert (fewer.same, more.same) == (False, True)
    assert fewer.lost == more.new == ("he s3",)
    ended = [(made[0][0], replace(made[0][1], fate="diverged", diverged_at_step=5)), *made[1:]]
    found = changes(frames(ended), frames(made))
    assert set(found.quantities["quantity"]) == {"fate", "diverged_at_step"}
    assert np.isinf(found.quantities["difference"]).all()


def test_trials_whose_keys_have_moved_are_matched_by_what_they_are() -> None:
    made = seeds(3, "he", 0.9) + seeds(3, "xavier", 0.8)
    moved = []
    for trial, outcome in made:
        trial.key, old = f"new {trial.key}", trial.key
        moved.append((trial, replace(outcome, key=trial.key)))
        assert old != trial.key
    now = frames(moved)
    for (trial, _), key in zip(made, [outcome.key for _, outcome in made], strict=True):
        trial.key = key
    found = changes(now, frames(made))
    assert (found.by_key, found.by_config) == (0, 6)
    assert found.same
    assert "their keys differ" in changes_lines(found)[0]
    with pytest.raises(ValueError, match="no trial of the two"):
        changes(frames(seeds(1, "he", 0.9)), frames(seeds(1, "xavier", 0.9)))


def test_changes_at_the_command_line(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, last = directories(recorded)
    copy = tmp_path / "copy"
    shutil.copytree(first, copy)
    assert compared(recorded, f"sweep={first.name}", f"against={copy}") == 0
    assert "4 trials in both" in capsys.readouterr().out
    _runs, curves = read(copy)
    place = int(np.flatnonzero(curves["quantity"] == "init_weight_std")[0])
    curves.loc[place, "value"] = np.nextafter(curves.loc[place, "value"], 1)
    curves.to_parquet(copy / files.CURVES)
    assert compared(recorded, f"sweep={first.name}", f"against={copy}") == 1
    assert re.search(r"init_weight_std +1 +step 0 hidden/1", capsys.readouterr().out)
    assert compared(recorded, f"sweep={last.name}", f"against={first.name}") == 2


# ------------------------------------------------------------------------------------------- records of before

# Recorded when the labels of the initial state were words: "halves at each layer", "differs: 5 of 10 tensors; ...".
BEFORE = Path(__file__).parent / "samples" / "recorded"
AS_BEFORE = ("architecture.depth=4", "architecture.width=8", "training.steps=3", "training.probe.size=16")


def test_records_with_words_are_shown_with_the_words_of_today(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(BEFORE, tmp_path / "before")
    words = set(read(tmp_path / "before" / "schemes")[0]["predicted_fate"])
    assert words == {"stable", "halves at each layer"}
    assert compared(tmp_path, f"sweep={tmp_path / 'before' / 'schemes'}") == 0
    shown = capsys.readouterr().out
    assert re.search(r"^xavier .* halves +\S", shown, re.MULTILINE)
    assert "audit:" not in shown
    assert compared(tmp_path, f"sweep={tmp_path / 'before' / 'mislabelled'}") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "in 2 of 2 runs, first in Mislabelled s0, weights do not follow the law" in shown
    assert "(5 of 10 tensors; hidden/1/weight: std 0.125 is 0.707 times the law's 0.1768" in shown


def test_records_with_words_are_held_against_those_of_today(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("scheme=xavier,he", "seed=0,1", f"outputs={tmp_path}", "tracking=none", *AS_BEFORE, "-m")
    assert typed(*line) == 0
    (now,) = directories(tmp_path)
    runs, curves = read(now)
    assert set(runs["measured_fate"]) | set(runs["predicted_fate"]) <= set(get_args(Label))
    assert set(runs["audit"]) == {"follows"}
    # Numbers are equal to the last bit on one type of processor; on another they round otherwise.
    then = read(BEFORE / "schemes")
    found = changes((runs, curves), then)
    assert (found.by_config, found.lost, found.new) == (4, (), ())  # keys of another RESULTS_VERSION
    known = found.quantities[found.quantities["quantity"].isin({*then[0], *then[1]["quantity"]})]
    measured = known[known["quantity"].isin(runs) | known["quantity"].isin(curves["quantity"])]
    assert np.isfinite(measured["difference"].astype(float)).all()
    before = tmp_path / "before"
    shutil.copytree(now, before)
    words = runs.assign(measured_fate="x.80 at each layer", audit="differs: 1 of 10 tensors; hidden/1/weight: std 3")
    words.drop(columns=["audit_tensor", "audit_finding"]).to_parquet(before / files.RUNS)
    capsys.readouterr()
    for one, other in ((now, before), (before, now)):
        assert compared(tmp_path, f"sweep={one}", f"against={other}") == 0
        assert "equal to the last bit" in capsys.readouterr().out
    assert compared(tmp_path, f"sweep=[{now},{BEFORE / 'mislabelled'}]") == 0  # words and labels in one table
