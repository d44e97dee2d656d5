"""Scores on classes of unequal size, and which score decides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, roc_auc_score

from runner.analysis.comparison import compare
from runner.scores import deciding
from runner.tracking import models, read
from runner.training.class_scores import class_scores
from tests.commands import directories, typed


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_scores_are_scikit_learns(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = np.concatenate(
        [np.arange(classes), rng.choice(classes, 80, p=np.r_[0.9, [0.1 / (classes - 1)] * (classes - 1)])]
    )
    outputs = rng.normal(size=(5, len(labels), classes)).round() / 2  # with ties
    outputs[1] += 3 * np.eye(classes)[labels]
    outputs[2] = [1] + [0] * (classes - 1)  # always the first class
    outputs[3, 0, 0] = np.nan
    found = class_scores(outputs.astype(np.float32), labels)
    for run in (0, 1, 2, 4):
        shares = np.exp(outputs[run] - outputs[run].max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        guess = outputs[run].argmax(axis=1)
        assert found["balanced_accuracy"][run] == pytest.approx(balanced_accuracy_score(labels, guess))
        assert found["macro_f1"][run] == pytest.approx(f1_score(labels, guess, average="macro"))
        area = roc_auc_score(labels, shares[:, 1] if classes == 2 else shares, multi_class="ovr")
        assert found["auc"][run] == pytest.approx(area)
    assert all(np.isnan(values[3]) for values in found.values())


def test_the_score_asked_for_decides_where_it_is_known() -> None:
    known = ["test_loss", "test_auc", "test_accuracy"]
    assert deciding("test", known) == "test_accuracy"
    assert deciding("test", known, "auc") == "test_auc"
    assert deciding("test", known, "macro_f1") == "test_accuracy"
    assert deciding("validation", known, "auc") is None


def unbalanced(path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    rare = x[:, 0] + 0.5 * rng.normal(size=600) > 2.05
    pd.DataFrame(x, columns=list("abcd")).assign(left=np.where(rare, "yes", "no")).to_csv(path, index=False)


def test_few_of_a_class_are_seen_by_the_score_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbalanced(tmp_path / "t.csv")
    words = ["data=csv", f"data.path={tmp_path}/t.csv", "data.target=left", f"outputs={tmp_path}", "tracking=none"]
    words += ["architecture.depth=1", "architecture.width=8", "training.steps=120", "scheme=he,zeros", "-m"]
    assert typed(*words, "seed=range(0,3)") == 0
    said = " ".join(capsys.readouterr().out.split())
    (directory,) = directories(tmp_path)
    runs, curves = read(directory)
    share = runs["test_majority"].iloc[0]
    assert f"always the most frequent class is right in {share:.3f} of".replace("0.", ".") in said
    zeros = runs[runs["scheme"] == "zeros"]
    assert (zeros["test_accuracy"] == share).all()
    assert (zeros["test_balanced_accuracy"] == 0.5).all()
    assert (zeros["test_auc"] == 0.5).all()
    assert set(compare(runs, curves).groups["metric"]) == {"test_accuracy"}
    assert typed(*words, "seed=range(0,3)", "report.score=auc") == 0
    said = capsys.readouterr().out
    assert "test AUC" in said
    assert "most frequent class" not in said
    runs, curves = read(directories(tmp_path)[-1])
    groups = compare(runs, curves).groups.set_index("scheme")
    assert groups.loc["he", "test"] == pytest.approx(runs[runs["scheme"] == "he"]["test_auc"].mean())
    assert models.best(runs) == runs.sort_values("validation_auc")["key"].iloc[-1]
