"""Trained networks as MLflow models of raw features, which need NumPy and SciPy but not this lab."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import scipy

import weightinit
from runner.config.trial import Trial
from weightinit.arrays import Array
from weightinit.predictor import Predictor

_FINAL = "final/"


def best(runs: pd.DataFrame) -> str | None:
    """Return the key of the run with the best validation score, then loss; None without a finished run."""
    finished = runs[runs["fate"] == "finished"]
    metrics = [name for name in ("validation_accuracy", "validation_r2") if name in finished]
    if finished.empty or "validation_loss" not in finished:
        return None
    order = [*metrics[:1], "validation_loss"]
    ranked = finished.sort_values(order, ascending=[False] * len(metrics[:1]) + [True], kind="stable")
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

    The model includes the library's code. Its signature takes float64 (samples, features); ``metadata`` names features
    and classes in their order.
    """
    import mlflow

    with warnings.catch_warnings(action="ignore"):  # MLflow warns of its own type hints
        import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    dataset = trial.dataset
    shapes = [(-1, dataset.inputs), (-1, *trial.network.out_shape)]
    inputs, outputs = (Schema([TensorSpec(np.dtype(np.float64), shape)]) for shape in shapes)
    logger = logging.getLogger("mlflow.pyfunc")
    level = logger.level
    logger.setLevel(logging.WARNING)  # MLflow logs that it reads the example
    try:
        with tempfile.TemporaryDirectory() as scratch:
            made.save(file := Path(scratch) / "predictor.pickle")
            mlflow.pyfunc.save_model(
                folder,
                loader_module="weightinit.predictor",
                data_path=str(file),
                code_paths=[str(Path(weightinit.__file__).parent)],
                signature=ModelSignature(inputs, outputs),
                input_example=dataset.examples,
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}", f"numpy=={np.__version__}", f"scipy=={scipy.__version__}"
                ],
                metadata={
                    "features": list(dataset.feature_names), "classes": list(dataset.classes), "task": dataset.task,
                    "trial_key": trial.key,
                },
                mlflow_model=Model(run_id=run_id, model_id=model_id),
            )  # fmt: skip
    finally:
        logger.setLevel(level)
