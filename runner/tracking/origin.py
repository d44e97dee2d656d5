"""Origin of a run in MLflow's terms: who started which program, of which commit."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from runner.kernel import in_shell
from runner.tracking.mlflow_import import import_mlflow

# Settings of MLflow's without a word on the origin.
_SILENT = {"MLFLOW_DISABLE_TELEMETRY", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"}


def tags() -> dict[str, str]:
    """Return the tags that MLflow gives to a run of this process."""
    if _only_program() and (source := _of_git()) is not None:
        return {
            "mlflow.user": getpass.getuser(),
            "mlflow.source.name": _program() or "<console>",
            "mlflow.source.type": "LOCAL",
            **{f"mlflow.source.git.{key}": text for key, text in source.items()},
        }
    import_mlflow()
    from mlflow.tracking.context.registry import resolve_tags

    return dict(resolve_tags())


def _only_program() -> bool:
    """Whether user, program and commit are all there is: no notebook, cluster, plugin or setting of MLflow's."""
    named = {name for name in os.environ if name.startswith(("MLFLOW_", "DATABRICKS_", "GIT_DIR", "GIT_WORK_TREE"))}
    return (
        named <= _SILENT
        and not in_shell()
        and "pyspark" not in sys.modules
        and not (Path.home() / ".mlflow" / "credentials").exists()
        and not entry_points(group="mlflow.run_context_provider")
    )


def _program() -> str:
    return sys.argv[0] if sys.argv else ""


def _of_git() -> dict[str, str] | None:
    """Return commit, branch and first remote of the working tree of the program; None where git does not tell."""
    program = Path(_program()).absolute()
    if not _program() or not program.exists():
        return {}
    folder = next((folder for folder in (program, *program.parents) if (folder / ".git").exists()), None)
    if folder is None:
        return {}

    def git(*words: str) -> list[str]:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=5)
        if done.returncode and "rev-parse" in words:
            raise OSError(done.stderr)
        return done.stdout.splitlines()

    try:
        commit, branch = git("rev-parse", "HEAD", "--abbrev-ref", "HEAD")
        remotes = git("config", "--local", "--get-regexp", r"^remote\..*\.url$")
        found = {"commit": commit} | ({} if branch == "HEAD" else {"branch": branch})
        if remotes:
            name = remotes[0].partition(" ")[0].removeprefix("remote.").removesuffix(".url")
            found["repoURL"] = _without_login(git("remote", "get-url", name)[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None
    return found


def _without_login(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if parts.scheme else url
