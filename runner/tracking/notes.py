"""Notes on MLflow's pages of experiments, sweeps and runs, in Markdown."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from runner.config.secrets import without_password
from runner.records import Session
from runner.tracking.metrics import BUDGET, budget_of

LONGEST_TAG = 5_000
NOTE = "mlflow.note.content"
FEW = 3  # models that a note names
HOW_TO_LOOK = (
    "Its runs are the children of this one; tables and figures are among its artifacts. In charts of several runs, "
    "metrics below `init_by_layer` have the layer as their step."
)
# Tags of a new experiment: its description, and that it is about models rather than prompts.
ABOUT = {
    NOTE: "Initializations of neural networks, compared by **weightinit**. A sweep is a run with children: its note "
    "holds the final table, its artifacts the figures. Useful columns: `test_accuracy`, `steps_to_loss_0.5`, the "
    "parameters `scheme`, `activation`, `seed`, the tag `fate`; keep them with *Views, Save as new view*.",
    "mlflow.experimentKind": "custom_model_development",
}


def session_note(session: Session, text: str = "", models: Mapping[str, str] | None = None) -> str:
    """Note of a session: what the command printed, how to repeat it and load its models, where its files are.

    ``text``: the print, cut where too long; ``models``: ids of the runs with a model, by name.
    """
    parts = [_command(*session.overrides, *["-m"] * session.multirun)]
    parts += [load_line(name, run_id) for name, run_id in list((models or {}).items())[:FEW]]
    if session.multirun and text:
        parts.append(HOW_TO_LOOK)
    if session.multirun and (rows := budget_of(session.total)) < BUDGET:
        parts.append(
            f"Each run has about {rows} metric rows here, a smaller sweep's has {BUDGET}; all are in `curves.parquet`."
        )
    parts.append(f"Files: `{session.directory}`")
    if text:
        room = LONGEST_TAG - len("\n\n".join(parts)) - 20
        shown = text if len(text) <= room else f"{text[: max(room, 0)].rpartition(chr(10))[0]}\n..."
        parts.insert(0, f"```\n{shown}\n```")
    return "\n\n".join(parts)[:LONGEST_TAG]


def run_note(overrides: Sequence[str], notes: Sequence[str], directory: Path) -> str:
    """Note of a run: how to repeat it, its scheme's notes, where its files are."""
    return "\n\n".join([_command(*overrides), *notes, f"Files: `{directory}`"])[:LONGEST_TAG]


def load_line(name: str, run_id: str) -> str:
    """Line that loads the model of a run."""
    return f"Model of {name}: `mlflow.pyfunc.load_model('runs:/{run_id}/model').predict(x)`"


def _command(*overrides: str) -> str:
    return without_password(f"`{shlex.join(['python', '-m', 'runner', *overrides])}`")
