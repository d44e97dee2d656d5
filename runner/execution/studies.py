"""Studies: searches of Optuna's, kept beside their runs, so that an interrupted one goes on with what it knows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from runner.tracking.files import replaced

FILE = "study.json"


class Kept(InMemoryStorage):
    """Storage of one study in a file: the values that its trials have tried, and what came out.

    Trials that were at work when an earlier process ended are asked for again, before any others.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def set_study_directions(self, study_id: int, directions: Sequence[StudyDirection]) -> None:
        """Begin a study with the trials of the file."""
        super().set_study_directions(study_id, directions)
        for known in _read(self.path):
            self.create_new_trial(study_id, template_trial=known)

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """Note a value that a trial is about to try."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._write(trial_id)

    def set_trial_state(self, trial_id: int, state: TrialState) -> bool:
        """Note a trial's end; its value stands already."""
        done = super().set_trial_state(trial_id, state)
        self._write(trial_id)
        return done

    def _write(self, trial_id: int) -> None:
        trials = self.get_all_trials(self.get_study_id_from_trial_id(trial_id), deepcopy=False)
        text = json.dumps([_entry(trial) for trial in trials], default=lambda number: number.item())
        replaced(self.path, lambda file: file.write(text.encode()))


def finished(path: Path) -> list[tuple[str, ...]]:
    """Return the values of each trial that has ended, as overrides, in order; none where there is no study."""
    done = [trial for trial in _read(path) if trial.state == TrialState.COMPLETE]
    return [tuple(f"{key}={value}" for key, value in trial.params.items()) for trial in done]


def _entry(trial: FrozenTrial) -> dict[str, Any]:
    kinds = {name: distribution_to_json(kind) for name, kind in trial.distributions.items()}
    params = trial.params or trial.system_attrs.get("fixed_params", {})
    return {"state": trial.state.name, "values": trial.values, "params": params, "distributions": kinds}


def _read(path: Path) -> list[FrozenTrial]:
    """Return the trials of a file: those that ended as they were, the others waiting to be asked for."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)  # Optuna's, of create_trial
            return [_trial(**entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # there is none, or it is damaged: the search begins anew


def _trial(
    *, state: str, values: list[float] | None, params: dict[str, Any], distributions: dict[str, str]
) -> FrozenTrial:
    if state not in ("COMPLETE", "FAIL"):
        waiting: FrozenTrial = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
        return waiting
    kinds = {name: json_to_distribution(text) for name, text in distributions.items()}
    ended: FrozenTrial = create_trial(state=TrialState[state], values=values, params=params, distributions=kinds)
    return ended
