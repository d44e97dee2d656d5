"""Trained networks as MLflow models of raw features, which need NumPy and SciPy but not this lab."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy

import weightinit
from runner.config.trial import Trial
from runner.scores import deciding
from weightinit.arrays import Array
from weightinit.predictor import Predictor

_FINAL = "final/"


def best(runs: pd.DataFrame) -> str | None:
    """Return the key of the run with the best validation score, then loss; None without a finished run."""
    finished = runs[runs["fate"] == "finished"]
    if finished.empty or "validation_loss" not in finished:
        return None
    asked = finished["report.score"].iloc[0] if "report.score" in finished else None
    score = deciding("validation", finished.columns, asked) or "validation_loss"
    order = dict.fromkeys([score, "validation_loss"])
    ranked = finished.sort_values([*order], ascending=[name == "validation_loss" for name in order], kind="stable")
    return str(ranked["key"].iloc[0])


def predictor(trial: Trial, arrays: Mapping[str, Array]) -> Predictor | None:
    """Return the network of a run with its final weights; None where ``arrays`` hold none."""
    weights = {name.removeprefix(_FINAL): values for name, values in arrays.items() if name.startswith(_FINAL)}
    if not weights:
        return None
    dataset, names = trial.dataset, {spec.name for spec in trial.network.weights}
    return Predictor(
        network=trial.network,
        params={name: values[None] for name, values in weights.items() if name in names},
        state={name: values[None] for name, values in weights.items() if name not in names},
        preparation=dataset.preparation,
        probabilities=trial.loss.name == "cross_entropy",
        target_mean=dataset.target_mean,
        target_std=dataset.target_std,
    )


def save(folder: Path, trial: Trial, made: Predictor, model_id: str, run_id: str) -> None:
    """Write a model in MLflow's format into the new ``folder``.

    The model includes the library's code. Its signature takes float64 (samples, features). A model of a table takes any
    table with its columns and has no signature, since MLflow's would refuse whole numbers and float32. ``metadata``
    names features and classes in their order.
    """
    import mlflow

    with warnings.catch_warnings(action="ignore"):  # MLflow warns of its own type hints
        import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    dataset, preparation = trial.dataset, made.preparation
    shapes = [(-1, dataset.inputs), (-1, *trial.network.out_shape)]
    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float64), shape)]) for shape in shapes)
    signature: Any = ModelSignature(inputs, outputs)
    example, code = dataset.examples, [Path(weightinit.__file__).parent]
    needed, encoding = [mlflow, np, scipy], list[str]()
    if preparation.columns or preparation.encode is not None:
        signature, example = False, pd.DataFrame(example, columns=preparation.columns or None)
        needed.append(pd)
    if preparation.encode is not None:
        code.append(Path(__file__).parents[1])  # the runner, for its encoder
        encoding.append(f"scikit-learn=={version('scikit-learn')}")
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    logger.setLevel(logging.WARNING)  # MLflow logs that it reads the example
    try:
        # pandas warns of what MLflow does with a table
        with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings(action="ignore"):
            made.save(file := Path(scratch) / "predictor.pickle")
            mlflow.pyfunc.save_model(
                folder,
                loader_module="weightinit.predictor",
                data_path=str(file),
                code_paths=list(map(str, code)),
                signature=signature,
                input_example=example,
                pip_requirements=[f"{package.__name__}=={package.__version__}" for package in needed] + encoding,
                metadata={
                    "features": list(dataset.feature_names), "classes": list(dataset.classes), "task": dataset.task,
                    "trial_key": trial.key,
                },
                mlflow_model=Model(run_id=run_id, model_id=model_id),
            )  # fmt: skip
    finally:
        logger.setLevel(level)
