"""The survey of a library's models: every model type in a process of its own, one line of JSON each."""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
import warnings
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import torch
import transformers

from weightinit.torch.survey_checks import survey_model
from weightinit.torch.survey_models import model_types
from weightinit.torch.survey_page import page, text

__all__ = ["model_types", "page", "read_records", "survey", "text", "versions"]

LIMIT_S: Final = 60.0
"""Seconds that one model may take."""


def survey(record: Path, types: Sequence[str] = (), minutes: float = 60.0) -> list[dict[str, Any]]:
    """Return the records of all model types that ``record`` holds, after adding those that it lacks.

    ``types``: those to run, all of them by default; ``minutes``: time after which no further model is begun. A model
    that crashes or takes longer than ``LIMIT_S`` costs itself alone. Raises ValueError for an unknown type.
    """
    known = model_types()
    if unknown := [name for name in types if name not in known]:
        raise ValueError(f"{unknown[0]!r} is no model type of the installed transformers.")
    end = time.monotonic() + 60 * minutes
    records = read_records(record)
    done = {each["type"] for each in records}
    record.parent.mkdir(parents=True, exist_ok=True)
    with record.open("a", encoding="utf-8") as file:
        for name in types or known:
            if name in done or time.monotonic() > end:
                continue
            records.append(_in_own_process(name))
            file.write(json.dumps(records[-1]) + "\n")
            file.flush()
    return records


def versions() -> str:
    """Return the versions that were surveyed, in words."""
    return f"transformers {transformers.__version__} (torch {torch.__version__.partition('+')[0]})"


def read_records(record: Path) -> list[dict[str, Any]]:
    """Return the records in a file of JSON lines; none of a file that isn't there. A broken last line is left out."""
    found = []
    for line in record.read_text(encoding="utf-8").splitlines() if record.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _in_own_process(name: str) -> dict[str, Any]:
    """The record of one type, or the cause of its failure.

    The process is forked from a server that has imported this module, because importing takes longer than a model, and
    because the caller's own process may hold threads (JAX's), which a fork would leave without their locks.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(name, its), daemon=True)
    start = time.monotonic()
    process.start()
    its.close()
    found: dict[str, Any] = {"failed": f"took longer than {LIMIT_S:.0f} s"}
    if mine.poll(LIMIT_S):
        try:
            found = mine.recv()
        except EOFError:
            process.join()
            found = {"failed": f"its process ended with status {process.exitcode}"}
    process.kill()
    process.join()
    return {"type": name, "seconds": round(time.monotonic() - start, 2), **found}


def _send(name: str, to: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.disable_progress_bar()
    logging.disable(logging.CRITICAL)
    try:
        to.send(survey_model(name))
    except Exception as error:
        words = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        to.send({"failed": " ".join(words.split())[:200]})
