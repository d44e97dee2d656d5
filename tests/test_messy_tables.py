"""Tables as people have them: gaps, categories, dates, names, few of one class, other marks and encodings."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import runner.data
from runner.data.columns import MOST_VALUES, recognise
from runner.data.encoding import Encoder
from runner.data.groups import split_groups
from tests.commands import ROOT, typed
from weightinit.arrays import stream

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

ROWS = 600


def messy(rows: int = ROWS) -> pd.DataFrame:
    """A table of customers, 30% of whose cells are missing, and 3% of whom leave."""
    rng = np.random.default_rng(0)
    age, plan = rng.normal(45, 12, rows).round(), rng.choice(["free", "basic", "pro"], rows)
    joined = pd.Timestamp("2019-01-01") + pd.to_timedelta(rng.integers(0, 1500, rows), "D")
    score = (age - 45) / 12 + (plan == "pro") + (joined.month.to_numpy() > 6) + rng.normal(0, 0.3, rows)
    frame = pd.DataFrame(
        {
            "customer": [f"C-{number:06d}" for number in rng.permutation(rows)],
            "name, full": [f"{first} {number}" for number, first in enumerate(rng.choice(["Ann", "Bo"], rows))],
            "age": age,
            "income, yearly": np.exp(rng.normal(8, 1, rows)).round(2),
            "plan": plan,
            "city": [f"city {number}" for number in np.minimum(rng.geometric(0.06, rows), 80)],
            "joined": joined.strftime("%Y-%m-%d"),
            "country": "NL",
            "left": np.where(score > np.quantile(score, 0.97), "yes", "no"),
        }
    )
    for name in ("age", "income, yearly", "plan", "joined"):
        frame[name] = frame[name].astype(object).where(rng.random(rows) > 0.3, None)
    frame.loc[:4, "age"] = "unknown"
    return frame


def proposed(message: str) -> list[str]:
    """Return the words that a message tells a person to pass."""
    found = re.search(r"Pass (.*) to learn from it\.", message)
    assert found is not None, message
    return shlex.split(found[1])


def test_what_is_in_which_column() -> None:
    frame = messy().assign(row=np.arange(ROWS)[::-1] + 7, comma="1,5", day="31.12.2020", us="12/31/2020", flag=True)
    frame.loc[0, ["comma", "day", "us"]] = ["2,5", "01.02.2021", "01/02/2021"]
    frame["when"] = pd.date_range("2020-01-01", periods=ROWS)
    found = {column.name: column for column in recognise(frame)}
    assert {name: column.kind for name, column in found.items() if column.kind != "number"} == {
        "customer": "name", "name, full": "name", "plan": "category", "city": "category", "joined": "date",
        "country": "constant", "left": "category", "row": "row number", "comma": "decimal comma", "day": "date",
        "us": "date", "flag": "constant", "when": "date",
    }  # fmt: skip
    assert (found["age"].strays, found["age"].stray) == (5, "unknown")
    assert found["age"].missing == pd.to_numeric(frame["age"], errors="coerce").isna().sum()
    assert (found["day"].format, found["us"].format) == ("%d.%m.%Y", "%m/%d/%Y")


def test_the_default_refuses_in_one_message_whose_words_work(tmp_path: Path) -> None:
    messy().to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(ValueError, match="features must be numbers without gaps") as caught:
        runner.data.csv(path=str(tmp_path / "t.csv"), target="left")
    message = str(caught.value)
    for words in (
        "names or free text in 'customer' (600 values), 'name, full' (600 values)", "a single value in 'country'",
        "dates in 'joined'", "categories in 'plan' (3 values), 'city' (", "text among numbers in 'age' (5 such as",
        "missing cells in 'age' (", "'income, yearly' (",
    ):  # fmt: skip
        assert words in message
    words = proposed(message)
    assert words == ["data.drop=[customer,'name, full',country]", "data.missing=impute", "data.categories=onehot"]
    data = runner.data.csv(
        path=str(tmp_path / "t.csv"), target="left", drop=["customer", "name, full", "country"], missing="impute",
        categories="onehot",
    )  # fmt: skip
    assert len(data.x_train) + len(data.x_validation) + len(data.x_test) == ROWS
    assert data.classes == ("no", "yes")
    alone = runner.data.csv(path=str(tmp_path / "t.csv"), target="left", missing="impute", categories="onehot")
    np.testing.assert_array_equal(alone.x_train, data.x_train)  # the same columns are left out, and named
    assert any("'customer', 'name, full'" in note for note in alone.notes)
    assert any("'country'" in note for note in alone.notes)
    assert alone.digest != data.digest


def test_the_encoding_is_fitted_on_the_training_part_alone(tmp_path: Path) -> None:
    frame = messy()
    frame.to_csv(tmp_path / "t.csv", index=False)
    options: dict[str, Any] = {"target": "left", "missing": "impute", "categories": "onehot", "scale_samples": False}
    data = runner.data.csv(path=str(tmp_path / "t.csv"), standardize=False, **options)
    names = data.feature_names
    median = np.median(data.x_train[:, names.index("income, yearly")])
    assert (data.x_test[:, names.index("income, yearly")] == median).mean() > 0.2
    plans = [name for name in names if name.startswith("plan_")]
    assert plans == ["plan_(missing)", "plan_basic", "plan_free", "plan_pro"]
    assert (data.x_train[:, [names.index(name) for name in plans]].sum(axis=1) == 1).all()
    assert {f"joined {part}" for part in ("year", "month", "day", "day_of_week", "hour")} <= set(names)
    assert data.preparation.encode is not None
    new = frame.head(3).assign(plan="unheard of", city="nowhere", extra=1).astype({"left": object})
    encoded = data.preparation.encode(new.drop(columns="left")[::-1])
    assert (encoded[:, [names.index(name) for name in plans]] == 0).all()
    np.testing.assert_array_equal(encoded[:, names.index("joined year")][-1:], data.preparation.encode(new)[:1, 1 + 1])


def test_at_most_so_many_categories_have_columns_and_the_rest_is_said(tmp_path: Path) -> None:
    pd.DataFrame({"c": [f"v{i % 70}" for i in range(700)], "x": range(700), "y": [0, 1] * 350}).to_csv(
        tmp_path / "t.csv", index=False
    )
    data = runner.data.csv(path=str(tmp_path / "t.csv"), target="y", categories="onehot", drop=["x"])
    assert data.inputs == MOST_VALUES
    assert "'c' has 70 values: the 49 most frequent of the training part are kept, the rest count as one" in data.notes
    ordinal = runner.data.csv(path=str(tmp_path / "t.csv"), target="y", categories="ordinal", standardize=False)
    assert ordinal.inputs == 1
    assert ordinal.feature_names == ("c",)


def test_rows_with_gaps_are_dropped_and_counted(tmp_path: Path) -> None:
    frame = messy()
    frame.loc[frame.index[-6:], "left"] = None
    frame.to_csv(tmp_path / "t.csv", index=False)
    complete = pd.read_csv(tmp_path / "t.csv").replace("unknown", np.nan).dropna()
    data = runner.data.csv(path=str(tmp_path / "t.csv"), target="left", missing="drop", categories="onehot", test=0.3)
    assert len(data.x_train) + len(data.x_validation) + len(data.x_test) == len(complete)
    assert f"{ROWS - len(complete)} of {ROWS} rows are left out: they lack all values" in data.notes
    imputed = runner.data.csv(path=str(tmp_path / "t.csv"), target="left", missing="impute", categories="onehot")
    assert f"6 of {ROWS} rows are left out: they lack a target" in imputed.notes


@pytest.mark.parametrize(
    ("encoding", "proposal"),
    [("utf-8-sig", []), ("utf-16", []), ("cp1252", ["data.encoding=cp1252"]), ("latin-1", ["data.encoding=latin-1"])],
)
def test_other_encodings_marks_and_decimal_commas(encoding: str, proposal: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"größe": rng.normal(size=60).round(3), "x": rng.normal(size=60), "art": ["ä", "ö"] * 30})
    if encoding == "latin-1":
        frame["art"] = ["ä\x81", "ö"] * 30  # no text in cp1252
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";", decimal=",", encoding=encoding)
    options: dict[str, Any] = {"path": str(tmp_path / "t.csv"), "target": "art"}
    with pytest.raises(ValueError, match=r"Pass \"data\.separator=';'\"\."):
        runner.data.csv(**options)
    options["separator"] = ";"
    for word in proposal:
        with pytest.raises(ValueError, match=rf"Pass {word}\."):
            runner.data.csv(**options)
        options["encoding"] = encoding
    with pytest.raises(ValueError, match="decimal comma in 'größe', 'x'") as caught:
        runner.data.csv(**options)
    assert proposed(str(caught.value)) == [r"data.decimal=\,"]
    data = runner.data.csv(**options, decimal=",", standardize=False, scale_samples=False)
    assert sorted(data.x_train[:, 0])[0] in frame["größe"].to_numpy()


def test_groups_are_not_split_and_parts_keep_their_shares(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {"patient": rng.integers(0, 150, 1500), "x": rng.normal(size=1500), "z": rng.normal(size=1500)}
    )
    frame["ill"] = frame["patient"] % 10 == 0  # by patient
    frame["x"] += np.arange(1500) * 10  # tells rows apart
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = runner.data.csv(
        path=str(tmp_path / "t.csv"), target="ill", group="patient", standardize=False, scale_samples=False
    )
    assert data.feature_names == ("x", "z")
    of = dict(zip(frame["x"], frame["patient"], strict=True))
    parts = [{of[x] for x in part[:, 0]} for part in (data.x_train, data.x_validation, data.x_test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == frame["patient"].nunique()
    for part, y, share in zip(
        ("train", "validation", "test"), (data.y_train, data.y_validation, data.y_test), (0.75, 0.1, 0.15), strict=True
    ):
        assert abs(len(y) / 1500 - share) < 0.02, part
        assert abs(y.mean() - frame["ill"].mean()) < 0.05, part
    plain = runner.data.csv(path=str(tmp_path / "t.csv"), target="ill", drop=["patient"])
    assert plain.digest != data.digest


def test_every_row_is_in_one_part() -> None:
    labels, groups = np.arange(40) % 2, np.arange(40) // 4
    parts = split_groups(labels, groups, {"test": 0.2, "validation": 0.2}, stream(0, "x"))
    assert sorted(np.concatenate(list(parts.values()))) == list(range(40))
    assert {name: len(rows) for name, rows in parts.items()} == {"test": 8, "validation": 8, "training": 24}


def test_a_date_is_its_parts() -> None:
    frame = pd.DataFrame({"t": ["2024-02-29 13:30", "2023-12-31 00:00"]})
    encoder = Encoder(recognise(frame), "refuse", "onehot").fit(frame)
    assert encoder(frame).tolist() == [[2024, 2, 29, 3, 13], [2023, 12, 31, 6, 0]]


SMALL = ("training.steps=30", "architecture.depth=2", "architecture.width=16", "tracking.figures=false")
# Loads a model by the line of MLflow's note, in a process that has the lab from the model alone.
ELSEWHERE = """
import sys
from pathlib import Path
import numpy as np, pandas as pd
import mlflow
mlflow.set_tracking_uri(f"sqlite:///{sys.argv[1]}/mlflow.db")
x = pd.read_csv(sys.argv[2]).drop(columns="left")
p = eval(sys.argv[3])
import weightinit, runner
assert all("code" in Path(package.__file__).parts for package in (weightinit, runner))
(model,) = {Path(found).parent for found in Path(sys.argv[1]).glob("mlartifacts/**/MLmodel")}
assert p.shape == (len(x), 2) and np.isfinite(p).all()
loaded = mlflow.pyfunc.load_model(str(model))
small = x.astype({"income, yearly": np.float32})
np.testing.assert_allclose(loaded.predict(small), p, atol=1e-3)
np.testing.assert_allclose(loaded.predict(x[::-1]), p[::-1], atol=1e-9)
assert "hydra" not in sys.modules
"""


def loads_elsewhere(outputs: Path, table: Path) -> None:
    """Follow the line that loads a model, in the note of the last sweep, in a process of its own."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    (experiment,) = (one.experiment_id for one in client.search_experiments() if one.name == "weightinit")
    notes = [run.data.tags["mlflow.note.content"] for run in client.search_runs([experiment])]
    (line,) = {found[1] for note in notes if (found := re.search(r"Model of .*: `(mlflow\.\S+)`", note))}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(outputs), str(table), line], cwd=outputs, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert ROOT.exists()


def test_a_messy_table_goes_to_a_model_by_the_words_of_the_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the refusal to the words that mend it, the score for few of a class, the sweep, and the model."""
    messy().to_csv(tmp_path / "customers.csv", index=False)
    outputs = tmp_path / "outputs"
    words = ["data=csv", f"data.path={tmp_path}/customers.csv", "data.target=left", f"outputs={outputs}", *SMALL]
    assert typed(*words) == 2
    words += proposed(capsys.readouterr().err)
    assert typed(*words) == 0
    said = " ".join(capsys.readouterr().out.split())
    (score,) = re.findall(r"classes: .* Pass (report\.score=\w+)", said)
    (compare,) = re.findall(r"compare: python -m runner (.*?) -m look:", said)
    line = shlex.split(compare.replace("range(0,5)", "0"))
    assert typed(*line, score, "tracking.log_model=best", "-m") == 0
    shown = capsys.readouterr()
    assert "WARNING" not in shown.err
    assert shown.out.count("note:     missing cells are imputed in") == 1
    assert "bal acc" in shown.out
    loads_elsewhere(outputs, tmp_path / "customers.csv")


@pytest.mark.slow
def test_advice_on_a_messy_table_leads_to_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messy(3000).to_csv(tmp_path / "customers.csv", index=False)
    outputs = tmp_path / "outputs"
    words = ["mode=advise", "data=csv", f"data.path={tmp_path}/customers.csv", "data.target=left", f"outputs={outputs}"]
    words += SMALL
    assert typed(*words) == 2
    assert typed(*words, *proposed(capsys.readouterr().err), "report.score=balanced_accuracy") == 0
    said = capsys.readouterr()
    assert re.search(r"60 runs \(4 schemes, 3 learning rates, 5 seeds\): about \S+ to \S+ s", said.err)
    (command,) = re.findall(r"this lab   python -m runner (.*)", said.out)
    assert typed(*shlex.split(command), "tracking.log_model=best") == 0
    loads_elsewhere(outputs, tmp_path / "customers.csv")
