"""Recorded commands: their directories, found here or through an MLflow store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from runner.config.secrets import without_password
from runner.records import Session, Tracking
from runner.tracking import files, sessions
from runner.tracking.store import Store, cause

KINDS = ("sweeps", "runs")
LISTED = 8
COMPARISONS = "comparisons"


@dataclass(frozen=True)
class Recorded:
    """A command that has recorded runs in ``directory``; ``state``: the content of its ``session.json``."""

    directory: Path
    state: sessions.State

    @property
    def words(self) -> str:
        """Folder, ID and name, for people."""
        return f"{self.directory.name} ({self.state['sweep_id'][:8]}, {self.state['name']})"


def find(names: Sequence[str], tracking: Tracking) -> list[Recorded]:
    """Return the recorded commands of these names, in order.

    A name is ``latest`` (the last sweep), a directory or its name, the overrides as typed, or an ID: of the sweep, of
    the directory's session, of MLflow's parent run. The beginning of an ID is enough. Of several commands the last
    counts. The search begins below the outputs; with ``tracking.uri`` it goes to that MLflow store, which has the
    tables as artifacts. Raises ValueError, with a list of sweeps, for an unknown name.
    """
    here = sorted(
        (
            Recorded(path.parent, state)
            for kind in KINDS
            for path in (tracking.outputs / kind).glob(f"*/{sessions.FILE}")
            if files.recorded(path.parent)
            for state in (sessions.read(path.parent) or sessions.unknown(path.parent),)
        ),
        key=lambda command: (command.state["multirun"], command.state["started"]),
    )
    return [_find(name, here, tracking) for name in names]


def _find(name: str, here: Sequence[Recorded], tracking: Tracking) -> Recorded:
    remote = tracking.backend == "mlflow" and tracking.uri is not None
    found = _directory(Path(name)) if not remote or "/" in name else None
    if found is None and not remote:
        found = _last(name, here, lambda command: [command.directory.name, command.state["name"]], _ids)
    if found is None and tracking.backend == "mlflow":
        found = _in_mlflow(name, here, tracking)
    if found is None:
        listed = [command.words for command in here if command.state["multirun"]][::-1]
        more = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        there = f"there are: {'; '.join(listed[:LISTED])}{more}" if listed else "there is none"
        where = f"at {without_password(str(tracking.uri))}" if remote else f"below {tracking.outputs}"
        there = "look there with `make ui`" if remote else there
        raise ValueError(
            f"sweep must be latest, a sweep's ID (or its beginning), its folder or what was typed; got {name!r}, and "
            f"no sweep {where} is that; {there}. Pass sweep=latest, or outputs=... where it was recorded."
        )
    return found


def _directory(path: Path) -> Recorded | None:
    """Return the command that recorded in ``path``, or None; little is known of one without a session."""
    if not path.is_dir() or not files.recorded(path):
        return None
    path = path.absolute()
    return Recorded(path, sessions.read(path) or sessions.unknown(path))


def _ids(command: Recorded) -> list[str]:
    return [str(command.state["sweep_id"]), str(command.state["id"])]


def _last(
    name: str, among: Sequence[Any], names: Callable[[Any], Sequence[str]], ids: Callable[[Any], Sequence[str]]
) -> Any:
    """Return the last candidate that ``name`` means, or None. Raises ValueError for an ambiguous ID."""
    if name == "latest":
        return among[-1] if among else None
    named = [candidate for candidate in among if name in names(candidate)]
    if named:
        return named[-1]
    begun = [candidate for candidate in among if any(text.startswith(name) for text in ids(candidate))] if name else []
    if len(distinct := {next(text for text in ids(candidate) if text.startswith(name)) for candidate in begun}) > 1:
        raise ValueError(
            f"sweep={name} is the beginning of {len(distinct)} IDs. Pass more of it: {', '.join(sorted(distinct))}."
        )
    return begun[-1] if begun else None


def _in_mlflow(name: str, here: Sequence[Recorded], tracking: Tracking) -> Recorded | None:
    """Return the sweep of that name in MLflow, in its directory if that is here, else as a copy below ``comparisons``.

    Raises ValueError where MLflow can't be asked.
    """
    store = Store(Session(name, tracking.outputs, (), True, "", 0), tracking)
    if not store.exists():
        return None
    store.check()
    try:
        run = _last(
            name,
            store.sessions(),
            lambda run: [run.info.run_name],
            lambda run: [run.info.run_id, run.data.tags["sweep_id"]],
        )
        if run is None:
            held = store.experiments() if name == "latest" else {}
            held.pop(tracking.experiment, None)
            if held:
                there = "; ".join(f"{other} ({count})" for other, count in held.items())
                raise ValueError(
                    f"sweep={name} is not in the experiment {tracking.experiment}; commands are in {there}. "
                    f"Pass tracking.experiment={next(iter(held))}."
                )
            return None
        tags = run.data.tags
        local = next((command for command in here if command.state["id"] == tags.get("session")), None)
        if local is not None:
            return local
        directory = tracking.outputs / COMPARISONS / str(run.info.run_id)
        if missing := store.copy_tables(str(run.info.run_id), directory):
            raise ValueError(
                f"sweep={run.info.run_id} holds no {' and '.join(missing)} in MLflow: it has not ended, or was cut "
                "off. Do its rest with resume=true where it ran."
            )
        return Recorded(directory, _state(run, tags))
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"sweep={name} can't be looked for at {store.uri} ({cause(error)}). Mend that, or name a folder."
        ) from error


def _state(run: Any, tags: dict[str, str]) -> sessions.State:
    """Return the part of ``session.json`` that MLflow stores."""
    versions = {name: tags[name] for name in ("python", "numpy", "weightinit") if name in tags}
    return {
        "sweep_id": tags["sweep_id"],
        "name": run.info.run_name,
        "overrides": json.loads(tags.get("overrides", "[]")),
        "multirun": "trial_key" not in tags,
        "searched": json.loads(tags.get("searched", "[]")),
        "fixed": json.loads(tags.get("fixed", "[]")),
        "started": run.info.start_time / 1000,
        "versions": versions,
    }


def joined(recorded: Sequence[Recorded]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Join the tables of several commands. Of a run in several, the last that did not fail counts."""
    tables = [files.read(command.directory) for command in recorded]
    if len(tables) == 1:
        return tables[0]
    runs = pd.concat([table for table, _ in tables], ignore_index=True)
    source = np.repeat(np.arange(len(tables)), [len(table) for table, _ in tables])
    # Failed runs first, so that the last run of a key is a complete one if there is any.
    order = np.argsort(runs["fate"].to_numpy() != "failed", kind="stable")
    kept = np.sort(runs.iloc[order].drop_duplicates("key", keep="last").index.to_numpy())
    runs, source = runs.loc[kept].reset_index(drop=True), source[kept]
    curves = pd.concat(
        [
            table[table["key"].isin(runs.loc[source == index, "key"])].astype(
                dict.fromkeys(("key", "quantity", "layer"), str)
            )
            for index, (_, table) in enumerate(tables)
        ],
        ignore_index=True,
    )
    return runs, curves.astype(dict.fromkeys(("key", "quantity", "layer"), "category"))


def beside(recorded: Sequence[Recorded], outputs: Path) -> Path:
    """Return the directory for results of a comparison: that of a single command, else below ``comparisons``."""
    if len(recorded) == 1:
        return recorded[0].directory
    return outputs / COMPARISONS / f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
