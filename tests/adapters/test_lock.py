"""The lock of an initialization, and pytest's plugin that holds models against it."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
from torch import nn

import weightinit.torch as wt
from tests.adapters.models import CONTROLS, ResNet, Transformer
from weightinit.auditing.lock import differences, lock_of, read_lock, write_lock
from weightinit.testing import assert_initialized, assert_locked, assert_same_law, factory_of


def seeded(make: object, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return make()  # type: ignore[operator]


def test_other_seeds_fit_a_lock_and_it_survives_its_file(tmp_path: Path) -> None:
    locks = {name: lock_of(wt.audit(seeded(CONTROLS[name], 0))) for name in ("transformer", "resnet", "gpt2", "lora")}
    write_lock(tmp_path / "init.lock.json", locks)
    assert read_lock(tmp_path / "init.lock.json") == locks
    for name, lock in locks.items():
        for seed in range(1, 4):
            assert differences(lock, wt.audit(seeded(CONTROLS[name], seed))) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTROLS)
def test_100_other_seeds_fit_a_lock(name: str) -> None:
    lock = lock_of(wt.audit(seeded(CONTROLS[name], 1000)))
    for seed in range(100):
        assert differences(lock, wt.audit(seeded(CONTROLS[name], seed))) == [], seed


def test_a_line_a_group_and_a_sentence_for_what_moved() -> None:
    lock = lock_of(wt.audit(seeded(Transformer, 0)))
    (line,) = [line for line in lock if line.tensors == "blocks.*.fc.weight"]
    assert (line.count, line.shape, line.law) == (4, "256x64", "uniform")

    moved = seeded(Transformer, 1)
    for block in moved.blocks:
        nn.init.normal_(block.out.weight, std=0.01)
    nn.init.zeros_(moved.ln.weight)
    found = differences(lock, wt.audit(moved))
    assert any(
        s.startswith("blocks.*.out.weight (4): drawn as normal, std .0") and "locked uniform" in s for s in found
    )
    assert "ln.weight: 0 everywhere; locked 1 everywhere" in found
    assert len(found) == 2

    scaled = seeded(Transformer, 1)
    scaled.blocks[2].fc.weight.data *= 1.2
    (sentence,) = differences(lock, wt.audit(scaled))
    assert sentence.startswith("blocks.2.fc.weight: std .09")
    assert "locked .07" in sentence

    deeper = differences(lock, wt.audit(Transformer(depth=5)))
    assert "blocks.*.fc.weight: 5 tensors, locked 4" in deeper
    wider = differences(lock, wt.audit(Transformer(width=128)))
    assert "head.weight: shape 200x128, locked 200x64" in wider
    assert not any("head.weight" in sentence and "not in the lock" in sentence for sentence in wider)
    renamed = seeded(Transformer, 1)
    renamed.final, renamed.ln = renamed.ln, nn.Identity()
    assert {"ln.weight: is gone", "final.weight: is not in the lock, shape 64"} <= set(
        differences(lock, wt.audit(renamed))
    )


def test_assertions_say_the_cause(tmp_path: Path) -> None:
    model = seeded(ResNet, 0)
    assert_initialized(model)
    with pytest.raises(AssertionError, match="layer1"):
        assert_initialized(model, "glorot_uniform")
    lock = tmp_path / "init.lock.json"
    with pytest.raises(AssertionError, match="has no lock of net"):
        assert_locked(model, "net", lock)
    assert_locked(model, "net", lock, update=True)
    assert_locked(seeded(ResNet, 1), "net", lock)
    with pytest.raises(AssertionError, match="locked"):
        assert_locked(ResNet("fan_out"), "net", lock)
    (tmp_path / "init.lock.json").write_text('{"version": 9}')
    with pytest.raises(ValueError, match="is no lock"):
        assert_locked(model, "net", lock)
    assert_locked(model, "net", lock, update=True)
    assert list(read_lock(lock)) == ["net"]
    with pytest.raises(TypeError, match="must be a module of PyTorch"):
        assert_initialized(3)
    assert_same_law(ResNet, ResNet)
    with pytest.raises(AssertionError, match="Not the same laws"):
        assert_same_law(ResNet, lambda: ResNet("fan_out"))


@pytest.mark.parametrize("place", ["tests.adapters.models", "no.such:make", "tests.adapters.models:nothing"])
def test_a_place_without_a_model_is_one_sentence(place: str) -> None:
    with pytest.raises(ValueError, match="model"):
        factory_of(place)
    assert isinstance(factory_of("tests.adapters.models:ResNet")(), ResNet)


def run_pytest(folder: Path, *arguments: str) -> tuple[int, str]:
    importlib.invalidate_caches()
    line = ["-p", "weightinit.pytest_plugin", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    with redirect_stdout(io.StringIO()) as printed:
        status = pytest.main([*line, "-s", "-W", "ignore", *arguments])
    sys.modules.pop("locked_model", None)
    return int(status), printed.getvalue()


def test_pytest_audits_a_model_and_holds_it_against_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    source = "import torch\n\ndef make():\n    layer = torch.nn.Linear(64, 64)\n    {}\n    return layer\n"
    (tmp_path / "locked_model.py").write_text(source.format("pass"))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    model = "--weightinit-model=locked_model:make"
    state = torch.get_rng_state()
    first = run_pytest(tmp_path, model)
    assert "1 passed, 1 skipped" in first[1]
    assert torch.equal(torch.get_rng_state(), state)
    assert run_pytest(tmp_path, model, "--weightinit-update")[0] == 0
    written = (tmp_path / "init.lock.json").read_text()
    assert [line["tensors"] for line in json.loads(written)["models"]["locked_model:make"]] == ["weight", "bias"]
    assert "2 passed" in run_pytest(tmp_path, model)[1]
    torch.manual_seed(17)
    run_pytest(tmp_path, model, "--weightinit-update")
    assert (tmp_path / "init.lock.json").read_text() == written  # one code, one lock
    (tmp_path / "locked_model.py").write_text(source.format("torch.nn.init.normal_(layer.weight, std=0.02)"))
    status, moved = run_pytest(tmp_path, model)
    assert status == 1
    assert "1 failed, 1 passed" in moved
    assert re.search(r"weight: drawn as normal, std \.0\d+; locked uniform, std \.07", moved)
    assert "Traceback" not in moved
    (tmp_path / "locked_model.py").write_text(source.format("raise ValueError('an odd width')"))
    _, broken = run_pytest(tmp_path, model)
    assert "locked_model:make can't be made: ValueError: an odd width" in broken
    assert f'File "{tmp_path / "locked_model.py"}", line 5, in make' in broken
    assert "pytest_plugin.py" not in broken
    assert "unrecognized arguments" not in broken
