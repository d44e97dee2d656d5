"""Files of strangers, to be audited and compared: one sentence each, and nothing in them is obeyed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from runner.modes.compare import _printable
from runner.report.ranking import csv
from runner.tracking import files, read
from tests.commands import typed
from tests.recorded import seeds
from tests.test_refusals import bomb, claim
from weightinit.__main__ import main as audit

RECORDED = Path(__file__).parent / "samples" / "recorded" / "schemes"
EVIL = "\x1b[31mhe\x1b]0;title\x07\u202ereversed\r\n| x |"


def packed(path: Path, **entries: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)


def tensors(path: Path, header: object) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)


WEIGHTS: dict[str, Callable[[Path], object]] = {
    "bomb.npz": lambda path: bomb(path, 15 * 10**7),
    "claims.npz": lambda path: claim(path, (10**15, 2)),
    "claims-more.npz": lambda path: claim(path, (10**30,)),
    "pipe.npz": os.mkfifo,
    "pipe.safetensors": os.mkfifo,
    "folder.npz": Path.mkdir,
    "empty.npz": Path.touch,
    "empty.safetensors": Path.touch,
    "nothing.npz": lambda path: packed(path),
    "text.npz": lambda path: path.write_text("what?"),
    "entries.npz": lambda path: packed(path, x=b"\x93NUMPY\x01\x00\x02\x00{}"),
    "objects.npz": lambda path: np.savez(path, x=np.array([object()], object)),
    "cut.npz": lambda path: (np.savez(path, x=np.zeros((99, 99))), os.truncate(path, 5000)),
    "header.safetensors": lambda path: path.write_bytes(b"\xff" * 64),
    "deep.safetensors": lambda path: path.write_bytes((200_000).to_bytes(8, "little") + b"[" * 200_000),
    "sizes.safetensors": lambda path: tensors(path, {"x": {"dtype": "F32", "shape": [10**30], "data_offsets": [0, 4]}}),
    "names.safetensors": lambda path: tensors(path, {EVIL * 999: {"dtype": "F32", "shape": 3, "data_offsets": []}}),
    "list.safetensors": lambda path: tensors(path, [1]),
    "model.pt": Path.touch,
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_file_of_weights_that_is_none_is_told_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WEIGHTS[name](tmp_path / name)
    signal.alarm(20)  # a pipe would be waited for
    try:
        assert audit(["audit", str(tmp_path / name)]) == 2
    finally:
        signal.alarm(0)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"error: [^\x00-\x1f\x7f-\x9f\u202e]{,1500}\n", err), err[:2000]


def test_names_in_a_file_of_weights_are_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "x.npz", **{f"{EVIL.split('|')[0].strip()}.weight": np.zeros((8, 8))})
    audit(["audit", str(tmp_path / "x.npz")])
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", capsys.readouterr().out)


TABLES: dict[str, Callable[[Path], object]] = {
    "no key": lambda folder: changed(folder, files.RUNS, lambda runs: runs.drop(columns="key")),
    "no fate": lambda folder: changed(folder, files.RUNS, lambda runs: runs.drop(columns="fate")),
    "no value": lambda folder: changed(folder, files.CURVES, lambda curves: curves.drop(columns="value")),
    "no scheme": lambda folder: changed(folder, files.RUNS, lambda runs: runs[["key", "fate", "error"]]),
    "other types": lambda folder: changed(folder, files.RUNS, lambda runs: runs.assign(fate=1, diverged_at_step="x")),
    "text for values": lambda folder: changed(folder, files.CURVES, lambda curves: curves.assign(value="x")),
    "no rows": lambda folder: changed(folder, files.RUNS, lambda runs: runs[:0]),
    "pipe": lambda folder: ((folder / files.RUNS).unlink(), os.mkfifo(folder / files.RUNS)),
    "folder": lambda folder: ((folder / files.RUNS).unlink(), (folder / files.RUNS).mkdir()),
    "text": lambda folder: (folder / files.RUNS).write_text("key,fate\n"),
    "no curves": lambda folder: (folder / files.CURVES).unlink(),
}


def changed(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(folder / name)).to_parquet(folder / name)


@pytest.mark.parametrize("how", TABLES)
def test_tables_that_are_none_are_told_in_one_sentence(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RECORDED, tmp_path / "sweep")
    TABLES[how](tmp_path / "sweep")
    signal.alarm(20)
    try:
        assert typed("mode=compare", f"sweep={tmp_path / 'sweep'}", f"outputs={tmp_path}/outputs") == 2
    finally:
        signal.alarm(0)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"runner: [^\n]{,1500}\n", err), err


@pytest.mark.parametrize("format", ["text", "markdown", "latex", "csv"])
def test_recorded_text_is_neither_obeyed_nor_breaks_a_table(
    format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(RECORDED, tmp_path / "sweep")
    changed(
        tmp_path / "sweep",
        files.RUNS,
        lambda runs: runs.assign(
            scheme=runs["scheme"].map(lambda name: f"{EVIL}{name}"),
            name=runs["name"].map(lambda name: f"{name}{EVIL}"),
            error=EVIL,
        ),
    )
    words = (f"sweep={tmp_path / 'sweep'}", f"outputs={tmp_path}/outputs", f"format={format}")
    assert typed("mode=compare", *words) == 0
    out = capsys.readouterr().out
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)
    if format == "markdown":
        lines = out.splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert len(lines) == 2 + read(tmp_path / "sweep")[0]["scheme"].nunique()


def test_a_table_of_the_labs_own_stays_as_it_is() -> None:
    for table in read(RECORDED):
        pd.testing.assert_frame_equal(_printable(table), table)


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=cmd|' /C calc'!A0"])
def test_no_text_in_csv_is_a_formula(formula: str) -> None:
    from runner.analysis.comparison import compare
    from runner.tracking.frames import frames

    runs, curves = frames([*seeds(2, "he", 0.9), *seeds(2, "xavier", 0.8)])
    runs["scheme"] = runs["scheme"].replace({"he": formula})
    text = csv(compare(runs, curves))
    assert re.search(rf"^\"?'{re.escape(formula)}", text, re.MULTILINE)
    assert not re.search(r"(^|,)\"?\s*[=@]", text, re.MULTILINE)
    assert "-" in text  # numbers below zero stay numbers
