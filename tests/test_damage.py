"""Damaged records: found before they are believed, named, set aside, and trained again to the same bits."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from runner.records import Tracking
from runner.tracking import files, read, recorded, seals, sessions
from tests.commands import assert_same_records, directories, started, typed
from tests.test_resume import assert_mlflow_has_exactly_the_runs

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning")

SWEEP = (
    *("data=two_spirals", "architecture.width=8", "training.steps=20", "training.probe.size=16", "seed=0,1,2,3"),
    *("hydra.launcher.max_workers=1", "tracking.figures=false", "-m"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of a sweep as it ends."""
    outputs = tmp_path_factory.mktemp("whole")
    assert typed(*SWEEP, f"outputs={outputs}", "training.save=final") == 0
    return outputs


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs of the sweep as a killed process leaves them: four shards, of which none is merged."""
    outputs = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.training.stacks.MOST", 1)
        patch.setattr(files, "merge", lambda directory, keys=(): files.read(directory)[0])
        assert typed(*SWEEP, f"outputs={outputs}", "tracking=none", "training.save=final") == 0
    (directory,) = directories(outputs)
    state(directory, complete=None)
    assert len(list((directory / "shards").glob("*.arrow"))) == 4
    return outputs


def state(directory: Path, **fields: object) -> None:
    path = directory / sessions.FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def copied(outputs: Path, to: Path) -> tuple[tuple[str, ...], Path]:
    """Copies outputs; returns the words of the same command there, and its directory."""
    shutil.copytree(outputs, to)
    (directory,) = directories(to)
    store = () if (outputs / "mlflow.db").exists() else ("tracking=none",)
    return (*SWEEP, f"outputs={to}", "training.save=final", *store, "resume=true"), directory


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: flip(path, path.stat().st_size // 2),
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "another": lambda path: path.write_bytes(b"something else" * 99),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_shard_is_set_aside_and_its_run_trained_again(
    how: str,
    shards: Path,
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    words, directory = copied(shards, tmp_path / "outputs")
    shard = sorted((directory / "shards").glob("*.arrow"))[1]
    ended = read(directory)[0].set_index("key")["end_time"]
    DAMAGE[how](shard)
    assert len(read(directory)[0]) == 3
    assert typed(*words) == 0
    err = capsys.readouterr().err
    assert re.search(rf"{shard} is damaged \(.*\): set aside as .*; its runs are trained again", caplog.text)
    assert "where 3 of 4 runs are" in err
    assert [path.name for path in (directory / "damaged").iterdir()] == [shard.name]
    (reference,) = directories(whole)
    assert_same_records(directory, reference)
    again = read(directory)[0].set_index("key")["end_time"]
    assert sorted(again == ended) == [False, True, True, True]
    assert typed(*words) == 0
    assert "nothing is left to do" in capsys.readouterr().err


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("name", [files.RUNS, files.CURVES])
@pytest.mark.parametrize("store", ["mlflow", "none"])
def test_a_damaged_table_comes_back_from_mlflow_or_is_made_again(
    store: str, name: str, how: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, directory = copied(whole, tmp_path / "outputs")
    words = (*words, "tracking=none") if store == "none" else words
    DAMAGE[how](directory / name)
    with pytest.raises(ValueError, match=rf"{name} is damaged \(.*resume=true"):
        read(directory)
    assert typed("mode=compare", f"outputs={tmp_path}/outputs") == 2
    assert f"{name} is damaged" in capsys.readouterr().err
    assert typed(*words) == 0
    assert {path.name for path in (directory / "damaged").iterdir()} == {files.RUNS, files.CURVES}
    (reference,) = directories(whole)
    assert_same_records(directory, reference)
    # What MLflow gives back is what was recorded; what it can't is trained again.
    same = read(directory)[0]["end_time"].tolist() == read(reference)[0]["end_time"].tolist()
    assert same == (store == "mlflow")
    if store == "mlflow":
        assert_mlflow_has_exactly_the_runs(tmp_path / "outputs", directory)


@pytest.mark.parametrize("names", [(files.RUNS,), (files.CURVES,), (files.RUNS, files.CURVES)], ids="+".join)
def test_missing_tables_are_fetched_from_mlflow(
    names: tuple[str, ...], whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, directory = copied(whole, tmp_path / "outputs")
    # The artifacts are where the sweep has left them: MLflow knows their place.
    for name in names:
        (directory / name).unlink()
    assert typed(*words) == 0
    (reference,) = directories(whole)
    assert_same_records(directory, reference)
    assert read(directory)[0]["end_time"].tolist() == read(reference)[0]["end_time"].tolist()


def test_missing_tables_are_merged_again_from_shards(shards: Path, whole: Path, tmp_path: Path) -> None:
    words, directory = copied(shards, tmp_path / "outputs")
    kept = tmp_path / "kept"
    shutil.copytree(directory / "shards", kept)
    assert typed(*words) == 0
    (directory / files.RUNS).unlink()
    shutil.copytree(kept, directory / "shards")
    state(directory, complete=None)
    assert typed(*words) == 0
    assert_same_records(directory, directories(whole)[0])


def test_damaged_arrays_count_as_absent(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, directory = copied(whole, tmp_path / "outputs")
    for path in (directory / "arrays").iterdir():
        flip(path, path.stat().st_size // 2)
    assert typed("mode=compare", f"outputs={tmp_path}/outputs") == 0
    assert files.arrays(directory, read(directory)[0]["key"][0]) == {}
    assert typed(*words) == 0


SPOILT = ["", "{", "[]", "3", "null", "[" * 100_000, '{"pid": "x"}', '{"started": "now", "name": 3, "id": []}']


def test_a_malformed_session_spoils_no_other(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words, directory = copied(whole, tmp_path / "outputs")
    spoilt = directory.with_name("spoilt")
    shutil.copytree(directory, spoilt)
    identity = sessions.read(directory)["sweep_id"]  # type: ignore[index]
    tracking = Tracking("none", None, "", False, tmp_path / "outputs")
    for content in SPOILT:
        (spoilt / sessions.FILE).write_text(content)
        names = ["latest", "spoilt", directory.name, identity[:9], str(spoilt)]
        found = [command.directory.name for command in recorded.find(names, tracking)]
        assert found[1:] == ["spoilt", directory.name, directory.name, "spoilt"]
        assert sessions.latest(directory.parent, identity, multirun=True) == directory
        with pytest.raises(ValueError, match=r"there are: .*spoilt"):
            recorded.find(["nosuch"], tracking)
    assert typed("mode=compare", f"outputs={tmp_path}/outputs", f"sweep=[spoilt,{directory.name}]") == 0
    assert typed(*words) == 0
    assert f"going on in {directory}, where 4 of 4 runs are" in capsys.readouterr().err


def test_a_session_that_is_a_pipe_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / sessions.FILE)
    assert sessions.read(tmp_path) is None


@pytest.mark.slow
def test_a_deleted_database_is_noticed_and_filled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from runner.tracking.recorder import Recorder

    words = (*SWEEP, f"outputs={tmp_path}")
    record = Recorder.record

    def and_delete(self: Recorder, recorded: object) -> None:
        record(self, recorded)  # type: ignore[arg-type]
        for path in tmp_path.glob("mlflow.db*"):
            path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "record", and_delete)
        assert typed(*words) == 1
    assert "the database was deleted" in capsys.readouterr().err
    (directory,) = directories(tmp_path)
    assert len(read(directory)[0]) == 4
    for _ in range(2):  # and once more, deleted after its end
        process = started(*words, "resume=true")  # MLflow remembers the databases of its process
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
            assert database.execute("SELECT status FROM runs").fetchall() == [("FINISHED",)] * 5
        (tmp_path / "mlflow.db").unlink()


def test_files_that_killed_processes_were_writing_go(shards: Path, tmp_path: Path) -> None:
    words, directory = copied(shards, tmp_path / "outputs")
    left = [directory / name for name in (".session.json.1.tmp", "shards/.x.arrow.1.tmp", "arrays/.x.npz.1.tmp")]
    for path in left:
        path.write_bytes(b"half")
    assert typed(*words) == 0
    assert not [path for path in left if path.exists()]


def test_what_ended_before_its_first_run_is_not_the_latest(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, directory = copied(whole, tmp_path / "outputs")
    later = directory.with_name("later")
    later.mkdir()
    state = json.loads((directory / sessions.FILE).read_text())
    (later / sessions.FILE).write_text(json.dumps(state | {"started": time.time() + 9}))
    assert typed("mode=compare", f"outputs={tmp_path}/outputs") == 0
    assert str(directory) in capsys.readouterr().out


# Seals


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"key": list("abcdefgh") * 8, "value": rng.normal(size=64), "step": np.arange(64)})
    return pa.Table.from_pandas(frame.astype({"key": "category"}), preserve_index=False).replace_schema_metadata()


def test_every_flipped_byte_of_a_shard_is_found() -> None:
    content = seals.sealed(b"something that was recorded" * 20)
    assert seals.unsealed(content) == content[: -seals.DIGEST]
    for place in range(len(content)):
        with pytest.raises(seals.Damaged, match="its checksum differs"):
            seals.unsealed(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for size in range(len(content)):
        with pytest.raises(seals.Damaged):
            seals.unsealed(content[:size])


def test_no_flipped_byte_of_a_table_changes_a_number(tmp_path: Path) -> None:
    content, path = seals.parquet_bytes(table()), tmp_path / "table.parquet"
    path.write_bytes(content)
    expected = table().to_pandas()
    assert seals.read_parquet(path).to_pandas().equals(expected)
    assert pd.read_parquet(path).equals(expected)  # others read it as any Parquet file
    found = 0
    places = range(0, len(content), 4)
    for place in places:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x11]) + content[place + 1 :])
        try:
            assert seals.read_parquet(path).to_pandas().equals(expected)  # the name of the seal itself is hit
        except seals.Damaged:
            found += 1
    assert found >= len(places) - len(seals.MARK)


def test_tables_of_others_have_no_seal_and_are_read(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    table().to_pandas().to_parquet(path)
    assert seals.read_parquet(path).to_pandas().equals(table().to_pandas())


@pytest.mark.parametrize("bytes_", [1, 10])
@pytest.mark.slow
def test_every_tenth_byte_of_a_shard_flipped(
    bytes_: int, shards: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each flip is found, none crashes a process, none changes a number."""
    (directory,) = directories(shards)
    shard = sorted((directory / "shards").glob("*.arrow"))[0]
    content, expected = shard.read_bytes(), read(directory)
    _, copy = copied(shards, tmp_path / "outputs")
    place = copy / "shards" / shard.name
    flips = range(0, len(content), 10)
    for start in flips:
        stop = start + bytes_
        flipped = content[:start] + bytes(byte ^ 0xFF for byte in content[start:stop]) + content[stop:]
        with pytest.raises(seals.Damaged):
            seals.unsealed(flipped)
        if start % 2000 == 0:
            place.write_bytes(flipped)
            assert files.keys(copy) == set(expected[0]["key"]) - {shard.stem}
    assert len(flips) > 1000
    record_property("flips", len(flips))
    assert re.match(r"[0-9a-f]{64}$", shard.stem)
